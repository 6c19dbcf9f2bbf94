//! Every route with every role, and with everything that should not be sent to it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Api, Session};
use crate::support::Client;

/// What each asker is answered: nobody, a role without permissions, viewer, operator, admin. Bodies are empty, names
/// mostly of things that are not there, and no tag fits, so that what is allowed changes next to nothing: it is 400, 404 or
/// 412 then.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, [u16; 5])] = &[
    ("GET", "setup/status", "setup/status", [200, 200, 200, 200, 200]),
    ("POST", "setup/first-admin", "setup/first-admin", [400, 400, 400, 400, 400]),
    ("POST", "auth/login", "auth/login", [400, 400, 400, 400, 400]),
    ("POST", "auth/refresh", "auth/refresh", [401, 401, 401, 401, 401]),
    ("GET", "system/info", "system/info", [200, 200, 200, 200, 200]),
    ("GET", "openapi.json", "openapi.json", [401, 200, 200, 200, 200]),
    ("GET", "me", "me", [401, 200, 200, 200, 200]),
    ("PUT", "me", "me", [401, 400, 400, 400, 400]),
    ("GET", "me/sessions", "me/sessions", [401, 200, 200, 200, 200]),
    ("DELETE", "me/sessions/{session}", "me/sessions/nothing", [401, 404, 404, 404, 404]),
    ("GET", "models", "models", [401, 403, 200, 200, 200]),
    ("POST", "models", "models", [401, 403, 403, 400, 400]),
    ("GET", "models/{model}", "models/simulated%2Fchat", [401, 403, 200, 200, 200]),
    ("PUT", "models/{model}", "models/nothing", [401, 403, 403, 404, 404]),
    ("DELETE", "models/{model}", "models/nothing", [401, 403, 403, 404, 404]),
    ("GET", "models/{model}/apikey", "models/simulated%2Fchat/apikey?reveal=1", [401, 403, 403, 200, 200]),
    ("POST", "models/{model}/apikey", "models/nothing/apikey", [401, 403, 403, 400, 400]),
    ("GET", "providers", "providers", [401, 403, 200, 200, 200]),
    ("GET", "projects", "projects", [401, 200, 200, 200, 200]),
    ("POST", "projects", "projects", [401, 403, 403, 400, 400]),
    ("GET", "projects/{project}", "projects/demo", [401, 404, 200, 200, 200]),
    ("PUT", "projects/{project}", "projects/demo", [401, 404, 403, 412, 412]),
    ("DELETE", "projects/{project}", "projects/demo", [401, 404, 403, 412, 412]),
    ("GET", "projects/{project}/tokens", "projects/demo/tokens", [401, 404, 200, 200, 200]),
    ("POST", "projects/{project}/tokens", "projects/demo/tokens", [401, 404, 403, 201, 201]),
    ("GET", "projects/{project}/tokens/{token}", "projects/demo/tokens/demo-token", [401, 404, 200, 200, 200]),
    ("PUT", "projects/{project}/tokens/{token}", "projects/demo/tokens/nothing", [401, 404, 403, 404, 404]),
    ("DELETE", "projects/{project}/tokens/{token}", "projects/demo/tokens/demo-token", [401, 404, 403, 412, 412]),
    ("POST", "projects/{project}/tokens/{token}/regenerate", "projects/demo/tokens/demo-token/regenerate", [401, 404, 403, 412, 412]),
    ("GET", "projects/{project}/members", "projects/demo/members", [401, 404, 200, 200, 200]),
    ("POST", "projects/{project}/members", "projects/demo/members", [401, 404, 403, 400, 400]),
    ("PUT", "projects/{project}/members/{user}", "projects/demo/members/nothing", [401, 404, 403, 400, 400]),
    ("DELETE", "projects/{project}/members/{user}", "projects/demo/members/nothing", [401, 404, 403, 404, 404]),
    ("GET", "settings", "settings", [401, 403, 403, 403, 200]),
    ("PUT", "settings", "settings", [401, 403, 403, 403, 412]),
    ("GET", "users", "users", [401, 403, 403, 403, 200]),
    ("POST", "users", "users", [401, 403, 403, 403, 400]),
    ("GET", "users/{user}", "users/nothing", [401, 403, 403, 403, 404]),
    ("PUT", "users/{user}", "users/nothing", [401, 403, 403, 403, 404]),
    ("DELETE", "users/{user}", "users/nothing", [401, 403, 403, 403, 404]),
    ("GET", "roles", "roles", [401, 403, 403, 403, 200]),
    ("POST", "roles", "roles", [401, 403, 403, 403, 400]),
    ("GET", "roles/{role}", "roles/viewer", [401, 403, 403, 403, 200]),
    ("PUT", "roles/{role}", "roles/viewer", [401, 403, 403, 403, 403]),
    ("DELETE", "roles/{role}", "roles/nothing", [401, 403, 403, 403, 404]),
    ("POST", "notifications/test", "notifications/test", [401, 403, 403, 403, 400]),
    ("GET", "audit", "audit", [401, 403, 403, 403, 200]),
    ("GET", "usage", "usage", [401, 403, 200, 200, 200]),
    ("GET", "usage/export", "usage/export", [401, 403, 200, 200, 200]),
    ("GET", "usage/{record}", "usage/nothing", [401, 403, 404, 404, 404]),
    ("GET", "traces", "traces", [401, 403, 200, 200, 200]),
    ("GET", "traces/{trace}", "traces/nothing", [401, 403, 404, 404, 404]),
    ("GET", "system/releases", "system/releases", [401, 200, 200, 200, 200]),
    ("GET", "system/update-check", "system/update-check", [401, 200, 200, 200, 200]),
    ("POST", "system/update", "system/update", [401, 403, 403, 403, 409]),
    ("POST", "test/openai-oauth", "test/openai-oauth", [401, 403, 403, 200, 200]),
    // The last one: nobody is signed in after it.
    ("POST", "auth/logout", "auth/logout", [401, 204, 204, 204, 204]),
];

fn document(api: &Api, root: &Session) -> Value {
    api.call("GET", "openapi.json", &root.token, &Value::Null).expect(200).json()
}

/// Method and path of all routes.
fn routes(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, operations)| {
        let path = path.strip_prefix("/api/").unwrap().to_owned();
        operations.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    methods.collect()
}

#[test]
fn each_role_may_what_the_table_says_on_each_route() {
    let api = Api::start();
    let root = api.set_up();
    api.call("POST", "roles", &root.token, &json!({"id": "none", "name": "None"})).expect(201);
    let tokens = ["none", "viewer", "operator"]
        .map(|role| api.add_user(&root, &format!("{role}@example.org"), json!({"role": role})).token);
    let askers = [String::new(), tokens[0].clone(), tokens[1].clone(), tokens[2].clone(), root.token.clone()];
    let listed: BTreeSet<_> =
        TABLE.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(routes(&document(&api, &root)), listed, "each route stands in the table");
    let mut wrong = Vec::new();
    for (method, _, path, expected) in TABLE {
        for (asker, expected) in askers.iter().zip(expected) {
            let bearer =
                if asker.is_empty() { String::new() } else { format!("Authorization: Bearer {asker}\r\n") };
            // A tag that nothing has keeps what is allowed from happening.
            let fields =
                if path.contains("auth") { bearer } else { format!("{bearer}If-Match: \"none\"\r\n") };
            let status = api.call_with(method, path, &fields, &json!({})).status;
            if status != *expected {
                wrong.push(format!("{method} {path}: {status} instead of {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The properties of a body.
fn properties(document: &Value, schema: &Value) -> Vec<String> {
    let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    let properties = document["components"]["schemas"][name]["properties"].as_object().unwrap();
    properties.keys().cloned().collect()
}

#[test]
fn nothing_that_is_sent_is_a_fault_of_ours_or_breaks_a_file() {
    let api = Api::start();
    let root = api.set_up();
    let user = api.add_user(&root, "v@example.org", json!({}));
    let document = document(&api, &root);
    let long = "x".repeat(70_000);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!(long),
        json!("\u{0}\n"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"a": {"b": null}}),
        json!([null, {"id": 3, "modelId": []}]),
        json!(["********"]),
        json!("********"),
    ];
    let raw = ["", "null", "[]", "{", "\"x\"", "{\"a\":1e999}", "\u{0}", "{\"id\":\"\\ud800\"}"];
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let call = |method: &str, path: &str, body: &str| {
        // A head that is refused ends its connection.
        let answer = Client::connect(api.gateway.address()).call(format!(
            "{method} /api/{path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            root.token,
            body.len()
        ));
        let sent = body.chars().take(80).collect::<String>();
        assert!(
            (200..500).contains(&answer.status),
            "{method} {path} {sent}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.status >= 400 {
            // A head that is refused is refused in the words of the data plane.
            assert!(!answer.json()["error"].is_null(), "{method} {path}");
        }
    };
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() || path.contains("auth/") {
                continue;
            }
            let path = path.strip_prefix("/api/").unwrap();
            let path = path.replace("{model}", "simulated%2Fchat").replace("{project}", "demo");
            let path =
                path.replace("{token}", "demo-token").replace("{user}", &user.id).replace("{role}", "viewer");
            let method = method.to_uppercase();
            for body in raw.into_iter().chain([deep.as_str()]) {
                call(&method, &path, body);
            }
            for property in properties(&document, schema) {
                // The names of the things themselves stay what they are.
                if method == "PUT" && property == "id" {
                    continue;
                }
                for value in &values {
                    call(
                        &method,
                        &path,
                        &json!({"id": "x", "name": "x", (property.as_str()): value}).to_string(),
                    );
                }
            }
        }
    }
    for path in [
        "models/%2e%2e%2f%2e%2e%2fetc",
        "models/..",
        "projects/%00",
        "projects/%ff%fe",
        "users/%2F",
        "roles/%",
        "projects/demo/tokens/%2e%2e",
        "projects//tokens",
        "models/simulated/chat",
        "../config/secret",
        "me/../users",
        "audit?before=%00&limit=99999999999999999999",
        "usage?page=18446744073709551615",
    ] {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            call(method, path, "{}");
        }
    }
    call("GET", &format!("models/{}", "x".repeat(3_000)), "");
    call("POST", "models", &format!("\"{}\"", "x".repeat(1_000_000)));
    let huge = Client::connect(api.gateway.address()).call(format!(
        "POST /api/models HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {}\r\nContent-Length: 9000000\r\n\r\n",
        root.token
    ));
    assert_eq!(huge.expect(413).json()["error"], "request_too_large");
    // Whatever was taken is a configuration.
    let checked = api.home.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
}

#[test]
fn of_changes_at_the_same_time_none_is_lost_and_one_alone_fits_a_tag() {
    let api = Api::start();
    let root = api.set_up();
    let path = "projects/demo";
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (api, root) = (&api, &root);
            scope.spawn(move || {
                for _ in 0..5 {
                    let body = json!({"labels": [format!("l{number}")]});
                    api.call("POST", "projects/demo/tokens", &root.token, &body).expect(201);
                }
            });
        }
    });
    let project = api.call("GET", path, &root.token, &Value::Null).expect(200);
    assert_eq!(project.json()["tokens"].as_array().unwrap().len(), 41);
    let fields =
        format!("Authorization: Bearer {}\r\nIf-Match: {}\r\n", root.token, project.field("etag").unwrap());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|number| {
                let (api, fields) = (&api, &fields);
                scope.spawn(move || {
                    api.call_with("PUT", path, fields, &json!({"timeoutMs": 1000 + number})).status
                })
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
}
