//! Arguments of a call that come as values at paths, written as one JSON object piece by piece.
//!
//! A model writes its arguments from front to back, so that a path only ever goes on, deeper or to a later neighbour:
//! what was left is closed and never kept. Rules: the project's dialect mapping, section 10; paths are those of
//! RFC 9535 with names and indexes only.

use super::fields::{is_true, lenient, text};
use crate::dialect::ir::Text;
use crate::json::token::Value;
use crate::limits::PARTIAL_ARGS_DEPTH_MAX;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The member of an object, as JSON text.
    Name(String),
    /// The element of an array.
    Index(u64),
}

/// Arguments in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartialArgs {
    /// The path of the value written last; empty before the first one.
    path: Vec<Step>,
    /// That value is a string that goes on.
    in_string: bool,
}

/// The pieces do not make one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disorder;

impl PartialArgs {
    /// Appends to `out` what one element of `partialArgs` adds to the object's JSON.
    ///
    /// # Errors
    /// It does not follow what came before.
    pub(super) fn push(&mut self, piece: &Value<'_>, out: &mut String) -> Result<(), Disorder> {
        const NAMES: [&str; 6] =
            ["jsonPath", "stringValue", "numberValue", "boolValue", "nullValue", "willContinue"];
        let [path, string, number, boolean, _, goes_on] = lenient(piece.raw, NAMES).ok_or(Disorder)?;
        let path = text(path.as_ref()).ok_or(Disorder)?;
        let path = steps(&path.decode().ok_or(Disorder)?).ok_or(Disorder)?;
        let goes_on = is_true(goes_on.as_ref());
        if self.in_string && path == self.path {
            out.push_str(text(string.as_ref()).unwrap_or_default().escaped());
        } else {
            self.step_to(path, out)?;
            match (string, number.or(boolean)) {
                (Some(string), _) => {
                    out.push('"');
                    out.push_str(Text::from_token(string.raw).ok_or(Disorder)?.escaped());
                    self.in_string = true;
                }
                (None, Some(value)) => out.push_str(std::str::from_utf8(value.raw).map_err(|_| Disorder)?),
                (None, None) if goes_on => {
                    out.push('"');
                    self.in_string = true;
                }
                (None, None) => out.push_str("null"),
            }
        }
        if !goes_on {
            self.end_string(out);
        }
        Ok(())
    }

    /// Appends the end of the object; the whole of it if there was no piece.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.end_string(out);
        if self.path.is_empty() {
            out.push('{');
        }
        while let Some(step) = self.path.pop() {
            out.push(closing(&step));
            if self.path.is_empty() {
                return;
            }
        }
        out.push('}');
    }

    fn end_string(&mut self, out: &mut String) {
        if std::mem::take(&mut self.in_string) {
            out.push('"');
        }
    }

    /// Closes what the new path leaves and opens what it enters, up to where its value goes.
    fn step_to(&mut self, path: Vec<Step>, out: &mut String) -> Result<(), Disorder> {
        self.end_string(out);
        let shared = self.path.iter().zip(&path).take_while(|(old, new)| old == new).count();
        if shared == path.len() || (shared == self.path.len() && shared > 0) {
            return Err(Disorder);
        }
        if self.path.is_empty() {
            if !matches!(path[0], Step::Name(_)) {
                return Err(Disorder);
            }
            out.push('{');
        } else {
            for left in self.path[shared + 1..].iter().rev() {
                out.push(closing(left));
            }
            match (&self.path[shared], &path[shared]) {
                (Step::Name(_), Step::Name(_)) => {}
                (Step::Index(old), Step::Index(new)) if *new == old + 1 => {}
                _ => return Err(Disorder),
            }
            out.push(',');
        }
        for (depth, step) in path.iter().enumerate().skip(shared) {
            match step {
                Step::Name(name) => {
                    out.push_str(if depth > shared { "{\"" } else { "\"" });
                    out.push_str(name);
                    out.push_str("\":");
                }
                Step::Index(_) if depth == shared => {}
                Step::Index(0) => out.push('['),
                Step::Index(_) => return Err(Disorder),
            }
        }
        self.path = path;
        Ok(())
    }
}

/// The bracket that ends the container in which `step` is one.
fn closing(step: &Step) -> char {
    match step {
        Step::Name(_) => '}',
        Step::Index(_) => ']',
    }
}

/// Takes a path apart: `$.name`, `['name']`, `["name"]`, `[0]`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == PARTIAL_ARGS_DEPTH_MAX {
            return None;
        }
        if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, after) = named.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Name(Text::from_plain(name).escaped().to_owned()));
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        let quote = inner.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let Some(quote) = quote else {
            let (index, after) = inner.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
            continue;
        };
        let mut name = String::new();
        let mut chars = inner[1..].char_indices();
        let end = loop {
            match chars.next()? {
                (at, char) if char == quote => break at,
                (_, '\\') => name.push(chars.next()?.1),
                (_, char) => name.push(char),
            }
        };
        steps.push(Step::Name(Text::from_plain(&name).escaped().to_owned()));
        rest = inner[1 + end + 1..].strip_prefix(']')?;
    }
    if steps.is_empty() { None } else { Some(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scanner;

    fn assemble(pieces: &[&str]) -> Result<String, Disorder> {
        let mut args = PartialArgs::default();
        let mut out = String::new();
        for piece in pieces {
            args.push(&Scanner::new(piece.as_bytes()).value().unwrap(), &mut out)?;
        }
        args.finish(&mut out);
        Ok(out)
    }

    #[test]
    fn pieces_make_one_object() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "{}"),
            (
                &[
                    r#"{"jsonPath":"$.location","stringValue":"Bos","willContinue":true}"#,
                    r#"{"jsonPath":"$.location","stringValue":"ton \"x\"","willContinue":true}"#,
                    r#"{"jsonPath":"$.location","stringValue":""}"#,
                ],
                r#"{"location":"Boston \"x\""}"#,
            ),
            (
                &[
                    r#"{"jsonPath":"$.a.b[0].c","numberValue":1.50}"#,
                    r#"{"jsonPath":"$.a.b[0].d","boolValue":true}"#,
                    r#"{"jsonPath":"$.a.b[1]","nullValue":"NULL_VALUE"}"#,
                    r#"{"jsonPath":"$.a.e","stringValue":"x"}"#,
                    r#"{"jsonPath":"$.f","numberValue":-2}"#,
                ],
                r#"{"a":{"b":[{"c":1.50,"d":true},null],"e":"x"},"f":-2}"#,
            ),
            (
                &[
                    r#"{"jsonPath":"$.a","stringValue":"open","willContinue":true}"#,
                    r#"{"jsonPath":"$['b c'][0][0]","numberValue":1}"#,
                    r#"{"jsonPath":"$[\"b c\"][0][1]","numberValue":2}"#,
                    r#"{"jsonPath":"$[\"b c\"][1][0]","numberValue":3}"#,
                ],
                r#"{"a":"open","b c":[[1,2],[3]]}"#,
            ),
            (
                &[r#"{"jsonPath":"$.a","willContinue":true}"#, r#"{"jsonPath":"$.a","stringValue":"x"}"#],
                r#"{"a":"x"}"#,
            ),
            (&[r#"{"jsonPath":"$['q\"\\'']","stringValue":"\ud83d\ude00"}"#], r#"{"q\"'":"\ud83d\ude00"}"#),
        ];
        for (pieces, expected) in cases {
            assert_eq!(assemble(pieces).as_deref(), Ok(expected));
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let value = |path: &str| format!(r#"{{"jsonPath":"{path}","numberValue":1}}"#);
        for paths in [
            vec!["$"],
            vec!["a"],
            vec!["$."],
            vec!["$.a["],
            vec!["$.a[x]"],
            vec!["$['a"],
            vec!["$[0]"],
            vec!["$.a[1]"],
            vec!["$.a", "$.a"],
            vec!["$.a", "$.a.b"],
            vec!["$.a.b", "$.a"],
            vec!["$.a[0]", "$.a[2]"],
            vec!["$.a[0]", "$.a.b"],
        ] {
            let pieces: Vec<String> = paths.iter().map(|path| value(path)).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            assert_eq!(assemble(&pieces), Err(Disorder), "{paths:?}");
        }
        assert_eq!(
            assemble(&[&value(&format!("$.a{}", "[0]".repeat(PARTIAL_ARGS_DEPTH_MAX)))]),
            Err(Disorder)
        );
        for piece in ["1", "{}", r#"{"jsonPath":1}"#, r#"{"jsonPath":"$.a","stringValue":1}"#] {
            assert_eq!(assemble(&[piece]), Err(Disorder), "{piece}");
        }
    }
}
