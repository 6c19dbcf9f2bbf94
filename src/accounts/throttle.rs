//! The brake on guessing passwords: per account, and per address that the guesses come from.
//!
//! A few failures are free, as people mistype; each further one doubles the wait until the next try is looked at. A
//! success frees the account. Bounded: whoever makes up names fills the table, and then the least recent ones go.
//!
//! Source: the project's management specification, section 7; OWASP Authentication Cheat Sheet (login throttling).

use std::collections::HashMap;
use std::net::IpAddr;

/// Failures in a row that cost nothing.
const FREE: u32 = 5;
/// An office behind one address mistypes more often than one person.
const FREE_PER_ADDRESS: u32 = 30;
/// The first wait.
const FIRST_WAIT_MS: u64 = 1_000;
/// The longest one.
const LONGEST_WAIT_MS: u64 = 15 * 60_000;
/// After this time without a failure everything is forgotten.
const FORGET_MS: u64 = 60 * 60_000;
/// Accounts and addresses that are remembered.
const KEYS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String),
    Address(IpAddr),
}

impl Key {
    fn free(&self) -> u32 {
        match self {
            Self::Account(_) => FREE,
            Self::Address(_) => FREE_PER_ADDRESS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
}

impl Failures {
    /// When the next try is looked at. A clock that was set back counts from now.
    fn until_ms(self, free: u32) -> u64 {
        let beyond = self.count.saturating_sub(free);
        let wait = match beyond {
            0 => 0,
            _ => FIRST_WAIT_MS.saturating_mul(1 << (beyond - 1).min(20)).min(LONGEST_WAIT_MS),
        };
        self.last_ms.saturating_add(wait)
    }
}

/// What has failed lately.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: HashMap<Key, Failures>,
}

impl Throttle {
    /// How long to wait before a try for this account from this address is looked at, in milliseconds; 0: now.
    pub fn wait_ms(&self, account: &str, address: IpAddr, now_ms: u64) -> u64 {
        let wait = |key: &Key| {
            let failures = self.failures.get(key)?;
            Some(failures.until_ms(key.free()).saturating_sub(now_ms).min(LONGEST_WAIT_MS))
        };
        keys(account, address).iter().filter_map(wait).max().unwrap_or(0)
    }

    /// A try has failed.
    pub fn failed(&mut self, account: &str, address: IpAddr, now_ms: u64) {
        for key in keys(account, address) {
            if !self.failures.contains_key(&key) && self.failures.len() >= KEYS_MAX {
                self.make_room(now_ms);
            }
            let failures = self.failures.entry(key).or_insert(Failures { count: 0, last_ms: now_ms });
            if now_ms.saturating_sub(failures.last_ms) >= FORGET_MS {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last_ms = now_ms;
        }
    }

    /// A try has succeeded. The address keeps its failures: one good account must not pay for guesses at others.
    pub fn succeeded(&mut self, account: &str) {
        self.failures.remove(&account_key(account));
    }

    fn make_room(&mut self, now_ms: u64) {
        self.failures.retain(|_, failures| now_ms.saturating_sub(failures.last_ms) < FORGET_MS);
        if self.failures.len() >= KEYS_MAX {
            let mut times: Vec<u64> = self.failures.values().map(|failures| failures.last_ms).collect();
            let (_, middle, _) = times.select_nth_unstable(KEYS_MAX / 2);
            let middle = *middle;
            self.failures.retain(|_, failures| failures.last_ms > middle);
        }
    }
}

fn account_key(account: &str) -> Key {
    Key::Account(account.trim().to_lowercase())
}

fn keys(account: &str, address: IpAddr) -> [Key; 2] {
    // Who has one IPv6 address as a rule has all of its /64.
    let address = match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    };
    [account_key(account), Key::Address(address)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_few_failures_are_free_and_then_the_wait_doubles_up_to_a_bound() {
        let mut throttle = Throttle::default();
        let mut now_ms = 1_000_000;
        let mut waits = vec![];
        for _ in 0..FREE + 14 {
            throttle.failed(" Ada@example.org", address(1), now_ms);
            let wait = throttle.wait_ms("ada@example.org ", address(2), now_ms);
            waits.push(wait);
            now_ms += wait;
            assert_eq!(throttle.wait_ms("ada@example.org", address(2), now_ms), 0);
        }
        assert_eq!(waits[..8], [0, 0, 0, 0, 0, 1_000, 2_000, 4_000]);
        assert_eq!(waits.last(), Some(&LONGEST_WAIT_MS));
        assert_eq!(throttle.wait_ms("another@example.org", address(2), now_ms), 0);
    }

    #[test]
    fn a_success_frees_the_account_and_an_hour_frees_all() {
        let mut throttle = Throttle::default();
        (0..9).for_each(|_| throttle.failed("a", address(1), 1_000));
        assert!(throttle.wait_ms("a", address(9), 1_000) > 0);
        throttle.succeeded("A");
        assert_eq!(throttle.wait_ms("a", address(9), 1_000), 0);
        (0..9).for_each(|_| throttle.failed("a", address(1), 1_000));
        throttle.failed("a", address(1), 1_000 + FORGET_MS);
        assert_eq!(throttle.wait_ms("a", address(9), 1_000 + FORGET_MS), 0);
    }

    #[test]
    fn an_address_that_tries_many_accounts_has_to_wait_too() {
        let mut throttle = Throttle::default();
        for number in 0..=FREE_PER_ADDRESS {
            throttle.failed(&format!("u{number}"), address(1), 1_000);
        }
        assert_eq!(throttle.wait_ms("fresh", address(1), 1_000), 1_000);
        assert_eq!(throttle.wait_ms("fresh", address(2), 1_000), 0);
        let (one, other) = ("2001:db8::1".parse().unwrap(), "2001:db8::ffff:1".parse().unwrap());
        for number in 0..=FREE_PER_ADDRESS {
            throttle.failed(&format!("u{number}"), one, 1_000);
        }
        assert_eq!(throttle.wait_ms("fresh", other, 1_000), 1_000);
    }

    #[test]
    fn made_up_names_do_not_fill_the_memory() {
        let mut throttle = Throttle::default();
        for number in 0..3 * KEYS_MAX as u64 {
            throttle.failed(&format!("u{number}"), address((number % 250) as u8), 1_000 + number);
        }
        assert!(throttle.failures.len() <= KEYS_MAX + 1);
        assert!(throttle.wait_ms("x", address(1), 1_000) > 0, "the busy addresses are still known");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_lock_anybody_out() {
        let mut throttle = Throttle::default();
        (0..20).for_each(|_| throttle.failed("a", address(1), 1_000_000_000));
        assert!(throttle.wait_ms("a", address(1), 1_000) <= LONGEST_WAIT_MS);
    }
}
