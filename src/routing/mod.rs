//! Candidates and request facts to a ranked list. Pure: same input, same ranking.
//!
//! Owns which models of a project may answer and in which order. Without policies: those that speak the client's dialect,
//! then those that need a translation, each in the project's order. With policies: [`Pool`]. The requested name chooses
//! nothing, unless the project says so: then candidates that it names come first (`prefer`) or stand alone (`pin`).
//!
//! Source: the project's routing specification, sections 2 to 4.

pub mod breaker;
mod explained;
pub mod intent;
pub mod keys;
pub mod llm;
pub mod metrics;
mod plan;
mod policies;
mod pool;
pub mod retry;

pub use explained::{Applied, Considered, Exclusion, Explained, Note, Part, Reason, Score};
pub use plan::{Asks, Plan, Policies, Traits};
pub use pool::{Candidate, Dry, External, Inputs, Pool, Standing};

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

/// Whether a client has chosen a model itself: it named one, and its project honours that.
pub fn wishes(project: &Project, model: Option<&str>) -> bool {
    project.honor_requested_model != HonorRequestedModel::Ignore
        && model.is_some_and(|name| !AUTOMATIC.contains(&name))
}

/// Indexes of the targets that can answer, best first, as far as no policy has a say.
///
/// # Errors
/// There is none.
pub fn rank(
    snapshot: &Snapshot,
    project: &Project,
    wanted: Wanted<'_>,
    ranked: &mut Vec<usize>,
) -> Result<(), NoCandidate> {
    ranked.clear();
    let count = each_candidate(snapshot, project, wanted, |at, _, _, target| ranked.insert(at, target))?;
    ranked.truncate(count);
    Ok(())
}

/// Calls `insert` for each candidate with where it is to be inserted in the list so far, its class (0: named and native,
/// 1: named, 2: native, 3: neither), its place in the project and its target. How many of the list count in the end.
fn each_candidate(
    snapshot: &Snapshot,
    project: &Project,
    wanted: Wanted<'_>,
    mut insert: impl FnMut(usize, usize, usize, usize),
) -> Result<usize, NoCandidate> {
    let mut other_dialect = None;
    let mut any_named = false;
    let wished = match project.honor_requested_model {
        HonorRequestedModel::Ignore => None,
        HonorRequestedModel::Prefer | HonorRequestedModel::Pin => {
            wanted.model.filter(|name| !AUTOMATIC.contains(name))
        }
    };
    let mut counts = [0_usize; 4];
    for (place, entry) in project.models.iter().enumerate() {
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
        insert(counts[..=class].iter().sum(), class, place, entry.model);
        counts[class] += 1;
    }
    let mut count = counts.iter().sum();
    if let (HonorRequestedModel::Pin, Some(_)) = (project.honor_requested_model, wished) {
        if !any_named {
            return Err(NoCandidate::Unknown);
        }
        count = counts[0] + counts[1];
    }
    match (count, other_dialect) {
        (1.., _) => Ok(count),
        (0, Some(dialect)) => Err(NoCandidate::OtherDialect(dialect)),
        (0, None) => Err(NoCandidate::NoneUsable),
    }
}

/// Whether a client's model name means this target: id, the provider's id, or the id behind the first slash.
pub fn is_named(target: &Target, name: &str) -> bool {
    let model = &target.model;
    model.id == name
        || model.upstream_model == name
        || model.id.split_once('/').is_some_and(|(_, suffix)| suffix == name)
}
