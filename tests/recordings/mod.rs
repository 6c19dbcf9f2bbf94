//! Recorded traffic of real providers through the gateway, from socket to socket: bytes, heads and usage records.
//!
//! The recordings are not part of the repository; without them these tests pass and say so.

mod corpus;
mod provider;
mod reference;

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Response, Setup, TOKEN, post};
pub use corpus::{Recording, recordings};
use provider::{Framed, Framing, Play, Player, Random, cut};
use reference::Tokens;

/// A gateway in front of a provider that plays recordings, and a client that stays connected.
struct Stage {
    player: Player,
    gateway: Gateway,
    client: Client,
    /// What each request's usage record has to say, by trace id; with the recording's id.
    expected: HashMap<String, (String, Value)>,
}

impl Stage {
    fn new() -> Self {
        let player = Player::start();
        // See `Tokens::cost`.
        let prices = json!({
            "inputPerMillion": 1, "outputPerMillion": 2, "cachePerMillion": 0.25, "cacheWritePerMillion": 1.25,
        });
        let google = json!({
            "id": "up/gemini", "name": "gemini", "provider": "gemini", "upstreamModelId": "gemini",
            "dialect": "gemini",
            "endpoint": format!("http://{}/v1beta", player.upstream.address()), "apiKey": "provider-key",
        });
        let gateway = Setup::with_upstream(&player.upstream)
            // Each recording is played once.
            .setting("upstream.retries", 0)
            .model(google)
            .every_model("cost", prices)
            .every_model("contextWindow", json!(1_000_000))
            .start();
        player.plays_for(gateway.address());
        let client = gateway.client();
        Self { player, gateway, client, expected: HashMap::new() }
    }

    /// Sends the recorded request and plays `pieces` as its answer.
    fn replay(&mut self, recording: &Recording, fields: &str, play: Play) -> Response {
        self.player.play(play);
        let mut all = fields.to_owned();
        for (name, value) in &recording.asked_fields {
            all.push_str(&format!("{name}: {value}\r\n"));
        }
        let path = match recording.dialect.as_str() {
            "openai_chat" => "/v1/chat/completions",
            "openai_responses" => "/v1/responses",
            "anthropic_messages" => "/v1/messages",
            _ => &recording.path,
        };
        let response = self.client.call(post(path, &all, &recording.asked));
        if response.ended.is_some() || response.field("connection") == Some("close") {
            self.client = self.gateway.client();
        }
        response
    }

    /// Compares all usage records with what was expected of each.
    fn check_records(self) {
        let records = self.gateway.usage_records(self.expected.len());
        assert_eq!(records.len(), self.expected.len(), "one record for each attempt");
        for record in &records {
            let (id, expected) = &self.expected[record["traceId"].as_str().unwrap()];
            for (name, value) in expected.as_object().unwrap() {
                let found = match name.as_str() {
                    "picodollars" => json!((record["cost"].as_f64().unwrap() * 1e12).round() as u64),
                    name => record[name].clone(),
                };
                assert_eq!(&found, value, "{name} of {id}, found {record}");
            }
        }
    }

    fn expect_record(&mut self, recording: &Recording, response: &Response, expected: Value) {
        let trace = response.field("x-routerly-trace-id").expect("a trace id").to_owned();
        let before = self.expected.insert(trace, (recording.id.clone(), expected));
        assert!(before.is_none(), "a trace id came twice");
    }
}

/// What the usage record of a recording that was relayed whole has to say.
fn whole_record(recording: &Recording) -> Value {
    let documents = reference::documents(recording);
    let ok = (200..300).contains(&recording.status);
    let failed = recording.status >= 400 || reference::reports_failure(&documents);
    let mut record = json!({
        "httpStatus": recording.status,
        "outcome": if failed { "error" } else { "success" },
        "endedBy": "provider",
    });
    let tokens = reference::tokens(&recording.dialect, &documents);
    record["usageSource"] = match tokens {
        Some(_) => "reported",
        None if ok => "estimated",
        None => "none",
    }
    .into();
    if tokens.is_some() || !ok {
        add_tokens(&mut record, tokens.unwrap_or_default());
    }
    record
}

fn add_tokens(record: &mut Value, tokens: Tokens) {
    let Tokens { input, output, cached, cache_write, reasoning } = tokens;
    record["picodollars"] = tokens.cost().into();
    record["inputTokens"] = input.into();
    record["outputTokens"] = output.into();
    let optional = [
        ("cachedInputTokens", cached),
        ("cacheCreationInputTokens", cache_write),
        ("reasoningTokens", reasoning),
    ];
    for (name, count) in optional {
        record[name] = if count > 0 { count.into() } else { Value::Null };
    }
}

/// What the client has to get of a stream.
fn expected_body(recording: &Recording) -> Vec<u8> {
    let withholds = recording.dialect == "openai_chat"
        && recording.is_events()
        && recording.asked["stream"] == true
        && !recording.asks_usage();
    if withholds {
        let text = std::str::from_utf8(&recording.answer).unwrap();
        return reference::without_usage_chunk(text).into_bytes();
    }
    recording.answer.clone()
}

/// Head and body of a whole answer, exactly as recorded.
fn assert_relayed(recording: &Recording, response: &Response, body: &[u8]) {
    let id = &recording.id;
    assert_eq!(response.status, recording.status, "{id}");
    for (name, value) in &recording.fields {
        assert_eq!(response.field(name), Some(value.trim()), "{name} of {id}");
    }
    assert_cost(recording, response);
    assert!(
        body == expected_body(recording),
        "{id}: found\n{}\ninstead of\n{}",
        String::from_utf8_lossy(body),
        String::from_utf8_lossy(&expected_body(recording))
    );
}

/// An answer that was there whole before its head left says what it cost; a stream never does.
fn assert_cost(recording: &Recording, response: &Response) {
    let said = response.field("x-routerly-cost");
    let reported = reference::tokens(&recording.dialect, &reference::documents(recording));
    if recording.is_events() {
        assert_eq!(said, None, "{}", recording.id);
    } else if let (Some(tokens), Some(said)) = (reported, said) {
        let said: f64 = said.parse().unwrap();
        assert_eq!((said * 1e12).round() as u64, tokens.cost(), "{}", recording.id);
    } else {
        // Long ones do not fit into the buffer, and one of unknown length is not waited for.
        let was_whole = response.head.length().is_some() && recording.answer.len() < 8192;
        assert!(reported.is_none() || !was_whole, "{} has no cost", recording.id);
    }
}

/// A body without the trace that opens a stream.
fn without_trace<'b>(recording: &Recording, body: &'b [u8]) -> &'b [u8] {
    if !recording.is_events() || recording.status != 200 || recording.asked["stream"] != true {
        return body;
    }
    let opening: &[u8] = match recording.dialect.as_str() {
        "openai_chat" => b"data: {\"type\":\"trace\"",
        _ => b": routerly {\"type\":\"trace\"",
    };
    assert!(body.starts_with(opening), "{}: no trace opens the stream", recording.id);
    let end = body.windows(2).position(|pair| pair == b"\n\n").expect("it ends") + 2;
    &body[end..]
}

/// A provider's refusal of our key is answered in our words.
fn assert_refused(recording: &Recording, response: &Response) -> Value {
    assert_eq!(response.status, 502, "{}", recording.id);
    assert_eq!(response.json()["error"]["code"], "upstream_auth", "{}", recording.id);
    json!({"outcome": "error", "inputTokens": 0, "outputTokens": 0, "picodollars": 0})
}

/// The request as it has to arrive at the provider.
fn assert_asked(recording: &Recording, stage: &Stage) {
    let (_, request) = stage.player.upstream.next_request();
    let (model, credential) = match recording.dialect.as_str() {
        "openai_chat" => ("chat", ("authorization", "Bearer provider-key")),
        "openai_responses" => ("responses", ("authorization", "Bearer provider-key")),
        "anthropic_messages" => ("messages", ("x-api-key", "provider-key")),
        _ => ("", ("x-goog-api-key", "provider-key")),
    };
    assert_eq!(request.head.field(credential.0), Some(credential.1), "{}", recording.id);
    assert!(!request.head.raw.windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes()));
    for (name, value) in &recording.asked_fields {
        assert_eq!(request.head.field(name), Some(value.as_str()), "{}", recording.id);
    }
    let mut expected = recording.asked.clone();
    if model.is_empty() {
        // The name in the path is the provider's; a stream is always asked for in events.
        let method = recording.path.split('?').next().unwrap().rsplit(':').next().unwrap();
        let events = if method == "streamGenerateContent" { "?alt=sse" } else { "" };
        let expected = format!("/v1beta/models/gemini:{method}{events}");
        assert_eq!(request.head.request_line().1, expected, "{}", recording.id);
    } else {
        expected["model"] = model.into();
    }
    if recording.dialect == "openai_chat" && expected["stream"] == true {
        expected["stream_options"]["include_usage"] = true.into();
    }
    assert_eq!(request.json(), expected, "{}", recording.id);
}

fn replay_all(dialect: &str) {
    let mut stage = Stage::new();
    for mut recording in recordings(dialect) {
        if dialect == "gemini" && !recording.path.starts_with("/v1beta/") {
            continue;
        }
        let (whole, chunked) = match recording.streaming {
            true => (Framing::Chunked(usize::MAX >> 1), Framing::Chunked(600)),
            false => (Framing::Length, Framing::Chunked(2000)),
        };
        // In one piece, in many as they come, in few that the gateway meets one by one.
        replay_one(&mut stage, &recording, whole, 0, false);
        replay_one(&mut stage, &recording, chunked, 40, false);
        replay_one(&mut stage, &recording, Framing::UntilClose, 6, true);
        if recording.asks_usage() {
            // The same for a client that wants no usage chunk.
            recording.asked.as_object_mut().unwrap().remove("stream_options");
            replay_one(&mut stage, &recording, chunked, 40, false);
            replay_one(&mut stage, &recording, whole, 6, true);
        }
    }
    stage.check_records();
}

fn replay_one(stage: &mut Stage, recording: &Recording, framing: Framing, cuts: usize, one_by_one: bool) {
    let mut random = Random(recording.seed() ^ cuts as u64);
    let framed = Framed::new(recording.status, &recording.fields, &recording.answer, framing, &mut random);
    let cuts = random.cuts(cuts, framed.wire.len());
    let play = Play { pieces: cut(&framed.wire, &cuts), one_by_one, closes: framing == Framing::UntilClose };
    let traced = !one_by_one && recording.dialect != "gemini";
    let fields = if traced { "" } else { "x-routerly-trace: none\r\n" };
    let response = stage.replay(recording, fields, play);
    assert_asked(recording, stage);
    let record = if matches!(recording.status, 401 | 403) {
        assert_refused(recording, &response)
    } else {
        let body = if traced { without_trace(recording, &response.body) } else { &response.body[..] };
        assert_relayed(recording, &response, body);
        whole_record(recording)
    };
    stage.expect_record(recording, &response, record);
}

#[test]
fn recorded_chat_completions_are_relayed_byte_for_byte_and_metered() {
    replay_all("openai_chat");
}

#[test]
fn recorded_responses_are_relayed_byte_for_byte_and_metered() {
    replay_all("openai_responses");
}

#[test]
fn recorded_messages_are_relayed_byte_for_byte_and_metered() {
    replay_all("anthropic_messages");
}

#[test]
fn recorded_gemini_answers_are_relayed_byte_for_byte_and_metered() {
    replay_all("gemini");
}

/// The streams of a dialect with the shortest answers that ended well.
fn shortest_streams(dialect: &str, count: usize) -> Vec<Recording> {
    let mut streams = recordings(dialect);
    streams.retain(|recording| recording.is_events() && recording.status == 200);
    streams.sort_by_key(|recording| recording.answer.len());
    streams.truncate(count);
    streams
}

/// Cuts the answer's bytes, head and framing included, at every offset; the gateway reads the two parts apart.
fn cut_everywhere(dialect: &str, count: usize) {
    let mut stage = Stage::new();
    for recording in shortest_streams(dialect, count) {
        let mut random = Random(recording.seed());
        let framed =
            Framed::new(200, &recording.fields, &recording.answer, Framing::Chunked(200), &mut random);
        for at in 1..framed.wire.len() {
            let play = Play { pieces: cut(&framed.wire, &[at]), one_by_one: true, closes: false };
            let response = stage.replay(&recording, "x-routerly-trace: none\r\n", play);
            assert_relayed(&recording, &response, &response.body);
            stage.expect_record(&recording, &response, whole_record(&recording));
        }
    }
    assert!(stage.player.upstream.accepted() <= 1, "one connection to the provider served all");
    stage.check_records();
}

#[test]
fn chat_streams_survive_a_cut_at_every_offset() {
    cut_everywhere("openai_chat", 6);
}

#[test]
fn messages_streams_survive_a_cut_at_every_offset() {
    cut_everywhere("anthropic_messages", 3);
}

#[test]
fn a_responses_stream_survives_a_cut_at_every_offset() {
    cut_everywhere("openai_responses", 1);
}

#[test]
fn a_stream_that_breaks_off_is_never_a_silent_end() {
    let mut stage = Stage::new();
    for dialect in ["openai_chat", "openai_responses", "anthropic_messages"] {
        for recording in shortest_streams(dialect, 3) {
            break_off(&mut stage, recording);
        }
    }
    stage.check_records();
}

/// Ends the provider's connection at places of the answer, without the end of its framing.
fn break_off(stage: &mut Stage, mut recording: Recording) {
    if recording.dialect == "openai_chat" {
        // So that nothing is withheld and the bytes can be compared as they are.
        recording.asked["stream_options"] = json!({"include_usage": true});
    }
    let mut random = Random(recording.seed());
    let framed = Framed::new(200, &recording.fields, &recording.answer, Framing::Chunked(200), &mut random);
    for at in random.cuts(40, framed.wire.len() - 1) {
        let play = Play { pieces: vec![framed.wire[..at].to_vec()], one_by_one: false, closes: true };
        let response = stage.replay(&recording, "x-routerly-trace: none\r\n", play);
        if at < framed.head {
            assert_eq!(response.status, 502, "{} cut at {at}", recording.id);
            stage.expect_record(&recording, &response, json!({"outcome": "error"}));
            continue;
        }
        let sent = &recording.answer[..framed.body_within(at)];
        let said = response.body.strip_prefix(sent);
        let said = said.unwrap_or_else(|| panic!("{} cut at {at}: {}", recording.id, response.text()));
        let mark: &[u8] = match recording.dialect.as_str() {
            "openai_chat" => b"[DONE]",
            "openai_responses" => b"event: response.completed",
            _ => b"event: message_stop",
        };
        let marked = sent.windows(mark.len()).rposition(|bytes| bytes == mark);
        let is_whole = marked.is_some_and(|mark| sent[mark..].windows(2).any(|pair| pair == b"\n\n"));
        if is_whole || sent.len() == recording.answer.len() {
            assert_eq!(said, b"", "{} cut at {at}: nothing is added to a whole stream", recording.id);
            stage.expect_record(&recording, &response, json!({"outcome": "success"}));
            continue;
        }
        let error = std::str::from_utf8(said).unwrap();
        let last = reference::blocks(error).pop().and_then(|(_, data)| data).expect("an event");
        let error = match recording.dialect.as_str() {
            "openai_responses" => &last["response"]["error"],
            _ => &last["error"],
        };
        assert!(error["message"].is_string(), "{} cut at {at}: {last}", recording.id);
        stage.expect_record(&recording, &response, json!({"outcome": "error", "endedBy": "provider"}));
    }
}
