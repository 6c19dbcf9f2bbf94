//! Answers and decisions of earlier requests in place of new ones, for projects that want that.
//!
//! Owns what makes two requests the same, when an answer may be given again and when one is kept. Only complete answers
//! of status 200 are kept, as their client got them; what is kept of a stream is given again as a stream.
//!
//! ```text
//! same to the letter? ─▶ answer
//!      └ no: means the same? ─▶ answer, or the model that answered is asked first
//!                 └ no: routing ─▶ the answer is relayed, and kept once it is complete
//! ```
//!
//! Source: the project's routing specification, sections 6 and 7.

use std::rc::Rc;
use std::sync::Arc;

use super::call::{self, Asked};
use super::copy::Copy;
use super::exchange::{After, Asker, Exchange, after};
use super::inner::{Asking, Caller, Heard, Notes};
use super::ledger::Ledger;
use super::local;
use super::opening::opening;
use super::request::{CacheWish, Request};
use super::translated;
use crate::budget::money::Picodollars;
use crate::cache::{Answer, Answers, Digest, Digester, Found, Scope, Worth, is_deterministic, normalise};
use crate::clock;
use crate::config::Project;
use crate::config::embedding::{CacheMode, SemanticCache};
use crate::http1::{KnownField, writer};
use crate::json::scan;
use crate::limits::EMBEDDED_TEXT_BYTES_MAX;
use crate::routing;
use crate::snapshot::Snapshot;
use crate::trace::Detail;

/// The content type of event streams.
pub(super) const EVENTS: &str = "text/event-stream";

/// Serves a request of a project that remembers something.
pub(super) async fn answer(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
) -> After {
    let view = Rc::clone(&exchange.view);
    let snapshot = &view.snapshot;
    let project = &snapshot.config.projects()[request.project as usize];
    let bytes_max = snapshot.config.settings().cache_bytes_max;
    let may_keep = request.cache != CacheWish::Bypass && !refers_elsewhere(asked);
    let exact = project.response_cache.as_ref().filter(|cache| {
        let is_sure = || is_deterministic(request.client.dialect, asked.body);
        may_keep && (!cache.only_deterministic || is_sure())
    });
    let exact = exact.map(|cache| (cache, exact_key(project, request, asked)));
    if let Some((_, key)) = exact.as_ref().filter(|_| request.cache == CacheWish::Use) {
        let found = exchange.shard.caches.answers.find(key, clock::now());
        if let Some((answer, target)) = found.and_then(|answer| with_target(snapshot, project, answer)) {
            ledger.note(Detail::CacheHit {
                similarity: None,
                target: target as u32,
                embedding_model: None,
                ttl_extended: false,
            });
            return serve(exchange, request, ledger, asked, &answer, target, None).await;
        }
        ledger.note(Detail::CacheMiss { embedding_model: None });
    }

    let llm = project.llm();
    let mut meaning = None;
    let mut prefer = None;
    if let Some(cache) = llm.and_then(|llm| llm.cache.as_ref()).filter(|_| request.cache != CacheWish::Bypass)
    {
        meaning = match Meaning::of(exchange, request, ledger, asked, cache, may_keep).await {
            Ok(meaning) => meaning,
            Err(ClientGone) => return After::Abort,
        };
        if let Some(meaning) = meaning.as_ref().filter(|_| request.cache == CacheWish::Use) {
            match meaning.find(exchange, ledger, cache, snapshot, project) {
                Some((Found { worth: Worth::Answer(answer), similarity }, target)) => {
                    return serve(exchange, request, ledger, asked, &answer, target, Some(similarity)).await;
                }
                Some((Found { worth: Worth::Decision(_), similarity }, target)) => {
                    prefer = Some((target, similarity));
                }
                None => {}
            }
        }
    }

    let keeps_answer = meaning.as_ref().is_some_and(|meaning| meaning.mode == CacheMode::Response);
    if exact.is_some() || keeps_answer {
        exchange.copy = Some(Box::new(Copy::new(exchange.shard, Answers::body_bytes_max(bytes_max))));
        ledger.missed_cache();
    }
    let after = call::route(exchange, request, ledger, asked, prefer).await;
    let copy = exchange.copy.take();
    let Some((target, saved)) = ledger.answered_well() else { return after };
    let model = snapshot.targets[target].model.id.as_str();
    if let (Some(conversation), Some(_)) = (&request.conversation, llm.and_then(|llm| llm.memory_count)) {
        exchange.shard.caches.conversations.answered(&project.id, conversation, model, clock::now());
    }
    let is_complete = matches!(after, After::KeepAlive | After::Close);
    let answer = copy.filter(|_| is_complete).and_then(|copy| copy.finish());
    // A body that ends with its connection may have been cut off.
    let answer = answer.filter(|(_, body)| asked.stream || scan::members(body, |_, _| ()).is_ok());
    let answer = answer
        .map(|(content_type, body)| Arc::new(Answer { model: model.into(), content_type, body, saved }));
    if let (Some((cache, key)), Some(answer)) = (exact, &answer) {
        let answer = Arc::clone(answer);
        exchange.shard.caches.answers.put(key, answer, cache.ttl, bytes_max, clock::now());
    }
    if let (Some(meaning), Some(cache)) = (meaning, llm.and_then(|llm| llm.cache.as_ref())) {
        let worth = match meaning.mode {
            CacheMode::Decision if prefer.is_some_and(|(preferred, _)| preferred == target) => None,
            CacheMode::Decision => Some(Worth::Decision(model.into())),
            CacheMode::Response => answer.map(Worth::Answer),
        };
        if let Some(worth) = worth {
            let Meaning { scope, vector, .. } = meaning;
            exchange.shard.caches.semantic.put(scope, vector, worth, cache.ttl, clock::now());
        }
    }
    after
}

/// Whether the answer depends on what a provider keeps, or is only begun when it comes.
fn refers_elsewhere(asked: &Asked<'_>) -> bool {
    let is_there =
        |name| scan::member(asked.body, name).is_some_and(|value| !matches!(value.raw, b"null" | b"false"));
    asked.previous.is_some()
        || asked.facts.has_previous_response_id
        || ["conversation", "background", "cachedContent", "cached_content"].into_iter().any(is_there)
}

/// Everything that an answer depends on beside the body: who asks for what in which form.
fn begin_digest(purpose: &str, project: &Project, request: &Request, asked: &Asked<'_>) -> Digester {
    let mut digester = Digester::new(purpose);
    digester.part(project.id.as_bytes());
    digester.part(request.endpoint.as_str().as_bytes());
    digester.part(request.client.dialect.as_str().as_bytes());
    digester.part(asked.model.unwrap_or_default().as_bytes());
    let array = request.gemini.as_ref().is_some_and(|call| call.form == super::request::GeminiForm::Array);
    digester.part(&[asked.stream, request.strict, request.labels, array].map(u8::from));
    // Whatever travels to the provider may change what it says: who asks, which organisation pays, which beta is on.
    for line in request.fields.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !is_neutral(name) {
            digester.part(line);
        }
    }
    digester
}

/// Fields that say nothing about the answer: what the client is, which call this is.
fn is_neutral(name: &[u8]) -> bool {
    const SDK: &[u8] = b"x-stainless-";
    let is_sdk = name.get(..SDK.len()).is_some_and(|start| start.eq_ignore_ascii_case(SDK));
    is_sdk
        || matches!(
            KnownField::of(name),
            KnownField::UserAgent
                | KnownField::Accept
                | KnownField::AcceptEncoding
                | KnownField::ContentType
                | KnownField::CacheControl
                | KnownField::IdempotencyKey
                | KnownField::Traceparent
                | KnownField::Tracestate
                | KnownField::Baggage
                | KnownField::RequestId
                | KnownField::XRequestId
                | KnownField::Via
        )
}

fn exact_key(project: &Project, request: &Request, asked: &Asked<'_>) -> Digest {
    let mut digester = begin_digest("answer", project, request, asked);
    digester.body(request.client.dialect, asked.body);
    digester.finish()
}

/// The model that an answer is of, if it still may answer for the project.
fn with_target(snapshot: &Snapshot, project: &Project, answer: Arc<Answer>) -> Option<(Arc<Answer>, usize)> {
    let target = usable(snapshot, project, &answer.model)?;
    Some((answer, target))
}

fn usable(snapshot: &Snapshot, project: &Project, model: &str) -> Option<usize> {
    let target = snapshot.config.model_index(model)?;
    let is_listed = project.models.iter().any(|entry| entry.model == target);
    (is_listed && snapshot.targets[target].is_usable()).then_some(target)
}

/// Nobody is left to answer.
struct ClientGone;

/// What a request means, and what else has to be the same.
struct Meaning {
    scope: Scope,
    /// Normalised.
    vector: Vec<f32>,
    mode: CacheMode,
}

impl Meaning {
    /// Turns a request into a vector. `None`: it has no text, its answer cannot be given to others, or nobody can embed it.
    async fn of(
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        asked: &Asked<'_>,
        cache: &SemanticCache,
        may_keep: bool,
    ) -> Result<Option<Self>, ClientGone> {
        let (shard, view) = (Rc::clone(exchange.shard), Rc::clone(&exchange.view));
        let snapshot = &view.snapshot;
        let project = &snapshot.config.projects()[request.project as usize];
        let Ok(heard) = translated::ask(snapshot, request, asked.body, asked.stream, &[])
            .request()
            .map(|request| Heard::of(&request))
        else {
            return Ok(None);
        };
        let digest = match cache.mode {
            // Who names a model has decided himself.
            CacheMode::Decision => (!routing::wishes(project, asked.model)).then(Digest::default),
            CacheMode::Response if may_keep => scope_digest(snapshot, project, request, asked, &heard),
            CacheMode::Response => None,
        };
        let Some(digest) = digest.filter(|_| !heard.message.trim().is_empty()) else { return Ok(None) };
        let notes = Notes::default();
        let caller = Caller::new(&shard, &view, request, &notes, cache.timeout);
        ledger.waiting();
        let mut made = None;
        let models = caller.usable(&cache.embedding.models, |_, _| ());
        let mut asking = Asking::new(caller, &models);
        while let Some(model) = asking.next(|_, _| ()) {
            let texts = [heard.message.as_str()];
            let embedding = Box::pin(asking.embed(&texts));
            let Some(embedded) = exchange.while_client_stays(embedding).await else {
                ledger.working();
                ledger.client_gone();
                return Err(ClientGone);
            };
            let vector = embedded.ok().and_then(|mut vectors| vectors.pop()).and_then(normalise);
            if let Some(vector) = vector {
                let place = cache.embedding.models.iter().position(|known| *known == model);
                made = Some((place.unwrap_or_default(), model, vector));
                break;
            }
        }
        ledger.working();
        let Some((place, model, vector)) = made else { return Ok(None) };
        let embedder = &snapshot.targets[model].model;
        ledger.note(Detail::CacheEmbedding {
            model: embedder.id.as_str().into(),
            upstream_model: embedder.upstream_model.as_str().into(),
            provider: embedder.provider.id.as_str().into(),
            endpoint: embedder.endpoint.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            source: "model-config",
            fallback: place > 0,
            attempt: place as u32 + 1,
            candidates: cache.embedding.models.len() as u32,
        });
        let scope =
            Scope { project: project.id.as_str().into(), embedder: embedder.id.as_str().into(), digest };
        Ok(Some(Self { scope, vector, mode: cache.mode }))
    }

    /// What was kept for the request most like this one, with its model, and notes it.
    fn find(
        &self,
        exchange: &Exchange<'_>,
        ledger: &mut Ledger,
        cache: &SemanticCache,
        snapshot: &Snapshot,
        project: &Project,
    ) -> Option<(Found, usize)> {
        let extend = cache.extend_on_hit.then_some(cache.ttl);
        let semantic = &exchange.shard.caches.semantic;
        let threshold = cache.similarity_threshold as f32;
        let found = semantic.find(&self.scope, &self.vector, threshold, extend, clock::now());
        let found = found.and_then(|found| {
            let model = match &found.worth {
                Worth::Decision(model) => model,
                Worth::Answer(answer) => &*answer.model,
            };
            let target = usable(snapshot, project, model)?;
            Some((found, target))
        });
        let embedding_model: Option<Box<str>> = Some((*self.scope.embedder).into());
        ledger.note(match &found {
            Some((found, target)) => Detail::CacheHit {
                similarity: Some(f64::from(found.similarity)),
                target: *target as u32,
                embedding_model,
                ttl_extended: cache.extend_on_hit,
            },
            None => Detail::CacheMiss { embedding_model },
        });
        found
    }
}

/// Everything but the user's last message that an answer depends on, the models included that could give it. `None`: the
/// message is not text alone, or the answer is a stream that may call functions.
fn scope_digest(
    snapshot: &Snapshot,
    project: &Project,
    request: &Request,
    asked: &Asked<'_>,
    heard: &Heard,
) -> Option<Digest> {
    // Of a longer message the end is not in the vector.
    let is_embedded_whole = heard.message.len() <= EMBEDDED_TEXT_BYTES_MAX;
    if !is_embedded_whole || !heard.is_plain || asked.stream && heard.has_tools {
        return None;
    }
    let mut digester = begin_digest("meaning", project, request, asked);
    for entry in &project.models {
        digester.part(snapshot.targets[entry.model].model.id.as_bytes());
    }
    digester.body_but_for(request.client.dialect, asked.body, &heard.message).then(|| digester.finish())
}

/// Gives an answer that was kept.
async fn serve(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    asked: &Asked<'_>,
    answer: &Answer,
    index: usize,
    similarity: Option<f32>,
) -> After {
    let view = Rc::clone(&exchange.view);
    let target = &view.snapshot.targets[index];
    ledger.answered_from_cache(index, &answer.saved, similarity);
    let keeps = exchange.keeps_alive(&request.client);
    let is_events = answer.content_type.starts_with(EVENTS);
    let opening =
        if is_events { opening(&view.snapshot, request, asked, target, ledger) } else { Vec::new() };
    let mut head = exchange.shard.take_head();
    local::begin_head(&mut head, 200, &request.client, keeps);
    local::append_answer_fields(&mut head, request, ledger, target, Some(Picodollars::default()));
    if let Some(id_field) = translated::id_field(request.client.dialect) {
        writer::own_field(&mut head, id_field, ledger.trace_text().as_bytes());
    }
    writer::own_field(&mut head, "content-type", answer.content_type.as_bytes());
    if is_events {
        writer::own_field(&mut head, "cache-control", b"no-cache");
    }
    writer::content_length(&mut head, (opening.len() + answer.body.len()) as u64);
    writer::end(&mut head);
    let sent = exchange.conn.write_parts(&[&head, &opening, &answer.body]).await;
    exchange.shard.give_back_head(head);
    ledger.relayed();
    after(sent, keeps)
}
