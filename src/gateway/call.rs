//! A request for generated text (or a count of tokens): its body, and what is asked with it.

use super::body::{self, BodyError};
use super::candidates;
use super::choose::{self, NoChoice};
use super::exchange::{After, Exchange};
use super::kept;
use super::ledger::Ledger;
use super::remembered;
use super::request::{GeminiForm, Request};
use crate::config::settings::OnFull;
use crate::json::facts::{RequestFacts, request_facts};
use crate::respond::GatewayError;
use crate::snapshot::Snapshot;
use crate::telemetry::labels::Endpoint;
use crate::trace::Entry;

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
    let body = match body::read_whole(exchange, request.framing, request.expect_continue, bytes_max).await {
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
    let mut asked = Asked::of(&request, &body, &facts);
    if facts.has_previous_response_id && request.endpoint == Endpoint::Responses {
        asked.issuer = kept::issuer_of_previous(exchange, &request, &body);
    }
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
    let project = &exchange.view.snapshot.config.projects()[request.project as usize];
    let remembers = project.remembers() && request.endpoint != Endpoint::CountTokens;
    ledger.asked(asked.model, asked.stream, asked.body.len());
    ledger.asked_for_at_most(asked.facts.output_tokens_max());
    if let Err(error) = ledger.admit(asked.body, Some(asked.facts)) {
        return exchange.refuse(request, ledger, &error).await;
    }
    if remembers {
        // Boxed, so that the others do not carry its room.
        return Box::pin(remembered::answer(exchange, request, ledger, asked)).await;
    }
    route(exchange, request, ledger, asked, None).await
}

/// Asks the models that may answer. `prefer`: the one to be asked first if it may, which an earlier request of this
/// similarity has decided.
pub(super) async fn route(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
    prefer: Option<(usize, f32)>,
) -> After {
    let view = std::rc::Rc::clone(&exchange.view);
    let preferred = asked.issuer.or_else(|| prefer.map(|(target, _)| target));
    let ranked = match choose::ranked(exchange, &view.snapshot, request, ledger, asked, preferred).await {
        Ok(ranked) => ranked,
        Err(NoChoice::ClientGone) => return After::Abort,
        Err(NoChoice::Refused(error)) => return exchange.refuse(request, ledger, &error).await,
    };
    if let Some((target, similarity)) = prefer
        && ranked.first() == Some(&target)
    {
        ledger.decided_by_cache(similarity);
    }
    // Policies have told it themselves.
    if let ([only], None) = (&ranked[..], choose::policies(&view.snapshot, request)) {
        ledger.note(Entry::Alone { target: *only as u32 });
    }
    candidates::run(exchange, request, ledger, &view.snapshot, &ranked, asked).await
}

/// What a request says, in its body or, in Gemini's dialect, in its URL.
pub(super) struct Asked<'a> {
    /// A whole JSON object.
    pub body: &'a [u8],
    /// Where in it stands what matters here.
    pub facts: &'a RequestFacts,
    /// The model that is named.
    pub model: Option<&'a str>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The kept response that the request goes on from, and the client's own body.
    pub previous: Option<(&'a str, &'a [u8])>,
    /// The target whose provider keeps the response that the request goes on from, as far as is known.
    pub issuer: Option<usize>,
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request, body: &'a [u8], facts: &'a RequestFacts) -> Self {
        let (model, stream) = match &request.gemini {
            Some(call) => (Some(call.model.as_str()), call.form != GeminiForm::Whole),
            None => (facts.model(body), facts.is_stream()),
        };
        Self { body, facts, model, stream, previous: None, issuer: None }
    }
}

/// Whether the record of another request can be kept, or need not be.
pub(super) fn records_fit(exchange: &Exchange<'_>, snapshot: &Snapshot) -> bool {
    snapshot.config.settings().journal.on_full == OnFull::Serve || exchange.shard.journal.borrow().accepts()
}
