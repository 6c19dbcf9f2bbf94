//! Which models may answer a request, best first.
//!
//! Owns what the policies of a project are told about a request and its candidates; what they make of it is the routing
//! room's. Counting tokens asks no policy: it costs nothing and answers the same wherever it is done.

use super::call::Asked;
use super::exchange::Exchange;
use super::request::Request;
use crate::clock;
use crate::config::Translation;
use crate::dialect::{Dialect, Needs};
use crate::respond::GatewayError;
use crate::routing::{self, Dry, Explained, Inputs, NoCandidate, Policies, Pool, Wanted};
use crate::snapshot::Snapshot;
use crate::telemetry::labels::Endpoint;

/// Models that a client is told the reasons of; further ones are counted.
const REASONS_MAX: usize = 16;

/// The models of the request's project that can answer it, as indexes of targets, in the order to try them in.
///
/// # Errors
/// There is none.
pub(super) fn ranked(
    exchange: &Exchange<'_>,
    snapshot: &Snapshot,
    request: &Request,
    asked: &Asked<'_>,
) -> Result<Vec<usize>, GatewayError> {
    let project = &snapshot.config.projects()[request.project as usize];
    let mut ranked = Vec::with_capacity(project.models.len());
    let translate = project.translation != Translation::Off;
    let dialect = request.client.dialect;
    let wanted = Wanted { dialect, model: asked.model, translate, embedding: false };
    let no_candidate = |error| no_candidate(error, dialect, asked.model);
    let Some(policies) = policies(snapshot, request) else {
        return routing::rank(snapshot, project, wanted, &mut ranked).map(|()| ranked).map_err(no_candidate);
    };
    // The core's pool: its memory is used again.
    let mut pool = exchange.shard.pool.take().unwrap_or_default();
    let gathered = pool.gather(snapshot, request.project as usize, wanted).map_err(no_candidate);
    let result =
        gathered.and_then(|()| apply(exchange, snapshot, policies, &mut pool, asked.body, &mut ranked));
    exchange.shard.pool.set(Some(pool));
    result.map(|()| ranked)
}

/// The enabled policies that a request has to pass, if there are any.
pub(super) fn policies<'s>(snapshot: &'s Snapshot, request: &Request) -> Option<&'s Policies> {
    let policies = snapshot.routing.projects[request.project as usize].as_deref();
    policies.filter(|_| request.endpoint != Endpoint::CountTokens)
}

fn apply(
    exchange: &Exchange<'_>,
    snapshot: &Snapshot,
    policies: &Policies,
    pool: &mut Pool,
    body: &[u8],
    ranked: &mut Vec<usize>,
) -> Result<(), GatewayError> {
    let readings = exchange.view.readings(&exchange.shard.mailbox);
    let inputs = Inputs {
        needs: if policies.asks.needs { Needs::of(body) } else { Needs::default() },
        view: Some(&readings),
        now_ms: exchange.shard.unix_ms(clock::now()),
        seed: exchange.shard.random(),
    };
    let traits = &snapshot.routing.traits;
    match pool.narrow(traits, policies, &inputs) {
        Ok(()) => {
            pool.rank(traits, policies, &inputs, ranked);
            Ok(())
        }
        Err(dry) => Err(nobody_left(dry, snapshot, policies, pool)),
    }
}

/// What is said when no model could be asked at all.
pub(super) fn none_usable() -> GatewayError {
    GatewayError::NoModel("no model of this project can answer".to_owned())
}

fn no_candidate(error: NoCandidate, from: Dialect, model: Option<&str>) -> GatewayError {
    match error {
        NoCandidate::NoneUsable => none_usable(),
        NoCandidate::Unknown => {
            let name = crate::telemetry::text::clip(model.unwrap_or_default(), 256);
            GatewayError::NotFound(format!("no model `{name}` in this project"))
        }
        NoCandidate::OtherDialect(to) => {
            GatewayError::NeedsTranslation { from: from.as_str(), to: to.as_str() }
        }
    }
}

/// Says for each model why it cannot answer.
fn nobody_left(dry: Dry, snapshot: &Snapshot, policies: &Policies, pool: &Pool) -> GatewayError {
    let text = match dry {
        Dry::Exhausted => "the limits of all models of this project are used up".to_owned(),
        Dry::Excluded => {
            let mut explained = Explained::default();
            pool.explain(policies, &mut explained);
            let reasons = reasons(snapshot, &explained);
            format!("all models of this project are excluded by its policies: {reasons}")
        }
    };
    GatewayError::NoModel(text)
}

/// `model (policy: reason; policy: reason), model (…)`.
fn reasons(snapshot: &Snapshot, explained: &Explained) -> String {
    let mut texts = Vec::new();
    for (at, candidate) in explained.candidates.iter().enumerate() {
        let of_candidate = explained.exclusions.iter().filter(|out| out.candidate == at);
        let mut reasons: Vec<String> = of_candidate
            .map(|out| format!("{}: {}", explained.policies[out.policy].kind, out.reason))
            .collect();
        if candidate.exhausted {
            reasons.push("a limit is used up".to_owned());
        }
        texts.push(format!("`{}` ({})", snapshot.targets[candidate.target].model.id, reasons.join("; ")));
    }
    if texts.len() > REASONS_MAX {
        let more = texts.len() - REASONS_MAX;
        texts.truncate(REASONS_MAX);
        texts.push(format!("and {more} more"));
    }
    texts.join(", ")
}
