//! Facts of a request agree with a full parse, and editing its bytes is editing the document.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::json::fuzz::facts(input));
