//! Commands that read a home: doctor, backup, restore.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::process::{Ended, routerly};
use crate::support::{Setup, post};

#[test]
fn a_running_gateway_is_backed_up_and_goes_on_elsewhere() {
    let home = Home::of(&Setup::demo().project(
        "budgets",
        json!([
            {"metric": "calls", "windowType": "period", "period": "yearly", "value": 45},
        ]),
    ));
    let mut gateway = home.start();
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hello"}]});
    let call = |gateway: &crate::support::process::Process| {
        gateway.call(post("/v1/chat/completions", "", &body)).status
    };
    // The records of the last calls may still wait in a journal.
    assert!((0..40).all(|_| call(&gateway) == 200));
    let archive =
        home.file("../").join(format!("{}.tar", home.path().file_name().unwrap().to_str().unwrap()));
    let archive = archive.to_str().unwrap();
    home.run(&["backup", archive]).expect(0).says(&["files"]);
    assert_eq!(std::fs::metadata(archive).unwrap().permissions().mode() & 0o777, 0o600);
    home.run(&["restore", archive, "--replace"]).expect(6).says(&["(conflict)"]);
    assert_eq!(call(&gateway), 200, "it runs on, as if nothing were");
    let other = Home::empty();
    other.run(&["restore", archive]).expect(0);
    other.run(&["restore", archive]).expect(6).says(&["--replace"]);
    let mut mine: Vec<Value> = other.records().iter().map(|record| record["id"].clone()).collect();
    assert_eq!(mine.len(), 40);
    mine.sort_by_key(Value::to_string);
    mine.dedup();
    assert_eq!(mine.len(), 40, "each record is there once");
    let restored = other.start();
    // With the same tokens, and with what was spent.
    assert!((0..5).all(|_| call(&restored) == 200));
    assert_eq!(call(&restored), 503);
    gateway.kill9();
    let cut = std::fs::read(archive).unwrap();
    std::fs::write(archive, &cut[..cut.len() / 2]).unwrap();
    let before = home.files();
    home.run(&["restore", archive, "--replace"]).expect(1).says(&["nothing was restored"]);
    assert_eq!(home.files().len(), before.len());
    std::fs::remove_file(archive).unwrap();
    home.run(&["backup", "/nonexistent/x.tar"]).expect(1);
    Home::empty().run(&["backup", "/tmp/x.tar"]).expect(5).says(&["is no home"]);
}

#[test]
fn a_backup_goes_through_a_pipe() {
    let home = Home::of(&Setup::demo());
    home.start().kill9();
    let mut backup = routerly(&["backup", "-", "--home"]);
    let mut from = backup.arg(home.path()).stderr(Stdio::null()).spawn().unwrap();
    let other = Home::empty();
    let mut restore = routerly(&["restore", "-", "--home"]);
    restore.arg(other.path()).stdin(from.stdout.take().unwrap());
    Ended::of(restore).expect(0);
    assert!(from.wait().unwrap().success());
    assert_eq!(other.read("config/secret"), home.read("config/secret"));
    other.run(&["check"]).expect(0);
}

#[test]
fn doctor_finds_what_is_wrong() {
    // Nobody listens there.
    let home = Home::of(&Setup::new().upstream_models("http://127.0.0.1:1"));
    let checks = |code: i32, arguments: &[&str]| -> Vec<(String, String, String)> {
        let ended = home.run(&[&["doctor", "--json"], arguments].concat()).expect(code);
        let told: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(told["ok"], code == 0);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let checks = told["checks"].as_array().unwrap().iter();
        checks.map(|check| (text(&check["check"]), text(&check["result"]), text(&check["message"]))).collect()
    };
    let result = |checks: &[(String, String, String)], what: &str| {
        let results = checks.iter().filter(|(check, ..)| check == what).map(|(_, result, _)| result.clone());
        results.collect::<Vec<_>>().join(" ")
    };
    let gateway = home.start();
    let well = checks(0, &["--offline"]);
    for what in ["clock", "disk", "models", "port", "tls"] {
        assert_eq!(result(&well, what), "ok", "{well:?}");
    }
    assert!(well.iter().any(|(_, _, text)| text.contains("a gateway runs on this home")), "{well:?}");
    drop(gateway);
    home.run(&["doctor", "--offline"]).expect(0).says(&["ok       tls       off: plain HTTP"]);
    let unreachable = checks(1, &[]);
    assert!(result(&unreachable, "provider").contains("failed"), "{unreachable:?}");
    home.edit("config/settings.json", |settings| settings["port"] = json!(-1));
    assert!(result(&checks(1, &["--offline"]), "home").contains("failed"));
}
