//! How thoughts and their proofs travel through a chat client and come back.
//!
//! A client gets the text of all thoughts of an answer as one `reasoning_content`, and each proof as an element of
//! `reasoning_details`, in an envelope (see [`crate::dialect::proof`]) together with the place of its text in there:
//!
//! ```text
//! reasoning_content: "First thought.Second thought."
//! reasoning_details: [{"type":"reasoning.encrypted","format":"gateway-v1","index":0,"data":"gw1.…"}]
//!                                                     in it: `14+15:<proof>`, or `r:<proof>` of a redacted thought
//! ```
//!
//! Places are counted in UTF-16 units, which are the same however a client escapes the text. A proof whose text did not
//! come back is no use to Anthropic and is left out; those of others stand without it.

use crate::dialect::ProofKey;
use crate::dialect::ir::{Content, Part, Proof, Text, Vendor};
use crate::dialect::proof;
use crate::json::write::Array;

/// A stretch of an answer's thoughts, in UTF-16 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// Writes the element of `reasoning_details` that carries `proof`; without a place it is of a redacted thought.
pub(super) fn append_detail(
    details: &mut Array<'_>,
    index: u64,
    proof: &Proof<'_>,
    place: Option<Place>,
    key: &ProofKey,
) {
    let mut data = match place {
        Some(Place { start, length }) => Text::from(format!("{start}+{length}:")),
        None => Text::from_plain("r:"),
    };
    data.push(&proof.data);
    let placed = Proof { vendor: proof.vendor, item_id: proof.item_id.as_ref().map(Text::borrow), data };
    details.object(|detail| {
        detail.plain("type", "reasoning.encrypted");
        detail.plain("format", "gateway-v1");
        detail.number("index", index);
        detail.text("data", &placed.seal(Vendor::Other, key));
    });
}

/// A proof that came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Detail<'a> {
    proof: Proof<'a>,
    place: Option<Place>,
}

/// Reads the `data` of an element of `reasoning_details`; `None` if it is not of this gateway's making.
pub(super) fn open_detail<'a>(data: Text<'a>, key: &ProofKey) -> Option<Detail<'a>> {
    let proof = open_envelope(data, key)?;
    let (head, _) = proof.data.escaped().split_once(':')?;
    let place = match head.split_once('+') {
        Some((start, length)) => Some(Place { start: start.parse().ok()?, length: length.parse().ok()? }),
        None => (head == "r").then_some(None)?,
    };
    let data = proof.data.slice(head.len() + 1..proof.data.escaped().len())?;
    Some(Detail { proof: Proof { data, ..proof }, place })
}

/// Opens an envelope; a proof that is in none is a foreign one and nothing here.
pub(super) fn open_envelope<'a>(data: Text<'a>, key: &ProofKey) -> Option<Proof<'a>> {
    proof::open(data, Vendor::Other, key).filter(|proof| proof.vendor != Vendor::Other)
}

/// Puts the thoughts of an answer together again from their text and their proofs.
pub(super) fn restore<'a>(text: Option<Text<'a>>, details: Vec<Detail<'a>>, parts: &mut Vec<Part<'a>>) {
    let mut push = |text: Text<'a>, proof: Option<Proof<'a>>, redacted: bool| {
        if proof.is_some() || !text.is_empty() {
            parts.push(Part::from(Content::Thinking { text, proof, redacted }));
        }
    };
    let text = text.unwrap_or_default();
    // Bytes and units of the text that are used up; `None` once a place was not found: the text is another one.
    let mut used = Some((0, 0));
    let mut rest = 0;
    for Detail { proof, place } in details {
        let Some(place) = place else {
            push(Text::default(), Some(proof), true);
            continue;
        };
        let found = used.and_then(|(bytes, units)| {
            let start = bytes + bytes_of(&text.escaped()[bytes..], place.start.checked_sub(units)?)?;
            let end = start + bytes_of(&text.escaped()[start..], place.length)?;
            Some((bytes, start, end))
        });
        match found {
            Some((bytes, start, end)) => {
                push(text.slice(bytes..start).unwrap_or_default(), None, false);
                push(text.slice(start..end).unwrap_or_default(), Some(proof), false);
                rest = end;
                used = Some((end, place.start.saturating_add(place.length)));
            }
            None => {
                used = None;
                if proof.vendor != Vendor::Anthropic {
                    push(Text::default(), Some(proof), false);
                }
            }
        }
    }
    push(text.slice(rest..text.escaped().len()).unwrap_or_default(), None, false);
}

/// UTF-16 units that a text, or a piece of one, stands for.
pub(super) fn units(text: &Text<'_>) -> u64 {
    let escaped = text.escaped().as_bytes();
    let of_byte = |byte: &u8| u64::from(byte & 0xC0 != 0x80) + u64::from(*byte >= 0xF0);
    let raw: u64 = escaped.iter().map(of_byte).sum();
    let (mut overhead, mut rest) = (0, escaped);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let length = escape_length(&rest[at..]);
        overhead += length as u64 - 1;
        rest = rest.get(at + length..).unwrap_or_default();
    }
    raw.saturating_sub(overhead)
}

/// Bytes of the front of `escaped` that stand for exactly so many UTF-16 units.
fn bytes_of(escaped: &str, units: u64) -> Option<usize> {
    let bytes = escaped.as_bytes();
    let (mut at, mut left) = (0, units);
    while left > 0 {
        let (length, taken) = match *bytes.get(at)? {
            b'\\' => (escape_length(&bytes[at..]), 1),
            0..0x80 => (1, 1),
            0x80..0xE0 => (2, 1),
            0xE0..0xF0 => (3, 1),
            0xF0.. => (4, 2),
        };
        left = left.checked_sub(taken)?;
        at += length;
    }
    escaped.is_char_boundary(at).then_some(at)
}

fn escape_length(escaped: &[u8]) -> usize {
    if escaped.get(1) == Some(&b'u') { 6 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write;

    fn proof(vendor: Vendor, data: &str) -> Proof<'_> {
        Proof { vendor, item_id: None, data: Text::from_plain(data) }
    }

    fn thinking<'a>(text: &'a str, proof: Option<Proof<'a>>, redacted: bool) -> Part<'a> {
        Content::Thinking { text: Text::from_plain(text), proof, redacted }.into()
    }

    fn sealed(proof: &Proof<'_>, place: Option<Place>, key: &ProofKey) -> String {
        let mut out = Vec::new();
        write::array(&mut out, |details| append_detail(details, 3, proof, place, key));
        let details: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(details[0]["type"], "reasoning.encrypted");
        assert_eq!(details[0]["index"], 3);
        details[0]["data"].as_str().unwrap().to_owned()
    }

    #[test]
    fn units_are_the_same_however_a_text_is_escaped() {
        for (escaped, count) in [
            ("", 0),
            ("abc", 3),
            ("é→😀", 4),
            (r"\u00e9\u2192\ud83d\ude00", 4),
            (r#"a\n\"\\"#, 4),
            (r"\ud83d", 1),
        ] {
            let text = Text::from_token(format!("\"{escaped}\"").as_bytes()).unwrap().into_owned();
            assert_eq!(units(&text), count, "{escaped}");
            assert_eq!(bytes_of(escaped, count), Some(escaped.len()), "{escaped}");
            assert_eq!(bytes_of(escaped, count + 1), None, "{escaped}");
        }
        assert_eq!(bytes_of("😀", 1), None, "half of a character");
    }

    #[test]
    fn thoughts_come_back_in_their_order_with_their_proofs() {
        let key = ProofKey::new(&[1; 32]);
        let place = |start, length| Some(Place { start, length });
        let details = || {
            vec![
                (proof(Vendor::Anthropic, "sig1"), place(3, 4)),
                (proof(Vendor::Anthropic, "hidden"), None),
                (proof(Vendor::Google, "sig2"), place(9, 0)),
            ]
        };
        let opened = |details: Vec<(Proof<'static>, Option<Place>)>| -> Vec<Detail<'static>> {
            let open = |(proof, place): (Proof<'static>, _)| {
                let data = sealed(&proof, place, &key);
                let detail = open_detail(Text::from(data), &key).unwrap();
                assert_eq!(detail, Detail { proof, place });
                detail
            };
            details.into_iter().map(open).collect()
        };
        let mut parts = Vec::new();
        restore(Some(Text::from_plain("abcd😀efg!!")), opened(details()), &mut parts);
        let expected = [
            thinking("abc", None, false),
            thinking("d😀e", Some(proof(Vendor::Anthropic, "sig1")), false),
            thinking("", Some(proof(Vendor::Anthropic, "hidden")), true),
            thinking("fg", None, false),
            thinking("", Some(proof(Vendor::Google, "sig2")), false),
            thinking("!!", None, false),
        ];
        assert_eq!(parts, expected);

        let mut parts = Vec::new();
        restore(None, opened(details()), &mut parts);
        let expected = [
            thinking("", Some(proof(Vendor::Anthropic, "hidden")), true),
            thinking("", Some(proof(Vendor::Google, "sig2")), false),
        ];
        assert_eq!(parts, expected, "the client left the text out");
    }

    #[test]
    fn foreign_and_damaged_details_are_nothing() {
        let key = ProofKey::new(&[1; 32]);
        let good = sealed(&proof(Vendor::Anthropic, "x"), None, &key);
        let other_key = ProofKey::new(&[2; 32]);
        assert_eq!(open_detail(Text::from(good), &other_key), None);
        for data in ["", "EqQB", "gw1.a.b.c"] {
            assert_eq!(open_detail(Text::from_plain(data), &key), None, "{data}");
        }
        // An envelope of a call's signature, which has no place in it.
        let bare = proof(Vendor::Google, "sig").seal(Vendor::Other, &key).into_owned();
        assert_eq!(open_detail(bare.borrow(), &key), None);
        assert_eq!(open_envelope(bare.borrow(), &key), Some(proof(Vendor::Google, "sig")));
    }
}
