//! Reads the answer of a server that speaks chat, and its errors.

use super::fields::{citation, details, elements, error, fields, google_signature, listed, said};
use super::finish::{self, Had};
use crate::dialect::Usage;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Content, Fault, FaultCase, Finish, Media, MediaKind, Part, Proof,
    Raw, Text, TokenLogprob, ToolCall, Vendor,
};
use crate::dialect::media::source_of_url;
use crate::dialect::openai;
use crate::dialect::usage::read_openai;
use crate::json::scan::Scanner;
use crate::json::token::{Kind, Value};

/// Reads a body that came with status 200. `vendor` made the proofs in it.
///
/// # Errors
/// It is an error after all, or no answer.
pub(in crate::dialect) fn read_answer<'a>(body: &'a [u8], vendor: Vendor) -> Result<Answer<'a>, Fault<'a>> {
    let mut scanner = Scanner::new(body);
    let root = scanner.value().ok().filter(|_| scanner.end().is_ok());
    let root = root.filter(|_| std::str::from_utf8(body).is_ok()).ok_or_else(|| broken("is no JSON"))?;
    let names = ["id", "model", "created", "choices", "usage", "x_groq", "error"];
    let [id, model, created, choices, usage, groq, failed] = fields(&root, names);
    if let Some(error) = error(failed) {
        return Err(openai::read_error(200, &error));
    }
    let Some(list) = choices.filter(|choices| choices.kind == Kind::Array) else {
        return Err(openai::read_fault(200, body));
    };
    let mut choices: Vec<Choice<'a>> = Vec::new();
    let mut fault = None;
    elements(Some(list), |choice| match read_choice(&choice, vendor) {
        Ok(choice) => choices.push(choice),
        Err(found) => _ = fault.get_or_insert(found),
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    if choices.is_empty() {
        return Err(broken("has no choices"));
    }
    Ok(Answer {
        id: said(id),
        model: said(model),
        created: created.and_then(|created| created.as_count()),
        choices,
        usage: usage.and_then(|usage| read_openai(usage.raw)).or_else(|| groq_usage(groq)),
    })
}

/// Reads the body of an error response.
pub(in crate::dialect) fn read_fault(status: u16, body: &[u8]) -> Fault<'_> {
    openai::read_fault(status, body)
}

/// Groq's own place for usage.
pub(super) fn groq_usage(groq: Option<Value<'_>>) -> Option<Usage> {
    let [usage] = fields(&groq?, ["usage"]);
    read_openai(usage?.raw)
}

fn broken(how: &str) -> Fault<'static> {
    Fault {
        case: FaultCase::Internal,
        message: Text::from(format!("the provider's answer {how}")),
        code: None,
        param: None,
        retry_after_s: None,
    }
}

fn read_choice<'a>(choice: &Value<'a>, vendor: Vendor) -> Result<Choice<'a>, Fault<'a>> {
    let [message, finish, failed, logprobs] =
        fields(choice, ["message", "finish_reason", "error", "logprobs"]);
    if let Some(error) = error(failed) {
        return Err(openai::read_error(200, &error));
    }
    let parts = message.map_or_else(Vec::new, |message| read_message(&message, vendor));
    let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let had = Had { calls, parts: !parts.is_empty() };
    let word = said(finish).unwrap_or_default();
    let finish: Finish<'a> = finish::read(word.escaped(), had)?;
    Ok(Choice { parts, finish, logprobs: read_logprobs(logprobs) })
}

/// The tokens of what is said, or refused.
pub(super) fn read_logprobs<'a>(logprobs: Option<Value<'a>>) -> Vec<TokenLogprob<'a>> {
    let mut tokens = Vec::new();
    if let Some(logprobs) = logprobs {
        let lists = fields(&logprobs, ["content", "refusal"]);
        lists.into_iter().flatten().for_each(|list| openai::read_logprobs(&list, &mut tokens));
    }
    tokens
}

fn read_message<'a>(message: &Value<'a>, vendor: Vendor) -> Vec<Part<'a>> {
    let names = [
        "content",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "refusal",
        "tool_calls",
        "function_call",
        "annotations",
        "images",
    ];
    let [content, thoughts, reasoning, detailed, refusal, calls, function_call, annotations, images] =
        fields(message, names);
    let mut parts: Vec<Part<'a>> = Vec::new();
    if let Some(text) = said(thoughts).or(said(reasoning)).or(details(detailed)) {
        parts.push(Content::Thinking { text, proof: None, redacted: false }.into());
    }
    let mut citations = Vec::new();
    elements(annotations, |annotation| citations.extend(citation(&annotation)));
    if content.as_ref().is_some_and(|content| content.kind == Kind::Array) {
        elements(content, |element| match listed(&element) {
            Some((text, true)) => {
                parts.push(Content::Thinking { text, proof: None, redacted: false }.into());
            }
            Some((text, false)) => parts.push(Content::Text { text, citations: Vec::new() }.into()),
            None => {}
        });
    } else if let Some(text) = said(content) {
        parts.push(Content::Text { text, citations }.into());
    }
    if let Some(refusal) = said(refusal) {
        parts.push(Content::Refusal(refusal).into());
    }
    elements(images, |image| parts.extend(read_image(&image).map(|media| Content::Media(media).into())));
    let before = parts.len();
    elements(calls, |call| {
        parts.extend(read_call(&call, vendor).map(|call| Part::from(Content::ToolCall(call))));
    });
    if parts.len() == before
        && let Some(call) = function_call.and_then(|call| read_function(&call))
    {
        let (name, arguments) = call;
        let call = ToolCall { id: None, name, arguments, kind: CallKind::Function, proof: None };
        parts.push(Content::ToolCall(call).into());
    }
    parts
}

/// One of `images`, where OpenRouter has pictures.
pub(super) fn read_image<'a>(image: &Value<'a>) -> Option<Media<'a>> {
    let [image] = fields(image, ["image_url"]);
    let [url] = fields(&image?, ["url"]);
    let source = source_of_url(said(url)?).ok()?;
    Some(Media { kind: MediaKind::Image, source, detail: None })
}

fn read_call<'a>(call: &Value<'a>, vendor: Vendor) -> Option<ToolCall<'a>> {
    let [id, function, custom, extra] = fields(call, ["id", "function", "custom", "extra_content"]);
    let (name, arguments, kind) = match (function, custom) {
        (Some(function), _) => {
            let (name, arguments) = read_function(&function)?;
            (name, arguments, CallKind::Function)
        }
        (None, Some(custom)) => {
            let [name, input] = fields(&custom, ["name", "input"]);
            (said(name)?, Arguments::Text(said(input).unwrap_or_default()), CallKind::Custom)
        }
        (None, None) => return None,
    };
    let proof = google_signature(extra).filter(|_| vendor == Vendor::Google);
    let proof = proof.map(|data| Proof { vendor, item_id: None, data });
    Some(ToolCall { id: said(id), name, arguments, kind, proof })
}

fn read_function<'a>(function: &Value<'a>) -> Option<(Text<'a>, Arguments<'a>)> {
    let [name, arguments] = fields(function, ["name", "arguments"]);
    let arguments = match arguments {
        // Ollama's own dialect has an object here, and some servers after it.
        Some(object) if object.kind == Kind::Object => Arguments::Object(Raw::from_scanned(object.raw)?),
        arguments => Arguments::Text(said(arguments).unwrap_or_default()),
    };
    Some((said(name)?, arguments))
}

#[cfg(test)]
#[path = "read_answer_tests.rs"]
mod tests;
