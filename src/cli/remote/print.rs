//! What commands print: tables for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::failure::Failure;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// JSON in place of tables and sentences.
    pub json: bool,
    /// Bold heads.
    pub color: bool,
}

impl Output {
    /// Colour only where a person looks at it and has not forbidden it.
    pub(super) fn new(json: bool, no_color: bool) -> Self {
        Self { json, color: !no_color && io::stdout().is_terminal() }
    }

    /// Prints a value, or what people read in its place.
    pub(super) fn show(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let mut json = serde_json::to_string_pretty(value).unwrap_or_default();
            json.push('\n');
            return print(&json);
        }
        print(&text())
    }

    /// A table with these heads; an empty one says so.
    pub(super) fn table<const N: usize>(self, heads: [&str; N], rows: &[[String; N]]) -> String {
        if rows.is_empty() {
            return "(none)\n".to_owned();
        }
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| std::array::from_fn(|column| plain(&row[column]))).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |cells: &[&str; N]| {
            let mut out = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                // Writing into a string does not fail.
                let _ = write!(out, "{cell:<width$}  ");
            }
            out.trim_end().to_owned()
        };
        let head = line(&heads);
        let mut out = if self.color { format!("\u{1b}[1m{head}\u{1b}[0m\n") } else { format!("{head}\n") };
        for row in &rows {
            out.push_str(&line(&std::array::from_fn(|column| row[column].as_str())));
            out.push('\n');
        }
        out
    }
}

/// Names and values under each other.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {}\n", plain(value))).collect()
}

/// Without what a terminal would take for commands: much of what is shown was written by others.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// A value as people read it.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// Prints to standard output. Who reads a pipe may have seen enough.
pub(in crate::cli) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something beside the answer.
#[expect(clippy::print_stderr, reason = "the command line's own voice")]
pub(super) fn note(text: &str) {
    eprintln!("{}", plain(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_cannot_move_the_cursor() {
        let output = Output { json: false, color: false };
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd\u{1b}[2J".to_owned(), String::new()]];
        assert_eq!(output.table(["ID", "N"], &rows), "ID       N\na        1\nbcd?[2J\n");
        assert_eq!(output.table::<1>(["ID"], &[]), "(none)\n");
        let bold = Output { color: true, ..output }.table(["ID"], &[["x".to_owned()]]);
        assert_eq!(bold, "\u{1b}[1mID\u{1b}[0m\nx\n");
        assert_eq!(pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]), "a     1\nlong  2\n");
    }
}
