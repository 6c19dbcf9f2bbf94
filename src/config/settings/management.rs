//! What the management API has to know: its log, and which proxies are believed.

use std::net::IpAddr;

use super::super::fields::Fields;
use super::super::mistake::{describe, quote};
use super::{section, set};

/// Settings of the management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementSettings {
    /// `audit.rotateBytes`, default 16 MiB: size at which `data/audit.json` moves aside.
    pub audit_rotate_bytes: u64,
    /// `audit.retentionDays`, default 0, never: days after which what moved aside is deleted.
    pub audit_retention_days: u64,
    /// `trustedProxies`: whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; default nobody's.
    pub trusted_proxies: Vec<Network>,
}

impl ManagementSettings {
    pub(super) fn read(f: &Fields<'_>) -> Self {
        let mut own =
            Self { audit_rotate_bytes: 16 << 20, audit_retention_days: 0, trusted_proxies: Vec::new() };
        section(f, "audit", |f| {
            set(&mut own.audit_rotate_bytes, f.integer("rotateBytes", 4_096..=1 << 30));
            set(&mut own.audit_retention_days, f.integer("retentionDays", 0..=36_500));
        });
        f.each("trustedProxies", |item, path| match item.as_str().and_then(Network::parse) {
            Some(network) => own.trusted_proxies.push(network),
            None => f.sink.mistake(&path, describe(item), "an address or a network such as \"10.0.0.0/8\""),
        });
        own
    }

    /// Who asks: the peer, or where that is a trusted proxy, the last address that no trusted one has added.
    pub fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut forwarded = forwarded_for.into_iter().flat_map(|list| list.rsplit(','));
        while self.is_trusted(client) {
            match forwarded.next().map(|text| text.trim().parse::<IpAddr>()) {
                Some(Ok(address)) => client = address.to_canonical(),
                // What is no address was not added by a proxy that can be trusted.
                Some(Err(_)) | None => break,
            }
        }
        client
    }

    /// Whether an address is that of a trusted proxy.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.has(address))
    }
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, other: IpAddr) -> bool {
        let (own, other, most) = match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        // A shift by all bits is none that Rust does.
        (own ^ other).checked_shr(most - self.bits).unwrap_or(0) == 0
    }
}

pub(super) fn read_channel(f: &Fields<'_>) -> String {
    let channel = f.string("channel").unwrap_or("stable");
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if channel.is_empty() || channel.len() > 64 || !channel.bytes().all(is_sound) {
        f.mistake(
            "channel",
            quote(channel),
            "a word of letters, digits, dots and dashes, such as \"stable\"",
        );
    }
    channel.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_the_addresses_that_begin_like_them() {
        for (network, address, has) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.1.1.1", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fe80::1", true),
            ("fd00::/8", "fe80::1", false),
        ] {
            let found = Network::parse(network).unwrap().has(address.parse().unwrap());
            assert_eq!(found, has, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/-1", "10.0.0.0/"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_client_is_who_the_last_proxy_that_is_trusted_names() {
        let settings = ManagementSettings {
            audit_rotate_bytes: 0,
            audit_retention_days: 0,
            trusted_proxies: vec![Network::parse("10.0.0.0/8").unwrap()],
        };
        for (peer, forwarded, client) in [
            ("192.0.2.1", Some("203.0.113.9"), "192.0.2.1"),
            ("10.0.0.1", None, "10.0.0.1"),
            ("10.0.0.1", Some("203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", Some("1.1.1.1, 203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", Some("203.0.113.9, 10.0.0.2"), "203.0.113.9"),
            ("10.0.0.1", Some("203.0.113.9, nonsense"), "10.0.0.1"),
            ("10.0.0.1", Some("10.0.0.3,10.0.0.2"), "10.0.0.3"),
            ("::ffff:10.0.0.1", Some("2001:db8::1"), "2001:db8::1"),
        ] {
            let found = settings.client(peer.parse().unwrap(), forwarded);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
