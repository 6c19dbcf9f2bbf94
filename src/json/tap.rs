//! Picks members of a JSON body while it passes by in slices, without keeping the body.
//!
//! Follows strings, escapes and nesting only as far as is needed to know where a top-level member ends; does not
//! check the grammar. For a well-formed body it finds what a full parse finds, wherever the body is cut; for anything
//! else it finds something or nothing, and never fails.

use super::scan::plain_end;
use super::text;

/// A top-level member to look out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The member's name.
    pub name: &'static str,
    /// What to do with its value.
    pub action: Action,
}

/// What to do with a member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Keep its bytes, if there are at most so many.
    Keep {
        /// Longest value that is kept, in bytes.
        bytes_max: usize,
    },
    /// Sum up the bytes of the strings in it, names of members included.
    Weigh,
}

/// Watches one JSON body.
///
/// The body is an object, or an array of objects (Gemini's streams without `alt=sse`), whose members are then looked
/// at like those of one object. Of members with the same name the last one counts.
///
/// ```text
/// Root ─{─▶ Member ─"─▶ Key ─"─▶ Colon ─:─▶ Value ─▶ Scalar | String | Container ─▶ Member
///   └─[─▶ Element ─{─▶ Member … }─▶ Element ─]─▶ End
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberTap {
    targets: &'static [Target],
    /// One per target, once there are bytes.
    kept: Vec<Kept>,
    place: Place,
    root_is_array: bool,
    /// The piece of a name that a slice ended in; empty outside of names.
    key: Vec<u8>,
    /// The target whose value is passing by.
    target: Option<usize>,
    weight: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    bytes: Vec<u8>,
    state: KeptState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum KeptState {
    #[default]
    Absent,
    Partial,
    Whole,
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the body's first byte that is not white space.
    Root,
    /// Between the elements of a root array.
    Element,
    /// In an object, outside of names and values.
    Member,
    /// In a name.
    Key { after_backslash: bool },
    /// Between a name and its colon.
    Colon,
    /// Between a colon and its value.
    Value,
    /// In a number or a literal.
    Scalar,
    /// In a string value.
    String { after_backslash: bool },
    /// In an object or array value.
    Container { depth: usize, string: Quoted },
    /// Behind the root value, or the body is something else.
    End { complete: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes { after_backslash: bool },
}

/// Memory that is kept per target from one body to the next, in bytes.
const KEPT_CAPACITY_BYTES: usize = 1024;

/// Longest name that is compared with the targets' names, escapes included.
const KEY_BYTES_MAX: usize = 128;

impl MemberTap {
    /// A tap for a body that is about to begin.
    pub fn new(targets: &'static [Target]) -> Self {
        Self {
            targets,
            kept: Vec::new(),
            place: Place::Root,
            root_is_array: false,
            key: Vec::new(),
            target: None,
            weight: 0,
        }
    }

    /// Forgets the body and waits for another one; the memory is kept.
    pub fn reset(&mut self, targets: &'static [Target]) {
        self.targets = targets;
        for kept in &mut self.kept {
            kept.bytes.clear();
            kept.bytes.shrink_to(KEPT_CAPACITY_BYTES);
            kept.state = KeptState::Absent;
        }
        self.place = Place::Root;
        self.root_is_array = false;
        self.key.clear();
        self.target = None;
        self.weight = 0;
    }

    /// The bytes of the member `name`, if it has passed whole and was not too long.
    pub fn member(&self, name: &str) -> Option<&[u8]> {
        let index = self.targets.iter().position(|target| target.name == name)?;
        let kept = self.kept.get(index)?;
        (kept.state == KeptState::Whole).then_some(kept.bytes.as_slice())
    }

    /// Whether a member `name` was there that is not kept because it is too long.
    pub fn is_too_long(&self, name: &str) -> bool {
        let index = self.targets.iter().position(|target| target.name == name);
        index.and_then(|index| self.kept.get(index)).is_some_and(|kept| kept.state == KeptState::TooLong)
    }

    /// Bytes of strings in weighed members so far.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether the root value has passed whole.
    pub fn is_complete(&self) -> bool {
        self.place == Place::End { complete: true }
    }

    /// Takes in the next slice of the body.
    pub fn feed(&mut self, slice: &[u8]) {
        if self.kept.len() != self.targets.len() {
            self.kept.resize_with(self.targets.len(), Kept::default);
        }
        let mut at = 0;
        // Where the value that is passing by begins in this slice.
        let mut value_start = 0;
        while at < slice.len() {
            match self.place {
                Place::Root | Place::Element | Place::Member | Place::Colon => {
                    self.between(slice[at]);
                    at += 1;
                }
                Place::Key { after_backslash } => at = self.key(slice, at, after_backslash),
                Place::Value => {
                    value_start = at;
                    at += self.begin_value(slice[at]);
                }
                Place::Scalar | Place::String { .. } | Place::Container { .. } => {
                    let (end, ended) = self.value(slice, at);
                    at = end;
                    if ended {
                        self.keep(&slice[value_start..end]);
                        self.end_value();
                    }
                }
                Place::End { .. } => return,
            }
        }
        if matches!(self.place, Place::Scalar | Place::String { .. } | Place::Container { .. }) {
            self.keep(&slice[value_start..]);
        }
    }

    /// A byte outside of names and values.
    fn between(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return;
        }
        self.place = match (self.place, byte) {
            (Place::Root, b'{') => Place::Member,
            (Place::Root, b'[') => {
                self.root_is_array = true;
                Place::Element
            }
            (Place::Element, b',') => Place::Element,
            (Place::Element, b'{') => Place::Member,
            (Place::Element, b']') => Place::End { complete: true },
            (Place::Member, b',') => Place::Member,
            (Place::Member, b'"') => Place::Key { after_backslash: false },
            (Place::Member, b'}') if self.root_is_array => Place::Element,
            (Place::Member, b'}') => Place::End { complete: true },
            (Place::Colon, b':') => Place::Value,
            // No object, or an array of something else: nothing to be found.
            _ => Place::End { complete: false },
        };
    }

    /// Takes in bytes of a name and returns where they end.
    fn key(&mut self, slice: &[u8], start: usize, mut after_backslash: bool) -> usize {
        let mut at = start;
        while at < slice.len() {
            if after_backslash {
                after_backslash = false;
                at += 1;
                continue;
            }
            at = plain_end(slice, at);
            match slice.get(at) {
                Some(b'"') => {
                    self.target = if self.key.is_empty() {
                        self.target_named(&slice[start..at])
                    } else {
                        self.keep_key(&slice[start..at]);
                        self.target_named(&self.key)
                    };
                    self.key.clear();
                    self.place = Place::Colon;
                    return at + 1;
                }
                Some(byte) => {
                    after_backslash = *byte == b'\\';
                    at += 1;
                }
                None => {}
            }
        }
        self.keep_key(&slice[start..]);
        self.place = Place::Key { after_backslash };
        slice.len()
    }

    fn keep_key(&mut self, piece: &[u8]) {
        // One byte over the limit is enough to know that no target has the name.
        let room = (KEY_BYTES_MAX + 1).saturating_sub(self.key.len());
        self.key.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn target_named(&self, name: &[u8]) -> Option<usize> {
        if memchr::memchr(b'\\', name).is_some() && name.len() <= KEY_BYTES_MAX {
            let name = text::unescape(name)?;
            return self.targets.iter().position(|target| target.name == name);
        }
        self.targets.iter().position(|target| target.name.as_bytes() == name)
    }

    /// The first byte of a value, or white space before it; how many bytes are taken.
    fn begin_value(&mut self, byte: u8) -> usize {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return 1;
        }
        if let Some(target) = self.target
            && let Action::Keep { .. } = self.targets[target].action
        {
            self.kept[target].bytes.clear();
            self.kept[target].state = KeptState::Partial;
        }
        self.place = match byte {
            b'"' => Place::String { after_backslash: false },
            b'{' | b'[' => Place::Container { depth: 1, string: Quoted::No },
            // Its end is found by what follows it, so the first byte is not taken yet.
            _ => {
                self.place = Place::Scalar;
                return 0;
            }
        };
        1
    }

    /// Takes in bytes of a value: where they end, and whether the value ends there.
    fn value(&mut self, slice: &[u8], at: usize) -> (usize, bool) {
        match self.place {
            Place::Scalar => {
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                match slice[at..].iter().position(is_end) {
                    Some(len) => (at + len, true),
                    None => (slice.len(), false),
                }
            }
            Place::String { after_backslash } => {
                let (end, after) = string_end(slice, at, after_backslash);
                if let Quoted::Yes { after_backslash } = after {
                    self.place = Place::String { after_backslash };
                }
                (end, after == Quoted::No)
            }
            Place::Container { depth, string } => self.container(slice, at, depth, string),
            _ => (slice.len(), false),
        }
    }

    fn container(
        &mut self,
        slice: &[u8],
        mut at: usize,
        mut depth: usize,
        mut string: Quoted,
    ) -> (usize, bool) {
        let weighed = self.target.is_some_and(|target| matches!(self.targets[target].action, Action::Weigh));
        while at < slice.len() {
            if let Quoted::Yes { after_backslash } = string {
                let start = at;
                (at, string) = string_end(slice, at, after_backslash);
                if weighed {
                    self.weight += (at - start) as u64 - u64::from(string == Quoted::No);
                }
                continue;
            }
            at = structural_start(slice, at);
            match slice.get(at) {
                Some(b'"') => string = Quoted::Yes { after_backslash: false },
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => {
                    depth -= 1;
                    if depth == 0 {
                        return (at + 1, true);
                    }
                }
                Some(_) => {}
                None => break,
            }
            at += 1;
        }
        self.place = Place::Container { depth, string };
        (slice.len(), false)
    }

    fn keep(&mut self, piece: &[u8]) {
        let Some(target) = self.target else { return };
        let Action::Keep { bytes_max } = self.targets[target].action else { return };
        let kept = &mut self.kept[target];
        if kept.state != KeptState::Partial {
            return;
        }
        if kept.bytes.len() + piece.len() > bytes_max {
            kept.state = KeptState::TooLong;
            kept.bytes = Vec::new();
        } else {
            kept.bytes.extend_from_slice(piece);
        }
    }

    fn end_value(&mut self) {
        if let Some(target) = self.target.take()
            && self.kept[target].state == KeptState::Partial
        {
            self.kept[target].state = KeptState::Whole;
        }
        self.place = Place::Member;
    }
}

/// Where a string that began before `at` ends: behind its quote, or with the slice.
fn string_end(slice: &[u8], mut at: usize, mut after_backslash: bool) -> (usize, Quoted) {
    while at < slice.len() {
        if after_backslash {
            after_backslash = false;
            at += 1;
            continue;
        }
        at = plain_end(slice, at);
        match slice.get(at) {
            Some(b'"') => return (at + 1, Quoted::No),
            Some(byte) => {
                after_backslash = *byte == b'\\';
                at += 1;
            }
            None => {}
        }
    }
    (slice.len(), Quoted::Yes { after_backslash })
}

/// Offset of the first quote or bracket at or after `at`; the length of the slice if there is none.
///
/// It is a few bytes away nearly always. Where it is not, whole blocks are stepped over in code that the compiler
/// vectorises: embeddings are long lists of numbers.
fn structural_start(slice: &[u8], at: usize) -> usize {
    const NEAR_BYTES: usize = 16;
    let structural = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
    let mut rest = &slice[at..];
    let near = &rest[..rest.len().min(NEAR_BYTES)];
    if let Some(offset) = near.iter().position(structural) {
        return at + offset;
    }
    rest = &rest[near.len()..];
    while let Some((block, tail)) = rest.split_first_chunk::<32>() {
        // The brackets differ from the braces by one bit.
        let any = block.iter().fold(0u8, |any, byte| {
            let folded = byte | 0x20;
            any | u8::from(*byte == b'"') | u8::from(folded == b'{') | u8::from(folded == b'}')
        });
        if any != 0 {
            break;
        }
        rest = tail;
    }
    slice.len() - rest.len() + rest.iter().position(structural).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::fuzz;

    const TARGETS: &[Target] = &[
        Target { name: "usage", action: Action::Keep { bytes_max: 24 } },
        Target { name: "id", action: Action::Keep { bytes_max: 8 } },
        Target { name: "choices", action: Action::Weigh },
    ];

    fn tapped(body: &[u8]) -> MemberTap {
        let mut tap = MemberTap::new(TARGETS);
        tap.feed(body);
        tap
    }

    #[test]
    fn top_level_members_are_found_and_nested_ones_are_not() {
        let tap =
            tapped(br#" {"choices":[{"usage":{"x":"}\""}}, "\\"],"us\u0061ge" : {"a":[1,"}"]} ,"id":12 }"#);
        assert_eq!(tap.member("usage"), Some(&br#"{"a":[1,"}"]}"#[..]));
        assert_eq!(tap.member("id"), Some(&b"12"[..]));
        assert!(tap.is_complete());
        assert_eq!(tap.weight(), 5 + 1 + 3 + 2);
    }

    #[test]
    fn the_last_of_several_members_counts_in_arrays_too() {
        assert_eq!(tapped(br#"{"id":1,"id":"b"}"#).member("id"), Some(&b"\"b\""[..]));
        let tap = tapped(b"[{\"id\":1},\r\n{\"id\":2,\"usage\":null}\n,{\"usage\":3}]\n");
        assert_eq!((tap.member("id"), tap.member("usage")), (Some(&b"2"[..]), Some(&b"3"[..])));
        assert!(tap.is_complete());
    }

    #[test]
    fn a_value_over_its_limit_is_dropped_and_said_so() {
        let tap = tapped(br#"{"id":"1234567","usage":1}"#);
        assert_eq!((tap.member("id"), tap.is_too_long("id")), (None, true));
        assert_eq!(tap.member("usage"), Some(&b"1"[..]));
        assert_eq!(tapped(br#"{"id":"123456"}"#).member("id"), Some(&b"\"123456\""[..]));
    }

    #[test]
    fn a_cut_body_is_not_complete_and_what_passed_before_is_kept() {
        let tap = tapped(br#"{"id":1,"usage":{"a":1"#);
        assert_eq!(
            (tap.member("id"), tap.member("usage"), tap.is_complete()),
            (Some(&b"1"[..]), None, false)
        );
    }

    #[test]
    fn other_bodies_give_nothing() {
        for body in
            [&b""[..], b"<html>{\"id\":1}", b"\"id\"", b"12", b"[1,{\"id\":1}]", b"null", b"{]\"id\":1}"]
        {
            let tap = tapped(body);
            assert_eq!(
                (tap.member("id"), tap.is_complete()),
                (None, false),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn members_do_not_depend_on_where_the_body_is_cut() {
        let bodies = [
            r#"{"model":"gpt\"\\","usage":{"a":{"b":[1,2,"}{\"[]"]}},"error":null,"x":[{"usage":1}]}"#,
            r#"[{"model":"a","usage":{"a":1}},{"usage":{"a":2.5e3}} , {"error":{"message":"\\\\"}}]"#,
            r#"{ "\u0075sage" : true , "" : "" , "error\\" : 1 , "error" : "A\u0041" }"#,
            r#"{"data":[{"embedding":[0.0023064255,-0.009327292,-0.0028842222,0.1,0.2,0.3,0.4]}],"usage":{"p":1}}"#,
        ];
        for body in bodies {
            fuzz::tap(body.as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_the_same_members_however_they_are_cut(
            body in r#"[\[{ ]{0,2}("(usage|id|model|\\")"|[:,\[\]{}" \\1n]){0,20}"#) {
            fuzz::tap(body.as_bytes());
        }
    }
}
