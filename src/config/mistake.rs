//! What is wrong with a configuration, and where.
//!
//! Owns the two kinds of finding, the path of a value inside a JSON document, and the collector that gathers all
//! findings of one file before any of them is reported. Places are resolved to line and column last
//! ([`super::position`]), so that a home without mistakes pays nothing for them.

use std::cell::RefCell;
use std::fmt;

use serde_json::Value;

use super::position;

/// Most findings of one kind that are kept per file; a generated file with one systematic mistake has thousands.
const FINDINGS_MAX: usize = 1_000;

/// Something that keeps a configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// File as it should be shown, such as `config/models.json`.
    pub file: String,
    /// Line, counted from 1; 0 when the mistake is about the file as a whole.
    pub line: usize,
    /// Column in characters, counted from 1; 0 as for `line`.
    pub column: usize,
    /// Path inside the document, such as `[3].cost.inputPerMillion`; empty for the document itself.
    pub path: String,
    /// What is there. Never a secret.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl Mistake {
    /// A mistake about a file as a whole.
    pub fn of_file(file: &str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (found, expected) = (found.into(), expected.into());
        Self { file: file.to_owned(), line: 0, column: 0, path: String::new(), found, expected }
    }

    /// A mistake of syntax, at the place that the JSON reader names.
    pub fn of_syntax(file: &str, text: &str, error: &serde_json::Error) -> Self {
        let (line, column) = position::of_syntax_error(text, error.line(), error.column());
        let mut found = error.to_string();
        if let Some(at) = found.rfind(" at line ") {
            found.truncate(at);
        }
        let expected = "valid JSON".to_owned();
        Self { file: file.to_owned(), line, column, path: String::new(), found, expected }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, self.column, &self.path)?;
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

impl std::error::Error for Mistake {}

/// Something that works but is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// File as it should be shown.
    pub file: String,
    /// Line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// Column in characters, counted from 1; 0 as for `line`.
    pub column: usize,
    /// Path inside the document.
    pub path: String,
    /// One sentence. Never a secret.
    pub message: String,
}

impl Warning {
    /// A warning about a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, path: String::new(), message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, self.column, &self.path)?;
        f.write_str(&self.message)
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: usize,
    column: usize,
    path: &str,
) -> fmt::Result {
    f.write_str(file)?;
    if line > 0 {
        write!(f, ":{line}:{column}")?;
    }
    f.write_str(": ")?;
    if path.is_empty() { Ok(()) } else { write!(f, "{path}: ") }
}

/// One step from a value to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Member of an object.
    Key(String),
    /// Element of an array, from 0.
    Index(usize),
}

/// The way from the document to a value, as a list on the stack: nothing is allocated until something is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The document.
    Root,
    /// Member of an object.
    Key(&'p Path<'p>, &'p str),
    /// Element of an array.
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut path = self;
        loop {
            match path {
                Path::Root => break,
                Path::Key(parent, key) => {
                    steps.push(Step::Key((*key).to_owned()));
                    path = parent;
                }
                Path::Index(parent, index) => {
                    steps.push(Step::Index(*index));
                    path = parent;
                }
            }
        }
        steps.reverse();
        steps
    }
}

/// A path as people read it: `[3].cost.inputPerMillion`, odd keys in brackets.
pub(crate) fn render(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Key(key) if is_plain(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Key(key) => out.push_str(&format!("[{}]", quote(key))),
        }
    }
    out
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Text in JSON quotes, shortened to what fits a line.
pub(crate) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(48).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Value::from(short).to_string()
}

/// A value as it is named in a finding. Not to be used for secrets: see [`kind`].
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
    }
}

/// The kind of a value, without its content.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Which part of an object's member a finding points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// The value.
    Value,
    /// The name, for members that should not be there.
    Key,
}

struct Finding {
    steps: Vec<Step>,
    at: At,
    found: String,
    expected: Option<String>,
}

/// Gathers the findings of one file.
pub(crate) struct Sink<'t> {
    file: &'t str,
    text: &'t str,
    findings: RefCell<Vec<Finding>>,
    dropped: RefCell<usize>,
}

impl<'t> Sink<'t> {
    /// `file` is the name to show, `text` what was read from it (empty when it does not exist).
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, findings: RefCell::default(), dropped: RefCell::default() }
    }

    pub(crate) fn mistake(&self, path: &Path<'_>, found: impl Into<String>, expected: impl Into<String>) {
        self.push(path, At::Value, found.into(), Some(expected.into()));
    }

    pub(crate) fn warn(&self, path: &Path<'_>, message: impl Into<String>) {
        self.push(path, At::Value, message.into(), None);
    }

    pub(crate) fn warn_key(&self, path: &Path<'_>, message: impl Into<String>) {
        self.push(path, At::Key, message.into(), None);
    }

    fn push(&self, path: &Path<'_>, at: At, found: String, expected: Option<String>) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() >= FINDINGS_MAX {
            *self.dropped.borrow_mut() += 1;
            return;
        }
        findings.push(Finding { steps: path.steps(), at, found, expected });
    }

    /// Resolves the places and hands out what was found, in the order of the file.
    pub(crate) fn finish(self, mistakes: &mut Vec<Mistake>, warnings: &mut Vec<Warning>) {
        let findings = self.findings.into_inner();
        let duplicates = position::duplicate_keys(self.text);
        if findings.is_empty() && duplicates.is_empty() {
            return;
        }
        let wanted: Vec<(&[Step], At)> =
            findings.iter().map(|found| (found.steps.as_slice(), found.at)).collect();
        let places = position::locate(self.text, &wanted);
        let mut placed: Vec<_> = findings.into_iter().zip(places).collect();
        placed.sort_by_key(|(_, place)| *place);
        let file = || self.file.to_owned();
        for (steps, (line, column)) in duplicates {
            let expected = "each key once".to_owned();
            let found = "the same key a second time in one object".to_owned();
            mistakes.push(Mistake { file: file(), line, column, path: render(&steps), found, expected });
        }
        for (Finding { steps, found, expected, .. }, (line, column)) in placed {
            let path = render(&steps);
            match expected {
                Some(expected) => {
                    mistakes.push(Mistake { file: file(), line, column, path, found, expected })
                }
                None => warnings.push(Warning { file: file(), line, column, path, message: found }),
            }
        }
        let dropped = self.dropped.into_inner();
        if dropped > 0 {
            warnings.push(Warning::of_file(self.file, format!("{dropped} more findings are not shown")));
        }
    }
}
