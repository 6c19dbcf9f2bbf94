//! Media at URLs for dialects that take them only as bytes: which of them a request has, and the bytes in their place.
//!
//! Fetching is the gateway's. Rules: the project's dialect mapping, section 4.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Dialect;
use super::ir::{Content, MediaKind, Part, Request, Source, Text};
use super::loss::Feature;
use super::media::sniff;

/// A medium that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is; a refusal names it.
    pub feature: Feature,
    /// Where it is.
    pub url: String,
}

/// A medium that has been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it was.
    pub url: String,
    /// Its media type, in lower case and without parameters.
    pub media_type: String,
    /// Its bytes in base64, or as they are where `media_type` is one of text.
    pub data: String,
}

impl Fetched {
    /// What `wanted` turned out to be. `content_type` is the server's word for it.
    ///
    /// # Errors
    /// In words: it is nothing that can stand in that place.
    pub fn new(wanted: &Wanted, content_type: Option<&str>, bytes: &[u8]) -> Result<Self, String> {
        let named = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let mut media_type = named.trim().to_ascii_lowercase();
        if matches!(media_type.as_str(), "" | "application/octet-stream" | "binary/octet-stream") {
            let start = STANDARD.encode(&bytes[..bytes.len().min(24)]);
            sniff(&start).unwrap_or_default().clone_into(&mut media_type);
        }
        let fits = match wanted.feature {
            Feature::ImageUrl => media_type.starts_with("image/"),
            Feature::Audio => media_type.starts_with("audio/"),
            Feature::Video => media_type.starts_with("video/"),
            _ => media_type == "application/pdf" || media_type.starts_with("text/"),
        };
        let is_plain = media_type.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte));
        if !fits || !is_plain {
            let found = if media_type.is_empty() { "of an unknown type" } else { &media_type };
            return Err(format!("what is there is {found}"));
        }
        let data = if media_type.starts_with("text/") {
            String::from_utf8(bytes.to_vec()).map_err(|_| "what is there is text, but not in UTF-8")?
        } else {
            STANDARD.encode(bytes)
        };
        Ok(Self { url: wanted.url.clone(), media_type, data })
    }

    fn source(&self) -> Source<'static> {
        if self.media_type.starts_with("text/") {
            return Source::Text(Text::from(self.data.clone()));
        }
        Source::Base64 {
            media_type: Text::from(self.media_type.clone()),
            data: Text::from(self.data.clone()),
        }
    }
}

/// The media of a request that a model called by `dialect` cannot fetch itself, each URL once.
pub(super) fn wanted(request: &mut Request<'_>, dialect: Dialect) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    each_source(request, dialect, &mut |feature, source| {
        if let Source::Url(url) = source
            && let Some(url) = url.decode().filter(|url| all.iter().all(|known| known.url != *url))
        {
            all.push(Wanted { feature, url: url.into_owned() });
        }
    });
    all
}

/// Puts what has been fetched in its places.
pub(super) fn inline(request: &mut Request<'_>, dialect: Dialect, fetched: &[Fetched]) {
    if fetched.is_empty() {
        return;
    }
    each_source(request, dialect, &mut |_, source| {
        if let Source::Url(url) = source
            && let Some(url) = url.decode()
            && let Some(found) = fetched.iter().find(|found| found.url == url)
        {
            *source = found.source();
        }
    });
}

type OnSource<'f> = dyn FnMut(Feature, &mut Source<'_>) + 'f;

/// Calls `on_source` for each medium whose bytes `dialect` wants to have.
fn each_source(request: &mut Request<'_>, dialect: Dialect, on_source: &mut OnSource<'_>) {
    request.turns.iter_mut().for_each(|turn| each_of(&mut turn.parts, dialect, on_source));
}

fn each_of(parts: &mut [Part<'_>], dialect: Dialect, on_source: &mut OnSource<'_>) {
    let (is_chat, is_gemini) = (dialect == Dialect::OpenAiChat, dialect == Dialect::Gemini);
    for part in parts {
        match &mut part.content {
            Content::Media(media) => {
                let (feature, is_wanted) = match media.kind {
                    MediaKind::Image => (Feature::ImageUrl, is_gemini),
                    MediaKind::Audio => (Feature::Audio, is_gemini || is_chat),
                    MediaKind::Video => (Feature::Video, is_gemini),
                };
                if is_wanted {
                    on_source(feature, &mut media.source);
                }
            }
            Content::Document(document) if is_gemini || is_chat => {
                on_source(Feature::DocumentUrl, &mut document.source);
            }
            Content::ToolResult(result) => each_of(&mut result.parts, dialect, on_source),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(feature: Feature) -> Wanted {
        Wanted { feature, url: "https://example.com/x".to_owned() }
    }

    #[test]
    fn what_is_fetched_is_what_its_head_or_its_first_bytes_say() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (feature, content_type, bytes, expected) in [
            (Feature::ImageUrl, Some("Image/PNG; charset=x"), &b"abc"[..], Ok(("image/png", "YWJj"))),
            (Feature::ImageUrl, None, png, Ok(("image/png", "iVBORw0KGgoAAAANSUhEUg=="))),
            (
                Feature::ImageUrl,
                Some("application/octet-stream"),
                png,
                Ok(("image/png", "iVBORw0KGgoAAAANSUhEUg==")),
            ),
            (Feature::ImageUrl, Some("text/html"), b"<html>", Err("what is there is text/html")),
            (Feature::ImageUrl, Some("application/pdf"), b"%PDF-", Err("what is there is application/pdf")),
            (Feature::ImageUrl, None, b"?", Err("what is there is of an unknown type")),
            (Feature::ImageUrl, Some("image/\"x"), b"?", Err("what is there is image/\"x")),
            (Feature::DocumentUrl, Some("application/pdf"), b"%PDF-", Ok(("application/pdf", "JVBERi0="))),
            (
                Feature::DocumentUrl,
                Some("text/plain;charset=utf-8"),
                "né".as_bytes(),
                Ok(("text/plain", "né")),
            ),
            (
                Feature::DocumentUrl,
                Some("text/plain"),
                b"\xff",
                Err("what is there is text, but not in UTF-8"),
            ),
            (Feature::DocumentUrl, Some("image/png"), png, Err("what is there is image/png")),
            (Feature::Audio, Some("audio/mpeg"), b"ID3", Ok(("audio/mpeg", "SUQz"))),
            (Feature::Video, Some("audio/mpeg"), b"ID3", Err("what is there is audio/mpeg")),
        ] {
            let found = Fetched::new(&wanted(feature), content_type, bytes);
            let found = found.as_ref().map(|found| (found.media_type.as_str(), found.data.as_str()));
            assert_eq!(found.map_err(String::as_str), expected, "{content_type:?}");
        }
    }
}
