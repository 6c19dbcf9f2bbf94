//! The audit log: what it says, what it does not say, and what happens where it cannot be written.

use serde_json::{Value, json};

use super::{Api, Session, error, wrong_fields};
use crate::support::Setup;

fn records(api: &Api, root: &Session, query: &str) -> Vec<Value> {
    let answer = api.call("GET", &format!("audit{query}"), &root.token, &Value::Null).expect(200).json();
    answer["records"].as_array().unwrap().clone()
}

fn actions(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["action"].as_str().unwrap()).collect()
}

#[test]
fn changes_are_told_with_before_and_after_and_without_secrets() {
    let api = Api::of(&Setup::new());
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    call("POST", "models", json!({"id": "m", "provider": "openai", "apiKey": "sk-secret-1"})).expect(201);
    call("PUT", "models/m", json!({"name": "M", "apiKey": "sk-secret-2"})).expect(200);
    call("PUT", "models/m", json!({"name": "M"})).expect(200);
    call("GET", "models/m/apikey?reveal=1", Value::Null).expect(200);
    let token = call("POST", "projects/demo/tokens", json!({"name": "ci"})).expect(201).json();
    call("PUT", "settings", json!({"logLevel": "debug"})).expect(200);
    call("DELETE", "models/m", Value::Null).expect(204);
    call("PUT", "models/m", json!({"name": "x"})).expect(404);
    call("POST", "models", json!({"id": "n"})).expect(400);
    let all = records(&api, &root, "");
    assert_eq!(
        actions(&all),
        [
            "model.delete",
            "settings.update",
            "token.create",
            "model.reveal",
            "model.update",
            "model.update",
            "model.create",
            "auth.login",
            "user.create",
        ],
        "the newest first; what was refused for its form or is not there changed nothing"
    );
    let update = &all[5];
    assert_eq!(update["actor"], json!({"id": root.id, "email": "root@example.org", "role": "admin"}));
    assert_eq!(
        (&update["subject"], &update["outcome"], &update["address"]),
        (&json!("m"), &json!("done"), &json!("127.0.0.1"))
    );
    assert_eq!(update["before"], json!({"apiKey": "********"}));
    assert_eq!(update["after"], json!({"name": "M", "apiKey": "********"}));
    assert_eq!((&all[4]["before"], &all[4]["after"]), (&json!({}), &json!({})));
    assert_eq!((&all[2]["subject"], &all[2]["part"]), (&json!("demo"), &token["tokenInfo"]["id"]));
    assert_eq!(all[2]["after"]["name"], "ci");
    assert!(all[0]["after"].is_null() && all[0]["before"]["provider"] == "openai");
    assert!(all[7]["actor"].is_null() && all[7]["subject"] == json!(root.id));
    assert_eq!(all[8]["after"]["password"], "********");
    let file = api.home.read("data/audit.json");
    assert_eq!(file.lines().count(), all.len());
    for secret in ["sk-secret", "correct horse", "argon2", token["token"].as_str().unwrap(), &root.refresh] {
        assert!(!file.contains(secret), "{secret}");
    }

    for (query, count) in [
        ("?action=model", 5),
        ("?action=model.update&subject=m", 2),
        ("?actor=root@example.org&action=settings", 1),
        ("?outcome=denied", 0),
        ("?from=2100-01-01T00:00:00Z", 0),
        ("?to=2100-01-01T00:00:00Z", 9),
    ] {
        assert_eq!(records(&api, &root, query).len(), count, "{query}");
    }
    // Page by page.
    let mut paged = Vec::new();
    let mut before = String::new();
    loop {
        let answer = call("GET", &format!("audit?limit=4{before}"), Value::Null).expect(200).json();
        paged.extend(answer["records"].as_array().unwrap().clone());
        match answer["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    assert_eq!(
        wrong_fields(call("GET", "audit?from=soon&outcome=x&limit=-1", Value::Null)),
        ["from", "outcome", "limit"]
    );
}

#[test]
fn failed_sign_ins_and_refusals_are_told() {
    let api = Api::start();
    let root = api.set_up();
    let wrong = json!({"email": "root@example.org", "password": "wrong horse"});
    api.call("POST", "auth/login", "", &wrong).expect(401);
    let viewer = api.add_user(&root, "v@example.org", json!({}));
    api.call("POST", "models", &viewer.token, &json!({"id": "x"})).expect(403);
    api.call("DELETE", "models/simulated%2Fchat", &viewer.token, &Value::Null).expect(403);
    api.call("GET", "audit", &viewer.token, &Value::Null).expect(403);
    api.call("POST", "auth/refresh", "", &json!({"refreshToken": viewer.refresh})).expect(200);
    api.call("POST", "auth/refresh", "", &json!({"refreshToken": viewer.refresh})).expect(401);
    let denied = records(&api, &root, "?outcome=denied");
    assert_eq!(actions(&denied), ["DELETE models/{model}", "POST models", "auth.login"]);
    assert_eq!(denied[0]["actor"]["id"], json!(viewer.id));
    assert_eq!(denied[0]["subject"], "simulated/chat");
    assert_eq!((&denied[2]["actor"], &denied[2]["subject"]), (&Value::Null, &json!("root@example.org")));
    assert_eq!(actions(&records(&api, &root, "?action=auth.reuse")), ["auth.reuse"]);
}

#[test]
fn what_cannot_be_written_down_is_not_done_and_refusals_wait() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    // A directory in its place: nothing can be appended, as on a full disk.
    let log = api.home.file("data/audit.json");
    let aside = api.home.file("data/aside.json");
    std::fs::rename(&log, &aside).unwrap();
    std::fs::create_dir(&log).unwrap();
    let models = api.home.read("config/models.json");
    assert_eq!(
        error(call("PUT", "models/simulated%2Fchat", json!({"name": "x"}))),
        (500, "internal_error".to_owned())
    );
    assert_eq!(error(call("GET", "models/simulated%2Fchat/apikey?reveal=1", Value::Null)).0, 500);
    assert_eq!(api.home.read("config/models.json"), models);
    api.call("POST", "auth/login", "", &json!({"email": "a@example.org", "password": "x"})).expect(401);
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    call("PUT", "models/simulated%2Fchat", json!({"name": "x"})).expect(200);
    assert_eq!(actions(&records(&api, &root, "?limit=2")), ["model.update", "auth.login"]);
}

#[test]
fn the_log_moves_aside_and_is_read_on() {
    let api = Api::of(&Setup::demo().setting("audit.rotateBytes", 4096));
    let root = api.set_up();
    for number in 0..30 {
        api.call("PUT", "models/simulated%2Fchat", &root.token, &json!({"name": format!("n{number}")}))
            .expect(200);
    }
    assert!(std::fs::read_dir(api.home.file("data/audit")).unwrap().count() > 1);
    let names: Vec<Value> = records(&api, &root, "?action=model.update")
        .iter()
        .map(|record| record["after"]["name"].clone())
        .collect();
    let expected: Vec<Value> = (0..30).rev().map(|number| json!(format!("n{number}"))).collect();
    assert_eq!(names, expected);
}

#[test]
fn the_address_behind_a_proxy_counts_where_the_proxy_is_trusted() {
    let api = Api::of(&Setup::demo().setting("trustedProxies", json!(["127.0.0.0/8"])));
    let body = json!({"email": "root@example.org", "password": "correct horse"});
    api.set_up();
    let fields = "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n";
    let signed_in = api.call_with("POST", "auth/login", fields, &body).expect(200);
    assert!(signed_in.field("set-cookie").unwrap().ends_with("; SameSite=Strict; Secure"));
    let root = Session::of(&signed_in);
    let login = &records(&api, &root, "?action=auth.login&limit=1")[0];
    assert_eq!(login["address"], "203.0.113.9");
    // The brake is on for the one address alone.
    let wrong = |last: u32| {
        let fields = format!("X-Forwarded-For: 198.51.100.{last}\r\n");
        let body = json!({"email": format!("u{last}@example.org"), "password": "x"});
        api.call_with("POST", "auth/login", &fields, &body).status
    };
    assert!((0..32).all(|last| wrong(last) == 401));
    // One that is not trusted says what it wants.
    let plain = Api::start();
    plain.set_up();
    let signed_in = plain.call_with("POST", "auth/login", fields, &body).expect(200);
    assert!(!signed_in.field("set-cookie").unwrap().contains("Secure"));
    let root = Session::of(&signed_in);
    assert_eq!(records(&plain, &root, "?limit=1")[0]["address"], "127.0.0.1");
}
