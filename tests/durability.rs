//! What a client saw end is in the books, whatever happens to the process or the disk.

use std::collections::HashSet;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::home::Home;
use crate::support::load::{self, Load, Seen, traces};
use crate::support::process::Process;
use crate::support::{Setup, TOKEN, eventually, on_each_driver};

/// Models that answer at once.
fn quick() -> Setup {
    let behaviour = json!({"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": [1, 8]});
    Setup::demo().every_model("simulated", behaviour)
}

#[test]
fn every_answer_that_a_client_saw_end_has_one_record_after_kill_9() {
    on_each_driver(|driver| {
        // A merge appends at once and gives the journal's space back long after: the records are in both when the
        // process dies.
        let setup = quick().driver(driver).cores(2).setting("journal.fsyncIntervalMs", 60_000);
        let home = Home::of(&setup);
        let mut seen: HashSet<String> = HashSet::new();
        for round in 1..=3 {
            let mut gateway = home.start();
            let load = Load::start(gateway.address(), 4, "simulated/chat");
            load.wait_for_more(60 * round);
            gateway.kill9();
            let (finished, _) = load.stop();
            assert!(finished.len() >= 60 * round);
            seen.extend(finished);
        }
        let gateway = home.start();
        let recorded = traces(&home.records());
        let lost: Vec<_> = seen.difference(&recorded).collect();
        assert!(lost.is_empty(), "{} of {} records are gone: {lost:?}", lost.len(), seen.len());
        // The books go on.
        assert_eq!(gateway.call(load::chat("simulated/chat", false)).status, 200);
        home.wait_for_records(recorded.len() + 1);
        traces(&home.records());
    });
}

#[test]
fn records_that_were_not_merged_when_the_process_died_are_merged_by_the_next_one() {
    // With a minute between two merges nothing has left the journal when the process dies.
    let setup = quick().setting("journal.mergeIntervalMs", 60_000);
    let home = Home::of(&setup);
    let mut gateway = home.start();
    let mut client = gateway.client();
    let seen: Vec<String> = (0..20)
        .map(|number| {
            let answer = client.call(load::chat("simulated/chat", number % 2 == 0)).expect(200);
            answer.field("x-routerly-trace-id").unwrap().to_owned()
        })
        .collect();
    gateway.kill9();
    let gateway = home.start();
    gateway.wait_for_line("usage records found in journals of the last run");
    let records = home.records();
    assert_eq!(traces(&records), seen.iter().cloned().collect());
    let order: Vec<&str> = records.iter().map(|record| record["traceId"].as_str().unwrap()).collect();
    assert_eq!(order, seen, "in the order of one core");
}

#[test]
fn a_torn_last_line_is_cut_off_and_said() {
    let home = Home::of(&quick());
    let mut gateway = home.start();
    gateway.call(load::chat("simulated/chat", false)).expect(200);
    let records = home.wait_for_records(1);
    gateway.kill9();
    let text = home.read("data/usage.json");
    home.write("data/usage.json", &format!("{text}{{\"id\":\"torn\",\"timest"));
    let gateway = home.start();
    gateway.wait_for_line("a torn last line was cut off");
    gateway.call(load::chat("simulated/chat", false)).expect(200);
    let after = home.wait_for_records(2);
    assert_eq!(after[0], records[0]);
    assert_eq!(after.len(), 2);
}

#[test]
fn fewer_cores_after_a_crash_lose_nothing_of_those_that_are_gone() {
    let setup = quick().cores(4).setting("journal.mergeIntervalMs", 60_000);
    let home = Home::of(&setup);
    let mut gateway = home.start();
    let load = Load::start(gateway.address(), 16, "simulated/chat");
    load.wait_for_more(100);
    gateway.kill9();
    let (seen, _) = load.stop();
    home.edit("config/settings.json", |settings| settings["cores"] = json!(1));
    let mut gateway = home.start();
    let recorded = traces(&home.records());
    assert!(seen.iter().all(|trace| recorded.contains(trace)));
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    assert_eq!(traces(&home.records()), recorded);
}

// --- a full disk

/// A disk below `data/` that can be filled and freed.
enum Disk {
    /// A file system of its own with a file that fills it.
    Tmpfs { data: PathBuf },
    /// The longest file that the process may write, in bytes. It needs no rights.
    Limit(u64),
}

/// Longest file where the journals are small: these fit, and `usage.json` soon does not.
const SMALL_LIMIT: u64 = 160 * 1024;

impl Disk {
    /// Mounts a small file system on `data/`; none where that is not allowed.
    fn tmpfs(home: &Home) -> Option<Self> {
        let data = home.file("data");
        std::fs::create_dir_all(&data).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m,mode=700", "routerly-test"];
        let mounted = Command::new("mount").args(options).arg(&data).output();
        if mounted.is_ok_and(|output| output.status.success()) { Some(Self::Tmpfs { data }) } else { None }
    }

    fn start(&self, home: &Home) -> Process {
        let mut command = home.command();
        if let Self::Limit(bytes) = self {
            limit_files(&mut command, *bytes);
        }
        let process = Process::listening(command);
        if let Self::Tmpfs { data } = self {
            // Everything but a few pages, now that the journals have theirs.
            let free = std::fs::write(data.join("filler"), vec![b'x'; 2 * 1024 * 1024]);
            assert!(free.is_err(), "the disk is not full");
        }
        process
    }

    fn free(&self, process: &Process) {
        match self {
            Self::Tmpfs { data } => {
                std::fs::remove_file(data.join("filler")).unwrap();
                let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(data).status();
                assert!(grown.unwrap().success());
            }
            Self::Limit(_) => {
                let pid = process.pid().to_string();
                let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
                assert!(raised.expect("prlimit(1) is there").success());
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Tmpfs { data } = self {
            let _ = Command::new("umount").arg("--lazy").arg(data).status();
        }
    }
}

/// Bounds the length of every file that `command` writes. A longer one is an error to it and not its end.
#[expect(unsafe_code, reason = "a limit is set between fork and exec")]
fn limit_files(command: &mut Command, bytes: u64) {
    // SAFETY: setrlimit and signal are async-signal-safe and touch no memory of the parent.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        });
    }
}

/// As long as a field of a record may be, and each character takes two bytes there.
fn long_id() -> String {
    "\"".repeat(250)
}

/// A chat request whose record is long.
fn long_request() -> Vec<u8> {
    let id = long_id();
    let body = json!({"model": id, "messages": [{"role": "user", "content": "Hello!"}]}).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nX-Routerly-Conversation-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn health(gateway: &Process) -> String {
    let answer = gateway.client().get("/health").expect(200);
    answer.json()["status"].as_str().unwrap().to_owned()
}

fn serves_on_a_full_disk(home: &Home, disk: &Disk) {
    let gateway = disk.start(home);
    assert_eq!(health(&gateway), "ok");
    let mut stream = load::connect(gateway.address()).unwrap();
    let mut seen = HashSet::new();
    let request = long_request();
    let mut call = |number: usize| {
        let Some(Seen { status: 200, trace, finished: true }) = load::try_call(&mut stream, &request) else {
            panic!("call {number} was not served");
        };
        assert!(seen.insert(trace));
    };
    // More than the journal holds: the rest waits in memory.
    (0..400).for_each(&mut call);
    eventually("degraded", || (health(&gateway) == "degraded").then_some(()));
    (400..500).for_each(&mut call);
    gateway.wait_for_line("usage records cannot be written; serving goes on");
    assert_eq!(gateway.metric("routerly_store_degraded"), 1.0);
    assert!(gateway.metric("routerly_journal_spilled_total") > 0.0);
    disk.free(&gateway);
    let records = home.wait_for_records(500);
    assert_eq!(traces(&records), seen, "nothing is lost and nothing is there twice");
    eventually("well again", || (health(&gateway) == "ok").then_some(()));
    assert_eq!(gateway.metric("routerly_journal_lost_total"), 0.0);
    gateway.wait_for_line("usage records can be written again");
}

/// A small journal, and ids that make records long.
fn small_journal() -> Setup {
    let mut setup = quick().setting("journal.bytesPerCore", 131_072);
    setup.models[0]["id"] = json!(long_id());
    let project = &mut setup.projects[0];
    project["models"][0]["modelId"] = json!(long_id());
    project["id"] = json!(long_id());
    project["tokens"][0]["id"] = json!(long_id());
    setup
}

#[test]
fn a_full_disk_does_not_stop_the_serving_and_loses_nothing() {
    let home = Home::of(&small_journal());
    match Disk::tmpfs(&home) {
        Some(disk) => serves_on_a_full_disk(&home, &disk),
        None => eprintln!("mounting is not allowed here: only the file-size limit is tested"),
    }
}

#[test]
fn a_file_size_limit_does_not_stop_the_serving_and_loses_nothing() {
    let home = Home::of(&small_journal());
    serves_on_a_full_disk(&home, &Disk::Limit(SMALL_LIMIT));
}

#[test]
fn an_operator_who_prefers_it_has_requests_refused_once_records_cannot_be_kept() {
    // What waits in memory goes through the journal once the disk is well: a larger one takes it in fewer rounds.
    let setup = small_journal().setting("journal.bytesPerCore", 4 << 20).setting("journal.onFull", "refuse");
    let home = Home::of(&setup);
    let disk = Disk::Limit(5 << 20);
    let gateway = disk.start(&home);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = load::connect(gateway.address()).unwrap();
            std::thread::spawn(move || {
                let (mut served, request) = (Vec::new(), long_request());
                for _ in 0..100_000 {
                    let seen = load::try_call(&mut stream, &request).unwrap();
                    match seen.status {
                        200 => served.push(seen.trace),
                        503 => return served,
                        other => panic!("{other}"),
                    }
                }
                panic!("the buffer never filled");
            })
        })
        .collect();
    let served: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let refused = gateway.call(long_request()).expect(503);
    assert_eq!(refused.json()["error"]["code"], "records_full");
    let models = gateway.client().get("/v1/files").expect(503);
    assert_eq!(models.json()["error"]["code"], "records_full", "passed-through calls have records too");
    assert_eq!(health(&gateway), "degraded");
    disk.free(&gateway);
    home.wait_for_records(served.len());
    let recorded = traces(&home.records());
    assert_eq!(
        recorded,
        served.into_iter().collect(),
        "what was served is recorded, what was refused is not"
    );
    eventually("serving again", || (gateway.call(long_request()).status == 200).then_some(()));
    assert_eq!(gateway.metric("routerly_journal_lost_total"), 0.0);
}
