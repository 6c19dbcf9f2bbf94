//! Sums of usage records per hour and whose calls they were.
//!
//! Pure: records in, rows out. A table covers some records: those of a segment, or of the open file up to a position.
//! Ids are kept once and named by number, so that a row is small and grouping needs no text.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::format::{Damaged, Reader, put_number, put_text};
use crate::store::journal::Facts;
use crate::store::usage::RecordIds;

const HOUR_MS: u64 = 60 * 60 * 1000;
/// In place of an hour: the record does not tell its time.
pub const NO_HOUR: u32 = u32::MAX;

/// Texts by number; number 0 is the empty one.
#[derive(Debug, Clone)]
pub struct Names {
    all: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Default for Names {
    fn default() -> Self {
        Self { all: vec!["".into()], numbers: HashMap::from([("".into(), 0)]) }
    }
}

impl Names {
    /// The number of a text, which is kept.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.all.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// The number of a text, if it is kept.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number; the empty one for a number that none has.
    pub fn text(&self, number: u32) -> &str {
        self.all.get(number as usize).map_or("", |text| text)
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never: the empty text is always there.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// What a row sums up. The order is that of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Hours since the Unix epoch (UTC), by the record's timestamp; [`NO_HOUR`] where it has none.
    pub hour: u32,
    /// Number of the project's id.
    pub project: u32,
    /// Number of the project token's id.
    pub token: u32,
    /// Number of the model's id.
    pub model: u32,
    /// Number of the provider's name.
    pub provider: u32,
    /// Index of the outcome, or [`NO_WORD`](crate::store::usage::NO_WORD).
    pub outcome: u8,
    /// Index of the call type, or [`NO_WORD`](crate::store::usage::NO_WORD).
    pub call_type: u8,
}

impl Key {
    /// The hour of a record.
    pub fn hour_of(facts: &Facts) -> u32 {
        match facts.finished_ms {
            0 => NO_HOUR,
            finished_ms => (finished_ms / HOUR_MS).min(u64::from(NO_HOUR - 1)) as u32,
        }
    }
}

/// Sums over some records. They saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records.
    pub calls: u64,
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Input tokens read from a provider's cache.
    pub cached: u64,
    /// Input tokens written to a provider's cache.
    pub cache_write: u64,
    /// Cost in picodollars.
    pub cost: u64,
    /// Latencies, in milliseconds.
    pub latency_ms: u64,
    /// The longest latency, in milliseconds.
    pub latency_ms_max: u64,
    /// Times to the first byte, in milliseconds.
    pub ttft_ms: u64,
    /// Records that have one.
    pub ttft_calls: u64,
}

impl Sums {
    /// One record.
    pub fn of(facts: &Facts) -> Self {
        let ttft = Some(u64::from(facts.ttft_ms)).filter(|_| facts.ttft_ms != Facts::NO_TTFT);
        let latency_ms = u64::from(facts.latency_ms);
        Self {
            calls: 1,
            input: facts.input,
            output: facts.output,
            cached: facts.cached,
            cache_write: facts.cache_write,
            cost: facts.cost.0,
            latency_ms,
            latency_ms_max: latency_ms,
            ttft_ms: ttft.unwrap_or(0),
            ttft_calls: u64::from(ttft.is_some()),
        }
    }

    /// Adds the sums of other records.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        let latency_ms_max = self.latency_ms_max.max(other.latency_ms_max);
        for (sum, more) in self.numbers_mut().into_iter().zip(other.numbers()) {
            *sum = sum.saturating_add(more);
        }
        self.latency_ms_max = latency_ms_max;
    }

    fn numbers(&self) -> [u64; 10] {
        [
            self.calls,
            self.input,
            self.output,
            self.cached,
            self.cache_write,
            self.cost,
            self.latency_ms,
            self.latency_ms_max,
            self.ttft_ms,
            self.ttft_calls,
        ]
    }

    fn numbers_mut(&mut self) -> [&mut u64; 10] {
        [
            &mut self.calls,
            &mut self.input,
            &mut self.output,
            &mut self.cached,
            &mut self.cache_write,
            &mut self.cost,
            &mut self.latency_ms,
            &mut self.latency_ms_max,
            &mut self.ttft_ms,
            &mut self.ttft_calls,
        ]
    }
}

/// Rows, and where in the file the records of each hour lie.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The texts that keys name.
    pub names: Names,
    /// Rows as they were read, in order. Rows of the same key may be in both.
    read: Vec<(Key, Sums)>,
    rows: HashMap<Key, Sums, FixedState>,
    /// Per hour the bytes of the file outside of which no record of it lies.
    spans: BTreeMap<u32, (u64, u64)>,
    /// Lines that are no record.
    pub unreadable: u64,
}

impl Table {
    /// Adds sums under a key of this table's names.
    #[inline]
    pub fn add(&mut self, key: Key, sums: &Sums) {
        self.rows.entry(key).or_default().merge(sums);
    }

    /// The key of a record.
    pub fn key(&mut self, facts: &Facts, ids: &RecordIds<'_>) -> Key {
        Key {
            hour: Key::hour_of(facts),
            project: self.names.number(ids.project),
            token: self.names.number(ids.token),
            model: self.names.number(ids.model),
            provider: self.names.number(ids.provider),
            outcome: facts.outcome,
            call_type: facts.call_type,
        }
    }

    /// Adds one record that lies between two places of the file.
    pub fn add_record(&mut self, facts: &Facts, ids: &RecordIds<'_>, span: (u64, u64)) {
        let key = self.key(facts, ids);
        self.add(key, &Sums::of(facts));
        self.extend_span(key.hour, span);
    }

    /// Records of `hour` lie between two places of the file.
    pub fn extend_span(&mut self, hour: u32, (start, end): (u64, u64)) {
        let span = self.spans.entry(hour).or_insert((start, end));
        *span = (span.0.min(start), span.1.max(end));
    }

    /// Adds another table of the same file.
    pub fn merge(&mut self, other: &Self) {
        let numbers: Vec<u32> = other.names.all.iter().map(|text| self.names.number(text)).collect();
        let number = |number: u32| numbers.get(number as usize).copied().unwrap_or(0);
        for (key, sums) in other.rows() {
            let key = Key {
                project: number(key.project),
                token: number(key.token),
                model: number(key.model),
                provider: number(key.provider),
                ..*key
            };
            self.add(key, sums);
        }
        for (hour, span) in &other.spans {
            self.extend_span(*hour, *span);
        }
        self.unreadable = self.unreadable.saturating_add(other.unreadable);
    }

    /// All rows, in no order. A key may come twice.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Sums)> {
        self.read.iter().map(|(key, sums)| (key, sums)).chain(&self.rows)
    }

    /// All rows in their order, a key once.
    fn sorted(&self) -> Vec<(Key, Sums)> {
        let mut rows: Vec<(Key, Sums)> = self.rows().map(|(key, sums)| (*key, *sums)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1.merge(&next.1);
            }
            is_same
        });
        rows
    }

    /// Hours and the bytes of the file outside of which no record of them lies, in order of the hours.
    pub fn spans(&self) -> impl DoubleEndedIterator<Item = (u32, (u64, u64))> {
        self.spans.iter().map(|(hour, span)| (*hour, *span))
    }

    /// Appends the table, column by column, the rows in order: like stands by like, so numbers are short.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.unreadable);
        put_number(out, self.names.all.len() as u64 - 1);
        for text in &self.names.all[1..] {
            put_text(out, text);
        }
        put_number(out, self.spans.len() as u64);
        for (hour, (start, end)) in &self.spans {
            for number in [u64::from(*hour), *start, end - start] {
                put_number(out, number);
            }
        }
        let rows = self.sorted();
        put_number(out, rows.len() as u64);
        let mut hour = 0;
        for (key, _) in &rows {
            put_number(out, u64::from(key.hour - hour));
            hour = key.hour;
        }
        let ids: [fn(&Key) -> u32; 4] =
            [|key| key.project, |key| key.token, |key| key.model, |key| key.provider];
        for id in ids {
            rows.iter().for_each(|(key, _)| put_number(out, u64::from(id(key))));
        }
        rows.iter().for_each(|(key, _)| out.push(key.outcome));
        rows.iter().for_each(|(key, _)| out.push(key.call_type));
        for column in 0..Sums::default().numbers().len() {
            rows.iter().for_each(|(_, sums)| put_number(out, sums.numbers()[column]));
        }
    }

    /// Reads what [`Table::encode`] wrote.
    ///
    /// # Errors
    /// When it cannot be that.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut table = Self { unreadable: reader.number()?, ..Self::default() };
        for _ in 0..reader.number()? {
            let text = reader.text()?;
            table.names.number(text);
        }
        for _ in 0..reader.number()? {
            let (hour, start) = (reader.number_u32()?, reader.number()?);
            let end = start.checked_add(reader.number()?).ok_or(Damaged)?;
            table.spans.insert(hour, (start, end));
        }
        let count = reader.count()?;
        let mut keys =
            vec![
                Key { hour: 0, project: 0, token: 0, model: 0, provider: 0, outcome: 0, call_type: 0 };
                count
            ];
        let mut hour = 0_u32;
        for key in &mut keys {
            hour = hour.checked_add(reader.number_u32()?).ok_or(Damaged)?;
            key.hour = hour;
        }
        let ids: [fn(&mut Key) -> &mut u32; 4] =
            [|key| &mut key.project, |key| &mut key.token, |key| &mut key.model, |key| &mut key.provider];
        for id in ids {
            for key in &mut keys {
                *id(key) = reader.number_u32()?;
            }
        }
        for (key, word) in keys.iter_mut().zip(reader.bytes(count)?) {
            key.outcome = *word;
        }
        for (key, word) in keys.iter_mut().zip(reader.bytes(count)?) {
            key.call_type = *word;
        }
        table.read = keys.into_iter().map(|key| (key, Sums::default())).collect();
        for column in 0..Sums::default().numbers().len() {
            for (_, sums) in &mut table.read {
                *sums.numbers_mut()[column] = reader.number()?;
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::money::Picodollars;

    fn by_text(table: &Table) -> BTreeMap<(u32, [String; 4], u8, u8), Sums> {
        let text = |number| table.names.text(number).to_owned();
        let mut rows: BTreeMap<_, Sums> = BTreeMap::new();
        for (key, sums) in table.rows() {
            let ids = [key.project, key.token, key.model, key.provider].map(text);
            rows.entry((key.hour, ids, key.outcome, key.call_type)).or_default().merge(sums);
        }
        rows
    }

    fn records() -> impl Strategy<Value = Vec<(Facts, [String; 4])>> {
        let facts = (any::<[u64; 2]>(), 0..50_u64, any::<[u32; 2]>(), 0..6_u8).prop_map(
            |([input, cost], hour, [latency_ms, ttft_ms], outcome)| Facts {
                finished_ms: hour * HOUR_MS,
                input,
                cost: Picodollars(cost),
                latency_ms,
                ttft_ms,
                outcome,
                ..Facts::default()
            },
        );
        prop::collection::vec((facts, prop::array::uniform4("[ab]{0,2}")), 0..60)
    }

    fn table(records: &[(Facts, [String; 4])]) -> Table {
        let mut table = Table::default();
        for (index, (facts, [project, token, model, provider])) in records.iter().enumerate() {
            let place = index as u64 * 10;
            table.add_record(
                facts,
                &RecordIds { project, token, model, provider, ..Default::default() },
                (place, place + 10),
            );
        }
        table
    }

    proptest! {
        #[test]
        fn a_table_comes_back_and_the_parts_make_the_whole(records in records(), at in 0..60_usize) {
            let whole = table(&records);
            let mut bytes = vec![];
            whole.encode(&mut bytes);
            let read = Table::decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(by_text(&read), by_text(&whole));
            prop_assert_eq!(&read.spans, &whole.spans);
            let (first, second) = records.split_at(at.min(records.len()));
            let mut bytes = vec![];
            table(first).encode(&mut bytes);
            let mut parts = Table::decode(&mut Reader::new(&bytes)).unwrap();
            parts.merge(&table(second));
            prop_assert_eq!(by_text(&parts), by_text(&whole));
            let mut bytes = vec![];
            parts.encode(&mut bytes);
            let read = Table::decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(by_text(&read), by_text(&whole));
            prop_assert!(read.read.is_sorted_by(|(a, _), (b, _)| a < b), "each key once");
        }

        #[test]
        fn noise_is_damage_or_a_table_and_no_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Table::decode(&mut Reader::new(&noise));
        }
    }
}
