//! Tokens: their keyed hash, and new ones.

use ring::hmac;
use ring::rand::SecureRandom;

use crate::config::Secret;

/// How a token of ours begins. Never used to tell whether a token is valid.
const PREFIX: &str = "sk-rt-";
/// Random bytes of a token: 256 bits, so that its hash needs no slowness.
const RANDOM_BYTES: usize = 32;
/// Characters of a token that are kept to tell tokens apart; four of them are random.
const SNIPPET_CHARS: usize = 10;

/// The key of the token hash, prepared for use: one per home.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// Prepares the key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// HMAC-SHA256 of a whole token.
    #[inline]
    pub fn digest(&self, token: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, token).as_ref());
        digest
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// A new token, shown once.
#[derive(Debug)]
pub struct Minted {
    /// `sk-rt-` and 64 hexadecimal digits.
    pub token: Secret,
    /// Its first ten characters, for `tokenSnippet`.
    pub snippet: String,
}

/// Whether a text begins like the tokens that clients of a gateway have, this one's or an older one's.
pub fn is_like_a_token(text: &str) -> bool {
    [PREFIX, "sk-lr-", "rtr_"].iter().any(|prefix| text.starts_with(prefix))
}

/// Makes a token from 32 random bytes.
///
/// # Errors
/// When the system has no randomness to give.
pub fn mint(random: &dyn SecureRandom) -> Result<Minted, ring::error::Unspecified> {
    let mut bytes = [0; RANDOM_BYTES];
    random.fill(&mut bytes)?;
    let token = format!("{PREFIX}{}", crate::config::project::hex(&bytes));
    Ok(Minted { snippet: snippet(&token), token: Secret::new(token) })
}

/// The part of a token that is kept in clear.
pub fn snippet(token: &str) -> String {
    token.chars().take(SNIPPET_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_has_the_documented_form_and_is_never_printed() {
        let random = ring::rand::SystemRandom::new();
        let (one, two) = (mint(&random).unwrap(), mint(&random).unwrap());
        let text = one.token.expose();
        assert_ne!(text, two.token.expose());
        assert_eq!(text.len(), 70);
        let digits = text.strip_prefix("sk-rt-").unwrap();
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(one.snippet, text[..10]);
        assert!(!format!("{one:?} {:?}", TokenKey::new(&[7; 32])).contains(digits));
    }

    #[test]
    fn the_digest_is_hmac_sha256() {
        // RFC 4231 has no 32-byte key; this value is from Python's hmac module.
        let digest = TokenKey::new(&[0x0b; 32]).digest(b"Hi There");
        let expected = "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7";
        assert_eq!(crate::config::project::hex(&digest), expected);
    }
}
