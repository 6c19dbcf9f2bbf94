//! A hashed timer wheel: when which stream has its next event.
//!
//! Owns keys and due ticks only; it knows neither sockets nor the clock. Insert and fire cost O(1) per
//! timer, so ten thousand streams cost what their events cost.

/// Length of one tick. A stream's event is late by at most this, plus what the loop is behind.
pub const TICK_NS: u64 = 200_000;
/// One turn of the wheel: 819 ms. Timers further away stay in their slot and are looked at once a turn.
const SLOTS: usize = 4096;

struct Timer {
    key: u64,
    due: u64,
}

pub struct Wheel {
    slots: Vec<Vec<Timer>>,
    /// Next tick to be fired.
    tick: u64,
    len: usize,
    spare: Vec<Timer>,
}

impl Wheel {
    pub fn new(now_ns: u64) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots, tick: now_ns / TICK_NS, len: 0, spare: Vec::new() }
    }

    pub fn insert(&mut self, key: u64, due: u64) {
        let due = due.max(self.tick);
        self.slots[due as usize % SLOTS].push(Timer { key, due });
        self.len += 1;
    }

    /// Moves the timers due at or before `now_ns` into `due` as (key, due tick), oldest tick first.
    pub fn expire(&mut self, now_ns: u64, due: &mut Vec<(u64, u64)>) {
        let now = now_ns / TICK_NS;
        if self.len == 0 {
            self.tick = self.tick.max(now);
            return;
        }
        while self.tick <= now {
            let slot = self.tick as usize % SLOTS;
            if !self.slots[slot].is_empty() {
                std::mem::swap(&mut self.slots[slot], &mut self.spare);
                for timer in self.spare.drain(..) {
                    if timer.due <= self.tick {
                        due.push((timer.key, timer.due));
                        self.len -= 1;
                    } else {
                        self.slots[slot].push(timer);
                    }
                }
            }
            self.tick += 1;
        }
    }

    /// Nanoseconds until the next timer may be due, at most `limit_ns`.
    pub fn wait_ns(&self, now_ns: u64, limit_ns: u64) -> u64 {
        if self.len == 0 {
            return limit_ns;
        }
        let empty = (0..64).take_while(|&i| self.slots[(self.tick + i) as usize % SLOTS].is_empty()).count();
        ((self.tick + empty as u64) * TICK_NS).saturating_sub(now_ns).min(limit_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_once_and_not_early() {
        let mut wheel = Wheel::new(0);
        for (key, due) in [(1, 5), (2, 3), (3, 3 + SLOTS as u64), (4, 10_000)] {
            wheel.insert(key, due);
        }
        let mut fired = Vec::new();
        let mut due = Vec::new();
        for tick in 0..12_000u64 {
            wheel.expire(tick * TICK_NS, &mut due);
            fired.extend(due.drain(..).map(|(key, at)| (tick, key, at)));
        }
        assert_eq!(fired, [(3, 2, 3), (5, 1, 5), (4099, 3, 4099), (10_000, 4, 10_000)]);
        assert_eq!(wheel.len, 0);
    }

    #[test]
    fn waits_until_the_next_timer() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.wait_ns(0, 99), 99);
        wheel.insert(1, 10);
        assert_eq!(wheel.wait_ns(TICK_NS, u64::MAX), 9 * TICK_NS);
        assert_eq!(wheel.wait_ns(20 * TICK_NS, u64::MAX), 0);
    }
}
