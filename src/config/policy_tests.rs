//! Policies as they stand in a project, typed policies or findings out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::config::embedding::CacheMode;
use crate::config::{Config, Document, Documents, Env, Mistake, NoKeys, Secret};
use crate::provider::Catalogue;

const MODELS: &str = r#"[{"id":"a","provider":"simulated"},{"id":"b","provider":"simulated"},{"id":"c","provider":"simulated"}]"#;

/// What became of the policies, and the messages of the warnings with their places.
type Read = (Result<Vec<Policy>, Vec<Mistake>>, Vec<String>);

fn config_of(policies: &str) -> (Result<Config, Vec<Mistake>>, Vec<crate::config::Warning>) {
    let document = |text: String| Document { value: serde_json::from_str(&text).expect(&text), text };
    let documents = Documents {
        settings: Document::default(),
        models: document(MODELS.to_owned()),
        projects: document(format!(r#"[{{"id":"p","models":[],"policies":{policies}}}]"#)),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let mut warnings = Vec::new();
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut warnings);
    (config, warnings)
}

fn read_text(policies: &str) -> Read {
    let (config, warnings) = config_of(policies);
    let policies = config.map(|config| config.projects()[0].policies.clone());
    let warnings = warnings.into_iter().map(|found| format!("{}: {}", found.path, found.message));
    (policies, warnings.collect())
}

fn one(kind: &str, config: Value) -> Rule {
    let (policies, warnings) = read_text(&json!([{"type": kind, "config": config}]).to_string());
    assert_eq!(warnings, Vec::<String>::new());
    policies.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).remove(0).rule
}

const fn min(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[test]
fn every_policy_has_the_defaults_of_the_specification() {
    let kinds = ["context", "cheapest", "health", "performance", "capability", "rate-limit", "fairness"];
    let text: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    let (policies, warnings) = read_text(&Value::from(text).to_string());
    assert_eq!(warnings, Vec::<String>::new());
    let rules: Vec<Rule> = policies.unwrap().into_iter().map(|policy| policy.rule).collect();
    let health = Health {
        window: min(20),
        half_life: min(5),
        pseudo_counts: 2.0,
        circuit_breaker: 0.9,
        min_samples: 3,
    };
    let performance = Performance {
        window: min(20),
        half_life: min(5),
        min_samples: 1,
        metric: PerformanceMetric::Latency,
    };
    assert_eq!(
        rules,
        [
            Rule::Context,
            Rule::Cheapest(Cheapest { expected_output_ratio: 1.0 }),
            Rule::Health(health),
            Rule::Performance(performance),
            Rule::Capability,
            Rule::RateLimit(RateLimit { window: min(1), max_calls: None }),
            Rule::Fairness(Fairness { window: min(60) }),
        ]
    );
    assert_eq!(one("budget-remaining", Value::Null), Rule::BudgetRemaining);
    let Rule::Llm(llm) = one("llm", json!({"routingModelId": "b"})) else { panic!("another policy") };
    let expected = Llm {
        models: vec![1],
        additional_prompt: None,
        include_reason: false,
        thinking: false,
        memory_count: None,
        max_completion_tokens: None,
        max_user_message_chars: None,
        cache: None,
        timeout: Duration::from_secs(10),
    };
    assert_eq!(*llm, expected);
    let Rule::SemanticIntent(intent) = one("semantic-intent", json!({"embedding_model": "a", "intents": {}}))
    else {
        panic!("another policy")
    };
    assert_eq!((intent.absolute_threshold, intent.ambiguity_threshold), (0.60, 0.08));
    assert_eq!((intent.embedding.models.as_slice(), intent.timeout), (&[0][..], Duration::from_secs(2)));
}

#[test]
fn every_key_is_read() {
    let health = json!({"windowMinutes": 0.5, "halfLifeMinutes": 2, "pseudoCounts": 0, "circuitBreaker": 0.5, "minSamples": 9});
    let expected = Health {
        window: Duration::from_secs(30),
        half_life: min(2),
        pseudo_counts: 0.0,
        circuit_breaker: 0.5,
        min_samples: 9,
    };
    assert_eq!(one("health", health), Rule::Health(expected));
    let performance =
        json!({"windowMinutes": 60, "halfLifeMinutes": 0, "minSamples": 4, "metric": "perOutputToken"});
    let expected = Performance {
        window: min(60),
        half_life: Duration::ZERO,
        min_samples: 4,
        metric: PerformanceMetric::PerOutputToken,
    };
    assert_eq!(one("performance", performance), Rule::Performance(expected));
    let limit = one("rate-limit", json!({"windowMinutes": 5, "maxCallsPerWindow": 100}));
    assert_eq!(limit, Rule::RateLimit(RateLimit { window: min(5), max_calls: Some(100) }));
    assert_eq!(one("fairness", json!({"windowMinutes": 5})), Rule::Fairness(Fairness { window: min(5) }));
    let cheapest = one("cheapest", json!({"expectedOutputRatio": 0.25}));
    assert_eq!(cheapest, Rule::Cheapest(Cheapest { expected_output_ratio: 0.25 }));
}

#[test]
fn the_policy_that_asks_a_model_is_read_in_both_spellings() {
    let cache = json!({"enabled": true, "mode": "response", "embedding_model": "text-embed", "embedding_fallback_models": ["c"],
        "embedding_provider": "ollama", "embedding_endpoint": "http://10.0.0.9:11434", "embedding_api_key": " k ",
        "ttl_seconds": 60, "similarity_threshold": 0.9, "extend_on_hit": true, "timeoutMs": 300});
    let extra = |key: &str, value: Value, prompt: &str| {
        let mut config = json!({"fallbackModelIds": ["c"], "autoRouting": false, "includeReason": true, "thinking": true,
            "memory": true, "memoryCount": 3, "maxCompletionTokens": 200, "maxUserMessageChars": 4_000, "timeoutMs": 700, "cache": cache});
        config[key] = value;
        config[prompt] = Value::from("be brief");
        let Rule::Llm(llm) = one("llm", config) else { panic!("another policy") };
        *llm
    };
    let llm = extra("routingModelId", json!("b"), "additionalPromptInfo");
    assert_eq!(extra("modelId", json!("b"), "additionalPrompt"), llm);
    assert_eq!((llm.models.as_slice(), llm.additional_prompt.as_deref()), (&[1, 2][..], Some("be brief")));
    assert!(llm.include_reason && llm.thinking);
    assert_eq!(
        (llm.memory_count, llm.max_completion_tokens, llm.max_user_message_chars),
        (Some(3), Some(200), Some(4_000))
    );
    assert_eq!(llm.timeout, Duration::from_millis(700));
    let cache = llm.cache.expect("a cache");
    assert_eq!(cache.timeout, Duration::from_millis(300));
    assert_eq!((cache.mode, cache.ttl, cache.extend_on_hit), (CacheMode::Response, min(1), true));
    assert_eq!(cache.embedding.models, [3, 2], "behind the registry's three, and one of them");
}

#[test]
fn a_model_that_only_embeds_is_one_of_the_configuration() {
    let named = |model: &str, endpoint: &str| {
        json!({"type": "semantic-intent", "config": {"embedding_provider": "ollama", "embedding_model": model,
            "embedding_endpoint": endpoint, "intents": {}}})
    };
    let policies = json!([
        named("nomic", "http://10.0.0.9:11434/v1"),
        named("nomic", "http://10.0.0.9:11434/v1"),
        named("nomic", "http://10.0.0.8:11434"),
        {"type": "semantic-intent", "config": {"embedding_provider": "openai", "embedding_api_key": "k",
            "embedding_model": "text-embedding-3-small", "intents": {}}},
    ]);
    let config = config_of(&policies.to_string()).0.unwrap();
    let models: Vec<usize> = config.projects()[0]
        .policies
        .iter()
        .map(|policy| match &policy.rule {
            Rule::SemanticIntent(rule) => rule.embedding.models[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(models, [3, 3, 4, 5], "one for each place");
    let ids: Vec<&str> = config.models()[3..].iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["ollama/nomic", "ollama/nomic-2", "openai/text-embedding-3-small"]);
    assert_eq!(config.model_index("ollama/nomic"), Some(3));
    let openai = &config.models()[5];
    let line = openai.keys[0].auth_field.as_ref();
    assert_eq!(line.map(Secret::expose), Some("authorization: Bearer k\r\n"));
    assert_eq!(
        openai.endpoint.as_ref().map(ToString::to_string).as_deref(),
        Some("https://api.openai.com/v1")
    );
    assert_eq!(openai.path(crate::provider::Call::OwnEmbeddings), Some("/v1/embeddings"));
    assert_eq!(config.models()[3].path(crate::provider::Call::OwnEmbeddings), Some("/api/embed"));
}

#[test]
fn what_is_switched_off_is_not_used() {
    let config = json!({"modelId": "b", "additionalPrompt": "x", "memoryCount": 3,
        "cache": {"embedding_model": 1, "embedding_provider": "none"}});
    let Rule::Llm(llm) = one("llm", config) else { panic!("another policy") };
    assert_eq!((llm.additional_prompt, llm.memory_count, llm.cache), (None, None, None));
}

#[test]
fn intents_keep_their_order_and_need_examples() {
    let config = json!({"embedding_provider": "openai", "embedding_model": "c", "fallback_policy": "x", "absolute_threshold": 0.5,
        "intents": {"code": {"examples": ["fix it", "write it"], "candidate_models": ["b", "a", "b"]},
            "chat": {"examples": ["hello"], "candidate_models": []}, "none": {"examples": [], "candidate_models": ["a"]}}});
    let (policies, warnings) =
        read_text(&json!([{"type": "semantic-intent", "enabled": false, "config": config}]).to_string());
    let policies = policies.unwrap();
    let Rule::SemanticIntent(rule) = &policies[0].rule else { panic!("another policy") };
    assert!(!policies[0].enabled);
    let intents: Vec<(&str, &[usize])> =
        rule.intents.iter().map(|intent| (intent.name.as_str(), intent.models.as_slice())).collect();
    assert_eq!(intents, [("code", &[1, 0][..]), ("chat", &[])]);
    assert_eq!(warnings, ["[0].policies[0].config.intents.none: intent \"none\" has no examples; skipped"]);
}

#[test]
fn what_is_harmless_is_only_warned_of() {
    let cases = [
        (
            r#"[{"type":"health","weigth":1,"config":{"windowminutes":5}}]"#,
            vec![
                "weigth: unknown key, ignored",
                "config.windowminutes: unknown key, ignored; did you mean \"windowMinutes\"?",
            ],
        ),
        (
            r#"[{"type":"llm","config":{"modelId":"a","routingModelId":"a","maxCompletionTokens":1,"maxUserMessageChars":99}}]"#,
            vec![
                "config.modelId: is the same setting as \"routingModelId\" and not used",
                "config.maxCompletionTokens: is raised to 50, the lowest useful value",
                "config.maxUserMessageChars: is raised to 100, the lowest useful value",
            ],
        ),
        (
            r#"[{"type":"semantic-intent","config":{"embedding_provider":"openai","embedding_model":"text-embedding-3-small","intents":{}}}]"#,
            vec![
                "config.embedding_model: is not in the registry and there is no embedding_api_key: the provider will refuse the requests, and nothing is decided by meaning",
            ],
        ),
    ];
    for (text, expected) in cases {
        let (policies, warnings) = read_text(text);
        assert!(policies.is_ok(), "{text}: {policies:?}");
        let expected: Vec<String> =
            expected.into_iter().map(|message| format!("[0].policies[0].{message}")).collect();
        assert_eq!(warnings, expected, "{text}");
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let intent = |rest: &str| format!(r#"[{{"type":"semantic-intent","config":{{{rest}}}}}]"#);
    let llm = |rest: &str| format!(r#"[{{"type":"llm","config":{{{rest}}}}}]"#);
    let cases = [
        (r#"[{"type":"cheapst"}]"#.to_owned(), "type", "\"cheapst\"", "\"cheapest\""),
        (r#"[{"type":"random"}]"#.to_owned(), "type", "at random already", "\"fairness\""),
        (r#"[{"type":"round-robin"}]"#.to_owned(), "type", "\"fairness\" levels", "\"health\""),
        (r#"[{"type":"preferred"}]"#.to_owned(), "type", "the order of \"models\"", "\"health\""),
        (r#"[{"type":"priority"}]"#.to_owned(), "type", "the order of \"models\"", "\"health\""),
        (r#"[{"enabled":true}]"#.to_owned(), "type", "nothing", "a non-empty string"),
        (r#"[{"type":"context","enabled":1}]"#.to_owned(), "enabled", "1", "true or false"),
        (r#"[{"type":"context","config":[]}]"#.to_owned(), "config", "an array", "an object"),
        (
            r#"[{"type":"health","config":{"windowMinutes":0}}]"#.to_owned(),
            "config.windowMinutes",
            "0",
            "a number from 0.1 to 1440",
        ),
        (
            r#"[{"type":"health","config":{"halfLifeMinutes":0}}]"#.to_owned(),
            "config.halfLifeMinutes",
            "0",
            "0.1 to 1440",
        ),
        (
            r#"[{"type":"health","config":{"circuitBreaker":1.1}}]"#.to_owned(),
            "config.circuitBreaker",
            "1.1",
            "from 0 to 1",
        ),
        (
            r#"[{"type":"health","config":{"minSamples":0}}]"#.to_owned(),
            "config.minSamples",
            "0",
            "a whole number",
        ),
        (
            r#"[{"type":"performance","config":{"metric":"p95"}}]"#.to_owned(),
            "config.metric",
            "\"p95\"",
            "\"ttft\"",
        ),
        (
            r#"[{"type":"rate-limit","config":{"maxCallsPerWindow":"9"}}]"#.to_owned(),
            "config.maxCallsPerWindow",
            "\"9\"",
            "a whole number",
        ),
        (
            r#"[{"type":"cheapest","config":{"expectedOutputRatio":-1}}]"#.to_owned(),
            "config.expectedOutputRatio",
            "-1",
            "from 0 to 1000",
        ),
        (llm(""), "config.routingModelId", "nothing", "the id of the model that is asked"),
        (
            llm(r#""routingModelId":"x""#),
            "config.routingModelId",
            "\"x\", which is not in config/models.json",
            "the id of a model",
        ),
        (llm(r#""modelId":"x""#), "config.modelId", "\"x\"", "the id of a model"),
        (
            llm(r#""modelId":"a","fallbackModelIds":["b","x"]"#),
            "config.fallbackModelIds[1]",
            "\"x\", which",
            "the id of a model",
        ),
        (
            llm(r#""modelId":"a","fallbackModelIds":["b","a"]"#),
            "config.fallbackModelIds[1]",
            "\"a\" again: the list would go in a circle",
            "each model once",
        ),
        (
            llm(r#""modelId":"a","fallbackModelIds":["b","b"]"#),
            "config.fallbackModelIds[1]",
            "\"b\" again",
            "each model once",
        ),
        (llm(r#""modelId":"a","additionalPrompt":1"#), "config.additionalPrompt", "1", "a string"),
        (
            llm(r#""modelId":"a","cache":{"enabled":true}"#),
            "config.cache.embedding_model",
            "nothing",
            "a non-empty string",
        ),
        (
            llm(r#""modelId":"a","cache":{"enabled":true,"embedding_model":"b","similarity_threshold":2}"#),
            "config.cache.similarity_threshold",
            "2",
            "from 0 to 1",
        ),
        (intent(r#""embedding_model":"a""#), "config.intents", "nothing", "an object of intents"),
        (intent(r#""intents":{}"#), "config.embedding_model", "nothing", "a non-empty string"),
        (
            intent(r#""embedding_model":"other","intents":{}"#),
            "config.embedding_provider",
            "nothing, and the model is not in the registry",
            "\"ollama\"",
        ),
        (
            intent(r#""embedding_model":"a","embedding_fallback_models":["a"],"intents":{}"#),
            "config.embedding_fallback_models[0]",
            "\"a\" again",
            "each model once",
        ),
        (
            intent(r#""embedding_model":"a","embedding_endpoint":"ftp://u:secret@h","intents":{}"#),
            "config.embedding_endpoint",
            "a URL that is not usable",
            "http(s)",
        ),
        (
            intent(r#""embedding_model":"a","embedding_api_key":["secret"],"intents":{}"#),
            "config.embedding_api_key",
            "an array",
            "a string",
        ),
        (
            intent(
                r#""embedding_model":"a","intents":{"i":{"examples":["x"],"candidate_models":["a","x"]}}"#,
            ),
            "config.intents.i.candidate_models[1]",
            "\"x\", which",
            "the id of a model",
        ),
        (intent(r#""embedding_model":"a","intents":{"i":[]}"#), "config.intents.i", "an array", "an object"),
    ];
    for (text, path, found, expected) in cases {
        let (policies, _) = read_text(&text);
        let mistakes = policies.expect_err(&text);
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        let mistake = &mistakes[0];
        assert_eq!(mistake.path, format!("[0].policies[0].{path}"), "{text}");
        assert!(mistake.found.contains(found) && mistake.expected.contains(expected), "{text}: {mistake}");
        assert!(mistake.line == 1 && mistake.column > 30, "{text}: {mistake}");
        assert!(!mistake.to_string().contains("secret"), "{mistake}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_that_is_switched_off_is_said_as_well() {
    let (policies, _) = read_text(r#"[{"type":"llm","enabled":false},{"type":"priority","enabled":false}]"#);
    let paths: Vec<String> = policies.expect_err("two").into_iter().map(|mistake| mistake.path).collect();
    assert_eq!(paths, ["[0].policies[0].config.routingModelId", "[0].policies[1].type"]);
}

#[test]
fn what_is_shown_of_a_policy_has_no_secrets() {
    let cache = json!({"enabled": true, "embedding_model": "a", "embedding_api_key": "sk-1", "nested": [{"Password": "p"}]});
    let config = json!({"modelId": "b", "maxCompletionTokens": 60, "cache": cache});
    let (policies, _) =
        read_text(&json!([{"type": "llm", "config": config}, {"type": "health"}]).to_string());
    let policies = policies.unwrap();
    let shown = r#"{"modelId":"b","maxCompletionTokens":60,"cache":{"enabled":true,"embedding_model":"a","embedding_api_key":"***","nested":[{"Password":"***"}]}}"#;
    assert_eq!((&*policies[0].shown, &*policies[1].shown), (shown, ""));
}
