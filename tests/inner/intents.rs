//! The policy `semantic-intent`.

use serde_json::{Value, json};

use super::{answered, ask, asked, provider, routing_records, setup};
use crate::support::{MockUpstream, simulated};

/// Words about code point one way, all others another.
fn vector(text: &str) -> Value {
    let code = text.contains("code") || text.contains("bug");
    if code { json!([1.0, 0.1, 0.0]) } else { json!([0.0, 0.1, 1.0]) }
}

fn texts(body: &Value) -> Vec<String> {
    let texts = body["input"].as_array().expect("texts");
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn openai(body: &Value) -> (u16, String) {
    let texts = texts(body);
    let entry = |(index, text): (usize, &String)| json!({"object": "embedding", "index": index, "embedding": vector(text)});
    let data: Vec<Value> = texts.iter().enumerate().map(entry).collect();
    (
        200,
        json!({"object": "list", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}}).to_string(),
    )
}

fn intents(more: &[(&str, Value)]) -> Value {
    let mut config = json!({
        "embedding_model": "embedder",
        "intents": {
            "code": {"examples": ["write code", "fix this bug"], "candidate_models": ["sim/b"]},
            "talk": {"examples": ["hello there"], "candidate_models": ["sim/a"]},
        },
    });
    for (key, value) in more {
        config[*key] = value.clone();
    }
    json!([{"type": "semantic-intent", "config": config}])
}

#[test]
fn a_request_goes_to_who_is_good_at_what_it_is_about() {
    let embedder = provider(openai);
    let gateway = setup(&intents(&[]), &[asked("embedder", "openai", &embedder)]).start();
    assert_eq!(answered(&ask(&gateway, "there is a bug").expect(200)), "sim/b");
    assert_eq!(answered(&ask(&gateway, "good morning").expect(200)), "sim/a");
    assert_eq!(answered(&ask(&gateway, "more code").expect(200)), "sim/b");
    let (_, first) = embedder.next_request();
    assert_eq!(first.head.request_line().1, "/v1/embeddings");
    assert_eq!(texts(&first.json()), ["there is a bug", "write code", "fix this bug", "hello there"]);
    assert_eq!(texts(&embedder.next_request().1.json()), ["good morning"], "centroids are kept");
    let records = gateway.usage_records(6);
    let routing = routing_records(&records);
    assert_eq!(routing.len(), 3);
    for record in routing {
        assert_eq!((&record["endpoint"], &record["modelId"]), (&json!("embeddings"), &json!("embedder")));
        assert_eq!((&record["inputTokens"], &record["usageSource"]), (&json!(9), &json!("reported")));
    }
}

#[test]
fn ollama_is_asked_below_its_root_also_where_the_endpoint_ends_in_v1() {
    let embedder = provider(|body| {
        let vectors: Vec<Value> = texts(body).iter().map(|text| vector(text)).collect();
        (200, json!({"model": "nomic", "embeddings": vectors, "prompt_eval_count": 4}).to_string())
    });
    let inline = [
        ("embedding_provider", json!("ollama")),
        ("embedding_model", json!("nomic")),
        ("embedding_endpoint", json!(embedder.url())),
    ];
    assert!(embedder.url().ends_with("/v1"));
    let gateway = setup(&intents(&inline), &[]).start();
    assert_eq!(answered(&ask(&gateway, "a bug").expect(200)), "sim/b");
    let (_, request) = embedder.next_request();
    assert_eq!((request.head.request_line().1, &request.json()["model"]), ("/api/embed", &json!("nomic")));
    let records = gateway.usage_records(2);
    let [routing] = routing_records(&records)[..] else { panic!("{records:?}") };
    assert_eq!((&routing["modelId"], &routing["inputTokens"]), (&json!("ollama/nomic"), &json!(4)));
}

#[test]
fn what_cannot_be_found_out_keeps_nobody_out() {
    let broken = provider(|_| (500, "{}".to_owned()));
    let wordless = provider(|_| (200, json!({"data": []}).to_string()));
    let silent = MockUpstream::with(crate::support::upstream::behaviour::never_answers);
    for upstream in [&broken, &wordless, &silent] {
        let policies = intents(&[("timeoutMs", json!(100))]);
        let gateway = setup(&policies, &[asked("embedder", "openai", upstream)]).start();
        ask(&gateway, "a bug").expect(200);
        let records = gateway.usage_records(2);
        assert_ne!(routing_records(&records)[0]["outcome"], "success");
    }
}

#[test]
fn the_next_embedding_model_is_asked_when_one_fails() {
    let (broken, embedder) = (provider(|_| (500, "{}".to_owned())), provider(openai));
    let policies =
        intents(&[("embedding_model", json!("one")), ("embedding_fallback_models", json!(["two"]))]);
    let models = [asked("one", "openai", &broken), asked("two", "openai", &embedder)];
    let gateway = setup(&policies, &models).start();
    assert_eq!(answered(&ask(&gateway, "a bug").expect(200)), "sim/b");
}

#[test]
fn the_simulated_provider_embeds_in_both_of_its_shapes() {
    // Its vectors depend on the text alone: the example itself is as near as can be.
    for dialect in ["openai-chat", "gemini"] {
        let model = simulated("embedder", dialect);
        let gateway = setup(&intents(&[]), &[model]).start();
        assert_eq!(answered(&ask(&gateway, "hello there").expect(200)), "sim/a", "{dialect}");
    }
}
