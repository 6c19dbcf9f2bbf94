//! What makes two requests the same: a digest over everything that can change the answer.
//!
//! Members of the body may come in any order and with any white space between them; a member that is `null` is one that
//! is not there. Nested objects and numbers count as they are written. What only says who asks ([`ASKERS`]) is left out,
//! but in the Responses dialect, whose answers repeat it.

use ring::digest::{Context, SHA256};

use crate::dialect::Dialect;
use crate::json::scan;
use crate::json::token::Kind;

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

    /// [`Digester::body`] without the user's last message; `false`: there is none.
    pub fn body_before_last(&mut self, dialect: Dialect, body: &[u8]) -> bool {
        let turns = match dialect {
            Dialect::OpenAiChat | Dialect::AnthropicMessages => "messages",
            Dialect::OpenAiResponses => "input",
            Dialect::Gemini => "contents",
        };
        self.members(dialect, body, Some(turns))
    }

    fn members(&mut self, dialect: Dialect, body: &[u8], turns: Option<&str>) -> bool {
        let mut members = Vec::with_capacity(16);
        let repeats = dialect == Dialect::OpenAiResponses;
        let read = scan::members(body, |key, value| {
            let asker = !repeats && ASKERS.iter().any(|name| key.is(name));
            if !asker && !key.is("stream") && value.kind != Kind::Null {
                members.push((key.escaped(), value));
            }
        });
        debug_assert!(read.is_ok(), "the body was checked before");
        members.sort_by_key(|(name, _)| *name);
        let mut found = false;
        for (name, value) in members {
            self.part(name);
            match turns {
                Some(turns) if name == turns.as_bytes() => found = self.turns_before_last(value.raw),
                _ => self.compact(value.raw),
            }
        }
        found
    }

    fn turns_before_last(&mut self, turns: &[u8]) -> bool {
        if turns.starts_with(b"\"") {
            self.part(b"the message");
            return true;
        }
        let mut all = Vec::new();
        if scan::elements(turns, |turn| all.push(turn.raw)).is_err() {
            return false;
        }
        let is_users = |turn: &&[u8]| match scan::member(turn, "role") {
            Some(role) => role.plain_string() == Some(b"user"),
            // Gemini: a turn without a role is the user's. Elsewhere it is no message.
            None => scan::member(turn, "parts").is_some(),
        };
        let last = all.iter().rposition(is_users);
        for (place, turn) in all.iter().enumerate() {
            if Some(place) == last { self.part(b"the message") } else { self.compact(turn) }
        }
        last.is_some()
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

    fn scope(dialect: Dialect, body: &str) -> Option<Digest> {
        let mut digester = Digester::new("test");
        digester.body_before_last(dialect, body.as_bytes()).then(|| digester.finish())
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
    fn the_last_message_of_the_user_is_left_out_and_nothing_else() {
        let chat = |system: &str, last: &str, after: &str| {
            format!(
                r#"{{"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"first"}},{{"role":"user","content":"{last}"}}{after}]}}"#
            )
        };
        let scope_of = |body: String| scope(Dialect::OpenAiChat, &body).expect(&body);
        assert_eq!(scope_of(chat("s", "a", "")), scope_of(chat("s", "b", "")));
        assert_ne!(scope_of(chat("s", "a", "")), scope_of(chat("t", "a", "")));
        let tool = r#",{"role":"tool","content":"x"}"#;
        assert_ne!(scope_of(chat("s", "a", "")), scope_of(chat("s", "a", tool)));
        for (dialect, one, other) in [
            (Dialect::OpenAiResponses, r#"{"input":"a"}"#, r#"{"input":"b"}"#),
            (
                Dialect::OpenAiResponses,
                r#"{"input":[{"role":"user","content":"a"}]}"#,
                r#"{"input":[{"role":"user","content":"b"}]}"#,
            ),
            (
                Dialect::Gemini,
                r#"{"contents":[{"parts":[{"text":"a"}]}]}"#,
                r#"{"contents":[{"parts":[{"text":"b"}]}]}"#,
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"system":"s","messages":[{"role":"user","content":"a"}]}"#,
                r#"{"system":"s","messages":[{"role":"user","content":"b"}]}"#,
            ),
        ] {
            let found = scope(dialect, one);
            assert!(found.is_some() && found == scope(dialect, other), "{one}");
        }
        for none in ["{}", r#"{"messages":[]}"#, r#"{"messages":[{"role":"assistant","content":"a"}]}"#] {
            assert_eq!(scope(Dialect::OpenAiChat, none), None, "{none}");
        }
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
