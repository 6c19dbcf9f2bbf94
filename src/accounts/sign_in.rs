//! Sign-in tokens: JSON Web Tokens signed with HMAC-SHA256.
//!
//! A token says who signed in, not what he may do: user and role are looked up at each request, and a token counts for
//! as long as its user's credential version stays what it was.
//!
//! Source: RFC 7519, RFC 7515; the project's management specification, section 2.1.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::config::account::User;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Id of the user.
    pub sub: String,
    /// His role at that time; to be shown, never to be believed.
    pub role: String,
    /// When it was issued, in seconds since the Unix epoch.
    pub iat: u64,
    /// From when on it does not count any more, in seconds since the Unix epoch.
    pub exp: u64,
    /// Unique id of the token.
    pub jti: String,
    /// The user's credential version.
    pub ver: u64,
    /// The grant that it was issued with.
    pub gid: String,
}

/// Signs and checks tokens.
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Signer {
    /// With the home's own key for it.
    pub fn new(key: &[u8; 32]) -> Self {
        // The algorithm is ours to choose, never the token's.
        let mut validation = Validation::new(Algorithm::HS256);
        // The time is an argument here, not the library's to read.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key), validation }
    }

    /// A token for a user who has proved himself. `id` is to be unique.
    pub fn issue(&self, user: &User, grant: &str, id: String, now_s: u64, life_s: u64) -> String {
        let claims = Claims {
            sub: user.id.clone(),
            role: user.role.clone(),
            iat: now_s,
            exp: now_s.saturating_add(life_s),
            jti: id,
            ver: user.credential_version,
            gid: grant.to_owned(),
        };
        // Strings and numbers always serialise, and HMAC takes any key.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default()
    }

    /// What a token says; `None` if it is not ours, was changed, or its time is over.
    pub fn read(&self, token: &str, now_s: u64) -> Option<Claims> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims;
        (now_s < claims.exp).then_some(claims)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn user() -> User {
        User {
            id: "u1".to_owned(),
            email: "ada@example.org".to_owned(),
            password: None,
            role: "viewer".to_owned(),
            project_ids: vec![],
            credential_version: 3,
            grants: vec![],
        }
    }

    fn issue(signer: &Signer) -> String {
        signer.issue(&user(), "g1", "t1".to_owned(), 1_000, 60)
    }

    #[test]
    fn a_token_says_what_was_put_in_and_ends_in_time() {
        let signer = Signer::new(&[7; 32]);
        let token = issue(&signer);
        assert!(token.starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."), "{token}");
        let claims = signer.read(&token, 1_059).unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.ver, claims.exp, claims.gid.as_str()),
            ("u1", 3, 1_060, "g1")
        );
        assert_eq!(signer.read(&token, 1_060), None);
    }

    #[test]
    fn forged_tokens_are_none() {
        let signer = Signer::new(&[7; 32]);
        let token = issue(&signer);
        let parts: Vec<&str> = token.split('.').collect();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims =
            r#"{"sub":"u1","role":"admin","iat":1000,"exp":9999999999,"jti":"t","ver":3,"gid":"g1"}"#;
        let other_key = Signer::new(&[8; 32]);
        for forged in [
            String::new(),
            "a.b".to_owned(),
            issue(&other_key),
            format!("{}.{}.{}", parts[0], part(claims), parts[2]),
            format!("{}.{}.", part(r#"{"alg":"none","typ":"JWT"}"#), part(claims)),
            format!("{}.{}.", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(claims)),
            format!("{}.{}.{}", part(r#"{"alg":"HS512","typ":"JWT"}"#), parts[1], parts[2]),
            format!("{}.{}", parts[1], parts[2]),
            format!("{token}.{}", parts[2]),
        ] {
            assert_eq!(signer.read(&forged, 1_000), None, "{forged}");
        }
        // Each bit of the signature counts but those that base64 leaves unused.
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        for byte in 0..signature.len() {
            let mut changed = signature.clone();
            changed[byte] ^= 1;
            let forged = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(signer.read(&forged, 1_000), None);
        }
    }
}
