//! Usage objects of the OpenAI family, evened out into [`Usage`].
//!
//! Chat Completions and Responses differ in the names of the same numbers, and compatible servers add spellings of
//! their own, so one reader serves both. The other dialects have readers of their own.

use super::Usage;
use super::shape::Learning;
use crate::json::scan;
use crate::json::token::Value;

/// The numbers of one usage object as it stands.
#[derive(Debug, Default)]
pub(super) struct Reported {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
}

/// Reads a usage object of the OpenAI family; `None` if it has no counts.
///
/// What compatible servers do differently, each seen in recorded traffic:
/// - xAI leaves reasoning out of `completion_tokens`, and Google's OpenAI surface leaves it out without naming it:
///   both show as a `total_tokens` that is more than prompt and completion.
/// - DeepSeek reports cache hits as `prompt_cache_hit_tokens`, Together and Hugging Face as `cached_tokens`, Mistral
///   as `num_cached_tokens`, all beside the other counts.
/// - Details may be `null`, missing, or claim more than the whole (Grok on Azure: 158 cached tokens of 78; Gemini on
///   OpenRouter: the same tokens read from and written to the cache): the whole is believed.
///
/// Source: OpenAI API reference, "CompletionUsage" and "ResponseUsage"; the providers' pages.
pub(super) fn read_openai(raw: &[u8]) -> Option<Usage> {
    let mut reported = Reported::default();
    scan::members(raw, |key, value| {
        const NAMES: [&str; 12] = [
            "prompt_tokens",
            "input_tokens",
            "completion_tokens",
            "output_tokens",
            "total_tokens",
            "prompt_tokens_details",
            "input_tokens_details",
            "completion_tokens_details",
            "output_tokens_details",
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "num_cached_tokens",
        ];
        match key.matches(&NAMES) {
            Some(0 | 1) => set(&mut reported.input, value.as_count()),
            Some(2 | 3) => set(&mut reported.output, value.as_count()),
            Some(4) => set(&mut reported.total, value.as_count()),
            Some(5 | 6) => reported.read_input_details(&value),
            Some(7 | 8) => reported.read_output_details(&value),
            // The details come first where a server sends both.
            Some(_) => reported.cached = reported.cached.or(value.as_count()),
            None => {}
        }
    })
    .ok()?;
    reported.evened_out()
}

/// Reads the usage object of the OpenAI family that `text` begins with, and how long it is.
///
/// In one pass where the object has the plain shape that nearly all have: whole numbers, `null`, plain strings, and
/// objects of those. Anything else is left to the strict reader.
/// `learning` takes in the plain object; of any other it learns nothing.
pub(super) fn read_openai_prefix(text: &[u8], learning: &mut Option<Learning<'_>>) -> Option<(Usage, usize)> {
    let plain = read_plain(text, |at, length, slot| {
        if let Some(learning) = learning {
            learning.number(text, at, length, slot);
        }
    });
    if let Some((reported, length)) = plain {
        return Some((reported.evened_out()?, length));
    }
    if let Some(learning) = learning.take() {
        learning.finish(None);
    }
    let mut scanner = scan::Scanner::new(text);
    let value = scanner.value().ok()?;
    Some((read_openai(value.raw)?, scanner.at()))
}

/// Where in a usage object a member stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Top,
    InputDetails,
    OutputDetails,
    Other,
}

fn read_plain(text: &[u8], mut on_number: impl FnMut(usize, usize, Slot)) -> Option<(Reported, usize)> {
    let mut reported = Reported::default();
    let (mut part, mut depth, mut at) = (Part::Top, 1, 1);
    if text.first() != Some(&b'{') {
        return None;
    }
    loop {
        match *text.get(at)? {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            b'}' => {
                at += 1;
                depth -= 1;
                match depth {
                    0 => return Some((reported, at)),
                    1 => part = Part::Top,
                    _ => {}
                }
            }
            b'"' => {
                let name = plain_string(&text[at + 1..])?;
                at = skip(text, at + name.len() + 2);
                if text.get(at) != Some(&b':') {
                    return None;
                }
                at = skip(text, at + 1);
                match *text.get(at)? {
                    b'0'..=b'9' => {
                        let (number, length) = plain_number(&text[at..])?;
                        let slot = Slot::of(part, name);
                        on_number(at, length, slot);
                        at += length;
                        reported.count(slot, number);
                    }
                    b'{' => {
                        part = if depth == 1 { Part::of(name) } else { Part::Other };
                        depth += 1;
                        at += 1;
                    }
                    b'n' => at += text[at..].starts_with(b"null").then_some(4)?,
                    b'"' => at += plain_string(&text[at + 1..])?.len() + 2,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

fn skip(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The bytes before the next quote, if no backslash stands among them.
fn plain_string(text: &[u8]) -> Option<&[u8]> {
    let end = scan::plain_end(text, 0);
    (text.get(end) == Some(&b'"')).then(|| &text[..end])
}

/// A whole number without fraction or exponent, and how many digits it has.
pub(super) fn plain_number(text: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0u64;
    let mut length = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(length) {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        length += 1;
    }
    (!matches!(text.get(length), Some(b'.' | b'e' | b'E'))).then_some((number, length))
}

impl Part {
    fn of(name: &[u8]) -> Self {
        match name {
            b"prompt_tokens_details" | b"input_tokens_details" => Self::InputDetails,
            b"completion_tokens_details" | b"output_tokens_details" => Self::OutputDetails,
            _ => Self::Other,
        }
    }
}

/// What a number of a usage object counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Input,
    Output,
    Total,
    /// Input from the cache, in the details of the input.
    Cached,
    /// The same beside the other counts.
    CachedBesides,
    CacheWrite,
    Reasoning,
    Other,
}

impl Slot {
    fn of(part: Part, name: &[u8]) -> Self {
        match (part, name) {
            (Part::Top, b"prompt_tokens" | b"input_tokens") => Self::Input,
            (Part::Top, b"completion_tokens" | b"output_tokens") => Self::Output,
            (Part::Top, b"total_tokens") => Self::Total,
            (Part::Top, b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens") => {
                Self::CachedBesides
            }
            (Part::InputDetails, b"cached_tokens") => Self::Cached,
            (Part::InputDetails, b"cache_write_tokens") => Self::CacheWrite,
            (Part::OutputDetails, b"reasoning_tokens") => Self::Reasoning,
            _ => Self::Other,
        }
    }
}

fn set(slot: &mut Option<u64>, value: Option<u64>) {
    if value.is_some() {
        *slot = value;
    }
}

impl Reported {
    #[inline]
    pub(super) fn count(&mut self, slot: Slot, number: u64) {
        let place = match slot {
            Slot::Input => &mut self.input,
            Slot::Output => &mut self.output,
            Slot::Total => &mut self.total,
            // The details come first where a server sends both.
            Slot::CachedBesides => return self.cached = self.cached.or(Some(number)),
            Slot::Cached => &mut self.cached,
            Slot::CacheWrite => &mut self.cache_write,
            Slot::Reasoning => &mut self.reasoning,
            Slot::Other => return,
        };
        *place = Some(number);
    }

    fn read_input_details(&mut self, details: &Value<'_>) {
        // `null` and other types are no details.
        let _ = scan::members(details.raw, |key, value| {
            match key.matches(&["cached_tokens", "cache_write_tokens"]) {
                Some(0) => set(&mut self.cached, value.as_count()),
                Some(_) => set(&mut self.cache_write, value.as_count()),
                None => {}
            }
        });
    }

    fn read_output_details(&mut self, details: &Value<'_>) {
        if let Some(value) = scan::member(details.raw, "reasoning_tokens") {
            set(&mut self.reasoning, value.as_count());
        }
    }

    pub(super) fn evened_out(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() && self.total.is_none() {
            return None;
        }
        let mut usage = Usage {
            input: self.input.unwrap_or(0),
            output: self.output.unwrap_or(0),
            cached_input: self.cached.unwrap_or(0),
            cache_write: self.cache_write.unwrap_or(0),
            reasoning: self.reasoning.unwrap_or(0),
        };
        let counted = usage.input.saturating_add(usage.output);
        let uncounted = self.total.unwrap_or(0).saturating_sub(counted);
        if self.input.is_none() && self.total.is_some() {
            usage.input = uncounted;
        } else if uncounted > 0 {
            usage.output = usage.output.saturating_add(uncounted);
            usage.reasoning = usage.reasoning.max(uncounted);
        }
        Some(usage.bounded())
    }
}

impl Usage {
    /// The same counts with no part greater than its whole.
    pub(super) fn bounded(mut self) -> Self {
        self.cached_input = self.cached_input.min(self.input);
        self.cache_write = self.cache_write.min(self.input - self.cached_input);
        self.reasoning = self.reasoning.min(self.output);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::UsageShape;
    use crate::dialect::whole::openai_usage;

    fn usage(input: u64, output: u64, cached_input: u64, cache_write: u64, reasoning: u64) -> Option<Usage> {
        Some(Usage { input, output, cached_input, cache_write, reasoning })
    }

    #[test]
    fn usage_objects_of_the_openai_family_are_evened_out() {
        let cases = [
            (
                "OpenAI chat",
                r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
                    "prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0},
                    "completion_tokens_details":{"reasoning_tokens":12,"audio_tokens":0}}"#,
                usage(100, 20, 64, 0, 12),
            ),
            (
                "OpenAI responses",
                r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":10,"cache_write_tokens":30},
                    "output_tokens":20,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":120}"#,
                usage(100, 20, 10, 30, 12),
            ),
            (
                "xAI: reasoning outside of completion",
                r#"{"prompt_tokens":307,"completion_tokens":26,"total_tokens":560,
                    "completion_tokens_details":{"reasoning_tokens":227}}"#,
                usage(307, 253, 0, 0, 227),
            ),
            (
                "Google: reasoning only in the total",
                r#"{"prompt_tokens":66,"completion_tokens":6,"total_tokens":100}"#,
                usage(66, 34, 0, 0, 28),
            ),
            (
                "DeepSeek: cache hits of their own",
                r#"{"prompt_tokens":343,"completion_tokens":5,"total_tokens":348,
                    "prompt_cache_hit_tokens":256,"prompt_cache_miss_tokens":87}"#,
                usage(343, 5, 256, 0, 0),
            ),
            (
                "Mistral",
                r#"{"prompt_tokens":40,"completion_tokens":5,"num_cached_tokens":32}"#,
                usage(40, 5, 32, 0, 0),
            ),
            (
                "Together",
                r#"{"prompt_tokens":40,"completion_tokens":5,"total_tokens":45,"cached_tokens":8}"#,
                usage(40, 5, 8, 0, 0),
            ),
            (
                "details win",
                r#"{"cached_tokens":8,"prompt_tokens":40,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":9}}"#,
                usage(40, 5, 9, 0, 0),
            ),
            (
                "null details",
                r#"{"prompt_tokens":4,"completion_tokens":5,"completion_tokens_details":null,"prompt_tokens_details":null}"#,
                usage(4, 5, 0, 0, 0),
            ),
            (
                "more reasoning than output",
                r#"{"prompt_tokens":43,"completion_tokens":10,"total_tokens":53,
                    "completion_tokens_details":{"reasoning_tokens":11}}"#,
                usage(43, 10, 0, 0, 10),
            ),
            ("floats", r#"{"prompt_tokens":4.0,"completion_tokens":5e0}"#, usage(4, 5, 0, 0, 0)),
            ("embeddings", r#"{"prompt_tokens":8,"total_tokens":8}"#, usage(8, 0, 0, 0, 0)),
            ("only a total", r#"{"total_tokens":8}"#, usage(8, 0, 0, 0, 0)),
            ("null counts", r#"{"prompt_tokens":null,"completion_tokens":null}"#, None),
            ("no counts", r#"{"type":"duration","seconds":3}"#, None),
            ("no object", "12", None),
            ("cut off", r#"{"prompt_tokens":4"#, None),
            (
                "absurd numbers",
                r#"{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615,"total_tokens":1}"#,
                usage(u64::MAX, u64::MAX, 0, 0, 0),
            ),
        ];
        for (name, raw, expected) in cases {
            assert_eq!(read_openai(raw.as_bytes()), expected, "{name}");
            let whole = format!("{raw} , \"next\": 1");
            let prefix = read_openai_prefix(whole.as_bytes(), &mut None);
            assert_eq!(prefix, expected.map(|usage| (usage, raw.len())), "{name}, with more behind it");
        }
    }

    proptest::proptest! {
        /// The one-pass reader gives what the strict one gives, or leaves the object to it.
        #[test]
        fn both_readers_agree(
            members in proptest::collection::vec((0usize..12, 0usize..9, 0u64..2000), 0..8),
            cut in 0usize..200,
        ) {
            const NAMES: [&str; 12] = [
                "prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens",
                "prompt_tokens_details", "output_tokens_details", "prompt_cache_hit_tokens", "cached_tokens",
                "cost", "service_tier", "a\\u0062",
            ];
            let texts: Vec<String> = members
                .iter()
                .map(|(name, kind, number)| {
                    let value = match kind {
                        0 => "null".to_owned(),
                        1 => format!("{{\"cached_tokens\": {number}, \"reasoning_tokens\":7,\"x\":{{\"y\":1}}}}"),
                        2 => "\"text\"".to_owned(),
                        3 => format!("{number}.5"),
                        4 => "[1,2]".to_owned(),
                        5 => "true".to_owned(),
                        _ => number.to_string(),
                    };
                    format!("\"{}\" :{value}", NAMES[*name])
                })
                .collect();
            let text = format!("{{{}}}", texts.join(",\n"));
            if let Some((reported, length)) = read_plain(text.as_bytes(), |_, _, _| {}) {
                proptest::prop_assert_eq!(reported.evened_out(), read_openai(text.as_bytes()));
                proptest::prop_assert_eq!(length, text.len());
            }
            // With other numbers in the same shape, and cut or changed anywhere: what is read without a memory.
            let mut shape = UsageShape::default();
            let body = |text: &str| format!("{{\"choices\":[],\"usage\":{text},\"tier\":null}}");
            let first = body(&text);
            let other = body(&text.replace("1", "20"));
            let mut changed = first.clone().into_bytes();
            let place = cut % changed.len();
            changed[place] = [b'1', b'"', b'}', b'.', b' ', b'-'][cut % 6];
            for body in [first.as_bytes(), other.as_bytes(), &changed, &first.as_bytes()[..place], first.as_bytes()] {
                let plain = openai_usage(body, &mut UsageShape::default());
                proptest::prop_assert_eq!(openai_usage(body, &mut shape), plain);
            }
            // Whatever comes in: an answer, not a panic.
            let _ = read_plain(&text.as_bytes()[..cut.min(text.len())], |_, _, _| {});
        }
    }
}
