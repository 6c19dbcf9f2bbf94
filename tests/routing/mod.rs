//! Which model answers: policies of a project, through the real binary.

mod configuration;
mod past;
mod policies;
mod refusals;
mod trace;

use serde_json::{Value, json};

use crate::support::{Response, Setup, post, simulated};

/// The chat model `id` with further properties.
fn model(id: &str, more: &Value) -> Value {
    let mut model = simulated(id, "openai-chat");
    for (key, value) in more.as_object().expect("an object") {
        model[key] = value.clone();
    }
    model
}

/// Models with these properties and policies of these types, without settings.
fn setup(models: &[(&str, Value)], policies: &[&str]) -> Setup {
    let policies: Vec<Value> = policies.iter().map(|kind| json!({"type": kind})).collect();
    let setup = Setup::new().project("policies", policies);
    models.iter().fold(setup, |setup, (id, more)| setup.model(model(id, more)))
}

/// Who answered.
fn answered(response: &Response) -> &str {
    response.field("x-routerly-model").expect("a model")
}

/// A generation request that says `text`, in each dialect, with the members of `more` at its top.
fn asks(text: &str, more: &[(&str, Value)]) -> Vec<(&'static str, Vec<u8>)> {
    let message = json!([{"role": "user", "content": text}]);
    let bodies = [
        ("/v1/chat/completions", json!({"model": "auto", "messages": message})),
        ("/v1/responses", json!({"model": "auto", "input": text, "store": false})),
        ("/v1/messages", json!({"model": "auto", "max_tokens": 16, "messages": message})),
        (
            "/v1beta/models/auto:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
        ),
    ];
    let with_more = |(path, mut body): (&'static str, Value)| {
        more.iter().for_each(|(key, value)| body[*key] = value.clone());
        (path, post(path, "", &body))
    };
    bodies.into_iter().map(with_more).collect()
}
