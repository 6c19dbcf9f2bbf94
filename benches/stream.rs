//! What the rooms that look into bodies cost: events of a stream, usage, facts of a request.
//!
//! `cargo bench --bench stream`. Counters show the cost per event (items) and per byte.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use routerly::dialect::openai_chat::is_usage_only_chunk;
use routerly::dialect::{Dialect, UsageTap};
use routerly::json::facts::request_facts;
use routerly::json::splice::{Edits, Splices};
use routerly::sse::{BlockDecoder, Observer, Step};

fn main() {
    divan::main();
}

/// Text chunks in a stream, as many as a short answer has.
const CHUNKS: usize = 100;

/// A chat stream as OpenAI sends it when usage is asked for: every chunk says `"usage":null`.
fn chat_stream() -> Vec<u8> {
    let head = r#"{"id":"chatcmpl-DmfZu2BjJmBGSSHpj9hWtFQYBUxYn","object":"chat.completion.chunk","created":1780491942,"model":"gpt-5.2-2025-12-11","service_tier":"default","system_fingerprint":"fp_a1b2c3d4e5","#;
    let mut wire = String::new();
    for index in 0..CHUNKS {
        wire.push_str(&format!(
            "data: {head}\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{index}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"8A9QeP6E\"}}\n\n"
        ));
    }
    wire.push_str(&format!(
        "data: {head}\"choices\":[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":null}}\n\n"
    ));
    wire.push_str(&format!("data: {head}\"choices\":[],\"usage\":{USAGE}}}\n\ndata: [DONE]\n\n"));
    wire.into_bytes()
}

const USAGE: &str = r#"{"prompt_tokens":120,"completion_tokens":100,"total_tokens":220,"prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":12,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;

/// An Anthropic stream of one text block.
fn anthropic_stream() -> Vec<u8> {
    let mut wire = String::from(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5\",\"id\":\"msg_01\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n",
    );
    for index in 0..CHUNKS {
        wire.push_str(&format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" word{index}\"}}}}\n\n"
        ));
    }
    wire.push_str("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":100}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    wire.into_bytes()
}

fn chat_body(text_bytes: usize) -> Vec<u8> {
    let text =
        "Lorem ipsum dolor sit amet, \\\"consetetur\\\" sadipscing elitr.\\n".repeat(text_bytes / 64 + 1);
    format!(
        r#"{{"id":"chatcmpl-DmfZu2BjJmBGSSHpj9hWtFQYBUxYn","object":"chat.completion","created":1780491942,"model":"gpt-5.2-2025-12-11","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{USAGE},"service_tier":"default","system_fingerprint":null}}"#
    )
    .into_bytes()
}

/// A request of about `bytes` bytes.
fn request(bytes: usize) -> Vec<u8> {
    let mut body = String::from(
        r#"{"model":"gpt-4o-mini","stream":true,"temperature":0.7,"max_tokens":256,"messages":[{"role":"system","content":"You are a helpful assistant."}"#,
    );
    while body.len() + 80 < bytes {
        let text = "Tell me a story, with \\\"quotes\\\" and ünïcode. "
            .repeat(((bytes - body.len()) / 55).clamp(1, 10));
        body.push_str(&format!(r#",{{"role":"user","content":"{text}"}}"#));
    }
    body.push_str("]}");
    body.into_bytes()
}

#[divan::bench]
fn sse_scan_chat_stream(bencher: Bencher<'_, '_>) {
    let wire = chat_stream();
    bencher.counter(ItemsCount::new(CHUNKS + 3)).counter(BytesCount::of_slice(&wire)).bench(|| {
        let mut data = 0;
        Observer::new().feed(black_box(&wire), |event| data += event.data.len());
        data
    });
}

#[divan::bench]
fn sse_scan_chat_stream_event_by_event(bencher: Bencher<'_, '_>) {
    let wire = chat_stream();
    let mut events = vec![];
    let mut decoder = BlockDecoder::new();
    let mut rest = wire.as_slice();
    while let Step::Block(block) = decoder.step(rest) {
        let (event, tail) = rest.split_at(block.len);
        events.push(event);
        rest = tail;
    }
    bencher.counter(ItemsCount::new(events.len())).counter(BytesCount::of_slice(&wire)).bench(|| {
        let (mut observer, mut data) = (Observer::new(), 0);
        for event in &events {
            observer.feed(black_box(event), |event| data += event.data.len());
        }
        data
    });
}

#[divan::bench]
fn sse_hold_and_look_for_the_usage_chunk(bencher: Bencher<'_, '_>) {
    let wire = chat_stream();
    bencher.counter(ItemsCount::new(CHUNKS + 3)).bench(|| {
        let (mut decoder, mut rest, mut withheld) = (BlockDecoder::new(), black_box(wire.as_slice()), 0);
        while let Step::Block(block) = decoder.step(rest) {
            withheld += usize::from(block.event.is_some_and(|event| is_usage_only_chunk(&event.data)));
            rest = &rest[block.len..];
        }
        withheld
    });
}

fn bench_tap(bencher: Bencher<'_, '_>, dialect: Dialect, streaming: bool, wire: &[u8], items: usize) {
    let mut tap = UsageTap::new(dialect, streaming);
    bencher.counter(ItemsCount::new(items)).counter(BytesCount::of_slice(wire)).bench_local(|| {
        tap.reset(dialect, streaming);
        tap.feed(black_box(wire));
        tap.finish().usage.expect("usage is reported")
    });
}

#[divan::bench]
fn usage_chat_stream(bencher: Bencher<'_, '_>) {
    bench_tap(bencher, Dialect::OpenAiChat, true, &chat_stream(), CHUNKS + 3);
}

#[divan::bench]
fn usage_anthropic_stream(bencher: Bencher<'_, '_>) {
    bench_tap(bencher, Dialect::AnthropicMessages, true, &anthropic_stream(), CHUNKS + 3);
}

#[divan::bench(args = [256, 4096])]
fn usage_chat_body(bencher: Bencher<'_, '_>, text_bytes: usize) {
    bench_tap(bencher, Dialect::OpenAiChat, false, &chat_body(text_bytes), 1);
}

#[divan::bench]
fn usage_embeddings_body(bencher: Bencher<'_, '_>) {
    let numbers = vec!["-0.009327292"; 1536].join(",");
    let body = format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{numbers}]}}],"model":"m","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#
    );
    bench_tap(bencher, Dialect::OpenAiChat, false, body.as_bytes(), 1);
}

#[divan::bench(args = [270, 100_000])]
fn facts_of_a_request(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = request(bytes);
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| request_facts(black_box(&body)).expect("a valid body").members);
}

/// For comparison: the same walk by sonic-rs' checked iterator, which recurses and finds no facts.
#[divan::bench(args = [270, 100_000])]
fn facts_by_sonic_rs_iterator(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = request(bytes);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let members = sonic_rs::to_object_iter(black_box(body.as_slice()));
        members.map(|member| usize::from(member.is_ok())).sum::<usize>()
    });
}

#[divan::bench]
fn splice_model_and_usage(bencher: Bencher<'_, '_>) {
    let body = request(270);
    let facts = request_facts(&body).expect("a valid body");
    let mut splices = Splices::new();
    let edits = Edits { model: Some("gpt-4o-mini-2024-07-18"), include_usage: true, ..Edits::default() };
    bencher.bench_local(|| {
        splices.plan(black_box(&body), &facts, &edits).expect("facts are of this body");
        splices.segments(&body).map(<[u8]>::len).sum::<usize>()
    });
}

/// The floor of a scan: finding the line ends and nothing else.
#[divan::bench]
fn sse_floor_line_ends(bencher: Bencher<'_, '_>) {
    let wire = chat_stream();
    bencher
        .counter(ItemsCount::new(CHUNKS + 3))
        .counter(BytesCount::of_slice(&wire))
        .bench(|| memchr::memchr2_iter(b'\n', b'\r', black_box(&wire)).count());
}
