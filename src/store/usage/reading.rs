//! A record's line as numbers and ids: what sums, windows and reports need of it.
//!
//! Reads our own records, and those of the upstream program that [`convert`](super::convert) has made lines of. Numbers
//! are read as floating point because other programs write them so: token counts are exact up to 2⁵³, amounts up to
//! 9,000 USD a record.

use serde::Deserialize;

use crate::budget::money::Picodollars;
use crate::store::journal::Facts;
use crate::telemetry::labels::{CallType, Endpoint, Outcome};
use crate::telemetry::text::parse_timestamp_ms;

/// In place of an index of a word: the record has none of ours.
pub const NO_WORD: u8 = u8::MAX;

/// Whose call it was; a part that the record does not name is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordIds<'a> {
    /// Id of the project.
    pub project: &'a str,
    /// Id of the project token.
    pub token: &'a str,
    /// Id of the project that the token belongs to, where that is another one.
    pub token_project: &'a str,
    /// Id of the model.
    pub model: &'a str,
    /// Name of the provider.
    pub provider: &'a str,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// Its numbers; the indexes are [`Facts::NONE`]. Times are 0 where the record has no readable timestamp, words
    /// [`NO_WORD`] where it has none of ours.
    pub facts: Facts,
    /// Its ids.
    pub ids: RecordIds<'a>,
    /// The record's id.
    pub id: &'a str,
    /// Id of the request's trace.
    pub trace: &'a str,
}

/// Reads lines; keeps the parser's memory.
#[derive(Default)]
pub struct LineReader {
    buffers: simd_json::Buffers,
}

impl LineReader {
    /// Reads one line, without its line feed, in place: it is spoilt afterwards. `None` for what is no record.
    pub fn read<'a>(&mut self, line: &'a mut [u8]) -> Option<Reading<'a>> {
        let fields: Fields<'a> = simd_json::serde::from_slice_with_buffers(line, &mut self.buffers).ok()?;
        Some(fields.into())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow, default)]
    id: Option<&'a str>,
    #[serde(borrow, default)]
    timestamp: Option<&'a str>,
    #[serde(borrow, default)]
    trace_id: Option<&'a str>,
    #[serde(borrow, default)]
    project_id: Option<&'a str>,
    #[serde(borrow, default)]
    token_id: Option<&'a str>,
    #[serde(borrow, default)]
    token_project_id: Option<&'a str>,
    #[serde(borrow, default)]
    model_id: Option<&'a str>,
    #[serde(borrow, default)]
    provider: Option<&'a str>,
    #[serde(borrow, default)]
    endpoint: Option<&'a str>,
    #[serde(borrow, default)]
    call_type: Option<&'a str>,
    #[serde(borrow, default)]
    outcome: Option<&'a str>,
    #[serde(default)]
    http_status: Option<f64>,
    #[serde(default)]
    attempt: Option<f64>,
    #[serde(default)]
    input_tokens: Option<f64>,
    #[serde(default)]
    output_tokens: Option<f64>,
    #[serde(default)]
    cached_input_tokens: Option<f64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<f64>,
    #[serde(default)]
    cost: Option<f64>,
    #[serde(default)]
    latency_ms: Option<f64>,
    #[serde(default)]
    ttft_ms: Option<f64>,
    #[serde(default)]
    admitted_at: Option<f64>,
}

impl<'a> From<Fields<'a>> for Reading<'a> {
    fn from(fields: Fields<'a>) -> Self {
        // A cast from floating point saturates, and takes what is negative or no number for 0.
        let whole = |number: Option<f64>| number.unwrap_or(0.0).round() as u64;
        let finished_ms = fields.timestamp.and_then(parse_timestamp_ms).unwrap_or(0);
        let latency_ms = whole(fields.latency_ms);
        let admitted_ms = match fields.admitted_at {
            Some(_) => whole(fields.admitted_at),
            None => finished_ms.saturating_sub(latency_ms),
        };
        let facts = Facts {
            generation: 0,
            project: Facts::NONE,
            owner: Facts::NONE,
            token: Facts::NONE,
            model: Facts::NONE,
            admitted_ms,
            finished_ms,
            latency_ms: latency_ms.min(u64::from(u32::MAX)) as u32,
            ttft_ms: match fields.ttft_ms {
                Some(_) => whole(fields.ttft_ms).min(u64::from(u32::MAX - 1)) as u32,
                None => Facts::NO_TTFT,
            },
            // Not in the line: nobody but the process that wrote it wants to know.
            began_ms: 0,
            status: whole(fields.http_status).min(u64::from(u16::MAX)) as u16,
            outcome: word(fields.outcome, Outcome::ALL.iter().map(|word| word.as_str())),
            call_type: word(fields.call_type, CallType::ALL.iter().map(|word| word.as_str())),
            endpoint: word(fields.endpoint, Endpoint::ALL.iter().map(|word| word.as_str())),
            attempt: whole(fields.attempt).min(u64::from(u16::MAX)) as u16,
            input: whole(fields.input_tokens),
            output: whole(fields.output_tokens),
            cached: whole(fields.cached_input_tokens),
            cache_write: whole(fields.cache_creation_input_tokens),
            cost: Picodollars(whole(fields.cost.map(|usd| usd * 1e12))),
        };
        let text = |text: Option<&'a str>| text.unwrap_or_default();
        let ids = RecordIds {
            project: text(fields.project_id),
            token: text(fields.token_id),
            token_project: text(fields.token_project_id),
            model: text(fields.model_id),
            provider: text(fields.provider),
        };
        Self { facts, ids, id: text(fields.id), trace: text(fields.trace_id) }
    }
}

/// The place of `text` among the words of a closed set.
fn word<'w>(text: Option<&str>, mut words: impl Iterator<Item = &'w str>) -> u8 {
    text.and_then(|text| words.position(|word| word == text)).map_or(NO_WORD, |index| index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::usage::record;

    #[test]
    fn our_own_record_comes_back_as_its_facts() {
        let mut line = vec![];
        let record = record::tests::record(1, 1_767_225_600_123);
        record.write_json(&mut line);
        let mut reader = LineReader::default();
        let reading = reader.read(&mut line).unwrap();
        let expected = Facts {
            generation: 0,
            project: Facts::NONE,
            owner: Facts::NONE,
            token: Facts::NONE,
            model: Facts::NONE,
            admitted_ms: 1_767_225_600_123 - 2_345,
            finished_ms: 1_767_225_600_123,
            latency_ms: 2_345,
            ttft_ms: 432,
            began_ms: 0,
            status: 200,
            outcome: Outcome::Success.index() as u8,
            call_type: CallType::Completion.index() as u8,
            endpoint: Endpoint::Chat.index() as u8,
            attempt: 1,
            input: 1_200,
            output: 340,
            cached: 1_000,
            cache_write: 50,
            cost: Picodollars(755_000_000),
        };
        assert_eq!(reading.facts, expected);
        let ids = RecordIds {
            project: "project-1",
            token: "token-1",
            token_project: "",
            model: "openai/gpt-5-mini",
            provider: "openai",
        };
        assert_eq!(reading.ids, ids);

        let mut line = vec![];
        let (admitted_ms, token_project_id) = (Some(1_767_222_000_000), Some("project-2"));
        record::UsageRecord { admitted_ms, token_project_id, ..record }.write_json(&mut line);
        let reading = reader.read(&mut line).unwrap();
        assert_eq!(reading.facts.admitted_ms, 1_767_222_000_000);
        assert_eq!(reading.ids.token_project, "project-2");
    }

    #[test]
    fn other_records_are_read_as_far_as_they_go() {
        let mut reader = LineReader::default();
        let mut read = |text: &str| {
            let mut line = text.as_bytes().to_vec();
            reader.read(&mut line).map(|reading| (reading.facts, reading.ids.model.to_owned()))
        };
        let (facts, model) =
            read(r#"{"modelId":"a\"b","inputTokens":5.0,"cost":null,"outcome":"odd","ttftMs":-3}"#).unwrap();
        assert_eq!((facts.input, facts.cost.0, facts.outcome, facts.finished_ms), (5, 0, NO_WORD, 0));
        assert_eq!((facts.ttft_ms, model.as_str()), (0, "a\"b"));
        assert!(read("{}").is_some());
        for line in ["", "not a record", "[1]", r#"{"modelId":7}"#, r#"{"id":"x""#] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
