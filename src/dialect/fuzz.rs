//! The bodies of the fuzz targets `usage_scan`, `messages` and `responses`, also run by the unit tests.

use super::{Dialect, UsageTap, anthropic, openai_responses};

/// Whatever is in a response, no way of cutting it changes what is read from it. The first byte of `input` chooses
/// the dialect and whether the response is a stream.
pub fn usage_scan(input: &[u8]) {
    let Some((choice, wire)) = input.split_first() else { return };
    let dialects =
        [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];
    let dialect = dialects[usize::from(choice & 3)];
    let streaming = choice & 4 != 0;
    let mut whole = UsageTap::new(dialect, streaming);
    whole.feed(wire);
    let whole = whole.finish();
    if let Some(usage) = whole.usage {
        assert!(usage.cached_input <= usage.input && usage.cache_write <= usage.input - usage.cached_input);
        assert!(usage.reasoning <= usage.output);
    }
    let steps = if wire.len() <= 256 { wire.len() } else { 16 };
    for step in 0..=steps {
        let (head, tail) = wire.split_at(step * wire.len() / steps.max(1));
        let mut tap = UsageTap::new(dialect, streaming);
        tap.feed(head);
        tap.feed(tail);
        assert_eq!(tap.finish(), whole, "cut at {}", head.len());
    }
    let mut tap = UsageTap::new(dialect, streaming);
    wire.chunks(1).for_each(|byte| tap.feed(byte));
    assert_eq!(tap.finish(), whole, "byte by byte");
}

/// Whatever a client or a provider of the Messages dialect sends, its codec answers, and reads what it has written. The
/// first byte of `input` chooses what the rest is.
pub fn messages(input: &[u8]) {
    anthropic::fuzz::run(input);
}

/// Whatever a client or a provider of the Responses dialect sends, its codec answers, and reads what it has written. The
/// first byte of `input` chooses what the rest is.
pub fn responses(input: &[u8]) {
    openai_responses::fuzz::run(input);
}
