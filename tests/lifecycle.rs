//! Start and end: drivers, cores, signals, ports, and one process per home.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::load::{self, chat};
use crate::support::process::{Ended, Process};
use crate::support::upstream::behaviour;
use crate::support::wire::Ending;
use crate::support::{MockUpstream, Setup, eventually, on_each_driver};

const FIRST: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"chat\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
const LAST: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"chat\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n";

/// A stream that has begun: the client has its first event.
fn begun_stream(
    gateway: &Process,
    upstream: &MockUpstream,
) -> (crate::support::Client, crate::support::upstream::Connection) {
    let mut client = gateway.client();
    client.send(chat("up/chat", true));
    let mut provider = upstream.accept();
    provider.read_request();
    provider.begin_stream();
    provider.send_chunk(FIRST);
    client.read_until("\"one\"");
    (client, provider)
}

/// A connection that waits for its second request.
fn idle_client(gateway: &Process) -> crate::support::Client {
    let mut client = gateway.client();
    client.get("/health").expect(200);
    client
}

#[test]
fn a_signal_to_end_lets_streams_finish_and_takes_nothing_new() {
    on_each_driver(|driver| {
        for signal in ["TERM", "INT"] {
            let upstream = MockUpstream::manual();
            let home = Home::of(&Setup::with_upstream(&upstream).driver(driver));
            let mut gateway = home.start();
            let (mut client, mut provider) = begun_stream(&gateway, &upstream);
            let mut idle = idle_client(&gateway);
            gateway.signal(signal);
            idle.expect_closed();
            eventually("refused connections", || {
                TcpStream::connect(gateway.address()).is_err().then_some(())
            });
            provider.send_chunk(LAST);
            provider.end_chunks();
            client.read_until("data: [DONE]\n\n\r\n0\r\n\r\n");
            client.expect_closed();
            assert!(gateway.wait_exit().success());
            gateway.wait_for_line("stopped");
            let records = home.records();
            assert_eq!(records.len(), 1);
            assert_eq!((&records[0]["outcome"], &records[0]["outputTokens"]), (&"success".into(), &2.into()));
        }
    });
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_has_a_record() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let setup = Setup::with_upstream(&upstream).driver(driver).setting("drainTimeoutMs", 100);
        let home = Home::of(&setup);
        let mut gateway = home.start();
        let (mut client, mut provider) = begun_stream(&gateway, &upstream);
        gateway.signal("TERM");
        // Said in the client's own terms, not by a silent end.
        let rest = String::from_utf8(client.wire.take_to_end().0).unwrap();
        assert!(rest.contains("gateway_stopped") && rest.ends_with("0\r\n\r\n"), "{rest}");
        provider.expect_closed();
        assert!(gateway.wait_exit().success());
        gateway.wait_for_line("drain time-out: connections cut");
        let records = home.records();
        assert_eq!(records.len(), 1, "the provider was called");
        assert_eq!((&records[0]["outcome"], &records[0]["endedBy"]), (&"error".into(), &"gateway".into()));
    });
}

#[test]
fn whatever_is_under_way_settles_when_the_time_to_drain_is_over() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let setup = Setup::with_upstream(&upstream).driver(driver).setting("drainTimeoutMs", 0);
        let home = Home::of(&setup);
        let mut gateway = home.start();
        // One waits for its answer, one for the rest of it, one for the rest of its own body, one for that of a body
        // that streams through, one for the rest of its head.
        let mut waiting = gateway.client();
        waiting.send(chat("up/chat", false));
        let mut silent = upstream.accept();
        silent.read_request();
        let mut halfway = gateway.client();
        halfway.send(chat("up/chat", false));
        let mut torn = upstream.accept();
        torn.read_request();
        torn.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{");
        let mut sending = gateway.client();
        sending.send("POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 100\r\n");
        sending.send(format!("Authorization: Bearer {}\r\n\r\n{{", crate::support::TOKEN));
        let mut uploading = gateway.client();
        uploading.send(
            "POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n",
        );
        uploading.send(format!("Authorization: Bearer {}\r\n\r\nbegun", crate::support::TOKEN));
        let mut storing = upstream.accept();
        storing.wire.take_until(b"begun");
        let mut asking = gateway.client();
        asking.send("POST /v1/chat/completions HTTP/1.1\r\nHo");
        gateway.wait_for_metric("routerly_connections_open", |open| open >= 6.0);
        gateway.signal("TERM");
        for client in [&mut waiting, &mut halfway, &mut sending, &mut uploading, &mut asking] {
            let answer = client.read_response().expect(503);
            assert_eq!(answer.json()["error"]["code"], "gateway_stopped");
            assert_eq!(answer.field("connection"), Some("close"));
            client.wire.take_to_end();
        }
        assert!(gateway.wait_exit().success());
        let records = home.records();
        assert_eq!(records.len(), 3, "{records:?}");
        assert!(records.iter().all(|record| record["endedBy"] == "gateway"), "{records:?}");
    });
}

#[test]
fn clients_that_keep_on_sending_are_answered_when_the_time_to_drain_is_over() {
    on_each_driver(|driver| {
        let home = Home::of(&Setup::demo().driver(driver).setting("drainTimeoutMs", 0));
        let mut gateway = home.start();
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let mut client = gateway.client();
                client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 30000000\r\n");
                client.send(format!("Authorization: Bearer {}\r\n\r\n", crate::support::TOKEN));
                std::thread::spawn(move || {
                    while client.wire.try_send([b' '; 100]) {
                        std::thread::yield_now();
                    }
                    client.read_response()
                })
            })
            .collect();
        gateway.wait_for_metric("routerly_connections_open", |open| open >= 9.0);
        gateway.signal("TERM");
        for sender in senders {
            let answer = sender.join().unwrap().expect(503);
            assert_eq!(answer.json()["error"]["code"], "gateway_stopped");
        }
        assert!(gateway.wait_exit().success());
    });
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let upstream = MockUpstream::manual();
    let home = Home::of(&Setup::with_upstream(&upstream).setting("drainTimeoutMs", 86_400_000));
    let mut gateway = home.start();
    let (mut client, _provider) = begun_stream(&gateway, &upstream);
    let mut idle = idle_client(&gateway);
    gateway.signal("TERM");
    idle.expect_closed();
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(130));
    client.wire.take_to_end();
}

#[test]
fn requests_that_are_under_way_when_the_end_is_asked_for_are_answered() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let home = Home::of(&Setup::with_upstream(&upstream).driver(driver));
        let mut gateway = home.start();
        let mut idle = idle_client(&gateway);
        let mut client = gateway.client();
        client.send(chat("up/chat", false));
        let mut provider = upstream.accept();
        provider.read_request();
        gateway.signal("TERM");
        idle.expect_closed();
        provider.answer(200, behaviour::CHAT);
        let answer = client.read_response().expect(200);
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.expect_closed(), Ending::Closed);
        assert!(gateway.wait_exit().success());
        assert_eq!(home.records().len(), 1);
    });
}

#[test]
fn both_drivers_serve_on_several_cores_and_all_their_counts_arrive() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let home = Home::of(&Setup::with_upstream(&upstream).driver(driver));
        let mut command = home.command();
        command.args(["--cores", "2"]);
        let mut gateway = Process::listening(command);
        gateway.wait_for_line(&format!("core ready; {driver}"));
        // The kernel spreads connections by a hash of their ports: 64 never meet on one core.
        let mut clients: Vec<_> = (0..64).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.send(chat("up/chat", false));
        }
        for client in &mut clients {
            client.read_response().expect(200);
        }
        gateway.wait_for_metric("routerly_calls_total", |calls| calls == 64.0);
        let metrics = [
            ("routerly_project_calls_total{project=\"demo\"}", 64.0),
            ("routerly_token_calls_total{token=\"demo-token\"}", 64.0),
            ("routerly_model_calls_total{model=\"up/chat\"}", 64.0),
            ("routerly_input_tokens_total", 64.0 * 5.0),
            ("routerly_output_tokens_total", 64.0 * 7.0),
            ("routerly_requests_total{endpoint=\"chat\",status=\"2xx\",outcome=\"success\"}", 64.0),
            ("routerly_upstream_attempts_total", 64.0),
            ("routerly_journal_records_total", 64.0),
        ];
        for (series, value) in metrics {
            gateway.wait_for_metric(series, |now| now == value);
        }
        assert_eq!(load::traces(&home.wait_for_records(64)).len(), 64);
        gateway.signal("TERM");
        drop(clients);
        assert!(gateway.wait_exit().success());
        gateway.wait_for_line("stopped");
        let core = |line: &String| serde_json::from_str::<Value>(line).ok()?["core"].as_u64();
        let cores: HashSet<u64> = gateway.lines().iter().filter_map(core).collect();
        assert_eq!(cores, HashSet::from([0, 1]), "connections are spread");
        assert_eq!(home.records().len(), 64);
    });
}

/// Lets the kernel refuse io_uring_setup(2) to `command`, as the seccomp profile of a container does.
#[expect(unsafe_code, reason = "a filter is set between fork and exec")]
fn without_io_uring(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe; the program it is given is on the stack of the call and is copied by it.
    unsafe {
        command.pre_exec(|| {
            let load_number = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
            let is_setup = libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_io_uring_setup as u32 };
            let refuse = libc::sock_filter {
                code: 0x06,
                jt: 0,
                jf: 0,
                k: libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
            };
            let allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
            let mut filter = [load_number, is_setup, refuse, allow];
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            let set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

#[test]
fn where_io_uring_is_refused_the_same_binary_runs_on_epoll_and_says_so() {
    let home = Home::of(&Setup::demo().driver("auto"));
    let mut command = home.command();
    without_io_uring(&mut command);
    let gateway = Process::listening(command);
    gateway.wait_for_line("core ready; epoll");
    gateway.wait_for_line("io_uring is not available");
    gateway.call(chat("simulated/chat", true)).expect(200);
    drop(gateway);

    home.edit("config/settings.json", |settings| settings["driver"] = "io_uring".into());
    let mut command = home.command();
    without_io_uring(&mut command);
    Ended::of(command).expect(1).says(&["a core cannot run", "io_uring"]);
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let home = Home::of(&Setup::demo());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = home.command();
    command.args(["--port", &address.port().to_string()]);
    Ended::of(command).expect(1).says(&[&format!("cannot listen on {address}"), "in use"]);

    // Also where the other one shares its port, as we do among our cores.
    let gateway = home.start();
    let other = Home::of(&Setup::demo());
    let mut command = other.command();
    command.args(["--port", &gateway.address().port().to_string()]);
    Ended::of(command).expect(1).says(&["cannot listen on", "in use"]);
    gateway.call(chat("simulated/chat", false)).expect(200);
}

#[test]
fn a_second_process_on_the_same_home_is_refused_and_told_whose_it_is() {
    let home = Home::of(&Setup::demo());
    let mut gateway = home.start();
    Ended::of(home.command()).expect(1).says(&[&format!("process {}", gateway.pid())]);
    gateway.call(chat("simulated/chat", false)).expect(200);
    // A check is allowed beside it, and so is a report.
    home.run(&["check"]).expect(0);
    home.run(&["usage"]).expect(0);
    gateway.kill9();
    home.start().call(chat("simulated/chat", false)).expect(200);
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let home = Home::of(&Setup::demo().every_model("simulated", json!({"ttftMs": 0, "tokensPerSecond": 0})));
    let mut child = home.command().spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the gateway did not start");
        if line.contains("listening") {
            break crate::support::process::address_in(&line).unwrap();
        }
    };
    // More lines than pipe and queue hold, from here on unread.
    let request = chat("simulated/chat", false);
    let mut stream = load::connect(address).unwrap();
    for _ in 0..1_000 {
        assert_eq!(load::try_call(&mut stream, &request).map(|seen| seen.status), Some(200));
    }
    let sent = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert!(eventually("the end", || child.try_wait().unwrap()).success());
    assert_eq!(home.records().len(), 1_000);
    drop(output);
}

/// Bounds the descriptors of `command`.
#[expect(unsafe_code, reason = "a limit is set between fork and exec")]
fn limit_descriptors(command: &mut Command, count: u64) {
    // SAFETY: setrlimit is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
            let set = libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0;
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

#[test]
fn running_out_of_descriptors_is_survived() {
    on_each_driver(|driver| {
        let home = Home::of(&Setup::demo().driver(driver));
        let mut command = home.command();
        limit_descriptors(&mut command, 64);
        let gateway = Process::listening(command);
        // The kernel completes connections that nobody accepts yet.
        let clients: Vec<_> = (0..100).map(|_| gateway.client()).collect();
        gateway.wait_for_line("accept failed");
        drop(clients);
        gateway.client().get("/health").expect(200);
        assert!(gateway.metric("routerly_accept_errors_total") > 0.0);
        gateway.call(chat("simulated/chat", false)).expect(200);
    });
}

#[test]
fn flags_come_before_settings() {
    let home = Home::of(&Setup::demo().setting("host", "0.0.0.0").setting("port", 1));
    let mut command = home.command();
    command.args(["--host", "127.0.0.1", "--port", "0", "--cores", "1"]);
    let gateway = Process::listening(command);
    assert!(gateway.wait_for_line("listening").contains("127.0.0.1"));
    gateway.client().get("/health").expect(200);
}
