//! Setting up, signing in and out, users, roles, and who may do what to whom.

use serde_json::{Value, json};

use super::{Api, Session, error};

fn login(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[test]
fn the_first_administrator_is_made_once_and_is_signed_in() {
    let api = Api::start();
    let status = || api.call("GET", "setup/status", "", &Value::Null).expect(200).json();
    assert_eq!(status(), json!({"needsSetup": true, "configured": false}));
    for (body, fields) in [
        (json!({}), vec!["email", "password"]),
        (json!({"email": "root", "password": "short"}), vec!["email", "password"]),
        (json!({"email": 1, "password": "correct horse"}), vec!["email"]),
    ] {
        let answer = api.call("POST", "setup/first-admin", "", &body).expect(400).json();
        let paths: Vec<_> = answer["fields"].as_array().unwrap().iter().map(|f| f["path"].clone()).collect();
        assert_eq!(paths, fields, "{answer}");
    }
    let root = api.set_up();
    assert_eq!(status()["needsSetup"], false);
    let again = api.call("POST", "setup/first-admin", "", &login("x@example.org", "correct horse"));
    assert_eq!(error(again), (403, "forbidden".to_owned()));
    let me = api.call("GET", "me", &root.token, &Value::Null).expect(200);
    assert_eq!(
        me.json(),
        json!({"id": root.id, "email": "root@example.org", "role": "admin", "roleId": "admin"})
    );
    // It is in the file, without the password and the token.
    let file = api.home.read("config/users.json");
    assert!(file.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!file.contains("correct horse") && !file.contains(&root.refresh));
}

#[test]
fn signing_in_needs_the_password_and_guessing_is_slowed_down() {
    let api = Api::start();
    api.set_up();
    let session = api.sign_in("Root@Example.org", "correct horse");
    assert_eq!(session.token.split('.').count(), 3);
    let wrong = |email: &str| api.call("POST", "auth/login", "", &login(email, "wrong horse"));
    assert_eq!(error(wrong("root@example.org")), (401, "unauthorized".to_owned()));
    assert_eq!(
        wrong("root@example.org").json(),
        wrong("nobody@example.org").json(),
        "neither says which it was"
    );
    let slowed = (0..20).map(|_| wrong("root@example.org")).find(|answer| answer.status == 429);
    let slowed = slowed.expect("guessing is slowed down");
    assert!(slowed.field("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    let right = api.call("POST", "auth/login", "", &login("root@example.org", "correct horse"));
    assert_eq!(error(right), (429, "rate_limited".to_owned()));
    for (path, body) in [("auth/login", "{"), ("auth/login", "[1]"), ("auth/refresh", "\"x\"")] {
        let head =
            format!("POST /api/{path} HTTP/1.1\r\nHost: gw\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(error(api.gateway.call(head)), (400, "validation_error".to_owned()), "{body}");
    }
}

#[test]
fn a_refresh_token_counts_once_and_its_second_use_ends_the_sign_in() {
    let api = Api::start();
    let first = api.set_up();
    let refresh = |token: &str| api.call("POST", "auth/refresh", "", &json!({"refreshToken": token}));
    let second = Session::of(&refresh(&first.refresh).expect(200));
    let other = api.sign_in("root@example.org", "correct horse");
    api.call("GET", "me", &second.token, &Value::Null).expect(200);
    refresh(&first.refresh).expect(401);
    refresh(&second.refresh).expect(401);
    api.call("GET", "me", &second.token, &Value::Null).expect(401);
    api.call("GET", "me", &other.token, &Value::Null).expect(200);
    refresh("").expect(401);
    assert_eq!(error(api.call("POST", "auth/refresh", "", &json!({}))), (401, "unauthorized".to_owned()));
}

#[test]
fn sessions_are_listed_and_ended_and_survive_a_restart() {
    let mut api = Api::start();
    let one = api.set_up();
    let two = api.sign_in("root@example.org", "correct horse");
    let list = |api: &Api, token: &str| api.call("GET", "me/sessions", token, &Value::Null);
    let sessions = list(&api, &two.token).expect(200).json();
    let current: Vec<_> = sessions.as_array().unwrap().iter().map(|s| s["current"] == true).collect();
    assert_eq!(current, [false, true]);
    let id = sessions[0]["id"].as_str().unwrap();
    api.call("DELETE", &format!("me/sessions/{id}"), &two.token, &Value::Null).expect(204);
    api.call("DELETE", &format!("me/sessions/{id}"), &two.token, &Value::Null).expect(404);
    list(&api, &one.token).expect(401);
    api.gateway.kill9();
    api.gateway = api.home.start();
    list(&api, &two.token).expect(200);
    api.call("POST", "auth/logout", &two.token, &Value::Null).expect(204);
    list(&api, &two.token).expect(401);
}

#[test]
fn one_changes_ones_own_account_with_the_present_password() {
    let api = Api::start();
    let one = api.set_up();
    let other = api.sign_in("root@example.org", "correct horse");
    let change = |body: Value| api.call("PUT", "me", &one.token, &body);
    assert_eq!(
        change(json!({"newPassword": "battery staple"})).expect(400).json()["fields"][0]["path"],
        "currentPassword"
    );
    change(json!({"currentPassword": "wrong horse", "newPassword": "battery staple"})).expect(401);
    change(json!({"currentPassword": "correct horse", "newPassword": "short"})).expect(400);
    let changed = change(
        json!({"currentPassword": "correct horse", "newPassword": "battery staple", "newEmail": "me@example.org"}),
    );
    assert_eq!(changed.expect(200).json()["email"], "me@example.org");
    // All sign-ins have ended, the other ones for good.
    api.call("GET", "me", &one.token, &Value::Null).expect(401);
    api.call("POST", "auth/refresh", "", &json!({"refreshToken": other.refresh})).expect(401);
    let renewed = api.call("POST", "auth/refresh", "", &json!({"refreshToken": one.refresh}));
    api.call("GET", "me", &Session::of(&renewed.expect(200)).token, &Value::Null).expect(200);
    api.call("POST", "auth/login", "", &login("me@example.org", "correct horse")).expect(401);
    api.sign_in("me@example.org", "battery staple");
}

#[test]
fn users_are_made_changed_and_removed() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let made = call(
        "POST",
        "users",
        json!({"email": "v@example.org", "password": "correct horse", "projectIds": ["p"]}),
    );
    let made = made.expect(201).json();
    let (id, path) = (made["id"].as_str().unwrap(), format!("users/{}", made["id"].as_str().unwrap()));
    assert_eq!(
        made,
        json!({"id": id, "email": "v@example.org", "role": "viewer", "roleId": "viewer", "projectIds": ["p"]})
    );
    for (body, expected) in [
        (json!({"email": "V@example.org", "password": "correct horse"}), (409, "conflict")),
        (json!({"email": "w@example.org", "password": "short"}), (400, "validation_error")),
        (json!({"email": "w example.org", "password": "correct horse"}), (400, "validation_error")),
        (
            json!({"email": "w@example.org", "password": "correct horse", "role": "king"}),
            (400, "validation_error"),
        ),
    ] {
        let (status, code) = error(call("POST", "users", body.clone()));
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    let viewer = api.sign_in("v@example.org", "correct horse");
    // A change that was based on something else is refused, one without a base is not.
    let tag = call("GET", &path, Value::Null).expect(200).field("etag").unwrap().to_owned();
    let changed = call("PUT", &path, json!({"roleId": "operator"})).expect(200).json();
    assert_eq!((&changed["roleId"], &changed["projectIds"]), (&json!("operator"), &json!(["p"])));
    let fields = format!("Authorization: Bearer {}\r\nIf-Match: {tag}\r\n", root.token);
    let late = api.call_with("PUT", &path, &fields, &json!({"roleId": "viewer"}));
    assert_eq!(error(late), (412, "precondition_failed".to_owned()));
    // A new role counts at once, a new password ends what was.
    api.call("GET", "me", &viewer.token, &Value::Null).expect(200);
    call("PUT", &path, json!({"newPassword": "battery staple"})).expect(200);
    api.call("GET", "me", &viewer.token, &Value::Null).expect(401);
    api.sign_in("v@example.org", "battery staple");
    assert_eq!(call("GET", "users", Value::Null).expect(200).json().as_array().unwrap().len(), 2);
    assert_eq!(
        error(call("DELETE", &format!("users/{}", root.id), Value::Null)),
        (409, "conflict".to_owned())
    );
    assert_eq!(
        error(call("PUT", &format!("users/{}", root.id), json!({"role": "viewer"}))),
        (409, "conflict".to_owned())
    );
    call("DELETE", &path, Value::Null).expect(204);
    call("GET", &path, Value::Null).expect(404);
    let file = api.home.read("config/users.json");
    assert!(!file.contains("v@example.org"), "{file}");
}

#[test]
fn nobody_gives_or_takes_what_he_does_not_have() {
    let api = Api::start();
    let root = api.set_up();
    let as_root = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let permissions = ["user:read", "user:write", "report:read"];
    as_root("POST", "roles", json!({"id": "hr", "name": "People", "permissions": permissions})).expect(201);
    as_root(
        "POST",
        "users",
        json!({"email": "hr@example.org", "password": "correct horse", "role": "People"}),
    )
    .expect(201);
    as_root(
        "POST",
        "users",
        json!({"email": "op@example.org", "password": "correct horse", "role": "operator"}),
    )
    .expect(201);
    let hr = api.sign_in("hr@example.org", "correct horse");
    let as_hr = |method: &str, path: &str, body: Value| api.call(method, path, &hr.token, &body);
    let users = as_hr("GET", "users", Value::Null).expect(200).json();
    let id = |email: &str| {
        let user = users.as_array().unwrap().iter().find(|user| user["email"] == email).unwrap();
        format!("users/{}", user["id"].as_str().unwrap())
    };
    for (method, path, body) in [
        (
            "POST",
            "users".to_owned(),
            json!({"email": "a@example.org", "password": "correct horse", "role": "admin"}),
        ),
        (
            "POST",
            "users".to_owned(),
            json!({"email": "a@example.org", "password": "correct horse", "role": "operator"}),
        ),
        ("POST", "users".to_owned(), json!({"email": "a@example.org", "password": "correct horse"})),
        ("PUT", id("hr@example.org"), json!({"role": "admin"})),
        ("PUT", id("hr@example.org"), json!({"projectIds": ["p"]})),
        ("PUT", id("root@example.org"), json!({"newPassword": "correct horse"})),
        ("PUT", id("op@example.org"), json!({"newPassword": "correct horse"})),
        ("DELETE", id("root@example.org"), Value::Null),
        ("POST", "roles".to_owned(), json!({"id": "x", "name": "X", "permissions": ["model:write"]})),
        ("PUT", "roles/hr".to_owned(), json!({"permissions": ["model:write"]})),
        ("PUT", "roles/admin".to_owned(), json!({"permissions": []})),
    ] {
        let (status, code) = error(as_hr(method, &path, body.clone()));
        assert_eq!((status, code.as_str()), (403, "forbidden"), "{method} {path} {body}");
    }
    as_hr("POST", "users", json!({"email": "b@example.org", "password": "correct horse", "role": "hr"}))
        .expect(201);
    // Who may nothing of the kind is told so, and who is nobody has to sign in.
    let op = api.sign_in("op@example.org", "correct horse");
    for (method, path) in [("GET", "users"), ("POST", "users"), ("GET", "roles"), ("DELETE", "roles/hr")] {
        assert_eq!(
            error(api.call(method, path, &op.token, &Value::Null)),
            (403, "forbidden".to_owned()),
            "{path}"
        );
        assert_eq!(
            error(api.call(method, path, "", &Value::Null)),
            (401, "unauthorized".to_owned()),
            "{path}"
        );
        assert_eq!(
            error(api.call(method, path, "a.b.c", &Value::Null)),
            (401, "unauthorized".to_owned()),
            "{path}"
        );
    }
}

#[test]
fn roles_are_made_changed_and_removed() {
    let api = Api::start();
    let root = api.set_up();
    let call = |method: &str, path: &str, body: Value| api.call(method, path, &root.token, &body);
    let made = call("POST", "roles", json!({"name": "Night Shift", "permissions": ["usage:read"]}))
        .expect(201)
        .json();
    assert_eq!(
        made,
        json!({"id": "night-shift", "name": "Night Shift", "permissions": ["report:read"], "builtin": false})
    );
    assert_eq!(
        error(call("POST", "roles", json!({"id": "admin", "name": "x"}))),
        (409, "conflict".to_owned())
    );
    assert_eq!(
        error(call("POST", "roles", json!({"permissions": ["x"]}))),
        (400, "validation_error".to_owned())
    );
    let changed = call("PUT", "roles/night-shift", json!({"name": "Night"})).expect(200).json();
    assert_eq!((&changed["name"], &changed["permissions"]), (&json!("Night"), &json!(["report:read"])));
    call(
        "POST",
        "users",
        json!({"email": "n@example.org", "password": "correct horse", "role": "night-shift"}),
    )
    .expect(201);
    assert_eq!(error(call("DELETE", "roles/night-shift", Value::Null)), (409, "conflict".to_owned()));
    call("DELETE", "roles/night-shift?force=1", Value::Null).expect(204);
    assert_eq!(error(call("DELETE", "roles/viewer", Value::Null)), (403, "forbidden".to_owned()));
    let ids: Vec<Value> = call("GET", "roles", Value::Null)
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].clone())
        .collect();
    assert_eq!(ids, ["admin", "operator", "viewer"]);
}

#[test]
fn a_role_that_was_written_without_an_id_is_changed_by_the_one_it_is_known_by() {
    let api = Api::start();
    let root = api.set_up();
    api.home
        .write("config/roles.json", r#"[{"name": "Night Shift", "permissions": ["usage:read"], "mine": 1}]"#);
    let call = |method: &str, body: Value| api.call(method, "roles/night-shift", &root.token, &body);
    assert_eq!(
        call("PUT", json!({"permissions": ["model:read"]})).expect(200).json()["permissions"],
        json!(["model:read"])
    );
    let file = api.home.json("config/roles.json");
    assert_eq!((&file[0]["id"], &file[0]["mine"]), (&json!("night-shift"), &json!(1)));
    call("DELETE", Value::Null).expect(204);
    call("GET", Value::Null).expect(404);
}

#[test]
fn each_refresh_token_that_was_replaced_ends_the_sign_in_when_it_is_shown_again() {
    let api = Api::start();
    let first = api.set_up();
    let refresh = |token: &str| api.call("POST", "auth/refresh", "", &json!({"refreshToken": token}));
    let mut last = Session::of(&refresh(&first.refresh).expect(200));
    for _ in 0..3 {
        last = Session::of(&refresh(&last.refresh).expect(200));
    }
    refresh(&first.refresh).expect(401);
    api.call("GET", "me", &last.token, &Value::Null).expect(401);
}

#[test]
fn the_dashboards_cookie_counts_for_its_own_pages_alone() {
    let api = Api::start();
    let answer =
        api.call("POST", "setup/first-admin", "", &login("root@example.org", "correct horse")).expect(201);
    let cookie = answer.field("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/api; Max-Age=86400; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let own = format!("Cookie: {cookie}\r\nOrigin: http://gw\r\n");
    api.call_with("PUT", "me", &own, &json!({"currentPassword": "correct horse"})).expect(200);
    let foreign = format!("Cookie: {cookie}\r\nOrigin: http://evil\r\n");
    let refused = api.call_with("PUT", "me", &foreign, &json!({"currentPassword": "correct horse"}));
    assert_eq!(refused.field("access-control-allow-origin"), None);
    assert_eq!(error(refused), (403, "forbidden".to_owned()));
}

#[test]
fn pages_of_others_neither_set_up_nor_sign_in_and_a_lost_file_does_not_open_the_door() {
    let api = Api::start();
    let body = login("root@example.org", "correct horse");
    for fields in ["Origin: http://evil\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        for path in ["setup/first-admin", "auth/login"] {
            let refused = api.call_with("POST", path, fields, &body);
            assert_eq!(error(refused), (403, "forbidden".to_owned()), "{fields} {path}");
        }
    }
    api.set_up();
    std::fs::remove_file(api.home.file("config/users.json")).unwrap();
    assert_eq!(error(api.call("POST", "setup/first-admin", "", &body)), (403, "forbidden".to_owned()));
}

#[test]
fn an_imported_user_signs_in_and_gets_a_hash_of_today() {
    let api = Api::start();
    // SHA-256 of "password", as upstream's first release kept it.
    let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    api.home.write(
        "config/users.json",
        &json!([{"id": "u1", "email": "old@example.org", "passwordHash": hash, "roleId": "admin", "mine": 1}]).to_string(),
    );
    let session = api.sign_in("old@example.org", "password");
    api.call("GET", "me", &session.token, &Value::Null).expect(200);
    let file: Value = serde_json::from_str(&api.home.read("config/users.json")).unwrap();
    assert!(file[0]["passwordHash"].as_str().unwrap().starts_with("$argon2id$"));
    assert_eq!(file[0]["mine"], 1, "what is not ours stays");
    api.sign_in("old@example.org", "password");
}
