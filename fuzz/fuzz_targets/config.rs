//! Configuration files out of arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| routerly::config::fuzz::check_any(data));
