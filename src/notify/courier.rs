//! Brings a notice to a channel, once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::{self, Notice};
use super::mail::{self, Letter, Login, Server};
use super::reach::{Answer, Reach};
use super::sign;
use super::{Failure, Sent};
use crate::config::Secret;
use crate::config::notifications::{Channel, GoogleGrant, Relay, Route, Sender, WebhookMethod};
use crate::provider::Endpoint;

/// Version of Azure's API.
const AZURE_PATH: &str = "/emails:send?api-version=2023-03-31";

/// What a delivery needs beside channel and notice.
pub(super) struct Trip<'a> {
    pub reach: &'a Reach,
    /// Recipients of mail.
    pub to: &'a [String],
    /// Name of the gateway towards mail servers.
    pub hello: Option<&'a str>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Brings it.
///
/// # Errors
/// It was not taken.
pub(super) fn bring(trip: &Trip<'_>, channel: &Channel, notice: &Notice) -> Result<Sent, Failure> {
    if let Some(fault) = &channel.fault {
        return Err(Failure::passing(fault.clone()));
    }
    if trip.to.is_empty() && !matches!(channel.route, Route::Webhook { .. }) {
        return Err(Failure::last("the channel has no recipients (to)".to_owned()));
    }
    let missing = |what: &str| Failure::passing(format!("{what} is missing"));
    let letter = |sender| Letter { sender, to: trip.to, notice, channel: &channel.id };
    let mail = |sender, relay, login, allow_invalid_cert| {
        let server = Server { relay, login, allow_invalid_cert, hello: trip.hello };
        mail::send(trip.reach, &server, &letter(sender))
    };
    let password = |name: &str, proof: Secret| Login { name: name.to_owned(), proof, is_token: false };
    match &channel.route {
        Route::Smtp { sender, relay, login, allow_invalid_cert } => {
            let login = login.as_ref().map(|(name, secret)| password(name, secret.clone()));
            mail(sender, relay, login, *allow_invalid_cert)
        }
        Route::Ses { sender, relay, region, login } => {
            let (id, secret) = login.as_ref().ok_or_else(|| missing("secretAccessKey"))?;
            let secret = match sign::is_ses_password(secret.expose()) {
                true => secret.clone(),
                false => Secret::new(sign::ses_password(secret.expose(), region)),
            };
            mail(sender, relay, Some(password(id, secret)), false)
        }
        Route::SendGrid { sender, relay, key } => {
            let key = key.clone().ok_or_else(|| missing("apiKey"))?;
            mail(sender, relay, Some(password("apikey", key)), false)
        }
        Route::Google { sender, relay, token_url, grant } => {
            let grant = grant.as_ref().ok_or_else(|| missing("refreshToken"))?;
            let token_url = token_url.as_ref().ok_or_else(|| missing("tokenUrl"))?;
            google(trip, (sender, relay), token_url, grant, &letter(sender))
        }
        Route::Azure { sender, resource } => {
            let (endpoint, key) = resource.as_ref().ok_or_else(|| missing("connectionString"))?;
            azure(trip, sender, endpoint, key, notice)
        }
        Route::Webhook { url, target, method, secret } => {
            let url = url.as_ref().ok_or_else(|| missing("url"))?;
            webhook(trip, url, target, *method, secret.as_ref(), notice)
        }
    }
}

/// Source: Google, "OAuth 2.0 Mechanism" for Gmail; "Using OAuth 2.0 for Web Server Applications", refreshing an access
/// token.
fn google(
    trip: &Trip<'_>,
    (sender, relay): (&Sender, &Relay),
    token_url: &Endpoint,
    grant: &GoogleGrant,
    letter: &Letter<'_>,
) -> Result<Sent, Failure> {
    let form = query(&[
        ("client_id", &grant.client_id),
        ("client_secret", grant.client_secret.expose()),
        ("refresh_token", grant.refresh_token.expose()),
        ("grant_type", "refresh_token"),
    ]);
    let fields = [("content-type", "application/x-www-form-urlencoded".to_owned())];
    let url = token_url.to_string();
    let answer = trip.reach.call("POST", &url, &fields, form.as_bytes())?;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(token) = body["access_token"].as_str().filter(|_| answer.status == 200) else {
        // A word such as `invalid_grant`; the rest may say more than belongs into a log.
        let word = body["error"].as_str().unwrap_or_default();
        let word: String =
            word.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '_').take(40).collect();
        return Err(Failure::passing(format!("no access token for it: status {} {word}", answer.status)));
    };
    let login = Login { name: sender.address.clone(), proof: Secret::new(token), is_token: true };
    let server = Server { relay, login: Some(login), allow_invalid_cert: false, hello: trip.hello };
    mail::send(trip.reach, &server, letter)
}

/// Source: Microsoft, "Email - Send" of Azure Communication Services, API version 2023-03-31.
fn azure(
    trip: &Trip<'_>,
    sender: &Sender,
    endpoint: &Endpoint,
    key: &Secret,
    notice: &Notice,
) -> Result<Sent, Failure> {
    let key = BASE64.decode(key.expose());
    let key = key.map_err(|_| Failure::passing("the access key is not base64".to_owned()))?;
    let to: Vec<Value> = trip.to.iter().map(|address| json!({"address": address})).collect();
    let body = json!({
        "senderAddress": sender.address,
        "content": {"subject": notice.subject, "plainText": notice.text},
        "recipients": {"to": to},
    });
    let body = body.to_string().into_bytes();
    let path = format!("{}{AZURE_PATH}", endpoint.base_path);
    let mut fields = vec![("content-type", "application/json".to_owned())];
    fields.extend(sign::azure_fields(
        &key,
        "POST",
        &http_date(trip.now_ms),
        &endpoint.authority,
        &path,
        &body,
    ));
    let url = format!("{}://{}{path}", endpoint.scheme.as_str(), endpoint.authority);
    judge(&trip.reach.call("POST", &url, &fields, &body)?)
}

fn webhook(
    trip: &Trip<'_>,
    url: &Endpoint,
    target: &str,
    method: WebhookMethod,
    secret: Option<&Secret>,
    notice: &Notice,
) -> Result<Sent, Failure> {
    let body = Value::Object(notice.body.clone()).to_string();
    let (method, target) = match method {
        WebhookMethod::Post => ("POST", target.to_owned()),
        WebhookMethod::Get => {
            let time = event::timestamp(notice.at_ms);
            let own = query(&[("event", &notice.event), ("id", &notice.id), ("timestamp", &time)]);
            let separator = if target.contains('?') { '&' } else { '?' };
            ("GET", format!("{target}{separator}{own}"))
        }
    };
    let signed = match method {
        // Of a call without a body, what is signed is its query.
        "GET" => target.split_once('?').map_or("", |(_, query)| query),
        _ => &body,
    };
    let now_s = (trip.now_ms / 1_000).to_string();
    let mut fields = vec![
        ("x-routerly-event", notice.event.clone()),
        ("x-routerly-event-id", notice.id.chars().filter(char::is_ascii_graphic).collect()),
        ("idempotency-key", sign::fingerprint(&[&notice.id])),
        ("x-routerly-timestamp", now_s.clone()),
    ];
    if method == "POST" {
        fields.push(("content-type", "application/json".to_owned()));
    }
    if let Some(secret) = secret {
        let secret = secret.expose();
        fields.push(("x-routerly-signature", sign::webhook_signature(secret, &[signed.as_bytes()])));
        let parts = [now_s.as_bytes(), b".", signed.as_bytes()];
        fields.push(("x-routerly-signature-v2", sign::webhook_signature(secret, &parts)));
    }
    let url = format!("{}://{}{target}", url.scheme.as_str(), url.authority);
    judge(&trip.reach.call(method, &url, &fields, body.as_bytes())?)
}

fn judge(answer: &Answer) -> Result<Sent, Failure> {
    match answer.status {
        200..=299 => Ok(Sent { fixed_secure: None }),
        300..=399 => {
            Err(Failure::passing(format!("it redirects (status {}), which is not followed", answer.status)))
        }
        // Whoever says so does not want to be asked again.
        410 => Err(Failure::last("it is gone for good (status 410)".to_owned())),
        status => Err(Failure::passing(format!("it answers with status {status}"))),
    }
}

/// As in a query or a form: everything escaped but what never has to be (RFC 3986, section 2.3).
fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte))
                }
                _ => {
                    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                    out.push('%');
                    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                    out.push(char::from(DIGITS[usize::from(byte & 15)]));
                }
            }
        }
    }
    out
}

/// RFC 9110, section 5.6.7.
fn http_date(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_queries_are_written_as_their_standards_have_them() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(query(&[("a", "x y&ä"), ("b", "~-_.")]), "a=x%20y%26%C3%A4&b=~-_.");
    }

    #[test]
    fn what_an_answer_means() {
        for (status, expected) in [
            (200, None),
            (204, None),
            (302, Some(false)),
            (404, Some(false)),
            (410, Some(true)),
            (503, Some(false)),
        ] {
            let failure = judge(&Answer { status, body: Vec::new() }).err();
            assert_eq!(failure.map(|failure| failure.is_final), expected, "{status}");
        }
    }
}
