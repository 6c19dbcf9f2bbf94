//! What bodies and answers look like: one table for reading, showing and describing them.
//!
//! A [`Record`] lists the fields of one kind of object. Bodies are checked and merged by it, entries of the files are
//! shown by it (what it does not list is not shown, so that a field that somebody has added by hand stays his own),
//! secrets are masked by it, and the OpenAPI document is made of it ([`super::openapi`]).

use serde_json::{Map, Value};

/// Stands for a secret in answers. Sent back, it keeps what is stored.
pub(super) const MASK: &str = "********";

/// Members that are masked wherever an object is shown whose fields are not listed.
const SECRETS: [&str; 12] = [
    "password",
    "secretAccessKey",
    "apiKey",
    "connectionString",
    "clientSecret",
    "refreshToken",
    "secret",
    "embedding_api_key",
    "key",
    "token",
    "tokenHash",
    "passwordHash",
];

/// What a value is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Anything; secrets in it are masked by their names.
    Any,
    /// An object whose members are described elsewhere; secrets as in [`Kind::Any`].
    Map,
    /// An object whose members are described elsewhere. A change leaves those that it does not name, and null clears one.
    Section,
    /// A string.
    Text,
    /// A string that is never shown.
    Secret,
    /// A time, ISO 8601.
    Time,
    /// `true` or `false`.
    Flag,
    /// A whole number from 0 on.
    Whole,
    /// A number from 0 on.
    Amount,
    /// One of a set of words.
    Word(&'static [&'static str]),
    /// An array.
    List(&'static Kind),
    /// An object with these fields.
    Record(&'static Record),
}

/// One kind of object.
pub(super) struct Record {
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The field that tells entries of a list apart; empty where a list is replaced as a whole.
    pub key: &'static str,
    /// Its fields, in the order in which they are shown.
    pub fields: &'static [Field],
}

/// Who sends a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Client and gateway.
    Both,
    /// The gateway; from a client it is ignored, so that what was read can be sent back.
    Answers,
    /// The client.
    Bodies,
    /// The client, when the object is made; later it is ignored.
    New,
}

/// One field.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// What it means, in the OpenAPI document; empty where the name says it.
    pub about: &'static str,
    /// Further names that bodies may use.
    pub also: &'static [&'static str],
    pub used: Use,
    /// Has to be there when the object is made, and cannot be cleared.
    pub required: bool,
    /// Is in every answer.
    pub always: bool,
    /// May be `null` in answers.
    pub nullable: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            about: "",
            also: &[],
            used: Use::Both,
            required: false,
            always: false,
            nullable: false,
        }
    }

    pub(super) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    pub(super) const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, always: !matches!(self.used, Use::Bodies), ..self }
    }

    pub(super) const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    pub(super) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// The gateway's own.
    pub(super) const fn answers(self) -> Self {
        Self { used: Use::Answers, ..self }
    }

    /// Never shown.
    pub(super) const fn bodies(self) -> Self {
        Self { used: Use::Bodies, ..self }
    }

    /// Given once.
    pub(super) const fn new_only(self) -> Self {
        Self { used: Use::New, ..self }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.used != Use::Bodies
    }

    /// Whether a body may set it.
    pub(super) fn is_taken(&self, is_new: bool) -> bool {
        match self.used {
            Use::Both | Use::Bodies => true,
            Use::New => is_new,
            Use::Answers => false,
        }
    }
}

/// What is wrong with fields, by their JSON paths.
pub(super) type Problems = Vec<(String, String)>;

impl Record {
    /// Reads a body: other names of fields become their own, what cannot be set is left out, and so is what is wrong,
    /// which is noted.
    pub(super) fn read(
        &self,
        body: Map<String, Value>,
        is_new: bool,
        problems: &mut Problems,
    ) -> Map<String, Value> {
        let body = self.taken(body, "", is_new, problems);
        if is_new {
            for field in self.fields.iter().filter(|field| field.required && field.is_taken(true)) {
                let is_blank = match body.get(field.name) {
                    Some(Value::String(text)) => text.trim().is_empty(),
                    value => value.is_none(),
                };
                let is_noted = problems.iter().any(|(path, _)| path == field.name);
                if is_blank && !is_noted {
                    problems.push((field.name.to_owned(), "is missing".to_owned()));
                }
            }
        }
        body
    }

    fn taken(
        &self,
        mut body: Map<String, Value>,
        path: &str,
        is_new: bool,
        problems: &mut Problems,
    ) -> Map<String, Value> {
        let mut out = Map::new();
        for field in self.fields {
            let mut names = std::iter::once(&field.name).chain(field.also);
            let Some((name, value)) = names.find_map(|name| Some((*name, body.shift_remove(*name)?))) else {
                continue;
            };
            if !field.is_taken(is_new) {
                continue;
            }
            let path = join(path, name);
            if value.is_null() {
                if field.required && !is_new {
                    problems.push((path, "cannot be cleared".to_owned()));
                } else {
                    out.insert(field.name.to_owned(), value);
                }
                continue;
            }
            if let Some(value) = field.kind.taken(value, &path, problems) {
                out.insert(field.name.to_owned(), value);
            }
        }
        out
    }

    /// Puts a body into an entry. What the body does not name stays, `null` clears, lists of named things are matched by
    /// the names, and a mask keeps what is stored.
    pub(super) fn merge(
        &self,
        entry: &mut Map<String, Value>,
        body: &Map<String, Value>,
        problems: &mut Problems,
    ) {
        self.merge_at(entry, body, "", problems);
    }

    fn merge_at(
        &self,
        entry: &mut Map<String, Value>,
        body: &Map<String, Value>,
        path: &str,
        problems: &mut Problems,
    ) {
        for field in self.fields {
            let Some(value) = body.get(field.name) else { continue };
            if value.is_null() {
                entry.shift_remove(field.name);
                continue;
            }
            let path = join(path, field.name);
            let old = entry.get(field.name);
            match field.kind.merged(old, value, &path, problems) {
                Some(value) => drop(entry.insert(field.name.to_owned(), value)),
                None => problems
                    .push((path, "is a mask, and nothing is stored that it could stand for".to_owned())),
            }
        }
    }

    /// What is shown of an entry.
    pub(super) fn shown(&self, entry: &Map<String, Value>) -> Map<String, Value> {
        self.filtered(entry, true)
    }

    /// What changes when something of an entry does that its fields tell, secrets included: not to be shown.
    pub(super) fn essence(&self, entry: &Map<String, Value>) -> Map<String, Value> {
        self.filtered(entry, false)
    }

    fn filtered(&self, entry: &Map<String, Value>, is_shown: bool) -> Map<String, Value> {
        let fields = self.fields.iter().filter(|field| !is_shown || field.is_shown());
        let known = fields.filter_map(|field| {
            let value = entry.get(field.name).filter(|value| !value.is_null())?;
            Some((field.name.to_owned(), field.kind.filtered(value, is_shown)))
        });
        known.collect()
    }
}

impl Kind {
    /// A value of a body; none where it is not of this kind, which is noted.
    fn taken(&self, value: Value, path: &str, problems: &mut Problems) -> Option<Value> {
        let (fits, expected) = match self {
            Self::Record(record) => match value {
                Value::Object(map) => return Some(record.taken(map, path, true, problems).into()),
                _ => (false, "expected an object".to_owned()),
            },
            Self::List(kind) => match value {
                Value::Array(items) => {
                    let before = problems.len();
                    let items = items.into_iter().enumerate();
                    let items =
                        items.filter_map(|(at, item)| kind.taken(item, &format!("{path}[{at}]"), problems));
                    let items: Vec<Value> = items.collect();
                    return (problems.len() == before).then_some(items.into());
                }
                _ => (false, "expected an array".to_owned()),
            },
            Self::Any => (true, String::new()),
            Self::Map | Self::Section => (value.is_object(), "expected an object".to_owned()),
            Self::Text | Self::Secret => (value.is_string(), "expected a string".to_owned()),
            Self::Time => {
                let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
                let fits = value.as_str().is_some_and(is_time);
                (fits, "expected a time such as \"2027-01-31T00:00:00Z\"".to_owned())
            }
            Self::Flag => (value.is_boolean(), "expected true or false".to_owned()),
            Self::Whole => (is_whole(&value), "expected a whole number, not negative".to_owned()),
            Self::Amount => {
                let fits = value.as_f64().is_some_and(|number| number >= 0.0 && number.is_finite());
                (fits, "expected a number, not negative".to_owned())
            }
            Self::Word(words) => {
                let fits = value.as_str().is_some_and(|text| words.contains(&text));
                (fits, format!("expected one of {}", words.join(", ")))
            }
        };
        if fits {
            return Some(value);
        }
        problems.push((path.to_owned(), expected));
        None
    }

    /// What is stored once `new` was sent; none for a mask without anything behind it.
    fn merged(&self, old: Option<&Value>, new: &Value, path: &str, problems: &mut Problems) -> Option<Value> {
        match (self, new) {
            (Self::Record(record), Value::Object(body)) => {
                let mut entry = old.and_then(Value::as_object).cloned().unwrap_or_default();
                record.merge_at(&mut entry, body, path, problems);
                Some(entry.into())
            }
            (Self::List(Self::Record(record)), Value::Array(items)) if !record.key.is_empty() => {
                let mut old: Vec<&Value> = old.and_then(Value::as_array).into_iter().flatten().collect();
                let merge = |(at, item): (usize, &Value)| {
                    let same =
                        |known: &&Value| !item[record.key].is_null() && known[record.key] == item[record.key];
                    // Each entry stands for one: of two of a kind, the second is matched with the second.
                    let old = old.iter().position(same).map(|at| old.remove(at));
                    Self::Record(record).merged(old, item, &format!("{path}[{at}]"), problems)
                };
                items.iter().enumerate().map(merge).collect()
            }
            (Self::List(Self::Record(record)), Value::Array(items)) => {
                let whole = |(at, item): (usize, &Value)| {
                    Self::Record(record).merged(None, item, &format!("{path}[{at}]"), problems)
                };
                items.iter().enumerate().map(whole).collect()
            }
            (Self::Secret, Value::String(text)) if text == MASK => old.cloned(),
            (Self::Any | Self::Map, new) => unmasked(old, new),
            (Self::Section, new) => unmasked(old, new).map(|new| patched(old, &new)),
            (_, new) => Some(new.clone()),
        }
    }

    fn filtered(&self, value: &Value, is_shown: bool) -> Value {
        match (self, value) {
            (Self::Record(record), Value::Object(map)) => record.filtered(map, is_shown).into(),
            (Self::List(kind), Value::Array(items)) => {
                items.iter().map(|item| kind.filtered(item, is_shown)).collect()
            }
            (Self::Secret, _) if is_shown => masked(value),
            (Self::Any | Self::Map | Self::Section, _) if is_shown => without_secrets(value),
            _ => value.clone(),
        }
    }

    /// Whether an answer is what the table says; the path of the first value that is not.
    pub(super) fn fits(&self, value: &Value, path: &str) -> Result<(), String> {
        let fits = match self {
            Self::Any => true,
            Self::Map | Self::Section => value.is_object(),
            Self::Text | Self::Secret => value.is_string(),
            Self::Time => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            Self::Flag => value.is_boolean(),
            Self::Whole => is_whole(value),
            Self::Amount => value.is_number(),
            Self::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::List(kind) => match value {
                Value::Array(items) => {
                    let mut items = items.iter().enumerate();
                    return items.try_for_each(|(at, item)| kind.fits(item, &format!("{path}[{at}]")));
                }
                _ => false,
            },
            Self::Record(record) => match value {
                Value::Object(map) => return record.fits(map, path),
                _ => false,
            },
        };
        if fits { Ok(()) } else { Err(path.to_owned()) }
    }
}

impl Record {
    fn fits(&self, map: &Map<String, Value>, path: &str) -> Result<(), String> {
        for field in self.fields.iter().filter(|field| field.is_shown()) {
            let path = join(path, field.name);
            match map.get(field.name) {
                None if field.always => return Err(path),
                None => {}
                Some(Value::Null) if field.nullable => {}
                Some(value) => field.kind.fits(value, &path)?,
            }
        }
        let known = |name: &str| self.fields.iter().any(|field| field.name == name && field.is_shown());
        match map.keys().find(|name| !known(name)) {
            Some(name) => Err(join(path, name)),
            None => Ok(()),
        }
    }
}

/// An integer, also in the form `3e3` or `3000.0` that some programs write.
fn is_whole(value: &Value) -> bool {
    let is_whole = |number: f64| number >= 0.0 && number.fract() == 0.0;
    value.as_u64().is_some() || value.as_f64().is_some_and(is_whole)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        _ => MASK.into(),
    }
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        Value::Object(map) => {
            let member = |(name, value): (&String, &Value)| {
                let is_secret = value.is_string() && SECRETS.contains(&name.as_str());
                (name.clone(), if is_secret { masked(value) } else { without_secrets(value) })
            };
            Value::Object(map.iter().map(member).collect())
        }
        _ => value.clone(),
    }
}

/// `new` over `old`, member by member (RFC 7396).
fn patched(old: Option<&Value>, new: &Value) -> Value {
    let Value::Object(members) = new else { return new.clone() };
    let mut out = old.and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in members {
        if value.is_null() {
            out.shift_remove(name);
        } else {
            let value = patched(out.get(name), value);
            out.insert(name.clone(), value);
        }
    }
    out.into()
}

/// `new` with what `old` has in the same place for each mask in it.
fn unmasked(old: Option<&Value>, new: &Value) -> Option<Value> {
    match new {
        Value::Array(items) => {
            let item = |(at, item): (usize, &Value)| unmasked(old.and_then(|old| old.get(at)), item);
            items.iter().enumerate().map(item).collect()
        }
        Value::Object(map) => {
            let mut out = Map::new();
            for (name, value) in map {
                let old = old.and_then(|old| old.get(name));
                let is_mask = value == MASK && SECRETS.contains(&name.as_str());
                out.insert(name.clone(), if is_mask { old?.clone() } else { unmasked(old, value)? });
            }
            Some(out.into())
        }
        _ => Some(new.clone()),
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
