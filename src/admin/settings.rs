//! Settings.

use serde_json::{Map, Value, json};

use super::answer::{ApiError, tagged_answer};
use super::ask::Ask;
use super::change::Subject;
use super::entries::settings;
use super::limits::{self, LIMITS};
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use crate::config::files::SETTINGS;
use crate::config::settings::{Settings, TraceStream};

static CHANNEL: Record = Record {
    name: "Channel",
    about: "Where alerts go. Which fields count depends on the provider: docs/notifications.md.",
    key: "id",
    fields: &[
        Field::new("id", Kind::Text).about("Made where it is not given."),
        Field::new("provider", Kind::Text)
            .about("`smtp`, `ses`, `sendgrid`, `azure`, `google` or `webhook`. Also `type`.")
            .also(&["type"]),
        Field::new("name", Kind::Text),
        Field::new("enabled", Kind::Flag),
        Field::new("fromAddress", Kind::Text),
        Field::new("fromName", Kind::Text),
        Field::new("from", Kind::Text),
        Field::new("to", Kind::Any).about("An address, or several."),
        Field::new("host", Kind::Text),
        Field::new("port", Kind::Whole),
        Field::new("secure", Kind::Flag),
        Field::new("username", Kind::Text),
        Field::new("user", Kind::Text),
        Field::new("password", Kind::Secret),
        Field::new("allowInvalidCert", Kind::Flag),
        Field::new("region", Kind::Text),
        Field::new("accessKeyId", Kind::Text),
        Field::new("secretAccessKey", Kind::Secret),
        Field::new("apiKey", Kind::Secret),
        Field::new("connectionString", Kind::Secret),
        Field::new("clientId", Kind::Text),
        Field::new("clientSecret", Kind::Secret),
        Field::new("refreshToken", Kind::Secret),
        Field::new("tokenUrl", Kind::Text),
        Field::new("url", Kind::Text),
        Field::new("method", Kind::Word(&["POST", "GET"])),
        Field::new("secret", Kind::Secret),
        Field::new("events", Kind::List(&Kind::Text)),
        Field::new("quietHours", Kind::Map),
    ],
};

static NOTIFICATIONS: Record = Record {
    name: "Notifications",
    about: "Where alerts go. In bodies also just the array of channels.",
    key: "",
    fields: &[Field::new("channels", Kind::List(&Kind::Record(&CHANNEL)))],
};

static TELEMETRY: Record = Record {
    name: "Telemetry",
    about: "Nothing is sent unless it is enabled and an endpoint is named.",
    key: "",
    fields: &[
        Field::new("enabled", Kind::Flag),
        Field::new("endpoint", Kind::Text),
        Field::new("installId", Kind::Text).about("Made when it is first enabled.").answers(),
        Field::new("lastPingedVersion", Kind::Text).answers(),
    ],
};

pub(super) static SETTINGS_RECORD: Record = Record {
    name: "Settings",
    about: "What docs/configuration.md says. Sections are changed member by member.",
    key: "",
    fields: &[
        Field::new("port", Kind::Whole).always(),
        Field::new("host", Kind::Text).always(),
        Field::new("dashboardEnabled", Kind::Flag).always(),
        Field::new("defaultTimeoutMs", Kind::Whole).always(),
        Field::new("logLevel", Kind::Word(&["trace", "debug", "info", "warn", "error"])).always(),
        Field::new("logFormat", Kind::Word(&["json", "pretty"])),
        Field::new("publicUrl", Kind::Text).always(),
        Field::new("channel", Kind::Text).about("`stable`, `latest`, `develop` or a version.").always(),
        Field::new("notifications", Kind::Record(&NOTIFICATIONS)),
        Field::new("webhookAllowHosts", Kind::List(&Kind::Text)),
        Field::new("telemetry", Kind::Record(&TELEMETRY)),
        Field::new("budgets", LIMITS).about("Of the whole platform."),
        Field::new("limitsMode", Kind::Word(limits::MODES)),
        Field::new("reserveOutputTokens", Kind::Whole),
        Field::new("timezone", Kind::Text).always(),
        Field::new("usageRetentionDays", Kind::Whole).always(),
        Field::new("corsOrigins", Kind::List(&Kind::Text)),
        Field::new("trustedProxies", Kind::List(&Kind::Text)),
        Field::new("loginTtlSeconds", Kind::Whole).always(),
        Field::new("traceStream", Kind::Word(&["none", "summary", "full"])).always(),
        Field::new("driver", Kind::Word(&["auto", "io_uring", "epoll"])),
        Field::new("cores", Kind::Whole),
        Field::new("drainTimeoutMs", Kind::Whole),
        Field::new("tls", Kind::Section),
        Field::new("caFile", Kind::Text),
        Field::new("serverTiming", Kind::Flag),
        Field::new("accessLog", Kind::Flag),
        Field::new("aliasRoutes", Kind::Flag),
        Field::new("metrics", Kind::Section),
        Field::new("audit", Kind::Section),
        Field::new("server", Kind::Section),
        Field::new("upstream", Kind::Section),
        Field::new("journal", Kind::Section),
        Field::new("responses", Kind::Section),
        Field::new("responseCacheBytesMax", Kind::Whole),
        Field::new("media", Kind::Section),
        Field::new("traces", Kind::Section),
        Field::new("tracePrompts", Kind::Flag),
        Field::new("overridden", Kind::List(&Kind::Text))
            .about("What the environment decides: it cannot be changed here.")
            .answers()
            .always(),
        Field::new("restartRequired", Kind::Flag).answers().always(),
        Field::new("restartFor", Kind::List(&Kind::Text))
            .about("What waits for a restart.")
            .answers()
            .always(),
    ],
};

fn subject() -> Subject {
    Subject::document("settings", SETTINGS, &SETTINGS_RECORD)
}

/// Channels in the one form that the API has: an object with `channels`, each with the id that it is sealed by.
fn normal(notifications: &Value) -> Value {
    let with_id = |(id, channel): (String, &Value)| {
        let mut channel = channel.clone();
        if channel.is_object() && channel["id"].as_str().is_none_or(str::is_empty) {
            channel["id"] = id.into();
        }
        channel
    };
    let numbered = |channels: &Vec<Value>| -> Value {
        let channels = channels.iter().enumerate().map(|(at, channel)| (format!("channel_{at}"), channel));
        channels.map(with_id).collect()
    };
    match notifications {
        Value::Array(channels) => json!({"channels": numbered(channels)}),
        Value::Object(map) => match map.get("channels") {
            Some(Value::Array(channels)) => {
                let mut out = map.clone();
                out.insert("channels".to_owned(), numbered(channels));
                out.into()
            }
            Some(_) => notifications.clone(),
            // The oldest form: an object for each way of sending.
            None => {
                let old = |(kind, channel): (&String, &Value)| {
                    let mut channel = with_id((format!("migrated_{kind}"), channel));
                    if channel["provider"].is_null() && channel["type"].is_null() {
                        channel["provider"] = kind.as_str().into();
                    }
                    channel
                };
                let channels = map.iter().filter(|(_, channel)| channel.is_object()).map(old);
                json!({"channels": channels.collect::<Vec<_>>()})
            }
        },
        other => other.clone(),
    }
}

fn shown(stored: &Map<String, Value>, now: &Settings, started: &Settings) -> Value {
    let mut stored = stored.clone();
    if let Some(notifications) = stored.get_mut("notifications") {
        *notifications = normal(notifications);
    }
    let mut shown = SETTINGS_RECORD.shown(&stored);
    let trace_stream = match now.trace_stream {
        TraceStream::None => "none",
        TraceStream::Summary => "summary",
        TraceStream::Full => "full",
    };
    let waiting = started.restart_needed(now);
    for (key, value) in [
        ("port", json!(now.port)),
        ("host", json!(now.host.to_string())),
        ("dashboardEnabled", json!(now.dashboard_enabled)),
        ("defaultTimeoutMs", json!(now.default_timeout.as_millis() as u64)),
        ("logLevel", json!(now.log_level.as_str())),
        ("publicUrl", json!(now.public_url)),
        ("channel", json!(now.channel)),
        ("timezone", json!(now.timezone)),
        ("usageRetentionDays", json!(now.usage_retention_days)),
        ("loginTtlSeconds", json!(now.login_ttl.as_secs())),
        ("traceStream", json!(trace_stream)),
        ("overridden", json!(now.overridden)),
        ("restartRequired", json!(!waiting.is_empty())),
        ("restartFor", json!(waiting)),
    ] {
        shown.insert(key.to_owned(), value);
    }
    shown.into()
}

fn read(office: &Office) -> Result<(Value, String), ApiError> {
    let document = office.document(SETTINGS)?;
    let empty = Map::new();
    let stored = document.as_object().unwrap_or(&empty);
    let config = office.config();
    Ok((shown(stored, config.settings(), &office.started_with), subject().tag(stored)))
}

/// `GET /api/settings`.
pub(super) fn show(office: &mut Office, _: &Ask<'_>) -> Answered {
    let (shown, tag) = read(office)?;
    Ok(tagged_answer(200, &shown, tag))
}

/// `PUT /api/settings`: what is not named stays; null gives a setting its default.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut body = ask.object()?;
    if let Some(notifications) = body.get_mut("notifications").filter(|value| value.is_array()) {
        *notifications = json!({"channels": notifications.take()});
    }
    for (at, channel) in channels_of(&mut body).into_iter().flatten().enumerate() {
        if channel.is_object() && channel["id"].as_str().is_none_or(str::is_empty) {
            channel["id"] = format!("{}-{at}", uuid::Uuid::new_v4().simple()).into();
        }
    }
    limits::canonical(&mut body, "budgets");
    let mut problems = Problems::new();
    let mut body = SETTINGS_RECORD.read(body, false, &mut problems);
    let (before, _) = read(office)?;
    let document = office.document(SETTINGS)?;
    let overridden = office.config().settings().overridden.clone();
    // Who sends back what he has read does not want to write down defaults, nor what the environment says.
    body.retain(|key, value| {
        let is_same = before[key] == *value;
        let is_overridden = overridden.contains(&key.as_str());
        if is_overridden && !is_same {
            problems.push((key.clone(), "is set by the environment".to_owned()));
        }
        !(is_overridden || is_same && document[key.as_str()].is_null())
    });
    if let Some(channel) = body.get("channel").and_then(Value::as_str)
        && !is_release(channel)
    {
        problems.push(("channel".to_owned(), "expected stable, latest, develop or a version".to_owned()));
        body.shift_remove("channel");
    }
    office.change(subject().if_match(ask.call.if_match.as_ref()), problems, move |draft| {
        let stored = settings(draft)?;
        if body.contains_key("notifications")
            && let Some(notifications) = stored.get_mut("notifications")
        {
            *notifications = normal(notifications);
        }
        let mut problems = Problems::new();
        SETTINGS_RECORD.merge(stored, &body, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        if let Some(Value::Object(telemetry)) = stored.get_mut("telemetry")
            && telemetry.get("enabled").is_some_and(|enabled| *enabled == true)
        {
            telemetry.entry("installId").or_insert_with(|| uuid::Uuid::new_v4().to_string().into());
        }
        Ok(())
    })?;
    let (shown, tag) = read(office)?;
    Ok(tagged_answer(200, &shown, tag))
}

fn channels_of(body: &mut Map<String, Value>) -> Option<&mut Vec<Value>> {
    body.get_mut("notifications")?.get_mut("channels")?.as_array_mut()
}

/// A release channel, or a version.
fn is_release(channel: &str) -> bool {
    let version = channel.strip_prefix('v').unwrap_or(channel);
    let parts: Vec<&str> = version.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(channel, "stable" | "latest" | "develop") || parts.len() == 3 && parts.iter().all(is_number)
}
