//! Project token to principal.
//!
//! Owns the reading of the credential from a request's fields, the keyed hash of a token, the look-up over an
//! immutable snapshot and the minting of new tokens. No I/O and no clock; the wall clock is an argument. Nothing
//! here keeps a token: only its hash.
//!
//! Source: the project's API specification, section 2 (which fields), management specification, section 2.3 (token
//! format); RFC 6750, section 2.1 (Bearer).

mod credential;
mod index;
mod token;

pub use credential::credential;
pub use index::{LastToken, Principal, TokenIndex};
pub use token::{Minted, TokenKey, mint, snippet};

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
