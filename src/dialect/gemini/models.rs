//! What Gemini's models take, by the beginning of their names.
//!
//! Sources: the project's dialect mapping, sections 2.1, 5.1, 6 and 7; Gemini API documentation, "Thinking", "Structured
//! output", "Thought signatures", "Media resolution". Levels: the table in
//! <https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/thinking> (3.7 and 3.8 Flash have no `MINIMAL`; 3.5
//! and 3.6 Flash and the Flash-Lite models have all four), vellum-ai/vellum-assistant pull request 32687 (nor has 3.1 Pro).

use crate::dialect::Effort;

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all: it does not think, or not as told.
    Fixed,
    /// In tokens from `min` to `max`; 0 where it can be switched off.
    Budget { min: u64, max: u64, off: bool },
    /// In one of these words, lowest first.
    Levels(&'static [Effort]),
}

/// The rules of a family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelRules {
    pub(super) thinking: Thinking,
    /// JSON Schema in `parametersJsonSchema` and `responseJsonSchema`; others take the OpenAPI subset only.
    pub(super) json_schema: bool,
    /// JSON as the answer's form while there are functions or a web search.
    pub(super) json_beside_functions: bool,
    /// The mode `VALIDATED`.
    pub(super) validated: bool,
    /// The first call of each step needs a signature.
    pub(super) signatures: bool,
    /// Ids of calls.
    pub(super) call_ids: bool,
    /// Images and documents in the result of a call.
    pub(super) result_media: bool,
    /// `mediaResolution` of a part.
    pub(super) part_resolution: bool,
}

const OLD: ModelRules = ModelRules {
    thinking: Thinking::Fixed,
    json_schema: false,
    json_beside_functions: false,
    validated: false,
    signatures: false,
    call_ids: false,
    result_media: false,
    part_resolution: false,
};
const FIXED_2_5: ModelRules = ModelRules { json_schema: true, validated: true, ..OLD };
const PRO_2_5: ModelRules =
    ModelRules { thinking: Thinking::Budget { min: 128, max: 32_768, off: false }, ..FIXED_2_5 };
const FLASH_2_5: ModelRules =
    ModelRules { thinking: Thinking::Budget { min: 1, max: 24_576, off: true }, ..FIXED_2_5 };
const LITE_2_5: ModelRules =
    ModelRules { thinking: Thinking::Budget { min: 512, max: 24_576, off: true }, ..FIXED_2_5 };
/// Of later models nobody knows whether they have `MINIMAL`; all have the others.
const NEWEST: ModelRules = ModelRules {
    thinking: Thinking::Levels(&[Effort::Low, Effort::Medium, Effort::High]),
    json_schema: true,
    json_beside_functions: true,
    validated: true,
    signatures: true,
    call_ids: true,
    result_media: true,
    part_resolution: true,
};
const PRO_3: ModelRules = ModelRules { thinking: Thinking::Levels(&[Effort::Low, Effort::High]), ..NEWEST };
const MINIMAL_3: ModelRules = ModelRules {
    thinking: Thinking::Levels(&[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High]),
    ..NEWEST
};
const FIXED_3: ModelRules = ModelRules { thinking: Thinking::Fixed, ..NEWEST };

/// First match wins. Names that begin like none of them have the newest family's rules.
const FAMILIES: &[(&str, ModelRules)] = &[
    ("gemini-1", OLD),
    ("gemini-2.0", OLD),
    ("gemini-pro-vision", OLD),
    ("gemini-2.5-flash-image", FIXED_2_5),
    ("gemini-2.5-flash-preview-tts", FIXED_2_5),
    ("gemini-2.5-pro-preview-tts", FIXED_2_5),
    ("gemini-2.5-pro", PRO_2_5),
    ("gemini-2.5-flash-lite", LITE_2_5),
    ("gemini-2.5-flash", FLASH_2_5),
    ("gemini-2.5-", FIXED_2_5),
    ("gemini-3-pro-image", FIXED_3),
    ("gemini-3-pro", PRO_3),
    ("gemini-3-flash", MINIMAL_3),
    ("gemini-3.1-flash-lite", MINIMAL_3),
    ("gemini-3.5-flash", MINIMAL_3),
    ("gemini-3.6-flash", MINIMAL_3),
    ("gemma-", OLD),
    ("learnlm-", OLD),
];

/// The rules of the model `name`; a path in front of it (`models/gemini-2.5-pro`) does not count.
pub(super) fn rules_of(name: &str) -> ModelRules {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    FAMILIES.iter().find(|(start, _)| name.starts_with(start)).map_or(NEWEST, |(_, rules)| *rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_go_by_the_beginning_of_the_name() {
        for (name, rules) in [
            ("gemini-1.5-flash-002", OLD),
            ("gemini-2.0-flash", OLD),
            ("gemini-2.5-pro", PRO_2_5),
            ("models/gemini-2.5-pro-preview-06-05", PRO_2_5),
            ("gemini-2.5-flash", FLASH_2_5),
            ("publishers/google/models/gemini-2.5-flash-lite", LITE_2_5),
            ("gemini-2.5-flash-image", FIXED_2_5),
            ("gemini-2.5-computer-use-preview", FIXED_2_5),
            ("gemini-3-pro-preview", PRO_3),
            ("gemini-3-pro-image-preview", FIXED_3),
            ("gemini-3.1-pro-preview", NEWEST),
            ("gemini-3-flash-preview", MINIMAL_3),
            ("gemini-3.1-flash-lite", MINIMAL_3),
            ("gemini-3.5-flash-lite", MINIMAL_3),
            ("gemini-3.7-flash", NEWEST),
            ("gemini-flash-latest", NEWEST),
            ("gemini-4", NEWEST),
            ("something-else", NEWEST),
        ] {
            assert_eq!(rules_of(name), rules, "{name}");
        }
    }

    #[test]
    fn a_family_is_not_hidden_by_an_earlier_one() {
        for (at, (later, _)) in FAMILIES.iter().enumerate() {
            let hiding = FAMILIES[..at].iter().find(|(earlier, _)| later.starts_with(earlier));
            assert_eq!(hiding.map(|(earlier, _)| earlier), None, "{later}");
        }
    }
}
