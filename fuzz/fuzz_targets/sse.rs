//! Events do not depend on where a stream is cut and are those of the standard.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::sse::fuzz::run(input));
