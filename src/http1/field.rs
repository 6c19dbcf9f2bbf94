//! The fields of a parsed head, and the room on the stack they are parsed into.
//!
//! Owns access to fields by position, name and class, and the question which of them go end to end. It reads no
//! values; `facts.rs` does. Fields are borrowed from the buffer the head was read into.

use std::mem::MaybeUninit;
use std::{fmt, slice};

use super::KnownField;
use crate::limits::{REQUEST_FIELDS_MAX, RESPONSE_FIELDS_MAX};

/// Room for the fields of one head; lives on the stack, is written only as far as there are fields.
///
/// Made anew for each parse, because it borrows from the buffer: making one clears `N` bytes, no more.
pub struct FieldSlots<'b, const N: usize> {
    pub(super) raw: [MaybeUninit<httparse::Header<'b>>; N],
    pub(super) known: [KnownField; N],
}

/// Room for the fields of a request.
pub type RequestSlots<'b> = FieldSlots<'b, REQUEST_FIELDS_MAX>;
/// Room for the fields of a response.
pub type ResponseSlots<'b> = FieldSlots<'b, RESPONSE_FIELDS_MAX>;

impl<const N: usize> FieldSlots<'_, N> {
    /// Empty room.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: [const { MaybeUninit::uninit() }; N], known: [KnownField::Other; N] }
    }
}

impl<const N: usize> Default for FieldSlots<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for FieldSlots<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldSlots").field("room", &N).finish_non_exhaustive()
    }
}

/// One field of a parsed head.
///
/// Only the parser makes one, so holding it proves: the name is a token, the value has no CR, LF, NUL or other
/// control but HTAB and is trimmed of white space. The writer copies it without looking again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'b> {
    name: &'b str,
    value: &'b [u8],
    known: KnownField,
}

impl<'b> Field<'b> {
    /// The name as it came, a token.
    #[inline]
    #[must_use]
    pub fn name(&self) -> &'b str {
        self.name
    }

    /// The value without the white space around it; may hold obs-text (0x80 to 0xFF).
    #[inline]
    #[must_use]
    pub fn value(&self) -> &'b [u8] {
        self.value
    }

    /// The value if it is UTF-8.
    #[inline]
    #[must_use]
    pub fn value_str(&self) -> Option<&'b str> {
        std::str::from_utf8(self.value).ok()
    }

    /// What the name means to the gateway.
    #[inline]
    #[must_use]
    pub fn known(&self) -> KnownField {
        self.known
    }
}

/// Names only: a value may be a key.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: <{} bytes>", self.name, self.value.len())
    }
}

/// All fields of a head, in the order they came.
#[derive(Clone, Copy)]
pub struct Fields<'h, 'b> {
    raw: &'h [httparse::Header<'b>],
    known: &'h [KnownField],
    /// Bit *i* is set when field *i* stops here: hop-by-hop by name, or nominated by `Connection`.
    hop_by_hop: u128,
    /// The head that the fields are borrowed from, up to and with its empty line.
    head: &'b [u8],
}

impl<'h, 'b> Fields<'h, 'b> {
    /// `known` is as long as `raw` or longer, and `raw` has at most 128 entries (see `limits.rs`).
    #[inline]
    pub(super) fn new(
        head: &'b [u8],
        raw: &'h [httparse::Header<'b>],
        known: &'h [KnownField],
        hop_by_hop: u128,
    ) -> Self {
        debug_assert!(raw.len() <= known.len() && raw.len() <= 128);
        debug_assert!(head.ends_with(b"\r\n"));
        Self { raw, known: known.get(..raw.len()).unwrap_or(known), hop_by_hop, head }
    }

    /// Number of fields.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Every field.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> FieldIter<'h, 'b> {
        FieldIter { raw: self.raw.iter(), known: self.known.iter(), hop_by_hop: 0 }
    }

    /// The fields that may be forwarded: neither hop-by-hop by name nor nominated by `Connection`
    /// (RFC 9110 §7.6.1).
    ///
    /// `Host` and `Content-Length` are among them: a forwarder that writes its own leaves them out by
    /// [`Field::known`].
    #[inline]
    #[must_use]
    pub fn end_to_end(&self) -> FieldIter<'h, 'b> {
        FieldIter { raw: self.raw.iter(), known: self.known.iter(), hop_by_hop: self.hop_by_hop }
    }

    /// Calls `take` with the lines of the end-to-end fields that `keep` wants, as they came and each with its
    /// CRLF. Neighbours come in one piece: lines of a head follow each other without a gap.
    #[inline]
    pub fn for_each_run(&self, mut keep: impl FnMut(Field<'b>) -> bool, mut take: impl FnMut(&'b [u8])) {
        let mut run = None;
        for (index, (raw, known)) in self.raw.iter().zip(self.known).enumerate() {
            let kept = self.hop_by_hop >> index & 1 == 0
                && keep(Field { name: raw.name, value: raw.value, known: *known });
            match (kept, run) {
                (true, None) => run = Some(self.line_start(raw)),
                (false, Some(start)) => {
                    take(self.head.get(start..self.line_start(raw)).unwrap_or_default());
                    run = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(start) = run {
            take(self.head.get(start..self.head.len().saturating_sub(2)).unwrap_or_default());
        }
    }

    /// Where in the head the line of `raw` begins: at its name, for nothing may stand before that.
    #[inline]
    fn line_start(&self, raw: &httparse::Header<'b>) -> usize {
        raw.name.as_ptr().addr().wrapping_sub(self.head.as_ptr().addr())
    }

    /// The first field of this class. Where a second one would matter, use [`Fields::all`].
    #[inline]
    #[must_use]
    pub fn find(&self, known: KnownField) -> Option<Field<'b>> {
        let index = self.known.iter().position(|kind| *kind == known)?;
        self.raw.get(index).map(|raw| Field { name: raw.name, value: raw.value, known })
    }

    /// Every field of this class.
    pub fn all(&self, known: KnownField) -> impl Iterator<Item = Field<'b>> + use<'h, 'b> {
        self.iter().filter(move |field| field.known == known)
    }

    /// The first field of this name, case aside; for names that are not in [`KnownField`].
    #[must_use]
    pub fn find_name(&self, name: &str) -> Option<Field<'b>> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

impl<'h, 'b> IntoIterator for Fields<'h, 'b> {
    type Item = Field<'b>;
    type IntoIter = FieldIter<'h, 'b>;

    fn into_iter(self) -> FieldIter<'h, 'b> {
        self.iter()
    }
}

impl fmt::Debug for Fields<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over fields of a head.
#[derive(Debug, Clone)]
pub struct FieldIter<'h, 'b> {
    raw: slice::Iter<'h, httparse::Header<'b>>,
    known: slice::Iter<'h, KnownField>,
    /// Bit 0 belongs to the next field; set bits are passed over.
    hop_by_hop: u128,
}

impl<'b> Iterator for FieldIter<'_, 'b> {
    type Item = Field<'b>;

    #[inline]
    fn next(&mut self) -> Option<Field<'b>> {
        loop {
            let (raw, known) = (self.raw.next()?, self.known.next()?);
            let skip = self.hop_by_hop & 1 != 0;
            self.hop_by_hop >>= 1;
            if !skip {
                return Some(Field { name: raw.name, value: raw.value, known: *known });
            }
        }
    }
}
