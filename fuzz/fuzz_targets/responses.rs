//! The codec of the Responses dialect takes whatever comes, and reads what it has written.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::dialect::fuzz::responses(input));
