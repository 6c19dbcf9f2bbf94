//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::home::Home;
use crate::support::load::chat;
use crate::support::pki::{Authority, TlsUpstream};
use crate::support::process::{Ended, Process};
use crate::support::upstream::behaviour::{self, CHAT, json_answer};
use crate::support::wire::Wire;
use crate::support::{MockUpstream, Setup, on_each_driver};

/// `us@er` and `p:ss`, percent-encoded as a URL wants them.
const CREDENTIALS: &str = "us%40er:p%3Ass";
/// The same as RFC 7617 wants them.
const AUTHORIZATION: &str = "Basic dXNAZXI6cDpzcw==";

/// A proxy that answers CONNECT and leads every tunnel to one address.
struct Tunnels {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    fn start(target: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let list = Arc::clone(&heads);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let list = Arc::clone(&list);
                std::thread::spawn(move || {
                    let mut wire = Wire::of(client.try_clone().unwrap());
                    let head = String::from_utf8(wire.take_until(b"\r\n\r\n")).unwrap();
                    list.lock().unwrap().push(head);
                    wire.send(answer);
                    if answer.starts_with("HTTP/1.1 200") {
                        assert!(wire.received.is_empty(), "nothing comes before the tunnel stands");
                        tunnel(client, target);
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, target: SocketAddr) {
    let server = TcpStream::connect(target).unwrap();
    client.set_read_timeout(None).unwrap();
    let pairs = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

fn start(home: &Home, environment: &[(&str, String)]) -> Process {
    let mut command = home.command();
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::listening(command)
}

#[test]
fn https_providers_are_reached_through_a_tunnel() {
    let authority = Authority::new();
    // Only the proxy knows where this name leads.
    let upstream = TlsUpstream::start(&authority.issue(&["provider.test"]), json_answer(200, CHAT));
    on_each_driver(|driver| {
        let proxy = Tunnels::start(upstream.address(), "HTTP/1.1 200 Connection established\r\n\r\n");
        let setup = Setup::new().upstream_models("https://provider.test:8443/v1").driver(driver);
        let home = Home::of(&setup.setting("caFile", "ca.pem"));
        home.write("ca.pem", &authority.pem);
        let gateway = start(&home, &[("HTTPS_PROXY", format!("http://{CREDENTIALS}@{}", proxy.address))]);
        for _ in 0..3 {
            gateway.call(chat("up/chat", false)).expect(200);
        }
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "one tunnel is kept for all: {heads:?}");
        assert!(heads[0].starts_with("CONNECT provider.test:8443 HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[0].contains("\r\nHost: provider.test:8443\r\n"), "{}", heads[0]);
        assert!(heads[0].contains(&format!("\r\nProxy-Authorization: {AUTHORIZATION}\r\n")), "{}", heads[0]);
        let met = upstream.met();
        let head = met.last().unwrap().head.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: provider.test:8443\r\n"), "{head}");
        assert!(!head.contains("proxy-authorization"), "the proxy's key is not the provider's");
    });
}

#[test]
fn a_proxy_that_refuses_is_502_and_the_log_says_so_without_the_password() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    for (answer, cause) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "it answered CONNECT with 407",
        ),
        ("SSH-2.0-x\r\n\r\n", "its answer to CONNECT is malformed"),
        ("HTTP/1.1 200 OK\r\n\r\nearly", "it sent bytes before the tunnel was used"),
    ] {
        let proxy = if cause.contains("before the tunnel") {
            // Comes in one piece, so that the bytes are there with the head.
            Tunnels::start(nowhere, answer)
        } else {
            Tunnels::start(nowhere, answer)
        };
        let home = Home::of(&Setup::new().upstream_models("https://provider.test/v1"));
        let gateway = start(&home, &[("https_proxy", format!("http://{CREDENTIALS}@{}", proxy.address))]);
        let refused = gateway.call(chat("up/chat", false)).expect(502);
        assert_eq!(refused.json()["error"]["message"], "the provider could not be reached");
        gateway.wait_for_line(&format!("request; HTTP proxy: {cause}"));
        assert!(proxy.heads()[0].starts_with("CONNECT provider.test:443 "), "{:?}", proxy.heads());
        let said = gateway.lines().join("\n");
        assert!(!said.contains("p:ss") && !said.contains("p%3Ass") && !said.contains("dXNAZXI6"), "{said}");
    }
}

#[test]
fn http_providers_are_asked_for_with_the_absolute_form() {
    on_each_driver(|driver| {
        let proxy = MockUpstream::with(behaviour::answers_each_dialect);
        let home = Home::of(&Setup::new().upstream_models("http://provider.test:8080/v1").driver(driver));
        let url = format!("http://{CREDENTIALS}@{}", proxy.address());
        let gateway = start(&home, &[("HTTP_PROXY", url)]);
        let mut client = gateway.client();
        client.call(chat("up/chat", false)).expect(200);
        client.get("/v1/files?limit=2").expect(200);
        for expected in [
            ("POST", "http://provider.test:8080/v1/chat/completions"),
            ("GET", "http://provider.test:8080/v1/files?limit=2"),
        ] {
            let (connection, request) = proxy.next_request();
            assert_eq!(request.head.request_line(), expected);
            assert_eq!(connection, 0);
            assert_eq!(request.head.field("host"), Some("provider.test:8080"));
            assert_eq!(request.head.field("proxy-authorization"), Some(AUTHORIZATION));
        }
    });
}

#[test]
fn names_in_no_proxy_are_called_directly() {
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    let home = Home::of(&Setup::with_upstream(&upstream));
    let environment = [
        ("HTTP_PROXY", "http://127.0.0.1:1".to_owned()),
        ("NO_PROXY", "example.com, 127.0.0.0/8".to_owned()),
    ];
    let gateway = start(&home, &environment);
    gateway.call(chat("up/chat", false)).expect(200);
    let (_, request) = upstream.next_request();
    assert_eq!(request.head.request_line(), ("POST", "/v1/chat/completions"));
    drop(gateway);
    // Without the exception the proxy is asked, and nobody is there.
    let gateway = start(&home, &environment[..1]);
    gateway.call(chat("up/chat", false)).expect(502);
    gateway.wait_for_line("request; cannot connect");
}

#[test]
fn a_proxy_that_is_no_http_proxy_is_a_mistake_that_keeps_the_password() {
    let home = Home::of(&Setup::demo());
    let mut command = home.command();
    command.env("HTTPS_PROXY", "socks5://user:hunter2@proxy.test:1080");
    let ended = Ended::of(command).expect(1);
    ended.says(&["environment: HTTPS_PROXY", "expected http://[user:password@]host[:port]"]);
    assert!(!ended.err.contains("hunter2"));
}
