//! A copy of what a client is sent, taken while it is sent, for others who ask the same.

use crate::shard::{HeldBytes, Shard};

/// The copy. What is too long for it, or for the core's memory, is not kept at all.
pub(super) struct Copy {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// None once it is given up.
    held: Option<HeldBytes>,
    /// Known once an answer begins that may be kept.
    content_type: Option<Box<str>>,
}

impl Copy {
    /// Of at most `bytes_max` bytes.
    pub(super) fn new(shard: &Shard, bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, held: shard.hold_bytes(0), content_type: None }
    }

    /// An answer of status 200 begins.
    pub(super) fn begin(&mut self, content_type: &str) {
        self.content_type = Some(content_type.into());
    }

    /// The next bytes of its body, without framing.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fits = self.bytes.len() + bytes.len() <= self.bytes_max;
        if self.held.as_mut().is_some_and(|held| fits && held.grow(bytes.len())) {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.held = None;
            self.bytes = Vec::new();
        }
    }

    /// Its content type and body; `None` where no answer began or it was too long.
    pub(super) fn finish(self) -> Option<(Box<str>, Box<[u8]>)> {
        self.held.as_ref()?;
        Some((self.content_type?, self.bytes.into()))
    }
}
