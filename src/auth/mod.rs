//! Project token to principal.
//!
//! Owns the reading of the credential from a request's fields, the keyed hash of a token, the look-up over an
//! immutable snapshot, the slow hashes that some tokens are stored as, and the minting of new tokens. No I/O and no
//! clock; the wall clock is an argument. Nothing here keeps a token beyond its connection: only its hash.
//!
//! Source: the project's API specification, section 2 (which fields), management specification, section 2.3 (token
//! format); RFC 6750, section 2.1 (Bearer).

mod credential;
mod index;
mod proof;
mod token;

use std::hint::black_box;

pub use credential::{credential, google_credential};
pub use index::{LastToken, Principal, TokenIndex};
pub use proof::Prover;
pub(crate) use proof::is_hash_of;
pub use token::{Minted, TokenKey, is_like_a_token, mint, snippet};

/// Why a request is not from anyone we know. All of them are answered with 401 and the same text, so that a
/// guesser learns nothing; the log tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential in the request.
    #[error("no token in the request")]
    Missing,
    /// A credential that no project has.
    #[error("the token is not known")]
    Unknown,
    /// It may be one that is stored as a slow hash, which has to be computed first: see [`TokenIndex::prove`].
    #[error("the token has not been verified yet")]
    Unproven,
    /// The token is switched off.
    #[error("the token is switched off")]
    Disabled,
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// `Authorization` and `x-api-key` do not say the same.
    #[error("Authorization and x-api-key hold different credentials")]
    Mismatch,
}

/// Whether two byte strings are the same, in a time that depends on their length alone.
pub(crate) fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && black_box(difference) == 0
}
