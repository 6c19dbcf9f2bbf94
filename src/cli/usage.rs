//! `routerly usage`: what was called, and what it cost; single records.
//!
//! Owns the shapes of the answer. Reads the files of a home directory, no more; works while a gateway runs on it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::budget::counters::Counts;
use crate::budget::money::Picodollars;
use crate::store::reports::{self, Cursor, Filter, Look};
use crate::telemetry::labels::Outcome;
use crate::telemetry::text::{parse_timestamp_ms, push_integer, push_json_string};

/// What records are summed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The model that was called.
    #[default]
    Model,
    /// The project.
    Project,
    /// The project token's id.
    Token,
    /// The day, UTC.
    Day,
    /// The hour, UTC.
    Hour,
    /// The provider.
    Provider,
    /// How the call ended.
    Outcome,
}

impl GroupBy {
    /// The spelling on the command line, and the name of the first column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Project => "project",
            Self::Token => "token",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Provider => "provider",
            Self::Outcome => "outcome",
        }
    }

    fn of_report(self) -> reports::GroupBy {
        match self {
            Self::Model => reports::GroupBy::Model,
            Self::Project => reports::GroupBy::Project,
            Self::Token => reports::GroupBy::Token,
            Self::Day => reports::GroupBy::Day,
            Self::Hour => reports::GroupBy::Hour,
            Self::Provider => reports::GroupBy::Provider,
            Self::Outcome => reports::GroupBy::Outcome,
        }
    }
}

/// The shape of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// Aligned columns for a reader.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageOptions {
    /// What records are summed by.
    pub by: GroupBy,
    /// Which records.
    pub filter: Filter,
    /// The shape of the answer.
    pub format: OutputFormat,
}

/// Which records are to be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordsOptions {
    /// Which records.
    pub filter: Filter,
    /// How many at most.
    pub limit: usize,
    /// Where to go on: what the last call has said.
    pub after: Option<Cursor>,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads `--from`: a date, which means its first moment in UTC, or an RFC 3339 moment.
///
/// # Errors
/// With a sentence for the user.
pub fn parse_from(text: &str) -> Result<u64, String> {
    parse_date(text).or_else(|| parse_timestamp_ms(text)).ok_or_else(|| {
        format!("`{text}` is neither a date like 2026-01-31 nor a time like 2026-01-31T12:00:00Z")
    })
}

/// Reads `--to`: a date, which includes that day, or an RFC 3339 moment, which is not included.
///
/// # Errors
/// With a sentence for the user.
pub fn parse_to(text: &str) -> Result<u64, String> {
    parse_date(text).map_or_else(|| parse_from(text), |start| Ok(start + DAY_MS))
}

fn parse_date(text: &str) -> Option<u64> {
    (text.len() == "YYYY-MM-DD".len()).then(|| parse_timestamp_ms(&format!("{text}T00:00:00.000Z")))?
}

/// Reads `--outcome`.
///
/// # Errors
/// With a sentence for the user.
pub fn parse_outcome(text: &str) -> Result<Outcome, String> {
    Outcome::ALL.iter().copied().find(|outcome| outcome.as_str() == text).ok_or_else(|| {
        let words: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        format!("`{text}` is none of {}", words.join(", "))
    })
}

/// Reads `--after`.
///
/// # Errors
/// With a sentence for the user.
pub fn parse_cursor(text: &str) -> Result<Cursor, String> {
    Cursor::parse(text).ok_or_else(|| format!("`{text}` is not what an earlier call has said"))
}

/// Runs the command on standard output; returns the process's exit code: 0, or 1 when the files cannot be read.
pub fn run(home: &Path, options: &UsageOptions) -> u8 {
    let mut out = io::BufWriter::new(io::stdout().lock());
    exit_code(home, report(home, options, &mut out).and_then(|()| out.flush()))
}

/// Like [`run`], for single records.
pub fn run_records(home: &Path, options: &RecordsOptions) -> u8 {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let next = records(home, options, &mut out).and_then(|next| out.flush().map(|()| next));
    drop(out);
    if let Ok(Some(next)) = &next {
        // Standard output holds records alone.
        let _ = writeln!(io::stderr(), "more: --after {}", next.text());
    }
    exit_code(home, next.map(|_| ()))
}

fn exit_code(home: &Path, result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        // The reader of the pipe has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => {
            // Nowhere is left to complain to when this fails too.
            let _ = writeln!(io::stderr(), "routerly usage: {}: {error}", home.join("data").display());
            1
        }
    }
}

/// Writes the report on the home directory `home` to `out`.
///
/// # Errors
/// From reading the files or from writing to `out`.
pub fn report(home: &Path, options: &UsageOptions, out: &mut dyn Write) -> io::Result<()> {
    let look = Look::take(&home.join("data"))?;
    let report = look.aggregate(options.by.of_report(), &options.filter)?;
    let rows = report.groups.into_iter().map(|group| {
        let key = if group.key.is_empty() { "(none)".to_owned() } else { group.key };
        let counts = Counts {
            calls: group.sums.calls,
            errors: group.errors,
            input_tokens: group.sums.input,
            output_tokens: group.sums.output,
            cached_input_tokens: group.sums.cached,
            cost: Picodollars(group.sums.cost),
        };
        (key, counts)
    });
    let answer = Answer { by: options.by, rows: rows.collect(), unreadable: report.unreadable };
    let text = match options.format {
        OutputFormat::Table => answer.table(),
        OutputFormat::Json => answer.json(),
        OutputFormat::Csv => answer.csv(),
    };
    out.write_all(text.as_bytes())
}

/// Writes records to `out`, a line each, the newest first. Returns where to go on; none when these were the last.
///
/// # Errors
/// From reading the files or from writing to `out`.
pub fn records(home: &Path, options: &RecordsOptions, out: &mut dyn Write) -> io::Result<Option<Cursor>> {
    let look = Look::take(&home.join("data"))?;
    let page = look.page(&options.filter, options.after, options.limit)?;
    for record in &page.records {
        out.write_all(record)?;
        out.write_all(b"\n")?;
    }
    Ok(page.next)
}

struct Answer {
    by: GroupBy,
    rows: Vec<(String, Counts)>,
    /// Lines that are no record.
    unreadable: u64,
}

impl Answer {
    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.rows.iter().for_each(|(_, counts)| total.merge(counts));
        total
    }

    fn table(&self) -> String {
        let head = [self.by.as_str(), "calls", "errors", "input", "output", "cached", "cost USD"];
        let mut lines: Vec<[String; 7]> = vec![head.map(str::to_uppercase)];
        lines.extend(self.rows.iter().map(|(key, counts)| cells(key, counts)));
        lines.push(cells("total", &self.total()));
        let mut widths = [0; 7];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for line in &lines {
            let mut row = String::new();
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                let _ = match column {
                    0 => write!(row, "{cell:<width$}"),
                    _ => write!(row, "  {cell:>width$}"),
                };
            }
            out.push_str(row.trim_end());
            out.push('\n');
        }
        if self.unreadable > 0 {
            let _ = writeln!(out, "not readable as records: {}", self.unreadable);
        }
        out
    }

    fn csv(&self) -> String {
        let mut out = format!(
            "{},calls,errors,inputTokens,outputTokens,cachedInputTokens,costUsd\r\n",
            self.by.as_str()
        );
        for (key, counts) in &self.rows {
            let quoted = key.contains([',', '"', '\r', '\n']);
            let key = if quoted { format!("\"{}\"", key.replace('"', "\"\"")) } else { key.clone() };
            let _ = write!(
                out,
                "{key},{},{},{},{},{},{}\r\n",
                counts.calls,
                counts.errors,
                counts.input_tokens,
                counts.output_tokens,
                counts.cached_input_tokens,
                usd(counts.cost),
            );
        }
        out
    }

    fn json(&self) -> String {
        let mut out = format!("{{\"by\":\"{}\",\"rows\":[", self.by.as_str()).into_bytes();
        for (index, (key, counts)) in self.rows.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
            push_json_string(&mut out, key);
            push_counts(&mut out, counts);
        }
        out.extend_from_slice(b"],\"total\":{\"key\":\"total\"");
        push_counts(&mut out, &self.total());
        out.extend_from_slice(b",\"unreadable\":");
        push_integer(&mut out, self.unreadable);
        out.extend_from_slice(b"}\n");
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// The cells of one line of the table. Ids come from files: what would move the cursor is not printed.
fn cells(key: &str, counts: &Counts) -> [String; 7] {
    [
        key.chars().map(|char| if char.is_control() { '?' } else { char }).collect(),
        counts.calls.to_string(),
        counts.errors.to_string(),
        counts.input_tokens.to_string(),
        counts.output_tokens.to_string(),
        counts.cached_input_tokens.to_string(),
        rounded_usd(counts.cost),
    ]
}

fn push_counts(out: &mut Vec<u8>, counts: &Counts) {
    for (key, number) in [
        (",\"calls\":", counts.calls),
        (",\"errors\":", counts.errors),
        (",\"inputTokens\":", counts.input_tokens),
        (",\"outputTokens\":", counts.output_tokens),
        (",\"cachedInputTokens\":", counts.cached_input_tokens),
    ] {
        out.extend_from_slice(key.as_bytes());
        push_integer(out, number);
    }
    out.extend_from_slice(b",\"cost\":");
    counts.cost.write_usd(out);
    out.push(b'}');
}

/// The exact amount.
fn usd(amount: Picodollars) -> String {
    let mut out = vec![];
    amount.write_usd(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The amount with six decimals, rounded half up: what fits a column.
fn rounded_usd(amount: Picodollars) -> String {
    let micros = amount.0.saturating_add(500_000) / 1_000_000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::limits::JOURNAL_BYTES_MIN;
    use crate::store::journal::{Journal, journal_path};
    use crate::store::usage::{segments_dir, usage_path};

    /// A home with records in a segment, in the open file and in a journal, and a line that is none.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        fs::create_dir_all(segments_dir(&data)).unwrap();
        let old = r#"{"id":"1","timestamp":"2026-01-01T23:59:59.999Z","projectId":"p1","modelId":"a/x","provider":"a","outcome":"success","inputTokens":10,"outputTokens":1,"cost":0.1}"#;
        let new = [
            r#"{"id":"2","timestamp":"2026-01-02T01:00:00+01:00","projectId":"p1","modelId":"b,\"y\"","outcome":"error","inputTokens":5.0,"cost":null}"#,
            "not a record",
            r#"{"id":"3","timestamp":"2026-01-03T00:00:00.000Z","projectId":"p2","tokenId":"t","modelId":"a/x","provider":"a","outcome":"success","inputTokens":100,"outputTokens":20,"cachedInputTokens":50,"cost":0.000000000003}"#,
        ];
        let waiting = r#"{"id":"4","timestamp":"2026-01-03T10:00:00.000Z","projectId":"p2","modelId":"a/x","provider":"a","outcome":"client_closed","inputTokens":1,"outputTokens":1,"cost":0.2}"#;
        fs::write(segments_dir(&data).join("usage-2026-01-01.json"), format!("{old}\n")).unwrap();
        fs::write(usage_path(&data), format!("{}\n", new.join("\n"))).unwrap();
        let (mut writer, _) = Journal::open(&journal_path(&data, 0), JOURNAL_BYTES_MIN).unwrap().0.split();
        writer.append_line(new[2].as_bytes()).unwrap();
        writer.append_line(waiting.as_bytes()).unwrap();
        home
    }

    fn answer(options: &UsageOptions) -> String {
        let mut out = vec![];
        report(home().path(), options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_aligned_and_summed() {
        let expected = r#"
MODEL  CALLS  ERRORS  INPUT  OUTPUT  CACHED  COST USD
a/x        3       1    111      22      50  0.300000
b,"y"      1       1      5       0       0  0.000000
total      4       2    116      22      50  0.300000
not readable as records: 1
"#;
        assert_eq!(answer(&UsageOptions::default()), expected.trim_start());
    }

    #[test]
    fn csv_is_quoted_and_exact() {
        let options = UsageOptions { format: OutputFormat::Csv, ..UsageOptions::default() };
        let expected = "model,calls,errors,inputTokens,outputTokens,cachedInputTokens,costUsd\r\n\
                        a/x,3,1,111,22,50,0.300000000003\r\n\
                        \"b,\"\"y\"\"\",1,1,5,0,0,0\r\n";
        assert_eq!(answer(&options), expected);
    }

    #[test]
    fn records_are_grouped_by_each_field() {
        let cases = [
            (GroupBy::Project, vec![("p2", 2), ("p1", 2)]),
            (GroupBy::Token, vec![("(none)", 3), ("t", 1)]),
            (GroupBy::Day, vec![("2026-01-01", 1), ("2026-01-02", 1), ("2026-01-03", 2)]),
            (
                GroupBy::Hour,
                vec![("2026-01-01T23", 1), ("2026-01-02T00", 1), ("2026-01-03T00", 1), ("2026-01-03T10", 1)],
            ),
            (GroupBy::Provider, vec![("a", 3), ("(none)", 1)]),
            (GroupBy::Outcome, vec![("client_closed", 1), ("success", 2), ("error", 1)]),
        ];
        for (by, expected) in cases {
            let text = answer(&UsageOptions { by, format: OutputFormat::Json, ..UsageOptions::default() });
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let rows: Vec<_> = value["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row["key"].as_str().unwrap(), row["calls"].as_u64().unwrap()))
                .collect();
            assert_eq!(rows, expected, "{by:?}");
            assert_eq!(value["by"], by.as_str());
            assert_eq!(value["total"]["calls"], 4);
            assert_eq!(value["total"]["cost"], 0.300000000003);
            assert_eq!(value["unreadable"], 1);
        }
    }

    #[test]
    fn a_range_includes_its_first_moment_and_the_whole_last_day() {
        let cases = [
            (Some("2026-01-02"), None, 3),
            (None, Some("2026-01-01"), 1),
            (Some("2026-01-02"), Some("2026-01-02"), 1),
            (Some("2026-01-03T00:00:00Z"), Some("2026-01-03T10:00:00Z"), 1),
            (Some("2027-01-01"), None, 0),
        ];
        for (from, to, calls) in cases {
            let options = UsageOptions {
                filter: Filter {
                    from_ms: from.map(|text| parse_from(text).unwrap()),
                    to_ms: to.map(|text| parse_to(text).unwrap()),
                    ..Filter::default()
                },
                format: OutputFormat::Json,
                ..UsageOptions::default()
            };
            let value: serde_json::Value = serde_json::from_str(&answer(&options)).unwrap();
            assert_eq!(value["total"]["calls"], calls, "{from:?} to {to:?}");
        }
        assert!(parse_from("soon").unwrap_err().contains("`soon`"));
        assert!(parse_to("2026-13-01").is_err());
    }

    #[test]
    fn records_come_page_by_page_the_newest_first() {
        let home = home();
        let mut options = RecordsOptions { limit: 1, ..RecordsOptions::default() };
        let mut seen = vec![];
        for _ in 0..3 {
            let mut out = vec![];
            options.after = records(home.path(), &options, &mut out).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            seen.push(value["id"].as_str().unwrap().to_owned());
            if options.after.is_none() {
                break;
            }
        }
        // The fourth waits in a journal.
        assert_eq!((seen, options.after), (vec!["3".into(), "2".into(), "1".into()], None));
        assert_eq!(run_records(home.path(), &options), 0);
        options.after = Some(parse_cursor("1-1").unwrap());
        assert_eq!(run_records(home.path(), &options), 1, "of a file that is not there");
        assert!(parse_cursor("x").is_err() && parse_outcome("bad").unwrap_err().contains("client_closed"));
    }

    #[test]
    fn a_home_without_records_gives_an_empty_table() {
        let home = tempfile::tempdir().unwrap();
        let mut out = vec![];
        report(home.path(), &UsageOptions::default(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
        assert_eq!(
            run(home.path(), &UsageOptions { format: OutputFormat::Csv, ..UsageOptions::default() }),
            0
        );
        fs::write(home.path().join("data"), "no folder").unwrap();
        assert_eq!(run(home.path(), &UsageOptions::default()), 1);
    }
}
