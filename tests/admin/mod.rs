//! The management API.

mod accounts;
mod audit;
mod matrix;
mod models;
mod projects;
mod settings;
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

    /// Makes a user and signs in as him.
    pub fn add_user(&self, root: &Session, email: &str, more: Value) -> Session {
        let mut body = serde_json::json!({"email": email, "password": "correct horse"});
        more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        self.call("POST", "users", &root.token, &body).expect(201);
        self.sign_in(email, "correct horse")
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

/// Status and code of an answer.
pub fn error(answer: Response) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// The paths of the fields that an answer says are wrong.
pub fn wrong_fields(answer: Response) -> Vec<String> {
    let answer = answer.expect(400).json();
    let fields = answer["fields"].as_array().unwrap_or_else(|| panic!("{answer}"));
    fields.iter().map(|field| field["path"].as_str().unwrap().to_owned()).collect()
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
