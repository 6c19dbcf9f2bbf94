//! What a provider's refusal means for who is asked next: the same for every dialect, read off its status and its words.
//!
//! Owns the table. Which candidate follows, and when, is decided by the gateway.
//!
//! Sources: OpenAI, "Error codes"; Anthropic, "Errors"; Google, "Gemini API troubleshooting"; for the words of models that
//! do not exist or do not take a parameter, recorded answers of OpenAI, Azure, Groq, Anthropic, Gemini and Vertex, and
//! the sources of vLLM and Ollama.

use super::ir::{Fault, FaultCase};
use super::sight::ProviderError;
use super::{Dialect, anthropic, gemini, openai_chat, openai_responses};
use crate::json::write;

/// Whose fault it is that a provider did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client's: any model would say the same.
    Request,
    /// Nobody's: this model cannot take this request, another one may.
    Unfit,
    /// Ours: the provider has no such model.
    Missing,
    /// Ours: the key is wrong.
    Key,
    /// Ours: the key may not do this, or its account is out of credit.
    Account,
    /// Ours: too many requests or tokens for the key or the model.
    Limited,
    /// The provider's, and it may well be over in a moment: a conflict, a time-out of its own.
    Passing,
    /// The provider's: it failed, or has too much to do.
    Provider,
}

/// A refusal with what it says about the time to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Whose fault it is.
    pub refusal: Refusal,
    /// Seconds to wait, where the body says so.
    pub retry_after_s: Option<u64>,
}

/// Judges an answer with a status of 400 or more; `body` is what is known of it. No answer below 400 is a refusal.
pub fn of_answer(dialect: Dialect, status: u16, body: &[u8]) -> Option<Judged> {
    if status < 400 {
        return None;
    }
    let fault = read(dialect, status, body);
    let refusal = match status {
        401 => Refusal::Key,
        402 | 403 => Refusal::Account,
        408 | 409 => Refusal::Passing,
        429 if fault.case == FaultCase::NoCredit => Refusal::Account,
        429 => Refusal::Limited,
        400 | 404 | 413 | 422 => of_fault(status, &fault),
        400..=499 => Refusal::Request,
        _ => Refusal::Provider,
    };
    Some(Judged { refusal, retry_after_s: fault.retry_after_s })
}

/// Judges an error that a stream begins with, under a status of success.
pub fn of_event(dialect: Dialect, error: &ProviderError) -> Judged {
    let mut body = Vec::with_capacity(96 + error.message.len());
    write::object(&mut body, |body| {
        body.object("error", |member| {
            for (name, text) in [("type", &error.kind), ("code", &error.code), ("message", &error.message)] {
                match text.parse::<u64>() {
                    Ok(number) => member.number(name, number),
                    Err(_) if !text.is_empty() => member.plain(name, text),
                    Err(_) => {}
                }
            }
        });
    });
    let fault = read(dialect, 0, &body);
    Judged { refusal: of_fault(0, &fault), retry_after_s: fault.retry_after_s }
}

fn read(dialect: Dialect, status: u16, body: &[u8]) -> Fault<'_> {
    match dialect {
        Dialect::OpenAiChat => openai_chat::read_fault(status, body),
        Dialect::OpenAiResponses => openai_responses::read_fault(status, body),
        Dialect::AnthropicMessages => anthropic::read_fault(status, body),
        Dialect::Gemini => gemini::read_fault(status, body),
    }
}

fn of_fault(status: u16, fault: &Fault<'_>) -> Refusal {
    match fault.case {
        FaultCase::ContextTooLong => Refusal::Unfit,
        // Groq says so of one request with more tokens than a minute has: a smaller one would be taken.
        FaultCase::RateLimited if status == 413 => Refusal::Unfit,
        FaultCase::RateLimited => Refusal::Limited,
        FaultCase::BadKey => Refusal::Key,
        FaultCase::Forbidden | FaultCase::NoCredit => Refusal::Account,
        FaultCase::NotFound if is_about_model(fault) => Refusal::Missing,
        FaultCase::BadRequest | FaultCase::NotFound if is_unfit(fault) => Refusal::Unfit,
        FaultCase::NotFound | FaultCase::BadRequest | FaultCase::TooLarge => Refusal::Request,
        FaultCase::Conflict => Refusal::Passing,
        FaultCase::Internal | FaultCase::Overloaded | FaultCase::Timeout => Refusal::Provider,
    }
}

/// Codes of a model that is not there: OpenAI and Groq; Azure.
const NO_MODEL_CODES: [&str; 2] = ["model_not_found", "DeploymentNotFound"];

/// Whether it is the model that was not found, and not some object that the request names.
fn is_about_model(fault: &Fault<'_>) -> bool {
    let is = |text: &Option<super::ir::Text<'_>>, word: &str| {
        text.as_ref().is_some_and(|text| text.escaped().eq_ignore_ascii_case(word))
    };
    // vLLM names the parameter; Anthropic says "model: x", Gemini "models/x is not found", Vertex "Publisher Model … not
    // found", Ollama "model 'x' not found", OpenRouter "No endpoints found for x".
    let message = fault.message.escaped().trim_start_matches("The ").to_ascii_lowercase();
    let begins =
        ["model:", "model ", "models/", "publisher model ", "requested model ", "no endpoints found for "];
    NO_MODEL_CODES.iter().any(|code| is(&fault.code, code))
        || is(&fault.param, "model")
        || begins.iter().any(|words| message.starts_with(words))
}

/// Codes of OpenAI for what one of its models does not take and another one does, and for a conversation that is at one
/// provider, so that only that one knows its ids.
const UNFIT_CODES: [&str; 3] = ["unsupported_parameter", "unsupported_value", "previous_response_not_found"];

/// The same in words, of servers that have no code for it, in lower case. Where they come from:
/// - OpenAI, recorded: "Web search options not supported with this model.", "… does not support 'developer' with this model."
/// - Anthropic: "… is not supported for this model" (OpenHands/software-agent-sdk pull request 3427), "… is deprecated for
///   this model." (HKUDS/nanobot issue 3417).
/// - Gemini: "Thinking level is not supported for this model." (RooCodeInc/Roo-Code issue 10700), "Function calling is not
///   enabled for models/…" (agno-agi/agno issue 3505).
/// - Ollama: "… does not support tools" (ollama/ollama issue 5793).
/// - OpenRouter: "No endpoints found that support tool use." with 404 (anomalyco/opencode issue 1675).
const UNFIT_WORDS: [&str; 8] = [
    "not supported with this model",
    "not supported for this model",
    "not supported by this model",
    "deprecated for this model",
    "does not support",
    "is not enabled for models/",
    "no endpoints found that support",
    "unsupported parameter",
];

fn is_unfit(fault: &Fault<'_>) -> bool {
    if fault.code.as_ref().is_some_and(|code| UNFIT_CODES.contains(&code.escaped())) {
        return true;
    }
    let message = fault.message.escaped().to_ascii_lowercase();
    UNFIT_WORDS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
