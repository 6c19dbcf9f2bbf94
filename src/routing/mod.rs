//! Candidates and request facts to a ranked list. Pure: same input, same ranking.
//!
//! Owns which models of a project may answer and in which order: those that speak the client's dialect, then those that
//! need a translation, each in the project's order. The requested name chooses nothing, unless the project says so: then
//! candidates that it names come first (`prefer`) or stand alone (`pin`).
//!
//! Source: the project's routing specification, section 2.

pub mod metrics;

use crate::config::{HonorRequestedModel, Project};
use crate::dialect::Dialect;
use crate::snapshot::{Snapshot, Target};

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The client's dialect.
    pub dialect: Dialect,
    /// The model that the client named; `None` where it named none.
    pub model: Option<&'a str>,
    /// Whether models of other dialects can be used.
    pub translate: bool,
    /// Whether models that only embed are meant.
    pub embedding: bool,
}

/// Why nobody can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCandidate {
    /// The project has no model, or all of them are switched off or lack a readable key.
    NoneUsable,
    /// A pinned project has no model of that name.
    Unknown,
    /// Models are there, but none speaks the client's dialect, and translation is off; the best one speaks this.
    OtherDialect(Dialect),
}

/// Names that leave the choice to the gateway.
const AUTOMATIC: [&str; 4] = ["", "auto", "routerly/auto", "routerly/ada"];

/// Indexes of the targets that can answer, best first.
pub fn rank(
    snapshot: &Snapshot,
    project: &Project,
    wanted: Wanted<'_>,
    ranked: &mut Vec<usize>,
) -> Result<(), NoCandidate> {
    ranked.clear();
    let mut other_dialect = None;
    let mut any_named = false;
    let wished = match project.honor_requested_model {
        HonorRequestedModel::Ignore => None,
        HonorRequestedModel::Prefer | HonorRequestedModel::Pin => {
            wanted.model.filter(|name| !AUTOMATIC.contains(name))
        }
    };
    // Named and native, named, native, the rest.
    let mut counts = [0_usize; 4];
    for entry in &project.models {
        let target = &snapshot.targets[entry.model];
        if !target.is_usable() || (target.model.capabilities.embedding == Some(true)) != wanted.embedding {
            continue;
        }
        let named = wished.is_some_and(|name| is_named(target, name));
        let native = target.speaks(wanted.dialect);
        any_named |= named;
        if !native && !wanted.translate {
            let first = target.model.dialects.iter().next();
            if other_dialect.is_none() || (named && counts[0] == 0) {
                other_dialect = first.or(other_dialect);
            }
            continue;
        }
        let class = 2 * usize::from(!named) + usize::from(!native);
        let place = counts[..=class].iter().sum();
        ranked.insert(place, entry.model);
        counts[class] += 1;
    }
    let named_count = counts[0] + counts[1];
    if let (HonorRequestedModel::Pin, Some(_)) = (project.honor_requested_model, wished) {
        if !any_named {
            return Err(NoCandidate::Unknown);
        }
        ranked.truncate(named_count);
    }
    match (ranked.is_empty(), other_dialect) {
        (false, _) => Ok(()),
        (true, Some(dialect)) => Err(NoCandidate::OtherDialect(dialect)),
        (true, None) => Err(NoCandidate::NoneUsable),
    }
}

/// Whether a client's model name means this target: id, the provider's id, or the id behind the first slash.
pub fn is_named(target: &Target, name: &str) -> bool {
    let model = &target.model;
    model.id == name
        || model.upstream_model == name
        || model.id.split_once('/').is_some_and(|(_, suffix)| suffix == name)
}
