//! Reads typed values out of a JSON object, noting every mistake instead of stopping at the first.
//!
//! serde's derived readers end at the first wrong type, and an operator would then repair a file one start at a
//! time. So the raw form is the parsed document itself, and [`Fields`] is the one way from there to checked values:
//! each reader notes what is wrong, with the default in its place, and goes on.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::mistake::{Path, Sink, describe, kind, quote};

/// One object of a document.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(crate) path: Path<'a>,
    pub(crate) sink: &'a Sink<'a>,
    /// Keys that were asked for; all others are reported as unknown by [`Fields::finish`].
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>, path: Path<'a>, sink: &'a Sink<'a>) -> Self {
        Self { map, path, sink, known: RefCell::default() }
    }

    /// The value of a key; `null` is the same as nothing.
    pub(crate) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Names keys that are valid here but read elsewhere, or by later versions only.
    pub(crate) fn also_known(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    pub(crate) fn mistake(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.sink.mistake(&Path::Key(&self.path, key), found, expected);
    }

    pub(crate) fn warn(&self, key: &str, message: impl Into<String>) {
        self.sink.warn(&Path::Key(&self.path, key), message);
    }

    /// A mistake about the object as a whole.
    pub(crate) fn mistake_here(&self, found: impl Into<String>, expected: impl Into<String>) {
        self.sink.mistake(&self.path, found, expected);
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.mistake(key, describe(other), "a string");
                None
            }
        }
    }

    /// A string whose content must not show up in a finding.
    pub(crate) fn secret(&self, key: &'static str) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.mistake(key, kind(other), "a string");
                None
            }
        }
    }

    /// A string that has to be there and to hold more than white space.
    pub(crate) fn required_string(&self, key: &'static str) -> Option<&'a str> {
        match self.value(key) {
            None => {
                self.mistake(key, "nothing", "a non-empty string");
                None
            }
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text),
            Some(other) => {
                self.mistake(key, describe(other), "a non-empty string");
                None
            }
        }
    }

    pub(crate) fn bool(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                self.mistake(key, describe(other), "true or false");
                None
            }
        }
    }

    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        match whole_number(value) {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                self.mistake(key, describe(value), integer_of(&range));
                None
            }
        }
    }

    /// A number, whole or not.
    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        match value.as_f64() {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                self.mistake(key, describe(value), expected);
                None
            }
        }
    }

    /// Milliseconds.
    pub(crate) fn duration(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        let value = self.value(key)?;
        match whole_number(value) {
            Some(number) if range.contains(&number) => Some(Duration::from_millis(number)),
            _ => {
                self.mistake(key, describe(value), format!("{} (milliseconds)", integer_of(&range)));
                None
            }
        }
    }

    /// One of a set of words.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.value(key)?;
        let found = text.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            self.mistake(key, describe(text), one_of(words.iter().map(|(word, _)| *word)));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// The object at a key, read by `read`.
    pub(crate) fn object<T>(&self, key: &'static str, read: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
        match self.value(key)? {
            Value::Object(map) => Some(read(&Fields::new(map, Path::Key(&self.path, key), self.sink))),
            other => {
                self.mistake(key, kind(other), "an object");
                None
            }
        }
    }

    /// Calls `read` for each element of the array at a key.
    pub(crate) fn each(&self, key: &'static str, mut read: impl FnMut(&'a Value, Path<'_>)) {
        match self.value(key) {
            None => {}
            Some(Value::Array(items)) => {
                let path = Path::Key(&self.path, key);
                items.iter().enumerate().for_each(|(index, item)| read(item, Path::Index(&path, index)));
            }
            Some(other) => self.mistake(key, kind(other), "an array"),
        }
    }

    /// Calls `read` for each object of the array at a key.
    pub(crate) fn each_object(&self, key: &'static str, mut read: impl FnMut(&Fields<'_>)) {
        self.each(key, |item, path| match item {
            Value::Object(map) => read(&Fields::new(map, path, self.sink)),
            // A token given as a bare string must not end up in a log.
            other => self.sink.mistake(&path, kind(other), "an object"),
        });
    }

    /// Calls `read` with the name and the object of each member of the object at a key.
    pub(crate) fn each_member(&self, key: &'static str, mut read: impl FnMut(&str, &Fields<'_>)) {
        let members = match self.value(key) {
            None => return,
            Some(Value::Object(map)) => map,
            Some(other) => return self.mistake(key, kind(other), "an object of objects"),
        };
        let path = Path::Key(&self.path, key);
        for (name, value) in members {
            match value {
                Value::Object(map) => {
                    read(name, &Fields::new(map, Path::Key(&path, name), self.sink));
                }
                other => self.sink.mistake(&Path::Key(&path, name), kind(other), "an object"),
            }
        }
    }

    /// The strings of the array at a key.
    pub(crate) fn strings(&self, key: &'static str) -> Vec<String> {
        let mut strings = Vec::new();
        self.each(key, |item, path| match item {
            Value::String(text) => strings.push(text.clone()),
            other => self.sink.mistake(&path, describe(other), "a string"),
        });
        strings
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for key in self.map.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = Path::Key(&self.path, key);
            let hint = match known.iter().find(|known| known.eq_ignore_ascii_case(key)) {
                Some(known) => format!("unknown key, ignored; did you mean {}?", quote(known)),
                None => "unknown key, ignored".to_owned(),
            };
            self.sink.warn_key(&path, hint);
        }
    }
}

/// An integer, also in the form `3e3` or `3000.0` that some programs write.
fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // 2^53: up to here a double holds every integer.
        let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        is_whole.then_some(number as u64)
    })
}

fn integer_of(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (0, u64::MAX) => "a whole number, not negative".to_owned(),
        (start, u64::MAX) => format!("a whole number of at least {start}"),
        (start, end) => format!("a whole number from {start} to {end}"),
    }
}

/// `a, b or c`, for the expected part of a finding.
pub(crate) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
