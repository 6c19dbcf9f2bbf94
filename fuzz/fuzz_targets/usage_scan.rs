//! What is read from a response does not depend on where it is cut, and agrees with a full parse.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    routerly::dialect::fuzz::usage_scan(input);
    routerly::json::fuzz::tap(input);
});
