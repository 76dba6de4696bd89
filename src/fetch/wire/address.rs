//! Which addresses only the operator may send us to: the one table that decides it. Knows no name and no URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where providers of virtual machines answer them with their secrets, as far as it is no link-local address: AWS and its
/// containers, Google, Scaleway; Alibaba, Azure, Oracle.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// What an address is, if no server may lead there: this machine, its own network segment, a provider's metadata, or a
/// unique-local network. Private IPv4 addresses are where a closed site has its registries: they are open to all.
pub(super) fn inward(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => inward_v4(ip),
        IpAddr::V6(ip) => inward_v6(ip),
    }
}

fn inward_v4(ip: Ipv4Addr) -> Option<&'static str> {
    if ip.octets()[0] == 0 || ip.is_loopback() {
        // Linux takes 0.0.0.0 for loopback.
        Some("this machine")
    } else if METADATA_V4.contains(&ip) || ip == Ipv4Addr::new(169, 254, 169, 254) {
        Some("a metadata service")
    } else if ip.is_link_local() {
        Some("a link-local address")
    } else {
        None
    }
}

fn inward_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_loopback() || ip.is_unspecified() {
        Some("this machine")
    } else if METADATA_V6.contains(&ip) {
        Some("a metadata service")
    } else if ip.is_unicast_link_local() {
        Some("a link-local address")
    } else if ip.is_unique_local() {
        Some("a unique-local address")
    } else {
        embedded(ip).and_then(inward_v4)
    }
}

/// The IPv4 address that a transition mechanism reads out of this one: mapped and compatible (RFC 4291), NAT64 (RFC 6052,
/// RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = ip.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(pair(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(pair(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_operator_may_name() {
        for yes in [
            "127.0.0.1",
            "127.9.8.7",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fdff::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1:a:b:c:7f00:1",
            "2002:7f00:1::5",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:80ff:fffe",
        ] {
            assert!(inward(yes.parse().expect(yes)).is_some(), "{yes}");
        }
        for no in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "128.0.0.1",
            "169.253.0.1",
            "2001:db8::1",
            "2606:4700::1",
            "::ffff:10.0.0.1",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:0:1:2:3:4:f7f7:f7f7",
            "fec0::1",
        ] {
            assert_eq!(inward(no.parse().expect(no)), None, "{no}");
        }
        assert_eq!(
            inward("fd00:ec2::254".parse().expect("ip")),
            Some("a metadata service")
        );
    }
}
