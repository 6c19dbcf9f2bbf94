//! Passwords and their hashes.
//!
//! Written as Argon2id with the parameters that OWASP's Password Storage Cheat Sheet gives as the minimum; the hashes
//! of upstream's releases are checked too and are to be replaced at the next sign-in.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;

use crate::auth::{is_hash_of, same_bytes};
use crate::config::SlowHash;
use crate::config::account::PasswordHash;

/// Memory of a new hash in KiB.
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// Shortest password that is taken, in characters.
pub const CHARS_MIN: usize = 8;
/// Longest one, in bytes: nobody types more, and hashing it costs time.
pub const BYTES_MAX: usize = 1_024;

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too easy to guess.
    #[error("a password has at least {CHARS_MIN} characters")]
    TooShort,
    /// Too long to hash.
    #[error("a password has at most {BYTES_MAX} bytes")]
    TooLong,
    /// The system has no randomness for a salt.
    #[error("the system's random number generator does not answer")]
    NoRandomness,
}

/// Whether a password is one that is taken.
///
/// # Errors
/// Why not.
pub fn check(password: &str) -> Result<(), PasswordError> {
    if password.len() > BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    if password.chars().count() < CHARS_MIN { Err(PasswordError::TooShort) } else { Ok(()) }
}

/// Hashes a password that is taken: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. Takes some 20 ms.
///
/// # Errors
/// See [`PasswordError`].
pub fn hash(password: &str, random: &dyn SecureRandom) -> Result<String, PasswordError> {
    check(password)?;
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt).map_err(|_| PasswordError::NoRandomness)?;
    let mut output = [0; OUTPUT_BYTES];
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                password.as_bytes(),
                &salt,
                &mut output,
            )
        })
        // The parameters are constants that Argon2 allows, and the password is short.
        .map_err(|_| PasswordError::TooLong)?;
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"))
}

/// What comes out of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another password, or nobody of that name.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and its hash is to be replaced by [`hash()`].
    RightButOutdated,
}

/// Checks a password against a stored hash, or against nothing in the same time: who asks for an unknown name must not
/// learn that from the clock.
pub fn verify(stored: Option<&PasswordHash>, password: &str) -> Verdict {
    let is_right = match stored {
        // Nobody could have set it.
        _ if password.len() > BYTES_MAX => false,
        None => {
            is_hash_of(&nobody(), password.as_bytes());
            false
        }
        Some(PasswordHash::Argon2(hash)) => is_hash_of(hash, password.as_bytes()),
        Some(PasswordHash::Bcrypt(hash)) => is_bcrypt_of(hash, password),
        Some(PasswordHash::Sha256(hash)) => {
            // It takes no time by itself.
            is_hash_of(&nobody(), password.as_bytes());
            same_bytes(digest::digest(&digest::SHA256, password.as_bytes()).as_ref(), hash)
        }
    };
    match (is_right, stored) {
        (false, _) => Verdict::Wrong,
        (true, Some(PasswordHash::Argon2(hash))) if is_current(hash) => Verdict::Right,
        (true, _) => Verdict::RightButOutdated,
    }
}

/// A hash of today's cost that nothing has.
fn nobody() -> SlowHash {
    SlowHash {
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: Box::new([0; SALT_BYTES]),
        output: Box::new([0; OUTPUT_BYTES]),
    }
}

fn is_current(hash: &SlowHash) -> bool {
    hash.memory_kib >= MEMORY_KIB && hash.passes >= PASSES
}

/// bcrypt reads the first 72 bytes of a password and nothing behind a NUL.
fn is_bcrypt_of(hash: &str, password: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn stored(text: &str) -> PasswordHash {
        PasswordHash::parse(text).expect(text)
    }

    #[test]
    fn a_password_is_that_of_its_own_hash_alone() {
        let random = SystemRandom::new();
        let (one, other) = (hash("correct horse", &random).unwrap(), hash("correct horse", &random).unwrap());
        assert_ne!(one, other, "each has a salt of its own");
        assert_eq!(verify(Some(&stored(&one)), "correct horse"), Verdict::Right);
        assert_eq!(verify(Some(&stored(&one)), "correct horsf"), Verdict::Wrong);
        assert_eq!(verify(Some(&stored(&one)), ""), Verdict::Wrong);
        assert_eq!(verify(None, "correct horse"), Verdict::Wrong);
    }

    #[test]
    fn imported_hashes_are_checked_and_called_outdated() {
        // `password` by bcrypt's own command line (cost 4) and by sha256sum.
        let bcrypt = bcrypt::hash("password", 4).unwrap();
        let sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        let weak = "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$";
        for hash in [bcrypt.as_str(), sha256] {
            assert_eq!(verify(Some(&stored(hash)), "password"), Verdict::RightButOutdated, "{hash}");
            assert_eq!(verify(Some(&stored(hash)), "passwore"), Verdict::Wrong, "{hash}");
        }
        let mut output = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, Some(32)).unwrap())
            .hash_password_into(b"password", &(0..16).collect::<Vec<u8>>(), &mut output)
            .unwrap();
        let weak = format!("{weak}{}", STANDARD_NO_PAD.encode(output));
        assert_eq!(verify(Some(&stored(&weak)), "password"), Verdict::RightButOutdated);
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_taken() {
        assert_eq!(check("1234567"), Err(PasswordError::TooShort));
        assert_eq!(check("äöüÄÖÜßé"), Ok(()));
        assert_eq!(check(&"x".repeat(BYTES_MAX + 1)), Err(PasswordError::TooLong));
        let long = "x".repeat(BYTES_MAX + 1);
        assert_eq!(verify(None, &long), Verdict::Wrong);
    }
}
