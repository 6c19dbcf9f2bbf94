//! Reads the usage of an answer off its bytes, for the relay that does not translate; the codecs count with it too.
//!
//! Source: Anthropic API docs, "Messages", "Streaming Messages", "Prompt caching", "Compaction".

use crate::dialect::Usage;
use crate::dialect::sight::{ProviderError, Sight};
use crate::json::scan;
use crate::json::tap::{Action, MemberTap, Target};
use crate::json::text;
use crate::json::token::Value;
use crate::limits::{REPORTED_NAME_BYTES_MAX, TAP_ERROR_BYTES_MAX, TAP_MEMBER_BYTES_MAX};
use crate::sse::Event;

/// Members of a body that is not a stream. A `count_tokens` body has its one count at the top.
pub(in crate::dialect) const BODY: &[Target] = &[
    Target { name: "usage", action: Action::Keep { bytes_max: TAP_MEMBER_BYTES_MAX } },
    Target { name: "model", action: Action::Keep { bytes_max: REPORTED_NAME_BYTES_MAX } },
    Target { name: "error", action: Action::Keep { bytes_max: TAP_ERROR_BYTES_MAX } },
    Target { name: "content", action: Action::Weigh },
];

/// The counts of a message as reported so far. They are running totals: of each the last one wins, and one that a
/// later report leaves out stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::dialect) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    /// What was spent on compaction, which the counts above leave out.
    compaction: Usage,
}

impl Counts {
    /// Takes in one usage object.
    pub(in crate::dialect) fn read(&mut self, raw: &[u8]) {
        const NAMES: [&str; 6] = [
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
            "output_tokens_details",
            "iterations",
        ];
        let set = |slot: &mut Option<u64>, value: &Value<'_>| *slot = value.as_count().or(*slot);
        // What came before a syntax error counts.
        let _ = scan::members(raw, |key, value| match key.matches(&NAMES) {
            Some(0) => set(&mut self.input, &value),
            Some(1) => set(&mut self.cache_read, &value),
            Some(2) => set(&mut self.cache_write, &value),
            Some(3) => set(&mut self.output, &value),
            Some(4) => {
                if let Some(thinking) = scan::member(value.raw, "thinking_tokens") {
                    set(&mut self.thinking, &thinking);
                }
            }
            Some(_) => self.compaction = compaction(&value).unwrap_or(self.compaction),
            None => {}
        });
    }

    /// The counts in the gateway's terms; `None` while none is known.
    pub(in crate::dialect) fn usage(&self) -> Option<Usage> {
        self.input.or(self.output)?;
        let count = |slot: Option<u64>| slot.unwrap_or(0);
        let (cached_input, cache_write) = (count(self.cache_read), count(self.cache_write));
        let message = Usage {
            input: count(self.input).saturating_add(cached_input).saturating_add(cache_write),
            output: count(self.output),
            cached_input,
            cache_write,
            reasoning: count(self.thinking),
        };
        Some(sum(message, self.compaction).bounded())
    }
}

/// Sums up the iterations that were spent on compaction; `None` if `iterations` is no list.
///
/// They are billed like the rest, but the top-level counts are those of the other iterations only.
fn compaction(iterations: &Value<'_>) -> Option<Usage> {
    let mut spent = Usage::default();
    scan::elements(iterations.raw, |iteration| {
        let kind = scan::member(iteration.raw, "type");
        if kind.and_then(|kind| kind.plain_string()) == Some(b"compaction") {
            let mut counts = Counts::default();
            counts.read(iteration.raw);
            spent = sum(spent, counts.usage().unwrap_or_default());
        }
    })
    .ok()?;
    Some(spent)
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input: a.input.saturating_add(b.input),
        output: a.output.saturating_add(b.output),
        cached_input: a.cached_input.saturating_add(b.cached_input),
        cache_write: a.cache_write.saturating_add(b.cache_write),
        reasoning: a.reasoning.saturating_add(b.reasoning),
    }
}

/// Takes in one event of a stream.
pub(in crate::dialect) fn on_event(sight: &mut Sight, event: &Event<'_>) {
    let data = event.data.as_ref();
    let kind = match event.name {
        b"" => scan::member(data, "type").and_then(|value| value.plain_string()).unwrap_or_default(),
        name => name,
    };
    match kind {
        b"content_block_delta" => {
            sight.output_chars += text::named_chars(data, &["text", "thinking", "partial_json"]);
        }
        b"message_start" => {
            let Some(message) = scan::member(data, "message") else { return };
            let _ = scan::members(message.raw, |key, value| match key.matches(&["usage", "model"]) {
                Some(0) => read_usage(sight, value.raw),
                Some(_) => sight.set_model(value.raw),
                None => {}
            });
        }
        b"message_delta" => {
            if let Some(usage) = scan::member(data, "usage") {
                read_usage(sight, usage.raw);
            }
        }
        b"message_stop" => sight.ended = true,
        b"error" => {
            let error = scan::member(data, "error");
            sight.set_error(error.and_then(|error| ProviderError::read(error.raw)));
            sight.failed = true;
        }
        _ => {}
    }
}

pub(in crate::dialect) fn read_usage(sight: &mut Sight, raw: &[u8]) {
    sight.anthropic.read(raw);
    sight.set_usage(sight.anthropic.usage());
}

/// Takes in a body that is not a stream.
pub(in crate::dialect) fn on_body(sight: &mut Sight, body: &MemberTap) {
    if let Some(raw) = body.member("usage") {
        read_usage(sight, raw);
    }
    sight.take_body(body, "model");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(raws: &[&str]) -> Option<Usage> {
        let mut counts = Counts::default();
        raws.iter().for_each(|raw| counts.read(raw.as_bytes()));
        counts.usage()
    }

    #[test]
    fn counts_are_evened_out_and_the_last_of_each_wins() {
        let start = r#"{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1}"#;
        let cases = [
            (
                "start",
                vec![start],
                Some(Usage { input: 22, output: 1, cached_input: 7, cache_write: 5, reasoning: 0 }),
            ),
            (
                "only output in the delta",
                vec![start, r#"{"output_tokens":30}"#],
                Some(Usage { input: 22, output: 30, cached_input: 7, cache_write: 5, reasoning: 0 }),
            ),
            (
                "the delta corrects the input",
                vec![
                    start,
                    r#"{"input_tokens":20,"cache_read_input_tokens":0,"output_tokens":30,
                    "output_tokens_details":{"thinking_tokens":9}}"#,
                ],
                Some(Usage { input: 25, output: 30, cached_input: 0, cache_write: 5, reasoning: 9 }),
            ),
            (
                "null stands for nothing new",
                vec![start, r#"{"input_tokens":null,"output_tokens":2}"#],
                Some(Usage { input: 22, output: 2, cached_input: 7, cache_write: 5, reasoning: 0 }),
            ),
            (
                "compaction is spent on top",
                vec![
                    r#"{"input_tokens":229,"output_tokens":5,"iterations":[
                    {"type":"compaction","input_tokens":100,"cache_creation_input_tokens":55096,"output_tokens":131},
                    {"type":"message","input_tokens":229,"output_tokens":5}]}"#,
                ],
                Some(Usage { input: 55425, output: 136, cached_input: 0, cache_write: 55096, reasoning: 0 }),
            ),
            ("nothing", vec!["{}", "null", "12", "{"], None),
        ];
        for (name, raws, expected) in cases {
            assert_eq!(usage(&raws), expected, "{name}");
        }
    }
}
