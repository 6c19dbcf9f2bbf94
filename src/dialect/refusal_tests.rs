//! Statuses and bodies of each dialect, as providers send them.

use super::Refusal::*;
use super::*;

const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];

/// An error of a dialect with a message, and the code or kind that goes with it.
fn body(dialect: Dialect, status: u16, code: &str, message: &str) -> String {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => format!(
            r#"{{"error":{{"message":"{message}","type":"some_error","param":null,"code":"{code}"}}}}"#
        ),
        Dialect::AnthropicMessages => {
            format!(r#"{{"type":"error","error":{{"type":"{code}","message":"{message}"}}}}"#)
        }
        Dialect::Gemini => {
            format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{code}"}}}}"#)
        }
    }
}

#[test]
fn a_status_says_the_same_in_every_dialect_whatever_its_body() {
    for (status, expected) in [
        (400, Request),
        (401, Key),
        (402, Account),
        (403, Account),
        (404, Request),
        (405, Request),
        (408, Passing),
        (409, Passing),
        (410, Request),
        (413, Request),
        (415, Request),
        (422, Request),
        (424, Request),
        (429, Limited),
        (451, Request),
        (500, Provider),
        (501, Provider),
        (502, Provider),
        (503, Provider),
        (504, Provider),
        (520, Provider),
        (524, Provider),
        (529, Provider),
        (599, Provider),
    ] {
        for dialect in DIALECTS {
            for text in ["", "<html>nginx</html>", "{}", "{\"error\":", "\0\u{1}"] {
                let judged = of_answer(dialect, status, text.as_bytes()).unwrap();
                assert_eq!(judged.refusal, expected, "{dialect:?} {status} {text}");
            }
        }
    }
    for status in [200, 201, 204, 301, 307, 399] {
        for dialect in DIALECTS {
            assert_eq!(of_answer(dialect, status, b"{\"error\":{}}"), None);
        }
    }
}

#[test]
fn a_bad_request_is_looked_into() {
    use Dialect::{AnthropicMessages as A, Gemini as G, OpenAiChat as C, OpenAiResponses as R};
    const BAD: &str = "invalid_request_error";
    for (dialect, status, code, message, expected) in [
        // A prompt that is too long for this model.
        (C, 400, "context_length_exceeded", "This model's maximum context length is 8192 tokens.", Unfit),
        (R, 400, "context_length_exceeded", "Your input exceeds the context window of this model.", Unfit),
        (C, 400, "too_many_prompt_tokens", "The total length of all messages is too long.", Unfit),
        (C, 400, "exceed_context_size_error", "the request exceeds the available context size", Unfit),
        (A, 400, BAD, "prompt is too long: 3333404 tokens > 200000 maximum", Unfit),
        (
            G,
            400,
            "INVALID_ARGUMENT",
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
            Unfit,
        ),
        (C, 413, "rate_limit_exceeded", "Request too large for model `x` on tokens per minute (TPM)", Unfit),
        // A parameter that this model does not take.
        (C, 400, "unsupported_parameter", "Unsupported parameter: 'max_tokens'", Unfit),
        (
            C,
            400,
            "unsupported_value",
            "'messages[0].role' does not support 'developer' with this model.",
            Unfit,
        ),
        (R, 400, "unsupported_parameter", "Unsupported parameter: 'temperature'", Unfit),
        (C, 400, "null", "Web search options not supported with this model.", Unfit),
        (A, 400, BAD, "claude-x does not support assistant message prefill.", Unfit),
        (G, 400, "INVALID_ARGUMENT", "Function calling is not supported for this model", Unfit),
        (A, 400, BAD, "`temperature` is deprecated for this model.", Unfit),
        (G, 400, "INVALID_ARGUMENT", "Function calling is not enabled for models/gemma-3-12b-it", Unfit),
        (C, 404, "404", "No endpoints found that support tool use. To learn more, visit: x", Unfit),
        (C, 400, "null", "llama3 does not support tools", Unfit),
        // A model that is not there.
        (C, 404, "404", "No endpoints found for nousresearch/hermes-3-llama-3.1-405b:free.", Missing),
        (
            C,
            404,
            "model_not_found",
            "The model `gpt-9` does not exist or you do not have access to it.",
            Missing,
        ),
        (R, 400, "model_not_found", "The requested model 'gpt-9' does not exist.", Missing),
        (C, 404, "DeploymentNotFound", "The API deployment for this resource does not exist.", Missing),
        (C, 404, "not_found_error", "model 'llama9' not found", Missing),
        (A, 404, "not_found_error", "model: claude-sonet-4-5", Missing),
        (G, 404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta", Missing),
        (G, 404, "NOT_FOUND", "Publisher Model `projects/x/models/gemini-9` not found.", Missing),
        // A key.
        (G, 400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", Request),
        (C, 400, "invalid_api_key", "Incorrect API key provided.", Key),
        (A, 400, BAD, "Your credit balance is too low to access the Anthropic API.", Account),
        // The client's own.
        (C, 400, "invalid_value", "Invalid 'messages[3]'.", Request),
        (C, 404, "null", "No such file.", Request),
        (R, 400, "previous_response_not_found", "Previous response with id 'resp_1' not found.", Unfit),
        (R, 404, "null", "Response with id 'resp_1' not found.", Request),
        (A, 400, BAD, "messages.0: Input does not match the expected shape.", Request),
        (A, 413, "request_too_large", "Request exceeds the maximum size", Request),
        (G, 400, "INVALID_ARGUMENT", "Please use a valid role: user, model.", Request),
        (C, 422, "null", "Input should be a valid list", Request),
    ] {
        let text = body(dialect, status, code, message);
        let judged = of_answer(dialect, status, text.as_bytes()).unwrap();
        assert_eq!(judged.refusal, expected, "{dialect:?} {status} {text}");
    }
    let details = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
    assert_eq!(of_answer(G, 400, details.as_bytes()).unwrap().refusal, Key);
    let vllm = r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}"#;
    assert_eq!(of_answer(C, 404, vllm.as_bytes()).unwrap().refusal, Missing);
}

#[test]
fn an_account_without_credit_is_no_rate_limit() {
    let quota = body(Dialect::OpenAiChat, 429, "insufficient_quota", "You exceeded your current quota");
    assert_eq!(of_answer(Dialect::OpenAiChat, 429, quota.as_bytes()).unwrap().refusal, Account);
    let google = r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.2s"}]}}"#;
    assert_eq!(
        of_answer(Dialect::Gemini, 429, google.as_bytes()),
        Some(Judged { refusal: Limited, retry_after_s: Some(35) })
    );
}

#[test]
fn a_stream_that_begins_with_an_error_is_judged_by_its_words() {
    let error = |kind: &str, code: &str, message: &str| ProviderError {
        kind: kind.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    };
    use Dialect::{AnthropicMessages as A, Gemini as G, OpenAiChat as C, OpenAiResponses as R};
    for (dialect, error, expected) in [
        (A, error("overloaded_error", "", "Overloaded"), Provider),
        (A, error("api_error", "", "Internal server error"), Provider),
        (A, error("rate_limit_error", "", "Slow down"), Limited),
        (A, error("invalid_request_error", "", "messages: at least one message is required"), Request),
        (C, error("server_error", "", "The server had an error \"while\" processing"), Provider),
        (C, error("", "502", "Provider returned error"), Provider),
        (C, error("", "429", "Rate limited"), Limited),
        (C, error("tokens", "rate_limit_exceeded", "x"), Limited),
        (C, error("invalid_request_error", "context_length_exceeded", "too long"), Unfit),
        (C, error("invalid_request_error", "", "Invalid schema"), Request),
        (C, error("", "", ""), Provider),
        (R, error("", "server_error", "x"), Provider),
        (R, error("", "rate_limit_exceeded", "x"), Limited),
        (G, error("UNAVAILABLE", "503", "The model is overloaded."), Provider),
        (G, error("RESOURCE_EXHAUSTED", "429", "x"), Limited),
        (G, error("INVALID_ARGUMENT", "400", "Please use a valid role"), Request),
    ] {
        assert_eq!(of_event(dialect, &error).refusal, expected, "{dialect:?} {error:?}");
    }
}
