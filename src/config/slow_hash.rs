//! An Argon2id hash as it stands in a file.
//!
//! Owns the reading of its text and the bounds of what it may cost. Computes nothing: that is `auth`'s.
//!
//! Source: the PHC string format; RFC 9106 for the parameters; the project's worker specification, section 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX};

/// How such a hash begins.
pub(crate) const PREFIX: &str = "$argon2";

/// An Argon2id hash: what to compute, and what has to come out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SlowHash {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// The salt.
    pub salt: Box<[u8]>,
    /// What has to come out.
    pub output: Box<[u8]>,
}

impl SlowHash {
    /// What [`SlowHash::parse`] takes, for whoever wrote something else.
    pub fn expected() -> String {
        format!(
            "$argon2id$v=19$m=…,t=…,p=…$salt$hash with at most m={ARGON2_MEMORY_KIB_MAX}, t={ARGON2_PASSES_MAX}, \
             p={ARGON2_LANES_MAX}, a salt of 8 to 64 bytes and a hash of 16 to 64"
        )
    }

    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, salt and hash in base64 without padding; `None` for anything
    /// else, for parameters that Argon2 does not allow and for those beyond our bounds.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let start = [parts.next()?, parts.next()?, parts.next()?];
        let (parameters, salt, output) = (parts.next()?, parts.next()?, parts.next()?);
        if start != ["", "argon2id", "v=19"] || parts.next().is_some() {
            return None;
        }
        let mut parameters = parameters.split(',');
        let mut number = |name: &str, most: u32| {
            let digits = parameters.next()?.strip_prefix(name)?.strip_prefix('=')?;
            let number: u32 = digits.parse().ok()?;
            (digits.bytes().all(|byte| byte.is_ascii_digit()) && (1..=most).contains(&number))
                .then_some(number)
        };
        let (memory_kib, passes, lanes) = (
            number("m", ARGON2_MEMORY_KIB_MAX)?,
            number("t", ARGON2_PASSES_MAX)?,
            number("p", ARGON2_LANES_MAX)?,
        );
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).ok().map(Vec::into_boxed_slice);
        let hash = Self { memory_kib, passes, lanes, salt: bytes(salt)?, output: bytes(output)? };
        let is_sound = parameters.next().is_none()
            && (8..=64).contains(&hash.salt.len())
            && (16..=64).contains(&hash.output.len())
            && memory_kib >= 8 * lanes;
        is_sound.then_some(hash)
    }
}

impl std::fmt::Debug for SlowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlowHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "AAECAwQFBgcICQoLDA0ODw";
    const OUTPUT: &str = "PKiDnqCvNL5jKOxQFyzkld0DnAPe5g8P/lFUHZuoqBc";

    #[test]
    fn a_hash_of_the_documented_form_is_read() {
        let text = format!("$argon2id$v=19$m=65536,t=3,p=4${SALT}${OUTPUT}");
        let hash = SlowHash::parse(&text).unwrap();
        assert_eq!((hash.memory_kib, hash.passes, hash.lanes), (65_536, 3, 4));
        assert_eq!((hash.salt.len(), hash.output.len(), hash.salt[15]), (16, 32, 15));
        assert_eq!(format!("{hash:?}"), "SlowHash(…)");
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "A".repeat(87);
        let cases = [
            ("empty", String::new()),
            ("another algorithm", format!("$argon2i$v=19$m=64,t=1,p=1${SALT}${OUTPUT}")),
            ("no version", format!("$argon2id$m=64,t=1,p=1${SALT}${OUTPUT}")),
            ("the old version", format!("$argon2id$v=16$m=64,t=1,p=1${SALT}${OUTPUT}")),
            ("no hash", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}")),
            ("an empty hash", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}$")),
            ("more behind", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${OUTPUT}$")),
            ("something before", format!("x$argon2id$v=19$m=64,t=1,p=1${SALT}${OUTPUT}")),
            ("another order", format!("$argon2id$v=19$t=1,m=64,p=1${SALT}${OUTPUT}")),
            ("a parameter more", format!("$argon2id$v=19$m=64,t=1,p=1,keyid=AA${SALT}${OUTPUT}")),
            ("a parameter less", format!("$argon2id$v=19$m=64,t=1${SALT}${OUTPUT}")),
            ("a sign", format!("$argon2id$v=19$m=+64,t=1,p=1${SALT}${OUTPUT}")),
            ("no pass", format!("$argon2id$v=19$m=64,t=0,p=1${SALT}${OUTPUT}")),
            ("less memory than lanes need", format!("$argon2id$v=19$m=31,t=1,p=4${SALT}${OUTPUT}")),
            ("too much memory", format!("$argon2id$v=19$m=4194304,t=1,p=1${SALT}${OUTPUT}")),
            ("too many passes", format!("$argon2id$v=19$m=64,t=4000000,p=1${SALT}${OUTPUT}")),
            ("a number that is none", format!("$argon2id$v=19$m=99999999999,t=1,p=1${SALT}${OUTPUT}")),
            ("padding", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}==${OUTPUT}")),
            ("no base64", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}$!{OUTPUT}")),
            ("a short salt", format!("$argon2id$v=19$m=64,t=1,p=1$AAAA${OUTPUT}")),
            ("a long hash", format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${long}")),
        ];
        for (name, text) in cases {
            assert_eq!(SlowHash::parse(&text), None, "{name}");
        }
    }
}
