//! From a request to what is to be sent back.
//!
//! Owns the order of decisions: script, key, drawn faults, endpoint, pace. It holds no state between requests, so
//! that one simulator serves any number of connections; what differs between two equal requests is their number.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::ask::Ask;
use super::completion::Completion;
use super::errors::Refusal;
use super::pen::Pen;
use super::plan::{Departure, EventPlan, Fault, How, Pace, PlanBuilder};
use super::random::Random;
use super::route::Route;
use super::settings::{MidStreamError, SimulatedOverrides, SimulatedSettings};
use super::{chat, embeddings, gemini, media, messages, objects, responses};
use crate::dialect::Dialect;

/// One request, its body complete.
#[derive(Debug, Clone, Copy)]
pub struct SimRequest<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without the question mark.
    pub query: Option<&'a str>,
    /// The fields of the head, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: &'a [u8],
    /// Wall clock in seconds since the Unix epoch, for `created` and the like.
    pub unix_seconds: u64,
}

impl<'a> SimRequest<'a> {
    /// The first field called `name`, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let field = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    fn query_value(&self, name: &str) -> Option<&'a str> {
        self.query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The key the request brings, wherever the dialects put it.
    fn key(&self) -> Option<&'a str> {
        self.header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .or_else(|| self.header("x-api-key"))
            .or_else(|| self.header("x-goog-api-key"))
            .or_else(|| self.header("api-key"))
            .or_else(|| self.query_value("key"))
    }
}

/// What is to be sent back.
#[derive(Debug)]
pub struct SimReply {
    /// The status; without meaning where `body` is [`SimBody::Reset`].
    pub status: u16,
    /// Fields of the head, names in lower case, the body's framing and `date` not among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: SimBody,
}

/// How a body is sent.
#[derive(Debug)]
pub enum SimBody {
    /// In one piece: head and body `after` so long.
    Whole {
        /// The wait before the head.
        after: Duration,
        /// The body.
        bytes: Vec<u8>,
        /// How the answer is broken off, although the head announces all of `bytes`.
        cut: Option<Cut>,
    },
    /// In pieces, each due at its time. Providers send the head with the first of them.
    Stream(EventPlan),
    /// Not at all: the connection is reset before the head.
    Reset {
        /// The wait before it.
        after: Duration,
    },
}

/// Where and how a body sent in one piece is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of the body that are still sent.
    pub at: usize,
    /// What happens then.
    pub fault: Fault,
}

/// The simulated provider.
#[derive(Debug, Clone)]
pub struct Simulator {
    settings: SimulatedSettings,
}

/// What an endpoint answers, before faults.
enum Answer {
    Json(Vec<u8>),
    Bytes(&'static str, Vec<u8>),
    /// After its own time instead of the time to first token.
    Timed(Duration, Vec<u8>),
    /// A plan with its content type.
    Stream(&'static str, EventPlan),
}

/// One request on its way through the simulator.
struct Turn<'a> {
    settings: Cow<'a, SimulatedSettings>,
    script: SimulatedOverrides,
    request: &'a SimRequest<'a>,
    route: Route<'a>,
    dialect: Dialect,
    request_id: String,
    faults: Drawn,
    random: Random,
    pace: Pace,
}

/// What the rates have decided, whether it comes to pass or not.
struct Drawn {
    error: Option<u16>,
    reset: bool,
    before_head: bool,
    truncate: bool,
    mid_stream_error: bool,
    /// Where in the stream, from 0 to 1.
    place: f64,
}

impl Simulator {
    /// A simulator with these settings. Values out of range are taken as the nearest in range, see
    /// [`SimulatedSettings::mistakes`].
    pub fn new(settings: SimulatedSettings) -> Self {
        Self { settings }
    }

    /// The settings.
    pub fn settings(&self) -> &SimulatedSettings {
        &self.settings
    }

    /// Answers `request`, the `sequence`-th of its caller. Equal arguments give equal answers.
    pub fn answer(&self, request: &SimRequest<'_>, sequence: u64) -> SimReply {
        let route = Route::find(request.method, request.path);
        let dialect = route.dialect(request.path, request.header("anthropic-version").is_some());
        let (script, mistake) =
            match request.header("x-simulate").map(serde_json::from_str::<SimulatedOverrides>) {
                None => (None, None),
                Some(Ok(script)) => (Some(script), None),
                Some(Err(error)) => {
                    (None, Some(Refusal::bad_request("x-simulate", format!("x-simulate: {error}"))))
                }
            };
        let settings = script
            .as_ref()
            .map_or(Cow::Borrowed(&self.settings), |script| Cow::Owned(script.apply(&self.settings)));
        let script = script.unwrap_or_default();
        // One generator for each concern, so that a changed rate does not change the text.
        let mut random = Random::new(settings.seed, sequence);
        let mut faults = random.split();
        let request_id = random.id(24);
        let pace = Pace::new(&settings, random.split());
        let faults = Drawn::draw(&settings, &mut faults);
        let mut turn = Turn { settings, script, request, route, dialect, request_id, faults, random, pace };
        match mistake {
            Some(refusal) => turn.refuse(&refusal),
            None => turn.reply(),
        }
    }
}

impl Drawn {
    fn draw(settings: &SimulatedSettings, random: &mut Random) -> Self {
        let statuses = &settings.error_status.0;
        let error = random.chance(settings.error_rate);
        let status = statuses.get(random.below(statuses.len() as u64) as usize).copied();
        Self {
            error: status.filter(|_| error),
            reset: random.chance(settings.reset_rate),
            before_head: random.chance(0.5),
            truncate: random.chance(settings.truncate_rate),
            mid_stream_error: random.chance(settings.mid_stream_error_rate),
            place: random.unit(),
        }
    }
}

impl Turn<'_> {
    fn reply(&mut self) -> SimReply {
        if let Some(required) = &self.settings.require_key
            && self.request.key() != Some(required)
        {
            return self.refuse(&Refusal::key(self.dialect));
        }
        if self.script.reset_after_events == Some(0) || (self.faults.reset && self.faults.before_head) {
            return SimReply {
                status: 0,
                headers: Vec::new(),
                body: SimBody::Reset { after: self.pace.first() },
            };
        }
        if let Some(events) = self.script.raw_events.take() {
            return self.raw_stream(&events);
        }
        if let Some(body) = self.script.body.take() {
            return self.scripted_body(&body);
        }
        let status = self.script.status.filter(|status| *status >= 400).or(self.faults.error);
        if let Some(status) = status {
            return self.refuse(&Refusal::status(status));
        }
        match self.answer() {
            Ok(answer) => self.finish(answer),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn finish(&mut self, answer: Answer) -> SimReply {
        let status = self.script.status.unwrap_or(200);
        match answer {
            Answer::Json(bytes) => {
                let after = self.pace.first();
                self.whole(status, "application/json", after, bytes)
            }
            Answer::Bytes(content_type, bytes) => {
                let after = self.pace.first();
                self.whole(status, content_type, after, bytes)
            }
            Answer::Timed(after, bytes) => self.whole(status, "application/json", after, bytes),
            Answer::Stream(content_type, plan) => {
                SimReply { status, headers: self.headers(content_type), body: SimBody::Stream(plan) }
            }
        }
    }

    /// A body in one piece, broken off if script or rates say so.
    fn whole(&mut self, status: u16, content_type: &str, after: Duration, bytes: Vec<u8>) -> SimReply {
        let script = &self.script;
        let broken = [
            (script.reset_after_events, Fault::Reset),
            (script.close_after_events, Fault::Close),
            (script.truncate_after_events, Fault::Close),
            (script.stall_after_events, Fault::Stall),
            (self.faults.reset.then_some(1), Fault::Reset),
            (self.faults.truncate.then_some(1), Fault::Close),
        ];
        // There are no events to count: none is nothing of the body, any other number half of it.
        let cut = broken.into_iter().find_map(|(events, fault)| {
            Some(Cut { at: if events? == 0 { 0 } else { bytes.len() / 2 }, fault })
        });
        SimReply { status, headers: self.headers(content_type), body: SimBody::Whole { after, bytes, cut } }
    }

    fn refuse(&mut self, refusal: &Refusal) -> SimReply {
        let retry_after = self.settings.retry_after;
        let bytes = refusal.body(self.dialect, &self.full_request_id(), retry_after);
        let status = refusal.status_of(self.dialect);
        let mut headers = self.headers("application/json");
        if matches!(status, 429 | 503) {
            headers.push(("retry-after", retry_after.to_string()));
        }
        if self.dialect == Dialect::AnthropicMessages {
            headers.push(("x-should-retry", (status == 429 || status >= 500).to_string()));
        }
        let after = self.pace.first();
        SimReply { status, headers, body: SimBody::Whole { after, bytes, cut: None } }
    }

    fn scripted_body(&mut self, body: &Value) -> SimReply {
        let status = self.script.status.unwrap_or(200);
        let bytes = match body {
            Value::String(text) => text.clone().into_bytes(),
            json => json.to_string().into_bytes(),
        };
        let after = self.pace.first();
        let mut reply = self.whole(status, "application/json", after, bytes);
        if matches!(status, 429 | 503) {
            reply.headers.push(("retry-after", self.settings.retry_after.to_string()));
        }
        reply
    }

    fn raw_stream(&mut self, events: &[String]) -> SimReply {
        let mut plan = PlanBuilder::new(1);
        for event in events {
            plan.event(|pen| {
                pen.raw(event);
            });
        }
        let plan = self.depart(plan.build(self.pace.clone()), &|_| Vec::new());
        self.finish(Answer::Stream("text/event-stream; charset=utf-8", plan))
    }

    fn answer(&mut self) -> Result<Answer, Refusal> {
        let request = self.request;
        let json = |bytes: Vec<u8>| Ok(Answer::Json(bytes));
        match self.route {
            Route::Chat | Route::Responses | Route::Messages => {
                let ask = Ask::read(self.dialect, request.body)?;
                Ok(self.complete(&ask))
            }
            Route::Generate { model, stream } => {
                let ask = Ask::read_gemini(model, stream, request.body)?;
                Ok(self.complete(&ask))
            }
            Route::CountTokens => {
                let tokens = self.count(Ask::read_to_count(request.body)?);
                json(format!("{{\"input_tokens\":{tokens}}}").into_bytes())
            }
            Route::GeminiCountTokens => {
                let tokens = self.count(Ask::read_gemini_to_count(request.body)?);
                json(format!("{{\"totalTokens\": {tokens}}}").into_bytes())
            }
            Route::Embeddings => json(embeddings::openai(&self.settings, request.body)?),
            Route::GeminiEmbed { batch } => json(embeddings::gemini(&self.settings, request.body, batch)?),
            Route::Models => json(objects::models(&self.settings, self.dialect)),
            Route::Model(name) => json(objects::model(&self.settings, name, self.dialect)?),
            Route::Speech => {
                media::speech(request.body, &mut self.random).map(|(kind, bytes)| Answer::Bytes(kind, bytes))
            }
            Route::Transcription => {
                let content_type = request.header("content-type").unwrap_or_default();
                let (kind, bytes) = media::transcription(content_type, request.body, &mut self.random);
                Ok(Answer::Bytes(kind, bytes))
            }
            Route::Images => json(media::images(request.body, request.unix_seconds, &mut self.random)),
            Route::FileUpload => json(objects::upload(request, &mut self.random)),
            Route::Files | Route::Batches => json(objects::empty_list()),
            Route::File(id) => json(objects::file(id, request.method, request.unix_seconds)),
            Route::FileContent(id) => {
                Ok(Answer::Bytes("application/octet-stream", objects::file_content(id)))
            }
            Route::BatchCreation => {
                let id = format!("batch_sim{}", self.random.id(24));
                json(objects::batch(&id, "validating", request.unix_seconds))
            }
            Route::Batch(id) => json(objects::batch(id, "completed", request.unix_seconds)),
            Route::WrongMethod => {
                let message = format!("Not allowed to {} on {}.", request.method, request.path);
                Err(Refusal { message: Some(message), ..Refusal::status(405) })
            }
            Route::Gone => Err(Refusal::not_found("Nothing is stored by a simulated provider.".to_owned())),
            Route::Other if self.settings.echo => json(objects::echo(request)),
            Route::Other => {
                Err(Refusal::not_found(format!("Invalid URL ({} {})", request.method, request.path)))
            }
        }
    }

    fn count(&self, ask: Ask) -> u64 {
        self.settings.input_tokens.unwrap_or_else(|| ask.input_chars.div_ceil(4).max(1))
    }

    /// An answer of the model, whole or as a stream.
    fn complete(&mut self, ask: &Ask) -> Answer {
        let completion = Completion::draw(&self.settings, ask, self.request.unix_seconds, &mut self.random);
        if !ask.stream {
            let bytes = match self.dialect {
                Dialect::OpenAiChat => chat::whole(&completion),
                Dialect::OpenAiResponses => responses::whole(&completion, ask),
                Dialect::AnthropicMessages => messages::whole(&completion),
                Dialect::Gemini => gemini::whole(&completion),
            };
            return Answer::Timed(completion.latency(self.pace.clone()), bytes);
        }
        let chunk_tokens = self.settings.chunk_tokens.max(1);
        let sse = self.dialect != Dialect::Gemini || self.request.query_value("alt") == Some("sse");
        let plan = match self.dialect {
            Dialect::OpenAiChat => chat::stream(&completion, ask, chunk_tokens),
            Dialect::OpenAiResponses => responses::stream(&completion, ask, chunk_tokens),
            Dialect::AnthropicMessages => messages::stream(&completion, chunk_tokens),
            Dialect::Gemini => gemini::stream(&completion, sse, chunk_tokens),
        };
        let dialect = self.dialect;
        let plan = self.depart(plan.build(self.pace.clone()), &|error: &MidStreamError| {
            let refusal = Refusal { message: error.message.clone(), ..Refusal::status(error.status) };
            match dialect {
                Dialect::OpenAiChat => refusal.chat_event(),
                Dialect::AnthropicMessages => refusal.messages_event(),
                Dialect::Gemini => refusal.gemini_event(!sse, error.after_events == 0),
                Dialect::OpenAiResponses => {
                    refusal.responses_events(error.after_events, |pen: &mut Pen<'_>, text| {
                        responses::write_failed(&completion, ask, text, pen);
                    })
                }
            }
        });
        Answer::Stream(
            match (dialect, sse) {
                (Dialect::Gemini, true) => "text/event-stream",
                (Dialect::Gemini, false) => "application/json; charset=UTF-8",
                _ => "text/event-stream; charset=utf-8",
            },
            plan,
        )
    }

    /// Lets `plan` end early if script or rates say so; `error` writes the dialect's error events.
    fn depart(&self, mut plan: EventPlan, error: &dyn Fn(&MidStreamError) -> Vec<u8>) -> EventPlan {
        let script = &self.script;
        // A drawn fault falls between the first event and the last, so that it is always in mid-stream.
        let between = plan.events().saturating_sub(1).max(1);
        let drawn = 1 + ((self.faults.place * between as f64) as u64).min(between - 1);
        let drawn_error = MidStreamError { after_events: drawn, ..MidStreamError::default() };
        let scripted = [
            (script.reset_after_events, How::Fault(Fault::Reset)),
            (script.close_after_events, How::Fault(Fault::Close)),
            (script.stall_after_events, How::Fault(Fault::Stall)),
            (script.truncate_after_events, How::Truncate),
        ];
        let scripted = scripted.into_iter().find_map(|(events, how)| Some((events?, how)));
        let departure = match (scripted, &script.mid_stream_error) {
            (Some((after_events, how)), _) => Some(Departure { after_events, how }),
            (None, Some(scripted)) => {
                Some(Departure { after_events: scripted.after_events, how: How::Error(error(scripted)) })
            }
            (None, None) if self.faults.reset => {
                Some(Departure { after_events: drawn, how: How::Fault(Fault::Reset) })
            }
            (None, None) if self.faults.truncate => {
                Some(Departure { after_events: drawn, how: How::Truncate })
            }
            (None, None) if self.faults.mid_stream_error => {
                Some(Departure { after_events: drawn, how: How::Error(error(&drawn_error)) })
            }
            (None, None) => None,
        };
        if let Some(departure) = departure {
            plan.depart(departure);
        }
        plan
    }

    fn full_request_id(&self) -> String {
        format!("req_sim{}", self.request_id)
    }

    /// The fields a provider of this dialect sends with every answer.
    fn headers(&self, content_type: &str) -> Vec<(&'static str, String)> {
        let mut headers = Vec::with_capacity(16);
        headers.push(("content-type", content_type.to_owned()));
        let left = |limit: u64| (limit - (self.request.body.len() as u64 / 4).min(limit)).to_string();
        match self.dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                headers.push(("openai-processing-ms", self.settings.ttft_ms.to_string()));
                headers.push(("openai-version", "2020-10-01".to_owned()));
                headers.push(("x-request-id", self.full_request_id()));
                headers.push(("x-ratelimit-limit-requests", "10000".to_owned()));
                headers.push(("x-ratelimit-limit-tokens", "2000000".to_owned()));
                headers.push(("x-ratelimit-remaining-requests", "9999".to_owned()));
                headers.push(("x-ratelimit-remaining-tokens", left(2_000_000)));
                headers.push(("x-ratelimit-reset-requests", "6ms".to_owned()));
                headers.push(("x-ratelimit-reset-tokens", "0s".to_owned()));
            }
            Dialect::AnthropicMessages => {
                let seconds = i64::try_from(self.request.unix_seconds).unwrap_or(i64::MAX);
                let reset =
                    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
                headers.push(("request-id", self.full_request_id()));
                headers.push(("anthropic-ratelimit-requests-limit", "4000".to_owned()));
                headers.push(("anthropic-ratelimit-requests-remaining", "3999".to_owned()));
                headers.push(("anthropic-ratelimit-requests-reset", reset.clone()));
                headers.push(("anthropic-ratelimit-tokens-limit", "2000000".to_owned()));
                headers.push(("anthropic-ratelimit-tokens-remaining", left(2_000_000)));
                headers.push(("anthropic-ratelimit-tokens-reset", reset));
            }
            Dialect::Gemini => {}
        }
        headers
    }
}
