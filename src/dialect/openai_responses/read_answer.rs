//! A provider's answer in one piece, and its error bodies.

use super::read_output::{Item, ItemKind, PartKind, Response, broken, nameless, thought_break};
use crate::dialect::ir::{
    Answer, Arguments, Choice, Content, Fault, Part, Text, TokenLogprob, ToolCall, Vendor,
};
use crate::dialect::openai;
use crate::json::scan::{self, Scanner};

/// Reads the body that came with status 200. `vendor` is whose proofs are in it.
///
/// # Errors
/// The provider says that it failed, or the body is no response object.
pub(in crate::dialect) fn read_answer(body: &[u8], vendor: Vendor) -> Result<Answer<'_>, Fault<'_>> {
    let mut scanner = Scanner::new(body);
    let whole = scanner.value().is_ok() && scanner.end().is_ok() && std::str::from_utf8(body).is_ok();
    let response = Response::read(body).filter(|_| whole);
    let response = response.ok_or_else(|| broken("the provider's answer is not valid JSON"))?;
    if let Some(error) = &response.error {
        return Err(openai::read_error(200, error));
    }
    let (mut parts, mut logprobs) = (Vec::new(), Vec::new());
    let output = response.output.as_ref();
    let output = output.ok_or_else(|| broken("the provider's answer has no output"))?;
    let mut fault = None;
    let _ = scan::elements(output.raw, |value| {
        fault = fault.take().or(read_item(&Item::read(&value), vendor, &mut parts, &mut logprobs).err());
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let finish = response.finish(calls, !parts.is_empty())?;
    Ok(Answer {
        id: response.id,
        model: response.model,
        created: response.created,
        choices: vec![Choice { parts, finish, logprobs }],
        usage: response.usage,
    })
}

/// Reads the body of an error response, of whatever shape it is.
pub(in crate::dialect) fn read_fault(status: u16, body: &[u8]) -> Fault<'_> {
    openai::read_fault(status, body)
}

/// The parts that an item is; none where it says nothing.
fn read_item<'a>(
    item: &Item<'a>,
    vendor: Vendor,
    parts: &mut Vec<Part<'a>>,
    logprobs: &mut Vec<TokenLogprob<'a>>,
) -> Result<(), Fault<'a>> {
    match item.kind {
        ItemKind::Message => item.parts(|_, part| {
            let text = part.text.clone();
            part.logprobs.iter().for_each(|list| openai::read_logprobs(list, logprobs));
            match part.kind {
                PartKind::Text if !text.is_empty() => {
                    let mut citations = Vec::new();
                    part.citations(|citation| citations.push(citation));
                    parts.push(Content::Text { text, citations }.into());
                }
                PartKind::Refusal if !text.is_empty() => parts.push(Content::Refusal(text).into()),
                _ => {}
            }
        }),
        ItemKind::Reasoning => {
            let mut text = Text::default();
            item.thoughts(item.thought_source(), |_, more| {
                if !text.is_empty() && !more.is_empty() {
                    text.push(&thought_break());
                }
                text.push(&more);
            });
            let proof = item.proof(vendor);
            if !text.is_empty() || proof.is_some() {
                parts.push(Content::Thinking { text, proof, redacted: false }.into());
            }
        }
        ItemKind::Call(kind) => {
            let name = item.name.clone().ok_or_else(nameless)?;
            let arguments = Arguments::Text(item.input.clone().unwrap_or_default());
            let id = item.call_id.clone();
            parts.push(Content::ToolCall(ToolCall { id, name, arguments, kind, proof: None }).into());
        }
        ItemKind::Other => {}
    }
    Ok(())
}
