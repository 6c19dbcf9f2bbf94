//! The members of a request that the response object repeats, with OpenAI's defaults for those that the client left out.
//!
//! SDKs check that they are there. Source: OpenAI API reference, "The response object"; `recordings`.

use super::read_request::Body;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};

/// Members that are repeated as they came, and what stands for an absent one.
const REPEATED: [(&str, &str); 23] = [
    ("background", "false"),
    ("frequency_penalty", "0.0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("moderation", "null"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0.0"),
    ("previous_response_id", "null"),
    ("prompt", "null"),
    ("prompt_cache_key", "null"),
    ("prompt_cache_options", "null"),
    ("prompt_cache_retention", "null"),
    ("safety_identifier", "null"),
    ("store", "true"),
    ("temperature", "1.0"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// The run of members `"name":value` joined by commas.
pub(super) fn echo(body: &Body<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write::object(&mut out, |root| {
        for (name, default) in REPEATED {
            repeat(root, name, body.get(name), default);
        }
        write_conversation(root, body.get("conversation"));
        let part = |outer: &str, inner: &str| {
            let value = body.get(outer).and_then(|value| scan::member(value.raw, inner));
            value.filter(|value| value.raw != b"null")
        };
        root.object("reasoning", |reasoning| {
            repeat(reasoning, "effort", part("reasoning", "effort").as_ref(), "null");
            repeat(reasoning, "summary", part("reasoning", "summary").as_ref(), "null");
        });
        root.object("text", |text| {
            repeat(text, "format", part("text", "format").as_ref(), r#"{"type":"text"}"#);
            repeat(text, "verbosity", part("text", "verbosity").as_ref(), "\"medium\"");
        });
        // `auto` asks for whatever the project has; what answers is named.
        let tier = body.get("service_tier").filter(|tier| tier.plain_string() != Some(b"auto"));
        repeat(root, "service_tier", tier, "\"default\"");
    });
    out.remove(0);
    out.pop();
    out
}

/// A conversation is asked for by its id or by an object, and named by an object.
fn write_conversation(root: &mut Object<'_>, value: Option<&Value<'_>>) {
    match value {
        Some(id) if id.kind == Kind::String => {
            root.object("conversation", |conversation| repeat(conversation, "id", Some(id), "null"));
        }
        value => repeat(root, "conversation", value, "null"),
    }
}

fn repeat(object: &mut Object<'_>, name: &str, value: Option<&Value<'_>>, default: &str) {
    let value = value.map_or(default.as_bytes(), |value| value.raw);
    object.member(name).extend_from_slice(value);
}
