//! The configuration changes while the gateway serves.

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::load::{Load, chat};
use crate::support::process::Process;
use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, TOKEN, eventually, on_each_driver};

/// Models that answer at once.
fn quick() -> Setup {
    let behaviour = json!({"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": [1, 8]});
    Setup::demo().every_model("simulated", behaviour)
}

/// A chat request with another token than the usual one.
fn with_token(token: &str) -> Vec<u8> {
    String::from_utf8(chat("simulated/chat", false)).unwrap().replace(TOKEN, token).into_bytes()
}

/// A token of the right form.
fn token(digit: char) -> String {
    format!("sk-rt-{}", digit.to_string().repeat(64))
}

fn entry(id: &str, token: &str) -> Value {
    json!({"id": id, "token": token, "tokenSnippet": &token[..10], "createdAt": "2026-01-01T00:00:00Z"})
}

#[test]
fn no_request_fails_while_the_configuration_is_read_again_and_again() {
    on_each_driver(|driver| {
        let setup = quick().driver(driver).cores(2);
        let home = Home::of(&setup);
        let gateway = home.start();
        let load = Load::start(gateway.address(), 4, "simulated/chat");
        for round in 0..10 {
            load.wait_for_more(10);
            home.edit("config/models.json", |models| models[0]["name"] = json!(format!("round {round}")));
            home.edit("config/projects.json", |projects| {
                let tokens = projects[0]["tokens"].as_array_mut().unwrap();
                tokens.retain(|token| token["id"] == "demo-token");
                tokens.insert(round % 2, entry("other", &token('7')));
            });
            gateway.reload();
        }
        load.wait_for_more(10);
        let (finished, trouble) = load.stop();
        assert!(trouble.is_empty(), "{trouble:?}");
        // What was counted under the indexes of one generation is told by its own names.
        let expected = finished.len() as f64;
        gateway
            .wait_for_metric("routerly_token_calls_total{token=\"demo-token\"}", |calls| calls == expected);
        assert_eq!(gateway.metric("routerly_token_calls_total{token=\"other\"}"), 0.0);
        let records = home.wait_for_records(finished.len());
        assert_eq!(records.len(), finished.len());
        assert!(records.iter().all(|record| record["tokenId"] == "demo-token"));
    });
}

#[test]
fn an_edit_by_hand_is_noticed_without_being_told() {
    let home = Home::of(&quick());
    let gateway = home.start();
    gateway.call(with_token(&token('1'))).expect(401);
    // In place, as `>` in a shell does it, and by a file that takes the name, as editors do.
    let mut projects = home.json("config/projects.json");
    projects[0]["tokens"].as_array_mut().unwrap().push(entry("one", &token('1')));
    home.write("config/projects.json", &projects.to_string());
    gateway.wait_for_line("configuration in force; files changed");
    gateway.call(with_token(&token('1'))).expect(200);
    assert!(!home.read("config/projects.json").contains(&token('1')), "the new one is hashed as well");
    home.edit("config/projects.json", |projects| {
        projects[0]["tokens"].as_array_mut().unwrap().push(entry("two", &token('2')));
    });
    eventually("the second token", || (gateway.call(with_token(&token('2'))).status == 200).then_some(()));
    gateway.call(with_token(&token('1'))).expect(200);
}

#[test]
fn a_setting_that_waits_for_a_restart_is_named() {
    let home = Home::of(&quick());
    let gateway = home.start();
    home.edit("config/settings.json", |settings| {
        settings["cores"] = json!(2);
        settings["journal"] = json!({"rotateBytes": 1 << 30});
        settings["logLevel"] = json!("debug");
    });
    gateway.reload();
    gateway.wait_for_line("a changed setting waits for a restart; cores");
    gateway.wait_for_line("a changed setting waits for a restart; journal.rotateBytes");
    let named = gateway.lines().iter().filter(|line| line.contains("waits for a restart")).count();
    assert_eq!(named, 2, "the level is in force at once");
    gateway.call(with_token(TOKEN)).expect(200);
}

#[test]
fn a_token_is_valid_from_the_reload_that_brings_it_to_the_one_that_disables_it() {
    let home = Home::of(&quick());
    let gateway = home.start();
    let mut client = gateway.client();
    gateway.call(with_token(&token('3'))).expect(401);
    home.edit("config/projects.json", |projects| {
        projects[0]["tokens"].as_array_mut().unwrap().push(entry("three", &token('3')));
    });
    gateway.reload();
    // On the same connection: a core looks at its configuration with each request.
    client.call(with_token(&token('3'))).expect(200);
    for (key, value) in [("disabled", json!(true)), ("expiresAt", json!("2001-01-01T00:00:00Z"))] {
        home.edit("config/projects.json", |projects| projects[0]["tokens"][1][key] = value);
        gateway.reload();
        gateway.call(with_token(&token('3'))).expect(401);
        client.call(chat("simulated/chat", false)).expect(200);
        home.edit("config/projects.json", |projects| {
            projects[0]["tokens"][1].as_object_mut().unwrap().remove(key);
        });
        gateway.reload();
        client.call(with_token(&token('3'))).expect(200);
    }
}

#[test]
fn a_head_that_was_let_in_before_is_judged_by_what_is_in_force_now() {
    let home = Home::of(&quick());
    home.edit("config/projects.json", |projects| {
        projects[0]["tokens"].as_array_mut().unwrap().push(entry("three", &token('3')));
    });
    let gateway = home.start();
    let mut client = gateway.client();
    for _ in 0..4 {
        client.call(with_token(&token('3'))).expect(200);
    }
    home.edit("config/projects.json", |projects| projects[0]["tokens"][1]["disabled"] = json!(true));
    gateway.reload();
    client.call(with_token(&token('3'))).expect(401);
    // One that is valid for another moment, on a connection that uses it all the while.
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
    home.edit("config/projects.json", |projects| {
        projects[0]["tokens"][1]["disabled"] = json!(false);
        projects[0]["tokens"][1]["expiresAt"] = json!(soon.to_string());
    });
    gateway.reload();
    let mut client = gateway.client();
    eventually("the end of a token", || (client.call(with_token(&token('3'))).status == 401).then_some(()));
}

#[test]
fn a_bad_edit_is_told_with_its_place_and_changes_nothing() {
    let home = Home::of(&quick());
    let gateway = home.start();
    let good = home.read("config/settings.json");
    let generation = gateway.metric("routerly_config_generation");
    let cases = [
        ("{\n  \"port\": 0,\n  \"logLevel\": \"loud\"\n}", "config/settings.json:3:15: logLevel: found"),
        ("{\n  \"port\": 0,,\n}", "config/settings.json:2:13:"),
        ("", "config/settings.json: found an empty file"),
    ];
    for (number, (text, place)) in cases.into_iter().enumerate() {
        let said = gateway.lines().len();
        home.write("config/settings.json", text);
        gateway.signal("HUP");
        gateway.wait_for_line_after(said, &format!("configuration not taken; {place}"));
        // The watch may have seen the edit as well.
        assert!(gateway.metric("routerly_config_errors_total") >= (number + 1) as f64);
        assert_eq!(gateway.metric("routerly_config_generation"), generation);
        gateway.call(chat("simulated/chat", false)).expect(200);
        assert_eq!(home.read("config/settings.json"), text, "it is never overwritten");
    }
    home.write("config/settings.json", &good);
    gateway.wait_for_line("configuration in force");
    gateway.call(chat("simulated/chat", false)).expect(200);
}

#[test]
fn requests_go_to_a_models_new_address_after_the_reload() {
    on_each_driver(|driver| {
        let first = MockUpstream::with(behaviour::answers_each_dialect);
        let second = MockUpstream::with(behaviour::answers_each_dialect);
        let home = Home::of(&Setup::with_upstream(&first).driver(driver));
        let gateway = home.start();
        let mut client = gateway.client();
        client.call(chat("up/chat", false)).expect(200);
        first.next_request();
        home.edit("config/models.json", |models| {
            models[0]["endpoint"] = json!(second.url());
            models[0]["apiKey"] = json!("another-key");
        });
        gateway.reload();
        client.call(chat("up/chat", false)).expect(200);
        let (_, request) = second.next_request();
        assert_eq!(request.head.field("authorization"), Some("Bearer another-key"));
        // The connection to the old address was idle; nobody needs it now, but for the models that stayed there.
        home.edit("config/models.json", |models| {
            for model in models.as_array_mut().unwrap() {
                model["endpoint"] = json!(second.url());
            }
        });
        gateway.reload();
        client.call(chat("up/chat", false)).expect(200);
        first.next_ending();
        let (connection, _) = second.next_request();
        assert_eq!(connection, 0, "the connection to an address that stayed is kept");
    });
}

#[test]
fn a_stream_goes_on_when_its_model_and_token_are_gone() {
    let upstream = MockUpstream::manual();
    let home = Home::of(&Setup::with_upstream(&upstream));
    let gateway = home.start();
    let mut client = gateway.client();
    client.send(chat("up/chat", true));
    let mut provider = upstream.accept();
    provider.read_request();
    provider.begin_stream();
    provider.send_chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n");
    client.read_until("\"one\"");
    home.edit("config/projects.json", |projects| {
        projects[0]["models"] = json!([]);
        projects[0]["tokens"] = json!([entry("new", &token('4'))]);
    });
    home.edit("config/models.json", |models| *models = json!([]));
    gateway.reload();
    gateway.call(chat("up/chat", false)).expect(401);
    provider.send_chunk(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000000,\"completion_tokens\":1,\"total_tokens\":1000001}}\n\n\
         data: [DONE]\n\n",
    );
    provider.end_chunks();
    client.read_until("data: [DONE]\n\n\r\n0\r\n\r\n");
    let records = home.wait_for_records(1);
    assert_eq!((&records[0]["modelId"], &records[0]["tokenId"]), (&"up/chat".into(), &"demo-token".into()));
    assert_eq!(records[0]["cost"].to_string(), "1.000002", "at the price of its own time");
    client.call(chat("up/chat", false)).expect(401);
    gateway.wait_for_metric("routerly_model_calls_total{model=\"up/chat\"}", |calls| calls == 1.0);
}

fn level(gateway: &Process, home: &Home, level: &str) {
    home.edit("config/settings.json", |settings| settings["logLevel"] = json!(level));
    gateway.reload();
}

#[test]
fn the_level_of_the_log_changes_at_run_time() {
    let home = Home::of(&quick());
    let gateway = home.start();
    let mut client = gateway.client();
    let mut call = || {
        let answer = client.call(chat("simulated/chat", false)).expect(200);
        answer.field("x-routerly-trace-id").unwrap().to_owned()
    };
    let loud = call();
    gateway.wait_for_line(&loud);
    level(&gateway, &home, "warn");
    let quiet = call();
    level(&gateway, &home, "info");
    let loud = call();
    gateway.wait_for_line(&loud);
    let lines = gateway.lines();
    assert!(!lines.iter().any(|line| line.contains(&quiet)), "a line below the level");
    assert_eq!(home.wait_for_records(3).len(), 3, "the books do not depend on the log");
}

#[test]
fn at_level_trace_each_attempt_tells_its_steps() {
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    // Bound, so that nobody else gets the port, and deaf.
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let dead = deaf.local_addr().unwrap().as_socket().unwrap();
    let mut setup = Setup::with_upstream(&upstream);
    let first = json!({"id": "dead", "provider": "custom", "dialect": "openai-chat", "apiKey": "k",
        "endpoint": format!("http://{dead}/v1")});
    setup.models.push(first);
    setup.projects[0]["models"].as_array_mut().unwrap().insert(0, json!({"modelId": "dead"}));
    let gateway = setup.setting("logLevel", "trace").start();
    let steps = |trace: &str| -> Vec<(String, String)> {
        gateway.wait_for_line(&format!("\"request\"; {trace}"));
        let lines = gateway.lines();
        let of_trace = lines.iter().filter(|line| line.contains("\"trace\"") && line.contains(trace));
        let line = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        of_trace.map(line).map(|line| (text(&line, "model"), text(&line, "msg"))).collect()
    };
    let mut client = gateway.client();
    for connection in ["connection opened", "pooled connection taken"] {
        let answer = client.call(chat("auto", false)).expect(200);
        let told = steps(answer.field("x-routerly-trace-id").unwrap());
        let expected = [
            ("dead", "attempt failed"),
            ("up/chat", connection),
            ("up/chat", "request sent"),
            ("up/chat", "answer begun"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(model, step)| ((*model).to_owned(), (*step).to_owned())).collect();
        assert_eq!(told, expected);
    }
}
