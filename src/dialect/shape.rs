//! The end of an answer, from its usage on, that looks like that of an earlier one but for its numbers.
//!
//! A provider spells its usage the same way each time. Once one has been read, the next is known by comparing what
//! stands between the numbers: the same bytes there have the same structure, so that each number means what it meant.

use super::Usage;
use super::usage::{Reported, Slot, plain_number};
use crate::limits::USAGE_SHAPE_BYTES_MAX;

/// Ends in a row that are learned without one of them coming again: a provider that never repeats itself must not cost
/// twice for each answer.
const LEARNED_MAX: u8 = 16;

/// What of an end stays the same. Kept per endpoint.
#[derive(Debug, Default)]
pub struct UsageShape {
    /// What stands before, between and behind the numbers, in one piece. Empty: none was learned.
    fixed: Vec<u8>,
    /// For each number: the end of the piece before it, and what it counts.
    numbers: Vec<(usize, Slot)>,
    /// Shapes learned since one was seen again.
    learned: u8,
}

impl UsageShape {
    /// The usage that `ending` begins with, if it has this shape.
    #[inline]
    pub(super) fn read(&mut self, ending: &[u8]) -> Option<Usage> {
        if self.fixed.is_empty() {
            return None;
        }
        let (mut reported, mut rest, mut from) = (Reported::default(), ending, 0);
        for (end, slot) in &self.numbers {
            rest = rest.strip_prefix(&self.fixed[from..*end])?;
            let (number, length) = plain_number(rest).filter(|(_, length)| *length > 0)?;
            reported.count(*slot, number);
            (rest, from) = (&rest[length..], *end);
        }
        if *rest != self.fixed[from..] {
            return None;
        }
        self.learned = 0;
        reported.evened_out()
    }

    /// Makes room for another shape; `None` where none is to be learned any more.
    pub(super) fn learn(&mut self) -> Option<Learning<'_>> {
        if self.learned == LEARNED_MAX {
            return None;
        }
        self.learned += 1;
        self.fixed.clear();
        self.numbers.clear();
        Some(Learning { shape: self, copied: 0 })
    }
}

/// A shape that is being learned while its first example is read.
pub(super) struct Learning<'s> {
    shape: &'s mut UsageShape,
    /// How far the example was taken in.
    copied: usize,
}

impl Learning<'_> {
    /// A number of `length` digits stands at `at`.
    pub(super) fn number(&mut self, ending: &[u8], at: usize, length: usize, slot: Slot) {
        self.shape.fixed.extend_from_slice(&ending[self.copied..at]);
        self.shape.numbers.push((self.shape.fixed.len(), slot));
        self.copied = at + length;
    }

    /// The example was read to its end, or `ending` is not worth to be known again.
    pub(super) fn finish(self, ending: Option<&[u8]>) {
        let shape = self.shape;
        match ending.map(|ending| &ending[self.copied..]) {
            Some(rest) if shape.fixed.len() + rest.len() <= USAGE_SHAPE_BYTES_MAX => {
                shape.fixed.extend_from_slice(rest);
            }
            _ => {
                shape.fixed.clear();
                shape.numbers.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::whole::openai_usage;

    #[test]
    fn the_next_answer_is_known_by_its_shape_and_another_one_is_not() {
        let body = |prompt: &str, cached: &str, rest: &str| {
            format!(
                "{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\": 2 ,\
                 \"prompt_tokens_details\":{{\"cached_tokens\":{cached}}},\"x\":null}},\"tier\":\"{rest}\"}}"
            )
        };
        let mut shape = UsageShape::default();
        let first = body("10", "4", "a");
        let usage = |input, cached_input| Usage { input, output: 2, cached_input, ..Usage::default() };
        assert_eq!(openai_usage(first.as_bytes(), &mut shape), Some(usage(10, 4)));
        let cases = [
            (body("10", "4", "a"), Some(usage(10, 4))),
            (body("7", "0", "a"), Some(usage(7, 0))),
            (body("123456789", "123456", "a"), Some(usage(123_456_789, 123_456))),
            (body("7", "0", "b"), None),
            (body("7", "null", "a"), None),
            (body("7", "", "a"), None),
            (body("7", "-1", "a"), None),
            (body("7", "0.5", "a"), None),
            (body("7", "0e1", "a"), None),
            (body("99999999999999999999", "0", "a"), None),
            (body("7", "0", "a") + " ", None),
            (String::from("\"usage\":"), None),
        ];
        for (body, expected) in cases {
            let ending = body.split_once("\"usage\":").unwrap().1;
            assert_eq!(shape.read(ending.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn an_object_with_other_values_than_whole_numbers_is_not_learned() {
        let mut shape = UsageShape::default();
        let body = br#"{"usage":{"prompt_tokens":4,"completion_tokens":5e0}}"#;
        assert_eq!(openai_usage(body, &mut shape).map(|usage| usage.output), Some(5));
        assert!(shape.fixed.is_empty() && shape.numbers.is_empty());
    }

    #[test]
    fn a_provider_that_never_repeats_itself_is_left_alone() {
        let mut shape = UsageShape::default();
        for number in 0..2 * LEARNED_MAX {
            let body = format!("{{\"usage\":{{\"prompt_tokens\":4}},\"id\":\"{number}\"}}");
            assert!(openai_usage(body.as_bytes(), &mut shape).is_some());
        }
        assert!(shape.learn().is_none());
    }
}
