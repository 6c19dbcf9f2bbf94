//! The body of the fuzz target `sse`, also run by the unit tests.

use super::{BlockDecoder, Observer, Step};

type Owned = (Vec<u8>, Vec<u8>);

/// Every way of cutting `input` gives the same events, they are those of a plain reading of the standard, and the
/// blocks cover the stream without gap or overlap.
pub fn run(input: &[u8]) {
    let expected = reference(input);
    let limit = input.len() + 1;
    assert_eq!(observed(limit, &[input]), expected, "in one piece");
    let cuts = if input.len() <= 256 { input.len() } else { 16 };
    for step in 0..=cuts {
        let (head, tail) = input.split_at(step * input.len() / cuts.max(1));
        assert_eq!(observed(limit, &[head, tail]), expected, "cut at {}", head.len());
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(observed(limit, &bytes), expected, "byte by byte");
    assert_eq!(held(input), expected, "held by the caller");
    for limit in [0, 1, 7, 33] {
        assert_eq!(observed(limit, &[input]), observed(limit, &bytes), "with limit {limit}");
    }
}

fn observed(limit: usize, pieces: &[&[u8]]) -> (Vec<Owned>, u64) {
    let mut observer = Observer::with_limit(limit);
    let mut events = Vec::new();
    for piece in pieces {
        observer.feed(piece, |event| events.push((event.name.to_vec(), event.data.to_vec())));
    }
    (events, observer.blocks_unread())
}

/// The stream arrives three bytes at a time in a buffer that the caller keeps.
fn held(input: &[u8]) -> (Vec<Owned>, u64) {
    let mut decoder = BlockDecoder::with_limit(input.len() + 1);
    let (mut events, mut start) = (Vec::new(), 0);
    for end in (0..input.len()).step_by(3).chain([input.len()]) {
        loop {
            match decoder.step(&input[start..end]) {
                Step::Block(block) => {
                    assert!(block.len > 0 && start + block.len <= end);
                    if let Some(event) = block.event {
                        assert_eq!(event.wire, start as u64..(start + block.len) as u64);
                        events.push((event.name.to_vec(), event.data.to_vec()));
                    }
                    start += block.len;
                }
                Step::Unread(len) => panic!("{len} bytes unread below the limit"),
                Step::More => break,
            }
        }
    }
    (events, decoder.blocks_unread())
}

/// The standard's algorithm, word by word, over the whole stream.
fn reference(input: &[u8]) -> (Vec<Owned>, u64) {
    let input = input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input);
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let (mut line, mut at) = (Vec::new(), 0);
    while at < input.len() {
        match input[at] {
            b'\r' | b'\n' => {
                at += if input[at..].starts_with(b"\r\n") { 2 } else { 1 };
                reference_line(&line, &mut events, &mut name, &mut data);
                line.clear();
            }
            byte => {
                line.push(byte);
                at += 1;
            }
        }
    }
    (events, 0)
}

fn reference_line(line: &[u8], events: &mut Vec<Owned>, name: &mut Vec<u8>, data: &mut Vec<u8>) {
    if line.is_empty() {
        if data.pop().is_some() {
            events.push((name.clone(), data.clone()));
        }
        name.clear();
        data.clear();
        return;
    }
    let colon = line.iter().position(|byte| *byte == b':');
    let field = &line[..colon.unwrap_or(line.len())];
    let value = colon.map_or(&[][..], |colon| &line[colon + 1..]);
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match field {
        b"event" => *name = value.to_vec(),
        b"data" => {
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        _ => {}
    }
}
