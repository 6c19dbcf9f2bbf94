//! Settings from the environment: which variables, and what they override.
//!
//! Owns the names. The source is a closure, so that tests need no environment and nothing else in the crate reads
//! it. Order of precedence: environment, file, built-in default.
//!
//! Source: the project's configuration specification, section 2; the proxy variables as curl documents them.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::mistake::{Mistake, quote};
use super::secret::Secret;
use crate::provider::{Endpoint, Scheme};

/// The name under which the environment appears in findings.
const PLACE: &str = "environment";

/// System and processor that this program was made for.
pub fn platform() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// What was set outside of the files.
#[derive(Debug, Default)]
pub struct Env {
    /// `ROUTERLY_HOME`
    pub home: Option<String>,
    /// `HOME`
    pub user_home: Option<String>,
    /// `ROUTERLY_PORT`, else `PORT`, with the name that was set.
    pub port: Option<(&'static str, String)>,
    /// `ROUTERLY_HOST`
    pub host: Option<String>,
    /// `ROUTERLY_PUBLIC_URL`
    pub public_url: Option<String>,
    /// `ROUTERLY_LOG_LEVEL`
    pub log_level: Option<String>,
    /// `ROUTERLY_LOG_FORMAT`
    pub log_format: Option<String>,
    /// `NODE_ENV=production`: JSON logs unless something else says otherwise.
    pub is_production: bool,
    /// `ROUTERLY_SECRET_KEY`: base64 of 32 bytes, in place of `config/secret`.
    pub secret_key: Option<Secret>,
    /// `LOCALROUTER_SECRET_KEY`: base64 of 32 bytes, the key of the first releases; for import only.
    pub legacy_secret_key: Option<Secret>,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, also in lower case.
    pub proxy: ProxyVariables,
    /// `ROUTERLY_TOKEN`: a sign-in token for the command line.
    pub login_token: Option<Secret>,
    /// `NO_COLOR`: whether the command line is to do without (<https://no-color.org>).
    pub no_color: bool,
}

/// The proxy variables as they were set.
#[derive(Debug, Default)]
pub struct ProxyVariables {
    /// For `https` endpoints. May hold a password.
    pub https: Option<Secret>,
    /// For `http` endpoints. May hold a password.
    pub http: Option<Secret>,
    /// Hosts that are reached without a proxy.
    pub no_proxy: Option<String>,
}

impl Env {
    /// Reads everything that is known through `lookup`; an empty value counts as not set.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let either = |upper: &str, lower: &str| get(lower).or_else(|| get(upper)).map(Secret::new);
        let port = |name: &'static str| get(name).map(|value| (name, value));
        Self {
            home: get("ROUTERLY_HOME"),
            user_home: get("HOME"),
            port: port("ROUTERLY_PORT").or_else(|| port("PORT")),
            host: get("ROUTERLY_HOST"),
            public_url: get("ROUTERLY_PUBLIC_URL"),
            log_level: get("ROUTERLY_LOG_LEVEL"),
            log_format: get("ROUTERLY_LOG_FORMAT"),
            is_production: get("NODE_ENV").as_deref() == Some("production"),
            secret_key: get("ROUTERLY_SECRET_KEY").map(Secret::new),
            legacy_secret_key: get("LOCALROUTER_SECRET_KEY").map(Secret::new),
            proxy: ProxyVariables {
                https: either("HTTPS_PROXY", "https_proxy"),
                http: either("HTTP_PROXY", "http_proxy"),
                no_proxy: get("no_proxy").or_else(|| get("NO_PROXY")),
            },
            login_token: get("ROUTERLY_TOKEN").map(Secret::new),
            no_color: lookup("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }

    /// Reads the environment of this process.
    pub fn from_process() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }
}

/// A mistake in a variable. `found` must not hold a secret.
pub(crate) fn mistake(variable: &str, found: impl Into<String>, expected: impl Into<String>) -> Mistake {
    Mistake { path: variable.to_owned(), ..Mistake::of_file(PLACE, found, expected) }
}

/// The proxies through which upstreams are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    bypass: Vec<Bypass>,
}

/// One HTTP proxy, itself spoken to in plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of `Proxy-Authorization`, when the URL holds a user name.
    pub authorization: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bypass {
    host: BypassHost,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BypassHost {
    Any,
    /// The name itself and everything below it.
    Domain(String),
    Network(IpAddr, u8),
}

impl Proxies {
    /// Checks the variables.
    pub(crate) fn check(variables: &ProxyVariables, mistakes: &mut Vec<Mistake>) -> Self {
        let mut proxy = |name: &str, value: &Option<Secret>| {
            let parsed = value.as_ref().map(|value| Proxy::parse(value.expose()))?;
            parsed.map_err(|(found, expected)| mistakes.push(mistake(name, found, expected))).ok()
        };
        let (https, http) = (proxy("HTTPS_PROXY", &variables.https), proxy("HTTP_PROXY", &variables.http));
        let list = variables.no_proxy.as_deref().unwrap_or_default();
        Self { https, http, bypass: list.split([',', ' ']).filter_map(Bypass::parse).collect() }
    }

    /// The proxy for an endpoint; none to call it directly.
    pub fn for_endpoint(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = match endpoint.scheme {
            Scheme::Https => self.https.as_ref(),
            Scheme::Http => self.http.as_ref(),
        }?;
        let is_direct = self.bypass.iter().any(|bypass| bypass.matches(&endpoint.host, endpoint.port));
        (!is_direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(url: &str) -> Result<Self, (&'static str, &'static str)> {
        const EXPECTED: &str = "http://[user:password@]host[:port]";
        let url = url.trim();
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(("a proxy of another kind than http", EXPECTED)),
            None => url,
        };
        let (user, server) = match rest.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, rest),
        };
        let endpoint =
            Endpoint::parse(&format!("http://{server}")).map_err(|_| ("no usable proxy URL", EXPECTED))?;
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let pair = [percent_decode(name), b":".to_vec(), percent_decode(password)].concat();
            Secret::new(format!("Basic {}", BASE64.encode(pair)))
        });
        Ok(Self { host: endpoint.host, port: endpoint.port, authorization })
    }
}

impl Bypass {
    fn parse(item: &str) -> Option<Self> {
        let item = item.trim();
        if item.is_empty() {
            return None;
        }
        if item == "*" {
            return Some(Self { host: BypassHost::Any, port: None });
        }
        if let Some(network) = parse_network(item) {
            return Some(Self { host: network, port: None });
        }
        let (host, port) = match item.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port.parse().ok()),
            _ => (item, None),
        };
        let host = host.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        let host = parse_network(host).unwrap_or_else(|| BypassHost::Domain(host.to_ascii_lowercase()));
        Some(Self { host, port })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.host {
            BypassHost::Any => true,
            BypassHost::Domain(domain) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            BypassHost::Network(network, bits) => {
                host.parse().is_ok_and(|address: IpAddr| is_within(address, *network, *bits))
            }
        }
    }
}

fn parse_network(text: &str) -> Option<BypassHost> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some(BypassHost::Network(address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let drop = width - u32::from(bits).min(width);
        a.checked_shr(drop).unwrap_or(0) == b.checked_shr(drop).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) if *byte == b'%' => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Reads a variable as one of a set of words.
pub(crate) fn word<T: Copy>(
    variable: &str,
    value: &str,
    words: &[(&str, T)],
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let value = value.trim();
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)).map(|(_, meaning)| *meaning);
    if found.is_none() {
        mistakes.push(mistake(
            variable,
            quote(value),
            super::fields::one_of(words.iter().map(|(word, _)| *word)),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(https: &str, http: &str, no_proxy: &str) -> (Proxies, Vec<Mistake>) {
        let env = Env::from_lookup(|name| {
            Some(match name {
                "HTTPS_PROXY" => https.to_owned(),
                "http_proxy" => http.to_owned(),
                "NO_PROXY" => no_proxy.to_owned(),
                _ => return None,
            })
        });
        let mut mistakes = Vec::new();
        (Proxies::check(&env.proxy, &mut mistakes), mistakes)
    }

    #[test]
    fn no_proxy_names_hosts_domains_ports_and_networks() {
        let list = "localhost, .corp.example,exact.example:8443 10.0.0.0/8,[::1]:80,fd00::/8, *.star.example";
        let (proxies, mistakes) = proxies("http://p:3128", "p2", list);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        for (url, direct) in [
            ("https://api.openai.com", false),
            ("http://localhost:11434/v1", true),
            ("https://corp.example", true),
            ("https://a.corp.example", true),
            ("https://acorp.example", false),
            ("https://exact.example:8443", true),
            ("https://exact.example", false),
            ("https://x.star.example", true),
            ("http://10.1.2.3", true),
            ("http://11.1.2.3", false),
            ("http://[::1]", true),
            ("http://[::1]:81", false),
            ("http://[fd12::7]:9", true),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!(proxies.for_endpoint(&endpoint).is_none(), direct, "{url}");
        }
        let (proxies, _) = super::tests::proxies("p", "p", "*");
        assert!(proxies.for_endpoint(&Endpoint::parse("https://h").unwrap()).is_none());
    }

    #[test]
    fn a_proxy_url_may_hold_a_user_and_never_shows_the_password() {
        let (proxies, mistakes) = proxies("http://us%40er:p%3Ass@proxy.example:3128", "", "");
        assert!(mistakes.is_empty());
        let proxy = proxies.https.as_ref().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap().expose(), "Basic dXNAZXI6cDpzcw==");
        assert!(!format!("{proxies:?}").contains("dXNA"));
        let (_, mistakes) = super::tests::proxies("socks5://u:hunter2@h", "http://u:hunter2@", "");
        assert_eq!(mistakes.len(), 2);
        assert!(!format!("{mistakes:?}").contains("hunter2"));
    }
}
