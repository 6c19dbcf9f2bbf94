//! The look-up: from a token to whose it is, in one hash and one probe.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::proof::{Proof, Prover, Question};
use super::{AuthError, TokenKey, same_bytes};
use crate::config::{Config, TokenHash};
use crate::limits::{SLOW_TOKEN_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::mailbox::Reply;

/// Keys for other doors; they are never tried on slow hashes.
const OTHER_ROLES: [&[u8]; 2] = [b"adm_", b"tls_"];

/// Whose request it is: indexes into the snapshot that the index was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// Index of the project in [`Config::projects`].
    pub project: u32,
    /// Index of the token in the project's tokens.
    pub token: u32,
}

/// The token that a connection sent last and its hash. The key of the hash never changes while the process runs.
#[derive(Default)]
pub struct LastToken {
    token: Vec<u8>,
    digest: [u8; 32],
}

impl LastToken {
    /// Compares in constant time: a connection may carry the requests of several clients of a proxy before us.
    fn is(&self, token: &[u8]) -> bool {
        !self.token.is_empty() && same_bytes(&self.token, token)
    }
}

/// All tokens of one configuration snapshot. Immutable; built anew on each reload.
pub struct TokenIndex {
    key: TokenKey,
    tokens: HashMap<Digest, Entry, FixedState>,
    /// Tokens that are stored as slow hashes, in the order of the file.
    slow: Vec<SlowToken>,
}

/// A token that is stored as a slow hash.
struct SlowToken {
    entry: Entry,
    /// How the token begins, where the file says so.
    snippet: String,
    proof: Arc<Proof>,
}

impl SlowToken {
    /// Whether it is worth a run to find out whether `token` is this one.
    fn may_be(&self, token: &[u8], now_unix_ms: u64) -> bool {
        token.len() <= SLOW_TOKEN_BYTES_MAX
            && token.starts_with(self.snippet.as_bytes())
            && !OTHER_ROLES.iter().any(|role| token.starts_with(role))
            && self.entry.principal_at(now_unix_ms).is_ok()
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    principal: Principal,
    /// Milliseconds since the Unix epoch; `u64::MAX`: never.
    expires_at_ms: u64,
    disabled: bool,
}

impl Entry {
    fn principal_at(&self, now_unix_ms: u64) -> Result<Principal, AuthError> {
        if self.disabled {
            return Err(AuthError::Disabled);
        }
        if now_unix_ms >= self.expires_at_ms {
            return Err(AuthError::Expired);
        }
        Ok(self.principal)
    }
}

impl TokenIndex {
    /// Builds the index. 4,294,967,295 projects or tokens of one project are the bound; more are left out.
    pub fn build(key: TokenKey, config: &Config) -> Self {
        let count = config.projects().iter().map(|project| project.tokens.len()).sum();
        let mut tokens = HashMap::with_capacity_and_hasher(count, FixedState::default());
        let mut slow = Vec::new();
        for (project_at, project) in config.projects().iter().enumerate() {
            for (token_at, token) in project.tokens.iter().enumerate() {
                let (Ok(project), Ok(token_at)) = (u32::try_from(project_at), u32::try_from(token_at)) else {
                    continue;
                };
                let entry = Entry {
                    principal: Principal { project, token: token_at },
                    expires_at_ms: token.expires_at_ms.unwrap_or(u64::MAX),
                    disabled: token.disabled,
                };
                match &token.hash {
                    // Two tokens with one hash are a mistake of the file and do not get here.
                    TokenHash::Keyed(hash) => drop(tokens.entry(Digest(*hash)).or_insert(entry)),
                    TokenHash::Slow(hash) => slow.push(SlowToken {
                        entry,
                        // Some write dots where they cut.
                        snippet: token.snippet.trim_end_matches(['.', '…']).to_owned(),
                        proof: Arc::new(Proof::new(hash.clone())),
                    }),
                }
            }
        }
        Self { key, tokens, slow }
    }

    /// Keeps what `before` knows of slow hashes that are here as well.
    pub fn remember(&mut self, before: &Self) {
        for token in &mut self.slow {
            let known = before.slow.iter().find(|known| known.proof.hash() == token.proof.hash());
            if let Some(known) = known {
                token.proof = Arc::clone(&known.proof);
            }
        }
    }

    /// The keyed hash under which a token is stored.
    #[inline]
    pub fn digest(&self, token: &[u8]) -> [u8; 32] {
        self.key.digest(token)
    }

    /// [`TokenIndex::lookup`] for a connection that has sent a token before: the same token again is not hashed again.
    ///
    /// # Errors
    /// As for [`TokenIndex::lookup`].
    #[inline]
    pub fn lookup_again(
        &self,
        token: &[u8],
        last: &mut LastToken,
        now_unix_ms: u64,
    ) -> Result<Principal, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Unknown);
        }
        if !last.is(token) {
            last.token.clear();
            last.token.extend_from_slice(token);
            last.digest = self.key.digest(token);
        }
        self.find(token, last.digest, now_unix_ms)
    }

    /// Whose token it is. `now_unix_ms` is the wall clock.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Unproven`], [`AuthError::Disabled`] or [`AuthError::Expired`].
    #[inline]
    pub fn lookup(&self, token: &[u8], now_unix_ms: u64) -> Result<Principal, AuthError> {
        // A head may carry 64 KiB; hashing that much for a stranger would be a present to him.
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Unknown);
        }
        self.find(token, self.key.digest(token), now_unix_ms)
    }

    #[inline]
    fn find(&self, token: &[u8], digest: [u8; 32], now_unix_ms: u64) -> Result<Principal, AuthError> {
        match self.tokens.get(&Digest(digest)) {
            Some(entry) => entry.principal_at(now_unix_ms),
            None if self.slow.is_empty() => Err(AuthError::Unknown),
            None => self.find_slow(token, digest, now_unix_ms),
        }
    }

    #[cold]
    fn find_slow(&self, token: &[u8], digest: [u8; 32], now_unix_ms: u64) -> Result<Principal, AuthError> {
        let mut error = AuthError::Unknown;
        for slow in &self.slow {
            match slow.proof.verdict(&digest) {
                Some(true) => return slow.entry.principal_at(now_unix_ms),
                Some(false) => {}
                None if slow.may_be(token, now_unix_ms) => error = AuthError::Unproven,
                None => {}
            }
        }
        Err(error)
    }

    /// Has the token that a look-up called [`AuthError::Unproven`] verified. After the answer a look-up knows more;
    /// `None` when too many are waiting.
    pub fn prove(&self, prover: &Prover, last: &LastToken, now_unix_ms: u64) -> Option<Arc<Reply<()>>> {
        let is_open = |slow: &&SlowToken| {
            slow.proof.verdict(&last.digest).is_none() && slow.may_be(&last.token, now_unix_ms)
        };
        let proofs = self.slow.iter().filter(is_open).map(|slow| Arc::clone(&slow.proof)).collect();
        prover.ask(Question { token: last.token.clone(), digest: last.digest, proofs })
    }

    /// Reads the credential from the two fields and looks it up.
    ///
    /// # Errors
    /// See [`super::credential`] and [`TokenIndex::lookup`].
    #[inline]
    pub fn authenticate(
        &self,
        authorization: Option<&[u8]>,
        x_api_key: Option<&[u8]>,
        now_unix_ms: u64,
    ) -> Result<Principal, AuthError> {
        self.lookup(super::credential(authorization, x_api_key)?, now_unix_ms)
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.slow.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for TokenIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIndex").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

/// A keyed hash as a table key. Its bytes are uniform already, so the first eight of them are all that is hashed.
struct Digest([u8; 32]);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl PartialEq for Digest {
    /// Compares in constant time: every byte is looked at, whatever the first ones say. (ring's own comparison is
    /// deprecated without a successor. What is compared are keyed hashes, so that a leak would tell a guesser
    /// nothing he could build on; this is the second lock.)
    fn eq(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl Eq for Digest {}

impl std::fmt::Debug for LastToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LastToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::{Document, Documents, Env, NoKeys, project};
    use crate::provider::Catalogue;

    fn config(key: &TokenKey, tokens: &[(&str, serde_json::Value)]) -> Config {
        let tokens: Vec<serde_json::Value> = tokens
            .iter()
            .map(|(token, more)| {
                let hash = format!("hmac-sha256:{}", project::hex(&key.digest(token.as_bytes())));
                let mut object = json!({"id": token, "tokenHash": hash});
                object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                object
            })
            .collect();
        let value = json!([{"id": "a", "tokens": []}, {"id": "b", "tokens": tokens}]);
        let projects = Document { text: value.to_string(), value };
        let documents = Documents { projects, ..Documents::default() };
        let catalogue = Arc::new(Catalogue::built_in().clone());
        Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut Vec::new()).unwrap()
    }

    #[test]
    fn a_token_is_found_whatever_its_prefix() {
        let key = TokenKey::new(&[1; 32]);
        let tokens = ["sk-rt-1", "sk-lr-2", "rtr_3", "anything at all"];
        let index = TokenIndex::build(key.clone(), &config(&key, &tokens.map(|token| (token, json!({})))));
        assert_eq!(index.len(), 4);
        for (at, token) in tokens.iter().enumerate() {
            let expected = Principal { project: 1, token: at as u32 };
            assert_eq!(index.lookup(token.as_bytes(), 0), Ok(expected), "{token}");
            let bearer = format!("Bearer {token}");
            assert_eq!(index.authenticate(Some(bearer.as_bytes()), Some(token.as_bytes()), 0), Ok(expected));
        }
        for token in ["", "sk-rt-", "sk-rt-11", "SK-RT-1"] {
            assert_eq!(index.lookup(token.as_bytes(), 0), Err(AuthError::Unknown), "{token}");
        }
        let other = TokenIndex::build(TokenKey::new(&[2; 32]), &config(&key, &[("t", json!({}))]));
        assert_eq!(other.lookup(b"t", 0), Err(AuthError::Unknown), "another key finds nothing");
    }

    #[test]
    fn disabled_and_expired_tokens_are_told_apart() {
        let key = TokenKey::new(&[1; 32]);
        let tokens = [
            ("off", json!({"disabled": true})),
            ("late", json!({"expiresAt": "1970-01-01T00:00:01Z"})),
            ("number", json!({"expiresAt": 2000})),
        ];
        let index = TokenIndex::build(key.clone(), &config(&key, &tokens));
        assert_eq!(index.lookup(b"off", 0), Err(AuthError::Disabled));
        assert!(index.lookup(b"late", 999).is_ok());
        assert_eq!(index.lookup(b"late", 1000), Err(AuthError::Expired));
        assert!(index.lookup(b"number", 1999).is_ok());
        assert_eq!(index.lookup(b"number", 2000), Err(AuthError::Expired));
    }

    #[test]
    fn hashes_that_share_their_first_bytes_are_kept_apart() {
        let mut other = [9; 32];
        other[31] = 8;
        assert!(Digest([9; 32]) == Digest([9; 32]));
        assert!(Digest([9; 32]) != Digest(other));
    }

    const SLOW: &str =
        "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$qPjskEow3bJFVqoQi5KHMMwE6KQGi19afHjE7WvIpV4";
    const SLOW_TOKEN: &[u8] = b"rtr_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";

    fn slow_index(key: &TokenKey, more: serde_json::Value) -> TokenIndex {
        let mut token = json!({"tokenHash": SLOW, "tokenSnippet": "rtr_Zm9v…"});
        token.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        TokenIndex::build(key.clone(), &config(key, &[("fast", json!({})), ("slow", token)]))
    }

    /// Asks as a connection does.
    fn prove(index: &TokenIndex, token: &[u8]) -> Result<Principal, AuthError> {
        let prover = Prover::start(|| {}).unwrap();
        let mut last = LastToken::default();
        assert_eq!(index.lookup_again(token, &mut last, 0), Err(AuthError::Unproven));
        let reply = index.prove(&prover, &last, 0).unwrap();
        while reply.now().is_none() {
            std::thread::yield_now();
        }
        index.lookup_again(token, &mut last, 0)
    }

    #[test]
    fn a_slow_hash_is_computed_once_and_remembered_over_a_reload() {
        let key = TokenKey::new(&[1; 32]);
        let index = slow_index(&key, json!({}));
        assert_eq!(index.len(), 2);
        assert!(index.lookup(b"fast", 0).is_ok(), "the others do not wait");
        assert_eq!(prove(&index, b"rtr_Zm9v-wrong"), Err(AuthError::Unknown));
        let expected = Principal { project: 1, token: 1 };
        assert_eq!(prove(&index, SLOW_TOKEN), Ok(expected));
        assert_eq!(index.lookup(b"rtr_Zm9v-another", 0), Err(AuthError::Unknown), "no run once it is known");
        let mut after = slow_index(&key, json!({"expiresAt": 1000}));
        assert_eq!(after.lookup(SLOW_TOKEN, 0), Err(AuthError::Unproven));
        after.remember(&index);
        assert_eq!(after.lookup(SLOW_TOKEN, 0), Ok(expected));
        assert_eq!(after.lookup(SLOW_TOKEN, 1000), Err(AuthError::Expired));
    }

    #[test]
    fn tokens_that_cannot_be_the_one_cost_no_run() {
        let key = TokenKey::new(&[1; 32]);
        let cases = [
            ("another beginning", json!({}), b"rtr_other".as_slice()),
            ("another role", json!({"tokenSnippet": ""}), b"adm_Zm9v"),
            ("too long", json!({}), &[b"rtr_Zm9v".as_slice(), &[b'x'; SLOW_TOKEN_BYTES_MAX]].concat()),
            ("switched off", json!({"disabled": true}), SLOW_TOKEN),
            ("expired", json!({"expiresAt": 1}), SLOW_TOKEN),
        ];
        for (name, more, token) in cases {
            assert_eq!(slow_index(&key, more).lookup(token, 1), Err(AuthError::Unknown), "{name}");
        }
    }

    #[test]
    fn nothing_of_a_token_shows_in_debug() {
        let key = TokenKey::new(&[1; 32]);
        let index = TokenIndex::build(key.clone(), &config(&key, &[("sk-rt-secret", json!({}))]));
        assert_eq!(format!("{index:?}"), "TokenIndex { tokens: 1, .. }");
    }
}
