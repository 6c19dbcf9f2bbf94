//! Tokens whose hash takes long to compute: computed once, on a thread of its own, and remembered.
//!
//! Owns the Argon2id run, what is known of each slow hash, and the thread. A core never computes one: it asks, waits
//! like for any other answer, and looks the token up again. What is remembered are keyed digests, never a token:
//!
//! - of the token that a hash belongs to, once it was seen: from then on look-up is a comparison, and no other token
//!   costs a run for this hash any more;
//! - of the last few that it does not belong to.
//!
//! At most one run goes on at a time, and few wait: who asks for more is told that the gateway is busy.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};

use super::same_bytes;
use crate::config::SlowHash;
use crate::limits::{PROOF_QUEUE_MAX, REFUTED_TOKENS_MAX};
use crate::mailbox::Reply;

/// Keyed hash of a token.
type Digest = [u8; 32];

/// One slow hash, and what is known of it. Outlives a reload that keeps the hash.
pub(super) struct Proof {
    hash: SlowHash,
    /// Digest of its token, once that was seen.
    digest: OnceLock<Digest>,
    /// Digests of tokens that are not its token, newest last.
    refuted: Mutex<VecDeque<Digest>>,
}

impl Proof {
    pub(super) fn new(hash: SlowHash) -> Self {
        Self { hash, digest: OnceLock::new(), refuted: Mutex::default() }
    }

    pub(super) fn hash(&self) -> &SlowHash {
        &self.hash
    }

    /// Whether the token with this digest is the one; `None` as long as nobody knows.
    pub(super) fn verdict(&self, digest: &Digest) -> Option<bool> {
        match self.digest.get() {
            Some(known) => Some(same_bytes(known, digest)),
            None => lock(&self.refuted).contains(digest).then_some(false),
        }
    }

    /// Finds out whether `token` is the one, and remembers it. Takes as long as the hash's parameters say.
    fn prove(&self, token: &[u8], digest: Digest) -> bool {
        if let Some(known) = self.verdict(&digest) {
            return known;
        }
        if is_hash_of(&self.hash, token) {
            // Somebody else may have come first, with the same token.
            let _ = self.digest.set(digest);
            return true;
        }
        let mut refuted = lock(&self.refuted);
        if refuted.len() == REFUTED_TOKENS_MAX {
            refuted.pop_front();
        }
        refuted.push_back(digest);
        false
    }
}

/// Computes the hash of `token` and compares in constant time.
pub(crate) fn is_hash_of(hash: &SlowHash, token: &[u8]) -> bool {
    let mut output = vec![0; hash.output.len()];
    let params = Params::new(hash.memory_kib, hash.passes, hash.lanes, Some(output.len()));
    let computed = params.and_then(|params| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            token,
            &hash.salt,
            &mut output,
        )
    });
    computed.is_ok() && same_bytes(&output, &hash.output)
}

/// What the thread is asked: which of `proofs` the token is the one of.
pub(super) struct Question {
    pub(super) token: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) proofs: Vec<Arc<Proof>>,
}

/// Questions that were not answered yet, by the digest of their token.
type Open = HashMap<Digest, Arc<Reply<()>>>;

/// The thread that computes slow hashes, shared by all cores.
pub struct Prover {
    questions: SyncSender<Question>,
    open: Arc<Mutex<Open>>,
}

impl Prover {
    /// Starts the thread, which runs `prepare` first. It ends when this is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(prepare: fn()) -> std::io::Result<Self> {
        let (questions, inbox) = sync_channel(PROOF_QUEUE_MAX);
        let open: Arc<Mutex<Open>> = Arc::default();
        let answered = Arc::clone(&open);
        std::thread::Builder::new().name("prover".to_owned()).spawn(move || {
            prepare();
            work(&inbox, &answered);
        })?;
        Ok(Self { questions, open })
    }

    /// Asks; the answer means that the look-up now knows. `None`: too many are waiting.
    pub(super) fn ask(&self, question: Question) -> Option<Arc<Reply<()>>> {
        let mut open = lock(&self.open);
        if let Some(reply) = open.get(&question.digest) {
            // A client that opens many connections at once asks the same on each.
            return Some(Arc::clone(reply));
        }
        let digest = question.digest;
        self.questions.try_send(question).ok()?;
        let reply = Arc::default();
        open.insert(digest, Arc::clone(&reply));
        Some(reply)
    }
}

fn work(inbox: &Receiver<Question>, open: &Mutex<Open>) {
    for Question { token, digest, proofs } in inbox {
        proofs.iter().any(|proof| proof.prove(&token, digest));
        if let Some(reply) = lock(open).remove(&digest) {
            reply.answer(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = b"rtr_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";

    #[test]
    fn hashes_of_another_implementation_verify_alike() {
        // Made with argon2-cffi 25.1 (the reference implementation in C): hash_secret(token, bytes(range(16)), …).
        let hashes = [
            "$argon2id$v=19$m=65536,t=3,p=4$AAECAwQFBgcICQoLDA0ODw$PKiDnqCvNL5jKOxQFyzkld0DnAPe5g8P/lFUHZuoqBc",
            "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$tF/KYP0tNcdlfu9NPae7rs5s7Rh7snUZqiFK6rzGUvE",
            "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$qPjskEow3bJFVqoQi5KHMMwE6KQGi19afHjE7WvIpV4",
            "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$YNBRNZ51q5RcZ2/ukj+S+g",
        ];
        for text in hashes {
            let hash = SlowHash::parse(text).unwrap();
            assert!(is_hash_of(&hash, TOKEN), "{text}");
            assert!(!is_hash_of(&hash, &TOKEN[1..]), "{text}");
        }
    }

    fn proof() -> Arc<Proof> {
        let text = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$YNBRNZ51q5RcZ2/ukj+S+g";
        Arc::new(Proof::new(SlowHash::parse(text).unwrap()))
    }

    #[test]
    fn a_verdict_is_remembered_and_the_right_token_ends_all_runs() {
        let proof = proof();
        assert_eq!(proof.verdict(&[1; 32]), None);
        assert!(!proof.prove(b"rtr_wrong", [1; 32]));
        assert_eq!((proof.verdict(&[1; 32]), proof.verdict(&[2; 32])), (Some(false), None));
        assert!(proof.prove(TOKEN, [2; 32]));
        assert_eq!((proof.verdict(&[2; 32]), proof.verdict(&[3; 32])), (Some(true), Some(false)));
        // Known by its digest alone from now on.
        assert!(proof.prove(b"whatever", [2; 32]));
    }

    #[test]
    fn wrong_tokens_are_remembered_up_to_the_bound() {
        let proof = proof();
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest
        };
        for number in 0..=REFUTED_TOKENS_MAX {
            assert!(!proof.prove(b"rtr_wrong", digest(number)));
        }
        assert_eq!(proof.verdict(&digest(0)), None, "the oldest is forgotten");
        assert_eq!(proof.verdict(&digest(1)), Some(false));
        assert_eq!(lock(&proof.refuted).len(), REFUTED_TOKENS_MAX);
    }

    #[test]
    fn few_wait_and_the_same_token_waits_once() {
        let (questions, inbox) = sync_channel(PROOF_QUEUE_MAX);
        let prover = Prover { questions, open: Arc::default() };
        let proof = proof();
        let ask = |number: u8| {
            let digest = [number; 32];
            prover.ask(Question { token: TOKEN.to_vec(), digest, proofs: vec![Arc::clone(&proof)] })
        };
        let replies: Vec<_> = (0..PROOF_QUEUE_MAX as u8).map(|number| ask(number).unwrap()).collect();
        assert!(ask(PROOF_QUEUE_MAX as u8).is_none());
        assert!(Arc::ptr_eq(&ask(0).unwrap(), &replies[0]));
        let open = Arc::clone(&prover.open);
        drop(prover);
        work(&inbox, &open);
        assert!(replies.iter().all(|reply| reply.now().is_some()) && lock(&open).is_empty());
        assert_eq!(proof.verdict(&[0; 32]), Some(true), "the first question was the right token");
    }
}
