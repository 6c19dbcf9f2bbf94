//! What each codec costs in instructions, which are the same in each run: requests and answers per byte, streams per event.
//!
//! `cargo bench --bench codecs`; needs valgrind, and says so where there is none. Callgrind counts this program twice per
//! case, with one and with three rounds: half the difference is a round, without what comes before and after it. A
//! stream's writer has no events without a reader: what it costs is the two together less the reader.

#[path = "samples/mod.rs"]
mod samples;

use std::hint::black_box;
use std::process::{Command, Stdio};

use routerly::dialect::context::{Ids, Undo};
use routerly::dialect::ir::Vendor;
use routerly::dialect::loss::Losses;
use routerly::dialect::stream::{Reader, Writer};
use routerly::dialect::translate::{Ask, Pair, StreamTranslation, write};
use routerly::dialect::{Dialect, ProofKey, UsageTap};
use routerly::sse::Observer;
use samples::{PAIRS, client, conversation, pieces, stream, target};

const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [case, from, to, rounds] => {
            let number = |word: &String| word.parse().expect("a number");
            run(case, DIALECTS[number(from)], DIALECTS[number(to)], number(rounds));
        }
        _ if has_valgrind() => tables(),
        _ => println!("codecs: NOT MEASURED, valgrind is not installed"),
    }
}

fn has_valgrind() -> bool {
    let version =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The work of one case, `rounds` times. Of cases that concern one dialect `to` is the same.
fn run(case: &str, from: Dialect, to: Dialect, rounds: usize) {
    let proofs = ProofKey::new(&[7; 32]);
    let (body, wire) = (conversation(from), stream(from));
    let events = pieces(&wire);
    let ask = Ask { dialect: from, body: &body, stream: true, proofs: &proofs, strict: false, media: &[] };
    let mut out = Vec::with_capacity(2 * (body.len() + wire.len()));
    match case {
        "read-request" => repeat(rounds, || black_box(black_box(ask).request().is_ok())),
        "write-request" => {
            let request = ask.request().expect("it can be read");
            repeat(rounds, || {
                out.clear();
                let mut losses = Losses::new(to, false);
                write(to, black_box(&request), &target(to), &mut losses, &mut out).is_ok()
            });
        }
        "request" => repeat(rounds, || {
            out.clear();
            black_box(ask).translate(to, &target(to), &mut out).is_ok()
        }),
        "tap" => {
            let mut tap = UsageTap::new(from, true);
            repeat(rounds, || {
                tap.reset(from, true);
                events.iter().for_each(|event| tap.feed(black_box(event)));
                tap.finish().model.is_some() || from == Dialect::Gemini
            });
        }
        "read-stream" => repeat(rounds, || {
            let mut count = 0;
            read(from, &events, &mut |event| {
                black_box(event);
                count += 1;
            });
            count > 0
        }),
        "copy-stream" => repeat(rounds, || {
            out.clear();
            let mut writer = Writer::new(to, client(&proofs), false);
            read(from, &events, &mut |event| writer.event(&event, &mut out));
            !out.is_empty()
        }),
        "stream" => repeat(rounds, || {
            out.clear();
            let pair = Pair { from, vendor: Vendor::Other, to };
            let ids = Ids::new(2);
            let mut translation = StreamTranslation::new(pair, Undo::default(), client(&proofs), ids, false);
            events.iter().for_each(|event| translation.feed(black_box(event), &mut out));
            translation.finish(&mut out);
            translation.failure().is_none()
        }),
        _ => panic!("no case {case}"),
    }
}

fn repeat(rounds: usize, mut work: impl FnMut() -> bool) {
    (0..rounds).for_each(|_| assert!(work(), "the work was done"));
}

/// What `emit` is called with for each event of a stream.
type Emit<'e> = &'e mut dyn FnMut(routerly::dialect::ir::Event<'_>);

fn read(dialect: Dialect, events: &[&[u8]], emit: Emit<'_>) {
    let mut reader = Reader::new(dialect, Vendor::Other, Ids::new(2));
    let mut observer = Observer::new();
    events.iter().for_each(|event| observer.feed(black_box(event), |event| reader.event(&event, emit)));
    reader.end(emit);
}

fn tables() {
    println!("Instructions per byte of a conversation of 100 KB, per event of a stream of texts.\n");
    println!("| codec | read request | write request | read event | write event | tap alone |");
    println!("|---|---:|---:|---:|---:|---:|");
    for dialect in DIALECTS {
        let bytes = conversation(dialect).len() as f64;
        let events = pieces(&stream(dialect)).len() as f64;
        let cost = |case: &str| instructions(case, dialect, dialect);
        let (read, copy) = (cost("read-stream"), cost("copy-stream"));
        println!(
            "| {} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
            dialect.as_str(),
            cost("read-request") / bytes,
            cost("write-request") / bytes,
            read / events,
            (copy - read) / events,
            cost("tap") / events,
        );
    }
    println!("\n| client → model | translate a request, per byte | translate its stream, per event |");
    println!("|---|---:|---:|");
    for (from, to) in PAIRS {
        let bytes = conversation(from).len() as f64;
        let events = pieces(&stream(to)).len() as f64;
        println!(
            "| {} → {} | {:.2} | {:.0} |",
            from.as_str(),
            to.as_str(),
            instructions("request", from, to) / bytes,
            instructions("stream", to, from) / events,
        );
    }
}

/// What a round of a case costs.
fn instructions(case: &str, from: Dialect, to: Dialect) -> f64 {
    let [one, three] = [1, 3].map(|rounds| counted(case, from, to, rounds));
    (three - one) as f64 / 2.0
}

/// Instructions of a whole run of this program.
fn counted(case: &str, from: Dialect, to: Dialect, rounds: usize) -> u64 {
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([case, &from.column().to_string(), &to.column().to_string(), &rounds.to_string()])
        .output()
        .expect("valgrind starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {text}");
    let count = text.split("Collected :").nth(1).and_then(|rest| rest.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{case}: no count in {text}"))
}
