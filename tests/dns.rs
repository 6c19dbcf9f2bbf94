//! Names of providers. What a resolver may do is held by the unit tests of `upstream`; here are the names that every
//! machine resolves by itself.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use crate::support::load::chat;
use crate::support::upstream::behaviour;
use crate::support::{Head, Message, Setup, Wire, on_each_driver};

#[test]
fn a_name_is_tried_at_all_its_addresses() {
    let known: Vec<SocketAddr> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    on_each_driver(|driver| {
        // One family listens; the other, where the name has it, refuses.
        for (family, loopback) in [("IPv4", "127.0.0.1"), ("IPv6", "[::1]")] {
            let is_known = known.iter().any(|address| address.is_ipv4() == (family == "IPv4"));
            let Ok(listener) = TcpListener::bind(format!("{loopback}:0")) else { continue };
            if !is_known {
                eprintln!("localhost has no {family} address here");
                continue;
            }
            let port = listener.local_addr().unwrap().port();
            let provider = std::thread::spawn(move || {
                let mut wire = Wire::of(listener.accept().unwrap().0);
                for _ in 0..2 {
                    let head = Head::read(&mut wire);
                    assert_eq!(head.field("host"), Some(format!("localhost:{port}").as_str()));
                    Message::read_body(&mut wire, head);
                    wire.send(behaviour::json_answer(200, behaviour::CHAT));
                }
            });
            let url = format!("http://localhost:{port}/v1");
            let gateway = Setup::new().upstream_models(&url).driver(driver).start();
            for _ in 0..2 {
                gateway.call(chat("up/chat", false)).expect(200);
            }
            provider.join().unwrap();
            assert_eq!(gateway.metric("routerly_upstream_connects_total"), 1.0);
        }
    });
}

#[test]
fn a_name_that_nobody_has_is_502_and_the_log_names_it() {
    // RFC 6761, section 6.4: no resolver may find it. Where none can be asked, the answer must not take its time.
    let setup =
        Setup::new().upstream_models("http://nobody.invalid/v1").setting("upstream.connectTimeoutMs", 25_000);
    let gateway = setup.env("RES_OPTIONS", "timeout:1 attempts:1").start();
    for _ in 0..2 {
        let answer = gateway.call(chat("up/chat", false)).expect(502);
        let error = answer.json()["error"].clone();
        assert_eq!(error["code"], "upstream_error");
        assert!(!error.to_string().contains("invalid"), "a client does not learn where we call: {error}");
    }
    gateway.wait_for_line("cannot resolve nobody.invalid");
    assert!(gateway.usage_records(0).is_empty(), "nobody was called");
}

#[test]
fn nobody_at_the_address_is_502_and_the_log_says_so() {
    on_each_driver(|driver| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let gateway =
            Setup::new().upstream_models(&format!("http://127.0.0.1:{port}/v1")).driver(driver).start();
        let answer = gateway.call(chat("up/chat", false)).expect(502);
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
        gateway.wait_for_line("cannot connect");
    });
}
