//! Notification channels: where alerts go and how.
//!
//! Owns `notifications` of `config/settings.json` in its three forms: the object with `channels`, the bare array, and the
//! older object with one member for each way of sending. What is missing from a channel makes that channel unusable and is
//! warned of; what is malformed is a mistake.
//!
//! Source: the project's routing specification, section 11; configuration specification, sections 3 and 4.2.

mod read;

use super::Secret;
use crate::provider::Endpoint;

pub use read::is_address;
pub(in crate::config) use read::read;

/// Fields of a channel that are encrypted at rest and never shown.
pub const SECRET_FIELDS: [&str; 7] =
    ["password", "secretAccessKey", "apiKey", "connectionString", "clientSecret", "refreshToken", "secret"];

/// What can be notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A limit is used up to a percentage.
    BudgetThreshold,
    /// A limit is used up.
    BudgetExhausted,
    /// A limit that was used up to a percentage has room again: its window is over.
    BudgetReset,
    /// Calls to a provider keep failing.
    ProviderUnhealthy,
    /// A provider does not take a key.
    KeyInvalid,
    /// The disk with the data is nearly full.
    DiskLow,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BudgetThreshold,
        Self::BudgetExhausted,
        Self::BudgetReset,
        Self::ProviderUnhealthy,
        Self::KeyInvalid,
        Self::DiskLow,
    ];

    /// The spelling in settings and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BudgetThreshold => "budget.threshold",
            Self::BudgetExhausted => "budget.exhausted",
            Self::BudgetReset => "budget.reset",
            Self::ProviderUnhealthy => "provider.unhealthy",
            Self::KeyInvalid => "key.invalid",
            Self::DiskLow => "disk.low",
        }
    }
}

/// One way out of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Unique; what ciphertext of its secrets is bound to.
    pub id: String,
    /// Name for people; the id where the file gives none.
    pub name: String,
    /// Switched on. Default true.
    pub enabled: bool,
    /// How it sends.
    pub route: Route,
    /// Recipients of mail. Empty: only tests that name one can be sent.
    pub to: Vec<String>,
    /// What it is told of; default everything.
    pub events: Vec<EventKind>,
    /// When it is not to be used: what happens then is sent afterwards.
    pub quiet_hours: Option<QuietHours>,
    /// Why it cannot be used; none when it can.
    pub fault: Option<String>,
}

impl Channel {
    /// Whether it is told of such an event.
    pub fn wants(&self, event: EventKind) -> bool {
        self.enabled && self.events.contains(&event)
    }

    /// The spelling of its kind in settings.
    pub fn provider(&self) -> &'static str {
        match &self.route {
            Route::Smtp { .. } => "smtp",
            Route::Ses { .. } => "ses",
            Route::SendGrid { .. } => "sendgrid",
            Route::Azure { .. } => "azure",
            Route::Google { .. } => "google",
            Route::Webhook { .. } => "webhook",
        }
    }
}

/// How a channel sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A mail server.
    Smtp {
        /// Who it is from.
        sender: Sender,
        /// Where it is.
        relay: Relay,
        /// Name and password; none for a server that takes mail without.
        login: Option<(String, Secret)>,
        /// Take any certificate.
        allow_invalid_cert: bool,
    },
    /// Amazon SES, over its SMTP interface.
    Ses {
        /// Who it is from.
        sender: Sender,
        /// Where it is.
        relay: Relay,
        /// Region, which the password is made for.
        region: String,
        /// Access key and its secret, or the SMTP password made of it.
        login: Option<(String, Secret)>,
    },
    /// SendGrid, over its SMTP interface.
    SendGrid {
        /// Who it is from.
        sender: Sender,
        /// Where it is.
        relay: Relay,
        /// API key.
        key: Option<Secret>,
    },
    /// Azure Communication Services.
    Azure {
        /// Who it is from.
        sender: Sender,
        /// Resource and access key; none where the connection string is missing.
        resource: Option<(Endpoint, Secret)>,
    },
    /// Gmail over SMTP with OAuth 2.
    Google {
        /// Who it is from, and who signs in.
        sender: Sender,
        /// Where mail goes.
        relay: Relay,
        /// Where a refresh token is turned into an access token.
        token_url: Option<Endpoint>,
        /// Client and its grant.
        grant: Option<GoogleGrant>,
    },
    /// An HTTP call.
    Webhook {
        /// Where to; none where it is missing.
        url: Option<Endpoint>,
        /// Path and query, as they stand in the file.
        target: String,
        /// With what.
        method: WebhookMethod,
        /// Signs the calls.
        secret: Option<Secret>,
    },
}

/// Who a mail is from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sender {
    /// Address; empty where it is missing.
    pub address: String,
    /// Name beside it.
    pub name: Option<String>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Name or address; empty where it is missing.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte; else STARTTLS.
    pub secure: bool,
}

/// What Google gives for signing in as somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleGrant {
    /// OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What access tokens are made of.
    pub refresh_token: Secret,
}

/// Method of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookMethod {
    /// What happened is the body.
    Post,
    /// What happened is in the query.
    Get,
}

/// A time of day without alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// First minute of the day.
    pub from: u16,
    /// First minute after it; on the next day where it is not after `from`.
    pub to: u16,
}

#[cfg(test)]
mod tests;
