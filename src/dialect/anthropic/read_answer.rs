//! A whole answer of this dialect into the shared form. Rules: the project's dialect mapping, sections 8, 9 and 13.

use super::fault;
use super::fields::{lenient, read_citation, text};
use super::finish::Ending;
use super::tap::Counts;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Content, Fault, Part, Proof, Raw, Text, ToolCall, Vendor,
};
use crate::json::scan::{self, Scanner};
use crate::json::text::char_count;
use crate::json::token::{Kind, Value};
use crate::limits::BLOCK_CITATIONS_MAX;

/// Reads a body that came with status 200; `vendor` makes its proofs. Blocks of built-in tools and of compaction are
/// left out.
///
/// # Errors
/// It is an error after all, or cannot be read.
pub(in crate::dialect) fn read_answer(body: &[u8], vendor: Vendor) -> Result<Answer<'_>, Fault<'_>> {
    const NAMES: [&str; 6] = ["type", "error", "id", "model", "content", "usage"];
    const UNREADABLE: &str = "the provider's answer cannot be read";
    let mut scanner = Scanner::new(body);
    let root = scanner.value().ok().filter(|_| scanner.end().is_ok());
    let root = root.ok_or(fault::broken(UNREADABLE))?;
    let [kind, error, id, model, content, usage] =
        lenient(root.raw, NAMES).ok_or(fault::broken(UNREADABLE))?;
    if let Some(error) = error {
        return Err(fault::read_error(&error));
    }
    if kind.and_then(|kind| kind.plain_string()) == Some(b"error") {
        return Err(fault::read_fault(0, body));
    }
    let mut parts = Vec::new();
    let content = content.filter(|content| content.kind == Kind::Array);
    let content = content.ok_or(fault::broken("the provider's answer has no `content`"))?;
    scan::elements(content.raw, |block| parts.extend(read_block(&block, vendor)))
        .map_err(|_| fault::broken(UNREADABLE))?;
    let mut ending = Ending::default();
    ending.read(root.raw);
    let has_calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let finish = ending.finish(!parts.is_empty(), has_calls);
    let mut counts = Counts::default();
    if let Some(usage) = usage {
        counts.read(usage.raw);
    }
    Ok(Answer {
        id: text(id.as_ref()),
        model: text(model.as_ref()),
        created: None,
        choices: vec![Choice::new(parts, finish)],
        usage: counts.usage(),
    })
}

fn read_block<'a>(block: &Value<'a>, vendor: Vendor) -> Option<Part<'a>> {
    const NAMES: [&str; 9] =
        ["type", "text", "citations", "thinking", "signature", "data", "id", "name", "input"];
    let [kind, said, citations, thought, signature, data, id, name, input] = lenient(block.raw, NAMES)?;
    let proof = |data: Text<'a>| Proof { vendor, item_id: None, data };
    let content = match kind?.plain_string()? {
        b"text" => {
            let said = text(said.as_ref())?;
            let chars = Some((0, char_count(said.escaped().as_bytes())));
            let mut sources = Vec::new();
            if let Some(citations) = citations {
                // `null` and other types are no list.
                let _ = scan::elements(citations.raw, |citation| {
                    if sources.len() < BLOCK_CITATIONS_MAX {
                        sources.extend(read_citation(citation.raw, chars));
                    }
                });
            }
            Content::Text { text: said, citations: sources }
        }
        b"thinking" => Content::Thinking {
            text: text(thought.as_ref()).unwrap_or_default(),
            proof: text(signature.as_ref()).filter(|signature| !signature.is_empty()).map(proof),
            redacted: false,
        },
        b"redacted_thinking" => Content::Thinking {
            text: Text::default(),
            proof: Some(proof(text(data.as_ref())?)),
            redacted: true,
        },
        b"tool_use" => {
            let input = input.filter(|input| input.kind == Kind::Object);
            let input = input.and_then(|input| Raw::from_scanned(input.raw));
            Content::ToolCall(ToolCall {
                id: text(id.as_ref()),
                name: text(name.as_ref())?,
                arguments: Arguments::Object(input.unwrap_or_else(|| Raw::from_written("{}".to_owned()))),
                kind: CallKind::Function,
                proof: None,
            })
        }
        _ => return None,
    };
    Some(content.into())
}
