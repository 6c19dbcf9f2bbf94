//! The shared form of a whole answer as this dialect sends it. Rules: the project's dialect mapping, sections 8 and 9.

use super::fields::{safe_id, write_citation, write_usage};
use super::finish;
use super::write_stream::write_head;
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Content, Finish, Part, Proof, ToolCall, Vendor,
};
use crate::dialect::media;
use crate::json::write::{self, Array, Object};

/// Appends the answer's body. Choices other than the first one have no place in this dialect.
pub(in crate::dialect) fn write_answer(answer: &Answer<'_>, client: &mut ClientContext, out: &mut Vec<u8>) {
    const NOTHING: &Choice<'_> = &Choice::new(Vec::new(), Finish::Stop);
    let choice = answer.choices.first().unwrap_or(NOTHING);
    let refused = choice.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    write::object(out, |message| {
        write_head(message, client, answer.id.as_ref(), answer.model.as_ref());
        message.array("content", |content| {
            choice.parts.iter().for_each(|part| write_block(content, part, client));
        });
        finish::write(message, &choice.finish, refused);
        message.object("usage", |usage| write_usage(usage, &answer.usage.unwrap_or_default()));
    });
}

fn write_block(content: &mut Array<'_>, part: &Part<'_>, client: &mut ClientContext) {
    match &part.content {
        Content::Text { text, citations } => content.object(|block| {
            block.plain("type", "text");
            block.text("text", text);
            if !citations.is_empty() {
                block.array("citations", |list| {
                    for citation in citations {
                        list.object(|object| write_citation(object, citation));
                    }
                });
            }
        }),
        Content::Refusal(text) => content.object(|block| {
            block.plain("type", "text");
            block.text("text", text);
        }),
        Content::Thinking { proof: Some(proof), redacted: true, .. } => {
            write_redacted(content, proof, client)
        }
        // Nothing to read and nothing to take back.
        Content::Thinking { proof: None, redacted: true, .. } => {}
        Content::Thinking { text, proof, redacted: false } => content.object(|block| {
            block.plain("type", "thinking");
            block.text("thinking", text);
            match proof {
                Some(proof) => block.text("signature", &proof.seal(Vendor::Anthropic, &client.proofs)),
                None => block.plain("signature", ""),
            }
        }),
        Content::ToolCall(call) => {
            content.object(|block| write_call(block, call, client));
            // A call has no place for a proof.
            if let Some(proof) = &call.proof {
                write_redacted(content, proof, client);
            }
        }
        Content::Media(media) => content.object(|block| {
            block.plain("type", "text");
            block.text("text", &media::note(media));
        }),
        // What a model does not say.
        Content::Document(_)
        | Content::SearchResult { .. }
        | Content::ToolResult(_)
        | Content::Unknown(_) => {}
    }
}

fn write_redacted(content: &mut Array<'_>, proof: &Proof<'_>, client: &ClientContext) {
    content.object(|block| {
        block.plain("type", "redacted_thinking");
        block.text("data", &proof.seal(Vendor::Anthropic, &client.proofs));
    });
}

fn write_call(block: &mut Object<'_>, call: &ToolCall<'_>, client: &mut ClientContext) {
    block.plain("type", "tool_use");
    match &call.id {
        Some(id) => block.text("id", &safe_id(id)),
        None => block.plain("id", &client.ids.make("toolu_")),
    }
    block.text("name", &call.name);
    match (&call.arguments, call.kind) {
        (Arguments::Text(text), CallKind::Custom) => block.object("input", |input| input.text("input", text)),
        (arguments, _) => {
            let (Ok(input) | Err(input)) = arguments.as_object();
            block.raw("input", &input);
        }
    }
}
