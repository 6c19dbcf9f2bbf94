//! What writers know beside what they write: the model that is asked, the client that is answered.

use super::ir::Vendor;
use super::proof::ProofKey;

/// The model that a request is written for.
#[derive(Debug, Clone, Copy)]
pub struct TargetModel<'a> {
    /// Its name in the provider's words.
    pub name: &'a str,
    /// Who makes the proofs that it takes.
    pub vendor: Vendor,
    /// What a chat body calls its output limit there: `max_tokens` or `max_completion_tokens`.
    pub token_limit_param: &'a str,
    /// Most output tokens to ask for where the dialect needs a number and the client gave none.
    pub output_tokens_default: u64,
    /// The field in which chat servers of this kind take and give readable thoughts: `reasoning_content`, `reasoning`;
    /// `None`: they do not.
    pub reasoning_field: Option<&'a str>,
}

/// What a request writer has done that has to be undone in the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// Functions that were sent under another name: as sent, as the client named it.
    pub tool_names: Vec<(String, String)>,
    /// Functions, by the name sent, that stand for a custom tool: their input is `{"input":"…"}`.
    pub custom_tools: Vec<String>,
    /// The function, by the name sent, whose input is the answer's text (JSON by a forced call).
    pub answer_tool: Option<String>,
}

/// The client that an answer is written for.
#[derive(Debug, Clone)]
pub struct ClientContext {
    /// The model to name where the provider names none.
    pub model: String,
    /// Now, in seconds since the epoch.
    pub unix_seconds: u64,
    /// Whether the usage chunk of a chat stream was asked for.
    pub stream_usage: bool,
    /// Whether a chat client reads `function_call`.
    pub legacy_functions: bool,
    /// Members of the request that a Responses object repeats, written by that dialect's request reader as a run of
    /// `"name":value` joined by commas.
    pub echo: Vec<u8>,
    /// Makes ids.
    pub ids: Ids,
    /// Seals proofs of other vendors.
    pub proofs: ProofKey,
}

/// Makes ids that do not repeat. Same seed, same ids.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    seed: u128,
    count: u64,
}

impl Ids {
    /// Ids from a seed that no other request has, such as its trace id.
    pub fn new(seed: u128) -> Self {
        Self { seed, count: 0 }
    }

    /// `prefix` and the seed itself: the id of the answer as a whole, in which a UUIDv7 stays one.
    pub fn own(&self, prefix: &str) -> String {
        format!("{prefix}{:032x}", self.seed)
    }

    /// `prefix` and 32 lower-case hexadecimal digits.
    pub fn make(&mut self, prefix: &str) -> String {
        self.count += 1;
        let high = mix((self.seed >> 64) as u64 ^ self.count);
        let low = mix(self.seed as u64 ^ high.rotate_left(17) ^ self.count);
        format!("{prefix}{high:016x}{low:016x}")
    }
}

/// Spreads each bit over all. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_can_be_repeated() {
        let (mut a, mut b) = (Ids::new(7), Ids::new(8));
        let made: Vec<String> = (0..4).map(|_| a.make("msg_")).collect();
        assert!(made.iter().all(|id| id.len() == 36 && id.starts_with("msg_")));
        assert_eq!(made.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert_ne!(made[0], b.make("msg_"));
        assert_eq!(made[0], Ids::new(7).make("msg_"));
    }
}
