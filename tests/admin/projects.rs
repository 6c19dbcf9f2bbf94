//! Projects, their tokens and members, and who sees and changes them.

use serde_json::{Value, json};

use super::{Api, error, wrong_fields};
use crate::support::{Client, Response, Setup};

fn chat(api: &Api, token: &str) -> u16 {
    chat_at(api, token, "v1")
}

fn chat_at(api: &Api, token: &str, base: &str) -> u16 {
    let body =
        json!({"model": "simulated/chat", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let head = format!(
        "POST /{base}/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Client::connect(api.gateway.address()).call(head).status
}

fn text(answer: &Response, key: &str) -> String {
    answer.json()[key].as_str().unwrap_or_else(|| panic!("{key}: {}", answer.json())).to_owned()
}

#[test]
fn a_project_is_made_used_changed_and_removed() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let made = call(
        "POST",
        "projects",
        json!({"name": " My App ", "models": ["simulated/chat"], "timeoutMs": 5000, "hedgeAfterMs": 900, "policies": ["health"]}),
    );
    let made = made.expect(201);
    let (id, token) = (text(&made, "id"), text(&made, "token"));
    let shown = made.json();
    assert_eq!((&shown["name"], &shown["slug"]), (&json!("My App"), &json!("my-app")));
    assert_eq!(shown["policies"], json!([{"type": "health", "enabled": true}]));
    assert_eq!(shown["members"], json!([{"userId": root.id, "role": "admin"}]));
    assert_eq!(shown["tokens"][0]["tokenSnippet"], token[..10]);
    assert!(shown["tokens"][0]["token"].is_null() && shown["tokens"][0]["tokenHash"].is_null());
    assert!(token.starts_with("sk-rt-") && token.len() == 70);
    assert_eq!(chat(&api, &token), 200, "in force at once");
    assert!(!api.home.read("config/projects.json").contains(&token));

    for (body, expected) in [
        (json!({"name": "my app"}), (409, "conflict")),
        (json!({"name": "other", "slug": "my-app"}), (409, "conflict")),
        (json!({"name": "Demo!"}), (409, "conflict")),
        (json!({"name": "  "}), (400, "validation_error")),
    ] {
        let (status, code) = error(call("POST", "projects", body.clone()));
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    assert_eq!(
        wrong_fields(call(
            "POST",
            "projects",
            json!({"name": 3, "models": [{"modelId": "nothing"}], "policies": [{"type": "random"}], "timeoutMs": -1})
        )),
        ["name", "policies[0].type", "timeoutMs", "models[0].modelId"]
    );

    // By slug as well; what is not named stays, also inside of the models.
    let limits = json!([{"metric": "calls", "windowType": "period", "period": "daily", "value": 100}]);
    call(
        "PUT",
        "projects/my-app",
        json!({"models": [{"modelId": "simulated/chat", "limits": limits, "prompt": "p"}]}),
    )
    .expect(200);
    let changed = call(
        "PUT",
        "projects/my-app",
        json!({"name": "Renamed", "models": ["simulated/responses", "simulated/chat"]}),
    );
    let changed = changed.expect(200).json();
    assert_eq!((&changed["slug"], &changed["timeoutMs"]), (&json!("my-app"), &json!(5000)));
    assert_eq!(changed["hedgeAfterMs"], 900);
    assert_eq!(
        changed["models"],
        json!([{"modelId": "simulated/responses"}, {"modelId": "simulated/chat", "prompt": "p", "limits": limits}])
    );
    assert_eq!(changed["policies"].as_array().unwrap().len(), 1);
    assert_eq!(call("GET", &format!("projects/{id}"), Value::Null).expect(200).json(), changed);
    // A project that somebody wrote by hand keeps the slug that its name has given it.
    call("POST", "projects", json!({"name": "x"})).expect(201);
    api.home.edit("config/projects.json", |projects| {
        drop(projects[2].as_object_mut().unwrap().shift_remove("slug"))
    });
    assert_eq!(call("PUT", "projects/x", json!({"name": "y"})).expect(200).json()["slug"], "x");

    assert_eq!(error(call("DELETE", "projects/..%2Fx", Value::Null)), (404, "not_found".to_owned()));
    call("DELETE", "projects/my-app", Value::Null).expect(204);
    assert_eq!(chat(&api, &token), 401);
    call("GET", &format!("projects/{id}"), Value::Null).expect(404);
}

#[test]
fn tokens_are_made_limited_disabled_replaced_and_removed() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let limit = json!({"metric": "calls", "limit": 1, "window": "daily"});
    let made =
        call("POST", "projects/demo/tokens", json!({"name": "ci", "labels": ["a"], "limits": [limit]}))
            .expect(201);
    let (token, info) = (text(&made, "token"), made.json()["tokenInfo"].clone());
    assert_eq!(
        info["limits"],
        json!([{"metric": "calls", "value": 1, "windowType": "period", "period": "daily"}])
    );
    let path = format!("projects/demo/tokens/{}", info["id"].as_str().unwrap());
    assert_eq!(call("GET", &path, Value::Null).expect(200).json(), info);
    assert_eq!((chat(&api, &token), chat(&api, &token)), (200, 503), "one call and no more");
    let changed = call(
        "PUT",
        &path,
        json!({"limits": null, "models": [{"modelId": "simulated/chat", "limits": [limit]}]}),
    );
    let changed = changed.expect(200).json();
    assert_eq!(
        (&changed["labels"], &changed["name"], &changed["limits"]),
        (&json!(["a"]), &json!("ci"), &Value::Null)
    );
    call("PUT", &path, json!({"models": null})).expect(200);
    assert_eq!(chat(&api, &token), 200);
    for (body, status) in [
        (json!({"disabled": true}), 401),
        (json!({"disabled": false}), 200),
        (json!({"expiresAt": "2020-01-01T00:00:00Z"}), 401),
        (json!({"expiresAt": null}), 200),
    ] {
        call("PUT", &path, body.clone()).expect(200);
        assert_eq!(chat(&api, &token), status, "{body}");
    }
    let wrong = json!({"expiresAt": "soon", "labels": "x", "models": ["nothing"], "projectIds": ["nothing"], "limits": [{}]});
    let mut fields = wrong_fields(call("PUT", &path, wrong));
    fields.dedup();
    assert_eq!(fields, ["labels", "expiresAt", "projectIds[0]", "models[0].modelId"]);
    let replaced = call("POST", &format!("{path}/regenerate"), Value::Null).expect(200);
    let new = text(&replaced, "token");
    assert_eq!(replaced.json()["tokenInfo"]["name"], "ci");
    assert_eq!((chat(&api, &token), chat(&api, &new)), (401, 200));
    assert_eq!(
        call("GET", "projects/demo/tokens", Value::Null).expect(200).json().as_array().unwrap().len(),
        2
    );
    call("DELETE", &path, Value::Null).expect(204);
    assert_eq!(chat(&api, &new), 401);
    for (method, path) in [("GET", path.as_str()), ("PUT", &path), ("DELETE", &path)] {
        assert_eq!(error(call(method, path, Value::Null)), (404, "not_found".to_owned()), "{method}");
    }
    let file = api.home.read("config/projects.json");
    assert!(!file.contains(&token) && !file.contains(&new));
}

#[test]
fn members_see_and_change_their_projects_alone() {
    let api = Api::start();
    let root = api.set_up();
    let as_root = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    as_root("POST", "projects", json!({"name": "other"})).expect(201);
    as_root("POST", "roles", json!({"id": "none", "name": "Nothing"})).expect(201);
    let users = ["viewer", "editor", "admin", "stranger"].map(|role| {
        let user = api.add_user(&root, &format!("{role}@example.org"), json!({"role": "none"}));
        if role != "stranger" {
            let member = json!({"userId": user.id, "role": role});
            assert_eq!(as_root("POST", "projects/demo/members", member.clone()).expect(201).json(), member);
        }
        user
    });
    for (user, count) in users.iter().zip([1, 1, 1, 0]) {
        let list = api.call("GET", "projects", &user.token, &Value::Null).expect(200).json();
        assert_eq!(list.as_array().unwrap().len(), count);
        assert_eq!(
            error(api.call("GET", "projects/other", &user.token, &Value::Null)),
            (404, "not_found".to_owned())
        );
    }
    let token = "projects/demo/tokens/demo-token";
    for (method, path, body, statuses) in [
        ("GET", "projects/demo", Value::Null, [200, 200, 200, 404]),
        ("GET", "projects/demo/tokens", Value::Null, [200, 200, 200, 404]),
        ("GET", token, Value::Null, [200, 200, 200, 404]),
        ("GET", "projects/demo/members", Value::Null, [200, 200, 200, 404]),
        ("PUT", "projects/demo", json!({"timeoutMs": 1000, "name": "demo"}), [403, 200, 200, 404]),
        ("PUT", "projects/demo", json!({"budgets": []}), [403, 403, 200, 404]),
        ("PUT", "projects/demo", json!({"name": "Demo"}), [403, 403, 200, 404]),
        ("PUT", token, json!({"labels": ["x"]}), [403, 200, 200, 404]),
        ("POST", "projects/demo/tokens", json!({}), [403, 201, 201, 404]),
        (
            "PUT",
            &format!("projects/demo/members/{}", users[0].id),
            json!({"role": "viewer"}),
            [403, 403, 200, 404],
        ),
        (
            "POST",
            "projects/demo/members",
            json!({"userId": users[0].id, "role": "admin"}),
            [403, 403, 409, 404],
        ),
        ("POST", "projects", json!({"name": "mine"}), [403, 403, 403, 403]),
        ("GET", "models", Value::Null, [403, 403, 403, 403]),
        // A token of one's own project must not open another one.
        ("POST", "projects/demo/tokens", json!({"projectIds": ["other"]}), [403, 400, 400, 404]),
        ("DELETE", &format!("projects/demo/members/{}", users[3].id), Value::Null, [403, 403, 404, 404]),
    ] {
        for (user, status) in users.iter().zip(statuses) {
            let answer = api.call(method, path, &user.token, &body);
            assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        }
    }
    // One who is listed only sees; a role of another name is what it may do with all projects.
    as_root("PUT", &format!("users/{}", users[3].id), json!({"projectIds": ["demo"]})).expect(200);
    api.call("GET", "projects/demo", &users[3].token, &Value::Null).expect(200);
    api.call("POST", "projects/demo/tokens", &users[3].token, &json!({})).expect(403);
    for (role, status) in [("none", 404), ("operator", 201)] {
        as_root("PUT", &format!("projects/demo/members/{}", users[0].id), json!({"role": role})).expect(200);
        api.call("POST", "projects/demo/tokens", &users[0].token, &json!({})).expect(status);
    }
    assert_eq!(
        wrong_fields(as_root("POST", "projects/demo/members", json!({"role": "king"}))),
        ["userId", "role"]
    );
    // Who is gone is no member any more, and a role that a member has is not removed under him.
    as_root("PUT", &format!("projects/demo/members/{}", users[1].id), json!({"role": "none"})).expect(200);
    as_root("DELETE", &format!("users/{}", users[2].id), Value::Null).expect(204);
    assert!(!api.home.read("config/projects.json").contains(&users[2].id));
    as_root("DELETE", "projects/demo", Value::Null).expect(204);
    assert!(
        !api.home.read("config/users.json").contains("\"demo\""),
        "nobody is left with a project that is gone"
    );
}

#[test]
fn a_token_opens_other_projects_only_for_those_who_may() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let other = call("POST", "projects", json!({"name": "other", "models": ["simulated/chat"]})).expect(201);
    let id = text(&other, "id");
    let made = call("POST", "projects/demo/tokens", json!({"projectIds": [id]})).expect(201);
    assert_eq!(chat_at(&api, &text(&made, "token"), "projects/other/v1"), 200);
    let used = call("DELETE", "projects/other", Value::Null);
    assert!(text(&used, "message").contains("of demo"), "{}", used.text());
    assert_eq!(error(used), (409, "conflict".to_owned()));
    call("DELETE", "projects/other?force=1", Value::Null).expect(204);
    assert_eq!(call("GET", "projects/demo", Value::Null).json()["tokens"][1]["projectIds"], json!([]));
}

#[test]
fn keys_inside_of_policies_are_masked_and_kept() {
    let api = Api::of(&Setup::demo().project(
        "policies",
        json!([{"type": "semantic-intent", "config": {
            "embedding_provider": "openai", "embedding_model": "text-embedding-3-small",
            "embedding_api_key": "sk-embed-secret",
            "intents": {"code": {"examples": ["fix this"], "candidate_models": ["simulated/chat"]}},
        }}]),
    ));
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let shown = call("GET", "projects/demo", Value::Null).expect(200).json();
    let mut policies = shown["policies"].clone();
    assert_eq!(policies[0]["config"]["embedding_api_key"], "********");
    let before =
        api.home.json("config/projects.json")[0]["policies"][0]["config"]["embedding_api_key"].clone();
    assert!(before.as_str().unwrap().starts_with("ENCRYPTED:v1:"));
    policies[0]["config"]["absolute_threshold"] = json!(0.7);
    let both = json!([{"type": "health"}, policies[0]]);
    call("PUT", "projects/demo", json!({"policies": both})).expect(200);
    let file = api.home.json("config/projects.json");
    assert_eq!(file[0]["policies"][1]["config"]["embedding_api_key"], before);
    assert_eq!(file[0]["policies"][1]["config"]["absolute_threshold"], 0.7);
    // The policy names the model, so that it is not removed under it.
    let used = call("DELETE", "models/simulated%2Fchat?force=1", Value::Null);
    assert!(text(&used, "message").contains("project demo (policies)"));
    assert_eq!(error(used), (409, "conflict".to_owned()));
    call("PUT", "models/simulated%2Fchat", json!({"id": "sim"})).expect(200);
    let renamed = &call("GET", "projects/demo", Value::Null).json()["policies"][1]["config"]["intents"];
    assert_eq!(renamed["code"]["candidate_models"], json!(["sim"]));
    assert_eq!(
        wrong_fields(call(
            "PUT",
            "projects/demo",
            json!({"policies": [{"type": "llm", "config": {"routingModelId": "gone"}}]})
        )),
        ["policies[0].config.routingModelId"]
    );
}
