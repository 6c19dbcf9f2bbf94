//! The bodies of the fuzz targets over their seeds and over every small mutation of each.

use std::fs;
use std::path::Path;

use crate::http1::fuzz::{fuzz_chunked, fuzz_request_head, fuzz_response_head};

/// Bytes that mean something to one of the grammars.
const INTERESTING: &[u8] = b"\r\n \t\0:;,=\"\\0fG*/#%\x7f\x80";

/// Calls `body` with each seed of `target`, and with the seed after each replacement, insertion and deletion of
/// one byte.
fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let seed = fs::read(entry.expect("readable").path()).expect("readable");
        seeds += 1;
        body(&seed);
        for at in 0..seed.len() {
            let mut mutated = seed.clone();
            mutated.remove(at);
            body(&mutated);
            for byte in INTERESTING {
                mutated.clone_from(&seed);
                mutated[at] = *byte;
                body(&mutated);
                mutated.insert(at, *byte);
                body(&mutated);
            }
        }
    }
    assert!(seeds > 0, "no seeds in {}", folder.display());
}

#[test]
fn request_heads_hold_their_properties_around_every_seed() {
    run("request_head", fuzz_request_head);
}

#[test]
fn response_heads_hold_their_properties_around_every_seed() {
    run("response_head", fuzz_response_head);
}

#[test]
fn chunked_bodies_hold_their_properties_around_every_seed() {
    run("chunked", fuzz_chunked);
}
