//! Takes JSON documents apart by name, with errors that say where.
//!
//! Owns the path in an error's text and the checks that all readers share: types, duplicate names, unpaired surrogates.
//! `null` counts as absent, as the dialects' own servers have it. The document has been checked to be JSON in UTF-8
//! before (`json::facts`), or comes from a provider and is given up at its first fault.

use std::fmt::Write as _;

use super::ir::{Raw, Text};
use super::loss::BadRequest;
use crate::json::scan::Scanner;
use crate::json::token::{FaultKind, Kind, Value};

/// Where a value lies; written out only when something is wrong with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'p> {
    /// The document.
    Root,
    /// A member of an object.
    Member(&'p Path<'p>, &'p str),
    /// An element of an array.
    Element(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// `messages[2].content[0].type`; the document itself is `body`.
    fn render(&self, out: &mut String) {
        match self {
            Self::Root => {}
            Self::Member(parent, name) => {
                parent.render(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Self::Element(parent, index) => {
                parent.render(out);
                let _ = write!(out, "[{index}]");
            }
        }
    }

    /// The error that this value is wrong.
    pub(super) fn bad(&self, problem: impl Into<String>) -> BadRequest {
        let mut field = String::new();
        self.render(&mut field);
        if field.is_empty() {
            field.push_str("body");
        }
        BadRequest { field, problem: problem.into() }
    }

    fn wrong_type(&self, expected: &str, value: &Value<'_>) -> BadRequest {
        self.bad(format!("must be {expected}, found {}", value.kind.as_str()))
    }
}

/// The named members of an object, in the order of `names`; `on_unknown` gets the others, `null` ones not.
///
/// # Errors
/// It is no object, or a name that is asked for occurs twice.
pub(super) fn object<'a, const N: usize>(
    value: &Value<'a>,
    path: &Path<'_>,
    names: [&str; N],
    mut on_unknown: impl FnMut(Text<'a>, Value<'a>) -> Result<(), BadRequest>,
) -> Result<[Option<Value<'a>>; N], BadRequest> {
    if value.kind != Kind::Object {
        return Err(path.wrong_type("an object", value));
    }
    let mut found: [Option<Value<'a>>; N] = [const { None }; N];
    let mut seen = [false; N];
    let mut scanner = Scanner::new(value.raw);
    scanner.enter_object().map_err(|fault| malformed(path, fault.kind))?;
    while let Some(key) = scanner.next_key().map_err(|fault| malformed(path, fault.kind))? {
        let member = scanner.value().map_err(|fault| malformed(path, fault.kind))?;
        match key.matches(&names) {
            Some(index) => {
                if std::mem::replace(&mut seen[index], true) {
                    return Err(Path::Member(path, names[index]).bad("occurs more than once"));
                }
                found[index] = Some(member).filter(|member| member.kind != Kind::Null);
            }
            None if member.kind == Kind::Null => {}
            None => {
                let quoted = &value.raw[key.span.clone()];
                let name = Text::from_token(quoted).ok_or_else(|| path.bad("is not UTF-8"))?;
                on_unknown(name, member)?;
            }
        }
    }
    Ok(found)
}

/// Calls `on_element` with each element of an array and its path.
///
/// # Errors
/// It is no array, or those of `on_element`.
pub(super) fn array<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    mut on_element: impl FnMut(Value<'a>, &Path<'_>) -> Result<(), BadRequest>,
) -> Result<(), BadRequest> {
    if value.kind != Kind::Array {
        return Err(path.wrong_type("an array", value));
    }
    let mut scanner = Scanner::new(value.raw);
    scanner.enter_array().map_err(|fault| malformed(path, fault.kind))?;
    let mut index = 0;
    while scanner.next_element().map_err(|fault| malformed(path, fault.kind))? {
        let element = scanner.value().map_err(|fault| malformed(path, fault.kind))?;
        on_element(element, &Path::Element(path, index))?;
        index += 1;
    }
    Ok(())
}

fn malformed(path: &Path<'_>, kind: FaultKind) -> BadRequest {
    match kind {
        FaultKind::Expected(what) => path.bad(format!("is not valid JSON: expected {what}")),
        FaultKind::TooDeep => path.bad("is nested too deeply"),
    }
}

/// The document as a value.
///
/// # Errors
/// It is not JSON.
pub(super) fn document(body: &[u8]) -> Result<Value<'_>, BadRequest> {
    Scanner::new(body).value().map_err(|fault| malformed(&Path::Root, fault.kind))
}

/// A string.
///
/// # Errors
/// It is something else, or has a surrogate without its partner.
pub(super) fn text<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Text<'a>, BadRequest> {
    if value.kind != Kind::String {
        return Err(path.wrong_type("a string", value));
    }
    let text = Text::from_token(value.raw).ok_or_else(|| path.bad("is not UTF-8"))?;
    if text.is_whole() { Ok(text) } else { Err(path.bad("has an unpaired surrogate escape")) }
}

/// A boolean.
///
/// # Errors
/// It is something else.
pub(super) fn boolean(value: &Value<'_>, path: &Path<'_>) -> Result<bool, BadRequest> {
    value.as_bool().ok_or_else(|| path.wrong_type("a boolean", value))
}

/// A whole number of at least 0.
///
/// # Errors
/// It is something else.
pub(super) fn whole_number(value: &Value<'_>, path: &Path<'_>) -> Result<u64, BadRequest> {
    let digits = std::str::from_utf8(value.raw).ok().filter(|_| value.kind == Kind::Number);
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| path.wrong_type("a whole number of at least 0", value))
}

/// Any number, with its digits.
///
/// # Errors
/// It is something else.
pub(super) fn number<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Raw<'a>, BadRequest> {
    if value.kind == Kind::Number { raw(value, path) } else { Err(path.wrong_type("a number", value)) }
}

/// An object, byte by byte.
///
/// # Errors
/// It is something else.
pub(super) fn raw_object<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Raw<'a>, BadRequest> {
    if value.kind == Kind::Object { raw(value, path) } else { Err(path.wrong_type("an object", value)) }
}

/// Any value, byte by byte.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn raw<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Raw<'a>, BadRequest> {
    Raw::from_scanned(value.raw).ok_or_else(|| path.bad("is not UTF-8"))
}

/// A member that may be absent, read by `read`.
///
/// # Errors
/// Those of `read`.
pub(super) fn optional<'a, T>(
    value: Option<Value<'a>>,
    path: &Path<'_>,
    name: &str,
    read: impl FnOnce(&Value<'a>, &Path<'_>) -> Result<T, BadRequest>,
) -> Result<Option<T>, BadRequest> {
    value.map(|value| read(&value, &Path::Member(path, name))).transpose()
}

/// A member that has to be there, read by `read`.
///
/// # Errors
/// It is absent, or those of `read`.
pub(super) fn required<'a, T>(
    value: Option<Value<'a>>,
    path: &Path<'_>,
    name: &str,
    read: impl FnOnce(&Value<'a>, &Path<'_>) -> Result<T, BadRequest>,
) -> Result<T, BadRequest> {
    optional(value, path, name, read)?.ok_or_else(|| Path::Member(path, name).bad("is required"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(body: &str) -> Result<Vec<String>, BadRequest> {
        let root = document(body.as_bytes())?;
        let [messages] = object(&root, &Path::Root, ["messages"], |_, _| Ok(()))?;
        let mut roles = Vec::new();
        let path = Path::Member(&Path::Root, "messages");
        array(&messages.expect("messages"), &path, |message, path| {
            let [role] = object(&message, path, ["role"], |name, _| {
                Err(path.bad(format!("unknown {}", name.escaped())))
            })?;
            roles.push(text(&role.expect("a role"), &Path::Member(path, "role"))?.escaped().to_owned());
            Ok(())
        })?;
        Ok(roles)
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        assert_eq!(role_of(r#"{"messages":[{"role":"user","x":null}]}"#), Ok(vec!["user".to_owned()]));
        for (body, said) in [
            (r#"[]"#, "`body`: must be an object, found an array"),
            (r#"{"messages":{}}"#, "`messages`: must be an array, found an object"),
            (r#"{"messages":[1]}"#, "`messages[0]`: must be an object, found a number"),
            (r#"{"messages":[{"role":1}]}"#, "`messages[0].role`: must be a string, found a number"),
            (r#"{"messages":[{"role":"a","role":"b"}]}"#, "`messages[0].role`: occurs more than once"),
            (r#"{"messages":[{"role":"\ud800"}]}"#, "`messages[0].role`: has an unpaired surrogate escape"),
            (r#"{"messages":[{"role":"a","y":1}]}"#, "`messages[0]`: unknown y"),
            (r#"{"messages":"#, "`body`: is not valid JSON: expected a value"),
        ] {
            assert_eq!(role_of(body).unwrap_err().to_string(), said);
        }
    }
}
