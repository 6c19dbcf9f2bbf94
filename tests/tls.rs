//! TLS on both sides against a throw-away authority.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::home::Home;
use crate::support::load::chat;
use crate::support::pki::{Authority, Identity, TlsClient, TlsUpstream};
use crate::support::process::{Ended, Process};
use crate::support::upstream::behaviour::{CHAT, answers, json_answer};
use crate::support::{MockUpstream, Setup, eventually, on_each_driver, post};

// --- the listener

fn with_listener(setup: Setup) -> Setup {
    setup.setting("tls.certFile", "tls/cert.pem").setting("tls.keyFile", "tls/key.pem")
}

fn write_identity(home: &Home, identity: &Identity) {
    home.write("tls/cert.pem", &identity.certificate_pem);
    home.write("tls/key.pem", &identity.key_pem);
}

fn tls_home(identity: &Identity) -> Home {
    let home = Home::of(&with_listener(Setup::demo()));
    write_identity(&home, identity);
    home
}

fn health(client: &mut TlsClient) {
    let (head, body) = client.call(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.starts_with(b"{\"status\":\"ok\""));
}

#[test]
fn a_client_calls_over_tls_and_http_1_1_is_agreed() {
    let authority = Authority::new();
    on_each_driver(|driver| {
        let home = Home::of(&with_listener(Setup::demo().driver(driver)));
        write_identity(&home, &authority.issue(&["localhost"]));
        let mut gateway = home.start();
        assert!(gateway.wait_for_line("listening").contains("https://"));
        let mut client =
            TlsClient::connect(gateway.address(), authority.client(&["h2", "http/1.1"])).unwrap();
        assert_eq!(client.stream.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        for stream in [false, true, false] {
            let (head, body) = client.call(&chat("simulated/chat", stream));
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let ends = if stream { body.ends_with(b"\r\n0\r\n\r\n") } else { body.ends_with(b"}") };
            assert!(ends, "{}", String::from_utf8_lossy(&body));
        }
        // Without any protocol offered the answer is HTTP/1.1 too.
        health(&mut TlsClient::connect(gateway.address(), authority.client(&[])).unwrap());
        gateway.signal("TERM");
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).expect("closed with close_notify, not cut");
        assert!(gateway.wait_exit().success());
        assert_eq!(home.records().len(), 3);
    });
}

#[test]
fn peers_that_do_not_fit_are_turned_away_and_others_served() {
    let authority = Authority::new();
    let home = tls_home(&authority.issue(&["localhost"]));
    let gateway = home.start();
    let no_common = TlsClient::connect(gateway.address(), authority.client(&["h2"]));
    assert!(no_common.err().unwrap().to_string().contains("NoApplicationProtocol"));
    // Plain HTTP, and something that is not TLS at all.
    for bytes in [b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n".as_slice(), &[0xff; 64]] {
        let mut plain = TcpStream::connect(gateway.address()).unwrap();
        plain.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/"), "nothing is said in clear");
    }
    let untrusting = TlsClient::connect(gateway.address(), Authority::new().client(&["http/1.1"]));
    assert!(untrusting.is_err());
    health(&mut TlsClient::connect(gateway.address(), authority.client(&["http/1.1"])).unwrap());
}

#[test]
fn a_large_body_travels_over_tls_on_both_sides() {
    let authority = Authority::new();
    let text = "x".repeat(700_000);
    let answer = CHAT.replace("Hello", &text);
    let upstream = TlsUpstream::start(&authority.issue(&["localhost"]), json_answer(200, &answer));
    on_each_driver(|driver| {
        let setup = with_listener(Setup::new().upstream_models(&upstream.url("localhost")));
        let home = Home::of(&setup.driver(driver).setting("caFile", "tls/ca.pem"));
        write_identity(&home, &authority.issue(&["localhost"]));
        home.write("tls/ca.pem", &authority.pem);
        let gateway = home.start();
        let mut client = TlsClient::connect(gateway.address(), authority.client(&["http/1.1"])).unwrap();
        let question = json!({"model": "up/chat", "messages": [{"role": "user", "content": text}]});
        for _ in 0..2 {
            let (head, body) = client.call(&post("/v1/chat/completions", "", &question));
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(body == answer.as_bytes(), "{} bytes", body.len());
        }
        let met = upstream.met();
        let last = met.last().unwrap();
        assert_eq!(last.alpn.as_deref(), Some(b"http/1.1".as_slice()));
        let expected = question.to_string().replace("up/chat", "chat");
        assert!(last.body == expected.as_bytes(), "{} bytes", last.body.len());
    });
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let home = tls_home(&first);
    let gateway = home.start();
    let connect = || TlsClient::connect(gateway.address(), authority.client(&["http/1.1"])).unwrap();
    let mut old = connect();
    assert_eq!(old.shown(), first.certificate);
    write_identity(&home, &second);
    let said = gateway.lines().len();
    gateway.signal("HUP");
    gateway.wait_for_line_after(said, "configuration in force");
    assert_eq!(connect().shown(), second.certificate);
    health(&mut old);

    home.write("tls/key.pem", &first.key_pem);
    let said = gateway.lines().len();
    gateway.signal("HUP");
    gateway.wait_for_line_after(said, "configuration not taken; does not fit the certificate");
    assert_eq!(connect().shown(), second.certificate);
    health(&mut old);
}

#[test]
fn files_that_cannot_be_used_refuse_the_start_and_are_named() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let other = authority.issue(&["localhost"]);
    let (certificate, key) = (Some(identity.certificate_pem.as_str()), Some(identity.key_pem.as_str()));
    let cases = [
        (None, key, "cert.pem: expected a PEM certificate chain"),
        (key, key, "cert.pem: expected a PEM certificate chain, found none"),
        (Some("hello"), key, "cert.pem: expected a PEM certificate chain, found none"),
        (certificate, None, "key.pem: expected a PEM private key"),
        (certificate, certificate, "key.pem: expected a PEM private key"),
        (certificate, Some(other.key_pem.as_str()), "key.pem: the key does not fit the certificate"),
    ];
    for (certificate, key, expected) in cases {
        let home = Home::of(&with_listener(Setup::demo()));
        for (name, text) in [("tls/cert.pem", certificate), ("tls/key.pem", key)] {
            if let Some(text) = text {
                home.write(name, text);
            }
        }
        home.run(&["check"]).expect(1).says(&[expected, "1 mistake"]);
        Ended::of(home.command()).expect(1).says(&[expected]);
    }
    let home = Home::of(&Setup::new().upstream_models("https://localhost:1/v1").setting("caFile", "ca.pem"));
    Ended::of(home.command()).expect(1).says(&["ca.pem: expected PEM certificates"]);
    home.write("ca.pem", "no certificate");
    home.run(&["check"]).expect(1).says(&["ca.pem: expected PEM certificates, found none"]);
}

// --- providers

/// A gateway whose models are at `url` and that trusts `authority`.
fn calling(authority: &Authority, url: &str, setup: Setup) -> (Home, Process) {
    let home = Home::of(&setup.upstream_models(url).setting("caFile", "ca.pem"));
    home.write("ca.pem", &authority.pem);
    let gateway = home.start();
    (home, gateway)
}

#[test]
fn providers_of_both_versions_are_called_and_their_connections_kept() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        on_each_driver(|driver| {
            let upstream = TlsUpstream::start_with(&identity, versions, json_answer(200, CHAT));
            let (_home, gateway) =
                calling(&authority, &upstream.url("127.0.0.1"), Setup::new().driver(driver));
            for _ in 0..5 {
                gateway.call(chat("up/chat", false)).expect(200);
            }
            let met = upstream.met();
            assert_eq!(met.len(), 5);
            assert!(met.iter().all(|met| met.version == Some(versions[0].version)));
            assert_eq!(gateway.metric("routerly_upstream_tls_handshakes_total"), 1.0);
            assert_eq!(gateway.metric("routerly_upstream_reuses_total"), 4.0);
        });
    }
}

#[test]
fn the_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let closing = json_answer(200, CHAT).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let upstream = TlsUpstream::start_with(&identity, versions, closing.clone());
        let (_home, gateway) = calling(&authority, &upstream.url("localhost"), Setup::new());
        for _ in 0..3 {
            gateway.call(chat("up/chat", false)).expect(200);
        }
        let resumed: Vec<bool> = upstream.met().iter().map(|met| met.resumed).collect();
        assert_eq!(resumed, [false, true, true], "{versions:?}");
        assert_eq!(gateway.metric("routerly_upstream_tls_handshakes_total"), 3.0);
        assert_eq!(gateway.metric("routerly_upstream_tls_resumed_total"), 2.0);
    }
}

#[test]
fn a_provider_that_cannot_be_trusted_is_502_and_the_log_says_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cases = [
        (authority.issue(&["other.test"]), "not valid for name"),
        (authority.issue_until(&["localhost"], 2002), "expired"),
        (other.issue(&["localhost"]), "UnknownIssuer"),
    ];
    for (identity, cause) in cases {
        let upstream = TlsUpstream::start(&identity, json_answer(200, CHAT));
        let (home, gateway) = calling(&authority, &upstream.url("localhost"), Setup::new());
        let answer = gateway.call(chat("up/chat", false)).expect(502);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "upstream_error");
        assert_eq!(error["message"], "the provider could not be reached", "{cause}");
        gateway.wait_for_line(&format!("request; TLS hand-shake failed; {cause}"));
        assert!(upstream.met().is_empty(), "the key was not sent");
        assert!(home.records().is_empty());
        // It would show the same certificate again.
        assert_eq!(gateway.metric("routerly_upstream_connect_errors_total"), 1.0);
    }
}

#[test]
fn a_provider_that_cannot_be_trusted_is_followed_by_another_one() {
    let authority = Authority::new();
    let untrusted = TlsUpstream::start(&authority.issue(&["other.test"]), json_answer(200, CHAT));
    let good = MockUpstream::with(answers(json_answer(200, CHAT)));
    let model = |id: &str, url: &str| json!({"id": id, "provider": "custom", "endpoint": url, "apiKey": "k"});
    let setup = Setup::new()
        .model(model("untrusted", &untrusted.url("localhost")))
        .model(model("good", &good.url()))
        .setting("caFile", "ca.pem");
    let home = Home::of(&setup);
    home.write("ca.pem", &authority.pem);
    let gateway = home.start();
    let answered = gateway.call(chat("auto", false)).expect(200);
    assert_eq!(answered.field("x-routerly-model"), Some("good"));
    assert!(untrusted.met().is_empty(), "the key was not sent");
    assert_eq!(gateway.metric("routerly_upstream_connect_errors_total"), 1.0);
}

#[test]
fn a_provider_that_does_not_shake_hands_is_given_up() {
    let authority = Authority::new();
    // Speaks, but not TLS.
    let chatty = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = chatty.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in chatty.incoming().map_while(Result::ok) {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest);
        }
    });
    let (_home, gateway) = calling(&authority, &format!("https://localhost:{port}/v1"), Setup::new());
    gateway.call(chat("up/chat", false)).expect(502);
    gateway.wait_for_line("request; TLS hand-shake failed");

    // Says nothing: the time for connecting covers the hand-shake.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let setup = Setup::new().setting("upstream.connectTimeoutMs", 100);
    let (_home, gateway) = calling(&authority, &format!("https://localhost:{port}/v1"), setup);
    let answer = gateway.call(chat("up/chat", false)).expect(504);
    assert_eq!(answer.json()["error"]["code"], "timeout");
    // The attempt is not left behind.
    let (mut socket, _) = silent.accept().unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    eventually("the end of the connection", || socket.read_to_end(&mut rest).ok());
}

#[test]
fn a_body_that_only_the_end_of_the_connection_ends_needs_the_word_of_tls() {
    let authority = Authority::new();
    let head = |end: &str, kind: &str| {
        format!("HTTP/1.1 200 OK\r\nConnection: {end}\r\nContent-Type: {kind}\r\n\r\n")
    };
    let short = CHAT;
    let long = CHAT.replace("Hello", &"x".repeat(200_000));
    let marked = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n";
    on_each_driver(|driver| {
        let call = |answer: String, stream: bool| {
            let upstream = TlsUpstream::start(&authority.issue(&["localhost"]), answer);
            let (home, gateway) =
                calling(&authority, &upstream.url("localhost"), Setup::new().driver(driver));
            let question = json!({"model": "up/chat", "stream": stream, "messages": []});
            let mut client = gateway.client();
            client.send(post("/v1/chat/completions", "Connection: close\r\n", &question));
            let (bytes, _) = client.wire.take_to_end();
            (String::from_utf8(bytes).unwrap(), home.wait_for_records(1).remove(0))
        };
        for (body, cut_status) in [(short, 502), (long.as_str(), 200)] {
            let (answer, record) = call(head("close", "application/json") + body, false);
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("chatcmpl-1"), "{record}");
            assert_eq!(record["outcome"], "success");
            let (answer, record) = call(head("cut", "application/json") + body, false);
            assert!(answer.starts_with(&format!("HTTP/1.1 {cut_status}")), "{record}");
            assert!(!answer.ends_with("0\r\n\r\n"), "it must not look whole");
            assert_eq!((&record["outcome"], &record["endedBy"]), (&json!("error"), &json!("provider")));
        }
        // A stream that has said its end mark is whole however its connection ends.
        let (answer, record) = call(head("cut", "text/event-stream") + marked, true);
        assert!(answer.contains("[DONE]") && !answer.contains("\"error\""), "{answer}");
        assert_eq!(record["outcome"], "success");
    });
}
