//! Who is let in: tokens, where they may stand, what they may address, and how a refusal looks.

use serde_json::{Value, json};

use crate::support::{Client, Setup, TOKEN, on_each_driver};

const OTHER: &str = "sk-rt-1111111111111111111111111111111111111111111111111111111111111111";
const DISABLED: &str = "sk-rt-2222222222222222222222222222222222222222222222222222222222222222";
const EXPIRED: &str = "sk-rt-3333333333333333333333333333333333333333333333333333333333333333";
const LATER: &str = "sk-rt-4444444444444444444444444444444444444444444444444444444444444444";
const WIDE: &str = "sk-rt-5555555555555555555555555555555555555555555555555555555555555555";

fn token(id: &str, token: &str, more: Value) -> Value {
    let mut value = json!({"id": id, "token": token, "tokenSnippet": "sk-rt-"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn setup() -> Setup {
    let other = json!({
        "id": "other-id", "name": "Other Team", "slug": "other", "tokens": [token("o", OTHER, json!({}))],
        "members": [], "policies": [], "models": [{"modelId": "simulated/chat"}],
    });
    Setup::demo()
        .other_project(other)
        .token(token("disabled", DISABLED, json!({"disabled": true})))
        .token(token("expired", EXPIRED, json!({"expiresAt": "2020-01-01T00:00:00Z"})))
        .token(token("later", LATER, json!({"expiresAt": "2099-01-01T00:00:00Z"})))
        .token(token("wide", WIDE, json!({"projectIds": ["other-id"]})))
}

fn body(path: &str) -> String {
    let message = json!([{"role": "user", "content": "Hi"}]);
    let body = match path {
        _ if path.ends_with("/responses") => json!({"model": "auto", "input": "Hi"}),
        _ if path.ends_with("/messages") => json!({"model": "auto", "max_tokens": 10, "messages": message}),
        _ => json!({"model": "auto", "messages": message}),
    };
    body.to_string()
}

fn request(path: &str, fields: &str) -> String {
    let body = body(path);
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];

#[test]
fn a_token_may_stand_in_either_field_on_every_dialect() {
    on_each_driver(|driver| {
        let gateway = setup().driver(driver).start();
        let cases = [
            (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
            (format!("authorization: bearer {TOKEN}\r\n"), 200),
            (format!("x-api-key: {TOKEN}\r\n"), 200),
            (format!("X-API-Key: {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"), 200),
            (format!("Authorization: Bearer {LATER}\r\n"), 200),
            (String::new(), 401),
            ("Authorization: \r\n".to_owned(), 401),
            ("Authorization: Bearer\r\n".to_owned(), 401),
            ("Authorization: Bearer wrong\r\n".to_owned(), 401),
            (format!("Authorization: Bearer {}\r\n", "x".repeat(5_000)), 401),
            (format!("Authorization: Bearer {TOKEN}x\r\n"), 401),
            (format!("Authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]), 401),
            (format!("Authorization: Basic {TOKEN}\r\n"), 401),
            (format!("Authorization: {TOKEN}\r\n"), 401),
            (format!("x-api-key: {TOKEN}\r\nAuthorization: Bearer {LATER}\r\n"), 401),
            (format!("x-api-key: {TOKEN}\r\nAuthorization: Basic abc\r\n"), 401),
            (format!("api-key: {TOKEN}\r\n"), 401),
            (format!("x-goog-api-key: {TOKEN}\r\n"), 401),
            (format!("Authorization: Bearer {DISABLED}\r\n"), 401),
            (format!("x-api-key: {EXPIRED}\r\n"), 401),
            // Whoever is behind us might take the other one.
            (format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"), 400),
            (format!("x-api-key: {TOKEN}\r\nx-api-key: {LATER}\r\n"), 400),
        ];
        for path in PATHS {
            for (fields, status) in &cases {
                let answer = gateway.call(request(path, fields));
                assert_eq!(answer.status, *status, "{path} {fields:?}: {}", answer.text());
                if *status == 401 {
                    assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
                    assert_eq!(answer.json()["error"]["code"], "unauthorized");
                    assert!(!answer.text().contains(TOKEN) && !answer.text().contains(DISABLED));
                }
            }
        }
        let query = request(&format!("/v1/chat/completions?key={TOKEN}"), "");
        gateway.call(query).expect(401);
        assert!(!gateway.lines().join("\n").contains(TOKEN), "a token in the log");
    });
}

#[test]
fn refusals_have_the_shape_of_the_clients_dialect() {
    on_each_driver(|driver| {
        let gateway = setup().driver(driver).start();
        for (path, types) in [
            ("/v1/chat/completions", ["unauthorized", "invalid_request"]),
            ("/v1/responses", ["unauthorized", "invalid_request"]),
            ("/v1/messages", ["authentication_error", "invalid_request_error"]),
            ("/anthropic/v1/messages", ["authentication_error", "invalid_request_error"]),
            ("/projects/demo/v1/messages", ["authentication_error", "invalid_request_error"]),
        ] {
            let unauthorized = gateway.call(request(path, "")).expect(401);
            let malformed = request(path, &format!("x-api-key: {TOKEN}\r\n")).replace("\"model\"", "'model'");
            let invalid = gateway.call(malformed).expect(400);
            for ((answer, kind), code) in
                [unauthorized, invalid].into_iter().zip(types).zip(["unauthorized", "invalid_request"])
            {
                let body = answer.json();
                assert_eq!(body["type"], "error", "{path}");
                assert_eq!(
                    (&body["error"]["type"], &body["error"]["code"]),
                    (&json!(kind), &json!(code)),
                    "{path}"
                );
                assert_eq!(body["error"]["message"], body["message"], "{path}");
                assert_eq!(body["trace_id"].as_str(), answer.field("x-routerly-trace-id"), "{path}");
                assert_eq!(answer.field("content-type"), Some("application/json"));
            }
        }
    });
}

#[test]
fn a_path_may_name_the_project() {
    on_each_driver(|driver| {
        let gateway = setup().driver(driver).start();
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        for (slug, token, status) in [
            ("demo", TOKEN, 200),
            ("other", OTHER, 200),
            ("other-id", OTHER, 200),
            ("other", WIDE, 200),
            ("other-id", WIDE, 200),
            ("demo", WIDE, 200),
            ("other", TOKEN, 403),
            ("demo", OTHER, 403),
            ("nobody", TOKEN, 404),
            ("nobody", OTHER, 404),
            ("other", "wrong", 401),
            ("nobody", "wrong", 401),
            ("other", DISABLED, 401),
        ] {
            let path = format!("/projects/{slug}/v1/chat/completions");
            let answer = gateway.call(request(&path, &bearer(token)));
            assert_eq!(answer.status, status, "{path} {token}: {}", answer.text());
        }
        // Usage is booked on the project in the path, for the token that was used.
        let records = gateway.usage_records(6);
        let booked = |record: &Value| {
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            (text("projectId"), text("tokenId"))
        };
        let expected = [
            ("demo", "demo-token"),
            ("other-id", "o"),
            ("other-id", "o"),
            ("other-id", "wide"),
            ("other-id", "wide"),
            ("demo", "wide"),
        ];
        let expected = expected.map(|(project, token)| (project.to_owned(), token.to_owned()));
        assert_eq!(records.iter().map(booked).collect::<Vec<_>>(), expected);
    });
}

/// A router key and its hash, made with the reference implementation of Argon2.
const ROUTER_KEY: &str = "rtr_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";
const ROUTER_KEY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$tF/KYP0tNcdlfu9NPae7rs5s7Rh7snUZqiFK6rzGUvE";

fn with_router_key(snippet: &str) -> Setup {
    setup().token(json!({"id": "router", "tokenHash": ROUTER_KEY_HASH, "tokenSnippet": snippet}))
}

#[test]
fn a_token_stored_as_an_argon2_hash_is_accepted_on_every_dialect() {
    on_each_driver(|driver| {
        let gateway = with_router_key("rtr_Zm9vYm").driver(driver).start();
        for (token, status) in [("rtr_Zm9vYmwrong", 401), (ROUTER_KEY, 200), ("rtr_Zm9vYmwrong", 401)] {
            for path in PATHS {
                let answer = gateway.call(request(path, &format!("x-api-key: {token}\r\n")));
                assert_eq!(answer.status, status, "{path}: {}", answer.text());
            }
        }
        let records = gateway.usage_records(3);
        assert!(records.iter().all(|record| record["tokenId"] == "router"), "{records:?}");
        // What was learned outlives a reload; the file is as it was.
        gateway.reload();
        assert_eq!(gateway.call(request(PATHS[0], &format!("x-api-key: {ROUTER_KEY}\r\n"))).status, 200);
        let stored = std::fs::read_to_string(gateway.file("config/projects.json")).unwrap();
        assert!(stored.contains(ROUTER_KEY_HASH) && !stored.contains(ROUTER_KEY));
    });
}

#[test]
fn a_flood_of_wrong_tokens_is_shed_and_the_others_are_served() {
    let gateway = with_router_key("").cores(2).start();
    let mut flood: Vec<Client> = (0..64).map(|_| gateway.client()).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        client.send(request(PATHS[0], &format!("x-api-key: rtr_{number}\r\n")));
    }
    let known = request(PATHS[0], &format!("x-api-key: {TOKEN}\r\n"));
    assert_eq!(gateway.call(known).status, 200);
    gateway.reload();
    let answers: Vec<_> = flood.iter_mut().map(Client::read_response).collect();
    let count = |status: u16, code: &str| {
        let is_it = |code_of: Value| code_of["error"]["code"] == code;
        answers.iter().filter(|answer| answer.status == status && is_it(answer.json())).count()
    };
    let (refused, shed) = (count(401, "unauthorized"), count(503, "busy"));
    assert_eq!(refused + shed, 64, "{refused} refused, {shed} shed");
    assert!(refused > 0 && shed > 0, "{refused} refused, {shed} shed");
}
