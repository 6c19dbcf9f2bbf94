//! What makes two requests the same: a digest over everything that can change the answer.
//!
//! Members of the body may come in any order and with any white space between them; a member that is `null` is one that
//! is not there. Nested objects and numbers count as they are written. What only says who asks ([`ASKERS`]) is left out,
//! but in the Responses dialect, whose answers repeat it. A body that names a member twice, or writes a name with escapes,
//! counts as it is written. Everything else counts, whether the gateway knows it or not.

use ring::digest::{Context, SHA256};

use crate::dialect::Dialect;
use crate::json::scan;
use crate::json::text::decode;
use crate::json::token::{Kind, Value};

/// SHA-256: whoever may write requests of a project must not be able to make two with the same key.
pub type Digest = [u8; 32];

/// Members that say who asks, or where the provider is to look for its own cache; none of them changes the answer.
const ASKERS: [&str; 6] = [
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
];

/// Takes in, piece by piece, what a key is made of.
pub struct Digester(Context);

impl Digester {
    /// One whose digests differ from those of any other purpose.
    pub fn new(purpose: &str) -> Self {
        let mut digester = Self(Context::new(&SHA256));
        digester.part(purpose.as_bytes());
        digester
    }

    /// Takes in a piece: two pieces are never the same as one of both together.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Takes in a request's body but for `stream`, which may be said elsewhere too. `body` has been checked to be a JSON
    /// object.
    pub fn body(&mut self, dialect: Dialect, body: &[u8]) {
        self.members(dialect, body, None);
    }

    /// [`Digester::body`] without the texts of the user's last turn, which are `said`: everything else of that turn is taken
    /// in, names and unknown members too. `false`: what was left out is not `said`.
    pub fn body_but_for(&mut self, dialect: Dialect, body: &[u8], said: &str) -> bool {
        let turns = match dialect {
            Dialect::OpenAiChat | Dialect::AnthropicMessages => "messages",
            Dialect::OpenAiResponses => "input",
            Dialect::Gemini => "contents",
        };
        self.members(dialect, body, Some((turns, said)))
    }

    fn members(&mut self, dialect: Dialect, body: &[u8], but_for: Option<(&str, &str)>) -> bool {
        let mut members: Vec<(&[u8], bool, Value<'_>)> = Vec::with_capacity(16);
        let repeats = dialect == Dialect::OpenAiResponses;
        let mut is_escaped = false;
        let read = scan::members(body, |key, value| {
            let asker = !repeats && ASKERS.iter().any(|name| key.is(name));
            let is_left_out = asker || key.is("stream") || value.kind == Kind::Null;
            is_escaped |= key.escaped().contains(&b'\\');
            members.push((key.escaped(), is_left_out, value));
        });
        debug_assert!(read.is_ok(), "the body was checked before");
        let as_written = members.clone();
        members.sort_by_key(|(name, ..)| *name);
        let is_clear = !is_escaped && members.windows(2).all(|pair| pair[0].0 != pair[1].0);
        if is_clear {
            members.retain(|(_, is_left_out, _)| !is_left_out);
        } else {
            // Who reads such a body takes the first one of two members, or the last one: nothing can be left out.
            members = as_written;
        }
        let mut found = false;
        for (name, _, value) in members {
            self.part(name);
            match but_for {
                Some((turns, said)) if is_clear && name == turns.as_bytes() => {
                    found = self.turns_but_for(dialect, &value, said);
                }
                _ => self.compact(value.raw),
            }
        }
        found
    }

    fn turns_but_for(&mut self, dialect: Dialect, turns: &Value<'_>, said: &str) -> bool {
        if turns.kind == Kind::String && dialect == Dialect::OpenAiResponses {
            self.part(THE_TEXT);
            return decode(turns.raw).as_deref() == Some(said);
        }
        let mut all = Vec::new();
        if scan::elements(turns.raw, |turn| all.push(turn.raw)).is_err() {
            return false;
        }
        // Neighbours may be one turn to who reads them.
        let Some(last) = all.iter().rposition(|turn| is_users(dialect, turn)) else { return false };
        let run = all[..last].iter().rev().take_while(|turn| is_users(dialect, turn)).count();
        let is_said = |first: &usize| text_of(dialect, &all[*first..=last]).as_deref() == Some(said);
        let Some(first) = (last - run..=last).rev().find(is_said) else { return false };
        for (place, turn) in all.iter().enumerate() {
            if (first..=last).contains(&place) {
                self.frame(turn, content_of(dialect), |digester, content| digester.content(content));
            } else {
                self.compact(turn);
            }
        }
        true
    }

    /// The content of a turn without its texts.
    fn content(&mut self, content: &Value<'_>) {
        if content.kind != Kind::Array {
            return self.hole(content);
        }
        let mut parts = Vec::new();
        let _ = scan::elements(content.raw, |part| parts.push(part));
        self.part(&(parts.len() as u64).to_le_bytes());
        for part in parts {
            match part.kind {
                Kind::Object => self.frame(part.raw, "text", Self::hole),
                _ => self.compact(part.raw),
            }
        }
    }

    /// An object of which one member, the first one of its name, is taken in by `inner`.
    fn frame(&mut self, object: &[u8], name: &str, inner: impl Fn(&mut Self, &Value<'_>)) {
        let mut members = Vec::new();
        let _ = scan::members(object, |key, value| members.push((key.escaped(), key.is(name), value)));
        self.part(&(members.len() as u64).to_le_bytes());
        let mut is_first = true;
        for (name, is_inner, value) in members {
            self.part(name);
            if is_inner && std::mem::take(&mut is_first) {
                inner(self, &value);
            } else {
                self.compact(value.raw);
            }
        }
    }

    /// In place of a text; anything else as it is.
    fn hole(&mut self, value: &Value<'_>) {
        match value.kind {
            Kind::String => self.part(THE_TEXT),
            _ => self.compact(value.raw),
        }
    }

    /// A JSON value without the white space between its tokens.
    fn compact(&mut self, value: &[u8]) {
        let (mut start, mut at) = (0, 0);
        while at < value.len() {
            match value[at] {
                b'"' => {
                    at += 1;
                    while let Some(step) = memchr::memchr2(b'"', b'\\', &value[at..]) {
                        at += step + 1;
                        if value[at - 1] == b'"' {
                            break;
                        }
                        at += 1;
                    }
                }
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.0.update(&value[start..at]);
                    at += 1;
                    start = at;
                }
                _ => at += 1,
            }
        }
        self.0.update(&value[start..]);
        // Values are delimited by themselves, but for numbers: no two of them may run together.
        self.0.update(b" ");
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let digest = self.0.finish();
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest.as_ref());
        bytes
    }
}

/// Stands for a text that is left out. No JSON value begins like a part.
const THE_TEXT: &[u8] = b"the text";

/// Where a turn has what it says.
fn content_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Gemini => "parts",
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::AnthropicMessages => "content",
    }
}

fn is_users(dialect: Dialect, turn: &[u8]) -> bool {
    let role = scan::member(turn, "role").map(|role| decode(role.raw).unwrap_or_default());
    match (role.as_deref(), dialect) {
        (Some("user"), _) | (Some(""), Dialect::Gemini) => true,
        (None, Dialect::Gemini) => scan::member(turn, "parts").is_some(),
        _ => false,
    }
}

/// The texts of some turns, those that [`Digester::body_but_for`] leaves out, a line break between them.
fn text_of(dialect: Dialect, turns: &[&[u8]]) -> Option<String> {
    let mut all = String::new();
    let mut add = |text: &Value<'_>| {
        let text = decode(text.raw)?;
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&text);
        Some(())
    };
    for turn in turns {
        let content = scan::member(turn, content_of(dialect))?;
        if content.kind != Kind::Array {
            add(&content)?;
            continue;
        }
        let mut is_text = true;
        scan::elements(content.raw, |part| {
            let text = scan::member(part.raw, "text");
            is_text &= text.is_some_and(|text| add(&text).is_some());
        })
        .ok()?;
        if !is_text {
            return None;
        }
    }
    Some(all)
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

/// Whether a request asks for the most likely answer: its temperature is 0.
pub fn is_deterministic(dialect: Dialect, body: &[u8]) -> bool {
    let temperature = match dialect {
        Dialect::Gemini => ["generationConfig", "generation_config"]
            .iter()
            .find_map(|name| scan::member(body, name))
            .and_then(|config| scan::member(config.raw, "temperature")),
        _ => scan::member(body, "temperature"),
    };
    let number = temperature.filter(|value| value.kind == Kind::Number);
    number.and_then(|value| std::str::from_utf8(value.raw).ok()?.parse::<f64>().ok()) == Some(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dialect: Dialect, body: &str) -> Digest {
        let mut digester = Digester::new("test");
        digester.body(dialect, body.as_bytes());
        digester.finish()
    }

    fn scope(dialect: Dialect, body: &str, said: &str) -> Option<Digest> {
        let mut digester = Digester::new("test");
        digester.body_but_for(dialect, body.as_bytes(), said).then(|| digester.finish())
    }

    #[test]
    fn order_white_space_and_who_asks_do_not_matter() {
        let plain = r#"{"model":"m","messages":[{"role":"user","content":"a \" b"}],"temperature":0}"#;
        for same in [
            r#" { "temperature" : 0 , "messages" : [ {"role" :"user", "content":"a \" b"} ],"model":"m"} "#,
            r#"{"model":"m","messages":[{"role":"user","content":"a \" b"}],"temperature":0,"stream":true}"#,
            r#"{"user":"x","model":"m","messages":[{"role":"user","content":"a \" b"}],"temperature":0,"metadata":{"a":1},"seed":null}"#,
        ] {
            assert_eq!(key(Dialect::OpenAiChat, same), key(Dialect::OpenAiChat, plain), "{same}");
        }
        for other in [
            r#"{"model":"n","messages":[{"role":"user","content":"a \" b"}],"temperature":0}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a \"  b"}],"temperature":0}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a \" b"}],"temperature":0.5}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a \" b"}],"temperature":0,"seed":1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a \" b"}]}"#,
        ] {
            assert_ne!(key(Dialect::OpenAiChat, other), key(Dialect::OpenAiChat, plain), "{other}");
        }
        assert_ne!(
            key(Dialect::OpenAiResponses, r#"{"input":"a","user":"x"}"#),
            key(Dialect::OpenAiResponses, r#"{"input":"a","user":"y"}"#),
            "answers of this dialect repeat the member",
        );
    }

    #[test]
    fn no_two_bodies_run_into_one() {
        let bodies = [
            r#"{"a":1,"b":2}"#,
            r#"{"a":12}"#,
            r#"{"ab":12}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[12]}"#,
            r#"{"a":"1"}"#,
            r#"{"a":"\\","b":"x"}"#,
            r#"{"a":"\\\" ","b":"x"}"#,
            r#"{"a":"\\ ","b":"x"}"#,
            "{}",
        ];
        for (place, one) in bodies.iter().enumerate() {
            for other in &bodies[place + 1..] {
                assert_ne!(key(Dialect::OpenAiChat, one), key(Dialect::OpenAiChat, other), "{one} {other}");
            }
        }
    }

    #[test]
    fn a_body_with_two_readings_counts_as_it_is_written() {
        let bodies = [
            r#"{"seed":1}"#,
            r#"{"seed":1,"seed":null}"#,
            r#"{"seed":null,"seed":1}"#,
            r#"{"seed":1,"seed":2}"#,
            r#"{"seed":2,"seed":1}"#,
            r#"{"seed":1,"se\u0065d":2}"#,
            r#"{"se\u0065d":2,"seed":1}"#,
            r#"{"seed":1,"user":"a","user":"b"}"#,
        ];
        for (place, one) in bodies.iter().enumerate() {
            for other in &bodies[place + 1..] {
                assert_ne!(key(Dialect::OpenAiChat, one), key(Dialect::OpenAiChat, other), "{one} {other}");
            }
        }
    }

    /// A body of each dialect that says `a` last, with a mark where something else may stand, in what is said and outside.
    const SAYING_A: [(Dialect, &str); 8] = [
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"A"},{"role":"assistant","content":"B"},{"role":"user","content":"SAID"TURN}AFTER]BODY}"#,
        ),
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"SAID"PART}]TURN}AFTER]BODY}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"system":"s","messages":[{"role":"user","content":"SAID"TURN}AFTER]BODY}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"SAID"PART}]TURN}AFTER]BODY}"#,
        ),
        (Dialect::OpenAiResponses, r#"{"input":"SAID"BODY}"#),
        (
            Dialect::OpenAiResponses,
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"SAID"PART}]TURN}AFTER]BODY}"#,
        ),
        (
            Dialect::Gemini,
            r#"{"contents":[{"role":"user","parts":[{"text":"A"}]},{"role":"model","parts":[{"text":"B"}]},{"role":"","parts":[{"text":"SAID"PART}]TURN}AFTER]BODY}"#,
        ),
        (Dialect::Gemini, r#"{"contents":[{"parts":[{"text":"SAID"PART}]TURN}AFTER]BODY}"#),
    ];

    #[test]
    fn what_the_user_said_last_is_left_out_and_nothing_else() {
        for (dialect, template) in SAYING_A {
            let fill = |said: &str, mark: &str, more: &str| {
                let marks = ["PART", "TURN", "AFTER", "BODY"];
                let filled =
                    |text: String, name: &&str| text.replace(name, if *name == mark { more } else { "" });
                marks.iter().fold(template.replace("SAID", said), filled)
            };
            let plain = fill("a", "", "");
            let found = scope(dialect, &plain, "a");
            assert!(found.is_some(), "{plain}");
            assert_eq!(scope(dialect, &fill("b", "", ""), "b"), found, "{plain}");
            assert_eq!(scope(dialect, &plain.replace(":[", ": ["), "a"), found, "{plain}");
            assert_eq!(scope(dialect, &plain, "b"), None, "{plain}: another text is in the vector");
            for (mark, more) in [
                ("PART", r#","cache_control":{"type":"ephemeral"}"#),
                ("PART", r#","what_comes_next_year":1"#),
                ("PART", r#","text":"c""#),
                ("TURN", r#","name":"bob""#),
                ("TURN", r#","what_comes_next_year":1"#),
                ("TURN", r#","what_comes_next_year":2"#),
                ("TURN", r#","content":"c","parts":[]"#),
                ("AFTER", r#",{"role":"tool","content":"x"}"#),
                ("BODY", r#","what_comes_next_year":{"a":1}"#),
                ("BODY", r#","what_comes_next_year":{"a":2}"#),
            ] {
                let other = fill("a", mark, more);
                if other != plain {
                    assert_ne!(scope(dialect, &other, "a"), found, "{other}");
                }
            }
        }
    }

    #[test]
    fn neighbours_that_are_read_as_one_turn_are_left_out_together() {
        let two = r#"{"contents":[{"parts":[{"text":"s"}]},{"role":"model","parts":[{"text":"m"}]},{"parts":[{"text":"a"}]},{"role":"user","parts":[{"text":"b"},{"text":"c"}]}]}"#;
        let [alone, both, all] =
            ["b\nc", "a\nb\nc", "s\na\nb\nc"].map(|said| scope(Dialect::Gemini, two, said));
        assert!(alone.is_some() && both.is_some() && alone != both);
        assert_eq!(all, None);
        let other = two.replace(r#""a""#, r#""x""#);
        assert_ne!(scope(Dialect::Gemini, &other, "b\nc"), alone);
        assert_eq!(scope(Dialect::Gemini, &other, "x\nb\nc"), both);
    }

    #[test]
    fn where_it_is_not_sure_what_was_said_there_is_no_digest() {
        for body in [
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":"a"}"#,
            r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            r#"{"messages":[{"role":"","content":"a"}]}"#,
            r#"{"messages":[{"content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url"},{"type":"text","text":"a"}]}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"messages":[]}"#,
            r#"{"messages":[],"m\u0065ssages":[{"role":"user","content":"a"}]}"#,
        ] {
            assert_eq!(scope(Dialect::OpenAiChat, body, "a"), None, "{body}");
        }
        let escaped = r#"{"messages":[{"r\u006fle":"\u0075ser","content":"\u0061"}]}"#;
        assert!(scope(Dialect::OpenAiChat, escaped, "a").is_some());
    }

    #[test]
    fn a_temperature_of_zero_asks_for_the_most_likely_answer() {
        for (dialect, body, expected) in [
            (Dialect::OpenAiChat, r#"{"temperature":0}"#, true),
            (Dialect::OpenAiChat, r#"{"temperature":0.0}"#, true),
            (Dialect::OpenAiChat, r#"{"temperature":0.1}"#, false),
            (Dialect::OpenAiChat, r#"{"temperature":"0"}"#, false),
            (Dialect::OpenAiChat, "{}", false),
            (Dialect::Gemini, r#"{"generationConfig":{"temperature":0}}"#, true),
            (Dialect::Gemini, r#"{"temperature":0}"#, false),
        ] {
            assert_eq!(is_deterministic(dialect, body.as_bytes()), expected, "{body}");
        }
    }
}
