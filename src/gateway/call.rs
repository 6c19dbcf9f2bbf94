//! A request for generated text (or a count of tokens), from body to relay.

use super::answer::Answer;
use super::attempt::{self, AttemptError, Wire};
use super::body::{self, BodyError};
use super::exchange::{After, Exchange};
use super::kept::{self, Keeping};
use super::ledger::Ledger;
use super::relay::{self, Relaying};
use super::request::{GeminiForm, Request, StreamTrace};
use super::translated::{self, Job};
use crate::clock;
use crate::config::Translation;
use crate::config::settings::OnFull;
use crate::dialect::Dialect;
use crate::dialect::trace::{TraceEntry, TraceSummary, write_trace, write_trace_entry};
use crate::http1::{Method, writer};
use crate::json::facts::{RequestFacts, request_facts};
use crate::json::splice::{Edits, Splices};
use crate::limits::CONTIGUOUS_REQUEST_BYTES_MAX;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::routing::{self, NoCandidate, Wanted};
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;

/// Serves `POST` on the endpoint of a dialect.
pub async fn generate(exchange: &mut Exchange<'_>, request: Box<Request>) -> After {
    let view = std::rc::Rc::clone(&exchange.view);
    let snapshot = &view.snapshot;
    let mut ledger = Ledger::open(exchange.shard, &view, &request);
    if !records_fit(exchange, snapshot) {
        return exchange.refuse(&request, &mut ledger, &GatewayError::RecordsFull).await;
    }
    if request.is_encoded {
        return exchange.refuse(&request, &mut ledger, &GatewayError::ContentCoding).await;
    }
    let bytes_max = snapshot.config.settings().server.body_bytes_max;
    let waited = exchange.input.is_empty();
    let body = match body::read_whole(exchange, &request, bytes_max).await {
        Ok(body) => body,
        Err(BodyError::ClientGone) => return After::Abort,
        Err(BodyError::Refused(error)) => return exchange.refuse(&request, &mut ledger, &error).await,
    };
    ledger.body_read(waited);
    let mut facts = match request_facts(&body) {
        Ok(facts) => facts,
        Err(error) => {
            let error = GatewayError::InvalidRequest(error.to_string());
            return exchange.refuse(&request, &mut ledger, &error).await;
        }
    };
    if facts.has_previous_response_id
        && request.endpoint == Endpoint::Responses
        && let Some(previous) = kept::previous_id(&body)
    {
        // Boxed, so that the others do not carry its room.
        return Box::pin(go_on(exchange, &request, &mut ledger, &body, &previous)).await;
    }
    if request.streams_by_default && facts.stream.is_none() {
        facts.add_stream();
    }
    let asked = Asked::of(&request, &body, &facts);
    answer(exchange, &request, &mut ledger, &asked).await
}

/// Goes on from a response that the gateway keeps: the conversation so far is put before what is asked.
async fn go_on(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    own: &[u8],
    previous: &str,
) -> After {
    let project = exchange.view.snapshot.config.projects()[request.project as usize].id.clone();
    ledger.waiting();
    let history = kept::history(exchange, previous, &project).await;
    ledger.working();
    let body = match history.and_then(|history| kept::expand(own, &history)) {
        Ok(body) => body,
        Err(error) => return exchange.refuse(request, ledger, &error).await,
    };
    let Some(_held) = exchange.shard.hold_bytes(body.len()) else {
        return exchange.refuse(request, ledger, &GatewayError::Busy).await;
    };
    let mut facts = match request_facts(&body) {
        Ok(facts) => facts,
        Err(error) => {
            let error = GatewayError::InvalidRequest(error.to_string());
            return exchange.refuse(request, ledger, &error).await;
        }
    };
    if request.streams_by_default && facts.stream.is_none() {
        facts.add_stream();
    }
    let asked = Asked { previous: Some((previous, own)), ..Asked::of(request, &body, &facts) };
    answer(exchange, request, ledger, &asked).await
}

/// Routes a request whose body is known.
async fn answer(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
) -> After {
    let view = std::rc::Rc::clone(&exchange.view);
    ledger.asked(asked.model, asked.stream, asked.body.len());
    let ranked = match candidates(&view.snapshot, request, asked.model) {
        Ok(ranked) => ranked,
        Err(error) => return exchange.refuse(request, ledger, &error).await,
    };
    run(exchange, request, ledger, &view.snapshot, &ranked, asked).await
}

/// What a request says, in its body or, in Gemini's dialect, in its URL.
struct Asked<'a> {
    body: &'a [u8],
    facts: &'a RequestFacts,
    model: Option<&'a str>,
    stream: bool,
    /// The kept response that the request goes on from, and the client's own body.
    previous: Option<(&'a str, &'a [u8])>,
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request, body: &'a [u8], facts: &'a RequestFacts) -> Self {
        let (model, stream) = match &request.gemini {
            Some(call) => (Some(call.model.as_str()), call.form != GeminiForm::Whole),
            None => (facts.model(body), facts.is_stream()),
        };
        Self { body, facts, model, stream, previous: None }
    }
}

/// Whether the record of another request can be kept, or need not be.
pub(super) fn records_fit(exchange: &Exchange<'_>, snapshot: &Snapshot) -> bool {
    snapshot.config.settings().journal.on_full == OnFull::Serve || exchange.shard.journal.borrow().accepts()
}

fn candidates(
    snapshot: &Snapshot,
    request: &Request,
    model: Option<&str>,
) -> Result<Vec<usize>, GatewayError> {
    let project = &snapshot.config.projects()[request.project as usize];
    let mut ranked = Vec::with_capacity(project.models.len());
    let translate = project.translation != Translation::Off;
    let wanted = Wanted { dialect: request.client.dialect, model, translate, embedding: false };
    match routing::rank(snapshot, project, wanted, &mut ranked) {
        Ok(()) => Ok(ranked),
        Err(error) => Err(no_candidate(error, request.client.dialect, model)),
    }
}

fn none_usable() -> GatewayError {
    GatewayError::NoModel("no model of this project can answer".to_owned())
}

pub(super) fn no_candidate(error: NoCandidate, from: Dialect, model: Option<&str>) -> GatewayError {
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

/// Tries the candidates in order until one has begun to answer.
async fn run(
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
    let mut calls = Calls::default();
    for &index in ranked {
        let target = &snapshot.targets[index];
        let first_byte = match first_byte_timeout(snapshot, request, target) {
            Ok(first_byte) => first_byte,
            Err(error) => {
                last = Some(error);
                break;
            }
        };
        if translated::is_needed(request, target, body, asked.previous.is_some()) {
            calls.begin(request, index);
            // Boxed, so that a relay does not carry its room.
            let translated = translate(exchange, request, ledger, index, asked, first_byte, &calls);
            match Box::pin(translated).await {
                Ok(after) => return after,
                Err(error) => {
                    calls.failed(request, &error);
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
        calls.begin(request, index);
        let sent = send(exchange, request, ledger, index, target, asked, &splices, first_byte).await;
        match judged(exchange, ledger, sent, request.client.dialect).await {
            Judged::Gone => return After::Abort,
            Judged::Failed(error) => {
                calls.failed(request, &error);
                last = Some(error);
            }
            Judged::Answer(answer) => {
                let mut opening = opening(request, asked, target, ledger);
                if request.stream_trace == StreamTrace::Full && !opening.is_empty() {
                    calls.append_entries(&mut opening, request, snapshot, target, &ledger.trace_text());
                }
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
    let last = last.unwrap_or_else(none_usable);
    exchange.refuse(request, ledger, &last).await
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
    first_byte: std::time::Duration,
    calls: &Calls,
) -> Result<After, GatewayError> {
    let view = std::rc::Rc::clone(&exchange.view);
    let snapshot = &view.snapshot;
    let target = &snapshot.targets[index];
    ledger.tries(index);
    if request.endpoint == Endpoint::CountTokens && !translated::counts(target) {
        return translated::estimate(exchange, request, ledger, target, asked.body).await;
    }
    let mut job = Job::new(snapshot, request, target, asked.body, asked.stream)?;
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
            let mut opening = opening(request, asked, target, ledger);
            if request.stream_trace == StreamTrace::Full && !opening.is_empty() {
                calls.append_entries(&mut opening, request, snapshot, target, &ledger.trace_text());
            }
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
) -> Result<std::time::Duration, GatewayError> {
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
        std::time::Duration::ZERO => Err(GatewayError::OutOfTime { after: total }),
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
    first_byte: std::time::Duration,
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

/// The event or comment that opens a stream.
fn opening(request: &Request, asked: &Asked<'_>, target: &Target, ledger: &Ledger) -> Vec<u8> {
    let mut out = Vec::new();
    if request.stream_trace == StreamTrace::None || !asked.stream {
        return out;
    }
    let estimate = crate::dialect::Usage {
        input: (asked.body.len() as u64).div_ceil(4),
        output: asked.facts.output_tokens_max().unwrap_or(crate::limits::ESTIMATED_OUTPUT_TOKENS),
        ..crate::dialect::Usage::default()
    };
    let trace_id = ledger.trace_text();
    let summary = TraceSummary {
        model: &target.model.id,
        provider: &target.model.provider.id,
        policies: &[],
        cost_estimate: (!target.model.price_unknown).then(|| target.price.cost(&estimate).total()),
        trace_id: &trace_id,
        unix_seconds: clock::unix_ms() / 1000,
    };
    write_trace(&mut out, request.client.dialect, &summary);
    out
}

/// The calls of one request so far, for a client that wants to see each step. Empty for all others.
#[derive(Debug, Default)]
struct Calls(Vec<MadeCall>);

#[derive(Debug)]
struct MadeCall {
    target: usize,
    begun_ms: u64,
    /// Why it failed, in the words for clients, and when.
    failure: Option<(String, u64)>,
}

impl Calls {
    fn begin(&mut self, request: &Request, target: usize) {
        if request.stream_trace == StreamTrace::Full {
            self.0.push(MadeCall { target, begun_ms: since_ms(request), failure: None });
        }
    }

    fn failed(&mut self, request: &Request, error: &GatewayError) {
        if let Some(call) = self.0.last_mut() {
            call.failure = Some((error.message(), since_ms(request)));
        }
    }

    /// An entry for each call, and for each failure.
    fn append_entries(
        &self,
        out: &mut Vec<u8>,
        request: &Request,
        snapshot: &Snapshot,
        answering: &Target,
        trace_id: &str,
    ) {
        let summary = TraceSummary {
            model: &answering.model.id,
            provider: &answering.model.provider.id,
            policies: &[],
            cost_estimate: None,
            trace_id,
            unix_seconds: clock::unix_ms() / 1000,
        };
        let mut append = |panel: &str, message: &str, details: &[(&str, &str)], since_ms: u64| {
            let entry = TraceEntry { panel, message, details, since_ms };
            write_trace_entry(out, request.client.dialect, &summary, &entry);
        };
        for call in &self.0 {
            let model = &snapshot.targets[call.target].model;
            let whom = [("modelId", model.id.as_str()), ("provider", model.provider.id.as_str())];
            append("request", "model:request", &whom, call.begun_ms);
            if let Some((error, since_ms)) = &call.failure {
                append("response", "model:error", &[whom[0], ("error", error)], *since_ms);
            }
        }
    }
}

fn since_ms(request: &Request) -> u64 {
    clock::now().duration_since(request.started).as_millis() as u64
}
