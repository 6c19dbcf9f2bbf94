//! A request to a provider of another dialect, and its answer in the client's.
//!
//! What is a relay of bytes between two of the same dialect is here a translation of each read: what the provider has
//! sent is translated and goes out at once, in one write. Waiting, deadlines, the watch on the client and the usage are
//! the relay's own.

mod events;
mod paused;
mod target;
mod whole;

use std::ops::Range;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use memchr::memmem::Finder;

use self::paused::Said;
use self::target::counts;
pub(super) use self::target::{dialect_of, target_model, vendor_of};
use super::answer::{Answer, AnswerHead, BodyKind};
use super::attempt::{self, AttemptError, Wire};
use super::exchange::{After, Asker, Exchange, after};
use super::failover::Turn;
use super::kept::{self, Keeping};
use super::ledger::Ledger;
use super::local;
use super::media;
use super::relay::{self, Relay, Relaying};
use super::request::{GeminiForm, Request};
use super::source::{Source, Span};
use crate::clock;
use crate::dialect::Dialect;
use crate::dialect::context::{ClientContext, Ids};
use crate::dialect::inline::Fetched;
use crate::dialect::ir::Vendor;
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::rate_limits;
use crate::dialect::translate::{Ask, Pair, Translated, write_count};
use crate::dialect::unseal;
use crate::http1::{KnownField, Method, writer};
use crate::json::facts::request_facts;
use crate::json::splice::{Edits, Splices};
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;

/// Anthropic's version for requests that are written here.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// What is sent instead of a client's own body, and what its answer needs.
#[derive(Debug)]
pub(super) struct Job {
    /// What the provider speaks.
    pub dialect: Dialect,
    /// Whether the client gets a stream.
    pub stream: bool,
    call: Call,
    body: Vec<u8>,
    vendor: Vendor,
    way: Way,
    /// The turn to be kept once it is answered (Responses).
    keeping: Option<Keeping>,
    /// Whose turn it was when it was sent, and the wait it was given for the first byte.
    sent: Option<(Turn, Duration)>,
}

/// What is to be done with the answer.
#[derive(Debug)]
enum Way {
    /// It is relayed: only the request was written anew, without proofs that are another provider's.
    Relayed { losses: Losses, withhold_usage: bool },
    /// Only the form of a Gemini stream is another one.
    Reframed(Option<Losses>),
    /// It is a count.
    Counted(Losses),
    /// It is translated.
    Translated(Translated),
}

/// Whether the answer of `target` has to be written anew.
///
/// `goes_on`: the body repeats a conversation that the gateway has kept, with ids of its own and thoughts of others.
pub(super) fn is_needed(request: &Request, target: &Target, body: &[u8], goes_on: bool) -> bool {
    let dialect = request.client.dialect;
    !target.speaks(dialect) || wants_array(request) || goes_on || has_sealed(dialect, body)
}

/// Whether a body may hold proofs that came through this gateway from a provider of another dialect: they are nothing to
/// one of its own dialect, which would refuse them.
fn has_sealed(dialect: Dialect, body: &[u8]) -> bool {
    static SEALED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"gw1."));
    // Gemini's are in base64.
    static ENCODED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"Z3cxL"));
    let finder = if dialect == Dialect::Gemini { &ENCODED } else { &SEALED };
    finder.find(body).is_some()
}

fn wants_array(request: &Request) -> bool {
    request.gemini.as_ref().is_some_and(|call| call.form == GeminiForm::Array)
}

impl Job {
    /// Translates a request for `target`. What the target takes only as bytes and the client has named by a URL is fetched
    /// first, if that is what stands against it.
    ///
    /// # Errors
    /// The body is wrong, or says what the target's dialect cannot carry: 400. Or the client left meanwhile.
    pub(super) async fn prepare(
        exchange: &mut impl Asker,
        request: &Request,
        ledger: &mut Ledger,
        target: &Target,
        body: &[u8],
        stream: bool,
    ) -> Result<Self, AttemptError> {
        let view = Rc::clone(exchange.view());
        let snapshot = &view.snapshot;
        let refused = match Self::new(snapshot, request, target, body, stream, &[]) {
            Err(refused @ GatewayError::InvalidRequest(_)) => refused,
            done => return Ok(done?),
        };
        let dialect = dialect_of(target).filter(|_| !target.speaks(request.client.dialect));
        let wanted = match dialect {
            Some(dialect) if snapshot.config.settings().media.fetch => {
                ask(snapshot, request, body, stream, &[]).wanted_media(dialect)
            }
            _ => Vec::new(),
        };
        if wanted.is_empty() {
            return Err(refused.into());
        }
        // Boxed: few requests need its room.
        let media = Box::pin(media::fetch(exchange, ledger, &wanted)).await?;
        Ok(Self::new(snapshot, request, target, body, stream, &media.fetched)?)
    }

    /// Translates a request for `target`, with what has been fetched for it.
    ///
    /// # Errors
    /// The body is wrong, or says what the target's dialect cannot carry: 400.
    fn new(
        snapshot: &Snapshot,
        request: &Request,
        target: &Target,
        body: &[u8],
        stream: bool,
        media: &[Fetched],
    ) -> Result<Self, GatewayError> {
        let strip: Vec<&str> = target.model.strip_params.iter().map(String::as_str).collect();
        let native = target.speaks(request.client.dialect);
        if native && wants_array(request) {
            let (body, losses) = if has_sealed(Dialect::Gemini, body) {
                let ask = ask(snapshot, request, body, true, &[]);
                let mut written = Vec::with_capacity(body.len());
                let model = target_model(target, Dialect::Gemini);
                let translated = ask
                    .translate(Dialect::Gemini, &model, &mut written)
                    .map_err(|bad| GatewayError::InvalidRequest(bad.to_string()))?;
                (stripped(&written, &strip)?, Some(translated.losses))
            } else {
                (stripped(body, &strip)?, None)
            };
            let (dialect, call) = (Dialect::Gemini, Call::GeminiStream);
            return Ok(Self {
                dialect,
                stream: true,
                call,
                body,
                vendor: Vendor::Google,
                way: Way::Reframed(losses),
                keeping: None,
                sent: None,
            });
        }
        let dialect = if native { Some(request.client.dialect) } else { dialect_of(target) };
        let dialect = dialect.ok_or(GatewayError::Internal)?;
        let ask = ask(snapshot, request, body, stream, media);
        let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
        let model = target_model(target, dialect);
        let refused = |bad: BadRequest| GatewayError::InvalidRequest(bad.to_string());
        let (call, way) = if request.endpoint == Endpoint::CountTokens {
            let losses = ask.translate_count(dialect, &model, &mut written).map_err(refused)?;
            let losses = losses.ok_or(GatewayError::Internal)?;
            let gemini = dialect == Dialect::Gemini;
            (if gemini { Call::GeminiCountTokens } else { Call::CountTokens }, Way::Counted(losses))
        } else {
            let translated = match ask.translate(dialect, &model, &mut written) {
                Err(bad) if native => return Self::relayed(request, target, body, stream, bad),
                done => done.map_err(refused)?,
            };
            let call = Call::generate(dialect, translated.stream);
            let asks_usage = dialect == Dialect::OpenAiChat && translated.stream;
            let way = if native {
                let withhold_usage = asks_usage && !translated.stream_usage;
                Way::Relayed { losses: translated.losses, withhold_usage }
            } else {
                Way::Translated(translated)
            };
            (call, way)
        };
        if !strip.is_empty() {
            written = stripped(&written, &strip)?;
        }
        let stream = match &way {
            Way::Translated(translated) => translated.stream,
            Way::Relayed { .. } => stream,
            Way::Counted(_) | Way::Reframed(_) => false,
        };
        let vendor = vendor_of(target, dialect);
        Ok(Self { dialect, stream, call, body: written, vendor, way, keeping: None, sent: None })
    }

    /// A request that `target` is to get in its client's own dialect and that the shared form has no words for: without
    /// the proofs of others, and else as it is.
    ///
    /// # Errors
    /// It is not even that: `bad`, which the way through the shared form has said.
    fn relayed(
        request: &Request,
        target: &Target,
        body: &[u8],
        stream: bool,
        bad: BadRequest,
    ) -> Result<Self, GatewayError> {
        let dialect = request.client.dialect;
        let refused = |bad: BadRequest| GatewayError::InvalidRequest(bad.to_string());
        if !has_sealed(dialect, body) {
            return Err(refused(bad));
        }
        let mut losses = Losses::of_proofs(dialect, request.strict).map_err(refused)?;
        let mut plain = Vec::with_capacity(body.len());
        if unseal::strip(dialect, body, &mut plain) {
            losses.change(Feature::Thinking).map_err(refused)?;
        }
        let mut facts = request_facts(&plain).map_err(|_| GatewayError::Internal)?;
        let is_gemini = dialect == Dialect::Gemini;
        if stream && !is_gemini && !facts.is_stream() {
            facts.add_stream();
        }
        let strip: Vec<&str> = target.model.strip_params.iter().map(String::as_str).collect();
        let withhold_usage = dialect == Dialect::OpenAiChat
            && facts.is_stream()
            && !facts.includes_usage()
            && !strip.contains(&"stream_options");
        let edits = Edits {
            model: (!is_gemini).then_some(target.model.upstream_model.as_str()),
            stream: facts.adds_stream(),
            include_usage: withhold_usage,
            strip: &strip,
        };
        let mut splices = Splices::new();
        splices.plan(&plain, &facts, &edits).map_err(|_| GatewayError::Internal)?;
        let mut written = Vec::with_capacity(splices.body_len());
        splices.append_to(&plain, &mut written);
        Ok(Self {
            dialect,
            stream,
            call: Call::generate(dialect, stream),
            body: written,
            vendor: vendor_of(target, dialect),
            way: Way::Relayed { losses, withhold_usage },
            keeping: None,
            sent: None,
        })
    }

    /// Bytes of the body that is sent, and of what waits to be kept.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.len() + self.keeping.as_ref().map_or(0, Keeping::bytes)
    }

    /// Has the turn kept once it is answered.
    pub(super) fn keep_turn(&mut self, keeping: Option<Keeping>) {
        if let (Some(keeping), Way::Translated(translated)) = (&keeping, &mut self.way) {
            keeping.name_previous(&mut translated.echo);
        }
        self.keeping = keeping;
    }

    /// Sends it to `target`, whose turn it is.
    ///
    /// # Errors
    /// As for [`attempt::send`].
    pub(super) async fn send(
        &mut self,
        exchange: &mut impl Asker,
        request: &Request,
        ledger: &mut Ledger,
        turn: Turn,
        target: &Target,
        first_byte: Duration,
    ) -> Result<Answer, AttemptError> {
        self.sent = Some((turn, first_byte));
        self.send_body(exchange, request, ledger, target, (turn, first_byte), &self.body).await
    }

    async fn send_body(
        &self,
        exchange: &mut impl Asker,
        request: &Request,
        ledger: &mut Ledger,
        target: &Target,
        (turn, first_byte): (Turn, Duration),
        body: &[u8],
    ) -> Result<Answer, AttemptError> {
        let mut head = exchange.shard().take_head();
        head.extend_from_slice(target.keys[turn.key].head(self.call));
        append_fields(&mut head, &request.fields, |known, name| {
            matches!(
                known,
                KnownField::Traceparent
                    | KnownField::Tracestate
                    | KnownField::Baggage
                    | KnownField::UserAgent
            ) || target.simulator.is_some() && name.eq_ignore_ascii_case(b"x-simulate")
        });
        end_head(&mut head, target, self.dialect, self.stream, body.len());
        let wire = Wire { method: Method::Post, parts: &[&head, body] };
        let sent = attempt::send(exchange, ledger, turn, target, wire, first_byte).await;
        exchange.shard().give_back_head(head);
        sent
    }

    /// Sends the answer to the client and settles the attempt.
    ///
    /// # Errors
    /// It broke before the client got any of it.
    pub(super) async fn relay(
        self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        answer: Answer,
        target: &Target,
        opening: &[u8],
    ) -> Result<After, GatewayError> {
        let how = Relaying {
            target,
            dialect: Some(self.dialect),
            expects_end_mark: true,
            withhold_usage: false,
            labels: request.labels && request.client.dialect == Dialect::OpenAiChat,
            opening: &[],
        };
        if let Way::Relayed { losses, withhold_usage } = &self.way {
            let mut answer = answer;
            append_losses(&mut answer.head.fields, losses);
            let how = Relaying {
                expects_end_mark: request.endpoint != Endpoint::CountTokens,
                withhold_usage: *withhold_usage,
                opening,
                ..how
            };
            return relay::relay(exchange, request, ledger, answer, how).await;
        }
        let is_well = (200..300).contains(&answer.head.status);
        let is_stream = self.stream && is_well && answer.head.kind == BodyKind::Events;
        if matches!(self.way, Way::Reframed(_)) && !is_stream {
            // An error, or one array by itself: what the client expects as it is.
            return relay::relay(exchange, request, ledger, answer, how).await;
        }
        let AnswerHead { status, framing, keep_alive, fields, buffer, start, end, .. } = answer.head;
        ledger.answered(status);
        let kind = if is_stream { BodyKind::Events } else { BodyKind::Json };
        let source = Source::new(answer.conn, answer.pool, framing, keep_alive);
        let mut relay = Relay::new(exchange, request, source, kind, how);
        let mut span = Span { start, end: start };
        let mut buffer = buffer;
        if let Err(fault) = relay.source.absorb(&mut buffer, start, end, &mut span, false) {
            return relay.fail_before_head(exchange, ledger, fault, fields);
        }
        let answering =
            Answering { job: self, relay, target, opening, status, fields, said: Said::default() };
        if is_stream {
            answering.events(exchange, request, ledger, buffer, span).await
        } else {
            answering.whole(exchange, request, ledger, buffer, span).await
        }
    }

    fn pair(&self, request: &Request) -> Pair {
        Pair { from: self.dialect, vendor: self.vendor, to: request.client.dialect }
    }
}

/// Ends the head of a request whose body was written here: what it is, what is wanted, what the provider always gets.
pub(super) fn end_head(
    head: &mut Vec<u8>,
    target: &Target,
    dialect: Dialect,
    stream: bool,
    body_bytes: usize,
) {
    writer::own_field(head, "content-type", b"application/json");
    let accept: &[u8] = if stream { b"text/event-stream" } else { b"application/json" };
    writer::own_field(head, "accept", accept);
    // What a client says about versions and betas is about its own dialect.
    target.append_extra_fields(head, |_| false);
    if dialect == Dialect::AnthropicMessages && !target.has_extra_field("anthropic-version") {
        writer::own_field(head, "anthropic-version", ANTHROPIC_VERSION.as_bytes());
    }
    writer::content_length(head, body_bytes as u64);
    writer::end(head);
}

/// Whether the gateway itself has to say how many tokens a request has, since the target cannot be asked.
pub(super) fn is_counted_here(request: &Request, target: &Target, body: &[u8], goes_on: bool) -> bool {
    request.endpoint == Endpoint::CountTokens && is_needed(request, target, body, goes_on) && !counts(target)
}

/// Answers how many tokens a request has, about, where nobody can be asked.
///
/// # Errors
/// The body is not what its dialect takes: 400.
pub(super) async fn estimate(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    target: &Target,
    body: &[u8],
) -> Result<After, GatewayError> {
    let view = Rc::clone(&exchange.view);
    let tokens = ask(&view.snapshot, request, body, false, &[])
        .estimate()
        .map_err(|bad| GatewayError::InvalidRequest(bad.to_string()))?;
    ledger.served(200);
    let keeps = exchange.keeps_alive(&request.client);
    let mut answer = exchange.shard.take_head();
    local::begin_head(&mut answer, 200, &request.client, keeps);
    local::append_answer_fields(&mut answer, request, ledger, target, None);
    writer::own_field(&mut answer, "x-routerly-estimate", b"1");
    let mut body = Vec::with_capacity(32);
    write_count(request.client.dialect, tokens, &mut body);
    local::append_body(&mut answer, local::JSON, &body, false);
    let sent = exchange.conn.write_all(&answer).await;
    exchange.shard.give_back_head(answer);
    Ok(after(sent, keeps))
}

/// What is asked, for a translation or a count.
pub(super) fn ask<'a>(
    snapshot: &'a Snapshot,
    request: &Request,
    body: &'a [u8],
    stream: bool,
    media: &'a [Fetched],
) -> Ask<'a> {
    let dialect = request.client.dialect;
    Ask { dialect, body, stream, proofs: &snapshot.proofs, strict: request.strict, media }
}

/// A body without the members that its target refuses.
pub(super) fn stripped(body: &[u8], strip: &[&str]) -> Result<Vec<u8>, GatewayError> {
    let facts = request_facts(body).map_err(|_| GatewayError::Internal)?;
    let mut splices = Splices::new();
    let edits = Edits { strip, ..Edits::default() };
    splices.plan(body, &facts, &edits).map_err(|_| GatewayError::Internal)?;
    let mut out = Vec::with_capacity(splices.body_len());
    splices.append_to(body, &mut out);
    Ok(out)
}

/// Appends those fields of a head in wire form that `keep` says.
fn append_fields(out: &mut Vec<u8>, fields: &[u8], keep: impl Fn(KnownField, &[u8]) -> bool) {
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if keep(KnownField::of(name), name) {
            out.extend_from_slice(line);
        }
    }
}

/// An answer that is being translated.
struct Answering<'a> {
    job: Job,
    relay: Relay<'a>,
    target: &'a Target,
    /// What opens a stream.
    opening: &'a [u8],
    /// The provider's.
    status: u16,
    /// The provider's, in wire form.
    fields: Vec<u8>,
    /// Before it has paused.
    said: Said,
}

impl Answering<'_> {
    /// Has the response kept whose end is in `out`, before its client can know of it. The end of the provider's body may
    /// come later.
    async fn keep_ended(&mut self, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
        if self.job.keeping.is_some()
            && let Some(range) = kept::ended_response(out)
        {
            self.keep(exchange, out, range).await;
        }
    }

    /// Hands the complete response at `range` over to be kept, before its client can know of it. One that cannot be kept
    /// says so.
    async fn keep(&mut self, exchange: &Exchange<'_>, out: &mut Vec<u8>, range: Range<usize>) {
        if let Some(keeping) = self.job.keeping.take()
            && !Box::pin(keeping.keep(exchange, &out[range.clone()])).await
        {
            kept::disown(out, range);
        }
    }

    /// What the writer of the answer has to know.
    fn context(&mut self, exchange: &Exchange<'_>, request: &Request) -> ClientContext {
        let translated = match &mut self.job.way {
            Way::Translated(translated) => Some(translated),
            Way::Counted(_) | Way::Reframed(_) | Way::Relayed { .. } => None,
        };
        ClientContext {
            model: self.target.model.upstream_model.clone(),
            unix_seconds: clock::unix_ms() / 1000,
            stream_usage: translated.as_ref().is_some_and(|translated| translated.stream_usage),
            legacy_functions: translated.as_ref().is_some_and(|translated| translated.legacy_functions),
            echo: translated.map(|translated| std::mem::take(&mut translated.echo)).unwrap_or_default(),
            ids: Ids::new(u128::from_be_bytes(*request.client.trace.as_bytes())),
            proofs: exchange.view.snapshot.proofs.clone(),
        }
    }

    /// Begins the head: status, what of the provider's fields means the same in any dialect, what the gateway says.
    fn begin_head(&self, head: &mut Vec<u8>, status: u16, request: &Request, ledger: &Ledger, keeps: bool) {
        local::begin_head(head, status, &request.client, keeps);
        append_fields(head, &self.fields, |known, _| known == KnownField::RetryAfter);
        rate_limits::append(head, &self.fields, self.job.dialect, request.client.dialect, clock::unix_ms());
        let cost = if self.job.stream { None } else { self.cost(ledger) };
        local::append_answer_fields(head, request, ledger, self.target, cost);
        if let Some(id_field) = id_field(request.client.dialect) {
            writer::own_field(head, id_field, ledger.trace_text().as_bytes());
        }
        let losses = match &self.job.way {
            Way::Translated(translated) => Some(&translated.losses),
            Way::Counted(losses) | Way::Relayed { losses, .. } => Some(losses),
            Way::Reframed(losses) => losses.as_ref(),
        };
        if let Some(losses) = losses {
            append_losses(head, losses);
        }
    }

    /// Gives the provider's connection back where another request can follow on it.
    fn give_back(self, exchange: &Exchange<'_>) {
        exchange.shard.give_back_head(self.fields);
        give_back(exchange, self.relay.source);
    }
}

fn give_back(exchange: &Exchange<'_>, source: Source) {
    let Source { conn, pool, reusable, done, .. } = source;
    if done && reusable {
        pool.give_back(conn, exchange.shard.tick_ms());
    }
}

/// Names what could not be carried, if anything.
fn append_losses(head: &mut Vec<u8>, losses: &Losses) {
    if !losses.is_empty() {
        writer::own_field(head, "x-routerly-translation", losses.header_value().as_bytes());
    }
}

/// Where the clients of a dialect look for a request's id.
pub(super) fn id_field(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => Some("x-request-id"),
        Dialect::AnthropicMessages => Some("request-id"),
        Dialect::Gemini => None,
    }
}
