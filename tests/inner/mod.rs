//! Calls that the gateway makes itself: for policies that ask a model or go by meaning, and for caches.

mod asides;
mod caches;
mod intents;
mod scores;

use serde_json::{Value, json};

use crate::support::upstream::Connection;
use crate::support::{Gateway, MockUpstream, Response, Setup, post, simulated};

/// Two simulated chat models, `sim/a` and `sim/b`, in this order, and further models that are in the registry only.
fn setup(policies: &Value, registry: &[Value]) -> Setup {
    let mut setup = Setup::new()
        .model(simulated("sim/a", "openai-chat"))
        .model(simulated("sim/b", "openai-chat"))
        .project("policies", policies.clone());
    setup.models.extend(registry.iter().cloned());
    setup
}

/// A model of the registry that a provider of the test's own is asked for, named `id` there too.
fn asked(id: &str, provider: &str, upstream: &MockUpstream) -> Value {
    json!({
        "id": id, "name": id, "provider": provider, "endpoint": upstream.url(), "apiKey": "routing-key",
        "upstreamModelId": id, "cost": {"inputPerMillion": 1, "outputPerMillion": 2},
    })
}

fn ask(gateway: &Gateway, message: &str) -> Response {
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": message}]});
    gateway.client().call(post("/v1/chat/completions", "", &body))
}

fn answered(response: &Response) -> &str {
    response.field("x-routerly-model").expect("a model")
}

/// A chat completion that says `text`.
fn says(text: &str) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "router",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60},
    })
    .to_string()
}

/// A provider that answers each request with what `answer` makes of its body.
fn provider(answer: impl Fn(&Value) -> (u16, String) + Send + Sync + 'static) -> MockUpstream {
    MockUpstream::with(move |connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            let (status, body) = answer(&request.json());
            connection.answer(status, &body);
        }
    })
}

/// The records of calls for policies.
fn routing_records(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["callType"] == "routing").collect()
}
