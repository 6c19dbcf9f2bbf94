//! Cache marks: at most four in a request. Rules: the project's dialect mapping, section 4.2.

use crate::dialect::ir::CacheMark;
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::write::Object;

/// Most marks that a request may have. Source: Anthropic API docs, "Prompt caching".
const MARKS_MAX: usize = 4;

/// The marks that are left to be written, in the order of the prompt. Where there are too many, the first ones are left
/// out: a later one covers the prompt up to it as well.
#[derive(Debug)]
pub(super) struct Marks {
    skip: usize,
}

impl Marks {
    /// For a request that has `total` of them.
    pub(super) fn new(total: usize) -> Self {
        Self { skip: total.saturating_sub(MARKS_MAX) }
    }

    /// Writes `cache_control`, if there is a mark to be written.
    ///
    /// # Errors
    /// Its lifetime changes, and reports are refusals.
    pub(super) fn write(
        &mut self,
        object: &mut Object<'_>,
        mark: Option<CacheMark>,
        losses: &mut Losses,
    ) -> Result<(), BadRequest> {
        let Some(mark) = mark else { return Ok(()) };
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        let ttl = match mark {
            CacheMark::Default => None,
            CacheMark::FiveMinutes => Some("5m"),
            CacheMark::OneHour => Some("1h"),
            CacheMark::HalfAnHour | CacheMark::TwelveHours => {
                losses.change(Feature::CacheTtl)?;
                Some(if mark == CacheMark::HalfAnHour { "5m" } else { "1h" })
            }
        };
        object.object("cache_control", |control| {
            control.plain("type", "ephemeral");
            if let Some(ttl) = ttl {
                control.plain("ttl", ttl);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::json::write;

    #[test]
    fn the_last_four_marks_are_written_with_a_lifetime_that_anthropic_knows() {
        let mut losses = Losses::new(Dialect::AnthropicMessages, false);
        let mut marks = Marks::new(5);
        let mut written = |mark| {
            let mut out = Vec::new();
            write::object(&mut out, |object| marks.write(object, mark, &mut losses)).unwrap();
            String::from_utf8(out).unwrap()
        };
        for (mark, json) in [
            (Some(CacheMark::Default), "{}"),
            (None, "{}"),
            (Some(CacheMark::Default), r#"{"cache_control":{"type":"ephemeral"}}"#),
            (Some(CacheMark::HalfAnHour), r#"{"cache_control":{"type":"ephemeral","ttl":"5m"}}"#),
            (Some(CacheMark::OneHour), r#"{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#),
            (Some(CacheMark::TwelveHours), r#"{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#),
        ] {
            assert_eq!(written(mark), json, "{mark:?}");
        }
        assert_eq!(losses.header_value(), "changed=cache_ttl");
    }
}
