//! The loop over the candidates of a request: each is asked in turn, until one has begun to answer.

use std::time::Duration;

use super::answer::{Answer, BodyKind};
use super::attempt::{self, AttemptError, Wire};
use super::call::Asked;
use super::choose;
use super::exchange::{After, Asker, Exchange};
use super::failover::{Failover, Failure, Turn};
use super::hedge;
use super::kept::Keeping;
use super::ledger::Ledger;
use super::opening::opening;
use super::peek::{self, Beginning, Body};
use super::relay::{self, Relaying};
use super::request::Request;
use super::translated::{self, Job};
use crate::clock;
use crate::dialect::Dialect;
use crate::dialect::refusal::{self, Judged, Refusal};
use crate::http1::{Method, retry_after, writer};
use crate::json::splice::{Edits, Splices};
use crate::limits::CONTIGUOUS_REQUEST_BYTES_MAX;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::shard::{HeldBytes, Shard};
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;
use crate::trace::Skip;

/// How the answer of a candidate gets to the client.
pub(super) enum Way {
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

/// What came of asking a candidate.
pub(super) enum Verdict {
    /// An answer for the client; with a complaint where it is a refusal that nobody could do better than.
    Answer(Answer, Way, Option<Complaint>),
    /// A refusal that another candidate may do better than, for this reason and in these words.
    Refusal(Answer, Way, Complaint, Option<String>),
    /// It failed, or could not be asked.
    Failed(GatewayError),
    /// The client is gone.
    Gone,
}

/// What a refusal says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Complaint {
    judged: Judged,
    /// When to come back, by the head.
    retry_after: Option<Duration>,
}

impl From<AttemptError> for Verdict {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Failed(error) => Self::Failed(error),
            AttemptError::ClientGone => Self::Gone,
        }
    }
}

/// What the client gets if nobody does better.
pub(super) enum Last {
    /// Nobody was asked.
    Nothing,
    /// An error of ours.
    Error(GatewayError),
    /// A refusal. Boxed, so that the others do not carry its room.
    Refusal(Box<Held>),
}

/// A refusal that waits for whether anybody does better.
pub(super) struct Held {
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
    let mut failover = Failover::new(snapshot, ranked, ledger.prefix);
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
                failover.left(turn);
                last.put(exchange.shard, error, true);
                break;
            }
        };
        if let Err(error) = ledger.choose(turn.index, target) {
            ledger.skips(turn.index, Skip::BudgetExhausted);
            failover.failed(exchange.shard, turn, Failure::Unasked, None);
            last.put(exchange.shard, error, true);
            next = failover.next(ledger, time_left(snapshot, request));
            continue;
        }
        if translated::is_counted_here(request, target, asked.body, asked.previous.is_some()) {
            ledger.tries(turn.index);
            // Boxed, so that a relay does not carry its room.
            match Box::pin(translated::estimate(exchange, request, ledger, target, asked.body)).await {
                Ok(after) => {
                    failover.left(turn);
                    return after;
                }
                Err(error) => {
                    fail(exchange.shard, &mut failover, ledger, &mut last, turn, error);
                    next = failover.next(ledger, time_left(snapshot, request));
                    continue;
                }
            }
        }
        let hopes = failover.hopes(turn);
        let how = How { request, snapshot, asked };
        let (turn, verdict) = match hedge::delay(&how, &failover) {
            // Boxed: few requests need its room.
            Some(delay) => {
                let race = hedge::Race { how, failover: &mut failover, last: &mut last, delay };
                Box::pin(race.run(exchange, ledger, turn, &mut splices, first_byte)).await
            }
            None => (turn, ask_one(exchange, how, ledger, turn, &mut splices, first_byte, hopes).await),
        };
        let error = match verdict {
            Verdict::Answer(answer, way, complaint) => {
                match complaint {
                    None => failover.succeeded(exchange.shard, turn),
                    Some(complaint) => failover.refused(exchange.shard, turn, complaint),
                }
                last.release(exchange.shard);
                match tell(exchange, request, ledger, snapshot, turn.index, asked, (answer, way)).await {
                    Ok(after) => return after,
                    Err(error) => error,
                }
            }
            Verdict::Refusal(answer, way, complaint, said) => {
                failover.refused(exchange.shard, turn, complaint);
                let Some(turn_after) = failover.next(ledger, time_left(snapshot, request)) else {
                    let refusal = (answer, way, said);
                    return pass_on(exchange, request, ledger, snapshot, turn.index, asked, refusal).await;
                };
                next = Some(turn_after);
                refused(exchange.shard, ledger, &mut last, (answer, way, turn.index), said);
                continue;
            }
            Verdict::Failed(error) => error,
            Verdict::Gone => {
                failover.left(turn);
                ledger.client_gone();
                return After::Abort;
            }
        };
        let is_stopped = matches!(error, GatewayError::Stopped);
        fail(exchange.shard, &mut failover, ledger, &mut last, turn, error);
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

/// What is asked, of whomever it is.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// The client's request.
    pub request: &'a Request,
    /// The configuration that it began with.
    pub snapshot: &'a Snapshot,
    /// What it says.
    pub asked: &'a Asked<'a>,
}

/// What may follow should a candidate fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hopes {
    /// Somebody else could be asked, or another key.
    pub other: bool,
    /// Something could, if only the same one again.
    pub any: bool,
}

/// Asks one candidate and judges its answer.
pub(super) async fn ask_one(
    asker: &mut impl Asker,
    how: How<'_>,
    ledger: &mut Ledger,
    turn: Turn,
    splices: &mut Splices,
    first_byte: Duration,
    hopes: Hopes,
) -> Verdict {
    let How { request, snapshot, asked } = how;
    let target = &snapshot.targets[turn.index];
    let answered = if translated::is_needed(request, target, asked.body, asked.previous.is_some()) {
        // Boxed, so that a relay does not carry its room.
        Box::pin(ask_translated(asker, how, ledger, turn, first_byte)).await
    } else {
        ask(asker, how, ledger, turn, splices, first_byte).await
    };
    match answered {
        Ok((answer, way)) => judge(asker, hopes, way.dialect(request), answer, way).await,
        Err(error) => error.into(),
    }
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
    fn put(&mut self, shard: &Shard, error: GatewayError, unasked: bool) {
        if !(unasked && matches!(self, Self::Refusal(_))) {
            self.release(shard);
            *self = Self::Error(error);
        }
    }

    /// Somebody does better: the connection of a refusal can serve others.
    #[inline]
    fn release(&mut self, shard: &Shard) {
        if matches!(self, Self::Refusal(_))
            && let Self::Refusal(held) = std::mem::replace(self, Self::Nothing)
        {
            peek::release(shard, held.answer);
        }
    }
}

/// Waits; `false` when the client left.
pub(super) async fn pause(exchange: &mut Exchange<'_>, ledger: &mut Ledger, wait: Duration) -> bool {
    ledger.waiting();
    let waited = exchange.while_client_stays(Box::pin(monoio::time::sleep(wait))).await;
    ledger.working();
    waited.is_some()
}

/// What is left of the time of the whole request.
pub(super) fn time_left(snapshot: &Snapshot, request: &Request) -> Option<Duration> {
    let total = snapshot.config.settings().upstream.total_timeout?;
    Some(total.saturating_sub(clock::now().duration_since(request.started)))
}

/// Judges an answer by its head, and by the beginning of its body where that can matter.
async fn judge(
    asker: &mut impl Asker,
    hopes: Hopes,
    dialect: Dialect,
    mut answer: Answer,
    way: Way,
) -> Verdict {
    let status = answer.head.status;
    if status < 400 {
        if answer.head.kind == BodyKind::Events && hopes.other {
            let settings = asker.view().snapshot.config.settings();
            // A client of a stream hears something by then.
            let patience = settings.server.stream_keep_alive.unwrap_or(settings.upstream.stream_idle_timeout);
            // Boxed, as below: most requests do without.
            match Box::pin(peek::stream(asker, &mut answer, dialect, patience)).await {
                Beginning::Well => {}
                Beginning::Error(error) => {
                    let complaint =
                        Complaint { judged: refusal::of_event(dialect, &error), retry_after: None };
                    return match complaint.judged.refusal {
                        Refusal::Request => Verdict::Answer(answer, way, Some(complaint)),
                        _ => Verdict::Refusal(answer, way, complaint, Some(error.message)),
                    };
                }
                Beginning::Broken(error) => return Verdict::Failed(error),
                Beginning::Gone => return Verdict::Gone,
            }
        }
        return Verdict::Answer(answer, way, None);
    }
    let is_passing = matches!(status, 408 | 409 | 429 | 500..);
    let matters = hopes.other || is_passing && hopes.any;
    // The text of a refused key is for the record at any rate.
    let body = if matters || matches!(status, 401 | 403) {
        match Box::pin(peek::error_body(asker, &mut answer)).await {
            Some(body) => body,
            None => return Verdict::Gone,
        }
    } else {
        Body::default()
    };
    let Some(judged) = refusal::of_answer(dialect, status, &body.payload) else {
        return Verdict::Answer(answer, way, None);
    };
    let retry_after = retry_after(&answer.head.fields, clock::unix_ms() / 1_000);
    let complaint = Complaint { judged, retry_after };
    if judged.refusal == Refusal::Request {
        return Verdict::Answer(answer, way, Some(complaint));
    }
    Verdict::Refusal(answer, way, complaint, body.message(dialect))
}

impl Failover<'_> {
    /// [`Failover::failed`] of a refusal.
    fn refused(&mut self, shard: &Shard, turn: Turn, complaint: Complaint) {
        self.failed(shard, turn, Failure::Refused(complaint.judged), complaint.retry_after);
    }
}

/// Books what came to nothing while somebody else is asked.
pub(super) fn give_up(
    shard: &Shard,
    failover: &mut Failover<'_>,
    ledger: &mut Ledger,
    last: &mut Last,
    turn: Turn,
    verdict: Verdict,
) {
    match verdict {
        Verdict::Refusal(answer, way, complaint, said) => {
            failover.refused(shard, turn, complaint);
            refused(shard, ledger, last, (answer, way, turn.index), said);
        }
        Verdict::Failed(error) => fail(shard, failover, ledger, last, turn, error),
        Verdict::Answer(..) | Verdict::Gone => {}
    }
}

/// Books an error of an attempt, or that there was none.
fn fail(
    shard: &Shard,
    failover: &mut Failover<'_>,
    ledger: &mut Ledger,
    last: &mut Last,
    turn: Turn,
    error: GatewayError,
) {
    let failure = Failure::of(&error);
    if failure == Failure::Unasked {
        ledger.gave_up(turn.index, &error);
    } else {
        ledger.attempt_failed(&error);
    }
    failover.failed(shard, turn, failure, None);
    last.put(shard, error, failure == Failure::Unasked);
}

/// Books a refusal that does not get to the client while somebody else can be asked.
fn refused(
    shard: &Shard,
    ledger: &mut Ledger,
    last: &mut Last,
    (answer, way, index): (Answer, Way, usize),
    said: Option<String>,
) {
    let status = answer.head.status;
    if let Some(error) = about_our_key(status) {
        ledger.key_refused(&error, status, said.as_deref());
        last.put(shard, error, false);
        peek::release(shard, answer);
        return;
    }
    let said = said.filter(|said| !said.is_empty());
    let cause = said.unwrap_or_else(|| format!("the provider answered with status {status}"));
    ledger.attempt_refused(status, &cause, None);
    last.release(shard);
    *last = Last::Refusal(Box::new(Held { answer, way, index }));
}

/// The text of a 401 or 403 is about our key; the client must not take its own for the wrong one.
pub(super) fn about_our_key(status: u16) -> Option<GatewayError> {
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
        peek::release(exchange.shard, answer);
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
    asker: &mut impl Asker,
    how: How<'_>,
    ledger: &mut Ledger,
    turn: Turn,
    first_byte: Duration,
) -> Result<(Answer, Way), AttemptError> {
    let How { request, snapshot, asked } = how;
    let target = &snapshot.targets[turn.index];
    ledger.tries(turn.index);
    let mut job = Job::prepare(asker, request, ledger, target, asked.body, asked.stream).await?;
    if request.endpoint == Endpoint::Responses {
        let (previous, own) = asked.previous.unzip();
        job.keep_turn(Keeping::of(snapshot, request, own.unwrap_or(asked.body), previous)?);
    }
    let held = asker.shard().hold_bytes(job.body_bytes()).ok_or(GatewayError::Busy)?;
    let answer = job.send(asker, request, ledger, turn, target, first_byte).await?;
    Ok((answer, Way::Translated { job: Box::new(job), held }))
}

/// Asks a candidate in the client's dialect: the body is sent as it is, but for a few spans.
async fn ask(
    asker: &mut impl Asker,
    how: How<'_>,
    ledger: &mut Ledger,
    turn: Turn,
    splices: &mut Splices,
    first_byte: Duration,
) -> Result<(Answer, Way), AttemptError> {
    let How { request, snapshot, asked } = how;
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
    let answer = send(asker, how, ledger, turn, splices, first_byte).await?;
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

async fn send(
    asker: &mut impl Asker,
    how: How<'_>,
    ledger: &mut Ledger,
    turn: Turn,
    splices: &Splices,
    first_byte: Duration,
) -> Result<Answer, AttemptError> {
    let How { request, snapshot, asked } = how;
    let (target, body) = (&snapshot.targets[turn.index], asked.body);
    let call = match (request.endpoint, request.client.dialect) {
        (Endpoint::CountTokens, Dialect::Gemini) => Call::GeminiCountTokens,
        (Endpoint::CountTokens, _) => Call::CountTokens,
        (_, dialect) => Call::generate(dialect, asked.stream),
    };
    let mut head = asker.shard().take_head();
    head.extend_from_slice(target.keys[turn.key].head(call));
    head.extend_from_slice(&request.fields);
    target
        .append_extra_fields(&mut head, |name| name == "anthropic-version" && request.has_anthropic_version);
    writer::content_length(&mut head, splices.body_len() as u64);
    writer::end(&mut head);
    let sent = if splices.body_len() <= CONTIGUOUS_REQUEST_BYTES_MAX {
        splices.append_to(body, &mut head);
        let wire = Wire { method: Method::Post, parts: &[&head] };
        attempt::send(asker, ledger, turn, target, wire, first_byte).await
    } else {
        let mut parts: Vec<&[u8]> = vec![&head];
        parts.extend(splices.segments(body));
        let wire = Wire { method: Method::Post, parts: &parts };
        attempt::send(asker, ledger, turn, target, wire, first_byte).await
    };
    asker.shard().give_back_head(head);
    sent
}
