//! `capability`: can the model do what the request needs?
//!
//! Only what a model is known not to do speaks against it. Who is left can do everything, so this policy excludes and
//! scores all others alike.

use crate::dialect::Features;
use crate::routing::Reason;

/// Why a model cannot take the request.
#[inline]
pub(in crate::routing) fn exclusion(needed: Features, lacks: Features) -> Option<Reason> {
    let missing = needed.and(lacks);
    (!missing.is_empty()).then_some(Reason::Capability(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_known_to_lack_excludes() {
        let (vision, tools, none) = (Features::VISION, Features::TOOLS, Features::default());
        let cases = [
            ("nothing needed", none, vision, None),
            ("nothing known to lack", vision, none, None),
            ("another one lacks", vision, tools, None),
            ("the needed one lacks", vision, vision.or(tools), Some(vision)),
            ("two of three", vision.or(tools).or(Features::JSON), vision.or(tools), Some(vision.or(tools))),
        ];
        for (name, needed, lacks, expected) in cases {
            assert_eq!(exclusion(needed, lacks), expected.map(Reason::Capability), "{name}");
        }
    }
}
