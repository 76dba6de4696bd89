//! Addresses as clients are told apart by them.

use std::net::{IpAddr, Ipv6Addr};

/// IPv4 as it is, IPv6 by its /64: one machine has all of that.
pub fn net(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & (u128::MAX << 64);
            // Loopback is no /64 of anybody's.
            IpAddr::V6(if v6.is_loopback() {
                v6
            } else {
                Ipv6Addr::from(bits)
            })
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
