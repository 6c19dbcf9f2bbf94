//! Responses that the gateway itself keeps: `/v1/responses/{id}` and what goes on from them.
//!
//! Owns the questions to the thread that keeps them and the shapes of the answers. Ids that are not of the gateway's own
//! making are a provider's, and go there.
//!
//! Source: OpenAI API reference, "Responses": retrieve, delete, cancel, list input items.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;

use super::exchange::{After, Exchange};
use super::ledger::Ledger;
use super::local;
use super::passthrough;
use super::request::Request;
use crate::dialect::context::Ids;
use crate::json::fragment::{Raw, Text};
use crate::json::text::append_string;
use crate::json::token::Kind;
use crate::json::{scan, write};
use crate::limits::INPUT_ITEMS_MAX;
use crate::mailbox::{Kept, Reply, ToKeeper};
use crate::respond::GatewayError;
use crate::snapshot::Snapshot;
use crate::store::responses::{self, Missing, Turn};

/// Longest wait for the thread that keeps responses.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a message is handed over again to a thread whose queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);
/// Items of a page where the client does not say how many.
const PAGE_ITEMS: usize = 20;

/// What is asked of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCall {
    /// `GET /v1/responses/{id}`
    Retrieve,
    /// `DELETE /v1/responses/{id}`
    Delete,
    /// `POST /v1/responses/{id}/cancel`
    Cancel,
    /// `GET /v1/responses/{id}/input_items`
    InputItems,
}

/// Serves a call on one response: from what is kept, or by the provider that keeps it.
pub async fn response(exchange: &mut Exchange<'_>, request: Request, call: ResponseCall, id: &str) -> After {
    if !responses::is_own_id(id) {
        return passthrough::pass_through(exchange, request).await;
    }
    let view = std::rc::Rc::clone(&exchange.view);
    let mut ledger = Ledger::open(exchange.shard, &view, &request);
    let project = view.snapshot.config.projects()[request.project as usize].id.clone();
    let body = match call {
        ResponseCall::Retrieve => {
            find(exchange, id, project).await.map(|kept| kept.response.as_bytes().to_vec())
        }
        ResponseCall::InputItems => find(exchange, id, project).await.and_then(|kept| {
            let query = request.target.split_once('?').map_or("", |(_, query)| query);
            input_items(&kept.input, query)
        }),
        ResponseCall::Delete => delete(exchange, id, project).await,
        ResponseCall::Cancel => find(exchange, id, project).await.and_then(|_| {
            Err(GatewayError::InvalidRequest(
                "this response was not made in the background: it cannot be cancelled".to_owned(),
            ))
        }),
    };
    match body {
        Ok(body) => {
            ledger.served(200);
            local::plain(exchange, &request.client, 200, "application/json", &body).await
        }
        Err(error) => exchange.refuse(&request, &mut ledger, &error).await,
    }
}

/// The items of the conversation up to and with a response, joined by commas.
///
/// # Errors
/// None of that id is kept for the project, or it cannot be had now.
pub(super) async fn history(
    exchange: &Exchange<'_>,
    id: &str,
    project: &str,
) -> Result<Arc<str>, GatewayError> {
    let reply = Arc::default();
    let asked =
        ToKeeper::History { id: id.to_owned(), project: project.to_owned(), reply: Arc::clone(&reply) };
    ask(exchange, asked, &reply, id).await
}

/// Has a turn written. Whether it is.
async fn hand_over(exchange: &Exchange<'_>, turn: Turn) -> bool {
    let reply = Arc::default();
    let mut message = ToKeeper::Keep { turn: Box::new(turn), reply: Arc::clone(&reply) };
    let mut waited = Duration::ZERO;
    while let Err(refused) = exchange.shard.mailbox.send_to_keeper(message) {
        if waited >= KEEPER_TIMEOUT {
            exchange.shard.metrics.responses_lost.add(1);
            return false;
        }
        waited += QUEUE_FULL_PAUSE;
        message = refused;
        monoio::time::sleep(QUEUE_FULL_PAUSE).await;
    }
    let kept = monoio::time::timeout(KEEPER_TIMEOUT, reply.wait()).await == Ok(true);
    if !kept {
        exchange.shard.metrics.responses_lost.add(1);
    }
    kept
}

async fn find(exchange: &Exchange<'_>, id: &str, project: String) -> Result<Kept, GatewayError> {
    let reply = Arc::default();
    let asked = ToKeeper::Find { id: id.to_owned(), project, reply: Arc::clone(&reply) };
    ask(exchange, asked, &reply, id).await
}

async fn delete(exchange: &Exchange<'_>, id: &str, project: String) -> Result<Vec<u8>, GatewayError> {
    let reply = Arc::default();
    let asked = ToKeeper::Delete { id: id.to_owned(), project, reply: Arc::clone(&reply) };
    ask(exchange, asked, &reply, id).await?;
    let mut body = Vec::new();
    write::object(&mut body, |object| {
        object.plain("id", id);
        object.plain("object", "response");
        object.boolean("deleted", true);
    });
    Ok(body)
}

async fn ask<T: Clone>(
    exchange: &Exchange<'_>,
    message: ToKeeper,
    reply: &Reply<Result<T, Missing>>,
    id: &str,
) -> Result<T, GatewayError> {
    if exchange.shard.mailbox.send_to_keeper(message).is_err() {
        return Err(GatewayError::Busy);
    }
    match monoio::time::timeout(KEEPER_TIMEOUT, reply.wait()).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(Missing::Unknown)) => {
            Err(GatewayError::NotFound(format!("no response `{id}` is kept for this project")))
        }
        Ok(Err(Missing::TooLong)) => Err(GatewayError::InvalidRequest(format!(
            "`previous_response_id`: the conversation before `{id}` is too long to go on from"
        ))),
        Ok(Err(Missing::Unreadable)) => Err(GatewayError::Internal),
        Err(_elapsed) => Err(GatewayError::Busy),
    }
}

/// What is kept of a request once it is answered.
#[derive(Debug)]
pub(super) struct Keeping {
    project: String,
    previous: Option<String>,
    input: String,
}

impl Keeping {
    /// The turn that `body`, the client's own, begins; `None` where the client does not want it kept.
    ///
    /// # Errors
    /// `input` is neither a text nor an array.
    pub(super) fn of(
        snapshot: &Snapshot,
        request: &Request,
        body: &[u8],
        previous: Option<&str>,
    ) -> Result<Option<Self>, GatewayError> {
        if scan::member(body, "store").and_then(|store| store.as_bool()) == Some(false) {
            return Ok(None);
        }
        // Another seed than the answer's ids have.
        let mut ids = Ids::new(u128::from_be_bytes(*request.client.trace.as_bytes()).rotate_left(64));
        Ok(Some(Self {
            project: snapshot.config.projects()[request.project as usize].id.clone(),
            previous: previous.map(str::to_owned),
            input: input_items_of(body, Some(&mut ids))?,
        }))
    }

    /// Puts the id of the response before into the members that the answer repeats.
    pub(super) fn name_previous(&self, echo: &mut Vec<u8>) {
        const UNNAMED: &[u8] = b"\"previous_response_id\":null,\"prompt\":";
        if let (Some(previous), Some(at)) = (&self.previous, memmem::find(echo, UNNAMED)) {
            let value = at + UNNAMED.len() - b"null,\"prompt\":".len();
            echo.splice(value..value + b"null".len(), format!("\"{previous}\"").into_bytes());
        }
    }

    /// Bytes that wait here for the answer.
    pub(super) fn bytes(&self) -> usize {
        self.input.len()
    }

    /// Has the turn written; after that whoever asks for it finds it, also through another core or after `kill -9`.
    /// Whether it is written.
    pub(super) async fn keep(self, exchange: &Exchange<'_>, response: &[u8]) -> bool {
        let id = scan::member(response, "id").and_then(|id| Text::from_token(id.raw));
        let (Some(id), Ok(text)) = (id, std::str::from_utf8(response)) else { return false };
        let Some(_held) = exchange.shard.hold_bytes(response.len()) else {
            exchange.shard.metrics.responses_lost.add(1);
            return false;
        };
        let Self { project, previous, input } = self;
        let turn = Turn { id: id.escaped().to_owned(), project, previous, input, response: text.to_owned() };
        hand_over(exchange, turn).await
    }
}

/// Has the response object at `range` of what the gateway has written say that it is not kept.
pub(super) fn disown(out: &mut Vec<u8>, range: Range<usize>) {
    // Members of the echo that stand beside one another.
    const OWNED: &[u8] = b"\"store\":true,\"temperature\":";
    if let Some(at) = memmem::find(&out[range.clone()], OWNED) {
        let value = range.start + at + b"\"store\":".len();
        out.splice(value..value + b"true".len(), *b"false");
    }
}

/// Where the response object is in the event that ends a stream, if that is among `events`, which the gateway has
/// written: an event is two lines there.
pub(super) fn ended_response(events: &[u8]) -> Option<Range<usize>> {
    const ENDS: [&[u8]; 2] = [b"event: response.completed\ndata: ", b"event: response.incomplete\ndata: "];
    let data_start = |end: &&[u8]| memmem::rfind(events, end).map(|at| at + end.len());
    let start = ENDS.iter().filter_map(data_start).max()?;
    let data = &events[start..];
    let line = &data[..memchr::memchr(b'\n', data)?];
    let response = scan::member(line, "response")?;
    Some(start + response.span.start..start + response.span.end)
}

/// The id in `previous_response_id`, where it is one of the gateway's own. `body` has been checked to be JSON.
pub(super) fn previous_id(body: &[u8]) -> Option<String> {
    let id = Text::from_token(scan::member(body, "previous_response_id")?.raw)?;
    responses::is_own_id(id.escaped()).then(|| id.escaped().to_owned())
}

/// The target that has issued the response before, where a provider keeps it and the gateway remembers.
pub(super) fn issuer_of_previous(exchange: &Exchange<'_>, request: &Request, body: &[u8]) -> Option<usize> {
    let id = Text::from_token(scan::member(body, "previous_response_id")?.raw)?;
    issuer(exchange, request, id.escaped())
}

/// The target that has issued the response that a path names.
pub(super) fn issuer_of_path(exchange: &Exchange<'_>, request: &Request) -> Option<usize> {
    let (_, rest) = request.target.split_once("/responses/")?;
    issuer(exchange, request, rest.split(['/', '?']).next()?)
}

fn issuer(exchange: &Exchange<'_>, request: &Request, id: &str) -> Option<usize> {
    let snapshot = &exchange.view.snapshot;
    let project = &snapshot.config.projects()[request.project as usize];
    let is_issuer = exchange.shard.caches.issuers.find(&project.id, id)?;
    let mut models = project.models.iter().map(|entry| entry.model);
    models.find(|index| is_issuer(&snapshot.targets[*index].model.id))
}

/// A request that goes on from `history` as one that says all of it: the history's items before its own, and no
/// `previous_response_id`.
///
/// # Errors
/// `input` is neither a text nor an array.
pub(super) fn expand(body: &[u8], history: &str) -> Result<Vec<u8>, GatewayError> {
    let own = input_items_of(body, None)?;
    let mut out = Vec::with_capacity(body.len() + history.len() + 64);
    let copied = write::object(&mut out, |object| {
        let copied = scan::members(body, |key, value| {
            if !key.is("previous_response_id") && !key.is("input") {
                let name = Text::from_token(&body[key.span.clone()]).unwrap_or_default();
                if let Some(value) = Raw::from_scanned(value.raw) {
                    object.named(&name, &value);
                }
            }
        });
        object.array("input", |items| {
            for run in [history, &own[1..own.len() - 1]] {
                if !run.is_empty() {
                    items.element().extend_from_slice(run.as_bytes());
                }
            }
        });
        copied
    });
    copied.map_err(|_| GatewayError::Internal)?;
    Ok(out)
}

/// The items of a request's `input` as an array; a text is a message of the user. `ids`: makes the id of an item that
/// has none, for items that are kept.
///
/// # Errors
/// `input` is neither a text nor an array.
pub(super) fn input_items_of(body: &[u8], mut ids: Option<&mut Ids>) -> Result<String, GatewayError> {
    let wrong = || GatewayError::InvalidRequest("`input`: must be a string or an array".to_owned());
    let input = scan::member(body, "input").ok_or_else(wrong)?;
    let mut out = Vec::with_capacity(input.raw.len() + 96);
    write::array(&mut out, |items| match input.kind {
        Kind::String => {
            items.object(|message| {
                if let Some(ids) = &mut ids {
                    message.plain("id", &ids.make("msg_"));
                }
                message.plain("type", "message");
                message.plain("role", "user");
                message.array("content", |content| {
                    content.object(|part| {
                        part.plain("type", "input_text");
                        part.member("text").extend_from_slice(input.raw);
                    });
                });
            });
            Ok(())
        }
        Kind::Array => scan::elements(input.raw, |item| {
            let lacks_id = item.kind == Kind::Object && scan::member(item.raw, "id").is_none();
            match &mut ids {
                Some(ids) if lacks_id => {
                    let out = items.element();
                    out.extend_from_slice(b"{\"id\":");
                    append_string(out, &ids.make("msg_"));
                    let members = item.raw[1..].trim_ascii_start();
                    out.extend_from_slice(if members == b"}" { b"" } else { b"," });
                    out.extend_from_slice(members);
                }
                _ => items.element().extend_from_slice(item.raw),
            }
        })
        .map_err(|_| GatewayError::Internal),
        _ => Err(wrong()),
    })?;
    String::from_utf8(out).map_err(|_| GatewayError::Internal)
}

/// A page of input items: newest first, unless `order=asc`; behind the item `after`; at most `limit`.
fn input_items(items: &str, query: &str) -> Result<Vec<u8>, GatewayError> {
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = match parameter("limit").map(str::parse) {
        None => PAGE_ITEMS,
        Some(Ok(limit @ 1..=INPUT_ITEMS_MAX)) => limit,
        Some(_) => {
            let text = format!("`limit`: must be a whole number from 1 to {INPUT_ITEMS_MAX}");
            return Err(GatewayError::InvalidRequest(text));
        }
    };
    let mut all = Vec::new();
    // What is kept was written by the gateway.
    scan::elements(items.as_bytes(), |item| all.push(item.raw)).map_err(|_| GatewayError::Internal)?;
    if parameter("order") != Some("asc") {
        all.reverse();
    }
    let id_of =
        |item: &&[u8]| scan::member(item, "id").and_then(|id| Text::from_token(id.raw).map(Text::into_owned));
    let start = match parameter("after") {
        None => 0,
        Some(after) => {
            match all.iter().position(|item| id_of(item).is_some_and(|id| id.escaped() == after)) {
                Some(at) => at + 1,
                None => return Err(GatewayError::InvalidRequest("`after`: no such item".to_owned())),
            }
        }
    };
    let end = all.len().min(start + limit);
    let page = &all[start..end];
    let mut body = Vec::new();
    write::object(&mut body, |object| {
        object.plain("object", "list");
        object.array("data", |data| page.iter().for_each(|item| data.element().extend_from_slice(item)));
        for (name, item) in [("first_id", page.first()), ("last_id", page.last())] {
            match item.and_then(id_of) {
                Some(id) => object.text(name, &id),
                None => object.null(name),
            }
        }
        object.boolean("has_more", end < all.len());
    });
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> serde_json::Value {
        let items = r#"[{"id":"a"},{"id":"b"},{"id":"c"}]"#;
        serde_json::from_slice(&input_items(items, query).unwrap()).unwrap()
    }

    #[test]
    fn a_request_that_goes_on_says_all_that_was_said() {
        let history = r#"{"role":"user"},{"type":"message"}"#;
        for (body, expanded) in [
            (
                r#"{"model":"m","input":"a\"b","previous_response_id":"resp_x","n":1.0}"#,
                r#"{"model":"m","n":1.0,"input":[{"role":"user"},{"type":"message"},{"type":"message","role":"user","content":[{"type":"input_text","text":"a\"b"}]}]}"#,
            ),
            (
                r#"{"previous_response_id":"resp_x","input":[ {"a":1} , {"b":2}]}"#,
                r#"{"input":[{"role":"user"},{"type":"message"},{"a":1},{"b":2}]}"#,
            ),
            (r#"{"input":[]}"#, r#"{"input":[{"role":"user"},{"type":"message"}]}"#),
        ] {
            let out = expand(body.as_bytes(), history).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expanded);
        }
        for wrong in [r#"{"input":1}"#, r#"{"input":{}}"#, "{}"] {
            assert!(expand(wrong.as_bytes(), history).unwrap_err().message().contains("`input`"), "{wrong}");
        }
    }

    #[test]
    fn kept_items_have_ids() {
        let items = |body: &str| -> serde_json::Value {
            let text = input_items_of(body.as_bytes(), Some(&mut Ids::new(1))).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let kept = items(r#"{"input":[{"id":"own"},{},{ "role":"user" }]}"#);
        assert_eq!(kept[0]["id"], "own");
        assert!(kept[1]["id"].as_str().unwrap().starts_with("msg_"));
        assert_ne!(kept[1]["id"], kept[2]["id"]);
        assert_eq!(kept[2]["role"], "user");
        assert_eq!(items(r#"{"input":"x"}"#)[0]["content"][0]["text"], "x");
    }

    #[test]
    fn the_last_event_of_a_stream_has_the_response() {
        let events = b": x\n\nevent: response.output_text.done\ndata: {\"response\":1}\n\n\
            event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\"}}\n\n";
        let range = ended_response(events).unwrap();
        assert_eq!(&events[range], b"{\"id\":\"resp_1\"}".as_slice());
        for cut in 0..events.len() - 2 {
            assert_eq!(ended_response(&events[..cut]), None, "cut at {cut}");
        }
        assert_eq!(ended_response(b""), None);
    }

    #[test]
    fn a_response_that_is_not_kept_says_so() {
        let response =
            r#"{"output":[{"text":"\"store\":true,\"temperature\":"}],"store":true,"temperature":1.0}"#;
        let mut out = format!("{response}{response}").into_bytes();
        let end = out.len();
        disown(&mut out, response.len()..end);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            format!("{response}{}", response.replace(r#""store":true,"t"#, r#""store":false,"t"#))
        );
    }

    #[test]
    fn the_response_before_is_named_in_the_answer() {
        let keeping = |previous: Option<&str>| Keeping {
            project: "p".to_owned(),
            previous: previous.map(str::to_owned),
            input: "[]".to_owned(),
        };
        let unnamed = br#""a":"previous_response_id","previous_response_id":null,"prompt":null"#;
        let mut echo = unnamed.to_vec();
        keeping(None).name_previous(&mut echo);
        assert_eq!(echo, unnamed);
        keeping(Some("resp_1")).name_previous(&mut echo);
        let named = br#""a":"previous_response_id","previous_response_id":"resp_1","prompt":null"#;
        assert_eq!(echo, named);
    }

    #[test]
    fn only_the_gateways_own_ids_are_gone_on_from() {
        let own = "resp_019aa0f0c0de70008000000000000001";
        for (body, expected) in [
            (format!(r#"{{"previous_response_id":"{own}"}}"#), Some(own)),
            (r#"{"previous_response_id":"resp_0c1f"}"#.to_owned(), None),
            (r#"{"previous_response_id":null}"#.to_owned(), None),
            ("{}".to_owned(), None),
        ] {
            assert_eq!(previous_id(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn input_items_come_in_pages() {
        let ids = |page: &serde_json::Value| -> Vec<String> {
            page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().into()).collect()
        };
        for (query, expected, more) in [
            ("", vec!["c", "b", "a"], false),
            ("order=asc", vec!["a", "b", "c"], false),
            ("limit=2", vec!["c", "b"], true),
            ("limit=2&after=b", vec!["a"], false),
            ("order=asc&after=a&limit=1", vec!["b"], true),
            ("after=a", vec![], false),
        ] {
            let page = page(query);
            assert_eq!(ids(&page), expected, "{query}");
            assert_eq!(page["has_more"], more, "{query}");
            assert_eq!(page["first_id"].as_str(), expected.first().copied());
            assert_eq!(page["last_id"].as_str(), expected.last().copied());
        }
        for wrong in ["limit=0", "limit=101", "limit=x", "after=z"] {
            assert!(input_items("[]", wrong).is_err(), "{wrong}");
        }
    }
}
