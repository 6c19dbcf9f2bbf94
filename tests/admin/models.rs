//! Models: made, changed, renamed, removed; keys that are not shown.

use serde_json::{Value, json};

use super::{Api, error, wrong_fields};
use crate::support::upstream::behaviour::answers_each_dialect;
use crate::support::{Client, MockUpstream, Setup, TOKEN};

fn chat(api: &Api, token: &str, model: &str) -> crate::support::Response {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Client::connect(api.gateway.address()).call(head)
}

#[test]
fn a_model_is_made_used_changed_and_removed() {
    let upstream = MockUpstream::with(answers_each_dialect);
    let api = Api::of(&Setup::new());
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let made = call(
        "POST",
        "models",
        json!({
            "id": "mine/chat", "provider": "custom", "baseUrl": upstream.url(), "apiKey": "sk-first-key",
            "inputPrice": 1.5, "outputPrice": 2, "capabilities": ["tools", "vision"], "dailyBudget": 10,
            "upstreamModelId": "chat",
        }),
    )
    .expect(201);
    let tag = made.field("etag").unwrap().to_owned();
    assert_eq!(
        made.json(),
        json!({
            "id": "mine/chat", "name": "mine/chat", "provider": "custom", "endpoint": upstream.url(),
            "upstreamModelId": "chat", "cost": {"inputPerMillion": 1.5, "outputPerMillion": 2},
            "limits": [{"metric": "cost", "windowType": "period", "period": "daily", "value": 10}],
            "capabilities": {"functionCalling": true, "vision": true}, "enabled": true,
            "hasApiKey": true, "keyError": false, "priceUnknown": false,
        })
    );
    // In force when the answer is there: the project can use it at once, with the key, on all cores.
    call("PUT", "projects/demo", json!({"models": ["mine/chat"]})).expect(200);
    assert_eq!(chat(&api, TOKEN, "mine/chat").status, 200);
    let (_, asked) = upstream.next_request();
    assert_eq!(asked.head.field("authorization"), Some("Bearer sk-first-key"));
    let file = api.home.read("config/models.json");
    assert!(file.contains("ENCRYPTED:v1:") && !file.contains("sk-first-key"));

    // A change names what it changes; the mask, an empty key and absence keep the key.
    let path = "models/mine%2Fchat";
    for body in [
        json!({"apiKey": "********"}),
        json!({"apiKey": "", "name": ""}),
        json!({"cost": {"cachePerMillion": 0.1}}),
    ] {
        call("PUT", path, body).expect(200);
    }
    let shown = call("GET", path, Value::Null).expect(200).json();
    assert_eq!(shown["cost"], json!({"inputPerMillion": 1.5, "outputPerMillion": 2, "cachePerMillion": 0.1}));
    assert_eq!(shown["limits"][0]["value"], 10);
    assert_eq!(chat(&api, TOKEN, "mine/chat").status, 200);
    let cleared = call("PUT", path, json!({"limits": null, "capabilities": null})).expect(200).json();
    assert_eq!((&cleared["limits"], &cleared["capabilities"]), (&Value::Null, &json!({})));
    let late = api.call_with(
        "PUT",
        path,
        &format!("Authorization: Bearer {}\r\nIf-Match: {tag}\r\n", root.token),
        &json!({"enabled": false}),
    );
    assert_eq!(error(late), (412, "precondition_failed".to_owned()));

    // Its name is another one everywhere, and the key still opens.
    let renamed = call("PUT", path, json!({"id": "other/chat"})).expect(200).json();
    assert_eq!(renamed["id"], "other/chat");
    assert_eq!(
        call("GET", "projects/demo", Value::Null).json()["models"],
        json!([{"modelId": "other/chat"}])
    );
    assert_eq!(chat(&api, TOKEN, "other/chat").status, 200);
    call("GET", path, Value::Null).expect(404);
    call("PUT", "models/other%2Fchat", json!({"enabled": false})).expect(200);
    assert_eq!(chat(&api, TOKEN, "other/chat").status, 503);

    let used = call("DELETE", "models/other%2Fchat", Value::Null);
    assert!(used.json()["message"].as_str().unwrap().contains("project demo (models)"));
    assert_eq!(error(used), (409, "conflict".to_owned()));
    call("DELETE", "models/other%2Fchat?force=1", Value::Null).expect(204);
    assert_eq!(call("GET", "projects/demo", Value::Null).json()["models"], json!([]));
    assert_eq!(call("GET", "models", Value::Null).expect(200).json(), json!([]));
}

#[test]
fn keys_are_masked_and_revealed_to_those_who_may_change_them() {
    let api = Api::of(&Setup::new());
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    call("POST", "models", json!({"id": "a", "provider": "openai", "apiKey": "sk-secret-a"})).expect(201);
    call("POST", "models", json!({"id": "b", "provider": "openai", "cloneFrom": "a"})).expect(201);
    call("POST", "models", json!({"id": "c", "provider": "openai", "apiKeys": [{"id": "k1", "key": "sk-secret-1"}, {"id": "k2", "key": "sk-secret-2"}]})).expect(201);
    for path in ["models/a/apikey", "models/b/apikey"] {
        assert_eq!(call("GET", path, Value::Null).expect(200).json(), json!({"apiKey": "********"}));
        let revealed = call("GET", &format!("{path}?reveal=1"), Value::Null).expect(200).json();
        assert_eq!(revealed, json!({"apiKey": "sk-secret-a"}));
    }
    // One of several keys is changed, the other one is its mask.
    let keys = json!([{"id": "k2", "key": "********", "weight": 3}, {"id": "k1", "key": "sk-secret-new"}]);
    let changed = call("PUT", "models/c", json!({"apiKeys": keys, "id": "d"})).expect(200).json();
    assert_eq!(changed["apiKeys"][1], json!({"id": "k1", "key": "********"}));
    assert_eq!(
        call("GET", "models/d/apikey?reveal=1", Value::Null).json(),
        json!({"apiKey": "sk-secret-2"}),
        "the key that was kept opens under the new id too"
    );
    call("POST", "models/a/apikey", json!({"apiKey": "sk-other"})).expect(200);
    assert_eq!(call("GET", "models/a/apikey?reveal=1", Value::Null).json()["apiKey"], "sk-other");
    assert_eq!(call("PUT", "models/a", json!({"apiKey": null})).expect(200).json()["hasApiKey"], false);
    assert_eq!(call("GET", "models/a/apikey", Value::Null).json(), json!({"apiKey": null}));
    for text in [
        call("GET", "models", Value::Null).expect(200).body,
        api.home.read("config/models.json").into_bytes(),
    ] {
        assert!(!String::from_utf8(text).unwrap().contains("sk-"), "no key is shown");
    }
    let viewer = api.add_user(&root, "v@example.org", json!({"role": "viewer"}));
    api.call("GET", "models", &viewer.token, &Value::Null).expect(200);
    for path in ["models/a/apikey", "models/a/apikey?reveal=1"] {
        assert_eq!(error(api.call("GET", path, &viewer.token, &Value::Null)), (403, "forbidden".to_owned()));
    }
}

#[test]
fn every_wrong_field_is_named_and_nothing_is_written() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let before = api.home.read("config/models.json");
    for (method, path, body, fields) in [
        ("POST", "models", json!({}), vec!["id", "provider"]),
        (
            "POST",
            "models",
            json!({"id": "x", "provider": "nobody", "inputPerMillion": -1, "contextWindow": "big", "limits": [{"metric": "calls"}]}),
            vec!["cost.inputPerMillion", "contextWindow", "limits[0]", "limits[0]", "provider"],
        ),
        ("POST", "models", json!({"id": "x", "provider": "custom", "endpoint": "ftp://x"}), vec!["endpoint"]),
        ("POST", "models", json!({"id": " x\n", "provider": "openai", "cost": 3}), vec!["cost", "id"]),
        (
            "PUT",
            "models/simulated%2Fchat",
            json!({"provider": null, "enabled": 1, "outputPerMillion": 1e9}),
            vec!["provider", "enabled", "cost.outputPerMillion"],
        ),
        (
            "PUT",
            "models/simulated%2Fchat",
            json!({"limits": [{"metric": "cost", "windowType": "period", "period": "daily", "value": 1, "notifyAt": [500]}]}),
            vec!["limits[0].notifyAt[0]"],
        ),
    ] {
        let mut found = wrong_fields(call(method, path, body.clone()));
        let mut fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        found.sort();
        fields.sort();
        assert_eq!(found, fields, "{method} {path} {body}");
    }
    assert_eq!(
        error(call("POST", "models", json!({"id": "simulated/chat", "provider": "openai"}))),
        (409, "conflict".to_owned())
    );
    assert_eq!(error(call("PUT", "models/nothing", json!({"name": "x"}))), (404, "not_found".to_owned()));
    assert_eq!(error(call("DELETE", "models/..%2F..%2Fetc", Value::Null)), (404, "not_found".to_owned()));
    assert_eq!(api.home.read("config/models.json"), before);
}

#[test]
fn what_somebody_has_added_by_hand_survives_a_change() {
    let api = Api::start();
    let root = api.set_up();
    api.home.edit("config/models.json", |models| {
        models[1]["mine"] = json!({"a": [1]});
        models[1]["cost"]["mine"] = json!(true);
    });
    let path = "models/simulated%2Fresponses";
    let shown = api
        .call("PUT", path, &root.token, &json!({"name": "New", "cost": {"outputPerMillion": 3}}))
        .expect(200);
    assert!(shown.json()["mine"].is_null(), "what we do not know is not shown");
    let model = api.home.json("config/models.json")[1].clone();
    assert_eq!(
        (&model["mine"], &model["cost"]["mine"], &model["name"]),
        (&json!({"a": [1]}), &json!(true), &json!("New"))
    );
    assert_eq!(model["cost"]["outputPerMillion"], 3);
    assert_eq!(model["cost"]["inputPerMillion"], 1);
    // A file that is broken by hand is said to be, and is not touched.
    api.home.write("config/models.json", "[{");
    assert_eq!(
        error(api.call("PUT", path, &root.token, &json!({"name": "x"}))),
        (409, "conflict".to_owned())
    );
    assert_eq!(api.home.read("config/models.json"), "[{");
}

#[test]
fn the_catalogue_is_there_to_choose_from() {
    let api = Api::of(&Setup::new());
    let root = api.set_up();
    let providers = api.call("GET", "providers", &root.token, &Value::Null).expect(200).json();
    let openai = providers.as_array().unwrap().iter().find(|provider| provider["id"] == "openai").unwrap();
    assert_eq!((&openai["requiresKey"], &openai["supported"]), (&json!(true), &json!(true)));
    let known = openai["models"].as_array().unwrap().iter().find(|model| !model["cost"].is_null()).unwrap();
    // A model without prices has the catalogue's.
    let id = format!("openai/{}", known["id"].as_str().unwrap());
    let made =
        api.call("POST", "models", &root.token, &json!({"id": id, "provider": "openai"})).expect(201).json();
    assert_eq!(made["cost"]["inputPerMillion"], known["cost"]["inputPerMillion"]);
    assert_eq!(made["endpoint"], openai["endpoint"]);
    assert_eq!((&made["priceUnknown"], &made["hasApiKey"]), (&json!(false), &json!(false)));
    // Under another name it is still the same one to the provider.
    let path = format!("models/{}", id.replace('/', "%2F"));
    let renamed = api.call("PUT", &path, &root.token, &json!({"id": "mine"})).expect(200).json();
    assert_eq!((&renamed["upstreamModelId"], &renamed["cost"]), (&known["id"], &made["cost"]));
}
