//! Cheap answers to "is this member in these bytes", for events of which most need no look inside.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Searches for a member's name in quotes.
///
/// Text of a model cannot pass for it: inside a JSON string its quotes are escaped. A member at any depth can, so
/// whoever acts on a hit reads the document.
pub(super) struct MemberFinder(LazyLock<Finder<'static>>);

macro_rules! member_finder {
    ($name:literal) => {
        $crate::dialect::find::MemberFinder::new(|| {
            memchr::memmem::Finder::new(concat!("\"", $name, "\"").as_bytes())
        })
    };
}
pub(super) use member_finder;

impl MemberFinder {
    /// Use [`member_finder!`].
    pub(super) const fn new(make: fn() -> Finder<'static>) -> Self {
        Self(LazyLock::new(make))
    }

    /// Offset of the first value of such a member that begins with a byte that `accepts`.
    pub(super) fn value(&self, json: &[u8], accepts: fn(u8) -> bool) -> Option<usize> {
        let finder = &*self.0;
        let mut from = 0;
        while let Some(found) = finder.find(json.get(from..)?) {
            from += found + finder.needle().len();
            if let Some(value) = value_start(json, from).filter(|at| accepts(json[*at])) {
                return Some(value);
            }
        }
        None
    }
}

/// Offset of the value behind the colon that comes next.
fn value_start(json: &[u8], at: usize) -> Option<usize> {
    let colon = skip_space(json, at)?;
    if json[colon] == b':' { skip_space(json, colon + 1) } else { None }
}

/// Offset of the next byte that is not white space.
fn skip_space(json: &[u8], at: usize) -> Option<usize> {
    let rest = json.get(at..)?;
    rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_name_and_by_the_first_byte_of_its_value() {
        static USAGE: MemberFinder = member_finder!("usage");
        let cases = [
            (r#"{"usage":{"a":1}}"#, true),
            (r#"{ "usage" : {} }"#, true),
            (r#"{"usage":null}"#, false),
            (r#"{"usage":null,"x_groq":{"usage":{}}}"#, true),
            (r#"{"content":"\"usage\":{}"}"#, false),
            (r#"{"content":"usage","x":{}}"#, false),
            (r#"{"usage"#, false),
            (r#"{"usage""#, false),
            (r#"{"usage":"#, false),
            ("", false),
        ];
        for (json, expected) in cases {
            assert_eq!(USAGE.value(json.as_bytes(), |byte| byte == b'{').is_some(), expected, "{json}");
        }
    }
}
