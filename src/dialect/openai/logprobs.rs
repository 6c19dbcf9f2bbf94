//! Log probabilities as both dialects have them: a list of
//! `{"token":"Hi","logprob":-0.1,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.1,"bytes":[72,105]}]}`.
//!
//! Source: OpenAI API reference, "The chat completion object" (`choices[].logprobs.content[]`) and "The response object"
//! (`output_text.logprobs[]`).

use crate::dialect::ir::{Chance, Raw, Text, TokenLogprob};
use crate::json::scan;
use crate::json::text::append_number;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};

/// Reads the elements of such a list; what is none is passed over.
pub(in crate::dialect) fn read_logprobs<'a>(list: &Value<'a>, tokens: &mut Vec<TokenLogprob<'a>>) {
    if list.kind == Kind::Array {
        let _ = scan::elements(list.raw, |element| tokens.extend(read_token(&element)));
    }
}

fn read_token<'a>(element: &Value<'a>) -> Option<TokenLogprob<'a>> {
    let (chosen, others) = read_chance(element)?;
    let mut top = Vec::new();
    if let Some(others) = others {
        let _ = scan::elements(others.raw, |other| top.extend(read_chance(&other).map(|(chance, _)| chance)));
    }
    Some(TokenLogprob { chosen, top })
}

/// A token, and its `top_logprobs`.
fn read_chance<'a>(element: &Value<'a>) -> Option<(Chance<'a>, Option<Value<'a>>)> {
    let (mut token, mut logprob, mut bytes, mut others) = (None, None, None, None);
    scan::members(element.raw, |key, value| {
        match (key.matches(&["token", "logprob", "bytes", "top_logprobs"]), value.kind) {
            (Some(0), Kind::String) => token = Text::from_token(value.raw),
            (Some(1), Kind::Number) => logprob = Raw::from_scanned(value.raw),
            (Some(2), Kind::Array) => bytes = Raw::from_scanned(value.raw),
            (Some(3), Kind::Array) => others = Some(value),
            _ => {}
        }
    })
    .ok()?;
    Some((Chance { token: token?, logprob: logprob?, bytes }, others))
}

/// Appends tokens to the elements of such a list, joined by commas.
pub(in crate::dialect) fn append_logprobs(run: &mut Vec<u8>, tokens: &[TokenLogprob<'_>]) {
    for TokenLogprob { chosen, top } in tokens {
        if !run.is_empty() {
            run.push(b',');
        }
        write::object(run, |object| {
            write_chance(object, chosen);
            object.array("top_logprobs", |list| {
                top.iter().for_each(|chance| list.object(|object| write_chance(object, chance)));
            });
        });
    }
}

fn write_chance(object: &mut Object<'_>, chance: &Chance<'_>) {
    object.text("token", &chance.token);
    object.raw("logprob", &chance.logprob);
    match (&chance.bytes, chance.token.decode()) {
        (Some(bytes), _) => object.raw("bytes", bytes),
        (None, Some(token)) => object.array("bytes", |bytes| {
            token.bytes().for_each(|byte| append_number(bytes.element(), u64::from(byte)));
        }),
        (None, None) => object.null("bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scanner;

    fn read(json: &str) -> Vec<TokenLogprob<'_>> {
        let mut tokens = Vec::new();
        read_logprobs(&Scanner::new(json.as_bytes()).value().unwrap(), &mut tokens);
        tokens
    }

    #[test]
    fn what_is_read_is_written_again() {
        let json = r#"{"token":"\u00e9","logprob":-5.2e-05,"bytes":[195,169],"top_logprobs":[{"token":"e","logprob":-9999.0,"bytes":[101]}]},{"token":"","logprob":0,"bytes":[],"top_logprobs":[]}"#;
        let list = format!("[{json}]");
        let tokens = read(&list);
        assert_eq!((tokens.len(), tokens[0].top.len()), (2, 1));
        let mut run = Vec::new();
        append_logprobs(&mut run, &tokens[..1]);
        append_logprobs(&mut run, &tokens[1..]);
        assert_eq!(String::from_utf8(run).unwrap(), json);
    }

    #[test]
    fn bytes_that_nobody_says_are_those_of_the_text() {
        let mut run = Vec::new();
        append_logprobs(&mut run, &read(r#"[{"token":"a\u00e9","logprob":-1,"bytes":null}]"#));
        let expected = r#"{"token":"a\u00e9","logprob":-1,"bytes":[97,195,169],"top_logprobs":[]}"#;
        assert_eq!(String::from_utf8(run).unwrap(), expected);
    }

    #[test]
    fn what_is_no_token_is_passed_over() {
        for json in [
            "null",
            "{}",
            "[]",
            "[1,\"a\",null,{}]",
            r#"[{"token":1,"logprob":-1}]"#,
            r#"[{"token":"a","logprob":"-1"}]"#,
            r#"[{"token":"a"}]"#,
        ] {
            assert_eq!(read(json), [], "{json}");
        }
    }
}
