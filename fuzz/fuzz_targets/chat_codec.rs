//! Requests, answers and streams of chat are taken or refused, and what is taken is written as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| routerly::dialect::openai_chat::fuzz::chat_codec(input));
