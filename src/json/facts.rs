//! What the gateway has to know about a request body, found in one pass over the body as it was received.
//!
//! Owns the validation of request bodies as JSON. Does not judge values that are the provider's to judge: a
//! `temperature` of the wrong type passes.

use std::fmt;
use std::ops::Range;

use super::scan::Scanner;
use super::text;
use super::token::{Fault, FaultKind, Kind, Value};
use crate::limits::JSON_DEPTH_MAX;

/// Facts of one request body. Spans are byte offsets into that body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The value of `model`, quotes included.
    pub model_span: Option<Range<usize>>,
    /// The model's name where the body writes it with escapes.
    model_decoded: Option<String>,
    /// `stream`; `null` counts as absent.
    pub stream: Option<bool>,
    /// The value of `stream`, also where it is `null`.
    pub stream_span: Option<Range<usize>>,
    /// See [`RequestFacts::add_stream`].
    adds_stream: bool,
    /// `stream_options`, where present.
    pub stream_options: Option<StreamOptions>,
    /// `max_tokens`, where it is a whole number of at least 0.
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`, likewise.
    pub max_completion_tokens: Option<u64>,
    /// `max_output_tokens`, likewise.
    pub max_output_tokens: Option<u64>,
    /// `n`, likewise.
    pub n: Option<u64>,
    /// `store`, where it is a boolean.
    pub store: Option<bool>,
    /// Whether `previous_response_id` is present and not `null`.
    pub has_previous_response_id: bool,
    /// Offset right after the opening `{`.
    pub insert_at: usize,
    /// How many members the object has.
    pub members: usize,
}

/// The `stream_options` member of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// The member's value.
    pub span: Range<usize>,
    /// Offset right after the value's `{`; `None` when the value is `null`.
    pub insert_at: Option<usize>,
    /// Whether the value has no members.
    pub is_empty: bool,
    /// `include_usage`, where it is a boolean.
    pub include_usage: Option<bool>,
    /// The value of `include_usage`, where present.
    pub include_usage_span: Option<Range<usize>>,
}

impl RequestFacts {
    /// The model's name, decoded. `body` is the body that the facts were taken from.
    pub fn model<'a>(&'a self, body: &'a [u8]) -> Option<&'a str> {
        if let Some(decoded) = &self.model_decoded {
            return Some(decoded);
        }
        let span = self.model_span.clone()?;
        let inner = body.get(span)?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(inner).ok()
    }

    /// Whether the client asked for a stream.
    pub fn is_stream(&self) -> bool {
        self.stream == Some(true)
    }

    /// Takes the request for one that asks for a stream, though its body does not say so: it is to be edited.
    pub fn add_stream(&mut self) {
        self.stream = Some(true);
        self.adds_stream = true;
    }

    /// Whether the body still has to be made to ask for the stream.
    pub fn adds_stream(&self) -> bool {
        self.adds_stream
    }

    /// Whether the client asked for the usage chunk of a stream.
    pub fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true)
    }

    /// The limit on output tokens under any of its names; the smallest if there are several.
    pub fn output_tokens_max(&self) -> Option<u64> {
        [self.max_tokens, self.max_completion_tokens, self.max_output_tokens].into_iter().flatten().min()
    }

    /// Whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }
}

/// Why a body is refused. `at` is a byte offset into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactsError {
    /// The body is not a JSON object but something else.
    NotObject {
        /// What it is.
        found: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// The body is not JSON.
    Syntax {
        /// Where it stops being JSON; the body's length if it is cut off.
        at: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// The body ends before the JSON does.
    Truncated {
        /// The body's length.
        at: usize,
        /// What was expected next.
        expected: &'static str,
    },
    /// The body is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        at: usize,
    },
    /// Objects and arrays are nested deeper than [`JSON_DEPTH_MAX`].
    TooDeep {
        /// Where the limit is passed.
        at: usize,
    },
    /// A member that the gateway acts on occurs twice: two readers could take different ones.
    Duplicate {
        /// The member.
        field: &'static str,
        /// Where its name stands for the second time.
        at: usize,
    },
    /// A member that the gateway acts on has the wrong type.
    WrongType {
        /// The member.
        field: &'static str,
        /// The type it has to have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
        /// Where its value stands.
        at: usize,
    },
    /// A string that the gateway acts on has an unpaired surrogate.
    NotText {
        /// The member.
        field: &'static str,
        /// Where its value stands.
        at: usize,
    },
}

impl fmt::Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotObject { found, at } => {
                write!(f, "the body must be a JSON object, found {found} at byte {at}")
            }
            Self::Syntax { at, expected } => {
                write!(f, "the body is not valid JSON: expected {expected} at byte {at}")
            }
            Self::Truncated { at, expected } => {
                write!(f, "the body ends at byte {at}, before its JSON does: expected {expected}")
            }
            Self::NotUtf8 { at } => write!(f, "the body is not valid UTF-8 at byte {at}"),
            Self::TooDeep { at } => {
                write!(f, "the body is nested deeper than {JSON_DEPTH_MAX} levels at byte {at}")
            }
            Self::Duplicate { field, at } => write!(f, "`{field}` occurs more than once, again at byte {at}"),
            Self::WrongType { field, expected, found, at } => {
                write!(f, "`{field}` must be {expected}, found {found} at byte {at}")
            }
            Self::NotText { field, at } => {
                write!(f, "`{field}` at byte {at} has an unpaired surrogate escape")
            }
        }
    }
}

impl std::error::Error for FactsError {}

/// The members that are looked at, in the order of the arms of [`read_member`].
const NAMES: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "store",
    "previous_response_id",
];

/// Reads the facts of a request body.
///
/// The whole body is checked to be one JSON object in UTF-8. `model`, `stream` and `stream_options` may occur once
/// and must have their types (`null` counts as absent for the last two); a missing `model` is no error.
///
/// # Errors
/// [`FactsError`], whose text is fit for the client.
pub fn request_facts(body: &[u8]) -> Result<RequestFacts, FactsError> {
    let place = |fault: Fault| match fault.kind {
        FaultKind::TooDeep => FactsError::TooDeep { at: fault.at },
        FaultKind::Expected(expected) if fault.at >= body.len() => {
            FactsError::Truncated { at: fault.at, expected }
        }
        FaultKind::Expected(expected) => FactsError::Syntax { at: fault.at, expected },
    };
    if !body.is_ascii()
        && let Err(error) = std::str::from_utf8(body)
    {
        return Err(FactsError::NotUtf8 { at: error.valid_up_to() });
    }
    let mut scanner = Scanner::new(body);
    if scanner.peek() != Some(b'{') {
        let found = match scanner.peek_kind() {
            Ok(kind) => kind.as_str(),
            Err(_) if scanner.at() == body.len() => "nothing",
            Err(_) => "no JSON value",
        };
        return Err(FactsError::NotObject { found, at: scanner.at() });
    }
    scanner.enter_object().map_err(place)?;
    let mut facts = RequestFacts { insert_at: scanner.at(), ..RequestFacts::default() };
    let mut seen = [false; 3];
    while let Some(key) = scanner.next_key().map_err(place)? {
        facts.members += 1;
        let name = key.matches(&NAMES);
        if let Some(once) = name.and_then(|index| seen.get_mut(index))
            && std::mem::replace(once, true)
        {
            let field = NAMES[name.unwrap_or_default()];
            return Err(FactsError::Duplicate { field, at: key.span.start });
        }
        let value = scanner.value().map_err(place)?;
        if let Some(name) = name {
            read_member(&mut facts, name, &value)?;
        }
    }
    scanner.end().map_err(place)?;
    Ok(facts)
}

/// Takes in the member `NAMES[name]`.
fn read_member(facts: &mut RequestFacts, name: usize, value: &Value<'_>) -> Result<(), FactsError> {
    let wrong_type = |field, expected| {
        Err(FactsError::WrongType { field, expected, found: value.kind.as_str(), at: value.span.start })
    };
    match name {
        0 => {
            if value.kind != Kind::String {
                return wrong_type("model", "a string");
            }
            if value.plain_string().is_none() {
                let decoded = text::decode(value.raw);
                let decoded = decoded.ok_or(FactsError::NotText { field: "model", at: value.span.start })?;
                facts.model_decoded = Some(decoded.into_owned());
            }
            facts.model_span = Some(value.span.clone());
        }
        1 => match value.kind {
            Kind::Bool | Kind::Null => {
                facts.stream = value.as_bool();
                facts.stream_span = Some(value.span.clone());
            }
            _ => return wrong_type("stream", "a boolean"),
        },
        2 => match value.kind {
            Kind::Null | Kind::Object => facts.stream_options = Some(stream_options(value)?),
            _ => return wrong_type("stream_options", "an object"),
        },
        3 => facts.max_tokens = value.as_count(),
        4 => facts.max_completion_tokens = value.as_count(),
        5 => facts.max_output_tokens = value.as_count(),
        6 => facts.n = value.as_count(),
        7 => facts.store = value.as_bool(),
        _ => facts.has_previous_response_id = value.kind != Kind::Null,
    }
    Ok(())
}

/// Reads the value of `stream_options`, which is `null` or an object that was skipped before and so is well formed.
fn stream_options(value: &Value<'_>) -> Result<StreamOptions, FactsError> {
    const FIELD: &str = "stream_options.include_usage";
    let start = value.span.start;
    let mut options = StreamOptions {
        span: value.span.clone(),
        insert_at: None,
        is_empty: true,
        include_usage: None,
        include_usage_span: None,
    };
    if value.kind == Kind::Null {
        return Ok(options);
    }
    options.insert_at = Some(start + 1);
    let mut scanner = Scanner::new(value.raw);
    let place = |fault: Fault| FactsError::Syntax { at: start + fault.at, expected: "an object" };
    scanner.enter_object().map_err(place)?;
    while let Some(key) = scanner.next_key().map_err(place)? {
        options.is_empty = false;
        let member = scanner.value().map_err(place)?;
        if !key.is("include_usage") {
            continue;
        }
        if options.include_usage_span.is_some() {
            return Err(FactsError::Duplicate { field: FIELD, at: start + key.span.start });
        }
        let at = start + member.span.start;
        if !matches!(member.kind, Kind::Bool | Kind::Null) {
            let found = member.kind.as_str();
            return Err(FactsError::WrongType { field: FIELD, expected: "a boolean", found, at });
        }
        options.include_usage = member.as_bool();
        options.include_usage_span = Some(at..start + member.span.end);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_are_found_in_one_body() {
        let body = br#" { "model" : "gpt-4o", "stream":true, "stream_options":{"x":1,"include_usage":false},
            "max_tokens": 10, "max_completion_tokens": 20.0, "max_output_tokens":30, "n":2, "store":true,
            "previous_response_id":"resp_1", "messages":[{"role":"user","content":"\"model\":\"no\""}] } "#;
        let facts = request_facts(body).unwrap();
        assert_eq!(facts.model(body), Some("gpt-4o"));
        assert_eq!(&body[facts.model_span.clone().unwrap()], b"\"gpt-4o\"");
        assert_eq!((facts.stream, facts.is_stream(), facts.includes_usage()), (Some(true), true, false));
        let options = facts.stream_options.clone().unwrap();
        assert_eq!(&body[options.span], br#"{"x":1,"include_usage":false}"#);
        assert_eq!(&body[options.include_usage_span.unwrap()], b"false");
        assert_eq!(options.include_usage, Some(false));
        assert_eq!((facts.max_tokens, facts.max_completion_tokens), (Some(10), Some(20)));
        assert_eq!((facts.max_output_tokens, facts.output_tokens_max()), (Some(30), Some(10)));
        assert_eq!((facts.n, facts.store, facts.has_previous_response_id), (Some(2), Some(true), true));
        assert_eq!((facts.insert_at, facts.members, facts.is_empty()), (2, 10, false));
    }

    #[test]
    fn a_missing_model_and_an_empty_object_are_no_errors() {
        let facts = request_facts(b"{}").unwrap();
        assert_eq!(facts, RequestFacts { insert_at: 1, ..RequestFacts::default() });
        assert!(facts.is_empty());
        assert_eq!(facts.model(b"{}"), None);
    }

    #[test]
    fn null_counts_as_absent_for_what_may_be_left_out() {
        let facts =
            request_facts(br#"{"stream":null,"stream_options":null,"previous_response_id":null}"#).unwrap();
        assert_eq!((facts.stream, facts.has_previous_response_id), (None, false));
        assert_eq!(facts.stream_options.unwrap().insert_at, None);
    }

    #[test]
    fn names_and_models_may_be_escaped() {
        let body = br#"{"mod\u0065l":"gpt\u002d4o\/x","str\u0065am":true}"#;
        let facts = request_facts(body).unwrap();
        assert_eq!((facts.model(body), facts.stream), (Some("gpt-4o/x"), Some(true)));
    }

    #[test]
    fn odd_limits_are_left_to_the_provider() {
        let facts =
            request_facts(br#"{"max_tokens":-1,"max_completion_tokens":"9","n":null,"store":1}"#).unwrap();
        assert_eq!((facts.output_tokens_max(), facts.n, facts.store), (None, None, None));
    }

    #[test]
    fn bad_bodies_are_refused_with_the_place_and_what_was_expected() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "the body must be a JSON object, found nothing at byte 0"),
            (b"[1]", "the body must be a JSON object, found an array at byte 0"),
            (b" \"x\"", "the body must be a JSON object, found a string at byte 1"),
            (b"null", "the body must be a JSON object, found null at byte 0"),
            (b"model=x", "the body must be a JSON object, found no JSON value at byte 0"),
            (b"{", "the body ends at byte 1, before its JSON does: expected a member name"),
            (b"{\"a\":1", "the body ends at byte 6, before its JSON does: expected ',' or '}'"),
            (b"{\"a\":\"x", "the body ends at byte 7, before its JSON does: expected the end of a string"),
            (b"{} x", "the body is not valid JSON: expected the end of the document at byte 3"),
            (b"{}{}", "the body is not valid JSON: expected the end of the document at byte 2"),
            (b"{\"a\":[1,,2]}", "the body is not valid JSON: expected a value at byte 8"),
            (
                b"{\"a\":\"\x01\"}",
                "the body is not valid JSON: expected no control character in a string at byte 6",
            ),
            (b"{\"a\":\"\xff\"}", "the body is not valid UTF-8 at byte 6"),
            (b"{\"a\":\"\xed\xa0\x80\"}", "the body is not valid UTF-8 at byte 6"),
            (b"{\"model\":1}", "`model` must be a string, found a number at byte 9"),
            (b"{\"model\":null}", "`model` must be a string, found null at byte 9"),
            (b"{\"model\":\"\\ud800\"}", "`model` at byte 9 has an unpaired surrogate escape"),
            (b"{\"stream\":\"yes\"}", "`stream` must be a boolean, found a string at byte 10"),
            (b"{\"stream_options\":[]}", "`stream_options` must be an object, found an array at byte 18"),
            (
                b"{\"stream_options\":{\"include_usage\":1}}",
                "`stream_options.include_usage` must be a boolean, found a number at byte 35",
            ),
            (b"{\"model\":\"a\",\"model\":\"b\"}", "`model` occurs more than once, again at byte 13"),
            (b"{\"model\":\"a\",\"m\\u006fdel\":\"b\"}", "`model` occurs more than once, again at byte 13"),
            (b"{\"stream\":true,\"stream\":true}", "`stream` occurs more than once, again at byte 15"),
            (
                b"{\"stream_options\":null,\"stream_options\":{}}",
                "`stream_options` occurs more than once, again at byte 23",
            ),
            (
                b"{\"stream_options\":{\"include_usage\":true,\"include_usage\":true}}",
                "`stream_options.include_usage` occurs more than once, again at byte 40",
            ),
        ];
        for (body, expected) in cases {
            let error = request_facts(body).expect_err(expected);
            assert_eq!(error.to_string(), *expected);
        }
    }

    #[test]
    fn absurd_nesting_is_refused_without_a_deep_stack() {
        for open in ["[", "{\"a\":", "{\"stream_options\":", "{\"model\":["] {
            let body = format!("{{\"messages\":{}", open.repeat(100_000));
            let error = request_facts(body.as_bytes()).expect_err("too deep");
            assert!(matches!(error, FactsError::TooDeep { .. }), "{error}");
        }
    }
}
