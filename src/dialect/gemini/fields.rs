//! Members by their names in camelCase or snake_case, and single values where a list may be.
//!
//! Google's servers read the JSON of protocol buffers, which allows both spellings; recorded clients mix them in one
//! request. Source: protobuf.dev, "ProtoJSON Format".

use crate::dialect::ir::Text;
use crate::dialect::loss::BadRequest;
use crate::dialect::members::{self, Path};
use crate::json::scan::{self, Scanner};
use crate::json::token::{Kind, Value};

/// Whether `key` is the name `camel` in either spelling.
pub(super) fn is_named(key: &str, camel: &str) -> bool {
    let mut key = key.bytes();
    let same = camel.bytes().all(|letter| match key.next() {
        Some(byte) if byte == letter => true,
        Some(b'_') if letter.is_ascii_uppercase() => key.next() == Some(letter.to_ascii_lowercase()),
        _ => false,
    });
    same && key.next().is_none()
}

/// Which of `names` the key with these quotes is.
fn find<'a>(quoted: &'a [u8], names: &[&str]) -> Option<(Text<'a>, Option<usize>)> {
    let text = Text::from_token(quoted)?;
    let index = text.decode().and_then(|key| names.iter().position(|name| is_named(&key, name)));
    Some((text, index))
}

/// The named members of an object of a request, in the order of `names`; `null` counts as absent. `on_unknown` gets
/// the others.
///
/// # Errors
/// It is no object, or a name occurs twice, in one spelling or two.
pub(super) fn object<'a, const N: usize>(
    value: &Value<'a>,
    path: &Path<'_>,
    names: [&str; N],
    mut on_unknown: impl FnMut(Text<'a>, Value<'a>) -> Result<(), BadRequest>,
) -> Result<[Option<Value<'a>>; N], BadRequest> {
    members::raw_object(value, path)?;
    let mut found: [Option<Value<'a>>; N] = [const { None }; N];
    let mut seen = [false; N];
    let mut scanner = Scanner::new(value.raw);
    let malformed = |_| path.bad("is not valid JSON");
    scanner.enter_object().map_err(malformed)?;
    while let Some(key) = scanner.next_key().map_err(malformed)? {
        let member = scanner.value().map_err(malformed)?;
        let (name, index) =
            find(&value.raw[key.span.clone()], &names).ok_or_else(|| path.bad("is not UTF-8"))?;
        match index {
            Some(index) => {
                if std::mem::replace(&mut seen[index], true) {
                    return Err(Path::Member(path, names[index]).bad("occurs more than once"));
                }
                found[index] = Some(member).filter(|member| member.kind != Kind::Null);
            }
            None if member.kind == Kind::Null => {}
            None => on_unknown(name, member)?,
        }
    }
    Ok(found)
}

/// Takes down the names of members that other dialects have no place for, to be reported.
pub(super) fn note<'v, 'a>(
    unknown: &'v mut Vec<Text<'a>>,
) -> impl FnMut(Text<'a>, Value<'a>) -> Result<(), BadRequest> + 'v {
    |name, _| {
        unknown.push(name);
        Ok(())
    }
}

/// The named members of an object of an answer; the last one counts. `None`: it is no object.
pub(super) fn lenient<'a, const N: usize>(raw: &'a [u8], names: [&str; N]) -> Option<[Option<Value<'a>>; N]> {
    let mut found: [Option<Value<'a>>; N] = [const { None }; N];
    scan::members(raw, |key, member| {
        if let Some((_, Some(index))) = find(&raw[key.span.clone()], &names) {
            found[index] = Some(member).filter(|member| member.kind != Kind::Null);
        }
    })
    .ok()?;
    Some(found)
}

/// Calls `on_element` with each element of a list of a request, or with the one value that stands for a list of one.
///
/// # Errors
/// Those of `on_element`.
pub(super) fn each<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    mut on_element: impl FnMut(Value<'a>, &Path<'_>) -> Result<(), BadRequest>,
) -> Result<(), BadRequest> {
    if value.kind == Kind::Array {
        members::array(value, path, on_element)
    } else {
        on_element(value.clone(), path)
    }
}

/// Whether a value is a list of nothing.
pub(super) fn is_empty_list(value: &Value<'_>) -> bool {
    let mut scanner = Scanner::new(value.raw);
    scanner.enter_array().is_ok() && scanner.peek() == Some(b']')
}

/// A string of an answer; `None` for anything else.
pub(super) fn text<'a>(value: Option<&Value<'a>>) -> Option<Text<'a>> {
    value.and_then(|value| Text::from_token(value.raw))
}

/// A count of an answer. Whole numbers of 64 bits are strings in ProtoJSON.
pub(super) fn count(value: &Value<'_>) -> Option<u64> {
    value.as_count().or_else(|| std::str::from_utf8(value.plain_string()?).ok()?.parse().ok())
}

/// Whether a value is `true`.
pub(super) fn is_true(value: Option<&Value<'_>>) -> bool {
    value.and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_name() {
        for (key, camel, same) in [
            ("topK", "topK", true),
            ("top_k", "topK", true),
            ("max_output_tokens", "maxOutputTokens", true),
            ("maxOutput_tokens", "maxOutputTokens", true),
            ("top_K", "topK", false),
            ("topk", "topK", false),
            ("topKx", "topK", false),
            ("top", "topK", false),
            ("", "topK", false),
        ] {
            assert_eq!(is_named(key, camel), same, "{key}");
        }
    }

    #[test]
    fn a_name_in_two_spellings_occurs_twice() {
        let read = |body: &str| {
            let root = members::document(body.as_bytes())?;
            let mut unknown = Vec::new();
            let [top_k] = object(&root, &Path::Root, ["topK"], |name, _| {
                unknown.push(name.escaped().to_owned());
                Ok(())
            })?;
            Ok::<_, BadRequest>((top_k.map(|value| value.raw.to_vec()), unknown))
        };
        assert_eq!(read(r#"{"top_k":1,"x":2,"y":null}"#), Ok((Some(b"1".to_vec()), vec!["x".to_owned()])));
        assert_eq!(read(r#"{"to\u0070K":1}"#), Ok((Some(b"1".to_vec()), vec![])));
        assert_eq!(read(r#"{"top_k":1,"topK":1}"#).unwrap_err().to_string(), "`topK`: occurs more than once");
        assert_eq!(read("[]").unwrap_err().to_string(), "`body`: must be an object, found an array");
    }
}
