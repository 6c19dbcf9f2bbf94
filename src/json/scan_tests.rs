//! What the scanner takes for JSON, against full parsers.

use super::*;
use crate::json::token::count;

/// Whether the scanner takes `text` for one JSON document.
fn accepts(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().and_then(|_| scanner.end()).is_ok()
}

#[test]
fn the_grammar_is_that_of_serde_json() {
    let texts = [
        "0",
        "-0",
        "01",
        "-",
        "1.",
        ".5",
        "1.5e",
        "1.5e+3",
        "1E-2",
        "+1",
        "12 3",
        "0x1",
        "1e5",
        "--1",
        "\"\"",
        "\"a",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\u00e9\"",
        "\"\\x\"",
        "\"\\",
        "\"\t\"",
        "\"\\/\\b\\f\\n\\r\\t\"",
        "true",
        "tru",
        "truex",
        "nul",
        "null ",
        "[]",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,2]",
        "[[],[[]]]",
        "[1}",
        "{\"a\":1]",
        "{}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":{\"b\":[{}]}}",
        "{a:1}",
        "{\"a\":1}}",
        "",
        " ",
        " \n\t\r1",
        "\u{c}1",
        "{\"a\" : [ ] , \"b\" : { } }",
        "{1:2}",
        "{\"a\":1,\"b\"}",
        "[true,false,null,-1.5e3,\"x\"]",
        "{\"a\":[1,{\"b\":2}",
        "nan",
        "[\"a\",]",
    ];
    for text in texts {
        let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert_eq!(accepts(text.as_bytes()), theirs, "{text}");
    }
}

#[test]
fn absurd_nesting_is_an_error_not_an_overflow() {
    for open in ["[", "{\"a\":", "[{\"b\":"] {
        let text = open.repeat(100_000);
        let fault = Scanner::new(text.as_bytes()).value().expect_err("too deep");
        assert_eq!(fault.kind, FaultKind::TooDeep, "{open}");
    }
    let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(accepts(nested(JSON_DEPTH_MAX).as_bytes()));
    assert!(!accepts(nested(JSON_DEPTH_MAX + 1).as_bytes()));
}

#[test]
fn containers_that_were_entered_count_for_the_depth() {
    let text = ["{\"a\":", &"[".repeat(JSON_DEPTH_MAX), &"]".repeat(JSON_DEPTH_MAX), "}"].concat();
    let mut scanner = Scanner::new(text.as_bytes());
    scanner.enter_object().unwrap();
    scanner.next_key().unwrap();
    assert_eq!(scanner.value().unwrap_err().kind, FaultKind::TooDeep);
}

#[test]
fn the_end_of_a_plain_run_is_found_wherever_it_lies() {
    for len in 0..200 {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                let mut text = vec![filler; len];
                assert_eq!(plain_end(&text, 0), len);
                text.extend([special, b'"', filler]);
                assert_eq!(plain_end(&text, 0), len, "{special} after {len} × {filler}");
            }
        }
    }
}

#[test]
fn counts_are_whole_numbers_however_they_are_written() {
    let cases = [
        ("0", Some(0)),
        ("17", Some(17)),
        ("18446744073709551615", Some(u64::MAX)),
        ("12.0", Some(12)),
        ("1e3", Some(1000)),
        ("1.5", None),
        ("-1", None),
        ("-0.0", Some(0)),
        ("1e300", None),
        ("18446744073709551616", None),
        ("\"12\"", None),
        ("null", None),
        ("", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(count(raw.as_bytes()), expected, "{raw}");
    }
}

#[test]
fn names_are_compared_decoded() {
    let mut scanner = Scanner::new(br#"{"mod\u0065l":1}"#);
    scanner.enter_object().unwrap();
    let key = scanner.next_key().unwrap().expect("one member");
    assert!(key.is("model") && !key.is("mode"));
    assert_eq!(key.matches(&["stream", "model"]), Some(1));
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_as_serde_json_takes_it(text in "[\\[\\]{}:,\"\\\\ntrue0-9.eE+ \\-u\u{1}é]{0,24}") {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        proptest::prop_assert_eq!(accepts(text.as_bytes()), theirs, "{}", text);
    }
}
