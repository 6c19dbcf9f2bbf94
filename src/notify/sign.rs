//! Signatures and derived passwords of the services that messages go through.
//!
//! Sources: AWS, "Obtaining Amazon SES SMTP credentials" (derivation of the SMTP password); Microsoft, "Tutorial: Sign an
//! HTTP request" for Azure Communication Services; RFC 2104 (HMAC).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac};

use crate::config::project::hex;

/// First byte of an SMTP password of SES.
const SES_VERSION: u8 = 4;

fn hmac_sha256(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

/// The SMTP password of an IAM user's secret access key in a region.
pub(super) fn ses_password(secret: &str, region: &str) -> String {
    let mut key = hmac_sha256(format!("AWS4{secret}").as_bytes(), b"11111111");
    for message in [region, "ses", "aws4_request", "SendRawEmail"] {
        key = hmac_sha256(key.as_ref(), message.as_bytes());
    }
    BASE64.encode([&[SES_VERSION], key.as_ref()].concat())
}

/// Whether a text is such a password, and not the secret that it is made of: those have 40 characters.
pub(super) fn is_ses_password(text: &str) -> bool {
    BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 33 && bytes[0] == SES_VERSION)
}

/// What Azure is sent with a request, names and values.
pub(super) fn azure_fields(
    key: &[u8],
    method: &str,
    date: &str,
    authority: &str,
    path_and_query: &str,
    body: &[u8],
) -> [(&'static str, String); 3] {
    let hash = BASE64.encode(digest::digest(&digest::SHA256, body));
    let signed = format!("{method}\n{path_and_query}\n{date};{authority};{hash}");
    let signature = BASE64.encode(hmac_sha256(key, signed.as_bytes()));
    let authorization =
        format!("HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}");
    [("x-ms-date", date.to_owned()), ("x-ms-content-sha256", hash), ("authorization", authorization)]
}

/// `sha256=` and the HMAC of the parts, one behind the other, in hexadecimal digits.
pub(super) fn webhook_signature(secret: &str, parts: &[&[u8]]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    parts.iter().for_each(|part| context.update(part));
    format!("sha256={}", hex(context.sign().as_ref()))
}

/// A text that is the same for the same parts and tells nothing of them.
pub(super) fn fingerprint(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    hex(&context.finish().as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ses_passwords_are_those_of_the_published_vectors() {
        // terraform-provider-aws, internal/service/iam/access_key_test.go, TestSESSMTPPasswordFromSecretKeySigV4.
        for (region, secret, expected) in [
            ("eu-central-1", "some+secret+key", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
            ("eu-central-1", "another+secret+key", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"),
            ("us-west-1", "some+secret+key", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
            ("us-west-1", "another+secret+key", "BKVmjjMDFk/qqw8EROW99bjCS65PF8WKvK5bSr4Y6EqF"),
        ] {
            assert_eq!(ses_password(secret, region), expected);
            assert!(is_ses_password(expected) && !is_ses_password(secret));
        }
        assert!(
            !is_ses_password("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            "AWS's example of a secret access key"
        );
    }

    #[test]
    fn azure_is_sent_the_published_signatures() {
        // azure-sdk-for-python, azure-communication-identity/tests/test_hmac.py.
        let key = BASE64.decode("pw==").unwrap();
        let (date, host) = ("Wed, 13 Apr 2022 18:09:12 GMT", "contoso.communicationservices.azure.com");
        for (path, signature) in [
            ("/", "88MDmJhUR3m5QhFxb8ztShsSwlGrg7g/6XPnWf7QEO4="),
            ("/testPath", "RoCrHjw7fb9fpHSbqvRUY2xa8RBS0YvI1cxI1x8AS38="),
            ("/testPath?testQuery=yes", "il99+rd6V5O136roX/zVePCNle78HmvC4B7tu9zRH3I="),
        ] {
            let [(_, sent), _, (_, authorization)] = azure_fields(&key, "GET", date, host, path, b"");
            let names = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256";
            assert_eq!(authorization, format!("{names}&Signature={signature}"));
            assert_eq!(sent, date);
        }
    }

    #[test]
    fn webhooks_are_signed_as_github_signs_its_own() {
        // GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
        let signature = webhook_signature("It's a Secret to Everybody", &[b"Hello, World!"]);
        assert_eq!(signature, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        let parts = webhook_signature("It's a Secret to Everybody", &[b"Hello", b", ", b"World!"]);
        assert_eq!(parts, signature);
    }
}
