//! From an empty home, only with the command line: administrator, model, project, token with limits, request, report.

use serde_json::{Value, json};

use super::{EMAIL, PASSWORD, Stage};
use crate::support::Setup;

/// A gateway whose configuration is empty, with an administrator who is signed in.
fn empty() -> Stage {
    let mut setup = Setup::new();
    setup.projects.clear();
    let stage = Stage::of(&setup);
    stage.pipe(&["setup", "--email", EMAIL, "--password-stdin"], PASSWORD).expect(0);
    stage
}

fn chat(stage: &Stage, token: &str) -> crate::support::Response {
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hello"}]}).to_string();
    stage.gateway.call(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn from_nothing_to_a_report_with_the_command_line_alone() {
    let stage = empty();
    let add = [
        "model",
        "add",
        "--id",
        "sim/one",
        "--provider",
        "simulated",
        "--input-price",
        "1",
        "--output-price",
        "2",
    ];
    stage
        .run(&[&add[..], &["--limit", "calls:period:daily:1000"]].concat())
        .expect(0)
        .says(&["sim/one is added"]);
    stage.run(&["model", "list"]).expect(0).says(&["sim/one  simulated", "enabled"]);
    let project = stage.json(&["project", "create", "--name", "My App", "--models", "sim/one"]);
    assert_eq!((&project["slug"], &project["models"][0]["modelId"]), (&json!("my-app"), &json!("sim/one")));
    chat(&stage, project["token"].as_str().unwrap()).expect(200);
    let made = stage.json(&[
        "token",
        "create",
        "my-app",
        "--labels",
        "ci,night",
        "--limit",
        "*:calls:period:daily:2",
        "--limit",
        "sim/one:cost:rolling:1:hour:5",
    ]);
    let token = made["token"].as_str().unwrap();
    assert_eq!(made["tokenInfo"]["limits"][0]["value"], 2);
    chat(&stage, token).expect(200);
    chat(&stage, token).expect(200);
    assert_eq!(chat(&stage, token).expect(503).json()["error"]["code"], "budget_exceeded");
    stage.home.wait_for_records(3);
    let listed = stage.run(&["project", "token", "list", "My App"]).expect(0);
    listed.says(&["ci, night", "calls 2/daily; sim/one: cost 5/1 hour"]);
    assert!(!listed.out.contains(token));
    let id = made["tokenInfo"]["id"].as_str().unwrap();
    let report = stage.json(&["report", "usage", "--project", "My App", "--token", id]);
    assert_eq!(report["summary"]["successCalls"], 2);
    stage.run(&["report", "usage", "--by", "project"]).expect(0).says(&["total"]);
    // A limit more, a limit less, and the token counts again.
    stage
        .run(&[
            "token",
            "edit",
            "my-app",
            id,
            "--remove-limit",
            "*:calls:period",
            "--add-limit",
            "calls:period:monthly:99",
        ])
        .expect(0);
    chat(&stage, token).expect(200);
    stage.run(&["token", "edit", "my-app", id, "--disable"]).expect(0);
    chat(&stage, token).expect(401);
    stage.run(&["token", "edit", "my-app", id, "--enable"]).expect(0);
    let again = stage.json(&["token", "regenerate", "my-app", id, "--yes"]);
    chat(&stage, token).expect(401);
    chat(&stage, again["token"].as_str().unwrap()).expect(200);
    stage.run(&["token", "remove", "my-app", id, "--yes"]).expect(0);
    chat(&stage, again["token"].as_str().unwrap()).expect(401);
}

#[test]
fn models_and_projects_keep_what_is_not_named() {
    let stage = empty();
    let run = |arguments: &[&str], code: i32| stage.run(arguments).expect(code);
    let key = [
        "model",
        "add",
        "--id",
        "openai/gpt-5-mini",
        "--provider",
        "openai",
        "--api-key-stdin",
        "--daily-budget",
        "5",
        "--capability",
        "vision=false",
    ];
    stage.pipe(&key, "sk-canary-1234\n").expect(0);
    let model = || stage.json(&["model", "show", "openai/gpt-5-mini"]);
    let before = model();
    assert_eq!((&before["hasApiKey"], &before["limits"][0]["value"]), (&json!(true), &json!(5)));
    assert_eq!(before["capabilities"]["vision"], false);
    assert!(before["cost"]["inputPerMillion"].as_f64().is_some(), "from the catalogue: {before}");
    assert!(!before.to_string().contains("canary"));
    run(&["model", "edit", "openai/gpt-5-mini", "--cache-price", "0.5", "--timeout", "9000"], 0);
    let after = model();
    assert_eq!((&after["cost"]["cachePerMillion"], &after["timeout"]), (&json!(0.5), &json!(9000)));
    for key in ["limits", "capabilities", "hasApiKey", "endpoint", "provider"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    run(
        &[
            "model",
            "add",
            "--id",
            "local/qwen3:4b",
            "--provider",
            "ollama",
            "--endpoint",
            "http://127.0.0.1:1/v1",
        ],
        0,
    );
    run(
        &[
            "model",
            "add",
            "--id",
            "local/qwen3:4b",
            "--provider",
            "ollama",
            "--endpoint",
            "http://127.0.0.1:1/v1",
        ],
        6,
    );
    run(&["model", "add", "--provider", "openai"], 2);
    run(&["model", "edit", "nothing", "--timeout", "1"], 5);
    run(&["model", "catalogue", "openai"], 0).says(&["gpt-5-mini", "INPUT $/1M"]);
    run(&["project", "add", "--slug", "shop", "--models", "openai/gpt-5-mini"], 0)
        .says(&["sk-rt-", "not shown again"]);
    run(&["project", "add-model", "--slug", "shop", "--model", "local/qwen3:4b", "--daily-budget", "3"], 0);
    run(&["project", "model", "add", "shop", "local/qwen3:4b"], 0).says(&["had local/qwen3:4b already"]);
    run(&["project", "model", "set-prompt", "shop", "openai/gpt-5-mini", "--prompt", "for short texts"], 0);
    run(&["project", "model", "limit", "add", "shop", "local/qwen3:4b:calls:rolling:1:minute:9"], 0);
    run(&["project", "model", "list", "shop"], 0)
        .says(&["for short texts", "local/qwen3:4b     -                cost 3/daily, calls 9/1 minute"]);
    run(&["project", "model", "limit", "remove", "shop", "local/qwen3:4b:cost:period"], 0);
    run(&["project", "routing", "policy", "enable", "shop", "cheapest"], 0);
    run(&["project", "routing", "policy", "enable", "shop", "health"], 0);
    run(&["project", "routing", "policy", "reorder", "shop", "health"], 0)
        .says(&["1  health    yes", "2  cheapest  yes"]);
    run(&["project", "routing", "policy", "disable", "shop", "cheapest"], 0).says(&["2  cheapest  no"]);
    run(&["project", "routing", "policy", "enable", "shop", "moon"], 1).says(&["policies"]);
    run(&["project", "budget", "set", "shop", "cost:period:monthly:100", "calls:rolling:1:minute:60"], 0);
    run(&["project", "budget", "remove", "shop", "calls:rolling"], 0);
    run(&["project", "budget", "remove", "shop", "calls:rolling"], 5);
    run(&["project", "edit", "shop", "--timeout", "5000"], 0);
    let project = stage.json(&["project", "show", "shop"]);
    assert_eq!(project["budgets"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&project["timeoutMs"], &project["models"][1]["limits"][0]["value"]),
        (&json!(5000), &json!(9))
    );
    run(&["project", "model", "remove", "shop", "local/qwen3:4b"], 0);
    run(&["project", "model", "remove", "shop", "local/qwen3:4b"], 5);
    run(&["model", "remove", "openai/gpt-5-mini", "--yes"], 6);
    // Members, by their address.
    stage.pipe(&["user", "add", "--email", "m@example.org", "--password-stdin"], PASSWORD).expect(0);
    run(&["project", "member", "add", "shop", "--email", "m@example.org", "--role", "editor"], 0);
    run(&["project", "member", "set-role", "shop", "--email", "m@example.org", "--role", "king"], 1);
    run(&["project", "member", "set-role", "shop", "--email", "m@example.org", "--role", "viewer"], 0);
    run(&["project", "member", "list", "shop"], 0).says(&["viewer"]);
    run(&["project", "member", "remove", "shop", "--email", "m@example.org", "--yes"], 0);
    run(&["project", "show", "shop"], 0).says(&["Policies", "Budget   cost 100/monthly"]);
    run(&["project", "list"], 0).says(&["shop  shop  1"]);
    run(&["project", "remove", "shop"], 2);
    run(&["project", "remove", "--slug", "shop", "--yes"], 0);
    run(&["project", "show", "shop"], 5);
    run(&["model", "remove", "--id", "openai/gpt-5-mini", "--yes"], 0);
    let list: Value = stage.json(&["model", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
}
