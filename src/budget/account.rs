//! One limit's exact count, shared by all cores.
//!
//! An account has *buckets* of time ([`super::window`]), each with what was *used*, what is *reserved* for requests that
//! run, and what is *leased* out. All that is behind one lock, the shared part. An account that several cores use at the
//! same time gets a *share* per core besides: a slice of what is left, leased from one bucket, on which its core decides
//! alone behind a lock that nobody else wants. Slices shrink as the limit comes near and are too small to be given out
//! at its end; then all decide on the shared part.
//!
//! ```text
//!  shared:  limit, per bucket:  used + reserved + leased   ≤ limit   whenever something is admitted
//!                                                 │
//!  share of core n, for one bucket:   slice + reserved + used   (their sum is its part of `leased`)
//! ```
//!
//! A refusal is decided on the shared part alone, with every share called back first: slice, reservations and usage of
//! the share move into its bucket, and its *turn* grows, which tells a reservation that is settled later where it is now.
//! So with K calls left exactly K pass, on any number of cores. Locks are taken in one order: shared part, then shares.
//!
//! A reservation is charged to the bucket in which it was admitted; when that has left the window, settling changes
//! nothing.
//!
//! What of the usage is *stored*, in records that outlive the process, is counted a second time, by the control thread
//! alone: that goes into the checkpoint ([`super::saved`]).
//!
//! *Clocks.* Rolling windows follow a clock that never steps. A calendar window begins when the wall clock says so and
//! has a count of its own, which is kept until [`KEPT_LENGTHS`] of its lengths have passed, by the steady clock, since it
//! was last used. So a clock that is set forwards and back finds each window as it was left: neither freed nor doubled,
//! and not blocked until the wrong date has come either. Sums saturate.

mod buckets;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::key::Key;
use super::window::{Bounds, Moment, Span};
use buckets::Buckets;

/// Changes from one core to another within a second that make an account a shared one.
const SWITCHES_UNTIL_SHARED: u8 = 8;
/// A slice is this part of what is left, divided by the number of cores.
const SLICE_PART: u64 = 4;
/// A slice that would not last for this many requests like the one at hand is not leased.
const SLICE_REQUESTS_MIN: u64 = 8;

/// One limit's count. See the [module](self).
pub struct Account {
    /// What is limited, and how.
    pub key: Key,
    span: Span,
    cores: usize,
    /// The last decision was a refusal: worth a look before anything else is reserved.
    refuses: AtomicBool,
    /// See [`Account::headroom`]: when it was looked at, in steps of the steady clock, and what was seen.
    glance: AtomicU64,
    shared: Mutex<Shared>,
    /// What is stored of what was used.
    stored: Mutex<Buckets>,
    /// One per core, made when the account turns out to be used by several at a time.
    shares: OnceLock<Box<[Share]>>,
}

/// What all cores decide on.
struct Shared {
    limit: u64,
    buckets: Buckets,
    last_core: usize,
    second: u64,
    switches: u8,
}

/// One core's part, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Share(Mutex<ShareState>);

struct ShareState {
    /// Of the bucket that the slice was leased from.
    bounds: Bounds,
    /// What may still be reserved.
    slice: u64,
    reserved: u64,
    used: u64,
    /// Grows when the share is called back; never [`Place::SHARED`].
    turn: u32,
}

impl Default for ShareState {
    fn default() -> Self {
        Self { bounds: Bounds::NONE, slice: 0, reserved: 0, used: 0, turn: 1 }
    }
}

impl ShareState {
    fn leased(&self) -> u64 {
        self.slice.saturating_add(self.reserved).saturating_add(self.used)
    }
}

/// Where an amount was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bucket in which it was admitted.
    pub epoch: u64,
    /// Turn of the core's share, or [`Place::SHARED`].
    pub turn: u32,
}

/// How old a glance at an account may be, in milliseconds.
const GLANCE_MS: u64 = 50;
/// Bits of a glance for what was seen; the rest is for when.
const GLANCE_BITS: u32 = 24;
/// Stands for all of a limit.
const GLANCE_MAX: u64 = (1 << GLANCE_BITS) - 1;

impl Place {
    /// In the shared part.
    pub const SHARED: u32 = 0;
}

/// Usage in one window whose records are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Names the window's bucket.
    pub epoch: u64,
    /// How much.
    pub used: u64,
    /// Steady clock of its last use, in milliseconds.
    pub seen_ms: u64,
}

/// What a limit's count stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Settled usage within the window.
    pub used: u64,
    /// Held for requests that run.
    pub reserved: u64,
    /// The limit's value.
    pub limit: u64,
}

impl Level {
    /// What may still be reserved.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used.saturating_add(self.reserved))
    }

    /// The part of the limit that may still be reserved, from 0 to 1; 0 where, and only where, nothing is left.
    pub fn headroom(&self) -> f64 {
        match self.remaining() {
            0 => 0.0,
            left => left as f64 / self.limit as f64,
        }
    }
}

/// Why an amount was not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The count at the time.
    pub level: Level,
    /// What was asked for.
    pub asked: u64,
    /// Wall clock, in milliseconds since the Unix epoch, from which the amount fits even if every running request uses
    /// all that is reserved for it; the end of the window where it never does.
    pub resets_at_ms: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change of a count is complete before the next thing that could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// An account without usage for a process of so many cores.
    pub fn new(key: Key, span: Span, limit: u64, cores: usize) -> Self {
        let shared = Shared { limit, buckets: Buckets::default(), last_core: 0, second: 0, switches: 0 };
        Self {
            key,
            span,
            cores: cores.max(1),
            refuses: AtomicBool::new(false),
            glance: AtomicU64::new(0),
            shared: Mutex::new(shared),
            stored: Mutex::default(),
            shares: OnceLock::new(),
        }
    }

    /// Its windows.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Whether the last request was refused here; a hint.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    #[inline]
    fn share(&self, core: usize) -> Option<&Share> {
        self.shares.get().and_then(|shares| shares.get(core))
    }

    /// Takes `amount` out of the window of `now`, until it is settled or released. An amount of 0 needs a limit that is
    /// not reached and takes nothing.
    ///
    /// # Errors
    /// The limit, where the amount does not fit.
    #[inline]
    pub fn reserve(&self, core: usize, amount: u64, now: Moment) -> Result<Place, Full> {
        if let Some(share) = self.share(core) {
            let mut share = lock(&share.0);
            if share.bounds.contains(self.span.clock(now)) && share.slice >= amount.max(1) {
                share.slice -= amount;
                share.reserved += amount;
                return Ok(Place { epoch: share.bounds.epoch, turn: share.turn });
            }
        }
        self.reserve_shared(core, amount, now)
    }

    /// Whether the limit is reached in the window of `now`.
    ///
    /// # Errors
    /// The limit, where it is.
    pub fn look(&self, now: Moment) -> Result<(), Full> {
        let mut shared = lock(&self.shared);
        let at = shared.buckets.turn_to(&self.span, now);
        if shared.room(&self.span, at) == 0 && shared.buckets.has_leases(&self.span, at) {
            self.call_all_back(&mut shared);
        }
        if shared.room(&self.span, at) == 0 { Err(self.full(&shared, at, 0, now)) } else { Ok(()) }
    }

    fn reserve_shared(&self, core: usize, amount: u64, now: Moment) -> Result<Place, Full> {
        let mut shared = self.change();
        let at = shared.buckets.turn_to(&self.span, now);
        let needed = amount.max(1);
        // The own share first: often its rest and the room together are enough.
        if let Some(share) = self.share(core) {
            shared.call_back(&mut lock(&share.0));
        }
        let mut room = shared.room(&self.span, at);
        if room < needed && shared.buckets.has_leases(&self.span, at) {
            self.call_all_back(&mut shared);
            room = shared.room(&self.span, at);
        }
        if room < needed {
            self.refuses.store(true, Ordering::Relaxed);
            return Err(self.full(&shared, at, amount, now));
        }
        if self.refuses() {
            self.refuses.store(false, Ordering::Relaxed);
        }
        if let Some(place) = self.lease(&mut shared, core, at, room, amount, |share| &mut share.reserved) {
            return Ok(place);
        }
        let bucket = &mut shared.buckets.all[at];
        bucket.reserved = bucket.reserved.saturating_add(amount);
        let epoch = bucket.epoch;
        self.notice(&mut shared, core, now);
        Ok(Place { epoch, turn: Place::SHARED })
    }

    /// Leases a slice to the core's share and books `amount` there, where the limit is far enough.
    fn lease(
        &self,
        shared: &mut Shared,
        core: usize,
        at: usize,
        room: u64,
        amount: u64,
        part: impl FnOnce(&mut ShareState) -> &mut u64,
    ) -> Option<Place> {
        let share = self.share(core)?;
        let slice = room / SLICE_PART / self.cores as u64;
        if slice < amount.max(1).saturating_mul(SLICE_REQUESTS_MIN) {
            return None;
        }
        let bucket = &mut shared.buckets.all[at];
        // A clock that went back further than buckets are known has bounds that are not the bucket's.
        if shared.buckets.bounds.epoch != bucket.epoch {
            return None;
        }
        let mut share = lock(&share.0);
        debug_assert_eq!(share.leased(), 0, "it was called back");
        bucket.leased = bucket.leased.saturating_add(slice);
        share.bounds = shared.buckets.bounds;
        share.slice = slice - amount;
        *part(&mut share) = amount;
        Some(Place { epoch: bucket.epoch, turn: share.turn })
    }

    /// Counts changes between cores, and makes shares when there are many.
    fn notice(&self, shared: &mut Shared, core: usize, now: Moment) {
        if core == shared.last_core || self.cores == 1 {
            return;
        }
        shared.last_core = core;
        let second = now.steady_ms / 1_000;
        shared.switches = if second == shared.second { shared.switches.saturating_add(1) } else { 1 };
        shared.second = second;
        if shared.switches >= SWITCHES_UNTIL_SHARED {
            self.shares.get_or_init(|| (0..self.cores).map(|_| Share::default()).collect());
        }
    }

    /// Replaces a reservation of `amount` by what was used. In a window that is over it changes nothing.
    #[inline]
    pub fn settle(&self, core: usize, place: Place, amount: u64, used: u64) {
        if place.turn != Place::SHARED
            && let Some(share) = self.share(core)
        {
            let mut share = lock(&share.0);
            if share.turn == place.turn {
                let held = amount.saturating_add(share.slice);
                if let Some(slice) = held.checked_sub(used) {
                    share.slice = slice;
                    share.reserved -= amount;
                    share.used += used;
                    return;
                }
            }
        }
        self.settle_shared(core, place, amount, used);
    }

    fn settle_shared(&self, core: usize, place: Place, amount: u64, used: u64) {
        let mut shared = self.change();
        if place.turn != Place::SHARED
            && let Some(share) = self.share(core)
        {
            let mut share = lock(&share.0);
            if share.turn == place.turn {
                shared.call_back(&mut share);
            }
        }
        if let Some(bucket) = shared.buckets.bucket_mut(place.epoch) {
            debug_assert!(bucket.reserved >= amount, "what is settled was reserved");
            bucket.reserved = bucket.reserved.saturating_sub(amount);
            bucket.used = bucket.used.saturating_add(used);
        }
    }

    /// Counts usage that was not reserved, in the window of `admitted`.
    #[inline]
    pub fn charge(&self, core: usize, used: u64, admitted: Moment) {
        if used == 0 {
            return;
        }
        if let Some(share) = self.share(core) {
            let mut share = lock(&share.0);
            if share.bounds.contains(self.span.clock(admitted))
                && let Some(slice) = share.slice.checked_sub(used)
            {
                share.slice = slice;
                share.used += used;
                return;
            }
        }
        self.charge_shared(core, used, admitted);
    }

    fn charge_shared(&self, core: usize, used: u64, admitted: Moment) {
        let mut shared = self.change();
        let Some(at) = shared.buckets.find_or_open(&self.span, admitted) else { return };
        if at + 1 == shared.buckets.all.len()
            && let Some(share) = self.share(core)
        {
            shared.call_back(&mut lock(&share.0));
            let room = shared.room(&self.span, at);
            if self.lease(&mut shared, core, at, room, used, |share| &mut share.used).is_some() {
                return;
            }
        }
        let bucket = &mut shared.buckets.all[at];
        bucket.used = bucket.used.saturating_add(used);
        self.notice(&mut shared, core, admitted);
    }

    /// The record of something that was charged is stored.
    pub fn store(&self, used: u64, admitted: Moment) {
        if used > 0 {
            let mut stored = lock(&self.stored);
            let epoch = stored.epoch_at(&self.span, admitted);
            stored.add(&self.span, epoch, used, admitted.steady_ms);
        }
    }

    /// Counts usage of another process, whose record is stored, in the window of `admitted`.
    pub fn add(&self, used: u64, admitted: Moment) {
        if used > 0 {
            let epoch = lock(&self.stored).epoch_at(&self.span, admitted);
            self.put_back(Stored { epoch, used, seen_ms: admitted.steady_ms });
        }
    }

    /// Puts back usage of another process, whose records are stored, besides what is counted.
    pub fn put_back(&self, stored: Stored) {
        let Stored { epoch, used, seen_ms } = stored;
        lock(&self.stored).add(&self.span, epoch, used, seen_ms);
        let mut shared = self.change();
        shared.buckets.add(&self.span, epoch, used, seen_ms);
    }

    /// What is stored, by window.
    pub fn stored(&self) -> Vec<Stored> {
        let stored = lock(&self.stored);
        let used = stored.all.iter().filter(|bucket| bucket.used > 0);
        used.map(|bucket| Stored { epoch: bucket.epoch, used: bucket.used, seen_ms: bucket.seen_ms })
            .collect()
    }

    /// Goes on, in the window of `now`, with what an account of other windows counts in its own. What that one holds for
    /// requests that run is spent here.
    pub fn succeed(&self, old: &Self, now: Moment) {
        let level = old.level(now);
        let epoch = self.span.bounds(self.span.clock(now)).epoch;
        let used = level.used.saturating_add(level.reserved);
        lock(&self.shared).buckets.add(&self.span, epoch, used, now.steady_ms);
        let mut stored = lock(&old.stored);
        let at = stored.turn_to(&old.span, now);
        let used = stored.live(&old.span, at).fold(0_u64, |sum, bucket| sum.saturating_add(bucket.used));
        lock(&self.stored).add(&self.span, epoch, used, now.steady_ms);
    }

    /// Puts another limit in force; the counts stay.
    pub fn set_limit(&self, limit: u64) {
        let mut shared = self.change();
        if shared.limit != limit {
            self.call_all_back(&mut shared);
            shared.limit = limit;
            self.refuses.store(false, Ordering::Relaxed);
        }
    }

    /// The count in the window of `now`, over all cores. Takes nothing from any of them.
    pub fn level(&self, now: Moment) -> Level {
        self.level_of(&mut lock(&self.shared), now)
    }

    fn level_of(&self, shared: &mut Shared, now: Moment) -> Level {
        let at = shared.buckets.turn_to(&self.span, now);
        let mut level = shared.level(&self.span, at);
        let newest = shared.buckets.all[at].epoch;
        for share in self.shares.get().into_iter().flatten() {
            let share = lock(&share.0);
            let is_live = (self.span.oldest_live(newest)..=newest).contains(&share.bounds.epoch);
            if is_live && share.leased() > 0 {
                level.used = level.used.saturating_add(share.used);
                level.reserved = level.reserved.saturating_add(share.reserved);
            }
        }
        level
    }

    /// [`Level::headroom`], for comparing models, not for admission: usage that cores count on slices of their own, far from
    /// the limit, may be [`GLANCE_MS`] old. That nothing is left is never old news.
    #[inline]
    pub fn headroom(&self, now: Moment) -> f64 {
        let step = now.steady_ms / GLANCE_MS;
        let word = self.glance.load(Ordering::Relaxed);
        if word >> GLANCE_BITS == step & (u64::MAX >> GLANCE_BITS) && word & GLANCE_MAX > 0 {
            return (word & GLANCE_MAX) as f64 / GLANCE_MAX as f64;
        }
        self.look_closely(now, step)
    }

    #[cold]
    fn look_closely(&self, now: Moment, step: u64) -> f64 {
        let mut shared = lock(&self.shared);
        let headroom = self.level_of(&mut shared, now).headroom();
        let seen = (headroom * GLANCE_MAX as f64).ceil() as u64;
        self.glance.store(step << GLANCE_BITS | seen, Ordering::Relaxed);
        headroom
    }

    /// The shared part, to be changed: what was seen of it is old.
    fn change(&self) -> MutexGuard<'_, Shared> {
        let shared = lock(&self.shared);
        self.glance.store(0, Ordering::Relaxed);
        shared
    }

    /// In how many milliseconds everything that counts now will have left the window.
    pub fn clears_in_ms(&self, now: Moment) -> u64 {
        let mut shared = lock(&self.shared);
        shared.buckets.turn_to(&self.span, now);
        let clock = self.span.clock(now);
        if !self.span.is_rolling() {
            return shared.buckets.bounds.until.saturating_sub(clock);
        }
        let newest = shared.buckets.all.iter().rev().find(|bucket| bucket.committed() > 0);
        newest.map_or(0, |bucket| {
            let bounds = Bounds { epoch: bucket.epoch, ..Bounds::NONE };
            self.span.leaves_at(bounds).saturating_sub(clock)
        })
    }

    fn call_all_back(&self, shared: &mut Shared) {
        for share in self.shares.get().into_iter().flatten() {
            shared.call_back(&mut lock(&share.0));
        }
    }

    #[cold]
    fn full(&self, shared: &Shared, at: usize, asked: u64, now: Moment) -> Full {
        let level = shared.level(&self.span, at);
        let clock = self.span.clock(now);
        let mut resets_at = shared.buckets.bounds.until;
        if self.span.is_rolling() {
            let mut left = shared.buckets.committed(&self.span, at);
            for bucket in &shared.buckets.all {
                let bounds = Bounds { epoch: bucket.epoch, ..Bounds::NONE };
                resets_at = self.span.leaves_at(bounds);
                left = left.saturating_sub(bucket.committed());
                if level.limit.saturating_sub(left) >= asked.max(1) {
                    break;
                }
            }
        }
        Full { level, asked, resets_at_ms: now.wall_ms.saturating_add(resets_at.saturating_sub(clock)) }
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Shared {
    fn room(&self, span: &Span, at: usize) -> u64 {
        self.limit.saturating_sub(self.buckets.committed(span, at))
    }

    fn level(&self, span: &Span, at: usize) -> Level {
        let mut level = Level { limit: self.limit, ..Level::default() };
        for bucket in self.buckets.live(span, at) {
            level.used = level.used.saturating_add(bucket.used);
            level.reserved = level.reserved.saturating_add(bucket.reserved);
        }
        level
    }

    /// Moves everything in a share into its bucket. What belongs to a forgotten one is forgotten.
    fn call_back(&mut self, share: &mut ShareState) {
        let leased = share.leased();
        if leased == 0 {
            return;
        }
        if let Some(bucket) = self.buckets.bucket_mut(share.bounds.epoch) {
            debug_assert!(bucket.leased >= leased, "a share holds what was leased");
            bucket.leased = bucket.leased.saturating_sub(leased);
            bucket.reserved = bucket.reserved.saturating_add(share.reserved);
            bucket.used = bucket.used.saturating_add(share.used);
        }
        *share = ShareState { turn: share.turn.wrapping_add(1).max(1), ..ShareState::default() };
    }
}

#[cfg(test)]
mod tests;
