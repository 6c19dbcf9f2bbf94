//! The field `model` of a multipart form, looked for in its first bytes.

use std::ops::Range;

use memchr::memmem;

use super::body::{BodyError, ClientBody, Piece};
use super::exchange::Exchange;
use crate::limits::{FORM_PEEK_BYTES, MODEL_NAME_BYTES_MAX};

/// A model named in a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The name.
    pub name: String,
    /// Where it stands in the body.
    pub span: Range<usize>,
}

/// Reads the beginning of a form, about [`FORM_PEEK_BYTES`] at most, and looks for the model in it. A form with a
/// large file before its model is routed without it.
///
/// Returns the payload read, which has to be sent on before the rest.
///
/// # Errors
/// Of reading the body.
pub(super) async fn peek(
    exchange: &mut Exchange<'_>,
    body: &mut ClientBody,
    boundary: &str,
) -> Result<(Vec<u8>, Option<Named>), BodyError> {
    let mut seen = Vec::new();
    loop {
        match body.next(exchange)? {
            Piece::Payload(range) => {
                seen.extend_from_slice(&exchange.input.bytes()[range.clone()]);
                exchange.input.consume(range.end);
                let named = find(&seen, boundary);
                if named.is_some() || seen.len() >= FORM_PEEK_BYTES {
                    return Ok((seen, named));
                }
            }
            Piece::Wait => body.wait(exchange).await?,
            Piece::Over => return Ok((seen, None)),
        }
    }
}

/// Finds a complete part with `name="model"` (RFC 7578 section 4.2).
fn find(bytes: &[u8], boundary: &str) -> Option<Named> {
    let delimiter = format!("--{boundary}");
    let starts: Vec<usize> = memmem::find_iter(bytes, delimiter.as_bytes()).collect();
    for pair in starts.windows(2) {
        let part = &bytes[pair[0]..pair[1]];
        let Some(head_end) = memmem::find(part, b"\r\n\r\n") else { continue };
        let head = part[..head_end].to_ascii_lowercase();
        let is_model =
            memmem::find(&head, b"name=\"model\"").is_some() && memmem::find(&head, b"filename").is_none();
        let value = part[head_end + 4..].strip_suffix(b"\r\n");
        if let (true, Some(value)) = (is_model, value) {
            let start = pair[0] + head_end + 4;
            let name = std::str::from_utf8(value).ok().filter(|name| name.len() <= MODEL_NAME_BYTES_MAX)?;
            return Some(Named { name: name.to_owned(), span: start..start + value.len() });
        }
    }
    None
}

/// The boundary of a `multipart/form-data` content type (RFC 2046 section 5.1.1).
pub fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let usable = name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty() && value.len() <= 70;
        usable.then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\nname=\"model\"\r\n\
        --XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--XX--\r\n";

    #[test]
    fn the_model_is_found_where_it_stands() {
        let named = find(FORM, "XX").unwrap();
        assert_eq!(named.name, "whisper-1");
        assert_eq!(&FORM[named.span], b"whisper-1");
    }

    #[test]
    fn a_part_that_is_not_complete_is_not_believed() {
        let end = memmem::find(FORM, b"whisper").unwrap() + 4;
        assert_eq!(find(&FORM[..end], "XX"), None);
    }

    #[test]
    fn boundaries_are_read_quoted_and_bare() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Form-Data; charset=x; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("application/json; boundary=abc"), None);
    }
}
