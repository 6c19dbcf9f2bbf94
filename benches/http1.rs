//! Heads, chunked bodies and head writing: nanoseconds per message.
//!
//! `cargo bench --bench http1`

use divan::{Bencher, black_box, counter::BytesCount};
use routerly::http1::{
    BodyDecoder, ChunkedRelay, Framing, HeadProgress, KnownField, Method, RelaySink, RequestSlots,
    ResponseSlots, Step, parse_request, parse_response, writer,
};

fn main() {
    divan::main();
}

/// What the OpenAI SDK for Python sends, 647 bytes.
const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.internal:8080\r\n\
    Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.1\r\nX-Stainless-Lang: python\r\n\
    X-Stainless-Package-Version: 1.99.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
    X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.4\r\nX-Stainless-Async: false\r\n\
    x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n\
    Authorization: Bearer sk-rt-0123456789abcdef0123456789abcdef0123456789abcdef\r\nContent-Length: 270\r\n\r\n";

/// What a load generator sends.
const SMALL_REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    Content-Type: application/json\r\nAuthorization: Bearer sk-rt-0123456789abcdef0123456789abcdef\r\n\
    Content-Length: 270\r\n\r\n";

/// What OpenAI answers behind Cloudflare.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Thu, 20 Nov 2025 14:00:00 GMT\r\n\
    Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\
    access-control-expose-headers: X-Request-ID\r\nopenai-organization: user-abc\r\nopenai-processing-ms: 300\r\n\
    openai-project: proj_abc\r\nopenai-version: 2020-10-01\r\nx-envoy-upstream-service-time: 320\r\n\
    x-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 200000\r\n\
    x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-remaining-tokens: 199990\r\n\
    x-ratelimit-reset-requests: 8.64s\r\nx-ratelimit-reset-tokens: 3ms\r\nx-request-id: req_0123456789abcdef\r\n\
    cf-cache-status: DYNAMIC\r\nSet-Cookie: __cf_bm=abc; path=/; HttpOnly; Secure; SameSite=None\r\n\
    Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\nX-Content-Type-Options: nosniff\r\n\
    Server: cloudflare\r\nCF-RAY: 0123456789abcdef-FRA\r\nalt-svc: h3=\":443\"; ma=86400\r\n\r\n";

/// A request to be parsed; the name is printed.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Sdk,
    Small,
}

impl Wire {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Sdk => REQUEST,
            Self::Small => SMALL_REQUEST,
        }
    }
}

mod head {
    use super::*;

    #[divan::bench(args = [Wire::Sdk, Wire::Small])]
    fn request(bencher: Bencher<'_, '_>, wire: Wire) {
        let wire = wire.bytes();
        bencher.counter(BytesCount::of_slice(wire)).bench(|| {
            let mut slots = RequestSlots::new();
            let head = parse_request(black_box(wire), &mut slots);
            head.ok().flatten().map(|head| head.head_bytes)
        });
    }

    /// The share of httparse in the above.
    #[divan::bench(args = [Wire::Sdk, Wire::Small])]
    fn request_tokens_only(bencher: Bencher<'_, '_>, wire: Wire) {
        let wire = wire.bytes();
        bencher.counter(BytesCount::of_slice(wire)).bench(|| {
            let mut room = [const { std::mem::MaybeUninit::uninit() }; 100];
            let mut raw = httparse::Request::new(&mut []);
            raw.parse_with_uninit_headers(black_box(wire), &mut room).is_ok_and(|head| head.is_complete())
        });
    }

    /// The same into initialised room: what clearing 3,200 bytes costs.
    #[divan::bench(args = [Wire::Sdk, Wire::Small])]
    fn request_tokens_only_cleared_room(bencher: Bencher<'_, '_>, wire: Wire) {
        let wire = wire.bytes();
        bencher.counter(BytesCount::of_slice(wire)).bench(|| {
            let mut room = [httparse::EMPTY_HEADER; 100];
            let mut raw = httparse::Request::new(&mut room);
            raw.parse(black_box(wire)).is_ok_and(|head| head.is_complete())
        });
    }

    #[divan::bench]
    fn request_with_progress(bencher: Bencher<'_, '_>) {
        bencher.bench(|| {
            let mut slots = RequestSlots::new();
            let wire = black_box(REQUEST);
            if !HeadProgress::default().worth_parsing(wire) {
                return None;
            }
            parse_request(wire, &mut slots).ok().flatten().map(|head| head.head_bytes)
        });
    }

    #[divan::bench]
    fn response(bencher: Bencher<'_, '_>) {
        bencher.counter(BytesCount::of_slice(RESPONSE)).bench(|| {
            let mut slots = ResponseSlots::new();
            let head = parse_response(black_box(RESPONSE), &mut slots, Method::Post);
            head.ok().flatten().map(|head| head.head_bytes)
        });
    }

    /// Parse, then write the head for the provider: key and host replaced, the rest copied.
    #[divan::bench]
    fn request_forwarded(bencher: Bencher<'_, '_>) {
        let mut out = Vec::with_capacity(2_048);
        bencher.bench_local(move || {
            out.clear();
            let mut slots = RequestSlots::new();
            let Ok(Some(head)) = parse_request(black_box(REQUEST), &mut slots) else { return 0 };
            let mut written = writer::request_line(&mut out, head.method.as_str(), head.path);
            written &= writer::field(&mut out, "host", b"api.openai.com");
            written &=
                writer::field(&mut out, "authorization", b"Bearer sk-0123456789abcdef0123456789abcdef");
            writer::parsed_fields(&mut out, &head.fields, |field| {
                !matches!(
                    field.known(),
                    KnownField::Host | KnownField::Authorization | KnownField::ContentLength
                )
            });
            writer::content_length(&mut out, 270);
            writer::end(&mut out);
            if written { out.len() } else { 0 }
        });
    }
}

mod chunked {
    use super::*;

    /// Chunks of `bytes` payload, 64 KiB in all.
    fn body(bytes: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for _ in 0..64 * 1024 / bytes {
            writer::chunk_header(&mut wire, bytes as u64);
            wire.resize(wire.len() + bytes, b'x');
            wire.extend_from_slice(writer::CRLF);
        }
        wire.extend_from_slice(writer::LAST_CHUNK);
        wire
    }

    #[divan::bench(args = [16, 256, 8_192])]
    fn decode(bencher: Bencher<'_, '_>, bytes: usize) {
        let wire = body(bytes);
        bencher.counter(BytesCount::of_slice(&wire)).bench(|| {
            let (mut decoder, mut at, mut payload) = (BodyDecoder::new(Framing::Chunked), 0, 0);
            while let Ok(Step::Data(range)) = decoder.step(black_box(&wire[at..])) {
                at += range.end;
                payload += range.len();
            }
            payload
        });
    }

    struct Count(usize, usize);

    impl RelaySink for Count {
        fn payload(&mut self, range: std::ops::Range<usize>) {
            self.0 += range.len();
        }

        fn wire(&mut self, range: std::ops::Range<usize>) {
            self.1 += range.len();
        }

        fn framing(&mut self, bytes: &[u8]) {
            self.1 += bytes.len();
        }
    }

    /// One event in one chunk per read, as a provider streams.
    #[divan::bench]
    fn relay_one_event(bencher: Bencher<'_, '_>) {
        let mut wire = Vec::new();
        writer::chunk_header(&mut wire, 256);
        wire.resize(wire.len() + 256, b'x');
        wire.extend_from_slice(writer::CRLF);
        let mut relay = ChunkedRelay::new();
        bencher.bench_local(move || {
            let mut sink = Count(0, 0);
            let progress = relay.relay(black_box(&wire), &mut sink);
            (progress.is_ok(), sink.0, sink.1)
        });
    }
}
