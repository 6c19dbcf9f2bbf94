//! The loop over the candidates of a request: each is asked in turn, until one has begun to answer.

use std::time::Duration;

use super::answer::{Answer, BodyKind};
use super::attempt::{self, AttemptError, Wire};
use super::call::Asked;
use super::choose;
use super::exchange::{After, Exchange};
use super::failover::{Failover, Failure, Turn};
use super::kept::Keeping;
use super::ledger::Ledger;
use super::opening::opening;
use super::peek::{self, Beginning, Body};
use super::relay::{self, Relaying};
use super::request::Request;
use super::translated::{self, Job};
use crate::clock;
use crate::dialect::Dialect;
use crate::dialect::refusal::{self, Refusal};
use crate::http1::{Method, retry_after, writer};
use crate::json::splice::{Edits, Splices};
use crate::limits::CONTIGUOUS_REQUEST_BYTES_MAX;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::shard::HeldBytes;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;
use crate::trace::Skip;

/// How the answer of a candidate gets to the client.
enum Way {
    /// As it comes.
    Native {
        /// The usage chunk was asked for by the gateway.
        withhold_usage: bool,
    },
    /// Translated, or in another form.
    Translated {
        /// What was sent.
        job: Box<Job>,
        /// Its room.
        held: HeldBytes,
    },
}

/// Why a candidate was asked in vain, or not at all.
enum Unanswered {
    /// It failed.
    Failed(GatewayError),
    /// The client is gone.
    Gone,
    /// There was no need to ask it.
    Served(After),
}

impl From<GatewayError> for Unanswered {
    fn from(error: GatewayError) -> Self {
        Self::Failed(error)
    }
}

impl From<AttemptError> for Unanswered {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Failed(error) => Self::Failed(error),
            AttemptError::ClientGone => Self::Gone,
        }
    }
}

/// What the client gets if nobody does better.
enum Last {
    /// Nobody was asked.
    Nothing,
    /// An error of ours.
    Error(GatewayError),
    /// A refusal. Boxed, so that the others do not carry its room.
    Refusal(Box<Held>),
}

/// A refusal that waits for whether anybody does better.
struct Held {
    answer: Answer,
    way: Way,
    /// Index of the target.
    index: usize,
}

/// Asks the candidates, one after the other, until one has begun to answer.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    ranked: &[usize],
    asked: &Asked<'_>,
) -> After {
    let mut failover = Failover::new(snapshot, ranked);
    let mut splices = Splices::new();
    let mut last = Last::Nothing;
    let mut next = failover.first(ledger);
    while let Some(turn) = next {
        if !turn.wait.is_zero() && !pause(exchange, ledger, turn.wait).await {
            ledger.client_gone();
            return After::Abort;
        }
        let target = &snapshot.targets[turn.index];
        let first_byte = match first_byte_timeout(snapshot, request, target) {
            Ok(first_byte) => first_byte,
            Err(error) => {
                failover.left();
                last.put(exchange, error, true);
                break;
            }
        };
        if let Err(error) = ledger.choose(turn.index, target) {
            ledger.skips(turn.index, Skip::BudgetExhausted);
            failover.failed(exchange.shard, Failure::Unasked, None);
            last.put(exchange, error, true);
            next = failover.next(ledger, time_left(snapshot, request));
            continue;
        }
        let answered = if translated::is_needed(request, target, asked.body, asked.previous.is_some()) {
            // Boxed, so that a relay does not carry its room.
            Box::pin(ask_translated(exchange, request, ledger, snapshot, turn, asked, first_byte)).await
        } else {
            ask(exchange, request, ledger, snapshot, turn, asked, &mut splices, first_byte).await
        };
        let error = match answered {
            Ok((answer, way)) => match judge(exchange, &mut failover, way.dialect(request), answer).await {
                Verdict::Answer(answer) => {
                    last.release(exchange);
                    match tell(exchange, request, ledger, snapshot, turn.index, asked, (answer, way)).await {
                        Ok(after) => return after,
                        Err(error) => error,
                    }
                }
                Verdict::Refusal(answer, said) => {
                    let Some(turn_after) = failover.next(ledger, time_left(snapshot, request)) else {
                        let refusal = (answer, way, said);
                        return pass_on(exchange, request, ledger, snapshot, turn.index, asked, refusal)
                            .await;
                    };
                    next = Some(turn_after);
                    refused(exchange, ledger, &mut last, (answer, way, turn.index), said);
                    continue;
                }
                Verdict::Broken(error) => error,
                Verdict::Gone => {
                    failover.left();
                    ledger.client_gone();
                    return After::Abort;
                }
            },
            Err(Unanswered::Failed(error)) => error,
            Err(Unanswered::Gone) => {
                failover.left();
                ledger.client_gone();
                return After::Abort;
            }
            Err(Unanswered::Served(after)) => {
                failover.left();
                return after;
            }
        };
        let failure = Failure::of(&error);
        if failure == Failure::Unasked {
            ledger.gave_up(turn.index, &error);
        } else {
            ledger.attempt_failed(&error);
        }
        failover.failed(exchange.shard, failure, None);
        let is_stopped = matches!(error, GatewayError::Stopped);
        last.put(exchange, error, failure == Failure::Unasked);
        if is_stopped {
            break;
        }
        next = failover.next(ledger, time_left(snapshot, request));
    }
    let error = match last {
        Last::Nothing => choose::none_usable(),
        Last::Error(error) => error,
        Last::Refusal(held) => {
            let Held { answer, way, index } = *held;
            match tell(exchange, request, ledger, snapshot, index, asked, (answer, way)).await {
                Ok(after) => return after,
                Err(error) => error,
            }
        }
    };
    exchange.refuse(request, ledger, &error).await
}

impl Way {
    /// What the provider speaks.
    fn dialect(&self, request: &Request) -> Dialect {
        match self {
            Self::Native { .. } => request.client.dialect,
            Self::Translated { job, .. } => job.dialect,
        }
    }
}

impl Last {
    /// A later failure takes the place of an earlier one; that somebody could not be asked is no word against a provider
    /// that was, and said something.
    fn put(&mut self, exchange: &Exchange<'_>, error: GatewayError, unasked: bool) {
        if !(unasked && matches!(self, Self::Refusal(_))) {
            self.release(exchange);
            *self = Self::Error(error);
        }
    }

    /// Somebody does better: the connection of a refusal can serve others.
    #[inline]
    fn release(&mut self, exchange: &Exchange<'_>) {
        if matches!(self, Self::Refusal(_))
            && let Self::Refusal(held) = std::mem::replace(self, Self::Nothing)
        {
            peek::release(exchange, held.answer);
        }
    }
}

/// Waits; `false` when the client left.
async fn pause(exchange: &mut Exchange<'_>, ledger: &mut Ledger, wait: Duration) -> bool {
    ledger.waiting();
    let waited = exchange.while_client_stays(Box::pin(monoio::time::sleep(wait))).await;
    ledger.working();
    waited.is_some()
}

fn time_left(snapshot: &Snapshot, request: &Request) -> Option<Duration> {
    let total = snapshot.config.settings().upstream.total_timeout?;
    Some(total.saturating_sub(clock::now().duration_since(request.started)))
}

/// What to make of an answer.
enum Verdict {
    /// It is for the client.
    Answer(Answer),
    /// It is a refusal that another candidate may do better than; what it says, in short.
    Refusal(Answer, Option<String>),
    /// It came to nothing.
    Broken(GatewayError),
    /// The client is gone.
    Gone,
}

/// Judges an answer by its head, and by the beginning of its body where that can matter.
async fn judge(
    exchange: &mut Exchange<'_>,
    failover: &mut Failover<'_>,
    dialect: Dialect,
    mut answer: Answer,
) -> Verdict {
    let status = answer.head.status;
    if status < 400 {
        if answer.head.kind == BodyKind::Events && failover.has_other() {
            let settings = exchange.view.snapshot.config.settings();
            // A client of a stream hears something by then.
            let patience = settings.server.stream_keep_alive.unwrap_or(settings.upstream.stream_idle_timeout);
            // Boxed, as below: most requests do without.
            match Box::pin(peek::stream(exchange, &mut answer, dialect, patience)).await {
                Beginning::Well => {}
                Beginning::Error(error) => {
                    let judged = refusal::of_event(dialect, &error);
                    failover.failed(exchange.shard, Failure::Refused(judged), None);
                    return match judged.refusal {
                        Refusal::Request => Verdict::Answer(answer),
                        _ => Verdict::Refusal(answer, Some(error.message)),
                    };
                }
                Beginning::Broken(error) => return Verdict::Broken(error),
                Beginning::Gone => return Verdict::Gone,
            }
        }
        failover.succeeded(exchange.shard);
        return Verdict::Answer(answer);
    }
    let is_passing = matches!(status, 408 | 409 | 429 | 500..);
    let matters = failover.has_other() || is_passing && failover.may_go_on();
    // The text of a refused key is for the record at any rate.
    let body = if matters || matches!(status, 401 | 403) {
        match Box::pin(peek::error_body(exchange, &mut answer)).await {
            Some(body) => body,
            None => return Verdict::Gone,
        }
    } else {
        Body::default()
    };
    let Some(judged) = refusal::of_answer(dialect, status, &body.payload) else {
        return Verdict::Answer(answer);
    };
    let retry_after = retry_after(&answer.head.fields, clock::unix_ms() / 1_000);
    failover.failed(exchange.shard, Failure::Refused(judged), retry_after);
    if judged.refusal == Refusal::Request {
        return Verdict::Answer(answer);
    }
    Verdict::Refusal(answer, body.message(dialect))
}

/// Books a refusal that does not get to the client while somebody else can be asked.
fn refused(
    exchange: &Exchange<'_>,
    ledger: &mut Ledger,
    last: &mut Last,
    (answer, way, index): (Answer, Way, usize),
    said: Option<String>,
) {
    let status = answer.head.status;
    if let Some(error) = about_our_key(status) {
        ledger.key_refused(&error, status, said.as_deref());
        last.put(exchange, error, false);
        peek::release(exchange, answer);
        return;
    }
    let said = said.filter(|said| !said.is_empty());
    let cause = said.unwrap_or_else(|| format!("the provider answered with status {status}"));
    ledger.attempt_refused(status, &cause, None);
    last.release(exchange);
    *last = Last::Refusal(Box::new(Held { answer, way, index }));
}

/// The text of a 401 or 403 is about our key; the client must not take its own for the wrong one.
fn about_our_key(status: u16) -> Option<GatewayError> {
    matches!(status, 401 | 403).then_some(GatewayError::UpstreamAuth { status })
}

/// Hands a refusal to the client, since nobody else can be asked.
async fn pass_on(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    index: usize,
    asked: &Asked<'_>,
    (answer, way, said): (Answer, Way, Option<String>),
) -> After {
    let status = answer.head.status;
    let error = if let Some(error) = about_our_key(status) {
        ledger.key_refused(&error, status, said.as_deref());
        peek::release(exchange, answer);
        error
    } else {
        match tell(exchange, request, ledger, snapshot, index, asked, (answer, way)).await {
            Ok(after) => return after,
            Err(error) => error,
        }
    };
    exchange.refuse(request, ledger, &error).await
}

/// Relays an answer to the client.
///
/// # Errors
/// It broke before the client got any of it.
async fn tell(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    index: usize,
    asked: &Asked<'_>,
    (answer, way): (Answer, Way),
) -> Result<After, GatewayError> {
    let target = &snapshot.targets[index];
    let opening = opening(snapshot, request, asked, target, ledger);
    let withhold_usage = match way {
        Way::Native { withhold_usage } => withhold_usage,
        Way::Translated { job, held } => {
            let relayed = Box::pin(job.relay(exchange, request, ledger, answer, target, &opening)).await;
            drop(held);
            return relayed;
        }
    };
    let how = Relaying {
        target,
        dialect: Some(request.client.dialect),
        expects_end_mark: request.endpoint != Endpoint::CountTokens,
        withhold_usage,
        labels: request.labels && request.client.dialect == Dialect::OpenAiChat,
        opening: &opening,
    };
    relay::relay(exchange, request, ledger, answer, how).await
}

/// Asks a candidate of another dialect, or in another form.
async fn ask_translated(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    turn: Turn,
    asked: &Asked<'_>,
    first_byte: Duration,
) -> Result<(Answer, Way), Unanswered> {
    let target = &snapshot.targets[turn.index];
    ledger.tries(turn.index);
    if request.endpoint == Endpoint::CountTokens && !translated::counts(target) {
        let after = translated::estimate(exchange, request, ledger, target, asked.body).await?;
        return Err(Unanswered::Served(after));
    }
    let mut job = Job::prepare(exchange, request, ledger, target, asked.body, asked.stream).await?;
    if request.endpoint == Endpoint::Responses {
        let (previous, own) = asked.previous.unzip();
        job.keep_turn(Keeping::of(exchange, request, own.unwrap_or(asked.body), previous)?);
    }
    let held = exchange.shard.hold_bytes(job.body_bytes()).ok_or(GatewayError::Busy)?;
    let answer = job.send(exchange, request, ledger, turn, target, first_byte).await?;
    Ok((answer, Way::Translated { job: Box::new(job), held }))
}

/// Asks a candidate in the client's dialect: the body is sent as it is, but for a few spans.
#[expect(
    clippy::too_many_arguments,
    reason = "one attempt has that many inputs; a struct for one call hides nothing"
)]
async fn ask(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
    turn: Turn,
    asked: &Asked<'_>,
    splices: &mut Splices,
    first_byte: Duration,
) -> Result<(Answer, Way), Unanswered> {
    let Asked { body, facts, .. } = *asked;
    let target = &snapshot.targets[turn.index];
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
    splices.plan(body, facts, &edits).map_err(|_| GatewayError::Internal)?;
    let answer = send(exchange, request, ledger, turn, target, asked, splices, first_byte).await?;
    Ok((answer, Way::Native { withhold_usage: asks_usage }))
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
    turn: Turn,
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
    head.extend_from_slice(target.keys[turn.key].head(call));
    head.extend_from_slice(&request.fields);
    target
        .append_extra_fields(&mut head, |name| name == "anthropic-version" && request.has_anthropic_version);
    writer::content_length(&mut head, splices.body_len() as u64);
    writer::end(&mut head);
    let sent = if splices.body_len() <= CONTIGUOUS_REQUEST_BYTES_MAX {
        splices.append_to(body, &mut head);
        let wire = Wire { method: Method::Post, parts: &[&head] };
        attempt::send(exchange, ledger, turn, target, wire, first_byte).await
    } else {
        let mut parts: Vec<&[u8]> = vec![&head];
        parts.extend(splices.segments(body));
        let wire = Wire { method: Method::Post, parts: &parts };
        attempt::send(exchange, ledger, turn, target, wire, first_byte).await
    };
    exchange.shard.give_back_head(head);
    sent
}
