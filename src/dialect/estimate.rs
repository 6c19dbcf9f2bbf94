//! About how many tokens a request has, where no provider can be asked.
//!
//! An estimate, and said to be one: words, numbers, marks and scripts are weighed as OpenAI's `o200k` vocabulary splits
//! them on average. The vocabularies themselves would add 30 MB to the binary and 60 MB to the memory of a process that
//! is hardly ever asked. Each sample of the tests lies within a fifth of its true count; runs without words (base64,
//! hashes) come out up to a third too low.

use super::ir::{Arguments, CallKind, Content, Format, Media, MediaKind, Part, Request, Source, Text};

/// Hundredths of a token.
type Weight = u64;

const TOKEN: Weight = 100;
/// Letters of a Latin word that are one token.
const WORD_LETTERS: u64 = 9;
/// Letters of each further token of a longer word.
const MORE_LETTERS: u64 = 5;
/// What a message costs beside its content.
const MESSAGE: Weight = 4 * TOKEN;
/// What a tool costs beside its name, description and schema.
const TOOL: Weight = 12 * TOKEN;
/// A picture whose size is not known; providers take from 85 (small) to 1,600 (large).
pub(super) const IMAGE_TOKENS: u64 = 1_000;
/// The same, weighed.
const IMAGE: Weight = IMAGE_TOKENS * TOKEN;
/// A picture that is looked at from afar (OpenAI's `detail: low`).
pub(super) const IMAGE_LOW_TOKENS: u64 = 85;
/// The same, weighed.
const IMAGE_LOW: Weight = IMAGE_LOW_TOKENS * TOKEN;
/// Bytes of a document, of sound or of film behind one token: 1,500 tokens for a PDF page of 60 KB.
pub(super) const BYTES_PER_TOKEN: u64 = 40;

/// About how many input tokens a request has.
pub(super) fn input_tokens(request: &Request<'_>) -> u64 {
    let mut weight: Weight = request.system.iter().map(part).sum();
    if !request.system.is_empty() {
        weight += MESSAGE;
    }
    for turn in &request.turns {
        weight += MESSAGE + turn.parts.iter().map(part).sum::<Weight>();
    }
    for tool in &request.tools {
        let schema = tool.schema.as_ref().map_or(0, |schema| text_weight(schema.as_str()));
        let description = tool.description.as_ref().map_or(0, |text| text_weight(text.escaped()));
        weight += TOOL + text_weight(tool.name.escaped()) + description + schema;
    }
    if let Format::Schema { schema, .. } = &request.format {
        weight += text_weight(schema.as_str());
    }
    weight.div_ceil(TOKEN)
}

fn part(part: &Part<'_>) -> Weight {
    let said = |text: &Text<'_>| text_weight(text.escaped());
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => said(text),
        Content::Media(media) => medium(media),
        Content::Document(document) => {
            let title = document.title.as_ref().map_or(0, said) + document.context.as_ref().map_or(0, said);
            title + source(&document.source)
        }
        Content::SearchResult { title, source, text } => said(title) + said(source) + said(text),
        // Hidden thoughts are not counted again as input.
        Content::Thinking { text, .. } => said(text),
        Content::ToolCall(call) => {
            let input = match (&call.arguments, call.kind) {
                (Arguments::Object(object), _) => text_weight(object.as_str()),
                (Arguments::Text(text), CallKind::Function | CallKind::Custom) => said(text),
            };
            MESSAGE + said(&call.name) + input
        }
        Content::ToolResult(result) => {
            let object = result.object.as_ref().map_or(0, |object| text_weight(object.as_str()));
            MESSAGE + object + result.parts.iter().map(self::part).sum::<Weight>()
        }
        Content::Unknown(_) => 0,
    }
}

fn medium(media: &Media<'_>) -> Weight {
    match media.kind {
        MediaKind::Image if media.detail.as_ref().is_some_and(|detail| detail.escaped() == "low") => {
            IMAGE_LOW
        }
        MediaKind::Image => IMAGE,
        MediaKind::Audio | MediaKind::Video => source(&media.source),
    }
}

fn source(source: &Source<'_>) -> Weight {
    match source {
        Source::Base64 { data, .. } => data.escaped().len() as u64 * 3 / 4 * TOKEN / BYTES_PER_TOKEN,
        Source::Text(text) => text_weight(text.escaped()),
        Source::Url(_) | Source::File(_) => IMAGE,
    }
}

/// What a run of characters is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Space,
    Mark,
    /// Scripts without spaces: Chinese, Japanese, Korean.
    Ideograph,
    /// Letters of other scripts.
    Letter,
    /// Emoji and the like.
    Other,
}

/// The weight of a text in its JSON form; escapes count as what they stand for.
fn text_weight(escaped: &str) -> Weight {
    let mut weight = 0;
    let mut characters = Unescaped(escaped.chars()).peekable();
    while let Some(first) = characters.next() {
        let class = class_of(first);
        let mut count: u64 = 1;
        while characters.peek().is_some_and(|next| continues(class, class_of(*next))) {
            characters.next();
            count += 1;
        }
        weight += match class {
            Class::Upper | Class::Lower => TOKEN + count.saturating_sub(WORD_LETTERS) * TOKEN / MORE_LETTERS,
            Class::Digit => count.div_ceil(3) * TOKEN,
            Class::Space if count > 1 => TOKEN,
            // A single space belongs to the word behind it.
            Class::Space if first == ' ' => 0,
            Class::Space => 60,
            Class::Mark if count == 1 => 75,
            Class::Mark => count * 45,
            Class::Ideograph => count * 60,
            Class::Letter => count * 33,
            Class::Other => count * 120,
        };
    }
    weight
}

/// Whether a character of class `next` goes on with a run that began with `first`.
fn continues(first: Class, next: Class) -> bool {
    match (first, next) {
        // `Word` and `WORD` are runs, `camelCase` is two.
        (Class::Upper, Class::Upper | Class::Lower) => true,
        (first, next) => first == next,
    }
}

fn class_of(character: char) -> Class {
    match character {
        'A'..='Z' => Class::Upper,
        'a'..='z' => Class::Lower,
        '0'..='9' => Class::Digit,
        ' ' | '\t' | '\n' | '\r' => Class::Space,
        '\0'..='\x7f' => Class::Mark,
        '\u{2E80}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}' => Class::Ideograph,
        character if character.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

/// The characters that an escaped text stands for; each half of a surrogate pair as a character of its own.
struct Unescaped<'a>(std::str::Chars<'a>);

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let character = self.0.next()?;
        if character != '\\' {
            return Some(character);
        }
        Some(match self.0.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'u' => {
                let digits = self.0.as_str().get(..4).unwrap_or_default();
                let code = u32::from_str_radix(digits, 16).unwrap_or_default();
                for _ in 0..digits.len() {
                    self.0.next();
                }
                char::from_u32(code).unwrap_or('\u{FFFD}')
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts and how many tokens of `o200k` they are, counted with the published vocabulary.
    const SAMPLES: &[(&str, u64)] = &[
        (
            "The gateway authenticates each request, routes it by policy, enforces budgets, translates dialects and accounts for every token it has seen.",
            28,
        ),
        (
            "fn main() {\n    let total: u64 = items.iter().map(|item| item.count).sum();\n    println!(\"{total}\");\n}\n",
            29,
        ),
        (
            "{\"name\": \"get_weather\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}}}",
            29,
        ),
        (
            "Heute ist schönes Wetter, und wir gehen im Park spazieren. Maschinelles Lernen wird in vielen Bereichen angewendet.",
            24,
        ),
        ("人工智能正在改变我们的生活方式。今天的天气很好，我们去公园散步吧。", 20),
        ("東京は日本の首都です。明日の会議は午後三時から始まります。", 21),
        ("On 2026-11-20 the price was 1234567.89 USD, up 12.5 % from 1097393.", 31),
        (
            "import asyncio\n\nasync def fetch(url: str) -> bytes:\n    async with session.get(url) as response:\n        return await response.read()\n",
            29,
        ),
    ];

    #[test]
    fn samples_are_within_a_fifth() {
        for (text, count) in SAMPLES {
            let estimate = text_weight(Text::from_plain(text).escaped()).div_ceil(TOKEN);
            assert!(estimate.abs_diff(*count) * 100 <= count * 20, "{estimate} for {count}: {text}");
        }
    }

    #[test]
    fn escapes_count_as_what_they_stand_for() {
        assert_eq!(text_weight(r"a\nb"), text_weight("a\nb"));
        assert_eq!(text_weight(r#"\"\\"#), text_weight("##"));
        assert_eq!(text_weight(r"\u0041\u0042"), text_weight("AB"));
        for odd in [r"\", r"\u", r"\u12", r"\ud83d", r"\u12é4"] {
            assert!(text_weight(odd) <= 10 * TOKEN, "{odd}");
        }
    }

    #[test]
    fn everything_that_is_sent_weighs_something() {
        let text = |text| Part::from(Content::Text { text: Text::from_plain(text), citations: Vec::new() });
        let image = |detail| {
            Part::from(Content::Media(Media {
                kind: MediaKind::Image,
                source: Source::Url(Text::from_plain("https://example.org/a.png")),
                detail,
            }))
        };
        let mut request = Request::default();
        assert_eq!(input_tokens(&request), 0);
        request.system.push(text("You are a helpful assistant."));
        let system = input_tokens(&request);
        assert!((6..=12).contains(&system), "{system}");
        let turn = |part| crate::dialect::ir::Turn {
            role: crate::dialect::ir::Role::User,
            name: None,
            parts: vec![part],
        };
        request.turns.push(turn(image(None)));
        assert_eq!(input_tokens(&request), system + 1_004);
        request.turns.push(turn(image(Some(Text::from_plain("low")))));
        assert_eq!(input_tokens(&request), system + 1_004 + 89);
    }
}
