//! Reads channels out of the settings.

use std::collections::HashSet;

use serde_json::Value;

use super::{Channel, EventKind, GoogleGrant, QuietHours, Relay, Route, Sender, WebhookMethod};
use crate::config::fields::{Fields, one_of};
use crate::config::mistake::{self, Path, describe, quote};
use crate::config::{Opener, Secret, files};
use crate::provider::Endpoint;

/// Most channels.
const CHANNELS_MAX: usize = 64;
/// Most recipients of one channel.
const RECIPIENTS_MAX: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Smtp,
    Ses,
    SendGrid,
    Azure,
    Google,
    Webhook,
}

pub(super) const KINDS: [(&str, Kind); 6] = [
    ("smtp", Kind::Smtp),
    ("ses", Kind::Ses),
    ("sendgrid", Kind::SendGrid),
    ("azure", Kind::Azure),
    ("google", Kind::Google),
    ("webhook", Kind::Webhook),
];
const METHODS: [(&str, WebhookMethod); 2] = [("POST", WebhookMethod::Post), ("GET", WebhookMethod::Get)];
const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// Reads `notifications` in any of its forms.
pub(in crate::config) fn read(f: &Fields<'_>, keys: &dyn Opener) -> Vec<Channel> {
    let mut channels = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |channel: Option<Channel>, f: &Fields<'_>| {
        let Some(channel) = channel else { return };
        if !seen.insert(channel.id.clone()) {
            f.mistake("id", format!("{} again", quote(&channel.id)), "an id that no other channel has");
        }
        channels.push(channel);
    };
    let mut place = 0;
    let mut next = |f: &Fields<'_>| {
        let id = f.string("id").filter(|id| !id.is_empty());
        let id = id.map_or_else(|| format!("channel_{place}"), str::to_owned);
        place += 1;
        id
    };
    match f.value("notifications") {
        None => {}
        Some(Value::Array(_)) => f.each_object("notifications", |f| {
            let id = next(f);
            add(Reader { f, keys, id, fault: None }.channel(None), f);
        }),
        Some(Value::Object(map)) if map.contains_key("channels") || !map.values().any(Value::is_object) => {
            f.object("notifications", |f| {
                f.each_object("channels", |f| {
                    let id = next(f);
                    add(Reader { f, keys, id, fault: None }.channel(None), f);
                });
                f.finish();
            });
        }
        Some(Value::Object(_)) => {
            f.object("notifications", |f| {
                for (word, kind) in KINDS {
                    f.object(word, |f| {
                        f.also_known(&["id"]);
                        let id = format!("migrated_{word}");
                        add(Reader { f, keys, id, fault: None }.channel(Some(kind)), f);
                    });
                }
                f.finish();
            });
        }
        Some(other) => {
            f.mistake("notifications", describe(other), "an object with channels, or an array of channels");
        }
    }
    if channels.len() > CHANNELS_MAX {
        f.mistake("notifications", format!("{} channels", channels.len()), format!("at most {CHANNELS_MAX}"));
    }
    channels
}

/// Reads one channel.
struct Reader<'f, 'a> {
    f: &'f Fields<'a>,
    keys: &'f dyn Opener,
    id: String,
    fault: Option<String>,
}

impl Reader<'_, '_> {
    fn channel(mut self, kind: Option<Kind>) -> Option<Channel> {
        let f = self.f;
        // `type` is the documentation's word.
        let own = f.word("provider", &KINDS).or_else(|| f.word("type", &KINDS));
        let Some(kind) = own.or(kind) else {
            if f.value("provider").or(f.value("type")).is_none() {
                let kinds = one_of(KINDS.iter().map(|(word, _)| *word));
                f.sink.warn(&f.path, format!("provider is missing ({kinds}); the channel is not used"));
            }
            return None;
        };
        let name = self.text("name");
        let enabled = f.bool("enabled").unwrap_or(true);
        let route = self.route(kind);
        let to = self.recipients(kind);
        let events = self.events();
        let quiet_hours = read_quiet_hours(f);
        f.finish();
        let name = name.unwrap_or_else(|| self.id.clone());
        if let Some(fault) = &self.fault {
            f.sink.warn(&f.path, format!("{fault}; nothing can be sent by this channel"));
        } else if to.is_empty() && kind != Kind::Webhook && enabled {
            f.sink.warn(&f.path, "has no recipients (to); only tests can be sent by it");
        }
        Some(Channel { id: self.id, name, enabled, route, to, events, quiet_hours, fault: self.fault })
    }

    fn route(&mut self, kind: Kind) -> Route {
        match kind {
            Kind::Smtp => {
                let sender = self.sender();
                let relay = self.relay(None, 587, false);
                let name = self.either("username", "user");
                let password = self.secret("password");
                let login = match (name, password) {
                    (Some(name), Some(password)) => Some((name, password)),
                    (None, None) => None,
                    (Some(_), None) => self.missing("password"),
                    (None, Some(_)) => self.missing("username"),
                };
                let allow_invalid_cert = self.f.bool("allowInvalidCert").unwrap_or(false);
                Route::Smtp { sender, relay, login, allow_invalid_cert }
            }
            Kind::Ses => {
                let sender = self.sender();
                let region = self.text("region").filter(|region| is_host(region));
                let region = region.or_else(|| self.missing("region")).unwrap_or_default();
                let host = format!("email-smtp.{region}.amazonaws.com");
                let relay = self.relay(Some(&host), 465, true);
                let id = self.either("accessKeyId", "user");
                let id = id.or_else(|| self.missing("accessKeyId"));
                let secret = match self.secret("secretAccessKey") {
                    None => self.secret("password"),
                    secret => secret,
                };
                let secret = secret.or_else(|| self.missing("secretAccessKey"));
                Route::Ses { sender, relay, region, login: id.zip(secret) }
            }
            Kind::SendGrid => {
                let sender = self.sender();
                let relay = self.relay(Some("smtp.sendgrid.net"), 587, false);
                let key = self.secret("apiKey");
                Route::SendGrid { sender, relay, key: key.or_else(|| self.missing("apiKey")) }
            }
            Kind::Azure => {
                let sender = self.sender();
                let text = self.secret("connectionString").or_else(|| self.missing("connectionString"));
                let resource = text.and_then(|text| {
                    let resource = connection_string(text.expose());
                    if resource.is_none() {
                        let expected =
                            "endpoint=https://<resource>.communication.azure.com/;accesskey=<base64>";
                        self.f.mistake("connectionString", "a text of another form", expected);
                    }
                    resource
                });
                Route::Azure { sender, resource }
            }
            Kind::Google => {
                let sender = self.sender();
                let relay = self.relay(Some("smtp.gmail.com"), 465, true);
                let token_url = self.url("tokenUrl").or_else(|| Endpoint::parse(GOOGLE_TOKEN_URL).ok());
                let client_id = self.text("clientId").or_else(|| self.missing("clientId"));
                let client_secret = self.secret("clientSecret").or_else(|| self.missing("clientSecret"));
                let refresh_token = self.secret("refreshToken").or_else(|| self.missing("refreshToken"));
                let grant = client_id.zip(client_secret).zip(refresh_token).map(
                    |((client_id, client_secret), refresh_token)| GoogleGrant {
                        client_id,
                        client_secret,
                        refresh_token,
                    },
                );
                Route::Google { sender, relay, token_url, grant }
            }
            Kind::Webhook => {
                let url = self.url("url");
                if url.is_none() {
                    self.missing::<()>("url");
                }
                let method = self.f.word("method", &METHODS).unwrap_or(WebhookMethod::Post);
                let secret = self.secret("secret");
                let target = self.f.string("url").map(target_of).unwrap_or_default();
                Route::Webhook { url, target, method, secret }
            }
        }
    }

    /// A text; an empty one is none.
    fn text(&self, key: &'static str) -> Option<String> {
        self.f.string(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn either(&self, key: &'static str, other: &'static str) -> Option<String> {
        let text = self.text(key);
        let other = self.text(other);
        text.or(other)
    }

    /// Notes what is not there.
    fn missing<T>(&mut self, key: &str) -> Option<T> {
        self.fault.get_or_insert_with(|| format!("{key} is missing"));
        None
    }

    fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let value = self.f.secret(key).map(str::trim).filter(|value| !value.is_empty())?;
        let opened = self.keys.open(files::SETTINGS, &self.id, key, value);
        if opened.is_none() {
            self.fault.get_or_insert_with(|| {
                format!(
                    "{key} cannot be decrypted: config/secret is not the one it was written with, or the channel was \
                     given another id by hand"
                )
            });
        }
        opened
    }

    fn url(&self, key: &'static str) -> Option<Endpoint> {
        let url = self.f.string(key).filter(|url| !url.trim().is_empty())?;
        // The text itself may hold a token and is not repeated.
        let wrong = |reason| {
            self.f.mistake(
                key,
                format!("a URL that is not usable: {reason}"),
                "http(s)://host[:port][/path][?query]",
            )
        };
        Endpoint::parse(url).map_err(wrong).ok()
    }

    fn sender(&mut self) -> Sender {
        let (address, name) = (self.text("fromAddress"), self.text("fromName"));
        let from = self.text("from");
        let (own, key) = match (address, from) {
            (Some(address), _) => (Some(Sender { address, name: None }), "fromAddress"),
            (None, Some(from)) => (Some(parse_mailbox(&from)), "from"),
            (None, None) => (None, "fromAddress"),
        };
        let Some(own) = own else {
            self.missing::<()>("fromAddress");
            return Sender::default();
        };
        if !is_address(&own.address) {
            self.f.mistake(key, quote(&own.address), "a mail address");
        }
        let name = name.or(own.name);
        if name.as_ref().is_some_and(|name| name.chars().any(char::is_control)) {
            self.f.mistake("fromName", "a name with control characters", "a name");
        }
        Sender { name, ..own }
    }

    /// Where mail goes: what the file says, over what the service is known by.
    fn relay(&mut self, host: Option<&str>, port: u16, secure: bool) -> Relay {
        let own = self.text("host");
        if let Some(own) = &own
            && !is_host(own)
        {
            self.f.mistake("host", quote(own), "the name or address of a mail server");
        }
        let host = own.or_else(|| host.map(str::to_owned)).or_else(|| self.missing("host"));
        let own_secure = self.f.bool("secure");
        let default = match own_secure {
            Some(true) => 465,
            Some(false) => 587,
            None => port,
        };
        let port = self.f.integer("port", 1..=65_535).map_or(default, |port| port as u16);
        let host = host.unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        Relay { host, port, secure: own_secure.unwrap_or(secure && port != 587 || port == 465) }
    }

    /// One address or an array of them.
    fn recipients(&mut self, kind: Kind) -> Vec<String> {
        let f = self.f;
        let mut to = Vec::new();
        let mut one = |text: &str, path: &Path<'_>| {
            let address = text.trim();
            if address.is_empty() {
                return;
            }
            match is_address(address) {
                true => to.push(address.to_owned()),
                false => f.sink.mistake(path, quote(address), "a mail address"),
            }
        };
        match f.value("to") {
            None => {}
            Some(Value::String(text)) => {
                text.split(',').for_each(|text| one(text, &Path::Key(&f.path, "to")));
            }
            Some(_) => f.each("to", |item, path| match item {
                Value::String(text) => one(text, &path),
                other => f.sink.mistake(&path, mistake::kind(other), "a mail address"),
            }),
        }
        if to.len() > RECIPIENTS_MAX {
            f.mistake("to", format!("{} addresses", to.len()), format!("at most {RECIPIENTS_MAX}"));
        }
        if kind == Kind::Webhook && !to.is_empty() {
            f.warn("to", "a webhook has no recipients; ignored");
            to.clear();
        }
        to
    }

    fn events(&self) -> Vec<EventKind> {
        let f = self.f;
        if f.value("events").is_none() {
            return EventKind::ALL.to_vec();
        }
        let mut events = Vec::new();
        f.each("events", |item, path| {
            let known = |text| EventKind::ALL.into_iter().find(|event| event.as_str() == text);
            match item.as_str().and_then(known) {
                Some(event) if events.contains(&event) => {}
                Some(event) => events.push(event),
                None => {
                    let expected = one_of(EventKind::ALL.iter().map(|event| event.as_str()));
                    f.sink.mistake(&path, describe(item), expected);
                }
            }
        });
        events
    }
}

fn read_quiet_hours(f: &Fields<'_>) -> Option<QuietHours> {
    f.object("quietHours", |f| {
        let time = |key: &'static str| {
            let Some(text) = f.string(key) else {
                if f.value(key).is_none() {
                    f.mistake(key, "nothing", TIME_EXPECTED);
                }
                return None;
            };
            let minute = minute_of_day(text);
            if minute.is_none() {
                f.mistake(key, quote(text), TIME_EXPECTED);
            }
            minute
        };
        // Both are looked at, so that both mistakes are seen.
        let (from, to) = (time("from"), time("to"));
        f.finish();
        let hours = QuietHours { from: from?, to: to? };
        if hours.from == hours.to {
            f.mistake("to", "the time they begin", "another time");
        }
        Some(hours)
    })
    .flatten()
}

const TIME_EXPECTED: &str = "a time of day such as \"22:30\"";

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, max: u16| {
        let is_sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| is_sound && *number <= max)
    };
    Some(number(hours, 23)? * 60 + number(minutes, 59)?)
}

/// `Name <address>`, or an address alone.
fn parse_mailbox(text: &str) -> Sender {
    match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((name, address)) => {
            let name = name.trim().trim_matches('"').trim();
            let name = (!name.is_empty()).then(|| name.to_owned());
            Sender { address: address.trim().to_owned(), name }
        }
        None => Sender { address: text.to_owned(), name: None },
    }
}

/// Whether a text can be a mail address: it goes into SMTP commands and header lines.
pub fn is_address(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else { return false };
    let is_sound = |char: char| !char.is_whitespace() && !char.is_control() && !"<>(),;:\\\"".contains(char);
    !name.is_empty()
        && name.len() <= 64
        && !domain.is_empty()
        && text.len() <= 254
        && !name.contains('@')
        && text.chars().all(is_sound)
}

fn is_host(text: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_sound)
}

/// Path and query of a URL.
pub(super) fn target_of(url: &str) -> String {
    let rest = url.trim().split_once("://").map_or("", |(_, rest)| rest);
    let target = &rest[rest.find(['/', '?']).unwrap_or(rest.len())..];
    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
}

/// `endpoint=https://…/;accesskey=…`, in any order and case of the names.
fn connection_string(text: &str) -> Option<(Endpoint, Secret)> {
    let (mut endpoint, mut key) = (None, None);
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "endpoint" => endpoint = Endpoint::parse(value).ok().filter(|endpoint| endpoint.query.is_none()),
            "accesskey" => key = Some(value.trim()).filter(|key| !key.is_empty()),
            _ => {}
        }
    }
    Some((endpoint?, Secret::new(key?)))
}
