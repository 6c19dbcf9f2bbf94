//! Carries a provider's proof of its thoughts through a dialect of another one.
//!
//! A client sends back what it got. So that a proof comes back to its maker and to nobody else, it travels in an envelope
//! that names him, under a MAC of the gateway's: `gw1.<vendor>.<payload>.<tag>`, all base64url. What is no envelope of
//! ours is a proof of the dialect's own vendor. Rules: the project's dialect mapping, section 6.2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::ir::{Proof, Text, Vendor};

pub(super) const PREFIX: &str = "gw1.";
/// Bytes of the MAC that travel: half of SHA-256's.
const TAG_BYTES: usize = 16;

/// The gateway's key for envelopes; every process of one home derives the same one.
#[derive(Clone)]
pub struct ProofKey(hmac::Key);

impl ProofKey {
    /// From 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl std::fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofKey")
    }
}

impl Proof<'_> {
    /// The proof as it travels in a dialect whose vendor is `native`: as it is, or in an envelope.
    pub(super) fn seal(&self, native: Vendor, key: &ProofKey) -> Text<'_> {
        if self.vendor == native && self.vendor != Vendor::Other {
            return self.data.borrow();
        }
        let item_id = self.item_id.as_ref().map_or("", Text::escaped);
        let payload = format!("{item_id}\n{}", self.data.escaped());
        let body = format!("{PREFIX}{}.{}", letter(self.vendor), URL_SAFE_NO_PAD.encode(payload));
        let tag = hmac::sign(&key.0, body.as_bytes());
        Text::from(format!("{body}.{}", URL_SAFE_NO_PAD.encode(&tag.as_ref()[..TAG_BYTES])))
    }
}

/// Reads what came back in a dialect whose vendor is `native`. `None`: an envelope that is not of this gateway's making,
/// or damaged.
pub(super) fn open<'a>(sent: Text<'a>, native: Vendor, key: &ProofKey) -> Option<Proof<'a>> {
    let Some(rest) = sent.escaped().strip_prefix(PREFIX) else {
        return Some(Proof { vendor: native, item_id: None, data: sent });
    };
    let (head, tag) = rest.rsplit_once('.')?;
    let (vendor, payload) = head.split_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    let signed = hmac::sign(&key.0, format!("{PREFIX}{head}").as_bytes());
    // The tag is cut, so that `hmac::verify` cannot be used.
    let differs = tag.iter().zip(&signed.as_ref()[..TAG_BYTES]).fold(0, |acc, (a, b)| acc | (a ^ b));
    if tag.len() != TAG_BYTES || std::hint::black_box(differs) != 0 {
        return None;
    }
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let (item_id, data) = payload.split_once('\n')?;
    let vendor = [Vendor::OpenAi, Vendor::Anthropic, Vendor::Google, Vendor::Other]
        .into_iter()
        .find(|known| letter(*known) == vendor)?;
    let text = |escaped: &str| {
        let token = format!("\"{escaped}\"");
        Text::from_token(token.as_bytes()).map(Text::into_owned)
    };
    let item_id = if item_id.is_empty() { None } else { text(item_id) };
    Some(Proof { vendor, item_id, data: text(data)? })
}

fn letter(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::OpenAi => "o",
        Vendor::Anthropic => "a",
        Vendor::Google => "g",
        Vendor::Other => "x",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Proof<'static> {
        Proof {
            vendor: Vendor::OpenAi,
            item_id: Some(Text::from_plain("rs_1")),
            data: Text::from_plain("gAAAA\\/b\"="),
        }
    }

    #[test]
    fn a_proof_comes_back_to_its_maker() {
        let key = ProofKey::new(&[7; 32]);
        let original = proof();
        let sealed = original.seal(Vendor::Anthropic, &key);
        assert!(sealed.escaped().starts_with("gw1.o."));
        assert_eq!(open(sealed.borrow(), Vendor::Anthropic, &key), Some(proof()));
        let native = original.seal(Vendor::OpenAi, &key);
        assert_eq!(native, original.data, "at home it goes as it is");
    }

    #[test]
    fn a_forged_or_damaged_envelope_is_nothing() {
        let key = ProofKey::new(&[7; 32]);
        let original = proof();
        let sealed = original.seal(Vendor::Google, &key).escaped().to_owned();
        assert_eq!(open(Text::from_plain(&sealed), Vendor::Google, &ProofKey::new(&[8; 32])), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            let opened = open(Text::from_plain(&forged), Vendor::Google, &key);
            // The last digit of an unpadded tag carries bits that nobody reads.
            let harmless = at == sealed.len() - 1 || at < PREFIX.len();
            assert!(harmless || opened.is_none(), "at {at}");
        }
        for junk in ["gw1.", "gw1.o", "gw1.o.x.y", "gw1...", "gw1.z.AA.AA"] {
            assert_eq!(open(Text::from_plain(junk), Vendor::Google, &key), None, "{junk}");
        }
        assert_eq!(open(Text::from_plain("EqQB"), Vendor::Google, &key).unwrap().vendor, Vendor::Google);
    }
}
