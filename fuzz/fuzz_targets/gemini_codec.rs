//! No request, answer or stream of Gemini's dialect makes its codec panic, and what the codec writes is JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::dialect::gemini::fuzz::gemini_codec(input));
