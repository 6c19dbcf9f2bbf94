//! The policies of a project that have to ask somebody, side by side.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::{Caller, Choice, Heard, Notes};
use crate::clock;
use crate::config::Project;
use crate::config::policy::Rule;
use crate::gateway::call::Asked;
use crate::gateway::exchange::{Asker, Exchange};
use crate::gateway::ledger::Ledger;
use crate::gateway::request::Request;
use crate::gateway::translated;
use crate::routing::External;

/// What each of the project's policies `calling` says of `candidates`, indexes of targets. `calling` has the index that a
/// policy's advice comes back under and its place in the project. `None`: the client left.
///
/// Each has its own deadline. What one cannot find out it says nothing about: it is never the reason that a request fails.
pub(in crate::gateway) async fn advise(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
    candidates: &[usize],
    calling: impl Iterator<Item = (usize, usize)>,
) -> Option<Vec<(usize, External)>> {
    let (shard, view) = (Rc::clone(exchange.shard), Rc::clone(&exchange.view));
    let project = &view.snapshot.config.projects()[request.project as usize];
    let read = translated::ask(&view.snapshot, request, asked.body, asked.stream, &[]);
    let heard = read.request().map(|request| Heard::of(&request));
    let notes = Notes::default();
    let mut running: Vec<Pin<Box<dyn Future<Output = External> + '_>>> = Vec::new();
    let mut indexes = Vec::new();
    for (index, place) in calling {
        indexes.push(index);
        let heard = match &heard {
            Ok(heard) => heard,
            Err(bad) => {
                let error = Some(format!("the request cannot be read: {bad}"));
                running.push(Box::pin(std::future::ready(External { error, ..External::default() })));
                continue;
            }
        };
        match &project.policies[place].rule {
            Rule::Llm(rule) => {
                let caller = Caller::new(&shard, &view, request, &notes, rule.timeout);
                let choices = choices(project, candidates, ledger);
                let earlier = match (rule.memory_count, &request.conversation) {
                    (Some(count), Some(conversation)) => {
                        shard.caches.conversations.last(&project.id, conversation, count, clock::now())
                    }
                    _ => Vec::new(),
                };
                running
                    .push(Box::pin(async move { caller.ask_model(rule, heard, &choices, &earlier).await }));
            }
            Rule::SemanticIntent(rule) => {
                let caller = Caller::new(&shard, &view, request, &notes, rule.timeout);
                running.push(Box::pin(async move { caller.ask_intent(rule, heard, candidates).await }));
            }
            // The others ask nobody.
            _ => running.push(Box::pin(std::future::ready(External::default()))),
        }
    }
    ledger.waiting();
    let advised = exchange.while_client_stays(all(running)).await;
    ledger.working();
    for (at, entry) in notes.into_inner() {
        ledger.note_at(at, entry);
    }
    if advised.is_none() {
        ledger.client_gone();
    }
    Some(indexes.into_iter().zip(advised?).collect())
}

fn choices(project: &Project, candidates: &[usize], ledger: &Ledger) -> Vec<Choice> {
    let guidance = |target: usize| {
        let entry = project.models.iter().find(|entry| entry.model == target);
        entry.and_then(|entry| entry.prompt.clone())
    };
    candidates
        .iter()
        .map(|target| Choice {
            target: *target,
            guidance: guidance(*target),
            limits: ledger.limits_in_words(*target),
        })
        .collect()
}

/// Runs futures side by side; their outputs in their order.
async fn all<T>(mut running: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut outputs: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
