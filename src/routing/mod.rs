//! Candidates and request facts to a ranked list. Pure: same input, same ranking.
//!
//! Owns which models of a project may answer and in which order: that of the project. The requested name chooses
//! nothing, unless the project says so: then a candidate that it names comes first (`prefer`) or stands alone (`pin`).
//!
//! Source: the project's routing specification, section 2.

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
    /// Models are there, but none speaks the client's dialect; the best one speaks this.
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
    let mut named_count = 0;
    for entry in &project.models {
        let target = &snapshot.targets[entry.model];
        if !target.is_usable() || (target.model.capabilities.embedding == Some(true)) != wanted.embedding {
            continue;
        }
        let named = wished.is_some_and(|name| is_named(target, name));
        any_named |= named;
        if !target.speaks(wanted.dialect) {
            let first = target.model.dialects.iter().next();
            if other_dialect.is_none() || (named && named_count == 0) {
                other_dialect = first.or(other_dialect);
            }
            continue;
        }
        if named {
            ranked.insert(named_count, entry.model);
            named_count += 1;
        } else {
            ranked.push(entry.model);
        }
    }
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
