//! Edits a JSON body by replacing spans of it, so that the rest is sent from where it lies.
//!
//! Owns the comma rules of inserting and removing members. Which edits a request needs is the caller's to say.

use std::ops::Range;

use super::facts::RequestFacts;
use super::scan::Scanner;
use super::text;
use super::token::Fault;

/// What to change in a request body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edits<'a> {
    /// The model name to put in the place of the client's, or to add where there was none.
    pub model: Option<&'a str>,
    /// Sets `stream` to `true`, whatever it was.
    pub stream: bool,
    /// Sets `stream_options.include_usage` to `true`, keeping what else the client put into `stream_options`.
    pub include_usage: bool,
    /// Top-level members to leave out. `model`, `stream` and `stream_options` stay if they are edited as well.
    pub strip: &'a [&'a str],
}

/// An ordered list of replacements over one body. Made to be kept and planned again: its memory is reused.
#[derive(Debug, Clone, Default)]
pub struct Splices {
    /// In the order of their spans, which do not overlap.
    list: Vec<Splice>,
    /// Replacement bytes of all splices.
    bytes: Vec<u8>,
    body_len: usize,
}

#[derive(Debug, Clone)]
struct Splice {
    /// What is left out of the body; empty for an insertion.
    span: Range<usize>,
    /// What is put there, in `Splices::bytes`.
    replacement: Range<usize>,
}

impl Splices {
    /// An empty list: the body as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Works out the replacements that make `edits` of `body`, forgetting earlier ones.
    ///
    /// `facts` are those of `body`. Members keep their order; a member that is added comes first. White space is
    /// kept where it can be.
    ///
    /// # Errors
    /// Only if `facts` are of another body.
    pub fn plan(&mut self, body: &[u8], facts: &RequestFacts, edits: &Edits<'_>) -> Result<(), Fault> {
        self.list.clear();
        self.bytes.clear();
        self.body_len = body.len();
        let kept = if edits.strip.is_empty() { facts.members } else { self.strip(body, edits)? };
        self.insert_missing(facts, edits, kept);
        if let (Some(name), Some(span)) = (edits.model, &facts.model_span) {
            self.replace(span.clone(), |out| text::append_string(out, name));
        }
        if let (true, Some(span)) = (edits.stream, &facts.stream_span) {
            self.replace(span.clone(), |out| out.extend_from_slice(b"true"));
        }
        if edits.include_usage {
            self.force_include_usage(facts);
        }
        self.list.sort_by_key(|splice| (splice.span.start, splice.span.end));
        debug_assert!(
            self.list.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start),
            "replacements do not overlap"
        );
        Ok(())
    }

    /// Whether the body stays as it is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of the edited body.
    pub fn body_len(&self) -> usize {
        let removed: usize = self.list.iter().map(|splice| splice.span.len()).sum();
        self.body_len - removed + self.bytes.len()
    }

    /// The edited body, piece by piece: slices of `body` and of replacements in turn, none of them empty.
    ///
    /// `body` is the body that was planned for.
    pub fn segments<'a>(&'a self, body: &'a [u8]) -> Segments<'a> {
        debug_assert_eq!(body.len(), self.body_len, "the body that was planned for");
        Segments { splices: self, body, next: 0, at: 0, replacement_next: false }
    }

    /// Appends the edited body to `out`.
    pub fn append_to(&self, body: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.body_len());
        self.segments(body).for_each(|segment| out.extend_from_slice(segment));
    }

    fn replace(&mut self, span: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.list.push(Splice { span, replacement: start..self.bytes.len() });
    }

    /// Adds what is not there yet right behind the opening brace; `kept` members follow.
    fn insert_missing(&mut self, facts: &RequestFacts, edits: &Edits<'_>, kept: usize) {
        let model = edits.model.filter(|_| facts.model_span.is_none());
        let stream = edits.stream && facts.stream_span.is_none();
        let include_usage = edits.include_usage && facts.stream_options.is_none();
        if model.is_none() && !stream && !include_usage {
            return;
        }
        self.replace(facts.insert_at..facts.insert_at, |out| {
            if let Some(name) = model {
                out.extend_from_slice(b"\"model\":");
                text::append_string(out, name);
                out.push(b',');
            }
            if stream {
                out.extend_from_slice(b"\"stream\":true,");
            }
            if include_usage {
                out.extend_from_slice(b"\"stream_options\":{\"include_usage\":true},");
            }
            if kept == 0 {
                out.pop();
            }
        });
    }

    /// Edits a `stream_options` member that is there.
    fn force_include_usage(&mut self, facts: &RequestFacts) {
        let Some(options) = &facts.stream_options else { return };
        match (options.insert_at, &options.include_usage_span) {
            (None, _) => {
                self.replace(options.span.clone(), |out| out.extend_from_slice(b"{\"include_usage\":true}"))
            }
            (Some(_), Some(_)) if options.include_usage == Some(true) => {}
            (Some(_), Some(span)) => self.replace(span.clone(), |out| out.extend_from_slice(b"true")),
            (Some(at), None) => self.replace(at..at, |out| {
                out.extend_from_slice(b"\"include_usage\":true");
                if !options.is_empty {
                    out.push(b',');
                }
            }),
        }
    }

    /// Leaves out the members that are to be stripped and returns how many are kept.
    ///
    /// A member goes with the comma behind it; at the end of the object, where there is none, with the one before it.
    fn strip(&mut self, body: &[u8], edits: &Edits<'_>) -> Result<usize, Fault> {
        let mut scanner = Scanner::new(body);
        scanner.enter_object()?;
        let mut kept = 0;
        // End of the last kept value, and the run of stripped members behind it.
        let mut kept_end = None;
        let mut run: Option<Range<usize>> = None;
        while let Some(key) = scanner.next_key()? {
            let edited = (edits.model.is_some() && key.is("model"))
                || (edits.stream && key.is("stream"))
                || (edits.include_usage && key.is("stream_options"));
            let stripped = !edited && key.matches(edits.strip).is_some();
            let end = scanner.value()?.span.end;
            if stripped {
                run = Some(run.map_or(key.span.start, |run| run.start)..end);
                continue;
            }
            if let Some(run) = run.take() {
                self.replace(run.start..key.span.start, |_| ());
            }
            kept += 1;
            kept_end = Some(end);
        }
        if let Some(run) = run {
            self.replace(kept_end.unwrap_or(run.start)..run.end, |_| ());
        }
        Ok(kept)
    }
}

/// The pieces of an edited body.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    splices: &'a Splices,
    body: &'a [u8],
    /// The splice that comes next.
    next: usize,
    /// How far the body is given out.
    at: usize,
    /// Whether the body is given out up to the next splice.
    replacement_next: bool,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let splice = self.splices.list.get(self.next);
            let segment = match splice {
                Some(splice) if self.replacement_next => {
                    self.next += 1;
                    self.at = splice.span.end;
                    &self.splices.bytes[splice.replacement.clone()]
                }
                Some(splice) => &self.body[self.at..splice.span.start],
                None if self.at < self.body.len() => {
                    let rest = &self.body[self.at..];
                    self.at = self.body.len();
                    return Some(rest);
                }
                None => return None,
            };
            self.replacement_next = splice.is_some() && !self.replacement_next;
            if !segment.is_empty() {
                return Some(segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::json::facts::request_facts;

    fn edited(body: &[u8], edits: &Edits<'_>) -> Vec<u8> {
        let facts = request_facts(body).expect("a valid body");
        let mut splices = Splices::new();
        splices.plan(body, &facts, edits).expect("facts are of this body");
        let mut out = Vec::new();
        splices.append_to(body, &mut out);
        assert_eq!(out.len(), splices.body_len());
        assert!(splices.segments(body).all(|segment| !segment.is_empty()));
        out
    }

    #[test]
    fn only_the_edited_spans_change() {
        let usage = Edits { include_usage: true, ..Edits::default() };
        let stream = Edits { stream: true, ..Edits::default() };
        let cases: &[(&str, Edits<'_>, &str)] = &[
            (r#"{"model":"a"}"#, Edits { model: Some("b\"c"), ..Edits::default() }, r#"{"model":"b\"c"}"#),
            (
                "{}",
                Edits { model: Some("b"), include_usage: true, ..Edits::default() },
                r#"{"model":"b","stream_options":{"include_usage":true}}"#,
            ),
            (r#"{ "x":1}"#, usage, r#"{"stream_options":{"include_usage":true}, "x":1}"#),
            (r#"{"stream_options":null}"#, usage, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{ }}"#, usage, r#"{"stream_options":{"include_usage":true }}"#),
            (r#"{"stream_options":{"a":1}}"#, usage, r#"{"stream_options":{"include_usage":true,"a":1}}"#),
            (
                r#"{"stream_options":{"include_usage": false}}"#,
                usage,
                r#"{"stream_options":{"include_usage": true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null}}"#,
                usage,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":true}}"#,
                usage,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"a":1, "b":2, "c":3}"#, Edits { strip: &["a"], ..Edits::default() }, r#"{"b":2, "c":3}"#),
            (r#"{"a":1, "b":2, "c":3}"#, Edits { strip: &["b"], ..Edits::default() }, r#"{"a":1, "c":3}"#),
            (r#"{"a":1, "b":2, "c":3}"#, Edits { strip: &["c"], ..Edits::default() }, r#"{"a":1, "b":2}"#),
            (r#"{"a":1, "b":2, "c":3}"#, Edits { strip: &["b", "c"], ..Edits::default() }, r#"{"a":1}"#),
            (r#"{"a":1, "b":2, "c":3}"#, Edits { strip: &["a", "c"], ..Edits::default() }, r#"{"b":2}"#),
            (r#"{ "a":1, "b":2 }"#, Edits { strip: &["a", "b"], ..Edits::default() }, "{  }"),
            (
                r#"{"a":1}"#,
                Edits { include_usage: true, strip: &["a"], ..Edits::default() },
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"x","stream_options":null,"a":1}"#,
                Edits {
                    model: Some("y"),
                    include_usage: true,
                    strip: &["model", "stream_options", "a"],
                    ..Edits::default()
                },
                r#"{"model":"y","stream_options":{"include_usage":true}}"#,
            ),
            ("{}", stream, r#"{"stream":true}"#),
            (r#"{"input":"x"}"#, stream, r#"{"stream":true,"input":"x"}"#),
            (r#"{"stream": null ,"a":1}"#, stream, r#"{"stream": true ,"a":1}"#),
            (
                r#"{"stream":null,"a":1}"#,
                Edits { model: Some("m"), strip: &["stream", "a"], ..stream },
                r#"{"model":"m","stream":true}"#,
            ),
            (r#"{"a":1,"\u0061":2}"#, Edits { strip: &["a"], ..Edits::default() }, "{}"),
        ];
        for (body, edits, expected) in cases {
            let out = edited(body.as_bytes(), edits);
            assert_eq!(String::from_utf8_lossy(&out), *expected, "{body} {edits:?}");
        }
    }

    #[test]
    fn a_body_without_edits_is_one_segment() {
        let body = br#"{"model":"a"}"#;
        let mut splices = Splices::new();
        splices.plan(body, &request_facts(body).unwrap(), &Edits::default()).unwrap();
        assert!(splices.is_empty());
        assert_eq!(splices.segments(body).collect::<Vec<_>>(), [&body[..]]);
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\\n{}:,é\\[\\]]{0,12}".prop_map(Value::from),
        ]
    }

    fn document() -> impl Strategy<Value = Value> {
        leaf().prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-c\"]{1,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn options() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!({})),
            Just(json!({"include_usage": false})),
            Just(json!({"a": 1, "include_usage": null, "b": {}})),
            Just(json!({"include_usage": true})),
            document().prop_map(|value| json!({ "other": value })),
        ]
    }

    prop_compose! {
        fn request()(
            members in proptest::collection::vec((prop_oneof!["[a-e]", "temp\"[a-b]"], document()), 0..6),
            model in proptest::option::of(".{0,6}"),
            options in proptest::option::of(options()),
            stream in proptest::option::of(prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from)]),
            swap in any::<bool>(),
        ) -> Value {
            let mut object = serde_json::Map::new();
            let mut own = vec![("model".to_string(), model.map(Value::from)), ("stream_options".into(), options), ("stream".into(), stream)];
            if swap {
                own.reverse();
            }
            let own: Vec<_> = own.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let half = members.len() / 2;
            object.extend(members[..half].iter().cloned());
            object.extend(own);
            object.extend(members[half..].iter().cloned());
            Value::Object(object)
        }
    }

    proptest! {
        #[test]
        fn editing_bytes_is_editing_the_document(
            request in request(),
            model in proptest::option::of(".{0,6}"),
            include_usage in any::<bool>(),
            stream in any::<bool>(),
            strip in proptest::collection::vec(prop_oneof!["[a-e]", "temp\"a", "model", "stream", "stream_options"], 0..4),
            pretty in any::<bool>(),
        ) {
            let body = if pretty { serde_json::to_vec_pretty(&request) } else { serde_json::to_vec(&request) }.unwrap();
            let strip: Vec<&str> = strip.iter().map(String::as_str).collect();
            let out = edited(&body, &Edits { model: model.as_deref(), stream, include_usage, strip: &strip });

            let mut expected = request;
            let object = expected.as_object_mut().unwrap();
            for name in strip {
                let edited = (name == "model" && model.is_some())
                    || (name == "stream" && stream)
                    || (name == "stream_options" && include_usage);
                if !edited {
                    object.remove(name);
                }
            }
            if let Some(model) = model {
                object.insert("model".into(), model.into());
            }
            if stream {
                object.insert("stream".into(), true.into());
            }
            if include_usage {
                let options = object.entry("stream_options").or_insert(Value::Null);
                if options.is_null() {
                    *options = json!({});
                }
                options["include_usage"] = true.into();
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
    }
}
