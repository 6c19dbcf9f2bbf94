//! Audio and images: small answers of the right kind.
//!
//! Owns bytes that stand for speech, a transcript, and a PNG; none of them means anything. Also the little of
//! multipart that is needed to say what was uploaded.
//!
//! Source: OpenAI API reference, "Audio" and "Images"; RFC 7578 (multipart/form-data); PNG, third edition.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde_json::Value;

use super::errors::Refusal;
use super::pen::Pen;
use super::random::Random;
use super::words::Walk;
use crate::dialect::Dialect;

/// One part of a multipart body.
#[derive(Debug, PartialEq)]
pub(super) struct FormPart<'a> {
    pub(super) name: &'a str,
    pub(super) filename: Option<&'a str>,
    pub(super) bytes: &'a [u8],
}

/// The parts of a `multipart/form-data` body; empty if it is none. Parts without a name are left out.
pub(super) fn form<'a>(content_type: &str, body: &'a [u8]) -> Vec<FormPart<'a>> {
    let Some((_, boundary)) = content_type.split_once("boundary=") else { return Vec::new() };
    let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches('"');
    if boundary.is_empty() {
        return Vec::new();
    }
    let delimiter = format!("--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let marks: Vec<usize> =
        finder.find_iter(body).filter(|&at| at == 0 || body[..at].ends_with(b"\r\n")).collect();
    let section = |pair: &[usize]| {
        let [start, end] = pair else { return None };
        let section = body.get(start + delimiter.len()..end.checked_sub(2)?)?.strip_prefix(b"\r\n")?;
        let head_end = memmem::find(section, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&section[..head_end]).ok()?;
        let bytes = &section[head_end + 4..];
        Some(FormPart { name: parameter(head, "name")?, filename: parameter(head, "filename"), bytes })
    };
    marks.windows(2).filter_map(section).collect()
}

/// The quoted value of `key` in a part's head.
fn parameter<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    head.split([';', '\n'])
        .find_map(|field| field.trim().strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// The answer to `POST /v1/audio/transcriptions`: content type and body.
pub(super) fn transcription(content_type: &str, body: &[u8], random: &mut Random) -> (&'static str, Vec<u8>) {
    let parts = form(content_type, body);
    let format = parts.iter().find(|part| part.name == "response_format").map(|part| part.bytes);
    let mut text = String::new();
    Walk::new(random.bits()).write_raw(24, &mut text);
    if matches!(format, Some(b"text" | b"srt" | b"vtt")) {
        return ("text/plain; charset=utf-8", (text + "\n").into_bytes());
    }
    let mut out = Vec::new();
    Pen(&mut out).raw("{\"text\":").text(&text).raw("}");
    ("application/json", out)
}

/// The answer to `POST /v1/audio/speech`: content type and bytes, 512 for each token of the text.
pub(super) fn speech(body: &[u8], random: &mut Random) -> Result<(&'static str, Vec<u8>), Refusal> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| Refusal::json(Dialect::OpenAiChat, &error))?;
    let input = body.get("input").and_then(Value::as_str);
    let input = input.ok_or_else(|| Refusal::missing(Dialect::OpenAiChat, "input"))?;
    let content_type = match body.get("response_format").and_then(Value::as_str) {
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        _ => "audio/mpeg",
    };
    Ok((content_type, random.bytes(512 * input.chars().count().div_ceil(4).clamp(1, 2_048))))
}

/// The answer to `POST /v1/images/generations`, with `n` images.
pub(super) fn images(body: &[u8], created: u64, random: &mut Random) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let count = body.get("n").and_then(Value::as_u64).unwrap_or(1).clamp(1, 10);
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw("{\"created\":").num(created).raw(",\"data\":[");
    pen.list(0..count, |pen, _| {
        let colour = random.bytes(3);
        pen.raw("{\"b64_json\":\"").raw(&STANDARD.encode(png(&colour))).raw("\"}");
    });
    pen.raw(r#"],"usage":{"input_tokens":8,"output_tokens":64,"total_tokens":72}}"#);
    out
}

/// A PNG of 8 by 8 pixels in one colour (three bytes), its data stored without compression.
fn png(colour: &[u8]) -> Vec<u8> {
    // A row is its filter, none, and its pixels.
    let row = [&[0][..], &colour.repeat(8)].concat();
    let rows = row.repeat(8);
    let length = u16::try_from(rows.len()).expect("eight rows of 25 bytes");
    let mut data = vec![0x78, 0x01, 0x01];
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&(!length).to_le_bytes());
    data.extend_from_slice(&rows);
    data.extend_from_slice(&adler32(&rows).to_be_bytes());

    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 8, 2, 0, 0, 0]);
    chunk(&mut png, b"IDAT", &data);
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    png.extend_from_slice(&u32::try_from(data.len()).expect("a chunk of some hundred bytes").to_be_bytes());
    let start = png.len();
    png.extend_from_slice(name);
    png.extend_from_slice(data);
    let sum = crc32fast::hash(&png[start..]);
    png.extend_from_slice(&sum.to_be_bytes());
}

/// RFC 1950, section 8.2.
fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_of_a_form_are_found() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xx\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n\
            one\r\n--x\r\ntwo\r\n--xx--\r\n";
        let parts = form("multipart/form-data; boundary=\"xx\"", body);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], FormPart { name: "purpose", filename: None, bytes: b"batch" });
        assert_eq!(parts[1], FormPart { name: "file", filename: Some("a.txt"), bytes: b"one\r\n--x\r\ntwo" });
    }

    #[test]
    fn sums_are_those_of_the_standards() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert!(png(&[1, 2, 3]).ends_with(b"IEND\xAE\x42\x60\x82"));
    }

    proptest! {
        #[test]
        fn no_form_is_too_strange(boundary in "[-x]{0,3}", body in "(--x|\r\n|name=\"|;|[a-z]){0,40}") {
            form(&format!("multipart/form-data; boundary={boundary}"), body.as_bytes());
        }
    }
}
