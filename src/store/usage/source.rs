//! A journal on its consumer's side: its reader, and how far whoever keeps something was told of its records.

use std::path::PathBuf;

use super::fold::Fold;
use crate::store::journal::{Drained, DrainedRecord, JournalReader};

/// A journal that is read here.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) reader: JournalReader,
    /// How far it was drained when the sync that is under way began.
    pub(super) syncing_to: u64,
    /// From here on the records are of this process.
    pub(super) own_from: u64,
    /// Up to here [`Fold::seen`] was told.
    pub(super) seen_to: u64,
    /// Up to here [`Fold::stored`] was told, or the records were in the usage file before there was a fold.
    pub(super) stored_to: u64,
    /// Set for journals of cores that no longer run: deleted once they are empty.
    pub(super) orphan: Option<PathBuf>,
}

impl Source {
    /// A journal of a core of this process; what is in it already is not.
    pub(super) fn own(reader: JournalReader) -> Self {
        Self { own_from: reader.written(), ..Self::foreign(reader, None) }
    }

    /// A journal of a core of another process.
    pub(super) fn foreign(reader: JournalReader, orphan: Option<PathBuf>) -> Self {
        let drained = reader.drained();
        Self { syncing_to: drained, own_from: u64::MAX, seen_to: drained, stored_to: drained, reader, orphan }
    }

    /// Takes what the journal holds by now; tells `fold` what it has not seen yet.
    pub(super) fn drain(&mut self, taken: &mut Taken, fold: &mut dyn Fold) -> Drained {
        let first = taken.records.len();
        let drained = self.reader.drain(&mut taken.lines, &mut taken.records);
        for record in &taken.records[first..] {
            if record.position >= self.seen_to.max(self.own_from)
                && let Some(facts) = &record.facts
            {
                fold.seen(facts);
            }
        }
        self.seen_to = self.seen_to.max(self.reader.drained());
        drained
    }

    /// Tells `fold` that the record is stored, unless it was told.
    pub(super) fn stored(&self, record: &DrainedRecord, line: &[u8], fold: &mut dyn Fold) {
        if record.position < self.stored_to {
            return;
        }
        match &record.facts {
            Some(facts) if record.position >= self.own_from => fold.stored(facts),
            _ => fold.stored_line(line),
        }
    }
}

/// What was taken from journals.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The records, a line each.
    pub(super) lines: Vec<u8>,
    /// The same, in the same order.
    pub(super) records: Vec<DrainedRecord>,
}

impl Taken {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.records.clear();
    }

    /// Each record with its line, line feed included.
    pub(super) fn each(&self) -> impl Iterator<Item = (&DrainedRecord, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |record| {
            let line = &self.lines[start..start + record.line_bytes];
            start += record.line_bytes;
            (record, line)
        })
    }
}
