//! Which models may answer a request, best first.
//!
//! Owns what the policies of a project are told about a request and its candidates; what they make of it is the routing
//! room's. Counting tokens asks no policy: it costs nothing and answers the same wherever it is done.

use std::sync::Arc;

use super::affinity;
use super::call::Asked;
use super::exchange::Exchange;
use super::inner;
use super::ledger::Ledger;
use super::request::Request;
use crate::clock;
use crate::config::Translation;
use crate::dialect::{Dialect, Needs};
use crate::respond::GatewayError;
use crate::routing::metrics::View;
use crate::routing::{self, Dry, Explained, Inputs, NoCandidate, Policies, Pool, Wanted};
use crate::snapshot::Snapshot;
use crate::telemetry::labels::Endpoint;
use crate::trace::Entry;

/// Models that a client is told the reasons of; further ones are counted.
const REASONS_MAX: usize = 16;

/// Why nobody is to be asked.
#[derive(Debug)]
pub(super) enum NoChoice {
    /// To be answered.
    Refused(GatewayError),
    /// Nobody is left to answer.
    ClientGone,
}

impl From<GatewayError> for NoChoice {
    fn from(error: GatewayError) -> Self {
        Self::Refused(error)
    }
}

/// The models of the request's project that can answer it, as indexes of targets, in the order to try them in. Where
/// `prefer` is one of them it comes first, and no policy asks anybody.
///
/// # Errors
/// There is none, or the client left while policies asked somebody.
pub(super) async fn ranked(
    exchange: &mut Exchange<'_>,
    snapshot: &Snapshot,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
    prefer: Option<usize>,
) -> Result<Vec<usize>, NoChoice> {
    let project = &snapshot.config.projects()[request.project as usize];
    let mut ranked = Vec::with_capacity(project.models.len());
    let translate = project.translation != Translation::Off;
    let dialect = request.client.dialect;
    let wanted = Wanted { dialect, model: asked.model, translate, embedding: false };
    let no_candidate = |error| no_candidate(error, dialect, asked.model);
    ledger.prefix = project.prefix_affinity.and_then(|_| affinity::prefix(snapshot, request, asked));
    let Some(policies) = policies(snapshot, request) else {
        routing::rank(snapshot, project, wanted, &mut ranked).map_err(no_candidate)?;
        put_first(prefer, &mut ranked);
        return Ok(ranked);
    };
    let is_preferred = |target: usize| prefer == Some(target);
    // The core's pool: its memory is used again.
    let mut pool = exchange.shard.pool.take().unwrap_or_default();
    let result = match pool.gather(snapshot, request.project as usize, wanted).map_err(no_candidate) {
        Ok(()) => {
            ledger.fill_standing(&mut pool);
            let readings = exchange.view.readings(&exchange.shard.mailbox);
            let inputs = inputs(exchange, policies, asked.body, &readings);
            if policies.asks.state {
                fill_state(exchange, snapshot, &mut pool);
            }
            let told = match pool.narrow(&snapshot.routing.traits, policies, &inputs) {
                Ok(()) if policies.asks.calls && pool.is_open() && !pool.left().any(is_preferred) => {
                    // Boxed, so that the others do not carry its room.
                    Box::pin(ask(exchange, snapshot, request, ledger, asked, policies, &mut pool)).await
                }
                Ok(()) => Ok(()),
                Err(Dry::Exhausted) if let Some(error) = ledger.exhausted(&mut pool) => Err(error.into()),
                Err(dry) => Err(nobody_left(dry, snapshot, policies, &pool).into()),
            };
            if told.is_ok() {
                pool.rank(&snapshot.routing.traits, policies, &inputs, &mut ranked);
            }
            note(&pool, policies, ledger);
            if let (Ok(()), Some(tolerance)) = (&told, project.prefix_affinity) {
                pool.shuffle_best(tolerance, ledger.prefix.unwrap_or(inputs.seed), &mut ranked);
            }
            told
        }
        Err(error) => Err(error.into()),
    };
    exchange.shard.pool.set(Some(pool));
    result?;
    put_first(prefer, &mut ranked);
    if let (true, Some(first)) = (policies.asks.state, ranked.first()) {
        exchange.view.tries(*first, exchange.shard.unix_ms(clock::now()));
    }
    Ok(ranked)
}

/// Moves the target that is preferred to the front, if it is one of them.
fn put_first(prefer: Option<usize>, ranked: &mut [usize]) {
    if let Some(prefer) = prefer
        && let Some(place) = ranked.iter().position(|target| *target == prefer)
    {
        ranked[..=place].rotate_right(1);
    }
}

/// The enabled policies that a request has to pass, if there are any.
pub(super) fn policies<'s>(snapshot: &'s Snapshot, request: &Request) -> Option<&'s Policies> {
    let policies = snapshot.routing.projects[request.project as usize].as_deref();
    policies.filter(|_| request.endpoint != Endpoint::CountTokens)
}

/// Tells the pool how its candidates do at the moment: breakers, keys that rest, what this core has tried.
fn fill_state(exchange: &Exchange<'_>, snapshot: &Snapshot, pool: &mut Pool) {
    let rules = &snapshot.config.settings().upstream.breaker;
    let now_ms = clock::process_ms();
    let unix_ms = exchange.shard.unix_ms(clock::now());
    for candidate in pool.candidates_mut() {
        let target = &snapshot.targets[candidate.target];
        let of_endpoint = &snapshot.breakers[target.endpoint];
        let standing = &mut candidate.standing;
        standing.is_broken =
            target.breaker.looks_open(now_ms, rules) || of_endpoint.looks_open(now_ms, rules);
        let rest_ms = target.rest_ms(|| now_ms);
        standing.cooldown_until_ms = if rest_ms > 0 { unix_ms + rest_ms } else { 0 };
        standing.tried_ms = exchange.view.tried_ms(candidate.target);
    }
}

fn inputs<'v>(exchange: &Exchange<'_>, policies: &Policies, body: &[u8], readings: &'v View) -> Inputs<'v> {
    Inputs {
        needs: if policies.asks.needs { Needs::of(body) } else { Needs::default() },
        view: Some(readings),
        now_ms: exchange.shard.unix_ms(clock::now()),
        seed: exchange.shard.random(),
    }
}

/// Says in the trace how the ranking came about.
fn note(pool: &Pool, policies: &Policies, ledger: &mut Ledger) {
    let mut explained = ledger.shard.traces.borrow_mut().ranking();
    if let Some(explained) = Arc::get_mut(&mut explained) {
        pool.explain(policies, explained);
    }
    ledger.note(Entry::Routing(explained));
}

/// Has the policies asked that need to ask somebody themselves, and tells the pool what they say.
async fn ask(
    exchange: &mut Exchange<'_>,
    snapshot: &Snapshot,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
    policies: &Policies,
    pool: &mut Pool,
) -> Result<(), NoChoice> {
    let candidates: Vec<usize> = pool.left().collect();
    let advised = inner::advise(exchange, request, ledger, asked, &candidates, policies.calling()).await;
    for (policy, advice) in advised.ok_or(NoChoice::ClientGone)? {
        pool.tell(policy, advice).map_err(|dry| nobody_left(dry, snapshot, policies, pool))?;
    }
    Ok(())
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
