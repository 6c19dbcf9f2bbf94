//! Signing in and out, users, roles, reports, and the exit codes.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::{EMAIL, PASSWORD, Stage, feed};
use crate::support::TOKEN;
use crate::support::process::Ended;

fn chat(stage: &Stage) -> String {
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hello"}]});
    let answer = stage.gateway.call(crate::support::post("/v1/chat/completions", "", &body));
    answer.expect(200).field("x-routerly-trace-id").unwrap().to_owned()
}

#[test]
fn a_new_gateway_is_set_up_and_the_account_is_kept_for_its_owner() {
    let stage = Stage::new();
    stage.run(&["status"]).expect(0).says(&["nobody is signed in", "Reachable  yes"]);
    assert_eq!(stage.json(&["status"]), json!({"loggedIn": false}));
    let done = stage.pipe(&["setup", "--email", EMAIL, "--password-stdin"], "correct horse\n").expect(0);
    done.says(&["Account  root@example.org", "Role     admin", "Alias    default"]);
    stage.pipe(&["setup", "--email", EMAIL, "--password-stdin"], PASSWORD).expect(6).says(&["(conflict)"]);
    let file = stage.person.path().join(".routerly/cli/config.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(PASSWORD), "{text}");
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(kept["currentAlias"], "default");
    assert_eq!(kept["accounts"][0]["serverUrl"], stage.url());
    assert_eq!(kept["accounts"][0]["refreshToken"].as_str().unwrap().len(), 80);
    // The account knows the gateway from here on.
    let whoami = Ended::of(stage.elsewhere(&["auth", "whoami", "--json"])).expect(0);
    let whoami: Value = serde_json::from_str(&whoami.out).unwrap();
    assert_eq!(
        (&whoami["email"], &whoami["roleId"], &whoami["alias"]),
        (&json!(EMAIL), &json!("admin"), &json!("default"))
    );
    let status = stage.json(&["status"]);
    assert_eq!(status["account"]["tokenValid"], true);
    assert_eq!(
        (&status["service"]["reachable"], &status["service"]["modelCount"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(status["service"]["port"], stage.gateway.address().port());
    stage.run(&["service", "status"]).expect(0).says(&["Sign-in valid    yes", "Models           3"]);
}

#[test]
fn several_accounts_live_side_by_side() {
    let stage = Stage::signed_in();
    let add = ["user", "add", "--email", "op@example.org", "--role", "operator", "--password-stdin"];
    stage.pipe(&add, PASSWORD).expect(0).says(&["op@example.org is a user with the role operator"]);
    let login = ["auth", "login", "--email", "op@example.org", "--password-stdin"];
    stage.pipe(&login, "correct horse\r\n").expect(0).says(&["Alias    op"]);
    // The same again is the same account, unless another is wished for.
    stage.pipe(&login, PASSWORD).expect(0);
    stage.pipe(&[&login[..], &["--add"]].concat(), PASSWORD).expect(0).says(&["Alias    op-2"]);
    let listed = stage.json(&["auth", "list"]);
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["alias"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "op", "op-2"]);
    assert!(listed.to_string().find("token").is_none(), "{listed}");
    stage.run(&["auth", "switch", "op"]).expect(0);
    stage.run(&["auth", "ps"]).expect(0).says(&["*  op"]);
    let email = |arguments: &[&str]| stage.json(&[&["auth", "whoami"], arguments].concat())["email"].clone();
    assert_eq!((email(&[]), email(&["--alias", "default"])), (json!("op@example.org"), json!(EMAIL)));
    stage.run(&["auth", "rename", "op-2", "second"]).expect(0);
    stage.run(&["--alias", "second", "auth", "rename", "--new-alias", "third"]).expect(0);
    stage.run(&["auth", "rename", "third", "op"]).expect(6);
    stage.pipe(&[&login[..], &["--alias", "default"]].concat(), PASSWORD).expect(6).says(&[EMAIL]);
    stage.run(&["auth", "logout", "--alias", "third"]).expect(0);
    stage.run(&["auth", "logout"]).expect(0).says(&["op is signed out"]);
    assert_eq!(email(&[]), EMAIL, "the first of the others is the active one");
    let grants = stage.home.json("config/users.json")[1]["refreshGrants"].clone();
    assert_eq!(grants, json!([]), "none of the sign-ins goes on");
}

#[test]
fn a_sign_in_is_renewed_on_the_way() {
    let stage = Stage::signed_in();
    let file = stage.person.path().join(".routerly/cli/config.json");
    let edit = |change: &dyn Fn(&mut Value)| {
        crate::support::home::edit(&file, |kept| change(&mut kept["accounts"][0]))
    };
    let refresh_token = || -> Value {
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        kept["accounts"][0]["refreshToken"].clone()
    };
    let first = refresh_token();
    edit(&|account| account["expiresAt"] = json!(1));
    stage.run(&["auth", "whoami"]).expect(0);
    let second = refresh_token();
    assert_ne!(first, second, "the rotated one is kept");
    // One that has ended on the gateway's side alone.
    edit(&|account| account["token"] = json!("a.b.c"));
    stage.run(&["auth", "whoami"]).expect(0);
    stage.run(&["auth", "refresh"]).expect(0).says(&["default is signed in until 20"]);
    // The one of before counts no more, and its second use ends the sign-in.
    edit(&|account| {
        account["refreshToken"] = first.clone();
        account["expiresAt"] = json!(1);
    });
    stage
        .run(&["auth", "whoami"])
        .expect(3)
        .says(&["error: the sign-in of root@example.org", "(unauthorized)"]);
    std::fs::write(&file, "{").unwrap();
    stage.run(&["auth", "ps"]).expect(1).says(&["config.json", "repair it"]);
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let stage = Stage::signed_in();
    let add = ["user", "add", "--email", "v@example.org", "--password-stdin"];
    stage.pipe(&add, PASSWORD).expect(0);
    let login = ["auth", "login", "--email", "v@example.org", "--password-stdin", "--alias", "viewer"];
    stage.pipe(&login, PASSWORD).expect(0);
    stage.run(&["auth", "switch", "default"]).expect(0);
    let chat = chat(&stage);
    for (arguments, code, text) in [
        (&["user", "list"][..], 0, "v@example.org"),
        (&["user", "edit", "v@example.org"], 2, "(usage)"),
        (&["user", "add", "--email", "x@example.org"], 2, "--password"),
        (&["user", "remove", "v@example.org"], 2, "--yes is missing"),
        (&["no-such-command"], 2, "unrecognized"),
        (&["report", "usage", "--by", "moon"], 2, "possible values"),
        (&["--alias", "viewer", "user", "list"], 4, "(forbidden)"),
        (&["--alias", "nobody", "user", "list"], 5, "(not_found)"),
        (&["user", "remove", "w@example.org", "--yes"], 5, "there is no user w@example.org"),
        (&["report", "trace", "019aa2d5-8d1e-7c0a-9c5e-5f1f3f0a7d11"], 5, "(not_found)"),
        (&["report", "trace", &chat], 0, "router:intake"),
        (&["user", "remove", EMAIL, "--yes"], 6, "(conflict)"),
        (&["role", "add", "--name", "Bad", "--permissions", "models:eat"], 1, "permissions"),
        (&["--url", "http://127.0.0.1:1", "user", "list"], 7, "(unreachable)"),
        (&["--url", "http://127.0.0.1:1", "status"], 7, "(unreachable)"),
        (&["--url", "gateway", "user", "list"], 2, "is no URL"),
    ] {
        stage.run(arguments).expect(code).says(&[text]);
    }
    let wrong = ["auth", "login", "--email", EMAIL, "--password-stdin"];
    stage.pipe(&wrong, "wrong horse").expect(3).says(&["(unauthorized)"]);
    stage.pipe(&wrong, "").expect(2).says(&["standard input is empty"]);
    stage.run(&wrong[..4]).expect(2).says(&["--password-stdin (or --password) is missing"]);
    let mut nobody = stage.command(&["user", "list"]);
    nobody.env("HOME", "/nonexistent");
    Ended::of(nobody).expect(3).says(&["nobody is signed in"]);
    // A token in the environment needs no account.
    let kept = std::fs::read_to_string(stage.person.path().join(".routerly/cli/config.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let mut scripted = stage.command(&["user", "list"]);
    scripted
        .env("HOME", "/nonexistent")
        .env("ROUTERLY_TOKEN", kept["accounts"][0]["token"].as_str().unwrap());
    Ended::of(scripted).expect(0);
}

#[test]
fn users_and_roles_are_managed() {
    let stage = Stage::signed_in();
    stage
        .run(&["role", "add", "--name", "Night Shift", "--permissions", "report:read,project:read"])
        .expect(0);
    let add = [
        "user",
        "add",
        "--email",
        "n@example.org",
        "--role",
        "night-shift",
        "--password-stdin",
        "--projects",
        "demo",
    ];
    stage.pipe(&add, PASSWORD).expect(0);
    let users = stage.json(&["user", "list"]);
    assert_eq!((&users[1]["roleId"], &users[1]["projectIds"]), (&json!("night-shift"), &json!(["demo"])));
    stage.run(&["user", "edit", "n@example.org", "--role", "viewer", "--projects", ""]).expect(0);
    let users = stage.json(&["user", "list"]);
    assert_eq!((&users[1]["roleId"], &users[1]["projectIds"]), (&json!("viewer"), &json!([])));
    stage.run(&["role", "edit", "night-shift", "--permissions", "report:read"]).expect(0);
    stage.run(&["role", "list"]).expect(0).says(&["night-shift  Night Shift  report:read", "built-in"]);
    stage.run(&["role", "remove", "night-shift", "--yes"]).expect(0);
    stage.pipe(&["user", "passwd", "n@example.org", "--password-stdin"], "battery staple").expect(0);
    let login = ["auth", "login", "--email", "n@example.org", "--password-stdin"];
    stage.pipe(&login, "battery staple").expect(0);
    stage
        .pipe(&["user", "passwd", "--password-stdin", "--alias", "n"], "battery staple\ncorrect horse\n")
        .expect(0);
    stage.pipe(&login, PASSWORD).expect(0);
    stage.run(&["user", "remove", "--email", "n@example.org", "--yes", "--alias", "default"]).expect(0);
}

#[test]
fn reports_come_as_tables_as_json_and_as_csv() {
    let stage = Stage::signed_in();
    let traces: Vec<String> = (0..3).map(|_| chat(&stage)).collect();
    stage.home.wait_for_records(3);
    stage.run(&["report", "usage"]).expect(0).says(&["MODEL", "simulated/chat  3      0"]);
    stage
        .run(&["report", "usage", "--by", "project", "--project", "demo", "--csv"])
        .expect(0)
        .says(&["\r\ndemo,3,0,"]);
    let calls = stage.json(&["report", "calls", "--limit", "2"]);
    let ids: Vec<_> = calls.as_array().unwrap().iter().map(|call| call["traceId"].clone()).collect();
    assert_eq!(ids, [json!(traces[2]), json!(traces[1])]);
    stage.run(&["report", "calls"]).expect(0).says(&["TRACE", &traces[0]]);
    let csv = stage.run(&["report", "export"]).expect(0);
    assert_eq!(csv.out.lines().count(), 4, "{}", csv.out);
    let lines = stage.run(&["report", "export", "--json", "--model", "simulated/chat"]).expect(0);
    assert!(lines.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", lines.out);
    assert!(stage.run(&["report", "calls", "--project", "nothing"]).expect(0).out.contains("(none)"));
    assert!(!csv.out.contains(TOKEN));
}

#[test]
fn shells_get_completions_and_readers_a_manual() {
    let stage = Stage::new();
    for (shell, mark) in
        [("bash", "complete -F _routerly"), ("zsh", "#compdef routerly"), ("fish", "complete -c routerly")]
    {
        stage.run(&["completions", shell]).expect(0).says(&[mark, "whoami"]);
    }
    stage.run(&["man"]).expect(0).says(&[".TH routerly", "GLOBAL OPTIONS"]);
    let directory = stage.person.path().join("man");
    stage.run(&["man", "--directory", directory.to_str().unwrap()]).expect(0);
    assert!(directory.join("routerly-auth-login.1").is_file());
    // Each command shows its help.
    for command in ["auth", "user", "role", "report", "service", "telemetry", "notifications"] {
        stage.run(&[command, "--help"]).expect(0).says(&["Usage: routerly"]);
    }
    assert_eq!(feed(stage.command(&["completions", "tcsh"]), "").code, Some(2));
}
