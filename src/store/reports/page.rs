//! Pages of records, the newest first.
//!
//! The rows say in which hours there is something to find, the spans where in a file these hours lie, and a search for
//! the ids' bytes which lines are worth a look. The order is that of the files, in which records stand as they ended, but
//! for those that ended within one merge interval on different cores.

use std::collections::BTreeSet;
use std::io;

use memchr::memmem::Finder;

use super::look::Source;
use super::{Covered, Filter, Look};
use crate::store::usage::{LineReader, for_each_line_backwards};
use crate::telemetry::text::push_json_string;

/// Where the next page begins. It stays valid while records are added and files are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// How the file begins that holds the last record of the page before.
    first_line: u64,
    /// Where that record begins.
    offset: u64,
}

impl Cursor {
    /// Its spelling for clients.
    pub fn text(&self) -> String {
        format!("{:x}-{:x}", self.first_line, self.offset)
    }

    /// Reads [`Cursor::text`].
    pub fn parse(text: &str) -> Option<Self> {
        let (first_line, offset) = text.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { first_line: number(first_line)?, offset: number(offset)? })
    }
}

/// Some records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Their lines, without line feeds, the newest first.
    pub records: Vec<Vec<u8>>,
    /// Where the next page begins; none when this is the last one.
    pub next: Option<Cursor>,
}

impl Look {
    /// At most `limit` records that the filter takes, from the newest or the cursor on. Records that wait in journals
    /// are not among them: they are there once the control thread has merged them.
    ///
    /// # Errors
    /// From the file system; [`io::ErrorKind::NotFound`] when the file of the cursor is gone.
    pub fn page(&self, filter: &Filter, cursor: Option<Cursor>, limit: usize) -> io::Result<Page> {
        let mut search = Search::new(filter, limit);
        let mut sources: &[Source] = &self.sources;
        let mut end = u64::MAX;
        if let Some(cursor) = cursor {
            let is_in = |source: &Source| source.first_line.number() == cursor.first_line;
            let at = sources.iter().position(|source| source.file.is_some() && is_in(source));
            let at = at.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the cursor has expired"))?;
            sources = &sources[..=at];
            end = cursor.offset;
        }
        for source in sources.iter().rev() {
            if search.source(source, end)? {
                break;
            }
            end = u64::MAX;
        }
        Ok(search.page)
    }

    /// Like [`Look::page`], from the record on that `skip` newer ones come before. Files that only hold some of these are
    /// passed over by their rows.
    ///
    /// # Errors
    /// From the file system.
    pub fn page_from(&self, filter: &Filter, skip: u64, limit: usize) -> io::Result<Page> {
        let mut search = Search::new(filter, limit);
        search.skip = skip;
        for source in self.sources.iter().rev().filter(|source| source.file.is_some()) {
            if !search.pass_over(source) && search.source(source, u64::MAX)? {
                break;
            }
        }
        Ok(search.page)
    }

    /// Records that no page has yet, the newest last: they wait in journals.
    pub fn waiting(&self, filter: &Filter) -> Vec<Vec<u8>> {
        let mut reader = LineReader::default();
        let lines = self.waiting.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let is_asked =
            |line: &&[u8]| reader.read(&mut line.to_vec()).is_some_and(|reading| filter.takes(&reading));
        lines.filter(is_asked).map(<[u8]>::to_vec).collect()
    }
}

struct Search<'f> {
    filter: &'f Filter,
    limit: usize,
    /// Records that belong to earlier pages.
    skip: u64,
    /// Ids as they stand in a line.
    needles: Vec<Finder<'static>>,
    reader: LineReader,
    line: Vec<u8>,
    page: Page,
    /// Where the last record of the page is.
    last: Option<Cursor>,
}

impl<'f> Search<'f> {
    fn new(filter: &'f Filter, limit: usize) -> Self {
        let ids = [&filter.project, &filter.token, &filter.model, &filter.provider, &filter.id];
        let mut texts: Vec<&str> = ids.into_iter().flatten().map(String::as_str).collect();
        texts.extend(filter.outcome.map(|outcome| outcome.as_str()));
        // The rarest first would be best; the longest is a guess at it.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let needle = |text: &&str| {
            let mut bytes = vec![];
            push_json_string(&mut bytes, text);
            Finder::new(&bytes).into_owned()
        };
        Self {
            filter,
            limit,
            skip: 0,
            // A record without the field has no such text; other programs may spell others with escapes.
            needles: texts.iter().filter(|text| is_plain(text)).map(needle).collect(),
            reader: LineReader::default(),
            line: vec![],
            page: Page::default(),
            last: None,
        }
    }

    /// Passes over a file whose rows say that all of its records belong to earlier pages; true if it did.
    fn pass_over(&mut self, source: &Source) -> bool {
        let Some(rows) = self.filter.on(&source.table).filter(|_| self.skip > 0) else { return false };
        let mut count = 0_u64;
        for (key, sums) in source.table.rows().filter(|(key, _)| rows.takes(key)) {
            match self.filter.covers(key.hour) {
                Covered::All => count = count.saturating_add(sums.calls),
                Covered::None => {}
                Covered::Part => return false,
            }
        }
        let is_before = count <= self.skip;
        if is_before {
            self.skip -= count;
        }
        is_before
    }

    /// Searches one file up to `end`; true when there is enough.
    fn source(&mut self, source: &Source, end: u64) -> io::Result<bool> {
        let Some(file) = &source.file else { return Ok(false) };
        for (from, to) in self.places(source).into_iter().rev() {
            let to = to.min(end).min(source.length);
            if from < to
                && for_each_line_backwards(file, from, to, |start, line| self.line(source, start, line))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The parts of the file where records may be that are asked for, in order and apart from each other.
    fn places(&self, source: &Source) -> Vec<(u64, u64)> {
        let Some(rows) = self.filter.on(&source.table) else { return vec![] };
        let is_wanted = |hour| self.filter.covers(hour) != Covered::None;
        let wanted: BTreeSet<u32> = source
            .table
            .rows()
            .filter(|(key, _)| is_wanted(key.hour) && rows.takes(key))
            .map(|(key, _)| key.hour)
            .collect();
        let spans = source.table.spans().filter(|(hour, _)| wanted.contains(hour));
        let mut spans: Vec<(u64, u64)> = spans.map(|(_, span)| span).collect();
        spans.sort_unstable();
        let mut places: Vec<(u64, u64)> = vec![];
        for (from, to) in spans {
            match places.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => places.push((from, to)),
            }
        }
        places
    }

    /// Takes a line if it is asked for; true when there is enough.
    fn line(&mut self, source: &Source, start: u64, line: &[u8]) -> bool {
        if !self.needles.iter().all(|needle| needle.find(line).is_some()) {
            return false;
        }
        self.line.clear();
        self.line.extend_from_slice(line.trim_ascii());
        let is_taken = self.reader.read(&mut self.line).is_some_and(|reading| self.filter.takes(&reading));
        if !is_taken {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.page.records.len() == self.limit {
            // There is one more, so there is a next page.
            self.page.next = self.last;
            return true;
        }
        self.page.records.push(line.trim_ascii().to_vec());
        self.last = Some(Cursor { first_line: source.first_line.number(), offset: start });
        false
    }
}

/// Whether a text stands in every JSON spelling of it as it is, but for characters spelled by number for no reason.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+@ ".contains(&byte))
}
