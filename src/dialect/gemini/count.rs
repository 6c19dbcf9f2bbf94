//! `countTokens`. Source: Gemini API reference, "CountTokensRequest", "CountTokensResponse".

use super::fields::{count, lenient, note, object};
use super::read_request::read_members;
use super::write_request::write_members;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::Request;
use crate::dialect::loss::{BadRequest, Losses};
use crate::dialect::members::{self, Path};
use crate::dialect::proof::ProofKey;
use crate::json::text::append_string;
use crate::json::write;

/// Reads a client's request: `contents` and the like at its top (Vertex has the other members there too), or a whole
/// request under `generateContentRequest`.
///
/// # Errors
/// Those of [`super::read_request::read_request`].
pub(in crate::dialect) fn read_count_request<'a>(
    body: &'a [u8],
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    let root = members::document(body)?;
    let [whole] = object(&root, &Path::Root, ["generateContentRequest"], note(&mut Vec::new()))?;
    match whole {
        Some(whole) => {
            read_members(&whole, &Path::Member(&Path::Root, "generateContentRequest"), false, proofs)
        }
        None => read_members(&root, &Path::Root, false, proofs),
    }
}

/// Appends the request for a provider. Google AI counts a request as a whole only under `generateContentRequest`.
///
/// # Errors
/// Those of [`super::write_request::write_request`].
pub(in crate::dialect) fn write_count_request(
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), BadRequest> {
    write::object(out, |root| {
        root.object("generateContentRequest", |whole| {
            let name = target.name.rsplit_once('/').map_or(target.name, |(_, name)| name);
            append_string(whole.member("model"), &format!("models/{name}"));
            write_members(whole, request, target, losses, &mut Undo::default())
        })
    })
}

/// The number in a provider's answer.
pub(in crate::dialect) fn read_count(body: &[u8]) -> Option<u64> {
    let [total] = lenient(body, ["totalTokens"])?;
    count(&total?)
}

/// Appends the answer.
pub(in crate::dialect) fn write_count(total: u64, out: &mut Vec<u8>) {
    write::object(out, |root| root.number("totalTokens", total));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::dialect::ir::Vendor;

    #[test]
    fn both_forms_of_a_request_are_read() {
        let proofs = ProofKey::new(&[7; 32]);
        let plain =
            br#"{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}]}"#;
        let whole = [br#"{"generateContentRequest":"#.as_slice(), plain, b"}"].concat();
        let request = read_count_request(plain, &proofs).unwrap();
        assert_eq!(request.tools.len(), 1);
        assert_eq!(read_count_request(&whole, &proofs).as_ref(), Ok(&request));
        let missing = read_count_request(br#"{"generateContentRequest":{}}"#, &proofs).unwrap_err();
        assert_eq!(missing.to_string(), "`generateContentRequest.contents`: is required");

        let target = TargetModel {
            name: "gemini-2.5-flash",
            vendor: Vendor::Google,
            token_limit_param: "max_tokens",
            output_tokens_default: 1,
            reasoning_field: None,
        };
        let mut out = Vec::new();
        write_count_request(&request, &target, &mut Losses::new(Dialect::Gemini, false), &mut out).unwrap();
        assert!(
            out.starts_with(br#"{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":["#)
        );
        assert_eq!(read_count_request(&out, &proofs), Ok(request));
    }

    #[test]
    fn a_count_comes_back_as_it_was_written() {
        let mut out = Vec::new();
        write_count(31, &mut out);
        assert_eq!(out, br#"{"totalTokens":31}"#);
        assert_eq!(read_count(&out), Some(31));
        assert_eq!(read_count(br#"{"error":{}}"#), None);
        assert_eq!(read_count(b"["), None);
    }
}
