//! Writes an answer, or an error, for a chat client.

use super::finish;
use super::thoughts::{self, Place};
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, Fault, Media, MediaKind, Part, Proof, Source,
    Text, ToolCall, Vendor,
};
use crate::dialect::media::{self, append_data_uri};
use crate::dialect::{Dialect, Usage, openai};
use crate::json::text::char_count;
use crate::json::write::{self, Array, Object};

/// Writes the body for a chat client.
pub(in crate::dialect) fn write_answer(answer: &Answer<'_>, client: &mut ClientContext, out: &mut Vec<u8>) {
    write::object(out, |body| {
        match &answer.id {
            Some(id) => body.text("id", id),
            None => body.plain("id", &client.ids.make("chatcmpl-")),
        }
        body.plain("object", "chat.completion");
        body.number("created", answer.created.unwrap_or(client.unix_seconds));
        match &answer.model {
            Some(model) => body.text("model", model),
            None => body.plain("model", &client.model),
        }
        body.array("choices", |choices| {
            for (index, choice) in answer.choices.iter().enumerate() {
                choices.object(|object| write_choice(object, index as u64, choice, client));
            }
        });
        if let Some(usage) = &answer.usage {
            body.object("usage", |object| write_usage(object, usage));
        }
    });
}

/// Writes the body of an error for a chat client; its status.
pub(in crate::dialect) fn write_fault(fault: &Fault<'_>, trace_id: &str, out: &mut Vec<u8>) -> u16 {
    openai::write_fault(fault, Dialect::OpenAiChat, trace_id, out)
}

/// Writes the members of a usage object.
pub(super) fn write_usage(object: &mut Object<'_>, usage: &Usage) {
    object.number("prompt_tokens", usage.input);
    object.number("completion_tokens", usage.output);
    object.number("total_tokens", usage.input.saturating_add(usage.output));
    object.object("prompt_tokens_details", |details| {
        details.number("cached_tokens", usage.cached_input);
        details.number("cache_write_tokens", usage.cache_write);
    });
    object.object("completion_tokens_details", |details| {
        details.number("reasoning_tokens", usage.reasoning);
    });
}

fn write_choice(object: &mut Object<'_>, index: u64, choice: &Choice<'_>, client: &mut ClientContext) {
    let has_calls = choice.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    object.number("index", index);
    object.object("message", |message| write_message(message, choice, has_calls, client));
    match choice.logprobs.as_slice() {
        [] => object.null("logprobs"),
        tokens => {
            let is_text = |part: &Part<'_>| matches!(part.content, Content::Text { .. });
            let mut run = Vec::new();
            openai::append_logprobs(&mut run, tokens);
            write_logprobs(object.member("logprobs"), !choice.parts.iter().any(is_text), &run);
        }
    }
    object.plain("finish_reason", finish::word(&choice.finish, has_calls, client.legacy_functions));
}

/// Writes the tokens of what is said, or refused; `run` is the tokens joined by commas.
pub(super) fn write_logprobs(out: &mut Vec<u8>, is_refusal: bool, run: &[u8]) {
    write::object(out, |logprobs| {
        for (name, is_there) in [("content", !is_refusal), ("refusal", is_refusal)] {
            if is_there {
                logprobs.array(name, |list| list.run(run));
            } else {
                logprobs.null(name);
            }
        }
    });
}

fn write_message(message: &mut Object<'_>, choice: &Choice<'_>, has_calls: bool, client: &mut ClientContext) {
    message.plain("role", "assistant");
    let texts = || {
        choice.parts.iter().filter_map(|part| match &part.content {
            Content::Text { text, citations } => Some((text, citations)),
            _ => None,
        })
    };
    let refused = choice.parts.iter().find_map(|part| match &part.content {
        Content::Refusal(refusal) => Some(refusal),
        _ => None,
    });
    let refusal = refused.or(finish::explanation(&choice.finish));
    // Sounds and films, in words.
    let notes: Vec<Text<'_>> = choice.parts.iter().filter_map(unsaid).collect();
    if texts().next().is_none() && notes.is_empty() && (has_calls || refusal.is_some()) {
        message.null("content");
    } else {
        write_joined(message.member("content"), texts().map(|(text, _)| text).chain(&notes));
    }
    match refusal {
        Some(refusal) => message.text("refusal", refusal),
        None => message.null("refusal"),
    }
    write_thoughts(message, choice, client);
    if texts().any(|(_, citations)| !citations.is_empty()) {
        message.array("annotations", |list| {
            let mut offset = 0;
            for (text, citations) in texts() {
                let length = char_count(text.escaped().as_bytes());
                for citation in citations {
                    list.object(|object| write_citation(object, citation, offset, length));
                }
                offset += length;
            }
        });
    }
    write_images(message, choice);
    if !has_calls {
        return;
    }
    let mut calls = choice.parts.iter().filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call),
        _ => None,
    });
    if client.legacy_functions {
        if let Some(call) = calls.next() {
            message.object("function_call", |function| write_function(function, call));
        }
        return;
    }
    message.array("tool_calls", |list| calls.for_each(|call| write_call(list, call, client)));
}

fn write_joined<'t>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'t Text<'t>>) {
    out.push(b'"');
    texts.for_each(|text| out.extend_from_slice(text.escaped().as_bytes()));
    out.push(b'"');
}

fn write_thoughts(message: &mut Object<'_>, choice: &Choice<'_>, client: &ClientContext) {
    let thoughts = || {
        choice.parts.iter().filter_map(|part| match &part.content {
            Content::Thinking { text, proof, redacted } => Some((text, proof.as_ref(), *redacted)),
            _ => None,
        })
    };
    if thoughts().any(|(text, ..)| !text.is_empty()) {
        write_joined(message.member("reasoning_content"), thoughts().map(|(text, ..)| text));
    }
    if !thoughts().any(|(_, proof, _)| proof.is_some_and(is_carried)) {
        return;
    }
    message.array("reasoning_details", |details| {
        let (mut start, mut index) = (0, 0);
        for (text, proof, redacted) in thoughts() {
            let length = thoughts::units(text);
            if let Some(proof) = proof.filter(|proof| is_carried(proof)) {
                let place = (!redacted).then_some(Place { start, length });
                thoughts::append_detail(details, index, proof, place, &client.proofs);
                index += 1;
            }
            start += length;
        }
    });
}

/// Whether a proof could ever be taken back.
pub(super) fn is_carried(proof: &Proof<'_>) -> bool {
    proof.vendor != Vendor::Other
}

/// Writes one of `annotations`. `offset` characters of the answer come before the text that rests on it, which has
/// `length`.
pub(super) fn write_citation(object: &mut Object<'_>, citation: &Citation<'_>, offset: u64, length: u64) {
    let (start, end) = citation.chars.unwrap_or((0, length));
    object.plain("type", "url_citation");
    object.object("url_citation", |cited| {
        cited.number("start_index", offset.saturating_add(start));
        cited.number("end_index", offset.saturating_add(end));
        cited.text("url", &citation.url);
        cited.text("title", citation.title.as_ref().unwrap_or(&citation.url));
    });
}

/// What is said for a medium that a chat message has no place for.
fn unsaid(part: &Part<'_>) -> Option<Text<'static>> {
    match &part.content {
        Content::Media(medium) if !is_image(medium) => Some(media::note(medium)),
        _ => None,
    }
}

/// Whether a medium is one that `images` can have.
pub(super) fn is_image(media: &Media<'_>) -> bool {
    media.kind == MediaKind::Image && matches!(media.source, Source::Base64 { .. } | Source::Url(_))
}

/// Pictures in an answer, where OpenRouter has them.
fn write_images(message: &mut Object<'_>, choice: &Choice<'_>) {
    let images = || {
        choice.parts.iter().filter_map(|part| match &part.content {
            Content::Media(media) if is_image(media) => Some(media),
            _ => None,
        })
    };
    if images().next().is_none() {
        return;
    }
    message.array("images", |list| {
        images().for_each(|media| list.object(|image| write_image(image, media)));
    });
}

/// Writes one of `images`.
pub(super) fn write_image(image: &mut Object<'_>, media: &Media<'_>) {
    image.plain("type", "image_url");
    image.object("image_url", |object| match &media.source {
        Source::Base64 { media_type, data } => append_data_uri(object.member("url"), media_type, data),
        Source::Url(url) | Source::File(url) | Source::Text(url) => object.text("url", url),
    });
}

fn write_call(list: &mut Array<'_>, call: &ToolCall<'_>, client: &mut ClientContext) {
    list.object(|object| {
        match &call.id {
            Some(id) => object.text("id", id),
            None => object.plain("id", &client.ids.make("call_")),
        }
        match call.kind {
            CallKind::Function => {
                object.plain("type", "function");
                object.object("function", |function| write_function(function, call));
            }
            CallKind::Custom => {
                object.plain("type", "custom");
                object.object("custom", |custom| {
                    custom.text("name", &call.name);
                    match &call.arguments {
                        Arguments::Text(input) => custom.text("input", input),
                        object @ Arguments::Object(_) => custom.text("input", &object.as_text()),
                    }
                });
            }
        }
        if let Some(proof) = call.proof.as_ref().filter(|proof| is_carried(proof)) {
            write_signature(object, proof, client);
        }
    });
}

/// Writes the proof of a call in its envelope.
pub(super) fn write_signature(object: &mut Object<'_>, proof: &Proof<'_>, client: &ClientContext) {
    object.object("extra_content", |extra| {
        extra.object("gateway", |gateway| {
            gateway.text("signature", &proof.seal(Vendor::Other, &client.proofs));
        });
    });
}

fn write_function(function: &mut Object<'_>, call: &ToolCall<'_>) {
    function.text("name", &call.name);
    function.text("arguments", &call.arguments.as_text());
}

#[cfg(test)]
#[path = "write_answer_tests.rs"]
mod tests;
