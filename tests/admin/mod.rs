//! The management API.

mod accounts;
mod usage;

use serde_json::Value;

use crate::support::home::Home;
use crate::support::process::Process;
use crate::support::{Client, Response, Setup};

/// A gateway with nobody in it, and the words for talking to it.
pub struct Api {
    pub home: Home,
    pub gateway: Process,
}

impl Api {
    pub fn start() -> Self {
        Self::of(&Setup::demo())
    }

    pub fn of(setup: &Setup) -> Self {
        let home = Home::of(setup);
        Self { gateway: home.start(), home }
    }

    /// One request; `token` as Bearer unless it is empty.
    pub fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Response {
        let fields =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        self.call_with(method, path, &fields, body)
    }

    /// One request with these fields, each with its line end; a body unless it is null.
    pub fn call_with(&self, method: &str, path: &str, fields: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let head =
            format!("{method} /api/{path} HTTP/1.1\r\nHost: gw\r\n{fields}Content-Length: {length}\r\n\r\n");
        Client::connect(self.gateway.address()).call(format!("{head}{body}"))
    }

    /// Makes the first administrator and signs in as him.
    pub fn set_up(&self) -> Session {
        let body = serde_json::json!({"email": "root@example.org", "password": "correct horse"});
        Session::of(&self.call("POST", "setup/first-admin", "", &body).expect(201))
    }

    pub fn sign_in(&self, email: &str, password: &str) -> Session {
        let body = serde_json::json!({"email": email, "password": password});
        Session::of(&self.call("POST", "auth/login", "", &body).expect(200))
    }
}

/// What signing in gives.
pub struct Session {
    pub token: String,
    pub refresh: String,
    pub id: String,
}

impl Session {
    pub fn of(answer: &Response) -> Self {
        let body = answer.json();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        Self {
            token: text(&body["token"]),
            refresh: text(&body["refreshToken"]),
            id: text(&body["user"]["id"]),
        }
    }
}
