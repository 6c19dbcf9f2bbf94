//! What is read out of the routing model's answer.

use memchr::memmem;

use crate::json::fragment::Text;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::limits::ROUTING_REASON_BYTES_MAX;

/// What the model thinks of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Index of the candidate.
    pub candidate: usize,
    /// Its point, as it was given; the combination of policies puts it into 0 to 1.
    pub point: f64,
    /// Why, where that was wanted and said.
    pub reason: Option<String>,
}

/// The scores in a model's answer, at most one for each candidate, in the order of the answer.
///
/// Prose around it and a code fence do no harm; of an answer that was cut off the whole entries count. Ids that no candidate
/// has are ignored, and so are entries without a number. `None`: no entry at all can be read.
pub fn read_scores(answer: &str, ids: &[&str]) -> Option<Vec<Score>> {
    let mut scores: Vec<Score> = Vec::new();
    let mut read_any = false;
    scan_entries(list(answer)?, |entry| {
        let Some((id, point)) = id_of(&entry).zip(point_of(&entry)) else { return };
        read_any = true;
        let Some(candidate) = ids.iter().position(|known| *known == id) else { return };
        if scores.iter().all(|score| score.candidate != candidate) {
            scores.push(Score { candidate, point, reason: reason_of(&entry) });
        }
    });
    read_any.then_some(scores)
}

/// From the `[` of the entries on: the value of `routing`, or a bare array.
fn list(answer: &str) -> Option<&[u8]> {
    let bytes = answer.as_bytes();
    let from = memmem::find(bytes, b"\"routing\"").map_or(0, |at| at + b"\"routing\"".len());
    let start = from + memchr::memchr(b'[', &bytes[from..])?;
    Some(&bytes[start..])
}

fn scan_entries<'a>(list: &'a [u8], mut on_entry: impl FnMut(Value<'a>)) {
    // A fault is the place where the answer was cut off, or goes on as prose: what stands before it counts.
    let _ = scan::elements(list, |entry| {
        if entry.kind == Kind::Object {
            on_entry(entry);
        }
    });
}

fn id_of(entry: &Value<'_>) -> Option<String> {
    let id = Text::from_token(scan::member(entry.raw, "model")?.raw)?;
    id.decode().map(|id| id.into_owned())
}

/// A number, or a text that is one.
fn point_of(entry: &Value<'_>) -> Option<f64> {
    let point = scan::member(entry.raw, "point")?;
    let digits = point.plain_string().unwrap_or(point.raw);
    let number: f64 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

fn reason_of(entry: &Value<'_>) -> Option<String> {
    let reason = Text::from_token(scan::member(entry.raw, "reason")?.raw)?;
    let reason = reason.decode()?;
    let end = reason.floor_char_boundary(ROUTING_REASON_BYTES_MAX);
    (end > 0).then(|| reason[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: [&str; 3] = ["a/1", "b", "c"];

    fn points(answer: &str) -> Option<Vec<(usize, f64)>> {
        let scores = read_scores(answer, &IDS)?;
        Some(scores.into_iter().map(|score| (score.candidate, score.point)).collect())
    }

    #[test]
    fn scores_are_found_whatever_stands_around_them() {
        let both = Some(vec![(0, 0.9), (1, 0.1)]);
        for (answer, expected) in [
            (r#"{"routing":[{"model":"a/1","point":0.9},{"model":"b","point":0.1}]}"#, both.clone()),
            (
                "```json\n{\"routing\":[{\"model\":\"a/1\",\"point\":0.9},{\"model\":\"b\",\"point\":0.1}]}\n```",
                both.clone(),
            ),
            (
                "Sure! [scores below]\n{ \"routing\" : [ {\"point\": 0.9, \"model\":\"a\\/1\"}, {\"model\":\"b\",\"point\":\"0.1\"} ] } Good luck",
                both.clone(),
            ),
            (r#"[{"model":"a/1","point":0.9},{"model":"b","point":0.1}]"#, both.clone()),
            // Cut off.
            (
                r#"{"routing":[{"model":"a/1","point":0.9},{"model":"b","point":0.1},{"model":"c","po"#,
                both.clone(),
            ),
            (r#"{"routing":[{"model":"a/1","point":0.9},{"model":"b","point":0.1}"#, both.clone()),
            (r#"{"routing":[{"model":"a/1","point":0.9"#, None),
            // Ids that nobody has, ids twice, entries without a number.
            (
                r#"{"routing":[{"model":"x","point":1},{"model":"a/1","point":0.9},{"model":"a/1","point":0.2},{"model":"c"},{"model":"b","point":0.1},7]}"#,
                both,
            ),
            (r#"{"routing":[{"model":"x","point":1}]}"#, Some(vec![])),
            // Beyond 0 to 1: the combination's to clamp.
            (
                r#"{"routing":[{"model":"b","point":7},{"model":"c","point":-1}]}"#,
                Some(vec![(1, 7.0), (2, -1.0)]),
            ),
            (
                r#"{"routing":[{"model":"b","point":null},{"model":"c","point":"high"},{"model":"a/1","point":"NaN"}]}"#,
                None,
            ),
            (r#"{"routing":[]}"#, None),
            ("I would take a/1.", None),
            ("", None),
        ] {
            assert_eq!(points(answer), expected, "{answer}");
        }
    }

    #[test]
    fn a_reason_is_kept_within_its_bound() {
        let long = "é".repeat(ROUTING_REASON_BYTES_MAX);
        let answer =
            format!(r#"[{{"model":"b","point":1,"reason":"{long}"}},{{"model":"c","point":0,"reason":""}}]"#);
        let scores = read_scores(&answer, &IDS).unwrap();
        let kept = scores[0].reason.as_deref().unwrap();
        assert!(long.starts_with(kept) && kept.len() > ROUTING_REASON_BYTES_MAX - 2);
        assert_eq!(scores[1].reason, None);
    }

    proptest! {
        #[test]
        fn a_cut_answer_never_has_more_than_the_whole_one(cut in 0_usize..200, noise in "[ -~]{0,20}") {
            let whole = r#"{"routing":[{"model":"a/1","point":0.9},{"model":"b","point":0.1},{"model":"c","point":0.2}]}"#;
            let cut = &whole[..cut.min(whole.len())];
            let all = points(whole).unwrap();
            if let Some(some) = points(&format!("{cut}{noise}")) {
                prop_assert!(some.len() <= IDS.len());
                prop_assert!(some.iter().zip(&all).take(some.len().saturating_sub(1)).all(|(a, b)| a == b));
            }
        }
    }
}
