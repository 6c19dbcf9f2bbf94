//! The loop over the candidates of a request: each is asked in turn, until one has begun to answer.

use std::rc::Rc;
use std::time::Duration;

use super::answer::{Answer, AnswerHead};
use super::attempt::{self, AttemptError, Wire};
use super::call::Asked;
use super::choose;
use super::exchange::{After, Exchange};
use super::kept::Keeping;
use super::ledger::Ledger;
use super::opening::opening;
use super::relay::{self, Relaying};
use super::request::Request;
use super::translated::{self, Job};
use crate::clock;
use crate::dialect::Dialect;
use crate::http1::{Method, writer};
use crate::json::splice::{Edits, Splices};
use crate::limits::CONTIGUOUS_REQUEST_BYTES_MAX;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;

/// Tries the candidates in order until one has begun to answer.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    ranked: &[usize],
    asked: &Asked<'_>,
) -> After {
    let Asked { body, facts, .. } = *asked;
    let mut splices = Splices::new();
    let mut last = None;
    for (place, &index) in ranked.iter().enumerate() {
        let target = &snapshot.targets[index];
        let first_byte = match first_byte_timeout(snapshot, request, target) {
            Ok(first_byte) => first_byte,
            Err(error) => {
                last = Some(error);
                break;
            }
        };
        if translated::is_needed(request, target, body, asked.previous.is_some()) {
            // Boxed, so that a relay does not carry its room.
            let translated = translate(exchange, request, ledger, index, asked, first_byte);
            match Box::pin(translated).await {
                Ok(after) => return after,
                Err(error) => {
                    ledger.gave_up(index, &error);
                    last = Some(error);
                }
            }
            continue;
        }
        let strip: Vec<&str> = target.model.strip_params.iter().map(String::as_str).collect();
        let asks_usage = request.client.dialect == Dialect::OpenAiChat
            && facts.is_stream()
            && !facts.includes_usage()
            && !strip.contains(&"stream_options");
        let same_name = facts.model(body) == Some(target.model.upstream_model.as_str());
        let names_model = request.gemini.is_none();
        let edits = Edits {
            model: (names_model && !same_name).then_some(target.model.upstream_model.as_str()),
            stream: facts.adds_stream(),
            include_usage: asks_usage,
            strip: &strip,
        };
        if splices.plan(body, facts, &edits).is_err() {
            last = Some(GatewayError::Internal);
            continue;
        }
        let sent = send(exchange, request, ledger, index, target, asked, &splices, first_byte).await;
        match judged(exchange, ledger, sent, request.client.dialect).await {
            Judged::Gone => return After::Abort,
            Judged::Failed(error) => last = Some(error),
            // The conversation is at one provider, and only that one knows its ids.
            Judged::Answer(answer)
                if facts.has_previous_response_id
                    && knows_no_such_response(&answer)
                    && speaks_any(snapshot, &ranked[place + 1..], request.client.dialect) =>
            {
                let status = answer.head.status;
                let said = relay::refusal(exchange, answer, request.client.dialect).await;
                let text = "`previous_response_id`: no model of this project knows that response".to_owned();
                let error = GatewayError::NotFound(text);
                ledger.key_refused(&error, status, said.as_deref());
                last = Some(error);
            }
            Judged::Answer(answer) => {
                let opening = opening(snapshot, request, asked, target, ledger);
                let how = Relaying {
                    target,
                    dialect: Some(request.client.dialect),
                    expects_end_mark: request.endpoint != Endpoint::CountTokens,
                    withhold_usage: asks_usage,
                    labels: request.labels && request.client.dialect == Dialect::OpenAiChat,
                    opening: &opening,
                };
                return relay::relay(exchange, request, ledger, answer, how).await;
            }
        }
    }
    let last = last.unwrap_or_else(choose::none_usable);
    exchange.refuse(request, ledger, &last).await
}

/// Whether a provider says that it does not know the response that a request goes on from. Such an answer is short: it is
/// there with its head.
fn knows_no_such_response(answer: &Answer) -> bool {
    let AnswerHead { status, buffer, start, end, .. } = &answer.head;
    matches!(status, 400 | 404)
        && memchr::memmem::find(&buffer[*start..*end], b"previous_response_not_found").is_some()
}

/// Whether any of these candidates is asked in `dialect` itself.
fn speaks_any(snapshot: &Snapshot, candidates: &[usize], dialect: Dialect) -> bool {
    candidates.iter().any(|index| snapshot.targets[*index].speaks(dialect))
}

/// What an attempt has brought.
enum Judged {
    /// An answer for the client.
    Answer(Answer),
    /// Nothing; another candidate may do better.
    Failed(GatewayError),
    /// The client is gone.
    Gone,
}

/// Books what an attempt has brought, unless it is an answer for the client. `dialect` is the provider's.
async fn judged(
    exchange: &mut Exchange<'_>,
    ledger: &mut Ledger,
    sent: Result<Answer, AttemptError>,
    dialect: Dialect,
) -> Judged {
    match sent {
        Err(AttemptError::ClientGone) => {
            ledger.client_gone();
            Judged::Gone
        }
        Err(AttemptError::Failed(error)) => {
            ledger.attempt_failed(&error);
            Judged::Failed(error)
        }
        Ok(answer) if matches!(answer.head.status, 401 | 403) => {
            // Its text is about our key; the client must not take its own for the wrong one.
            let status = answer.head.status;
            let said = relay::refusal(exchange, answer, dialect).await;
            let error = GatewayError::UpstreamAuth { status };
            ledger.key_refused(&error, status, said.as_deref());
            Judged::Failed(error)
        }
        Ok(answer) => Judged::Answer(answer),
    }
}

/// Asks a candidate in its own dialect. `Err`: another candidate may do better.
async fn translate(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    index: usize,
    asked: &Asked<'_>,
    first_byte: Duration,
) -> Result<After, GatewayError> {
    let view = Rc::clone(&exchange.view);
    let snapshot = &view.snapshot;
    let target = &snapshot.targets[index];
    ledger.tries(index);
    if request.endpoint == Endpoint::CountTokens && !translated::counts(target) {
        return translated::estimate(exchange, request, ledger, target, asked.body).await;
    }
    let prepared = Job::prepare(exchange, request, ledger, target, asked.body, asked.stream).await;
    let mut job = match prepared {
        Ok(job) => job,
        Err(AttemptError::Failed(error)) => return Err(error),
        Err(AttemptError::ClientGone) => {
            ledger.client_gone();
            return Ok(After::Abort);
        }
    };
    if request.endpoint == Endpoint::Responses {
        let (previous, own) = asked.previous.unzip();
        job.keep_turn(Keeping::of(exchange, request, own.unwrap_or(asked.body), previous)?);
    }
    let _held = exchange.shard.hold_bytes(job.body_bytes()).ok_or(GatewayError::Busy)?;
    let sent = job.send(exchange, request, ledger, index, target, first_byte).await;
    match judged(exchange, ledger, sent, job.dialect).await {
        Judged::Gone => Ok(After::Abort),
        Judged::Failed(error) => Err(error),
        Judged::Answer(answer) => {
            let opening = opening(snapshot, request, asked, target, ledger);
            Ok(job.relay(exchange, request, ledger, answer, target, &opening).await)
        }
    }
}

/// How long a target has for its first byte: its own setting, the project's, the general one, and never longer than
/// the whole request has left.
///
/// # Errors
/// The time of the whole request is over.
pub(super) fn first_byte_timeout(
    snapshot: &Snapshot,
    request: &Request,
    target: &Target,
) -> Result<Duration, GatewayError> {
    let settings = snapshot.config.settings();
    let project = &snapshot.config.projects()[request.project as usize];
    let own = target
        .model
        .timeout
        .or(project.timeout)
        .or(settings.upstream.first_byte_timeout)
        .unwrap_or(settings.default_timeout);
    let Some(total) = settings.upstream.total_timeout else { return Ok(own) };
    match total.saturating_sub(clock::now().duration_since(request.started)) {
        Duration::ZERO => Err(GatewayError::OutOfTime { after: total }),
        left => Ok(own.min(left)),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one attempt has that many inputs; a struct for one call hides nothing"
)]
async fn send(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    index: usize,
    target: &Target,
    asked: &Asked<'_>,
    splices: &Splices,
    first_byte: Duration,
) -> Result<Answer, AttemptError> {
    let body = asked.body;
    let call = match (request.endpoint, request.client.dialect) {
        (Endpoint::CountTokens, Dialect::Gemini) => Call::GeminiCountTokens,
        (Endpoint::CountTokens, _) => Call::CountTokens,
        (_, dialect) => Call::generate(dialect, asked.stream),
    };
    let mut head = exchange.shard.take_head();
    head.extend_from_slice(target.head(call));
    head.extend_from_slice(&request.fields);
    target
        .append_extra_fields(&mut head, |name| name == "anthropic-version" && request.has_anthropic_version);
    writer::content_length(&mut head, splices.body_len() as u64);
    writer::end(&mut head);
    let sent = if splices.body_len() <= CONTIGUOUS_REQUEST_BYTES_MAX {
        splices.append_to(body, &mut head);
        let wire = Wire { method: Method::Post, parts: &[&head] };
        attempt::send(exchange, ledger, index, target, wire, first_byte).await
    } else {
        let mut parts: Vec<&[u8]> = vec![&head];
        parts.extend(splices.segments(body));
        let wire = Wire { method: Method::Post, parts: &parts };
        attempt::send(exchange, ledger, index, target, wire, first_byte).await
    };
    exchange.shard.give_back_head(head);
    sent
}
