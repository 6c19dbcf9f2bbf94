//! Refresh grants: what a client may get a new sign-in token with, once per token.
//!
//! Each renewal replaces the refresh token. Whoever shows one that was replaced has it from somewhere else: the grant
//! ends then, for both.
//!
//! Source: RFC 6749, section 6; RFC 9700 (security best practice), section 4.14; the project's management
//! specification, section 2.2.

use ring::digest;
use ring::rand::SecureRandom;

use crate::auth::same_bytes;
use crate::config::account::{Grant, User};
use crate::config::project::hex;

/// Bytes of randomness in a refresh token.
const TOKEN_BYTES: usize = 40;
/// How long a grant lasts without being used: 30 days.
pub const LIFE_MS: u64 = 30 * 86_400_000;
/// Most grants of one user; the one that was not used for longest makes room.
pub const GRANTS_MAX: usize = 32;
/// Replaced tokens of a grant that are known as such; an older one is nobody's.
const PREVIOUS_MAX: usize = 16;
/// Longest label, in bytes.
const LABEL_BYTES_MAX: usize = 128;

/// A refresh token and what is stored of it.
pub struct NewToken {
    /// 80 hexadecimal digits, for the client alone.
    pub text: String,
    /// What is stored.
    pub hash: [u8; 32],
}

/// Makes a refresh token.
///
/// # Errors
/// The system has no randomness to give.
pub fn new_token(random: &dyn SecureRandom) -> Result<NewToken, ring::error::Unspecified> {
    let mut bytes = [0; TOKEN_BYTES];
    random.fill(&mut bytes)?;
    let text = hex(&bytes);
    let hash = hash_of(&text);
    Ok(NewToken { text, hash })
}

fn hash_of(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

/// What a refresh token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// In force: user and grant, as indexes.
    Current(usize, usize),
    /// It was replaced: the grant has to end.
    Replaced(usize, usize),
    /// Nobody's, or its time is over.
    Unknown,
}

/// Finds the grant of a refresh token.
pub fn find(users: &[User], token: &str, now_ms: u64) -> Shown {
    let hash = hash_of(token);
    for (user_index, user) in users.iter().enumerate() {
        for (index, grant) in user.grants.iter().enumerate() {
            if grant.expires_ms.is_some_and(|expires| now_ms >= expires) {
                continue;
            }
            if same_bytes(&grant.hash, &hash) {
                return Shown::Current(user_index, index);
            }
            if grant.previous.iter().any(|previous| same_bytes(previous, &hash)) {
                return Shown::Replaced(user_index, index);
            }
        }
    }
    Shown::Unknown
}

/// Adds a grant to a user's; those that are over go, and the one that was not used for longest where there are many.
pub fn add(grants: &mut Vec<Grant>, id: String, hash: [u8; 32], label: &str, now_ms: u64) {
    grants.retain(|grant| grant.expires_ms.is_none_or(|expires| now_ms < expires));
    while grants.len() >= GRANTS_MAX {
        let oldest = grants.iter().enumerate().min_by_key(|(_, grant)| grant.last_used_ms);
        let Some((index, _)) = oldest else { break };
        grants.remove(index);
    }
    let mut end = label.len().min(LABEL_BYTES_MAX);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    grants.push(Grant {
        id,
        hash,
        previous: Vec::new(),
        created_ms: now_ms,
        last_used_ms: now_ms,
        expires_ms: Some(now_ms.saturating_add(LIFE_MS)),
        label: label[..end].to_owned(),
    });
}

/// Replaces a grant's token.
pub fn renew(grant: &mut Grant, hash: [u8; 32], now_ms: u64) {
    grant.previous.insert(0, std::mem::replace(&mut grant.hash, hash));
    grant.previous.truncate(PREVIOUS_MAX);
    grant.last_used_ms = now_ms;
    grant.expires_ms = Some(now_ms.saturating_add(LIFE_MS));
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn user(grants: Vec<Grant>) -> User {
        User {
            id: "u".to_owned(),
            email: "u@example.org".to_owned(),
            password: None,
            role: "viewer".to_owned(),
            project_ids: vec![],
            credential_version: 0,
            grants,
        }
    }

    #[test]
    fn a_token_is_current_until_it_is_renewed_and_then_a_sign_of_theft() {
        let random = SystemRandom::new();
        let first = new_token(&random).unwrap();
        assert_eq!(first.text.len(), 80);
        let mut users = vec![user(vec![]), user(vec![])];
        add(&mut users[1].grants, "g".to_owned(), first.hash, "laptop", 1_000);
        assert_eq!(find(&users, &first.text, 1_000), Shown::Current(1, 0));
        let second = new_token(&random).unwrap();
        renew(&mut users[1].grants[0], second.hash, 2_000);
        assert_eq!(find(&users, &second.text, 2_000), Shown::Current(1, 0));
        assert_eq!(find(&users, &first.text, 2_000), Shown::Replaced(1, 0));
        assert_eq!(find(&users, "", 2_000), Shown::Unknown);
        assert_eq!(find(&users, &second.text, 2_000 + LIFE_MS), Shown::Unknown);
    }

    #[test]
    fn grants_are_bounded_and_what_is_over_goes_first() {
        let mut grants = vec![];
        for number in 0..GRANTS_MAX as u64 + 5 {
            add(&mut grants, format!("g{number}"), [number as u8; 32], "", 1_000 + number);
        }
        assert_eq!(grants.len(), GRANTS_MAX);
        assert_eq!(grants[0].id, "g5");
        add(&mut grants, "later".to_owned(), [0; 32], &"ä".repeat(100), 1_000 + LIFE_MS + 10);
        let ids: Vec<_> = grants.iter().map(|grant| grant.id.as_str()).collect();
        assert_eq!(ids.first(), Some(&"g11"));
        assert_eq!(grants.last().unwrap().label.len(), LABEL_BYTES_MAX);
    }
}
