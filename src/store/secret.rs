//! The home's secret and the keys made from it.
//!
//! Owns `config/secret`, the derivation of a key per purpose, and the form of ciphertext at rest. All arithmetic is
//! ring's. A key, once derived, is not shown again.
//!
//! Source: RFC 5869 (HKDF), NIST SP 800-38D (AES-GCM), the project's configuration specification, section 4.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::auth::TokenKey;
use crate::config::project::{hex, unhex};
use crate::config::{Opener, Secret};
use crate::dialect::ProofKey;

/// How a value that is encrypted at rest begins.
pub const SEALED_PREFIX: &str = "ENCRYPTED:v1:";
/// What every version's ciphertext begins with.
pub const SEALED_MARK: &str = "ENCRYPTED:";

/// 32 random bytes, the root of all keys of a home.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads 64 hexadecimal digits, the form of `config/secret`.
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text.trim()).map(Self)
    }

    /// Reads base64 of 32 bytes, the form of the environment variables.
    pub fn from_base64(text: &str) -> Option<Self> {
        BASE64.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// The form of `config/secret`. Never to be logged.
    pub fn to_hex(&self) -> Secret {
        Secret::new(hex(&self.0))
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The keys of a home.
pub struct Keys {
    at_rest: LessSafeKey,
    login_jwt: [u8; 32],
    token: TokenKey,
    proof: ProofKey,
    legacy: Option<LessSafeKey>,
    random: SystemRandom,
}

/// The system has no randomness to give, so that nothing can be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator does not answer")]
pub struct NoRandomness;

impl Keys {
    /// Derives all keys. `legacy` is the key of the first releases, for import.
    pub fn derive(master: &MasterKey, legacy: Option<&MasterKey>) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&master.0);
        let derive = |info: &'static str| {
            let mut key = [0; 32];
            let info = [info.as_bytes()];
            let output =
                extracted.expand(&info, Bytes32).expect("32 bytes are far below HKDF's bound of 8,160");
            output.fill(&mut key).expect("the buffer has the length that was asked for");
            key
        };
        Self {
            at_rest: aes(&derive("routerly/v1/at-rest")),
            login_jwt: derive("routerly/v1/login-jwt"),
            token: TokenKey::new(&derive("routerly/v1/token-lookup")),
            proof: ProofKey::new(&derive("routerly/v1/proof-envelope")),
            legacy: legacy.map(|key| aes(&key.0)),
            random: SystemRandom::new(),
        }
    }

    /// The key of the token hash.
    pub fn token_key(&self) -> &TokenKey {
        &self.token
    }

    /// The key that seals providers' proofs of their thoughts.
    pub fn proof_key(&self) -> &ProofKey {
        &self.proof
    }

    /// The key that signs sign-in tokens.
    pub fn login_jwt_key(&self) -> &[u8; 32] {
        &self.login_jwt
    }

    /// Whether a key for the ciphertext of the first releases is at hand.
    pub fn has_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// The system's random numbers.
    pub fn random(&self) -> &SystemRandom {
        &self.random
    }

    /// Encrypts a value for one place: it opens nowhere else.
    ///
    /// `file` is the file's name (a directory before it does not count), `object_id` the id of the object that the
    /// field belongs to.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn seal(
        &self,
        file: &str,
        object_id: &str,
        field: &str,
        plain: &str,
    ) -> Result<String, NoRandomness> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| NoRandomness)?;
        let mut bytes = plain.as_bytes().to_vec();
        let aad = Aad::from(place(file, object_id, field));
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.at_rest.seal_in_place_append_tag(nonce_used, aad, &mut bytes).map_err(|_| NoRandomness)?;
        Ok(format!("{SEALED_PREFIX}{}", BASE64.encode([&nonce[..], &bytes].concat())))
    }

    /// Decrypts what [`Keys::seal`] made for the same place; none for anything else.
    pub fn unseal(&self, file: &str, object_id: &str, field: &str, sealed: &str) -> Option<Secret> {
        let mut bytes = BASE64.decode(sealed.strip_prefix(SEALED_PREFIX)?).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(bytes.get(..NONCE_LEN)?).ok()?;
        let aad = Aad::from(place(file, object_id, field));
        let plain = self.at_rest.open_in_place(nonce, aad, bytes.get_mut(NONCE_LEN..)?).ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }

    /// Decrypts a value of the first releases: `base64(nonce):base64(tag):base64(ciphertext)`.
    pub fn open_legacy(&self, text: &str) -> Option<Secret> {
        let key = self.legacy.as_ref()?;
        let mut parts = text.trim().split(':').map(|part| BASE64.decode(part).ok());
        let (nonce, tag, ciphertext) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut bytes = [ciphertext, tag].concat();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }
}

impl Opener for Keys {
    fn open(&self, file: &str, object_id: &str, field: &str, value: &str) -> Option<Secret> {
        if value.starts_with(SEALED_MARK) {
            self.unseal(file, object_id, field, value)
        } else {
            Some(Secret::new(value))
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

fn aes(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes keys of 32 bytes"))
}

/// The associated data. File names and fields hold no colon, so that no two places give the same text.
fn place(file: &str, object_id: &str, field: &str) -> Vec<u8> {
    let file = file.rsplit('/').next().unwrap_or(file);
    format!("{file}:{object_id}:{field}").into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn keys(byte: u8) -> Keys {
        Keys::derive(&MasterKey([byte; 32]), Some(&MasterKey([0x55; 32])))
    }

    /// What the first releases wrote, under the key that [`keys`] knows.
    pub(crate) fn legacy_ciphertext(plain: &str) -> String {
        let mut bytes = plain.as_bytes().to_vec();
        let nonce = [3; NONCE_LEN];
        let key = aes(&[0x55; 32]);
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes)
            .unwrap();
        [&nonce[..], tag.as_ref(), &bytes].map(|part| BASE64.encode(part)).join(":")
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        // Worked out with Python's hmac module, after RFC 5869.
        let keys = keys(1);
        assert_eq!(
            hex(keys.login_jwt_key()),
            "1adafd3f5f20436f3e2c6decc12cb63fdcac0df57a2e65fffb06210464d8fe9e"
        );
        assert_eq!(
            hex(&keys.token_key().digest(b"sk-rt-x")),
            "a8619718477a0472f430916f1aef9a577fbb93c385fa4061cd9ba9c501d5f8df"
        );
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_place_only() {
        let keys = keys(1);
        let sealed = keys.seal("config/models.json", "openai/gpt-5", "apiKey", "sk-abc").unwrap();
        assert!(sealed.starts_with("ENCRYPTED:v1:") && !sealed.contains("abc"));
        let open =
            |file, id, field| keys.unseal(file, id, field, &sealed).map(|plain| plain.expose().to_owned());
        assert_eq!(open("models.json", "openai/gpt-5", "apiKey").as_deref(), Some("sk-abc"));
        assert_eq!(open("models.json", "openai/gpt-4", "apiKey"), None);
        assert_eq!(open("models.json", "openai/gpt-5", "cfClearance"), None);
        assert_eq!(open("settings.json", "openai/gpt-5", "apiKey"), None);
        assert_eq!(self::tests::keys(2).unseal("models.json", "openai/gpt-5", "apiKey", &sealed), None);
        let again = keys.seal("config/models.json", "openai/gpt-5", "apiKey", "sk-abc").unwrap();
        assert_ne!(sealed, again, "a nonce is never used twice");
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let keys = keys(1);
        let sealed = keys.seal("f.json", "i", "x", "some secret").unwrap();
        let bytes = BASE64.decode(sealed.strip_prefix(SEALED_PREFIX).unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = format!("{SEALED_PREFIX}{}", BASE64.encode(&changed));
            assert_eq!(keys.unseal("f.json", "i", "x", &text), None, "byte {at}");
        }
        for cut in 0..bytes.len() {
            let text = format!("{SEALED_PREFIX}{}", BASE64.encode(&bytes[..cut]));
            assert_eq!(keys.unseal("f.json", "i", "x", &text), None, "cut at {cut}");
        }
        for text in ["", "ENCRYPTED:", "ENCRYPTED:v1:", "ENCRYPTED:v1:!", "ENCRYPTED:v2:AAAA", "plain"] {
            assert_eq!(keys.unseal("f.json", "i", "x", text), None, "{text}");
        }
    }

    #[test]
    fn ciphertext_of_the_first_releases_opens_with_their_key() {
        let keys = keys(1);
        let text = legacy_ciphertext("sk-lr-old");
        assert_eq!(keys.open_legacy(&text).unwrap().expose(), "sk-lr-old");
        assert!(Keys::derive(&MasterKey([1; 32]), None).open_legacy(&text).is_none());
        for wrong in ["", ":", "a:b:c", "::", &format!("{text}:AAAA"), &text[4..]] {
            assert!(keys.open_legacy(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_in_both_forms_and_never_shown() {
        let key = MasterKey([0xab; 32]);
        assert_eq!(MasterKey::from_hex(&format!("{}\n", "AB".repeat(32))), Some(key.clone()));
        assert_eq!(key.to_hex().expose(), "ab".repeat(32));
        assert_eq!(MasterKey::from_base64(&BASE64.encode([0xab; 32])), Some(key.clone()));
        for wrong in ["", "ab", &"ab".repeat(31), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(MasterKey::from_hex(wrong), None, "{wrong}");
        }
        assert_eq!(MasterKey::from_base64(&BASE64.encode([1; 31])), None);
        assert_eq!(format!("{key:?} {:?}", keys(1)), "MasterKey(…) Keys(…)");
        assert_ne!(MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_again(plain in ".{0,80}", id in ".{0,20}") {
            let keys = keys(9);
            let sealed = keys.seal("models.json", &id, "apiKey", &plain).unwrap();
            let opened = keys.open("models.json", &id, "apiKey", &sealed).unwrap();
            prop_assert_eq!(opened.expose(), plain);
        }

        #[test]
        fn no_text_breaks_the_readers(text in ".{0,120}") {
            let keys = keys(9);
            let _ = (keys.unseal("f", "i", "x", &text), keys.open_legacy(&text));
            let _ = keys.unseal("f", "i", "x", &format!("{SEALED_PREFIX}{text}"));
        }
    }
}
