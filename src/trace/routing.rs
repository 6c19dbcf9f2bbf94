//! How a ranking came about, as JSON: candidates, points, exclusions, order.

use std::collections::BTreeMap;

use super::entry::RoutingPart;
use super::json::{Audience, Speller, point, write};
use crate::json::write::{Array, Object};
use crate::routing::{Explained, Note, Part};
use crate::telemetry::text::clip;

/// Longest part of a model's guidance that is shown, in bytes.
const PROMPT_BYTES_MAX: usize = 120;

/// Appends one entry.
pub(super) fn write_part(
    speller: &Speller<'_>,
    out: &mut Vec<u8>,
    ts: u32,
    explained: &Explained,
    part: RoutingPart,
) {
    let told = Told { speller, explained };
    let mut answer = |message: &str, details: &dyn Fn(&mut Object<'_>)| {
        write(out, "router-response", message, ts, |object| details(object));
    };
    match part {
        RoutingPart::Policies => {
            write(out, "router-request", "router:policies", ts, |details| told.policies(details));
        }
        RoutingPart::Policy(index) => {
            let policy = &explained.policies[index];
            match &policy.error {
                Some(error) => answer(&format!("policy:error:{}", policy.kind), &|details| {
                    details.plain("type", policy.kind);
                    details.plain("error", error);
                }),
                None => {
                    answer(&format!("policy:result:{}", policy.kind), &|details| told.policy(details, index))
                }
            }
        }
        RoutingPart::Excludes => {
            answer("router:excludes", &|details| details.object("excluded", |out| told.excluded(out)));
        }
        RoutingPart::Abstained => answer("router:abstained", &|details| {
            details.array("policies", |list| {
                let abstained = explained.policies.iter().filter(|policy| policy.part == Part::Abstained);
                abstained.for_each(|policy| list.plain(policy.kind));
            });
        }),
        RoutingPart::Recap => answer("router:recap", &|details| told.recap(details)),
        RoutingPart::Result => answer("router:result", &|details| told.result(details)),
    }
}

struct Told<'a> {
    speller: &'a Speller<'a>,
    explained: &'a Explained,
}

impl Told<'_> {
    fn policies(&self, details: &mut Object<'_>) {
        let explained = self.explained;
        details.array("policies", |list| {
            for policy in &explained.policies {
                list.object(|one| {
                    one.plain("type", policy.kind);
                    one.number("weight", u64::from(policy.weight));
                    if let Some(settings) = self.settings(policy.source) {
                        one.member("config").extend_from_slice(settings.as_bytes());
                    }
                });
            }
        });
        details.array("candidates", |list| {
            (0..explained.candidates.len()).for_each(|at| list.plain(self.model(at)))
        });
        if explained.candidates.iter().any(|candidate| candidate.exhausted) {
            details.array("excludedByLimits", |list| {
                let out =
                    explained.candidates.iter().enumerate().filter(|(_, candidate)| candidate.exhausted);
                out.for_each(|(at, _)| list.plain(self.model(at)));
            });
        }
    }

    fn policy(&self, details: &mut Object<'_>, index: usize) {
        let (explained, policy) = (self.explained, &self.explained.policies[index]);
        details.plain("type", policy.kind);
        details.number("weight", u64::from(policy.weight));
        details.array("routing", |list| {
            for at in 0..explained.candidates.len() {
                let Some(value) = explained.point(index, at) else { continue };
                list.object(|one| {
                    one.plain("model", self.model(at));
                    point(one, "point", value);
                    point(one, "contribution", explained.contribution(index, at).unwrap_or_default());
                });
            }
        });
        if explained.exclusions.iter().any(|out| out.policy == index) {
            details.array("excludes", |list| {
                for out in explained.exclusions.iter().filter(|out| out.policy == index) {
                    list.object(|one| {
                        one.plain("model", self.model(out.candidate));
                        one.plain("reason", &out.reason.to_string());
                    });
                }
            });
        }
    }

    /// Types of the policies that excluded each model.
    fn excluded(&self, object: &mut Object<'_>) {
        let mut by_model: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for out in &self.explained.exclusions {
            by_model.entry(out.candidate).or_default().push(self.explained.policies[out.policy].kind);
        }
        for (at, kinds) in by_model {
            object.array(self.model(at), |list| kinds.into_iter().for_each(|kind| list.plain(kind)));
        }
    }

    fn recap(&self, details: &mut Object<'_>) {
        let explained = self.explained;
        details.array("policies", |list| {
            for (index, policy) in explained.policies.iter().enumerate() {
                list.object(|one| {
                    one.plain("type", policy.kind);
                    one.number("weight", u64::from(policy.weight));
                    self.scores(one, index);
                });
            }
        });
        details.array("final", |list| {
            for (rank, at) in explained.order.iter().enumerate() {
                list.object(|one| {
                    one.number("rank", rank as u64 + 1);
                    one.plain("model", self.model(*at));
                    point(one, "score", self.score(*at));
                });
            }
        });
        if explained.tied > 1 {
            details.object("tie", |tie| {
                tie.number("count", explained.tied as u64);
                tie.array("models", |list| self.tied(list));
            });
        }
        if !explained.exclusions.is_empty() {
            details.object("excluded", |out| self.excluded(out));
        }
    }

    /// Who was scored by a policy, and who best.
    fn scores(&self, one: &mut Object<'_>, policy: usize) {
        let scored = || {
            let all = 0..self.explained.candidates.len();
            all.filter_map(|at| Some((at, self.explained.point(policy, at)?)))
        };
        // Of equal points the first one's, in the order of the candidates.
        let best = scored().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let pair = |object: &mut Object<'_>, (at, value): (usize, f64)| {
            object.plain("model", self.model(at));
            point(object, "point", value);
        };
        match best {
            Some(best) => one.object("winner", |winner| pair(winner, best)),
            None => one.null("winner"),
        }
        one.array("scores", |list| scored().for_each(|scored| list.object(|one| pair(one, scored))));
    }

    fn result(&self, details: &mut Object<'_>) {
        let explained = self.explained;
        details.array("final", |list| {
            for at in &explained.order {
                list.object(|one| {
                    one.plain("model", self.model(*at));
                    point(one, "weight", self.score(*at));
                    if let Some(guidance) = self.guidance(explained.candidates[*at].target) {
                        one.plain("prompt", clip(guidance, PROMPT_BYTES_MAX));
                    }
                });
            }
        });
        if explained.tied > 1 {
            details.array("tiedWinners", |list| self.tied(list));
        }
        if let Some(note) = explained.note {
            details.plain("note", Note::as_str(note));
        }
    }

    fn tied(&self, list: &mut Array<'_>) {
        self.explained.order.iter().take(self.explained.tied).for_each(|at| list.plain(self.model(*at)));
    }

    /// The settings of a policy; none where it has none, or where they are nobody's business.
    fn settings(&self, source: usize) -> Option<&str> {
        let project = self.speller.snapshot.config.projects().get(self.explained.project)?;
        let shown = &*project.policies.get(source)?.shown;
        // They are the operator's; a client may hold a token and nothing else.
        (!shown.is_empty() && self.speller.audience == Audience::Operator).then_some(shown)
    }

    /// What the project tells routing models about a model; likewise.
    fn guidance(&self, target: usize) -> Option<&str> {
        let project = self.speller.snapshot.config.projects().get(self.explained.project)?;
        let entry = project.models.iter().find(|entry| entry.model == target)?;
        entry.prompt.as_deref().filter(|_| self.speller.audience == Audience::Operator)
    }

    fn score(&self, at: usize) -> f64 {
        self.explained.candidates[at].score.map_or(0.0, |score| score.value())
    }

    fn model(&self, at: usize) -> &str {
        self.speller.model(self.explained.candidates[at].target as u32)
    }
}
