//! Images, sound and documents inside JSON: data URIs and media types.
//!
//! A medium's type is what its URI says, else what its first bytes are; a file's name says nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::ir::{Media, MediaKind, Source, Text};

/// Base64 digits that are looked at to tell a media type.
const SNIFFED_DIGITS: usize = 24;

/// Where the bytes behind `url` are: in itself if it is a data URI, else there.
///
/// # Errors
/// In words: a data URI that is not base64, or whose type nobody can tell.
pub(super) fn source_of_url(url: Text<'_>) -> Result<Source<'_>, &'static str> {
    if !url.escaped().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Ok(Source::Url(url));
    }
    // Some writers of JSON escape every slash.
    let url = if url.escaped().contains('\\') {
        let plain = url.decode().ok_or("has an unpaired surrogate escape")?.into_owned();
        Text::from(plain)
    } else {
        url
    };
    let escaped = url.escaped();
    let comma = escaped.find(',').ok_or("is a data URI without data")?;
    let mut params = escaped[5..comma].split(';');
    let named = params.next().unwrap_or_default().trim();
    if !params.any(|param| param.trim().eq_ignore_ascii_case("base64")) {
        return Err("is a data URI that is not in base64");
    }
    let media_type = Some(named).filter(|named| named.contains('/')).map(str::to_ascii_lowercase);
    let data = url.slice(comma + 1..escaped.len()).ok_or("is a data URI without data")?;
    base64_source(media_type.map(Text::from), data)
}

/// Bytes in base64, of the type `media_type` or of the one they show.
///
/// # Errors
/// In words: no type is given and none can be told.
pub(super) fn base64_source<'a>(
    media_type: Option<Text<'a>>,
    data: Text<'a>,
) -> Result<Source<'a>, &'static str> {
    let media_type = match media_type.filter(|named| !named.is_empty()) {
        Some(named) => named,
        None => Text::from_plain(sniff(data.escaped()).ok_or("has no media type, and none can be told")?),
    };
    Ok(Source::Base64 { media_type, data })
}

/// The media type that the first bytes of `data`, in base64, are known for.
pub(super) fn sniff(data: &str) -> Option<&'static str> {
    let digits = data.as_bytes();
    let digits = digits[..digits.len().min(SNIFFED_DIGITS)].split(|byte| *byte == b'=').next()?;
    // A whole number of groups, so that the cut leaves no odd digit.
    let bytes = STANDARD_NO_PAD.decode(&digits[..digits.len() / 4 * 4]).ok()?;
    const MAGIC: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"ID3", "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"\xff\xf3", "audio/mpeg"),
        (b"\xff\xf2", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
    ];
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    match (bytes.get(..4), bytes.get(4..8), bytes.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WEBP")) => Some("image/webp"),
        (Some(b"RIFF"), _, Some(b"WAVE")) => Some("audio/wav"),
        (_, Some(b"ftyp"), Some(b"heic" | b"heix")) => Some("image/heic"),
        (_, Some(b"ftyp"), Some(b"M4A ")) => Some("audio/mp4"),
        (_, Some(b"ftyp"), _) => Some("video/mp4"),
        _ => None,
    }
}

/// What a client reads in the place of a medium that its dialect cannot say.
pub(super) fn note(media: &Media<'_>) -> Text<'static> {
    let kind = match media.kind {
        MediaKind::Image => "image",
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    let mut words = match &media.source {
        Source::Base64 { media_type, .. } => {
            let mut words = Text::from_plain("[");
            words.push(media_type);
            words
        }
        Source::Url(url) => {
            let mut words = Text::from(format!("[{kind} at "));
            words.push(url);
            words
        }
        Source::File(_) | Source::Text(_) => Text::from(format!("[{kind}")),
    };
    words.push(&Text::from_plain(": left out, this API has no place for it]"));
    words.into_owned()
}

/// Appends the data URI of bytes in base64 as a JSON string.
pub(super) fn append_data_uri(out: &mut Vec<u8>, media_type: &Text<'_>, data: &Text<'_>) {
    out.extend_from_slice(b"\"data:");
    out.extend_from_slice(media_type.escaped().as_bytes());
    out.extend_from_slice(b";base64,");
    out.extend_from_slice(data.escaped().as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_data_uri_is_taken_apart_and_put_together() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        let base64 = |media_type: &str, data: &str| {
            Ok(Source::Base64 {
                media_type: Text::from(media_type.to_owned()),
                data: Text::from(data.to_owned()),
            })
        };
        let cases = [
            ("https://example.com/a.png", Ok(Source::Url(Text::from_plain("https://example.com/a.png")))),
            ("", Ok(Source::Url(Text::from_plain("")))),
            ("data:image/jpeg;base64,AAAA", base64("image/jpeg", "AAAA")),
            ("DATA:image/JPEG;charset=utf-8;BASE64,AAAA", base64("image/jpeg", "AAAA")),
            (r"data:image\/jpeg;base64,\/9j\/", base64("image/jpeg", "/9j/")),
            (&format!("data:;base64,{png}"), base64("image/png", &png)),
            ("data:;base64,AAAA", Err("has no media type, and none can be told")),
            ("data:text/plain,hello", Err("is a data URI that is not in base64")),
            ("data:image/png;base64", Err("is a data URI without data")),
        ];
        for (url, expected) in cases {
            let token = format!("\"{url}\"");
            let source = source_of_url(Text::from_token(token.as_bytes()).unwrap());
            assert_eq!(source, expected, "{url}");
            if let Ok(Source::Base64 { media_type, data }) = &source {
                let mut out = Vec::new();
                append_data_uri(&mut out, media_type, data);
                assert_eq!(source_of_url(Text::from_token(&out).unwrap()), source);
            }
        }
    }

    #[test]
    fn types_are_told_by_the_first_bytes() {
        let cases: [(&[u8], Option<&str>); 10] = [
            (b"\x89PNG\r\n\x1a\nrest of it", Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x01\x02\x03\x04WAVEfmt ", Some("audio/wav")),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"\0\0\0\x20ftypisom", Some("video/mp4")),
            (b"ID3\x04", Some("audio/mpeg")),
            (b"plain text", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(&STANDARD.encode(bytes)), expected, "{bytes:?}");
        }
        assert_eq!(sniff("no base64 at all"), None);
        assert_eq!(sniff("éééééééééééééééé"), None);
    }
}
