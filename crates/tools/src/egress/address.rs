//! Which addresses are public. Everything else is refused, by table.
//!
//! Sources: the IANA special-purpose address registries for IPv4 and IPv6
//! (RFC 6890 and its updates), plus the one cloud metadata address that lies in
//! public space. For IPv6 the rule is the other way round: only 2000::/3 is
//! handed out as global unicast, so that alone can pass.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that must not be connected to, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not a public address ({range})")]
pub(crate) struct Forbidden {
    pub(crate) address: IpAddr,
    pub(crate) range: &'static str,
}

impl Forbidden {
    /// Whether `tools.allow_loopback` would let the address through.
    pub(crate) fn is_loopback(&self) -> bool {
        is_plain_loopback(self.address)
    }
}

const FORBIDDEN_V4: [([u8; 4], u32, &str); 17] = [
    ([0, 0, 0, 0], 8, "0.0.0.0/8, this network"),
    ([10, 0, 0, 0], 8, "10.0.0.0/8, private"),
    ([100, 64, 0, 0], 10, "100.64.0.0/10, carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "127.0.0.0/8, loopback"),
    ([168, 63, 129, 16], 32, "168.63.129.16, cloud platform"),
    ([169, 254, 0, 0], 16, "169.254.0.0/16, link-local and cloud metadata"),
    ([172, 16, 0, 0], 12, "172.16.0.0/12, private"),
    ([192, 0, 0, 0], 24, "192.0.0.0/24, protocol assignments"),
    ([192, 0, 2, 0], 24, "192.0.2.0/24, documentation"),
    ([192, 88, 99, 0], 24, "192.88.99.0/24, 6to4 relays"),
    ([192, 168, 0, 0], 16, "192.168.0.0/16, private"),
    ([198, 18, 0, 0], 15, "198.18.0.0/15, benchmarking"),
    ([198, 51, 100, 0], 24, "198.51.100.0/24, documentation"),
    ([203, 0, 113, 0], 24, "203.0.113.0/24, documentation"),
    ([224, 0, 0, 0], 4, "224.0.0.0/4, multicast"),
    ([255, 255, 255, 255], 32, "broadcast"),
    ([240, 0, 0, 0], 4, "240.0.0.0/4, reserved"),
];

const FORBIDDEN_V6: [(Ipv6Addr, u32, &str); 13] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "64:ff9b:1::/48, local NAT64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "100::/64, discard"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "2001::/23, protocol assignments"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "2002::/16, 6to4"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "2001:db8::/32, documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "3fff::/20, documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "5f00::/16, segment routing"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "fc00::/7, unique local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "fe80::/10, link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "fec0::/10, site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "ff00::/8, multicast"),
];

/// IPv6 ranges whose last bits are the IPv4 address that they reach, so that is what is judged.
/// Other embeddings (v4-compatible, 6to4, Teredo) are out of use, and refused whatever they hold.
const EMBEDDING: [(Ipv6Addr, u32); 2] = [
    // v4-mapped, RFC 4291 2.5.5.2
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    // NAT64, RFC 6052
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
];

/// Passes public addresses, and plainly spelt loopback where that is allowed.
pub(crate) fn vet(address: IpAddr, allow_loopback: bool) -> Result<(), Forbidden> {
    if allow_loopback && is_plain_loopback(address) {
        return Ok(());
    }
    let range = match address {
        IpAddr::V4(v4) => forbidden_v4(v4),
        IpAddr::V6(v6) => forbidden_v6(v6),
    };
    range.map_or(Ok(()), |range| Err(Forbidden { address, range }))
}

/// Loopback in its own spelling. Loopback hidden inside another range is never
/// wanted by anyone with honest business there.
fn is_plain_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    FORBIDDEN_V4
        .iter()
        .find(|(net, prefix, _)| (bits ^ u32::from_be_bytes(*net)) >> (32 - prefix) == 0)
        .map(|(_, _, range)| *range)
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(embedded) = embedded_v4(address) {
        return forbidden_v4(embedded);
    }
    listed_v6(address)
        .or_else(|| (address.segments()[0] >> 13 != 1).then_some("outside 2000::/3, not global"))
}

fn listed_v6(address: Ipv6Addr) -> Option<&'static str> {
    FORBIDDEN_V6.iter().find(|(net, prefix, _)| is_within(address, *net, *prefix)).map(|(_, _, range)| *range)
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let embeds = EMBEDDING.iter().any(|(net, prefix)| is_within(address, *net, *prefix));
    let [.., a, b, c, d] = address.octets();
    embeds.then(|| Ipv4Addr::new(a, b, c, d))
}

fn is_within(address: Ipv6Addr, net: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ net.to_bits()) >> (128 - prefix) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(address: &str) -> bool {
        vet(address.parse().unwrap(), false).is_ok()
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(passes(address), "{address} is public");
        }
    }

    #[test]
    fn every_listed_range_is_refused_at_both_ends() {
        for (net, prefix, range) in FORBIDDEN_V4 {
            let first = u32::from_be_bytes(net);
            let last = first | u32::MAX.checked_shr(prefix).unwrap_or(0);
            for bits in [first, last] {
                assert!(vet(Ipv4Addr::from_bits(bits).into(), false).is_err(), "{range}");
            }
        }
        for (net, prefix, range) in FORBIDDEN_V6 {
            let first = net.to_bits();
            let last = first | u128::MAX.checked_shr(prefix).unwrap_or(0);
            for bits in [first, last] {
                assert!(vet(Ipv6Addr::from_bits(bits).into(), false).is_err(), "{range}");
            }
        }
    }

    #[test]
    fn embedded_addresses_are_judged_by_what_they_reach_or_refused() {
        for address in [
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::",
            "2002:a00:1::1",
            // Refused whatever they hold: v4-compatible, 6to4, Teredo.
            "::8.8.8.8",
            "2002:808:808::1",
            "2001:0:a00:1::",
            "2001:0:808:808:8000:63bf:f7f7:f7f7",
        ] {
            assert!(!passes(address), "{address}");
        }
    }

    #[test]
    fn loopback_is_let_through_in_its_own_spelling_only() {
        for address in ["127.0.0.1", "127.255.255.254", "::1"] {
            assert_eq!(vet(address.parse().unwrap(), true), Ok(()));
            assert!(vet(address.parse().unwrap(), false).unwrap_err().is_loopback());
        }
        for address in ["::ffff:127.0.0.1", "::127.0.0.1", "0.0.0.0", "::", "10.0.0.1"] {
            assert!(vet(address.parse().unwrap(), true).is_err(), "{address}");
        }
    }
}
