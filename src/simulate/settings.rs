//! What can be set about the simulated provider, in three forms from one list.
//!
//! Owns the settings with their defaults: as JSON of a model's entry ([`SimulatedSettings`]), as flags of
//! `routerly simulate` ([`SimulatedArgs`]) and as the `x-simulate` header of a single request
//! ([`SimulatedOverrides`], which can script exact misbehaviour as well). The list is written once, in the call
//! of `settings!`; a flag's help text is the field's documentation.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many tokens: exactly so many, or a range from which each request draws.
///
/// JSON: `64` or `[64, 192]`. Flag: `64` or `64-192`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawTokenCount", into = "RawTokenCount")]
pub struct TokenCount {
    /// Fewest tokens.
    pub min: u64,
    /// Most tokens, not below `min`.
    pub max: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RawTokenCount {
    Exactly(u64),
    Between([u64; 2]),
}

impl TryFrom<RawTokenCount> for TokenCount {
    type Error = String;

    fn try_from(raw: RawTokenCount) -> Result<Self, String> {
        match raw {
            RawTokenCount::Exactly(tokens) => Ok(Self { min: tokens, max: tokens }),
            RawTokenCount::Between([min, max]) if min <= max => Ok(Self { min, max }),
            RawTokenCount::Between([min, max]) => Err(format!("expected [min, max], found [{min}, {max}]")),
        }
    }
}

impl From<TokenCount> for RawTokenCount {
    fn from(count: TokenCount) -> Self {
        if count.min == count.max { Self::Exactly(count.min) } else { Self::Between([count.min, count.max]) }
    }
}

impl FromStr for TokenCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.trim().parse::<u64>().map_err(|_| format!("expected a number or min-max, found {text:?}"))
        };
        let raw = match text.split_once('-') {
            Some((min, max)) => RawTokenCount::Between([number(min)?, number(max)?]),
            None => RawTokenCount::Exactly(number(text)?),
        };
        Self::try_from(raw)
    }
}

/// A list of HTTP statuses. JSON: an array. Flag: separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statuses(pub Vec<u16>);

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = |part: &str| part.trim().parse().map_err(|_| format!("{part:?} is no HTTP status"));
        text.split(',').map(status).collect::<Result<_, _>>().map(Self)
    }
}

/// A list of names. JSON: an array. Flag: separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl FromStr for Names {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split(',').map(|name| name.trim().to_owned()).collect()))
    }
}

/// An error that a provider reports after its stream has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct MidStreamError {
    /// Events sent before it.
    pub after_events: u64,
    /// The HTTP status whose error it is; 200 was sent long ago.
    pub status: u16,
    /// The provider's text; `null` for the usual one of that status.
    pub message: Option<String>,
}

impl Default for MidStreamError {
    fn default() -> Self {
        Self { after_events: 1, status: 503, message: None }
    }
}

macro_rules! settings {
    (
        always { $( $(#[doc = $doc:literal])* $name:ident: $ty:ident = $default:expr, )* }
        maybe { $( $(#[doc = $maybe_doc:literal])* $maybe:ident: $maybe_ty:ident, )* }
        script { $( $(#[doc = $script_doc:literal])* $script:ident: $script_ty:ty, )* }
    ) => {
        /// How the simulated provider behaves. Every key may be left out.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
        pub struct SimulatedSettings {
            $( $(#[doc = $doc])* pub $name: $ty, )*
            $( $(#[doc = $maybe_doc])* pub $maybe: Option<$maybe_ty>, )*
        }

        impl Default for SimulatedSettings {
            fn default() -> Self {
                Self { $( $name: $default, )* $( $maybe: None, )* }
            }
        }

        /// The `x-simulate` header of one request: the same settings for this request only, and a script.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
        pub struct SimulatedOverrides {
            $( $(#[doc = $doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$ty>, )*
            $( $(#[doc = $maybe_doc])* #[serde(skip_serializing_if = "Option::is_none")]
               pub $maybe: Option<$maybe_ty>, )*
            $( $(#[doc = $script_doc])* #[serde(skip_serializing_if = "Option::is_none")]
               pub $script: Option<$script_ty>, )*
        }

        impl SimulatedOverrides {
            /// The settings of this request: what the header names, and the rest from `base`.
            pub fn apply(&self, base: &SimulatedSettings) -> SimulatedSettings {
                SimulatedSettings {
                    $( $name: self.$name.clone().unwrap_or_else(|| base.$name.clone()), )*
                    $( $maybe: self.$maybe.clone().or_else(|| base.$maybe.clone()), )*
                }
            }
        }

        /// The settings as flags of `routerly simulate`.
        #[derive(Debug, Clone, Default, clap::Args)]
        pub struct SimulatedArgs {
            $( $(#[doc = $doc])* #[arg(long)] pub $name: Option<$ty>, )*
            $( $(#[doc = $maybe_doc])* #[arg(long)] pub $maybe: Option<$maybe_ty>, )*
        }

        impl SimulatedArgs {
            /// The settings: what the flags name, and the rest from `base`.
            pub fn apply(&self, base: &SimulatedSettings) -> SimulatedSettings {
                SimulatedSettings {
                    $( $name: self.$name.clone().unwrap_or_else(|| base.$name.clone()), )*
                    $( $maybe: self.$maybe.clone().or_else(|| base.$maybe.clone()), )*
                }
            }
        }
    };
}

settings! {
    always {
        /// Time to the first token in milliseconds; 200 by default.
        ttft_ms: u64 = 200,
        /// Speed of the answer in tokens per second; 0 is as fast as possible. 100 by default.
        tokens_per_second: f64 = 100.0,
        /// How far each wait strays from its mean, 0 (never) to 1 (from nothing to twice as long). 0.1 by default.
        jitter: f64 = 0.1,
        /// Tokens of the visible answer, or a range to draw from; 64 to 192 by default.
        output_tokens: TokenCount = TokenCount { min: 64, max: 192 },
        /// Tokens in one event of a stream; 1 by default.
        chunk_tokens: u64 = 1,
        /// How often a request that offers tools gets a tool call, 0 to 1. A forced tool choice always does, and a
        /// request that brings a tool's result never does. 0 by default.
        tool_calls: f64 = 0.0,
        /// Tool calls in such an answer, where the request allows parallel calls; 1 by default.
        tool_call_count: u64 = 1,
        /// Whether text stands before the tool calls of an answer; false by default.
        text_with_tool_calls: bool = false,
        /// Tokens of thinking where the request asks for it; 32 by default.
        thinking_tokens: u64 = 32,
        /// Input tokens reported as read from the prompt cache; 0 by default.
        cached_input_tokens: u64 = 0,
        /// Input tokens reported as written to the prompt cache; 0 by default.
        cache_write_input_tokens: u64 = 0,
        /// How many requests are answered with an error status, 0 to 1; 0 by default.
        error_rate: f64 = 0.0,
        /// The statuses those errors are drawn from; 429, 500, 503 and 529 by default.
        error_status: Statuses = Statuses(vec![429, 500, 503, 529]),
        /// Seconds in the `retry-after` field of a 429 or 503; 1 by default.
        retry_after: u64 = 1,
        /// How many requests end in a connection reset, half of them before the head, 0 to 1; 0 by default.
        reset_rate: f64 = 0.0,
        /// How many answers stop without their end marker, 0 to 1; 0 by default.
        truncate_rate: f64 = 0.0,
        /// How many streams report an error after they have begun, 0 to 1; 0 by default.
        mid_stream_error_rate: f64 = 0.0,
        /// Dimensions of an embedding where the request names none; 1536 by default.
        embedding_dimensions: u64 = 1536,
        /// The models that are listed; any other name is answered just as well.
        models: Names = Names(["sim-large", "sim-small", "sim-embedding"].map(str::to_owned).to_vec()),
        /// Whether a path that no provider has is answered with an account of the request; else 404. True by default.
        echo: bool = true,
        /// Seed of everything that is drawn; 1 by default.
        seed: u64 = 1,
    }
    maybe {
        /// Input tokens reported; estimated from the request, four characters a token, if left out.
        input_tokens: u64,
        /// Reasoning tokens reported beside the visible ones; those of the thinking text if left out.
        reasoning_tokens: u64,
        /// The key that requests must bring; any or none will do if left out.
        require_key: String,
    }
    script {
        /// The status of the answer. From 400 on the body is the dialect's error unless `body` is given.
        status: u16,
        /// The whole body: a string as it is, anything else as JSON.
        body: Value,
        /// The stream, one piece per event, byte for byte.
        raw_events: Vec<String>,
        /// The connection is reset after so many events; 0 is before the head.
        reset_after_events: u64,
        /// The connection is closed in order, but with the body's framing unfinished, after so many events.
        close_after_events: u64,
        /// The stream ends after so many events, its framing in order, its end marker missing.
        truncate_after_events: u64,
        /// Nothing more is sent after so many events, and the connection stays open; 0 is right after the head.
        stall_after_events: u64,
        /// The stream reports an error.
        mid_stream_error: MidStreamError,
    }
}

impl SimulatedSettings {
    /// Every value that makes no sense, as `key: what was expected`.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let rates = [
            ("jitter", self.jitter),
            ("toolCalls", self.tool_calls),
            ("errorRate", self.error_rate),
            ("resetRate", self.reset_rate),
            ("truncateRate", self.truncate_rate),
            ("midStreamErrorRate", self.mid_stream_error_rate),
        ];
        for (key, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                mistakes.push(format!("{key}: expected a number from 0 to 1, found {rate}"));
            }
        }
        if !(self.tokens_per_second >= 0.0 && self.tokens_per_second.is_finite()) {
            mistakes.push(format!("tokensPerSecond: expected 0 or more, found {}", self.tokens_per_second));
        }
        if self.chunk_tokens == 0 {
            mistakes.push("chunkTokens: expected 1 or more, found 0".to_owned());
        }
        if self.error_rate > 0.0 && self.error_status.0.is_empty() {
            mistakes.push("errorStatus: expected at least one status, since errorRate is not 0".to_owned());
        }
        for status in &self.error_status.0 {
            if !(400..=599).contains(status) {
                mistakes.push(format!("errorStatus: expected 400 to 599, found {status}"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        simulated: SimulatedArgs,
    }

    #[test]
    fn an_empty_object_is_the_default() {
        let settings: SimulatedSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, SimulatedSettings::default());
        assert!(settings.mistakes().is_empty());
    }

    #[test]
    fn settings_survive_json() {
        let settings = SimulatedSettings {
            output_tokens: TokenCount { min: 3, max: 9 },
            input_tokens: Some(12),
            ..SimulatedSettings::default()
        };
        let json = serde_json::to_string(&settings).unwrap();
        assert!(json.contains(r#""outputTokens":[3,9]"#), "{json}");
        assert_eq!(serde_json::from_str::<SimulatedSettings>(&json).unwrap(), settings);
    }

    #[test]
    fn flags_name_the_same_settings() {
        let line = "x --ttft-ms 5 --tokens-per-second 0 --output-tokens 3-9 --error-status 429,503 --echo false \
                    --input-tokens 7 --models a,b";
        let settings =
            Command::parse_from(line.split_whitespace()).simulated.apply(&SimulatedSettings::default());
        assert_eq!(settings.ttft_ms, 5);
        assert_eq!(settings.output_tokens, TokenCount { min: 3, max: 9 });
        assert_eq!(settings.error_status, Statuses(vec![429, 503]));
        assert_eq!(settings.models, Names(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(settings.input_tokens, Some(7));
        assert!(!settings.echo);
        assert_eq!(settings.jitter, SimulatedSettings::default().jitter);
    }

    #[test]
    fn an_override_changes_what_it_names_and_no_more() {
        let overrides: SimulatedOverrides =
            serde_json::from_str(r#"{"ttftMs":1,"status":429,"midStreamError":{"afterEvents":2}}"#).unwrap();
        let settings = overrides.apply(&SimulatedSettings::default());
        assert_eq!(settings, SimulatedSettings { ttft_ms: 1, ..SimulatedSettings::default() });
        assert_eq!(overrides.status, Some(429));
        assert_eq!(overrides.mid_stream_error.unwrap().status, 503);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for json in [r#"{"ttft":1}"#, r#"{"outputTokens":[9,3]}"#, r#"{"outputTokens":-1}"#] {
            assert!(serde_json::from_str::<SimulatedSettings>(json).is_err(), "{json}");
        }
        let settings = SimulatedSettings {
            jitter: 2.0,
            error_rate: f64::NAN,
            tokens_per_second: -1.0,
            chunk_tokens: 0,
            error_status: Statuses(vec![200]),
            ..SimulatedSettings::default()
        };
        assert_eq!(settings.mistakes().len(), 5, "{:?}", settings.mistakes());
    }
}
