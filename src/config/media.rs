//! `media`: what clients name by a URL and a model takes only as bytes.

use std::time::Duration;

use super::fields::Fields;
use super::settings::{ms, section, set};

/// Whether and how media at URLs are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSettings {
    /// Whether they are at all; else such a request is refused. Default true.
    pub fetch: bool,
    /// `timeoutMs`, default 10,000: for all media of one request together.
    pub timeout: Duration,
    /// `bytesMax`, default 20 MiB: longest medium.
    pub bytes_max: usize,
    /// `allowHosts`, default none: hosts that may be read although they are not on the public internet, in lower case.
    pub allow_hosts: Vec<String>,
}

impl MediaSettings {
    pub(super) fn read(f: &Fields<'_>) -> Self {
        let mut own = Self { fetch: true, timeout: ms(10_000), bytes_max: 20 << 20, allow_hosts: Vec::new() };
        section(f, "media", |f| {
            set(&mut own.fetch, f.bool("fetch"));
            set(&mut own.timeout, f.duration("timeoutMs", 1..=600_000));
            set(&mut own.bytes_max, f.integer("bytesMax", 1_024..=1 << 30).map(|n| n as usize));
            own.allow_hosts = f.strings("allowHosts").iter().map(|host| host.to_ascii_lowercase()).collect();
        });
        own
    }
}
