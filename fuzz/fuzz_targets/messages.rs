//! The codec of the Messages dialect takes whatever comes, and reads what it has written.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::dialect::fuzz::messages(input));
