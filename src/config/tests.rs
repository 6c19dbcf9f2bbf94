//! Whole documents in, configuration or findings out.

use serde_json::json;

use super::*;
use crate::dialect::Dialect;
use crate::limits::SLOW_TOKENS_MAX;
use crate::provider::Call;

struct Checked {
    config: Result<Config, Vec<Mistake>>,
    warnings: Vec<Warning>,
}

fn document(text: &str) -> Document {
    if text.is_empty() {
        return Document::default();
    }
    Document { text: text.to_owned(), value: serde_json::from_str(text).expect(text) }
}

fn check(models: &str, projects: &str) -> Checked {
    let documents =
        Documents { settings: Document::default(), models: document(models), projects: document(projects) };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let mut warnings = Vec::new();
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut warnings);
    Checked { config, warnings }
}

fn one_model(text: &str) -> (Arc<Model>, Vec<String>) {
    let checked = check(&format!("[{text}]"), "");
    let config = checked.config.unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
    (Arc::clone(&config.models()[0]), checked.warnings.into_iter().map(|warning| warning.message).collect())
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let checked = check("", "");
    let config = checked.config.unwrap();
    assert!(config.models().is_empty() && config.projects().is_empty() && checked.warnings.is_empty());
    assert_eq!(config.settings(), &Settings::default());
}

#[test]
fn the_catalogue_fills_what_the_file_leaves_out() {
    let (model, warnings) = one_model(r#"{"id":"openai/gpt-5-mini","provider":"openai","apiKey":" sk-1\n"}"#);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((model.name.as_str(), model.upstream_model.as_str()), ("openai/gpt-5-mini", "gpt-5-mini"));
    assert_eq!(model.endpoint.as_ref().unwrap().to_string(), "https://api.openai.com/v1");
    assert_eq!(model.context_window, Some(400_000));
    assert_eq!((model.prices.base().input, model.prices.base().cached), (250_000, 25_000));
    assert_eq!(model.strip_params, ["temperature"]);
    assert_eq!((model.capabilities.vision, model.capabilities.thinking), (Some(true), None));
    assert!(model.dialects.contains(Dialect::OpenAiResponses) && !model.price_unknown && model.is_usable());
    assert_eq!(model.keys[0].auth_field.as_ref().unwrap().expose(), "authorization: Bearer sk-1\r\n");
    assert_eq!(model.path(Call::Chat), Some("/v1/chat/completions"));
    let mut path = String::new();
    model.passthrough_path("/v1/files?limit=2", &mut path);
    assert_eq!(path, "/v1/files?limit=2");
    assert!(!format!("{model:?}").contains("sk-1"));
}

#[test]
fn the_file_wins_over_the_catalogue() {
    let (model, warnings) = one_model(
        r#"{"id":"my","name":"Mine","provider":"openai","upstreamModelId":"gpt-5","endpoint":"http://10.0.0.1:8080/x/v1/",
        "apiKey":"k","cost":{"inputPerMillion":0.0028,"outputPerMillion":0.05,
            "pricingTiers":[{"metric":"context_tokens","above":100,"inputPerMillion":1,"outputPerMillion":2}]},
        "contextWindow":1000,"capabilities":{"vision":false},"timeout":1500,"enabled":false,"dialect":"openai-chat",
        "stripParams":[],"limits":[{"metric":"calls","windowType":"period","period":"daily","value":5}]}"#,
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((model.upstream_model.as_str(), model.context_window), ("gpt-5", Some(1_000)));
    assert_eq!(model.prices.base().input, 2_800);
    assert_eq!(model.prices.base().cached, 2_800, "the cache price is the input price, not the catalogue's");
    assert_eq!(model.prices.for_input(101).cached, 1_000_000);
    assert_eq!((model.capabilities.vision, model.capabilities.json), (Some(false), Some(true)));
    assert_eq!(model.timeout, Some(std::time::Duration::from_millis(1_500)));
    assert!(!model.is_usable() && !model.dialects.contains(Dialect::OpenAiResponses));
    assert_eq!(model.limits.limits.len(), 1);
    assert_eq!(model.path(Call::Responses), Some("/x/v1/responses"));
}

#[test]
fn each_way_of_calling_has_its_field_and_dialects() {
    for (text, field, dialects) in [
        (r#""provider":"anthropic","apiKey":"k""#, Some("x-api-key: k\r\n"), "{\"anthropic-messages\"}"),
        (r#""provider":"gemini","apiKey":"k""#, Some("x-goog-api-key: k\r\n"), "{\"gemini\"}"),
        (
            r#""provider":"gemini","apiKey":"k","endpoint":"https://g.example/v1beta/openai/""#,
            Some("authorization: Bearer k\r\n"),
            "{\"openai-chat\"}",
        ),
        (r#""provider":"ollama","apiKey":"k""#, None, "{\"openai-chat\"}"),
        (r#""provider":"custom","endpoint":"http://h""#, None, "{\"openai-chat\"}"),
        (
            r#""provider":"custom","endpoint":"http://h","dialect":["anthropic-messages","openai-chat"]"#,
            None,
            "{\"openai-chat\", \"anthropic-messages\"}",
        ),
        (
            r#""provider":"azure-openai","apiKey":"k","endpoint":"https://r.openai.azure.com/openai/v1""#,
            Some("api-key: k\r\n"),
            "{\"openai-chat\", \"openai-responses\"}",
        ),
        (
            r#""provider":"azure-openai","apiKey":"k","endpoint":"https://r.openai.azure.com?api-version=1""#,
            Some("api-key: k\r\n"),
            "{\"openai-chat\"}",
        ),
        (
            r#""provider":"simulated","simulated":{"ttftMs":1}"#,
            None,
            "{\"openai-chat\", \"openai-responses\", \"anthropic-messages\", \"gemini\"}",
        ),
    ] {
        let (model, _) = one_model(&format!(r#"{{"id":"m",{text}}}"#));
        let carried = model.keys.first().and_then(|key| key.auth_field.as_ref());
        assert_eq!(carried.map(Secret::expose), field, "{text}");
        assert_eq!(format!("{:?}", model.dialects), dialects, "{text}");
        assert!(model.is_usable(), "{text}");
    }
}

#[test]
fn what_works_but_is_probably_not_meant_is_a_warning() {
    for (text, expected) in [
        (r#""provider":"openai""#, "no apiKey"),
        (r#""provider":"openai","apiKey":"ENCRYPTED:v1:AAAA""#, "cannot be decrypted"),
        (r#""provider":"openai","encryptedApiKey":"a:b:c""#, "without LOCALROUTER_SECRET_KEY"),
        (r#""provider":"openai","apiKey":"k","cost":{}"#, "no price is known"),
        (r#""provider":"openai","apiKey":"k","cost":{"inputPerMillion":1}"#, "the other is 0"),
        (
            r#""provider":"openai","apiKey":"k","cost":{"inputPerMillion":1.2345678,"outputPerMillion":1}"#,
            "more than six decimals",
        ),
        (
            r#""provider":"openai","apiKey":"k","cost":{"inputPerMillion":1,"outputPerMillion":1,
                "pricingTiers":[{"metric":"moon","above":1,"inputPerMillion":1,"outputPerMillion":1}]}"#,
            "only \"context_tokens\" is known",
        ),
        (r#""provider":"openai-web","cost":{}"#, "switched off"),
        (r#""provider":"openai-oauth","apiKey":"~/.codex/auth.json""#, "switched off"),
        (r#""provider":"ollama","apikey":"k""#, "did you mean \"apiKey\""),
    ] {
        let (model, warnings) = one_model(&format!(r#"{{"id":"m",{text}}}"#));
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{text}: {warnings:?}");
        let is_locked = text.contains("ncrypted") || text.contains("ENCRYPTED");
        assert_eq!(model.key_error, is_locked, "{text}");
        assert_eq!(
            model.is_usable(),
            !is_locked && !text.contains("-web") && !text.contains("oauth"),
            "{text}"
        );
    }
    let (model, _) = one_model(r#"{"id":"openai/gpt-5","provider":"openai","apiKey":"k","cost":{}}"#);
    assert_eq!((model.prices.base().output, model.price_unknown), (10_000_000, false));
    let (model, warnings) = one_model(r#"{"id":"llama-unknown","provider":"ollama"}"#);
    assert!(!model.price_unknown && warnings.is_empty(), "a local model costs nothing");
}

#[test]
fn every_mistake_in_models_is_placed_exactly() {
    let text = r#"[
  {"id": "a", "provider": "openai", "apiKey": "k", "cost": {"inputPerMillion": -1, "outputPerMillion": "2"}},
  {"id": "a", "provider": "bedrock"},
  {"provider": "openai", "endpoint": "https://u:hunter2@h"},
  7,
  {"id": "b", "provider": "custom"},
  {"id": "c", "provider": "custom", "endpoint": "http://h/v1?x=1", "dialect": ["morse"]},
  {"id": "d", "provider": "openai", "apiKey": 12345, "enabled": "yes", "contextWindow": 1.5},
  {"id": "e", "provider": "openai", "apiKey": "a b", "timeout": -1, "stripParams": [1]},
  {"id": "f", "provider": "openai", "apiKey": "k", "cost": {"inputPerMillion": 1, "outputPerMillion": 1,
    "pricingTiers": [{"above": 5, "inputPerMillion": 1, "outputPerMillion": 1}, {"above": 5, "inputPerMillion": 1}]}}
]"#;
    let mistakes = check(text, "").config.expect_err("many mistakes");
    let found: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    let starts = [
        "config/models.json:2:80: [0].cost.inputPerMillion: found -1, expected a number from 0 to 100000",
        "config/models.json:2:104: [0].cost.outputPerMillion: found \"2\", expected a number",
        "config/models.json:3:10: [1].id: found \"a\" again, first used by [0], expected a unique id",
        "config/models.json:3:27: [1].provider: found \"bedrock\", which cannot be served: requests to it have",
        "config/models.json:4:3: [2].id: found nothing, expected a non-empty string",
        "config/models.json:4:38: [2].endpoint: found a URL that is not usable: it holds a user name or password",
        "config/models.json:5:3: [3]: found a number, expected an object (a model)",
        "config/models.json:6:3: [4]: found no endpoint, and provider \"custom\" has no default one",
        "config/models.json:7:49: [5].endpoint: found a URL with a query",
        "config/models.json:7:80: [5].dialect[0]: found \"morse\", expected \"openai-chat\", \"openai-responses\"",
        "config/models.json:8:47: [6].apiKey: found a number, expected a string",
        "config/models.json:8:65: [6].enabled: found \"yes\", expected true or false",
        "config/models.json:8:89: [6].contextWindow: found 1.5, expected a whole number",
        "config/models.json:9:47: [7].apiKey: found a key with a space",
        "config/models.json:9:65: [7].timeout: found -1, expected a whole number from 0 to 86400000 (milliseconds)",
        "config/models.json:9:85: [7].stripParams[0]: found 1, expected a string",
        "config/models.json:11:81: [8].cost.pricingTiers[1]: found a tier without outputPerMillion",
        "config/models.json:11:91: [8].cost.pricingTiers[1].above: found 5 again, expected each threshold once",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "\n{found}\n{start}");
    }
    assert!(!found.iter().any(|mistake| mistake.contains("hunter2") || mistake.contains("12345")));
}

fn hash(digit: char) -> String {
    format!("hmac-sha256:{}", String::from(digit).repeat(64))
}

#[test]
fn a_project_is_read_with_all_it_may_say() {
    let text = json!([
        {"id": "1", "name": " First One! ", "models": [{"modelId": "m2", "prompt": "good at code", "weight": 3, "limitsMode": "extend",
            "limits": [{"metric": "cost", "window": "monthly", "value": 2}]}, {"modelId": "gone"}, {"modelId": "m1"}],
         "tokens": [{"id": "t", "tokenHash": hash('a'), "tokenSnippet": "sk-rt-aaaa", "labels": ["x"], "projectIds": ["2"],
            "expiresAt": "2027-01-31T00:00:00Z", "disabled": true, "createdAt": "2026-01-01T00:00:00Z",
            "limits": [{"metric": "calls", "window": "day", "value": 9}], "models": [{"modelId": "m1", "limitsMode": "disable"}]}],
         "policies": [{"type": "cheapest", "enabled": true}, {"type": "health", "enabled": false, "config": {"windowMinutes": 5}}],
         "timeoutMs": 2500, "traceStream": "none", "honorRequestedModel": "pin", "serverTiming": true, "streamFormat": "events",
         "budgets": [{"metric": "total_tokens", "rollingUnit": "hours", "rollingAmount": 5, "value": 100}],
         "members": [{"userId": "u", "role": "admin"}], "description": "d"},
        {"id": "2", "name": "first-one"},
        {"id": "3", "slug": "first-one-3"},
        {"id": "4", "name": "first one", "slug": "first-one-3"},
        {"id": "5", "name": "日本"},
    ])
    .to_string();
    let models = r#"[{"id":"m1","provider":"simulated"},{"id":"m2","provider":"simulated"}]"#;
    let checked = check(models, &text);
    let config = checked.config.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let project = &config.projects()[0];
    let models: Vec<usize> = project.models.iter().map(|model| model.model).collect();
    assert_eq!((project.name.as_str(), models), ("First One!", vec![1, 0]));
    assert_eq!(project.models[0].prompt.as_deref(), Some("good at code"));
    assert_eq!((project.models[0].weight, project.models[1].weight), (3, 1));
    assert_eq!(project.models[0].limits.mode, LimitsMode::Extend);
    assert_eq!(project.models[0].limits.limits[0].value, 2_000_000_000_000);
    let token = &project.tokens[0];
    assert_eq!((&token.hash, token.disabled), (&TokenHash::Keyed([0xaa; 32]), true));
    assert_eq!(token.expires_at_ms, Some(1_801_353_600_000));
    assert_eq!(
        (token.labels.as_slice(), token.project_ids.as_slice()),
        (&["x".to_owned()][..], &["2".to_owned()][..])
    );
    assert_eq!(token.models[0].limits.mode, LimitsMode::Disable);
    assert_eq!(token.limits.limits.len(), 1);
    let kinds: Vec<(&str, bool)> = project.policies.iter().map(|p| (p.rule.kind(), p.enabled)).collect();
    assert_eq!(kinds, [("cheapest", true), ("health", false)]);
    assert_eq!(project.timeout, Some(std::time::Duration::from_millis(2_500)));
    assert_eq!(project.trace_stream, Some(settings::TraceStream::None));
    assert_eq!(
        (project.honor_requested_model, project.server_timing.filter(|_| project.labels_streams)),
        (HonorRequestedModel::Pin, Some(true))
    );
    let window = project.limits.limits[0].window;
    assert_eq!(window.rolling_length(), Some(std::time::Duration::from_secs(5 * 3_600)));
    let slugs: Vec<&str> = config.projects().iter().map(|project| project.slug.as_str()).collect();
    assert_eq!(slugs, ["first-one", "first-one-2", "first-one-3", "first-one-3-2", "project"]);
    assert_eq!(config.project_index("first-one-2"), Some(1));
    assert_eq!(config.project_index("5"), Some(4));
    assert_eq!(config.project_index("nobody"), None);
    assert_eq!(config.model_index("m2"), Some(1));
    let warned: Vec<&str> = checked.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warned, ["[0].models[1].modelId", "[3].slug"]);
}

#[test]
fn every_mistake_in_projects_is_placed_exactly() {
    let text = format!(
        r#"[
  {{"id": "1", "tokens": [{{"id": "t", "tokenHash": "{}"}}, {{"id": "t", "tokenHash": "hmac-sha256:zz"}}]}},
  {{"id": "1", "slug": "a/b", "traceStream": "loud", "honorRequestedModel": true}},
  {{"id": "2", "tokens": [{{"id": "u", "tokenHash": "{}", "expiresAt": "soon"}}, {{"tokenHash": "x"}}, []]}},
  {{"id": "3", "models": [{{"prompt": "x"}}], "policies": [{{}}], "timeoutMs": "1s", "budgets": {{}}}}
]"#,
        hash('a'),
        hash('a')
    );
    let mistakes = check("", &text).config.expect_err("many mistakes");
    let found: Vec<(usize, &str)> =
        mistakes.iter().map(|mistake| (mistake.line, mistake.path.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "[0].tokens[1].id"),
            (2, "[0].tokens[1].tokenHash"),
            (3, "[1].id"),
            (3, "[1].slug"),
            (3, "[1].traceStream"),
            (3, "[1].honorRequestedModel"),
            (4, "[2].tokens[0].tokenHash"),
            (4, "[2].tokens[0].expiresAt"),
            (4, "[2].tokens[1].id"),
            (4, "[2].tokens[2]"),
            (5, "[3].models[0].modelId"),
            (5, "[3].policies[0].type"),
            (5, "[3].timeoutMs"),
            (5, "[3].budgets"),
        ]
    );
    assert!(!mistakes.iter().any(|mistake| mistake.found.contains("zz")), "{mistakes:?}");
}

#[test]
fn tokens_that_can_never_match_are_left_out_with_a_warning() {
    let text = r#"[{"id":"1","tokens":[{"id":"a"},{"id":"b","encryptedToken":"x"}]}]"#;
    let checked = check("", text);
    assert!(checked.config.unwrap().projects()[0].tokens.is_empty());
    assert_eq!(checked.warnings.len(), 2);
}

#[test]
fn slow_hashes_of_tokens_are_read_bounded_and_unique() {
    let hash = |number: usize| {
        format!(
            "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQo{number:03}0ODw$qPjskEow3bJFVqoQi5KHMMwE6KQGi19afHjE7WvIpV4"
        )
    };
    let project = |hashes: &[String]| {
        let token = |(at, hash): (usize, &String)| json!({"id": at.to_string(), "tokenHash": hash, "tokenSnippet": "rtr_"});
        json!([{"id": "p", "tokens": hashes.iter().enumerate().map(token).collect::<Vec<_>>()}]).to_string()
    };
    let most: Vec<String> = (0..SLOW_TOKENS_MAX).map(hash).collect();
    let checked = check("", &project(&most));
    assert_eq!(checked.warnings, []);
    let config = checked.config.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(matches!(&config.projects()[0].tokens[63].hash, TokenHash::Slow(hash) if hash.memory_kib == 64));
    let cases = [
        ("one more", [most.as_slice(), &[hash(SLOW_TOKENS_MAX)]].concat(), "[0].tokens[64].tokenHash"),
        ("twice", vec![hash(1), hash(1)], "[0].tokens[1].tokenHash"),
        ("broken", vec!["$argon2id$v=19$x".to_owned()], "[0].tokens[0].tokenHash"),
        ("too costly", vec![hash(1).replace("m=64", "m=400000")], "[0].tokens[0].tokenHash"),
    ];
    for (name, hashes, place) in cases {
        let mistakes = check("", &project(&hashes)).config.expect_err(name);
        let places: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(places, [place], "{name}");
    }
    let checked = check("", &project(&[hash(1)]).replace("rtr_", ""));
    assert!(checked.warnings[0].message.contains("first characters"), "{:?}", checked.warnings);
}

#[test]
fn a_document_of_the_wrong_kind_is_one_mistake() {
    let mistakes = check("{}", "3").config.expect_err("wrong kinds");
    let found: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    assert_eq!(
        found,
        [
            "config/models.json:1:1: found an object, expected an array (the models)",
            "config/projects.json:1:1: found a number, expected an array (the projects)",
        ]
    );
}

#[test]
fn a_flood_of_findings_is_cut_and_counted() {
    let models: Vec<&str> = std::iter::repeat_n("1", 1_500).collect();
    let checked = check(&format!("[{}]", models.join(",")), "");
    assert_eq!(checked.config.expect_err("mistakes").len(), 1_000);
    assert_eq!(checked.warnings[0].message, "500 more findings are not shown");
}

#[test]
fn a_token_in_the_wrong_place_is_not_repeated_in_a_finding() {
    let text = r#"["sk-rt-1",{"id":"1","tokens":["sk-rt-2",{"id":"t","tokenHash":"sk-rt-3"}]},{"id":"2","tokens":"sk-rt-4"}]"#;
    let mistakes = check(r#"[{"id":"m","provider":"openai","apiKey":["sk-5"],"cost":"sk-6"}]"#, text)
        .config
        .expect_err("mistakes");
    assert_eq!(mistakes.len(), 6);
    assert!(!format!("{mistakes:?}").contains("sk-"), "{mistakes:?}");
    assert!(!format!("{:?}", document(text)).contains("sk-"));
}
