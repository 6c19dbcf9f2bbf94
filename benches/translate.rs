//! What a translation costs: a long conversation from each dialect to each other, and a stream per event.
//!
//! `cargo bench --bench translate`. Counters show the cost per event (items) and per byte.

#[path = "samples/mod.rs"]
mod samples;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use routerly::dialect::context::{Ids, Undo};
use routerly::dialect::ir::Vendor;
use routerly::dialect::translate::{Ask, Pair, StreamTranslation};
use routerly::dialect::{Dialect, ProofKey, UsageTap};
use samples::{PAIRS, client, conversation, pieces, stream, target};

fn main() {
    divan::main();
}

#[divan::bench(args = PAIRS)]
fn request(bencher: Bencher<'_, '_>, (from, to): (Dialect, Dialect)) {
    let body = conversation(from);
    let proofs = ProofKey::new(&[7; 32]);
    let ask = Ask { dialect: from, body: &body, stream: true, proofs: &proofs, strict: false, media: &[] };
    let mut out = Vec::with_capacity(2 * body.len());
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        out.clear();
        black_box(black_box(ask).translate(to, &target(to), &mut out)).expect("it can be said")
    });
}

/// A stream that arrives event by event. An untranslated one costs the tap alone: see `tap`.
#[divan::bench(args = PAIRS)]
fn events(bencher: Bencher<'_, '_>, (from, to): (Dialect, Dialect)) {
    let wire = stream(from);
    let events = pieces(&wire);
    let proofs = ProofKey::new(&[7; 32]);
    let mut out = Vec::with_capacity(2 * wire.len());
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        out.clear();
        let pair = Pair { from, vendor: Vendor::Other, to };
        let mut translation =
            StreamTranslation::new(pair, Undo::default(), client(&proofs), Ids::new(2), false);
        for event in &events {
            translation.feed(black_box(event), &mut out);
        }
        translation.finish(&mut out);
        assert!(translation.failure().is_none());
    });
}

#[divan::bench(args = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini])]
fn tap(bencher: Bencher<'_, '_>, dialect: Dialect) {
    let wire = stream(dialect);
    let events = pieces(&wire);
    let mut tap = UsageTap::new(dialect, true);
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        tap.reset(dialect, true);
        events.iter().for_each(|event| tap.feed(black_box(event)));
        tap.finish().usage
    });
}
