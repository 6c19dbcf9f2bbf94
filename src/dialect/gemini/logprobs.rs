//! Log probabilities: `logprobsResult` of a candidate, the chosen tokens and, place by place, the likeliest ones.
//!
//! Source: Gemini API reference, "Candidate" and "LogprobsResult".

use super::fields::{lenient, text};
use crate::dialect::ir::{Chance, Raw, TokenLogprob};
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};

/// Reads a `logprobsResult`; what is no token is passed over.
pub(super) fn read<'a>(result: &Value<'a>, tokens: &mut Vec<TokenLogprob<'a>>) {
    let Some([chosen, top]) = lenient(result.raw, ["chosenCandidates", "topCandidates"]) else { return };
    let Some(chosen) = chosen else { return };
    let mut others = Vec::new();
    if let Some(top) = top {
        let _ = scan::elements(top.raw, |place| others.push(read_place(&place)));
    }
    let mut others = others.into_iter();
    let _ = scan::elements(chosen.raw, |chosen| {
        let top = others.next().unwrap_or_default();
        tokens.extend(read_chance(&chosen).map(|chosen| TokenLogprob { chosen, top }));
    });
}

fn read_place<'a>(place: &Value<'a>) -> Vec<Chance<'a>> {
    let mut chances = Vec::new();
    if let Some([Some(candidates)]) = lenient(place.raw, ["candidates"]) {
        let _ = scan::elements(candidates.raw, |candidate| chances.extend(read_chance(&candidate)));
    }
    chances
}

fn read_chance<'a>(candidate: &Value<'a>) -> Option<Chance<'a>> {
    let [token, logprob] = lenient(candidate.raw, ["token", "logProbability"])?;
    let logprob = match logprob {
        Some(number) if number.kind == Kind::Number => Raw::from_scanned(number.raw)?,
        // A certainty is the default of its field, which a server may leave out.
        None => Raw::from_written("0".to_owned()),
        Some(_) => return None,
    };
    Some(Chance { token: text(token.as_ref())?, logprob, bytes: None })
}

/// Tokens on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Logprobs {
    /// Elements of `chosenCandidates`, joined by commas.
    chosen: Vec<u8>,
    /// Elements of `topCandidates`, joined by commas.
    top: Vec<u8>,
    has_top: bool,
    /// Of all tokens so far, for their average.
    sum: f64,
    count: u32,
}

impl Logprobs {
    /// Takes in tokens.
    pub(super) fn push(&mut self, tokens: &[TokenLogprob<'_>]) {
        for TokenLogprob { chosen, top } in tokens {
            self.sum += chosen.logprob.as_str().parse::<f64>().unwrap_or_default();
            self.count = self.count.saturating_add(1);
            self.has_top |= !top.is_empty();
            for run in [&mut self.chosen, &mut self.top] {
                if !run.is_empty() {
                    run.push(b',');
                }
            }
            write::object(&mut self.chosen, |object| write_chance(object, chosen));
            write::object(&mut self.top, |place| {
                place.array("candidates", |list| {
                    top.iter().for_each(|chance| list.object(|object| write_chance(object, chance)));
                });
            });
        }
    }

    /// Writes those that have not been written yet as a candidate's `logprobsResult`, if there are any.
    pub(super) fn write(&mut self, candidate: &mut Object<'_>) {
        if self.chosen.is_empty() {
            return;
        }
        candidate.object("logprobsResult", |result| {
            if self.has_top {
                result.array("topCandidates", |list| list.run(&self.top));
            }
            result.array("chosenCandidates", |list| list.run(&self.chosen));
        });
        self.chosen.clear();
        self.top.clear();
    }

    /// Writes the average over all tokens as a candidate's `avgLogprobs`, if there were any.
    pub(super) fn write_average(&self, candidate: &mut Object<'_>) {
        let average = self.sum / f64::from(self.count);
        if average.is_finite() {
            candidate.member("avgLogprobs").extend_from_slice(average.to_string().as_bytes());
        }
    }
}

fn write_chance(object: &mut Object<'_>, chance: &Chance<'_>) {
    object.text("token", &chance.token);
    object.raw("logProbability", &chance.logprob);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scanner;

    fn read_all(json: &str) -> Vec<TokenLogprob<'_>> {
        let mut tokens = Vec::new();
        read(&Scanner::new(json.as_bytes()).value().unwrap(), &mut tokens);
        tokens
    }

    #[test]
    fn what_is_read_is_written_again() {
        let json = r#"{"logprobsResult":{"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.25},{"token":"b","logProbability":-3}]},{"candidates":[]}],"chosenCandidates":[{"token":"a","logProbability":-0.25},{"token":"\n","logProbability":-0.75}]},"avgLogprobs":-0.5}"#;
        let result = scan::member(json.as_bytes(), "logprobsResult").unwrap();
        let tokens = read_all(std::str::from_utf8(result.raw).unwrap());
        let (mut logprobs, mut out) = (Logprobs::default(), Vec::new());
        logprobs.push(&tokens[..1]);
        logprobs.push(&tokens[1..]);
        write::object(&mut out, |candidate| {
            logprobs.write(candidate);
            logprobs.write(candidate);
            logprobs.write_average(candidate);
        });
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }

    #[test]
    fn tokens_are_found_in_every_spelling_and_nothing_else_is() {
        let tokens = read_all(
            r#"{"chosen_candidates":[{"token":"a","tokenId":7,"log_probability":-1e-3},{"token":"b"},{"logProbability":1}]}"#,
        );
        let said: Vec<_> = tokens
            .iter()
            .map(|token| (token.chosen.token.escaped(), token.chosen.logprob.as_str()))
            .collect();
        assert_eq!(said, [("a", "-1e-3"), ("b", "0")]);
        for json in ["null", "{}", "[]", r#"{"topCandidates":[{}]}"#, r#"{"chosenCandidates":{}}"#] {
            assert_eq!(read_all(json), [], "{json}");
        }
        let mut out = Vec::new();
        write::object(&mut out, |candidate| {
            Logprobs::default().write(candidate);
            Logprobs::default().write_average(candidate);
        });
        assert_eq!(out, b"{}");
    }
}
