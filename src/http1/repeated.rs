//! A request head that was parsed before, and how to know it again.
//!
//! A client sends the same head with every request of a connection, but for the length of the body. Comparing is a tenth
//! of the work of parsing; and as all bytes but the digits of the length are the same, so is all that they mean.

use std::hint::black_box;

use super::{Framing, KnownField, RequestHead};
use crate::limits::REPEATED_HEAD_BYTES_MAX;

/// Digits of a length that are read here; more cannot overflow.
const DIGITS_MAX: usize = 18;

/// A head without the digits of its `Content-Length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedHead {
    /// What stands before and behind the digits.
    fixed: Box<[u8]>,
    before_bytes: usize,
}

impl RepeatedHead {
    /// Keeps `head`, which was parsed from the start of `buf`.
    ///
    /// `None` where it is long, has no length, or where the length has a say in something else ([`Expect`]).
    ///
    /// [`Expect`]: KnownField::Expect
    #[must_use]
    pub fn of(buf: &[u8], head: &RequestHead<'_, '_>) -> Option<Self> {
        let length = head.fields.find(KnownField::ContentLength)?.value();
        let start = length.as_ptr().addr().checked_sub(buf.as_ptr().addr())?;
        let (before, behind) = (buf.get(..start)?, buf.get(start + length.len()..head.head_bytes)?);
        let is_kept = matches!(head.framing, Framing::Length(_))
            && head.head_bytes <= REPEATED_HEAD_BYTES_MAX
            && head.fields.find(KnownField::Expect).is_none();
        is_kept.then(|| Self { fixed: [before, behind].concat().into(), before_bytes: start })
    }

    /// The length of the body and the bytes of the head, if `buf` begins with this head.
    ///
    /// The time that this takes tells nothing of where a difference is: a connection may carry the requests, and the
    /// keys, of several clients of a proxy before us.
    #[inline]
    #[must_use]
    pub fn read(&self, buf: &[u8]) -> Option<(u64, usize)> {
        let (before, behind) = self.fixed.split_at(self.before_bytes);
        let (start, rest) = buf.split_at_checked(before.len())?;
        let digits = rest.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
        let end = rest.get(digits..digits + behind.len())?;
        let differences = differences(start, before) | differences(end, behind);
        if black_box(differences) != 0 || digits == 0 {
            return None;
        }
        let length = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        Some((length, before.len() + digits + behind.len()))
    }
}

#[inline]
fn differences(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b))
}
