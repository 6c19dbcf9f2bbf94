//! Whatever is translated from one dialect to another, documents come out and streams end once.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::dialect::fuzz::translate(input));
