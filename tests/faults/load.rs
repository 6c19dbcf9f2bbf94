//! Many and slow clients beside normal ones.

use serde_json::json;

use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

const MIB: usize = 1024 * 1024;

#[test]
fn a_client_that_does_not_read_holds_its_provider_back_and_not_the_memory() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let body = json!({"model": "x", "stream": true, "messages": []});
        gateway.call("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").expect(200);
        let before = gateway.resident_bytes();
        let event =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(60_000));
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut client = gateway.client();
            client.send(post("/v1/chat/completions", "", &body));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.begin_stream();
            // Send until nobody takes any more: the kernel's buffers on the way are all that fills.
            provider.wire.stream().set_nonblocking(true).unwrap();
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            let sent = fill(provider.wire.stream(), chunk.as_bytes(), 256 * MIB);
            assert!(sent < 256 * MIB, "somebody takes it all");
            provider.wire.stream().set_nonblocking(false).unwrap();
            held.push((client, provider, chunk.len(), sent));
        }
        let grown = gateway.resident_bytes().saturating_sub(before);
        assert!(grown < 24 * MIB, "{grown} bytes for four clients that do not read");
        // Others are served meanwhile, and the slow ones go on where they stopped.
        gateway.client().get("/v1/models").expect(200);
        let (mut client, mut provider, chunk_bytes, sent) = held.pop().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let cut = chunk_bytes - sent % chunk_bytes;
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                provider.send(&chunk.as_bytes()[chunk_bytes - cut..]);
                provider.send_chunk("data: [DONE]\n\n");
                provider.end_chunks();
            });
            let answer = client.read_response().expect(200);
            assert_eq!(answer.events().last().unwrap(), "[DONE]");
        });
    });
}

/// Writes copies of `chunk` until the socket has taken none for as long as the gateway answers somebody else.
fn fill(mut stream: &std::net::TcpStream, chunk: &[u8], most: usize) -> usize {
    use std::io::Write;
    let (mut sent, mut refused) = (0, 0);
    while sent < most && refused < 200 {
        match stream.write(&chunk[sent % chunk.len()..]) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                refused += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway =
            Setup::with_upstream(&upstream).driver(driver).setting("server.writeTimeoutMs", 200).start();
        let mut client = gateway.client();
        client.send(post("/v1/chat/completions", "", &json!({"model": "x", "stream": true, "messages": []})));
        let mut provider = upstream.accept();
        provider.read_request();
        provider.begin_stream();
        let event = format!("data: {{\"choices\":[],\"x\":\"{}\"}}\n\n", "x".repeat(60_000));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        // Until the gateway gives up on its client and with it on us.
        while provider.wire.try_send(&chunk) {}
        let record = &gateway.usage_records(1)[0];
        assert_eq!((&record["outcome"], &record["endedBy"]), (&json!("client_closed"), &json!("client")));
    });
}

#[test]
fn a_thousand_slow_clients_do_not_hold_up_the_others() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway =
            Setup::with_upstream(&upstream).driver(driver).setting("server.headTimeoutMs", 60_000).start();
        let chat = post("/v1/chat/completions", "", &json!({"model": "x", "messages": []}));
        gateway.call(&chat).expect(200);
        let before = gateway.resident_bytes();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\n");
        // A third within the head, a third within the body, a third between requests.
        let parts = [head.clone(), format!("{head}Content-Length: 100\r\n\r\n{{"), String::new()];
        let mut slow: Vec<_> = (0..1_000).map(|_| gateway.client()).collect();
        for (index, client) in slow.iter_mut().enumerate() {
            client.send(&parts[index % 3]);
        }
        gateway.wait_for_metric("routerly_connections_open", |open| open >= 1_000.0);
        let mut client = gateway.client();
        for _ in 0..50 {
            client.call(&chat).expect(200);
            gateway.call(&chat).expect(200);
        }
        let grown = gateway.resident_bytes().saturating_sub(before);
        assert!(grown < 96 * MIB, "{grown} bytes for a thousand slow clients");
        // Slow is not wrong: the ones that go on are served.
        slow[0].send(format!("Content-Length: {}\r\n\r\n", "{\"model\":\"x\"}".len()));
        slow[0].send("{\"model\":\"x\"}");
        slow[0].read_response().expect(200);
        slow[2].call(&chat).expect(200);
        drop(slow);
        gateway.wait_for_metric("routerly_connections_open", |open| open <= 3.0);
        assert_eq!(gateway.metric("routerly_panics_total"), 0.0);
    });
}
