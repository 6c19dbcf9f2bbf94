//! Settings: partial changes, masked secrets, what the environment decides.

use serde_json::{Value, json};

use super::{Api, error, wrong_fields};
use crate::support::Setup;

#[test]
fn settings_are_changed_in_part_and_in_force_at_once() {
    let api = Api::of(&Setup::demo().setting("server.headTimeoutMs", 9_000).setting("mine", json!({"a": 1})));
    let root = api.set_up();
    let call = |method: &str, body: Value| api.call(method, "settings", &root.token, &body);
    let shown = call("GET", Value::Null).expect(200);
    let tag = shown.field("etag").unwrap().to_owned();
    let shown = shown.json();
    for (key, value) in [
        ("logLevel", json!("info")),
        ("channel", json!("stable")),
        ("timezone", json!("UTC")),
        ("overridden", json!([])),
        ("restartRequired", json!(false)),
        ("mine", Value::Null),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    let before = api.home.json("config/settings.json");
    call("PUT", shown.clone()).expect(200);
    assert_eq!(api.home.json("config/settings.json"), before, "what was read and sent back changes nothing");
    let changed = call(
        "PUT",
        json!({"defaultTimeoutMs": 1234, "server": {"bodyTimeoutMs": 50_000}, "cores": 2, "telemetry": {"enabled": true}}),
    );
    let changed = changed.expect(200).json();
    assert_eq!(changed["server"], json!({"headTimeoutMs": 9_000, "bodyTimeoutMs": 50_000}));
    assert_eq!((&changed["restartRequired"], &changed["restartFor"]), (&json!(true), &json!(["cores"])));
    let install = changed["telemetry"]["installId"].clone();
    assert_eq!(install.as_str().unwrap().len(), 36);
    let off = call("PUT", json!({"telemetry": {"enabled": false, "installId": "x"}, "cores": 1}))
        .expect(200)
        .json();
    assert_eq!(off["telemetry"], json!({"enabled": false, "installId": install}));
    let reset =
        call("PUT", json!({"defaultTimeoutMs": null, "server": {"bodyTimeoutMs": null}})).expect(200).json();
    assert_eq!(
        (&reset["defaultTimeoutMs"], &reset["server"]),
        (&json!(30_000), &json!({"headTimeoutMs": 9_000}))
    );
    let file = api.home.json("config/settings.json");
    assert_eq!(file["mine"], json!({"a": 1}));
    assert!(file["defaultTimeoutMs"].is_null() && file["publicUrl"].is_null());

    let wrong = json!({"port": 70_000, "logLevel": "loud", "channel": "x; rm", "server": {"headTimeoutMs": 0}, "budgets": [{}]});
    let mut fields = wrong_fields(call("PUT", wrong));
    fields.dedup();
    assert_eq!(fields, ["logLevel", "channel", "port", "server.headTimeoutMs", "budgets[0]"]);
    let late = format!("Authorization: Bearer {}\r\nIf-Match: {tag}\r\n", root.token);
    assert_eq!(
        error(api.call_with("PUT", "settings", &late, &json!({"cores": 3}))),
        (412, "precondition_failed".to_owned())
    );
    assert_eq!(api.home.json("config/settings.json"), file);
    let operator = api.add_user(&root, "op@example.org", json!({"role": "operator"}));
    for method in ["GET", "PUT"] {
        assert_eq!(
            error(api.call(method, "settings", &operator.token, &json!({}))),
            (403, "forbidden".to_owned())
        );
    }
}

#[test]
fn secrets_of_channels_are_masked_and_kept() {
    let channel = json!({"provider": "webhook", "url": "https://hooks.example.org/x", "secret": "s-first"});
    let api = Api::of(&Setup::demo().setting("notifications", json!([channel])));
    let root = api.set_up();
    let call = |method: &str, body: Value| api.call(method, "settings", &root.token, &body);
    let shown = call("GET", Value::Null).expect(200).json()["notifications"].clone();
    assert_eq!(
        shown,
        json!({"channels": [{"id": "channel_0", "provider": "webhook", "url": "https://hooks.example.org/x", "secret": "********"}]})
    );
    let sealed = api.home.json("config/settings.json")["notifications"][0]["secret"].clone();
    assert!(sealed.as_str().unwrap().starts_with("ENCRYPTED:v1:"));
    // Another one in front, the old one with its mask.
    let second = json!({"type": "webhook", "url": "https://hooks.example.org/y", "secret": "s-second"});
    let changed = call("PUT", json!({"notifications": [second, shown["channels"][0]]})).expect(200).json();
    let channels = changed["notifications"]["channels"].as_array().unwrap();
    assert_eq!((&channels[0]["provider"], &channels[1]["id"]), (&json!("webhook"), &json!("channel_0")));
    let file = api.home.json("config/settings.json");
    assert_eq!(file["notifications"]["channels"][1]["secret"], sealed);
    assert!(!file.to_string().contains("s-second") && !changed.to_string().contains("s-second"));
    assert_eq!(
        wrong_fields(call(
            "PUT",
            json!({"notifications": [{"id": "new", "provider": "webhook", "secret": "********"}]})
        )),
        ["notifications.channels[0].secret"]
    );
    call("PUT", json!({"notifications": null})).expect(200);
    assert!(api.home.json("config/settings.json")["notifications"].is_null());
}

#[test]
fn what_the_environment_decides_is_not_changed() {
    use crate::support::home::Home;
    use crate::support::process::Process;
    let home = Home::of(&Setup::demo());
    let mut command = home.command();
    command.env("ROUTERLY_LOG_LEVEL", "debug");
    let api = Api { gateway: Process::listening(command), home };
    let root = api.set_up();
    let call = |method: &str, body: Value| api.call(method, "settings", &root.token, &body);
    let shown = call("GET", Value::Null).expect(200).json();
    assert_eq!((&shown["logLevel"], &shown["overridden"]), (&json!("debug"), &json!(["logLevel"])));
    assert_eq!(wrong_fields(call("PUT", json!({"logLevel": "warn"}))), ["logLevel"]);
    call("PUT", shown).expect(200);
    assert!(api.home.json("config/settings.json")["logLevel"].is_null());
}
