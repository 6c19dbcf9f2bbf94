//! Typed settings: every field with its default, unit and danger.
//!
//! Owns the shape of `config/settings.json` and what the environment overrides in it. All values are checked here;
//! nothing later has to wonder whether a port is 0 or a window negative.
//!
//! Source: the project's configuration specification, sections 2 and 3; the deadlines and bounds are this
//! project's own.

mod logging;
mod management;
mod retry;
mod traces;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::env::{self, Env, Proxies};
use super::fields::Fields;
use super::limit::{Limit, read_limits};
use super::media::MediaSettings;
use super::mistake::{Mistake, Path, Sink, quote};
use super::notifications::{self, Channel};
use super::{NoKeys, Opener};
use crate::limits::MIB;
use crate::provider::Endpoint;
use crate::routing::breaker::BreakerRules;
use crate::routing::retry::RetryRules;

pub use logging::{LogFormat, LogLevel};
use management::read_channel;

pub use management::{ManagementSettings, Network};
pub use traces::{KeepTraces, TracesSettings};

/// One day in milliseconds: the longest of all deadlines. A longer one is a unit mistaken.
const DAY_MS: u64 = 86_400_000;

/// Runtime driver of the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// How much of a trace a stream opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceStream {
    /// Nothing: the stream is the provider's, byte for byte.
    None,
    /// One event in front.
    Summary,
    /// Every entry as it happens.
    Full,
}

/// What a core does when its journal is full because the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Goes on serving; the records of that time are lost and counted.
    Serve,
    /// Answers 503 until there is room.
    Refuse,
}

pub(crate) const TRACE_STREAMS: [(&str, TraceStream); 3] =
    [("none", TraceStream::None), ("summary", TraceStream::Summary), ("full", TraceStream::Full)];

/// `config/settings.json` with the environment over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// TCP port to listen on; default 3000. 0 lets the kernel choose. Takes a restart.
    pub port: u16,
    /// Address to listen on; default `0.0.0.0`, every interface. Takes a restart.
    pub host: IpAddr,
    /// Serve the dashboard; default true.
    pub dashboard_enabled: bool,
    /// `defaultTimeoutMs`, default 30,000: time of one attempt up to the first byte of the response, where neither
    /// model nor project says otherwise. Too low: slow reasoning models never answer.
    pub default_timeout: Duration,
    /// Default `info`. Effective at once.
    pub log_level: LogLevel,
    /// Default `pretty`, or `json` under `NODE_ENV=production`.
    pub log_format: LogFormat,
    /// Where people reach this gateway, without trailing slash; default `http://localhost:<port>`.
    pub public_url: String,
    /// Release channel; default `stable`.
    pub channel: String,
    /// `notifications`: alert channels; default none.
    pub channels: Vec<Channel>,
    /// `webhookAllowHosts`, default none: hosts that channels may reach off the public internet, in lower case.
    pub notify_hosts: Vec<String>,
    /// `diskLowBytes`, default 1 GiB: free space below which channels are told; 0 for never.
    pub disk_low_bytes: u64,
    /// Telemetry consent, as it stands in the file; null: never asked.
    pub telemetry: Value,
    /// Limits of the whole platform; default none.
    pub budgets: Vec<Limit>,
    /// `reserveOutputTokens`, default 4,096: what a request without a bound of its own holds of limits while it runs.
    pub reserve_output_tokens: u64,
    /// IANA name for calendar windows; default `UTC`.
    pub timezone: String,
    /// Days after which usage records are deleted; default 0, never.
    pub usage_retention_days: u32,
    /// Origins that a browser may call the management API from; default none but the own one.
    pub cors_origins: Vec<String>,
    /// `loginTtlSeconds`, default 86,400: life of a sign-in token.
    pub login_ttl: Duration,
    /// Default `summary`. A project or a request may say otherwise.
    pub trace_stream: TraceStream,
    /// Default `auto`. Takes a restart.
    pub driver: Driver,
    /// Threads that serve; default 0, one per core of the machine. Takes a restart.
    pub cores: usize,
    /// `drainTimeoutMs`, default 30,000: how long streams may go on after SIGTERM. 0 cuts them at once.
    pub drain_timeout: Duration,
    /// TLS on the listener; default none. Effective from the next connection; the files are read again on SIGHUP.
    pub tls: Option<TlsFiles>,
    /// `caFile`: PEM file of roots that upstreams may also chain to; default none. Read again on SIGHUP.
    pub ca_file: Option<PathBuf>,
    /// Send `Server-Timing`; default false. Tells clients what the gateway itself costs.
    pub server_timing: bool,
    /// One line per request; default true.
    pub access_log: bool,
    /// Serve the alias paths under `/api/openai`, `/api/anthropic` and `/anthropic`; default true.
    pub alias_routes: bool,
    /// `metrics.enabled`, default true: `/metrics` answers without authentication. Keep the port private.
    pub metrics_enabled: bool,
    /// Usage journal.
    pub journal: JournalSettings,
    /// Kept responses.
    pub responses: ResponsesSettings,
    /// `responseCacheBytesMax`, default 64 MiB: memory for answers that projects keep for the same request, all together.
    pub cache_bytes_max: usize,
    /// Media at URLs.
    pub media: MediaSettings,
    /// Traces of requests.
    pub traces: TracesSettings,
    /// `tracePrompts`, default false: traces have what clients say and models answer, encrypted where they are kept.
    pub trace_prompts: bool,
    /// Management API.
    pub management: ManagementSettings,
    /// Client side.
    pub server: ServerSettings,
    /// Provider side.
    pub upstream: UpstreamSettings,
    /// Fields that the environment decides, as named in the file: to be shown as read-only.
    pub overridden: Vec<&'static str>,
}

impl Settings {
    /// Names, as in the file, of what differs in `new` and takes effect with a restart only.
    pub fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("port", self.port != new.port),
            ("host", self.host != new.host),
            ("driver", self.driver != new.driver),
            ("cores", self.cores != new.cores),
            ("logFormat", self.log_format != new.log_format),
            ("journal.bytesPerCore", self.journal.bytes_per_core != new.journal.bytes_per_core),
            ("journal.fsyncIntervalMs", self.journal.fsync_interval != new.journal.fsync_interval),
            ("journal.rotateBytes", self.journal.rotate_bytes != new.journal.rotate_bytes),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// Certificate and key of the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the chain with the server's own certificate first.
    pub cert_file: PathBuf,
    /// PEM, PKCS#8, SEC1 or PKCS#1.
    pub key_file: PathBuf,
}

/// `responses`: what is kept for clients that go on by `previous_response_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponsesSettings {
    /// Days that a response is kept. Default 30.
    pub days: u64,
    /// Bytes of all of them on disk; the oldest make room. Default 1 GiB.
    pub bytes_max: u64,
    /// Bytes of one project's; its own oldest make room. Default 256 MiB.
    pub project_bytes_max: u64,
}

/// `journal`: the per-core usage journals and their merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// `bytesPerCore`, default 16 MiB: room for about 30,000 records between two merges, or in a stall of the disk.
    /// Takes a restart.
    pub bytes_per_core: usize,
    /// `fsyncIntervalMs`, default 100: what a power cut can take. Lower costs disk writes. Takes a restart.
    pub fsync_interval: Duration,
    /// `mergeIntervalMs`, default 100: age of the merged counters.
    pub merge_interval: Duration,
    /// Default `serve`.
    pub on_full: OnFull,
    /// `rotateBytes`, default 256 MiB: size at which `data/usage.json` moves aside. Takes a restart.
    pub rotate_bytes: u64,
}

/// `server`: bounds and deadlines towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// `headTimeoutMs`, default 10,000: from the first byte of a request head to its last. Beyond it: 408.
    pub head_timeout: Duration,
    /// `bodyTimeoutMs`, default 60,000: idle time between two pieces of a request body. Beyond it: 408.
    pub body_timeout: Duration,
    /// `keepAliveTimeoutMs`, default 75,000: idle time between two requests. A load balancer in front should
    /// give up sooner, or it sends into a closing connection.
    pub keep_alive_timeout: Duration,
    /// `writeTimeoutMs`, default 60,000: time in which a client must take some of what is sent.
    pub write_timeout: Duration,
    /// `streamKeepAliveMs`, default 15,000: silence of a provider after which a stream's client gets a comment, so
    /// that nobody on the way takes the connection for dead. 0 sends none.
    pub stream_keep_alive: Option<Duration>,
    /// `bodyBytesMax`, default 32 MiB: longest body of an inference request, which is held in memory. Beyond: 413.
    pub body_bytes_max: usize,
    /// `passthroughBodyBytesMax`, default 0, no bound: longest streamed body. Beyond it: 413.
    pub passthrough_body_bytes_max: u64,
    /// `connectionsPerCore`, default 16,384: open client connections of one core. Beyond it new ones wait.
    pub connections_per_core: usize,
}

/// `upstream`: deadlines and pools towards providers. 0 switches a deadline off where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// `connectTimeoutMs`, default 5,000: name known to connection open, TLS included.
    pub connect_timeout: Duration,
    /// `firstByteTimeoutMs`: request sent to first byte; default 0, the attempt's own time ([`Settings::default_timeout`],
    /// project, model).
    pub first_byte_timeout: Option<Duration>,
    /// `streamIdleTimeoutMs`, default 60,000: silence inside a response.
    pub stream_idle_timeout: Duration,
    /// `totalTimeoutMs`, default 600,000: the whole request, all attempts; 0 for none.
    pub total_timeout: Option<Duration>,
    /// `poolIdleTimeoutMs`, default 60,000: age of an idle connection at which it is closed.
    pub pool_idle_timeout: Duration,
    /// `poolPerEndpoint`, default 512: idle connections kept per core and endpoint.
    pub pool_per_endpoint: usize,
    /// `dnsTtlMs`, default 30,000: how long an address is believed.
    pub dns_ttl: Duration,
    /// From `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxies: Proxies,
    /// `retries` (default 1), `retryBaseMs` (50), `retryMaxMs` (2,000), `retryBudgetPercent` (20),
    /// `retryBudgetPerSecond` (10), `rateLimitCooldownMs` (30,000), `hedgeAfterMs` (0: never).
    pub retry: RetryRules,
    /// `breaker`: `failures` (5), `errorPercent` (50), `samplesMin` (20), `windowMs` (10,000), `cooldownMs` (10,000).
    pub breaker: BreakerRules,
}

impl Default for Settings {
    fn default() -> Self {
        let sink = Sink::new("", "");
        Self::read(&Map::new(), &sink, &Env::default(), &NoKeys, &mut Vec::new())
    }
}

impl Settings {
    /// Checks the file's object and lays the environment over it.
    pub(crate) fn read(
        map: &Map<String, Value>,
        sink: &Sink<'_>,
        env: &Env,
        keys: &dyn Opener,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let fields = Fields::new(map, Path::Root, sink);
        let f = &fields;
        let mut over = Overrides { env, mistakes, names: Vec::new() };
        let port = f.integer("port", 0..=65_535).map_or(3_000, |port| port as u16);
        let port = over.port().unwrap_or(port);
        let file_host = f.string("host").and_then(|host| {
            parse_host(host).or_else(|| {
                f.mistake("host", quote(host), HOST_EXPECTED);
                None
            })
        });
        let host = over.host().or(file_host).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let log_level = f.word("logLevel", &logging::LEVELS);
        let log_format = f.word("logFormat", &logging::FORMATS);
        let fallback = if env.is_production { LogFormat::Json } else { LogFormat::Pretty };
        let file_url = f.string("publicUrl").and_then(|url| {
            parse_public_url(url).map_err(|reason| f.mistake("publicUrl", reason, URL_EXPECTED)).ok()
        });
        let settings = Self {
            port,
            host,
            dashboard_enabled: f.bool("dashboardEnabled").unwrap_or(true),
            default_timeout: f.duration("defaultTimeoutMs", 1..=DAY_MS).unwrap_or(ms(30_000)),
            log_level: over.log_level().or(log_level).unwrap_or(LogLevel::Info),
            log_format: over.log_format().or(log_format).unwrap_or(fallback),
            public_url: over.public_url().or(file_url).unwrap_or_else(|| format!("http://localhost:{port}")),
            channel: read_channel(f),
            channels: notifications::read(f, keys),
            notify_hosts: f
                .strings("webhookAllowHosts")
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            disk_low_bytes: f.integer("diskLowBytes", 0..=1 << 50).unwrap_or(1 << 30),
            telemetry: f.value("telemetry").cloned().unwrap_or_default(),
            budgets: read_limits(f, "budgets"),
            reserve_output_tokens: f.integer("reserveOutputTokens", 0..=u64::MAX).unwrap_or(4_096),
            timezone: read_timezone(f),
            usage_retention_days: f.integer("usageRetentionDays", 0..=36_500).unwrap_or(0) as u32,
            cors_origins: f.strings("corsOrigins"),
            login_ttl: Duration::from_secs(f.integer("loginTtlSeconds", 60..=31_536_000).unwrap_or(86_400)),
            trace_stream: f.word("traceStream", &TRACE_STREAMS).unwrap_or(TraceStream::Summary),
            driver: f
                .word(
                    "driver",
                    &[("auto", Driver::Auto), ("io_uring", Driver::IoUring), ("epoll", Driver::Epoll)],
                )
                .unwrap_or(Driver::Auto),
            cores: f.integer("cores", 0..=1_024).unwrap_or(0) as usize,
            drain_timeout: f.duration("drainTimeoutMs", 0..=DAY_MS).unwrap_or(ms(30_000)),
            tls: read_tls(f),
            ca_file: f.string("caFile").map(PathBuf::from),
            server_timing: f.bool("serverTiming").unwrap_or(false),
            access_log: f.bool("accessLog").unwrap_or(true),
            alias_routes: f.bool("aliasRoutes").unwrap_or(true),
            metrics_enabled: section(f, "metrics", |f| f.bool("enabled")).flatten().unwrap_or(true),
            journal: JournalSettings::read(f),
            responses: ResponsesSettings::read(f),
            cache_bytes_max: f
                .integer("responseCacheBytesMax", 0..=64 * 1024 * MIB as u64)
                .map_or(64 * MIB, |bytes| bytes as usize),
            media: MediaSettings::read(f),
            traces: TracesSettings::read(f),
            trace_prompts: f.bool("tracePrompts").unwrap_or(false),
            management: ManagementSettings::read(f),
            server: ServerSettings::read(f),
            upstream: UpstreamSettings::read(f, env, over.mistakes),
            overridden: over.names,
        };
        // Keys of other parts of the product, which are kept and not read here.
        f.also_known(&["cluster", "users", "version", "scope"]);
        f.finish();
        settings
    }
}

impl JournalSettings {
    fn read(f: &Fields<'_>) -> Self {
        let mut own = Self {
            bytes_per_core: 16 * MIB,
            fsync_interval: ms(100),
            merge_interval: ms(100),
            on_full: OnFull::Serve,
            rotate_bytes: 256 * MIB as u64,
        };
        section(f, "journal", |f| {
            set(&mut own.bytes_per_core, f.integer("bytesPerCore", 65_536..=1 << 30).map(|n| n as usize));
            set(&mut own.fsync_interval, f.duration("fsyncIntervalMs", 1..=60_000));
            set(&mut own.merge_interval, f.duration("mergeIntervalMs", 1..=60_000));
            set(&mut own.on_full, f.word("onFull", &[("serve", OnFull::Serve), ("refuse", OnFull::Refuse)]));
            set(&mut own.rotate_bytes, f.integer("rotateBytes", 1 << 20..=1 << 40));
        });
        own
    }
}

impl ResponsesSettings {
    fn read(f: &Fields<'_>) -> Self {
        let mut own = Self { days: 30, bytes_max: 1 << 30, project_bytes_max: 1 << 28 };
        section(f, "responses", |f| {
            set(&mut own.days, f.integer("days", 1..=3_650));
            set(&mut own.bytes_max, f.integer("bytesMax", 1 << 20..=1 << 50));
            set(&mut own.project_bytes_max, f.integer("projectBytesMax", 1 << 20..=1 << 50));
        });
        own
    }
}

impl ServerSettings {
    fn read(f: &Fields<'_>) -> Self {
        let mut own = Self {
            head_timeout: ms(10_000),
            body_timeout: ms(60_000),
            keep_alive_timeout: ms(75_000),
            stream_keep_alive: Some(ms(15_000)),
            write_timeout: ms(60_000),
            body_bytes_max: 32 * MIB,
            passthrough_body_bytes_max: 0,
            connections_per_core: 16_384,
        };
        section(f, "server", |f| {
            set(&mut own.head_timeout, f.duration("headTimeoutMs", 10..=DAY_MS));
            set(&mut own.body_timeout, f.duration("bodyTimeoutMs", 10..=DAY_MS));
            set(&mut own.keep_alive_timeout, f.duration("keepAliveTimeoutMs", 10..=DAY_MS));
            set(&mut own.write_timeout, f.duration("writeTimeoutMs", 10..=DAY_MS));
            let some = |time: Duration| (!time.is_zero()).then_some(time);
            set(&mut own.stream_keep_alive, f.duration("streamKeepAliveMs", 0..=DAY_MS).map(some));
            set(&mut own.body_bytes_max, f.integer("bodyBytesMax", 1_024..=1 << 31).map(|n| n as usize));
            set(&mut own.passthrough_body_bytes_max, f.integer("passthroughBodyBytesMax", 0..=1 << 50));
            set(
                &mut own.connections_per_core,
                f.integer("connectionsPerCore", 1..=1 << 20).map(|n| n as usize),
            );
        });
        own
    }
}

impl UpstreamSettings {
    fn read(f: &Fields<'_>, env: &Env, mistakes: &mut Vec<Mistake>) -> Self {
        let mut own = Self {
            connect_timeout: ms(5_000),
            first_byte_timeout: None,
            stream_idle_timeout: ms(60_000),
            total_timeout: Some(ms(600_000)),
            pool_idle_timeout: ms(60_000),
            pool_per_endpoint: 512,
            dns_ttl: ms(30_000),
            proxies: Proxies::check(&env.proxy, mistakes),
            retry: retry::RETRY_DEFAULTS,
            breaker: retry::BREAKER_DEFAULTS,
        };
        let some = |time: Duration| (!time.is_zero()).then_some(time);
        section(f, "upstream", |f| {
            set(&mut own.connect_timeout, f.duration("connectTimeoutMs", 1..=DAY_MS));
            set(&mut own.first_byte_timeout, f.duration("firstByteTimeoutMs", 0..=DAY_MS).map(some));
            set(&mut own.stream_idle_timeout, f.duration("streamIdleTimeoutMs", 1..=DAY_MS));
            set(&mut own.total_timeout, f.duration("totalTimeoutMs", 0..=DAY_MS).map(some));
            set(&mut own.pool_idle_timeout, f.duration("poolIdleTimeoutMs", 1..=DAY_MS));
            set(&mut own.pool_per_endpoint, f.integer("poolPerEndpoint", 0..=65_536).map(|n| n as usize));
            set(&mut own.dns_ttl, f.duration("dnsTtlMs", 0..=DAY_MS));
            retry::read_retry(f, &mut own.retry);
            retry::read_breaker(f, &mut own.breaker);
        });
        own
    }
}

const HOST_EXPECTED: &str = "an IP address to listen on, such as \"0.0.0.0\" or \"::1\", or \"localhost\"";
const URL_EXPECTED: &str = "an http:// or https:// URL";

/// What the environment sets, and which fields that decided.
struct Overrides<'a> {
    env: &'a Env,
    mistakes: &'a mut Vec<Mistake>,
    names: Vec<&'static str>,
}

impl Overrides<'_> {
    fn port(&mut self) -> Option<u16> {
        let (name, value) = self.env.port.as_ref()?;
        self.names.push("port");
        value
            .trim()
            .parse()
            .map_err(|_| self.wrong(name, quote(value), "a whole number from 0 to 65535"))
            .ok()
    }

    fn host(&mut self) -> Option<IpAddr> {
        let value = self.env.host.as_ref()?;
        self.names.push("host");
        let host = parse_host(value);
        if host.is_none() {
            self.wrong("ROUTERLY_HOST", quote(value), HOST_EXPECTED);
        }
        host
    }

    fn public_url(&mut self) -> Option<String> {
        let value = self.env.public_url.as_ref()?;
        self.names.push("publicUrl");
        parse_public_url(value).map_err(|reason| self.wrong("ROUTERLY_PUBLIC_URL", reason, URL_EXPECTED)).ok()
    }

    fn log_level(&mut self) -> Option<LogLevel> {
        let value = self.env.log_level.as_ref()?;
        self.names.push("logLevel");
        env::word("ROUTERLY_LOG_LEVEL", value, &logging::LEVELS, self.mistakes)
    }

    fn log_format(&mut self) -> Option<LogFormat> {
        let value = self.env.log_format.as_ref()?;
        self.names.push("logFormat");
        env::word("ROUTERLY_LOG_FORMAT", value, &logging::FORMATS, self.mistakes)
    }

    fn wrong(&mut self, variable: &str, found: impl Into<String>, expected: &str) {
        self.mistakes.push(env::mistake(variable, found, expected));
    }
}

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Reads an object of settings and reports its unknown keys.
pub(super) fn section<T>(
    fields: &Fields<'_>,
    key: &'static str,
    read: impl FnOnce(&Fields<'_>) -> T,
) -> Option<T> {
    fields.object(key, |inner| {
        let value = read(inner);
        inner.finish();
        value
    })
}

fn parse_host(host: &str) -> Option<IpAddr> {
    let host = host.trim();
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn parse_public_url(url: &str) -> Result<String, String> {
    match Endpoint::parse(url) {
        Ok(endpoint) if endpoint.query.is_none() => Ok(endpoint.to_string()),
        Ok(_) => Err("a URL with a query".to_owned()),
        Err(reason) => Err(format!("a URL that is not usable: {reason}")),
    }
}

fn read_timezone(f: &Fields<'_>) -> String {
    let name = f.string("timezone").unwrap_or("UTC");
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_sound);
    if !is_name || TimeZone::get(name).is_err() {
        f.mistake("timezone", quote(name), "an IANA time zone name, such as \"UTC\" or \"Europe/Rome\"");
    }
    name.to_owned()
}

fn read_tls(f: &Fields<'_>) -> Option<TlsFiles> {
    section(f, "tls", |f| {
        // An object with both files empty is how the dashboard says "off".
        let (cert, key) = (f.string("certFile"), f.string("keyFile"));
        match (cert.filter(|path| !path.is_empty()), key.filter(|path| !path.is_empty())) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert_file: cert.into(), key_file: key.into() }),
            (None, None) => None,
            (cert, _) => {
                let missing = if cert.is_some() { "keyFile" } else { "certFile" };
                f.mistake(missing, "nothing", "a path, since the other file of the pair is given");
                None
            }
        }
    })
    .flatten()
}

#[cfg(test)]
mod tests;
