//! Numbers that stay with an id over configurations, whose indexes do not.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Small numbers for ids. A number is given away again after its id was let go.
#[derive(Debug)]
pub(super) struct Slots {
    by_id: HashMap<Box<str>, u32, FixedState>,
    free: Vec<u32>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { by_id: HashMap::with_hasher(FixedState::default()), free: Vec::new() }
    }
}

impl Slots {
    /// The slot of an id, a new one where it has none.
    pub(super) fn of(&mut self, id: &str) -> u32 {
        if let Some(slot) = self.by_id.get(id) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or(self.by_id.len() as u32);
        self.by_id.insert(id.into(), slot);
        slot
    }

    /// Lets go of the slots that are not in use; they are the result.
    pub(super) fn retain(&mut self, in_use: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut gone = Vec::new();
        self.by_id.retain(|_, slot| {
            let stays = in_use(*slot);
            if !stays {
                gone.push(*slot);
            }
            stays
        });
        self.free.extend_from_slice(&gone);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_with_its_id_and_is_used_again_after_it() {
        let mut slots = Slots::default();
        let (a, b) = (slots.of("a"), slots.of("b"));
        assert_eq!((a, b, slots.of("a")), (0, 1, 0));
        assert_eq!(slots.retain(|slot| slot == b), [a]);
        assert_eq!((slots.of("c"), slots.of("d"), slots.of("b")), (a, 2, b));
    }
}
