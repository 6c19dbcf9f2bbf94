//! `routerly simulate`: the simulated provider as a server of its own, met directly and behind the gateway.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};

use crate::support::http::Head;
use crate::support::process::routerly;
use crate::support::wire::Ending;
use crate::support::{Client, Response, Setup, post};

/// A running `routerly simulate`, killed at the end of the test.
struct Server {
    child: Child,
    address: SocketAddr,
    /// Held open, so that the server can still write.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Answers of 12 tokens as fast as they can be made, and what `flags` change about that.
    fn start(flags: &str) -> Self {
        let quick = "simulate --port 0 --ttft-ms 0 --tokens-per-second 0 --output-tokens 12";
        let arguments: Vec<&str> = quick.split(' ').chain(flags.split_whitespace()).collect();
        let mut child = routerly(&arguments).spawn().expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the simulated provider did not start: {line:?}");
        };
        Self { child, address, _stdout: stdout }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Path, body and end mark of a stream of each dialect.
fn dialects(stream: bool) -> Vec<(&'static str, Value, &'static str)> {
    let messages = json!([{"role": "user", "content": "Hello!"}]);
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]});
    let gemini_path = match stream {
        true => "/v1beta/models/sim-large:streamGenerateContent?alt=sse",
        false => "/v1beta/models/sim-large:generateContent",
    };
    vec![
        (
            "/v1/chat/completions",
            json!({"model": "sim-large", "stream": stream, "messages": messages}),
            "data: [DONE]\n\n",
        ),
        (
            "/v1/responses",
            json!({"model": "sim-large", "stream": stream, "input": "Hello!"}),
            "\"type\":\"response.completed\"",
        ),
        (
            "/v1/messages",
            json!({"model": "sim-large", "stream": stream, "max_tokens": 64, "messages": messages}),
            "\"type\":\"message_stop\"",
        ),
        (gemini_path, gemini, "\"finishReason\": \"STOP\""),
    ]
}

fn script(script: &Value) -> String {
    format!("x-simulate: {script}\r\n")
}

/// A body without what tells the time.
fn timeless(response: &Response) -> String {
    let mut text = response.text().to_owned();
    for key in ["\"created\":", "\"created_at\":", "\"completed_at\":", "\"createTime\": "] {
        let pieces: Vec<String> = text
            .split(key)
            .enumerate()
            .map(|(index, piece)| match index {
                0 => piece.to_owned(),
                _ => piece[piece.find([',', '}']).unwrap()..].to_owned(),
            })
            .collect();
        text = pieces.join(key);
    }
    text
}

/// One answer of each dialect, whole and streamed, over one connection.
fn all_answers(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let asks = [false, true].into_iter().flat_map(dialects);
    asks.map(|(path, body, _)| timeless(&client.call(post(path, "", &body)).expect(200))).collect()
}

#[test]
fn every_dialect_is_answered_whole_and_as_a_stream_over_one_connection() {
    let server = Server::start("");
    let mut client = server.client();
    for round in 0..3 {
        for (path, body, _) in dialects(false) {
            let answer = client.call(post(path, "", &body)).expect(200);
            assert!(answer.head.length().is_some(), "{path} in round {round} has a length");
            assert!(answer.json().is_object(), "{path}");
        }
        for (path, body, mark) in dialects(true) {
            let answer = client.call(post(path, "", &body)).expect(200);
            assert!(answer.head.is_chunked(), "{path} in round {round} comes in chunks");
            assert!(answer.text().contains(mark), "{path}: {}", answer.text());
        }
    }
}

#[test]
fn equal_seeds_give_equal_answers_and_other_seeds_others() {
    let one = all_answers(&Server::start("--seed 7"));
    let same = all_answers(&Server::start("--seed 7"));
    let other = all_answers(&Server::start("--seed 8"));
    for (index, answer) in one.iter().enumerate() {
        assert_eq!(*answer, same[index]);
        assert_ne!(*answer, other[index]);
    }
}

#[test]
fn errors_come_as_often_as_asked_and_at_the_same_places_for_a_seed() {
    let (path, body, _) = &dialects(false)[0];
    let statuses = |flags: &str| -> Vec<u16> {
        let server = Server::start(flags);
        let mut client = server.client();
        (0..200).map(|_| client.call(post(path, "", body)).status).collect()
    };
    let drawn = statuses("--seed 3 --error-rate 0.5 --error-status 429,500");
    let failed = drawn.iter().filter(|status| **status != 200).count();
    assert!((60..=140).contains(&failed), "{failed} of 200 failed");
    assert!(drawn.contains(&429) && drawn.contains(&500));
    assert_eq!(drawn, statuses("--seed 3 --error-rate 0.5 --error-status 429,500"));
    assert!(statuses("--error-rate 0").iter().all(|status| *status == 200));
}

#[test]
fn a_rate_limit_says_when_to_come_back_in_each_dialect() {
    let server = Server::start("--error-rate 1 --error-status 429 --retry-after 9");
    let mut client = server.client();
    for (path, body, _) in dialects(true) {
        let answer = client.call(post(path, "", &body)).expect(429);
        assert_eq!(answer.field("retry-after"), Some("9"), "{path}");
        assert!(answer.json()["error"]["message"].is_string(), "{path}");
    }
}

#[test]
fn a_reset_comes_before_the_head_or_within_the_stream() {
    let server = Server::start("");
    for (path, body, _) in dialects(true) {
        let mut client = server.client();
        client.send(post(path, &script(&json!({"resetAfterEvents": 0})), &body));
        assert_eq!(client.expect_closed(), Ending::Reset, "{path}");

        // Slowly enough for the head to be there before the reset, which may overtake it.
        let mut client = server.client();
        let slowly = script(&json!({"resetAfterEvents": 3, "ttftMs": 50, "tokensPerSecond": 20}));
        client.send(post(path, &slowly, &body));
        let (received, ending) = client.wire.take_to_end();
        assert_eq!(ending, Ending::Reset, "{path} after {} bytes", received.len());
        assert!(!received.ends_with(b"0\r\n\r\n"), "{path}");
    }
}

#[test]
fn a_stalled_stream_stays_open_after_its_events() {
    let server = Server::start("");
    for (path, body, mark) in dialects(true) {
        let mut client = server.client();
        client.send(post(path, &script(&json!({"stallAfterEvents": 2})), &body));
        assert_eq!(client.read_head().status(), 200, "{path}");
        let mut received = String::new();
        while received.replace("\r\n", "\n").matches("\n\n").count() < 2 {
            received.push_str(std::str::from_utf8(&client.read_chunk().expect("a chunk")).unwrap());
        }
        assert!(!received.contains(mark), "{path}");
        // The server has one thread: while it answers another client it has had every occasion to send more.
        server.client().call(post(path, "", &body)).expect(200);
        client.wire.stream().set_nonblocking(true).unwrap();
        let nothing = client.wire.stream().peek(&mut [0]).expect_err("neither bytes nor an end");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "{path}");
    }
}

#[test]
fn a_truncated_stream_ends_its_framing_and_a_closed_one_does_not() {
    let server = Server::start("");
    for (path, body, mark) in dialects(true) {
        let mut client = server.client();
        let truncated = client.call(post(path, &script(&json!({"truncateAfterEvents": 2})), &body));
        assert!(!truncated.expect(200).text().contains(mark), "{path}");
        client.call(post(path, "", &body)).expect(200);

        client.send(post(path, &script(&json!({"closeAfterEvents": 2})), &body));
        let head = Head::read(&mut client.wire);
        assert!(head.is_chunked(), "{path}");
        let (received, ending) = client.wire.take_to_end();
        assert_eq!(ending, Ending::Closed, "{path}");
        assert!(!received.ends_with(b"0\r\n\r\n"), "{path}");
    }
}

#[test]
fn drawn_faults_happen_as_often_as_asked() {
    let server = Server::start("--reset-rate 0.2 --truncate-rate 0.2 --mid-stream-error-rate 0.2 --seed 5");
    let (path, body, mark) = &dialects(true)[0];
    let (mut whole, mut said, mut cut, mut reset) = (0, 0, 0, 0);
    for _ in 0..200 {
        let mut client = server.client();
        client.send(post(path, "Connection: close\r\n", body));
        let (received, ending) = client.wire.take_to_end();
        let text = String::from_utf8_lossy(&received);
        match ending {
            Ending::Reset => reset += 1,
            Ending::Closed if text.contains(mark.trim_end()) => whole += 1,
            Ending::Closed if text.contains("data: {\"error\"") => said += 1,
            Ending::Closed => cut += 1,
        }
    }
    // 0.2, then 0.2 of the rest, then 0.2 of that rest: 40, 32, 26 and 102 of 200.
    let close = |found: i32, expected: i32| (found - expected).abs() < 25;
    assert!(
        close(reset, 40) && close(cut, 32) && close(said, 26) && close(whole, 102),
        "{reset} resets, {cut} cut, {said} said, {whole} whole"
    );
}

#[test]
fn many_clients_at_once_are_all_served() {
    let server = Server::start("--cores 2");
    let serve = |dialect: usize| {
        let mut client = server.client();
        for round in 0..40 {
            let (path, body, _) = &dialects(round % 2 == 0)[dialect];
            client.call(post(path, "", body)).expect(200);
        }
    };
    std::thread::scope(|scope| {
        for client in 0..16 {
            scope.spawn(move || serve(client % 4));
        }
    });
}

#[test]
fn a_key_can_be_required() {
    let server = Server::start("--require-key secret");
    let (path, body, _) = &dialects(false)[0];
    server.client().call(post(path, "", body)).expect(401);
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.client().call(request).expect(200);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for flags in ["--jitter 2", "--error-rate 1 --error-status 99", "--output-tokens 9-3", "--chunk-tokens 0"]
    {
        let arguments: Vec<&str> = "simulate --port 0".split(' ').chain(flags.split(' ')).collect();
        let done = routerly(&arguments).output().unwrap();
        assert!(!done.status.success(), "{flags}");
        assert!(!done.stderr.is_empty(), "{flags}");
    }
}

#[test]
fn the_gateway_serves_from_it_over_sockets() {
    let server = Server::start("");
    let gateway = Setup::new().upstream_models(&format!("http://{}/v1", server.address)).start();
    let mut client = gateway.client();
    let rounds = 20;
    for _ in 0..rounds {
        for stream in [false, true] {
            for (path, body, mark) in &dialects(stream)[..3] {
                let answer = client.call(post(path, "", body)).expect(200);
                assert!(!stream || answer.text().contains(mark), "{path}");
            }
        }
    }
    let records = gateway.usage_records(rounds * 6);
    for record in &records {
        assert_eq!(
            (&record["outcome"], &record["outputTokens"]),
            (&json!("success"), &json!(12)),
            "{record}"
        );
    }
    let reused = gateway.metric("routerly_upstream_reuses_total");
    let opened = gateway.metric("routerly_upstream_connects_total");
    assert_eq!(
        (opened, reused),
        (1.0, (rounds * 6 - 1) as f64),
        "one connection serves all, one after another"
    );
}
