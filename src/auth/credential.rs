//! From header fields to the credential.

use super::AuthError;

/// The token of a request, from the values of `Authorization` and `x-api-key`.
///
/// Either field may carry it; both together only with the same token. An `Authorization` of another scheme than
/// Bearer is no credential, and next to an `x-api-key` it is a contradiction.
///
/// # Errors
/// [`AuthError::Missing`] without a credential, [`AuthError::Mismatch`] for two that differ.
#[inline]
pub fn credential<'r>(
    authorization: Option<&'r [u8]>,
    x_api_key: Option<&'r [u8]>,
) -> Result<&'r [u8], AuthError> {
    let key = x_api_key.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty());
    let Some(authorization) = authorization.map(<[u8]>::trim_ascii).filter(|value| !value.is_empty()) else {
        return key.ok_or(AuthError::Missing);
    };
    match (bearer(authorization), key) {
        (Some(token), None) => Ok(token),
        // The client sent both itself: comparing them tells nobody anything.
        (Some(token), Some(key)) if token == key => Ok(token),
        (None, None) => Err(AuthError::Missing),
        (Some(_) | None, Some(_)) => Err(AuthError::Mismatch),
    }
}

/// The token of a request to Gemini's paths: in `Authorization`, or as a key in any of the places where Google's clients
/// put one. All that carry something have to say the same.
///
/// # Errors
/// As for [`credential`].
pub fn google_credential<'r>(
    authorization: Option<&'r [u8]>,
    keys: [Option<&'r [u8]>; 3],
) -> Result<&'r [u8], AuthError> {
    let mut given = keys.into_iter().flatten().map(<[u8]>::trim_ascii).filter(|key| !key.is_empty());
    let first = given.next();
    if given.any(|key| Some(key) != first) {
        return Err(AuthError::Mismatch);
    }
    credential(authorization, first)
}

/// The token after `Bearer`, whose case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let token = rest.trim_ascii_start();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && token.len() < rest.len();
    (is_bearer && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_s_clients_may_put_the_token_into_any_of_their_places() {
        type Case = (Option<&'static str>, [Option<&'static str>; 3], Result<&'static str, AuthError>);
        let cases: [Case; 7] = [
            (None, [None, None, None], Err(AuthError::Missing)),
            (None, [None, Some("a"), None], Ok("a")),
            (None, [None, None, Some("a")], Ok("a")),
            (None, [Some("a"), Some("a"), Some("")], Ok("a")),
            (None, [None, Some("a"), Some("b")], Err(AuthError::Mismatch)),
            (Some("Bearer a"), [None, Some("a"), None], Ok("a")),
            (Some("Bearer a"), [None, None, Some("b")], Err(AuthError::Mismatch)),
        ];
        for (authorization, keys, expected) in cases {
            let keys = keys.map(|key| key.map(str::as_bytes));
            let found = google_credential(authorization.map(str::as_bytes), keys);
            assert_eq!(found, expected.map(str::as_bytes), "{authorization:?} {keys:?}");
        }
    }

    #[test]
    fn either_field_carries_the_token_and_both_must_agree() {
        type Case = (Option<&'static str>, Option<&'static str>, Result<&'static str, AuthError>);
        let cases: [Case; 16] = [
            (None, None, Err(AuthError::Missing)),
            (Some(""), Some(" "), Err(AuthError::Missing)),
            (Some("Bearer a"), None, Ok("a")),
            (Some("bearer  a "), None, Ok("a")),
            (Some("BEARER\ta"), None, Ok("a")),
            (None, Some("a"), Ok("a")),
            (Some("Bearer a"), Some("a"), Ok("a")),
            (Some("Bearer a"), Some("b"), Err(AuthError::Mismatch)),
            (Some("Bearer a"), Some(""), Ok("a")),
            (Some("Basic a"), None, Err(AuthError::Missing)),
            (Some("Basic a"), Some("a"), Err(AuthError::Mismatch)),
            (Some("Bearer"), None, Err(AuthError::Missing)),
            (Some("Bearer "), None, Err(AuthError::Missing)),
            (Some("Bearera"), None, Err(AuthError::Missing)),
            (Some("Bearer"), Some("a"), Err(AuthError::Mismatch)),
            (Some("x"), None, Err(AuthError::Missing)),
        ];
        for (authorization, key, expected) in cases {
            let found = credential(authorization.map(str::as_bytes), key.map(str::as_bytes));
            assert_eq!(found, expected.map(str::as_bytes), "{authorization:?} {key:?}");
        }
    }
}
