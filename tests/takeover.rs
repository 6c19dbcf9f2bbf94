//! Homes that are older, broken or wrong: what a check says, what a start does with them.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::home::Home;
use crate::support::load::chat;
use crate::support::process::Ended;
use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, TOKEN};

/// Usage as upstream 0.2 keeps it: one array, a trace embedded.
const OLD_USAGE: &str = r#"[
  {"id": "4f8b1a52-0000-4000-8000-000000000001", "timestamp": "2026-03-01T10:00:00.000Z", "projectId": "demo",
   "modelId": "up/chat", "inputTokens": 100, "outputTokens": 10, "cost": 0.00012, "latencyMs": 900, "ttftMs": 900,
   "outcome": "success", "trace": [{"panel": "router", "message": "x"}]},
  {"id": "4f8b1a52-0000-4000-8000-000000000002", "timestamp": "2026-03-01T11:00:00.000Z", "projectId": "demo",
   "modelId": "up/chat", "inputTokens": 200, "outputTokens": 20, "cost": 0.00024, "latencyMs": 800,
   "outcome": "error", "errorMessage": "boom"}
]
"#;

/// A home as upstream 0.2 leaves it: keys and tokens in clear, modes as the shell gives them.
fn upstream_home(upstream: &MockUpstream) -> Home {
    let home = Home::of(&Setup::with_upstream(upstream).setting("telemetry", json!({"enabled": false})));
    home.write("config/secret", &"ab".repeat(32));
    home.write("config/users.json", "[]");
    home.write("config/roles.json", "[]");
    home.write("data/usage.json", OLD_USAGE);
    home
}

#[test]
fn an_upstream_home_is_taken_over_as_it_is() {
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    let home = upstream_home(&upstream);
    let before = home.files();

    // A look at it changes nothing and says what would be changed.
    let check = home.run(&["check", "--import-dry-run"]).expect(0);
    check.says(&[
        "would change config/models.json: up/chat: apiKey encrypted",
        "would change config/projects.json: project demo, token demo-token: plain token replaced by its keyed hash",
        "would be copied to backup-<time>/",
        "ok: ",
    ]);
    assert!(!check.out.contains("provider-key") && !check.out.contains(TOKEN), "{}", check.out);
    home.run(&["check"]).expect(0).says(&["the next start makes 4 changes", "--import-dry-run"]);
    assert_eq!(home.files(), before);

    let mut gateway = home.start();
    gateway.wait_for_line("taken over; apiKey encrypted");
    gateway.wait_for_line("usage.json: converted from an array");
    gateway.call(chat("up/chat", false)).expect(200);
    let (_, request) = upstream.next_request();
    assert_eq!(request.head.field("authorization"), Some("Bearer provider-key"));
    let said = gateway.lines().join("\n");
    assert!(!said.contains("provider-key") && !said.contains(TOKEN), "{said}");

    // Only hashes and ciphertext are left.
    let models = home.json("config/models.json");
    assert!(models[0]["apiKey"].as_str().unwrap().starts_with("ENCRYPTED:v1:"));
    let token = &home.json("config/projects.json")[0]["tokens"][0];
    assert!(token["tokenHash"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!((token.get("token"), &token["tokenSnippet"]), (None, &json!("sk-rt-0000")));

    // What was there lies beside, whole.
    let entries = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    let backups: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("backup-")).collect();
    assert_eq!(backups.len(), 1);
    for (path, content) in &before {
        let name = path.strip_prefix(home.path()).unwrap();
        let kept = backups[0].join(name);
        assert!(std::fs::read(&kept).unwrap() == *content, "{}", kept.display());
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o077, 0, "{}", kept.display());
    }

    // The old records count as before, the new one follows them.
    let records = home.wait_for_records(3);
    assert_eq!(records[0]["id"], "4f8b1a52-0000-4000-8000-000000000001");
    assert_eq!((&records[1]["outcome"], &records[1]["errorMessage"]), (&json!("error"), &json!("boom")));
    assert_eq!(records[2]["inputTokens"], 5);
    home.run(&["usage", "--csv"]).expect(0).says(&["up/chat,3,1,305,37,0,0.000379\r\n"]);

    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    home.run(&["check", "--import-dry-run"]).expect(0).says(&["nothing to import"]);
    // Once taken over it stays as it is.
    let after = home.json("config/models.json");
    let gateway = home.start();
    gateway.call(chat("up/chat", false)).expect(200);
    assert_eq!(home.json("config/models.json"), after);
    assert_eq!(home.wait_for_records(4).len(), 4);
}

#[test]
fn a_lost_secret_names_the_models_and_keeps_their_ciphertext() {
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    let home = upstream_home(&upstream);
    home.start().call(chat("up/chat", false)).expect(200);
    let sealed = home.json("config/models.json");
    home.write("config/secret", &"cd".repeat(32));
    // Tokens are hashed with a key of the same secret: they are lost as well.
    let gateway = home.start();
    gateway.wait_for_line("configuration; config/models.json; [0].apiKey: cannot be decrypted");
    gateway.call(chat("up/chat", false)).expect(401);
    assert_eq!(home.json("config/models.json"), sealed);
}

#[test]
fn files_that_do_not_parse_refuse_the_start_and_stay_as_they_are() {
    let whole = Home::of(&Setup::demo());
    let models = whole.read("config/models.json");
    let projects = whole.read("config/projects.json");
    let cases: [(&str, String, &str); 7] = [
        ("config/models.json", String::new(), "config/models.json: found an empty file"),
        ("config/projects.json", String::new(), "config/projects.json: found an empty file"),
        ("config/settings.json", String::new(), "config/settings.json: found an empty file"),
        ("config/models.json", models[..models.len() / 2].to_owned(), "config/models.json:"),
        ("config/projects.json", projects[..projects.len() - 3].to_owned(), "config/projects.json:"),
        ("config/settings.json", "{\"port\": 0".to_owned(), "config/settings.json:1:10:"),
        ("config/secret", "abc".to_owned(), "config/secret: found something else, expected one line of 64"),
    ];
    for (name, text, place) in cases {
        let home = Home::of(&Setup::demo());
        home.write("config/secret", &"ab".repeat(32));
        home.write(name, &text);
        let before = home.read(name);
        let others: Vec<_> = home.files().into_keys().collect();
        let check = home.run(&["check"]).expect(1);
        check.says(&[place, "1 mistake"]);
        assert_eq!(home.files().into_keys().collect::<Vec<_>>(), others, "a check makes no file");
        Ended::of(home.command()).expect(1).says(&[place]);
        assert_eq!(home.read(name), before);
        let kept = |home: &Home| home.read("config/projects.json").contains(TOKEN);
        assert!(name == "config/projects.json" || kept(&home), "nothing is taken over beside a mistake");
    }
}

#[test]
fn a_check_lists_every_mistake_with_its_place() {
    let home = Home::empty();
    home.write("config/secret", &"ab".repeat(32));
    home.write(
        "config/settings.json",
        "{\n  \"port\": 70000,\n  \"driver\": \"windows\",\n  \"tls\": {\"certFile\": \"a\"}\n}",
    );
    home.write(
        "config/models.json",
        "[\n {\"id\": \"a\", \"provider\": \"nobody\"},\n {\"id\": \"b\", \"provider\": \"openai\", \"timeout\": -1},\n \
         {\"id\": \"b\", \"provider\": \"openai\"}\n]",
    );
    home.write(
        "config/projects.json",
        "[\n {\"id\": \"p\", \"name\": \"p\", \"models\": [{\"modelId\": \"gone\"}], \"tokens\": [{\"id\": \"t\", \"tokenHash\": \"x\"}]}\n]",
    );
    let check = home.run(&["check"]).expect(1);
    check.says(&[
        "config/settings.json:2:11: port: found 70000",
        "config/settings.json:3:13: driver: found \"windows\"",
        "config/settings.json:4:",
        "config/models.json:2:26: [0].provider: found \"nobody\"",
        "config/models.json:3:",
        "config/models.json:4:",
        "config/projects.json:2:",
    ]);
    let listed = check.out.lines().filter(|line| line.starts_with("config/")).count();
    check.says(&[&format!("{listed} mistakes")]);
    assert!(!home.file("data").exists(), "a check makes nothing");
    let started = Ended::of(home.command()).expect(1);
    for line in check.out.lines().filter(|line| line.starts_with("config/")) {
        started.says(&[line]);
    }
}

#[test]
fn a_home_that_is_well_is_said_to_be_and_a_new_one_is_made_complete() {
    let home = Home::of(&Setup::demo());
    home.run(&["check"]).expect(0).says(&["3 of 3 models usable, 1 projects, 1 tokens"]);
    let empty = Home::empty();
    empty.run(&["check"]).expect(1).says(&["no directory"]);
    let mut command = empty.command();
    command.args(["--port", "0"]);
    let gateway = crate::support::process::Process::listening(command);
    gateway.client().get("/health").expect(200);
    for name in ["config/settings.json", "config/secret", "data/usage.json"] {
        let mode = std::fs::metadata(empty.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is for us alone");
    }
    empty.run(&["check"]).expect(0).says(&["0 of 0 models usable"]);
}
