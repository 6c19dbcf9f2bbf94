//! How likely a model held the tokens of its answer.

use crate::json::fragment::{Raw, Text};

/// One token of an answer, and what else could have stood in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLogprob<'a> {
    /// The one that was chosen.
    pub chosen: Chance<'a>,
    /// The likeliest ones, most likely first; as many as were asked for.
    pub top: Vec<Chance<'a>>,
}

/// A token and its probability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance<'a> {
    /// Its text.
    pub token: Text<'a>,
    /// The natural logarithm of its probability: a JSON number.
    pub logprob: Raw<'a>,
    /// Its bytes as an array of numbers, where the provider says them: a token may be a part of a character.
    pub bytes: Option<Raw<'a>>,
}

impl TokenLogprob<'_> {
    /// The same token, for longer than its document lives.
    pub fn into_owned(self) -> TokenLogprob<'static> {
        TokenLogprob {
            chosen: self.chosen.into_owned(),
            top: self.top.into_iter().map(Chance::into_owned).collect(),
        }
    }
}

impl Chance<'_> {
    /// The same token, for longer than its document lives.
    pub fn into_owned(self) -> Chance<'static> {
        Chance {
            token: self.token.into_owned(),
            logprob: self.logprob.into_owned(),
            bytes: self.bytes.map(Raw::into_owned),
        }
    }
}
