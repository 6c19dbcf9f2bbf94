//! How many tokens a request has, about: for models whose provider has nobody to ask.

use super::ir::{Arguments, Content, Part, Request, Source, Text};
use crate::json::text::char_count;
use crate::json::{scan, write};

/// Characters of text that make about one token.
const CHARS_PER_TOKEN: u64 = 4;
/// Tokens of an image: what Anthropic counts for one that it need not shrink (1568 by 1568 pixels, 750 to a token, at most
/// 1,600); OpenAI's and Google's counts lie below. Source: Anthropic docs, "Vision".
const IMAGE_TOKENS: u64 = 1_600;
/// Bytes of base64 of a document or a sound that make about one token: a PDF page of 60 kB counts about 2,000.
const MEDIA_BYTES_PER_TOKEN: u64 = 40;
/// Tokens that begin and end a turn.
const TURN_TOKENS: u64 = 4;

/// Tokens of instructions, conversation and tools.
pub(super) fn estimate(request: &Request<'_>) -> u64 {
    let mut sum = Sum::default();
    request.system.iter().for_each(|part| sum.part(part));
    for turn in &request.turns {
        sum.tokens += TURN_TOKENS;
        turn.parts.iter().for_each(|part| sum.part(part));
    }
    for tool in &request.tools {
        sum.text(&tool.name);
        tool.description.iter().for_each(|text| sum.text(text));
        sum.chars += tool.schema.as_ref().map_or(0, |schema| char_count(schema.as_str().as_bytes()));
    }
    sum.tokens + sum.chars.div_ceil(CHARS_PER_TOKEN)
}

/// Appends what Anthropic's count takes of a request: it refuses what does not count. Source: Anthropic API docs, "Count
/// tokens in a Message".
pub(super) fn append_counted(request: &[u8], out: &mut Vec<u8>) {
    const COUNTED: [&str; 7] =
        ["model", "system", "messages", "tools", "tool_choice", "thinking", "output_config"];
    write::object(out, |root| {
        let _ = scan::members(request, |key, value| {
            if let Some(index) = key.matches(&COUNTED) {
                root.member(COUNTED[index]).extend_from_slice(value.raw);
            }
        });
    });
}

#[derive(Default)]
struct Sum {
    chars: u64,
    tokens: u64,
}

impl Sum {
    fn text(&mut self, text: &Text<'_>) {
        self.chars += char_count(text.escaped().as_bytes());
    }

    fn part(&mut self, part: &Part<'_>) {
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) | Content::Thinking { text, .. } => {
                self.text(text);
            }
            Content::Media(media) if media.kind == super::ir::MediaKind::Image => {
                self.tokens += IMAGE_TOKENS;
            }
            Content::Media(media) => self.source(&media.source),
            Content::Document(document) => {
                document.title.iter().chain(&document.context).for_each(|text| self.text(text));
                self.source(&document.source);
            }
            Content::SearchResult { title, source, text } => {
                [title, source, text].into_iter().for_each(|text| self.text(text));
            }
            Content::ToolCall(call) => {
                self.text(&call.name);
                match &call.arguments {
                    Arguments::Object(object) => self.chars += char_count(object.as_str().as_bytes()),
                    Arguments::Text(text) => self.text(text),
                }
            }
            Content::ToolResult(result) => {
                self.chars += result.object.as_ref().map_or(0, |raw| char_count(raw.as_str().as_bytes()));
                result.parts.iter().for_each(|part| self.part(part));
            }
            Content::Unknown(_) => {}
        }
    }

    fn source(&mut self, source: &Source<'_>) {
        match source {
            Source::Base64 { data, .. } => {
                self.tokens += (data.escaped().len() as u64).div_ceil(MEDIA_BYTES_PER_TOKEN);
            }
            Source::Text(text) => self.text(text),
            Source::Url(_) | Source::File(_) => self.tokens += IMAGE_TOKENS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ir::{Media, MediaKind, Raw, Role, Tool, Turn};

    fn text(plain: &'static str) -> Part<'static> {
        Content::Text { text: Text::from_plain(plain), citations: Vec::new() }.into()
    }

    fn turn(parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role: Role::User, name: None, parts }
    }

    #[test]
    fn what_does_not_count_is_not_asked() {
        let mut out = Vec::new();
        let request = br#"{"model":"m","max_tokens":5,"messages":[1, 2],"stream":true,"tools":[]}"#;
        append_counted(request, &mut out);
        assert_eq!(out, br#"{"model":"m","messages":[1, 2],"tools":[]}"#);
    }

    #[test]
    fn everything_that_is_sent_counts() {
        let image = Media {
            kind: MediaKind::Image,
            source: Source::Base64 { media_type: Text::default(), data: Text::default() },
            detail: None,
        };
        let tool = Tool {
            name: Text::from_plain("four"),
            description: Some(Text::from_plain("12345678")),
            schema: Raw::from_scanned(b"{\"a\":123}"),
            schema_is_openapi: false,
            strict: false,
            kind: crate::dialect::ir::CallKind::Function,
            grammar: None,
            cache: None,
        };
        let cases = [
            (Request::default(), 0),
            (Request { system: vec![text("12345678")], ..Request::default() }, 2),
            (Request { turns: vec![turn(vec![text("12345")])], ..Request::default() }, 4 + 2),
            (Request { turns: vec![turn(vec![text("ééé\n")])], ..Request::default() }, 4 + 1),
            (Request { turns: vec![turn(vec![Content::Media(image).into()])], ..Request::default() }, 1_604),
            (Request { tools: vec![tool], ..Request::default() }, 6),
        ];
        for (request, tokens) in cases {
            assert_eq!(estimate(&request), tokens, "{request:?}");
        }
    }
}
