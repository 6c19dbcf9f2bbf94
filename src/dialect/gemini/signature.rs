//! `thoughtSignature`: Google's own, and other vendors' proofs on their way through this dialect.
//!
//! The member holds bytes, in base64: the SDKs decode it and encode it again, in another alphabet than it came. An
//! envelope of the gateway's therefore travels in base64 as a whole. Google's own values are passed on as they are.
//! Rules: the project's dialect mapping, section 6.2.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::dialect::ir::{Proof, Text, Vendor};
use crate::dialect::proof::{self, ProofKey};

/// How envelopes begin, plain and in base64.
const ENVELOPE: &str = "gw1.";
pub(in crate::dialect) const ENVELOPE_ENCODED: &str = "Z3cxL";

/// What Google takes in place of a signature for a call that its model did not make.
///
/// Source: Gemini API documentation, "Thought signatures".
pub(in crate::dialect) const BYPASS: &str = "skip_thought_signature_validator";

/// The `item_id` of a proof that stands on the text before it. One that stands on a call has the call's id, and any
/// other one a part of its own.
pub(super) const ON_TEXT: &str = "text";

/// The proof as the member's value.
pub(super) fn write<'p>(proof: &'p Proof<'_>, key: &ProofKey) -> Text<'p> {
    let sealed = proof.seal(Vendor::Google, key);
    if sealed.escaped().starts_with(ENVELOPE) {
        Text::from(STANDARD.encode(sealed.escaped()))
    } else {
        sealed
    }
}

/// The proof that a client has sent back; `None`: an envelope that is not of this gateway's making, or damaged.
pub(super) fn read<'a>(sent: Text<'a>, key: &ProofKey) -> Option<Proof<'a>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
    if !sent.escaped().starts_with(ENVELOPE_ENCODED) {
        return proof::open(sent, Vendor::Google, key);
    }
    let digits: Vec<u8> = sent
        .decode()?
        .bytes()
        .map(|digit| match digit {
            b'+' => b'-',
            b'/' => b'_',
            digit => digit,
        })
        .collect();
    let envelope = String::from_utf8(URL_SAFE.decode(digits).ok()?).ok()?;
    if !envelope.starts_with(ENVELOPE) {
        return Some(Proof { vendor: Vendor::Google, item_id: None, data: sent });
    }
    proof::open(Text::from(envelope), Vendor::Google, key)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn an_envelope_survives_an_sdk_that_encodes_it_anew() {
        let key = ProofKey::new(&[7; 32]);
        let proof = Proof {
            vendor: Vendor::Anthropic,
            item_id: Some(Text::from_plain("rs_1")),
            data: Text::from_plain("Eq+/A="),
        };
        let sent = write(&proof, &key);
        assert!(sent.escaped().starts_with(ENVELOPE_ENCODED));
        let bytes = STANDARD.decode(sent.escaped()).unwrap();
        for encoded in
            [sent.escaped().to_owned(), URL_SAFE_NO_PAD.encode(bytes), sent.escaped().replace('/', "\\/")]
        {
            let token = format!("\"{encoded}\"");
            assert_eq!(
                read(Text::from_token(token.as_bytes()).unwrap(), &key),
                Some(proof.clone()),
                "{encoded}"
            );
        }
        assert_eq!(read(sent.borrow(), &ProofKey::new(&[8; 32])), None);
        assert_eq!(read(Text::from_plain("Z3cxL!"), &key), None);
    }

    #[test]
    fn the_vendors_own_goes_as_it_came() {
        let key = ProofKey::new(&[7; 32]);
        let own = Text::from_plain("EqoeCqce-_Adw==");
        let proof = read(own.borrow(), &key).unwrap();
        assert_eq!(proof, Proof { vendor: Vendor::Google, item_id: None, data: own.borrow() });
        assert_eq!(write(&proof, &key), own);
    }
}
