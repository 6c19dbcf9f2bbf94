//! `groundingMetadata`: which web pages a text rests on.
//!
//! Rules: the project's dialect mapping, section 9.4. Positions are UTF-8 bytes here and characters elsewhere; chunks
//! without a URL are documents of Google's, which no other dialect can name.

use std::collections::HashMap;
use std::ops::Range;

use super::fields::{count, lenient, text};
use crate::dialect::ir::{Citation, Text};
use crate::json::scan;
use crate::json::token::Value;
use crate::json::write::Object;

/// A run of bytes of a part's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) part: usize,
    pub(super) bytes: Range<u64>,
}

/// Calls `on_citation` with each source that `raw` names and the text that rests on it: first those of texts, in the
/// order of the texts, then those of the answer as a whole. Their characters are for the caller to fill in.
pub(super) fn read<'a>(raw: &'a [u8], mut on_citation: impl FnMut(Citation<'a>, Option<Segment>)) {
    let Some([chunks, supports]) = lenient(raw, ["groundingChunks", "groundingSupports"]) else { return };
    let Some(chunks) = chunks else { return };
    let mut sources: Vec<(Option<Citation<'a>>, bool)> = Vec::new();
    let _ = scan::elements(chunks.raw, |chunk| sources.push((source(&chunk), false)));
    let _ = supports.map(|supports| {
        scan::elements(supports.raw, |support| {
            let Some([segment, indices]) = lenient(support.raw, ["segment", "groundingChunkIndices"]) else {
                return;
            };
            let (segment, Some(indices)) = (segment.and_then(|value| read_segment(&value)), indices) else {
                return;
            };
            let _ = scan::elements(indices.raw, |index| {
                let index = index.as_count().and_then(|index| usize::try_from(index).ok());
                if let Some((Some(citation), used)) = index.and_then(|index| sources.get_mut(index)) {
                    *used = true;
                    on_citation(citation.clone(), segment.clone());
                }
            });
        })
    });
    for (citation, used) in sources {
        if let Some(citation) = citation
            && !used
        {
            on_citation(citation, None);
        }
    }
}

fn source<'a>(chunk: &Value<'a>) -> Option<Citation<'a>> {
    let kinds = lenient(chunk.raw, ["web", "maps", "retrievedContext"])?;
    let kind = kinds.into_iter().flatten().next()?;
    let [uri, title] = lenient(kind.raw, ["uri", "title"])?;
    let url = text(uri.as_ref()).filter(|url| !url.is_empty())?;
    Some(Citation { url, title: text(title.as_ref()), chars: None })
}

/// Members that are 0 are left out.
fn read_segment(value: &Value<'_>) -> Option<Segment> {
    let [part, start, end] = lenient(value.raw, ["partIndex", "startIndex", "endIndex"])?;
    let [part, start, end] = [part, start, end].map(|value| value.map_or(Some(0), |value| count(&value)));
    Some(Segment { part: usize::try_from(part?).ok()?, bytes: start?..end? })
}

/// Writes `groundingMetadata`, if there is any: each page once, in the order of its first mention.
pub(super) fn write<'c>(
    candidate: &mut Object<'_>,
    citations: impl Iterator<Item = (&'c Citation<'c>, Option<Segment>)> + Clone,
) {
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut pages: Vec<&Citation<'_>> = Vec::new();
    for (citation, _) in citations.clone() {
        numbers.entry(citation.url.escaped()).or_insert_with(|| {
            pages.push(citation);
            pages.len() as u64 - 1
        });
    }
    if pages.is_empty() {
        return;
    }
    candidate.object("groundingMetadata", |metadata| {
        metadata.array("groundingChunks", |chunks| {
            for page in pages {
                chunks.object(|chunk| {
                    chunk.object("web", |web| {
                        web.text("uri", &page.url);
                        web.text("title", page.title.as_ref().unwrap_or(&Text::default()));
                    });
                });
            }
        });
        metadata.array("groundingSupports", |supports| {
            for (citation, segment) in citations {
                let Some(Segment { part, bytes }) = segment else { continue };
                supports.object(|support| {
                    support.object("segment", |segment| {
                        if part > 0 {
                            segment.number("partIndex", part as u64);
                        }
                        segment.number("startIndex", bytes.start);
                        segment.number("endIndex", bytes.end);
                    });
                    support.array("groundingChunkIndices", |indices| {
                        let number = numbers.get(citation.url.escaped()).copied().unwrap_or_default();
                        crate::json::text::append_number(indices.element(), number);
                    });
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write;

    fn cite(url: &'static str) -> Citation<'static> {
        Citation { url: Text::from_plain(url), title: Some(Text::from_plain("t")), chars: None }
    }

    #[test]
    fn supports_name_their_pages_and_the_rest_follows() {
        let raw = r#"{"searchEntryPoint":{},"groundingChunks":[{"web":{"uri":"a","title":"t"}},{"web":{"title":"no uri"}},
            {"retrieved_context":{"uri":"b","title":"t"}},{"web":{"uri":"c","title":"t"}}],
            "groundingSupports":[{"segment":{"endIndex":5,"text":"x"},"groundingChunkIndices":[0,1,2,99,-1]},
            {"segment":{"partIndex":1,"startIndex":7,"endIndex":"9"},"groundingChunkIndices":[0]},{"segment":3},7]}"#;
        let mut read_back = Vec::new();
        read(raw.as_bytes(), |citation, segment| read_back.push((citation, segment)));
        let segment = |part, bytes| Some(Segment { part, bytes });
        assert_eq!(
            read_back,
            [
                (cite("a"), segment(0, 0..5)),
                (cite("b"), segment(0, 0..5)),
                (cite("a"), segment(1, 7..9)),
                (cite("c"), None),
            ]
        );
        let mut out = Vec::new();
        write::object(&mut out, |candidate| {
            write(candidate, read_back.iter().map(|(citation, segment)| (citation, segment.clone())));
        });
        let written = scan::member(&out, "groundingMetadata").expect("metadata").raw;
        let mut again = Vec::new();
        read(written, |citation, segment| again.push((citation, segment)));
        assert_eq!(again, read_back);
    }

    #[test]
    fn nothing_is_read_from_anything_else() {
        for raw in ["{}", "[]", "null", r#"{"groundingChunks":{}}"#, r#"{"groundingSupports":[{}]}"#, "{"] {
            read(raw.as_bytes(), |citation, _| panic!("{citation:?} in {raw}"));
        }
    }
}
