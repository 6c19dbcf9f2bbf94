//! See `routerly::http1::fuzz` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerly::http1::fuzz::fuzz_response_head(data));
