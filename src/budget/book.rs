//! All accounts of the process, by what they count. Survives reloads of the configuration.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::account::Account;
use super::key::Key;
use super::window::{Moment, Span};

/// Finds accounts by their key, and makes them. An account lives as long as the configuration in force has its limit; a
/// request that began under an older one settles on the account that it knows.
#[derive(Debug)]
pub struct Book {
    cores: usize,
    accounts: Mutex<HashSet<ByKey, RandomState>>,
}

#[derive(Debug)]
struct ByKey(Arc<Account>);

impl Borrow<Key> for ByKey {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

/// The accounts of a configuration that is being made ready.
pub(super) struct Opening<'b> {
    book: &'b Book,
    found: HashSet<ByKey, RandomState>,
    now: Moment,
}

impl Book {
    /// An empty book for so many cores.
    pub fn new(cores: usize) -> Self {
        Self { cores, accounts: Mutex::default() }
    }

    /// Begins a configuration.
    pub(super) fn open(&self, now: Moment) -> Opening<'_> {
        Opening { book: self, found: HashSet::default(), now }
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Opening<'_> {
    /// The account of a key with its limit put in force; counts of an earlier configuration stay. Where a key comes
    /// twice, the lower limit is the one that binds.
    pub(super) fn account(&mut self, key: Key, span: Span, limit: u64) -> Arc<Account> {
        if let Some(ByKey(known)) = self.found.get(&key) {
            known.set_limit(limit.min(known.level(self.now).limit));
            return Arc::clone(known);
        }
        let account = self.take_over(key, span, limit);
        self.found.insert(ByKey(Arc::clone(&account)));
        account
    }

    fn take_over(&self, key: Key, span: Span, limit: u64) -> Arc<Account> {
        let accounts = self.book.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = accounts.get(&key).map(|known| &known.0);
        match known {
            Some(known) if *known.span() == span => {
                known.set_limit(limit);
                Arc::clone(known)
            }
            Some(known) => {
                // Another time zone: the window around now begins elsewhere. What is spent stays spent.
                let account = Account::new(key, span, limit, self.book.cores);
                account.succeed(known, self.now);
                Arc::new(account)
            }
            None => Arc::new(Account::new(key, span, limit, self.book.cores)),
        }
    }

    /// Drops the accounts whose limits are gone.
    pub(super) fn close(self) {
        *self.book.accounts.lock().unwrap_or_else(PoisonError::into_inner) = self.found;
    }
}
