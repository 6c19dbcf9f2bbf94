//! Which URLs there are, and what each answers.

use serde_json::{Value, json};

use crate::support::{Response, Setup, TOKEN, on_each_driver, post, simulated};

fn chat() -> Value {
    json!({"model": "auto", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]})
}

#[test]
fn aliases_lead_where_other_gateways_have_their_endpoints() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        for (path, model) in [
            ("/v1/chat/completions", "simulated/chat"),
            ("/api/openai/chat/completions", "simulated/chat"),
            ("/v1/messages", "simulated/anthropic"),
            ("/anthropic/v1/messages", "simulated/anthropic"),
            ("/api/anthropic/v1/messages", "simulated/anthropic"),
            ("/projects/demo/v1/messages", "simulated/anthropic"),
        ] {
            let answer = gateway.call(post(path, "", &chat())).expect(200);
            assert_eq!(answer.field("x-routerly-model"), Some(model), "{path}");
            assert_eq!(answer.field("x-routerly-provider"), Some("simulated"), "{path}");
        }
        let counted = gateway.call(post("/v1/messages/count_tokens", "", &chat())).expect(200);
        assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);

        let closed = Setup::demo().driver(driver).setting("aliasRoutes", false).start();
        closed.call(post("/api/openai/chat/completions", "", &chat())).expect(404);
    });
}

#[test]
fn models_are_listed_in_both_formats_and_found_by_any_spelling_of_their_id() {
    on_each_driver(|driver| {
        let gateway = Setup::demo()
            .driver(driver)
            .model(simulated("meta/llama/3 8b", "openai-chat"))
            .model({
                let mut model = simulated("switched/off", "openai-chat");
                model["enabled"] = false.into();
                model
            })
            .start();
        let mut client = gateway.client();
        let list = client.get("/v1/models").expect(200).json();
        let ids = |list: &Value| -> Vec<String> {
            let data = list["data"].as_array().unwrap();
            data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
        };
        let mut expected =
            vec!["simulated/chat", "simulated/responses", "simulated/anthropic", "meta/llama/3 8b"];
        assert_eq!(list["object"], "list");
        assert_eq!(ids(&list)[1..], expected, "behind the entry for a free choice");
        assert_eq!(list["data"][0]["id"], "routerly/auto");
        let first = &list["data"][1];
        assert_eq!((&first["object"], &first["owned_by"]), (&json!("model"), &json!("simulated")));
        assert_eq!(first["context_window"], 128_000);
        assert_eq!(client.get("/v1/models").expect(200).json(), list, "stable from call to call");
        assert_eq!(client.get("/projects/demo/v1/models").expect(200).json(), list);

        let anthropic = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\nanthropic-version: 2023-06-01\r\n\r\n"
            )
        };
        let list = client.call(anthropic("/v1/models")).expect(200).json();
        assert_eq!(ids(&list), expected);
        assert_eq!(list["has_more"], false);
        assert_eq!(list["first_id"], "simulated/chat");
        assert_eq!(list["last_id"], expected.pop().unwrap());
        assert_eq!(list["data"][0]["type"], "model");
        let one = client.call(anthropic("/v1/models/simulated/anthropic")).expect(200).json();
        assert_eq!((&one["type"], &one["id"]), (&json!("model"), &json!("simulated/anthropic")));

        for (path, found) in [
            ("/v1/models/simulated/chat", Some("simulated/chat")),
            ("/v1/models/simulated%2Fchat", Some("simulated/chat")),
            ("/v1/models/simulated%2fchat", Some("simulated/chat")),
            ("/projects/demo/v1/models/simulated%2Fchat", Some("simulated/chat")),
            ("/v1/models/meta/llama%2F3%208b", Some("meta/llama/3 8b")),
            ("/v1/models/routerly/auto", Some("routerly/auto")),
            ("/v1/models/routerly%2Fada", Some("routerly/auto")),
            ("/v1/models/switched/off", None),
            ("/v1/models/chat/simulated", None),
            ("/v1/models/%ff%fe", None),
        ] {
            let answer = client.get(path);
            match found {
                Some(id) => assert_eq!(answer.expect(200).json()["id"], id, "{path}"),
                None => assert_eq!(answer.expect(404).json()["error"]["code"], "not_found", "{path}"),
            }
        }
        gateway.call("GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n").expect(401);
    });
}

#[test]
fn operations_need_no_token_and_unknown_paths_are_not_forwarded() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let mut client = gateway.client();
        let mut bare = |method: &str, path: &str| -> Response {
            client.call(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
        };
        assert_eq!(bare("GET", "/health").expect(200).json()["status"], "ok");
        assert_eq!(bare("GET", "/health/ready").expect(200).json()["status"], "ready");
        assert_eq!(bare("GET", "/").expect(200).json()["name"], "routerly");
        let metrics = bare("GET", "/metrics").expect(200);
        assert!(metrics.field("content-type").unwrap().starts_with("text/plain"));
        assert!(metrics.text().contains("# TYPE "));
        for path in ["/health", "/metrics", "/"] {
            let length = bare("HEAD", path).expect(200).head.length().unwrap();
            assert!(length > 0, "{path}: the length that GET would have");
        }
        for path in
            ["/api", "/api/users", "/dashboard", "/dashboard/x.js", "/projects", "/projects/demo/v2/x"]
        {
            let refused = bare("GET", path);
            assert!([404, 401].contains(&refused.status), "{path}: {}", refused.status);
        }
        // Reserved, whatever the token.
        let mut known = gateway.client();
        // A project token is no sign-in.
        known.get("/api/users").expect(401);
        known.get("/api/nothing").expect(404);
        known.get("/favicon.ico").expect(404);
        known.call(post("/health", "", &json!({}))).expect(404);
        let off = Setup::demo().driver(driver).setting("metrics.enabled", false).start();
        assert_ne!(off.call("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
    });
}

#[test]
fn a_browser_on_another_origin_may_ask_and_read() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let mut client = gateway.client();
        let preflight = client.call(
            "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n",
        );
        let preflight = preflight.expect(204);
        assert_eq!(preflight.field("access-control-allow-origin"), Some("*"));
        assert_eq!(preflight.field("access-control-allow-headers"), Some("authorization,x-stainless-os"));
        assert!(preflight.field("access-control-allow-methods").unwrap().contains("POST"));
        assert_eq!(preflight.field("access-control-allow-credentials"), None);
        assert_eq!(preflight.head.length(), None, "RFC 9110 §8.6: no length with 204");
        let origin = "Origin: https://app.example\r\n";
        for stream in [false, true] {
            let mut body = chat();
            body["stream"] = stream.into();
            let answer = client.call(post("/v1/chat/completions", origin, &body)).expect(200);
            assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
            let exposed = answer.field("access-control-expose-headers").unwrap();
            assert!(exposed.contains("x-routerly-trace-id") && exposed.contains("x-routerly-cost"));
            let own = client.call(post("/v1/chat/completions", "", &body)).expect(200);
            assert_eq!(own.field("access-control-allow-origin"), None, "asked by nobody");
        }
        // A browser shows a refusal only when the answer allows it.
        let refused =
            client.call(format!("GET /v1/models/none HTTP/1.1\r\nHost: h\r\n{origin}\r\n")).expect(401);
        assert_eq!(refused.field("access-control-allow-origin"), Some("*"));
        client.call("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").expect(204);
    });
}

#[test]
fn a_pair_that_would_need_translation_is_refused_with_501_where_it_is_off() {
    on_each_driver(|driver| {
        let gateway = Setup::new()
            .driver(driver)
            .model(simulated("only/anthropic", "anthropic-messages"))
            .project("translation", "off")
            .start();
        let mut client = gateway.client();
        for path in ["/v1/chat/completions", "/v1/responses"] {
            let answer = client.call(post(path, "", &chat())).expect(501);
            assert_eq!(answer.json()["error"]["code"], "unsupported");
            assert!(answer.json()["message"].as_str().unwrap().contains("anthropic-messages"));
        }
        client.call(post("/v1/messages", "", &chat())).expect(200);
        // Nothing was called for the refused ones.
        assert_eq!(gateway.usage_records(1).len(), 1);
        let empty = Setup::new().driver(driver).start();
        let answer = empty.call(post("/v1/chat/completions", "", &chat())).expect(503);
        assert_eq!(answer.json()["error"]["code"], "no_model_available");
        empty.call("GET /health/ready HTTP/1.1\r\nHost: h\r\n\r\n").expect(503);
    });
}

#[test]
fn head_is_get_without_a_body() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let mut client = gateway.client();
        let head = |path: &str, fields: &str| format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let auth = format!("Authorization: Bearer {TOKEN}\r\n");
        for (path, fields, status) in [
            ("/health/ready", "", 200),
            ("/v1/models", auth.as_str(), 200),
            ("/v1/models/simulated/chat", auth.as_str(), 200),
            ("/v1/models/none", auth.as_str(), 404),
            ("/v1/models", "", 401),
            ("/api/x", "", 404),
        ] {
            let answer = client.call(head(path, fields)).expect(status);
            assert!(answer.head.length().unwrap() > 0, "{path}");
            // Nothing of a body came: the next answer on this connection is in step.
            client.get("/health").expect(200);
        }
    });
}
