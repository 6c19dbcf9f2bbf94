//! Clients that leave.

use serde_json::json;

use crate::support::upstream::{Connection, behaviour};
use crate::support::wire::Ending;
use crate::support::{Client, Gateway, MockUpstream, Setup, TOKEN, on_each_driver, post};

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    InOrder,
    WithReset,
}

const WAYS: [Leaves; 2] = [Leaves::InOrder, Leaves::WithReset];

impl Leaves {
    fn leave(self, client: Client) {
        match self {
            Self::InOrder => drop(client),
            Self::WithReset => client.wire.reset(),
        }
    }
}

fn chat(stream: bool) -> Vec<u8> {
    let body = json!({"model": "x", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
    post("/v1/chat/completions", "", &body)
}

fn expect_client_closed(gateway: &Gateway, records: usize) {
    for record in gateway.usage_records(records) {
        assert_eq!((&record["outcome"], &record["endedBy"]), (&json!("client_closed"), &json!("client")));
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_the_call() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut count = 0;
        for way in WAYS {
            for stream in [false, true] {
                let mut client = gateway.client();
                client.send(chat(stream));
                let mut provider = upstream.accept();
                provider.read_request();
                way.leave(client);
                provider.expect_closed();
                count += 1;
                assert_eq!(gateway.usage_records(count)[count - 1]["httpStatus"], 0, "{way:?}");
            }
        }
        expect_client_closed(&gateway, 4);
    });
}

#[test]
fn a_client_that_leaves_a_stream_ends_the_call_and_pays_for_what_it_got() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for way in WAYS {
            let mut client = gateway.client();
            client.send(chat(true));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.begin_stream();
            provider.send_chunk("data: {\"choices\":[{\"delta\":{\"content\":\"twelve chars\"}}]}\n\n");
            client.read_until("twelve chars");
            way.leave(client);
            provider.expect_closed();
        }
        let records = gateway.usage_records(2);
        expect_client_closed(&gateway, 2);
        for record in records {
            assert_eq!((&record["usageSource"], &record["outputTokens"]), (&json!("estimated"), &json!(3)));
            assert_eq!(record["httpStatus"], 200);
        }
    });
}

#[test]
fn a_client_that_leaves_within_a_whole_answer_ends_the_call() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for way in WAYS {
            // Nothing sent to the client yet: the rest of the body is still to come.
            let mut client = gateway.client();
            client.send(chat(false));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.send(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"id\":",
            );
            way.leave(client);
            provider.expect_closed();
            // A body that is relayed as it comes.
            let mut client = gateway.client();
            client.send(chat(false));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.send("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 500\r\n\r\nfirst");
            client.read_until("first");
            way.leave(client);
            provider.expect_closed();
        }
        expect_client_closed(&gateway, 4);
    });
}

#[test]
fn a_client_that_leaves_within_its_upload_ends_the_call() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for way in WAYS {
            for framing in
                ["Content-Length: 100\r\n\r\nfirst", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"]
            {
                let mut client = gateway.client();
                client.send(format!(
                    "POST /v1/uploads HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\n\
                     Content-Type: application/octet-stream\r\n{framing}"
                ));
                let mut provider = upstream.accept();
                provider.wire.take_until(b"first");
                way.leave(client);
                // What follows the piece is at most its line end, and no last chunk: the provider sees a torn body.
                let (rest, _) = provider.wire.take_to_end();
                assert!(rest.is_empty() || rest == b"\r\n", "{rest:?}");
            }
        }
        expect_client_closed(&gateway, 4);
    });
}

#[test]
fn a_client_that_ends_only_its_sending_side_counts_as_gone() {
    // No SDK does that, and a half-closed connection cannot be told from a closed one without sending.
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send(chat(true));
        let mut provider = upstream.accept();
        provider.read_request();
        client.wire.end_sending();
        provider.expect_closed();
        client.expect_closed();
        expect_client_closed(&gateway, 1);
    });
}

#[test]
fn a_client_that_sends_its_next_request_early_is_not_gone() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send([chat(false), chat(true)].concat());
        let mut provider = upstream.accept();
        provider.read_request();
        client.send(chat(false));
        provider.answer(200, behaviour::CHAT);
        client.read_response().expect(200);
        provider.read_request();
        provider.begin_stream();
        provider.send_chunk("data: [DONE]\n\n");
        provider.end_chunks();
        client.read_response().expect(200);
        provider.read_request();
        provider.answer(200, behaviour::CHAT);
        client.read_response().expect(200);
        assert_eq!(upstream.accepted(), 1);
    });
}

#[test]
fn an_answer_may_come_before_the_body_has_been_sent() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway =
            Setup::with_upstream(&upstream).driver(driver).setting("server.bodyTimeoutMs", 100).start();
        let upload = format!(
            "POST /v1/uploads HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\nfirst"
        );
        let mut client = gateway.client();
        client.send(&upload);
        let mut provider = upstream.accept();
        provider.read_head();
        provider.wire.take(5);
        provider
            .send("HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
        provider.send_chunk("too");
        client.read_until("too");
        // The time for a body passes for somebody else who sends nothing: not for the one who is being answered.
        let mut other = gateway.client();
        other.send(&upload);
        drop(upstream.accept());
        let mut slow = gateway.client();
        slow.send(&upload);
        let mut late: Connection = upstream.accept();
        slow.read_response().expect(408);
        late.wire.take_to_end();
        provider.send_chunk(" large");
        client.read_until(" large");
        provider.end_chunks();
        client.read_until("0\r\n\r\n");
        // The rest of the body is not waited for: the connection ends, in order.
        assert_eq!(client.expect_closed(), Ending::Closed);
        assert_eq!(provider.expect_closed(), Ending::Closed);
    });
}
