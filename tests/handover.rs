//! One gateway takes over from another on the same home, without a refused connection or a lost record.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::support::home::Home;
use crate::support::load::{chat, traces};
use crate::support::process::Process;
use crate::support::upstream::behaviour;
use crate::support::{Client, MockUpstream, PATIENCE, Setup, eventually, on_each_driver, post};

/// Starts the process that takes over.
fn replace(home: &Home) -> Process {
    let mut command = home.command();
    command.arg("--replace");
    Process::listening(command)
}

/// Clients that open a connection for each request.
struct Knocking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Knocking {
    fn start(address: std::net::SocketAddr, count: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
                    let request = post("/v1/chat/completions", "Connection: close\r\n", &body);
                    let answer = Client::connect(address).call(request).expect(200);
                    seen.push(answer.field("x-routerly-trace-id").unwrap().to_owned());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        };
        let threads = (0..count).map(thread).collect();
        Self { stop, answered, threads }
    }

    fn wait_for_more(&self, count: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        eventually("answers", || (self.answered.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// The trace ids of all answers.
    fn stop(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("no call failed")).collect()
    }
}

fn quick() -> Setup {
    Setup::demo().every_model("simulated", json!({"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": 3}))
}

#[test]
fn a_new_process_takes_over_under_load_and_nothing_is_refused_or_lost() {
    on_each_driver(|driver| {
        let home = Home::of(&quick().driver(driver).cores(2));
        let mut running = home.start();
        let address = running.address();
        let load = Knocking::start(address, 8);
        // Fewer cores, more, and the other driver.
        for (cores, driver) in [(1, driver), (3, driver), (2, "epoll"), (2, driver)] {
            load.wait_for_more(100);
            home.edit("config/settings.json", |settings| {
                settings["cores"] = json!(cores);
                settings["driver"] = json!(driver);
            });
            let next = replace(&home);
            assert_eq!(next.address(), address);
            running.wait_for_line("handed over to another process");
            assert!(running.wait_exit().success());
            next.wait_for_line("the process before this one has ended");
            running = next;
        }
        load.wait_for_more(100);
        let seen = load.stop();
        running.signal("TERM");
        assert!(running.wait_exit().success());
        let recorded = traces(&home.records());
        let lost = seen.difference(&recorded).count();
        assert_eq!((lost, recorded.len()), (0, seen.len()), "lost, recorded");
        let journals = std::fs::read_dir(home.file("data/journal")).unwrap().count();
        assert!(journals <= 2, "journals of the processes before are deleted: {journals}");
    });
}

#[test]
fn a_stream_finishes_in_the_old_process_and_its_record_is_kept_by_the_new_one() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let home = Home::of(&Setup::with_upstream(&upstream).driver(driver));
        let mut old = home.start();
        let mut client = old.client();
        client.send(chat("auto", true));
        let mut provider = upstream.accept();
        provider.read_request();
        provider.begin_stream();
        provider.send_chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n");
        client.read_head();
        client.read_until("one");

        let new = replace(&home);
        old.wait_for_line("handed over to another process");
        // Neither a third process may come in between, nor one that does not ask.
        home.run(&["start"]).expect(1).says(&[&format!("process {}", new.pid())]);
        home.run(&["start", "--replace"]).expect(1).says(&["has not ended yet"]);
        // What the new process takes while the old one is there, and what the old one finishes.
        let mut next = new.client();
        next.send(chat("auto", false));
        let mut other = upstream.accept();
        other.read_request();
        other.answer(200, behaviour::CHAT);
        next.read_response().expect(200);
        assert!(old.is_running());
        provider.send_chunk(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n",
        );
        provider.end_chunks();
        client.read_until("[DONE]");
        assert!(old.wait_exit().success());
        let records = home.wait_for_records(2);
        let mut tokens: Vec<_> = records.iter().map(|record| record["outputTokens"].as_u64()).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [Some(7), Some(9)]);
        // The old process is gone: the home can be handed on.
        new.wait_for_line("the process before this one has ended");
        let third = replace(&home);
        assert_eq!(third.address(), new.address());
    });
}

#[test]
fn what_the_old_process_had_in_its_journal_when_it_was_killed_is_merged_by_the_new_one() {
    let upstream = MockUpstream::manual();
    let home = Home::of(&Setup::with_upstream(&upstream).setting("journal.mergeIntervalMs", 60_000));
    let mut old = home.start();
    let mut client = old.client();
    client.send(chat("auto", false));
    let mut provider = upstream.accept();
    provider.read_request();
    let mut new = replace(&home);
    provider.answer(200, behaviour::CHAT);
    client.read_response().expect(200);
    old.kill9();
    new.signal("TERM");
    assert!(new.wait_exit().success());
    assert_eq!(home.records().len(), 1);
}

#[test]
fn who_cannot_start_takes_nothing_and_where_nobody_runs_it_is_a_start() {
    let home = Home::of(&quick());
    let first = replace(&home);
    first.call(chat("auto", false)).expect(200);
    let good = home.read("config/models.json");
    home.write("config/models.json", "[{\"id\": 3}]");
    home.run(&["start", "--replace"]).expect(1).says(&["config/models.json:1:"]);
    home.write("config/models.json", &good);
    home.run(&["start", "--replace", "--port", "1"]).expect(1).says(&["restart it instead"]);
    first.call(chat("auto", false)).expect(200);
    assert!(!first.lines().iter().any(|line| line.contains("handed over to")));
}

#[test]
fn a_process_whose_successor_never_serves_ends_with_an_error() {
    let home = Home::of(&quick());
    let mut old = home.start();
    let mut taker = UnixStream::connect(home.file(".handover/socket")).unwrap();
    taker.write_all(b"routerly hand-over 1\n").unwrap();
    let mut said = [0; 5];
    taker.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"here\n");
    taker.write_all(b"take\n").unwrap();
    let mut said = [0; 6];
    taker.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"yours\n");
    assert!(old.is_running(), "it waits for the other one to serve");
    drop(taker);
    assert_eq!(old.wait_exit().code(), Some(1));
    old.wait_for_line("does not serve");
    // The home is free: a supervisor's next start serves.
    home.start().call(chat("auto", false)).expect(200);
}

/// What a service manager is told.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn hears(&self) -> String {
        let mut text = [0; 256];
        let count = self.socket.recv(&mut text).expect("something is said");
        String::from_utf8(text[..count].to_vec()).unwrap()
    }

    /// The process that says it is ready.
    fn main_pid(&self) -> u32 {
        let said = self.hears();
        assert!(said.contains("READY=1"), "{said}");
        said.lines().find_map(|line| line.strip_prefix("MAINPID=")).unwrap().parse().unwrap()
    }
}

/// A process that is no child of ours; killed at the end.
struct Stranger(u32);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.0.to_string()]).status();
    }
}

#[test]
fn sigusr2_starts_the_next_process_and_the_service_manager_learns_of_each() {
    let manager = Manager::new();
    let home = Home::of(&quick());
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", manager.folder.path().join("notify"));
    let mut old = Process::listening(command);
    assert_eq!(manager.main_pid(), old.pid());
    old.signal("USR2");
    let next = Stranger(manager.main_pid());
    assert_ne!(next.0, old.pid());
    assert!(old.wait_exit().success());
    old.call(chat("auto", false)).expect(200);
    assert!(Command::new("kill").args(["-s", "TERM", &next.0.to_string()]).status().unwrap().success());
    assert_eq!(manager.hears().trim_end(), "STOPPING=1");
}

#[test]
fn a_binary_that_cannot_start_does_not_end_the_running_one() {
    let home = Home::of(&quick());
    let old = home.start();
    home.write("config/models.json", "[{\"id\": 3}]");
    old.signal("USR2");
    old.wait_for_line("routerly: config/models.json:1:");
    old.call(chat("auto", false)).expect(200);
}
