//! Where a request really came from: peer address, scheme and host, through trusted proxies only.
//!
//! Forwarding headers count only if the connection comes from an address in `trusted_proxies`; from anybody else they
//! are ignored, because login delays and the realm of challenges depend on them.

use crate::config::Network;
use axum::http::{HeaderMap, Uri};
use std::net::{IpAddr, SocketAddr};

/// Longest host and port that are taken for one, in bytes.
pub const HOST_MAX: usize = 300;

/// What the listener knows about a connection; stands in each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The other end of the TCP connection.
    pub addr: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// Who called, by which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client's address, for login delays.
    pub ip: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// Host and port as the client named them.
    pub host: String,
    /// Whether somebody in between said that the request was forwarded, trusted or not.
    pub forwarded: bool,
    /// The address is one through which many clients come: loopback, or a trusted proxy that names nobody behind it.
    pub gate: bool,
}

impl Caller {
    /// Reads peer and headers.
    pub fn of(peer: Peer, headers: &HeaderMap, uri: &Uri, trusted: &[Network]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let own = text("host").or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
        let mut caller = Self {
            ip: peer.addr.ip().to_canonical(),
            scheme: if peer.tls { "https" } else { "http" },
            host: own.filter(|h| is_host(h)).unwrap_or("localhost").to_owned(),
            forwarded: headers.contains_key("forwarded") || headers.contains_key("x-forwarded-for"),
            gate: false,
        };
        caller.gate = caller.ip.is_loopback();
        if trusted.is_empty() || !is_trusted(caller.ip, trusted) {
            return caller;
        }
        let forwarded = text("forwarded").map(Forwarded::parse).unwrap_or_default();
        let last = |name| text(name).and_then(|v| v.rsplit(',').next()).map(str::trim);
        match forwarded
            .proto
            .as_deref()
            .or_else(|| last("x-forwarded-proto"))
        {
            Some("https") => caller.scheme = "https",
            Some("http") => caller.scheme = "http",
            _ => {}
        }
        if let Some(host) = forwarded
            .host
            .as_deref()
            .or_else(|| last("x-forwarded-host"))
            .filter(|h| is_host(h))
        {
            host.clone_into(&mut caller.host);
        }
        let hops = if forwarded.hops.is_empty() {
            x_forwarded_for(headers)
        } else {
            forwarded.hops
        };
        // From the nearest hop outwards: the first that is not one of ours is the client.
        for hop in hops.into_iter().rev() {
            caller.ip = hop;
            if !is_trusted(hop, trusted) {
                break;
            }
        }
        caller.gate = is_trusted(caller.ip, trusted) || caller.ip.is_loopback();
        caller
    }

    /// The host without its port: the name of the token service.
    pub fn service(&self) -> &str {
        host_part(&self.host)
    }
}

/// The host of `host[:port]`; an IPv6 address keeps its brackets.
pub fn host_part(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Letters that may stand in a host and port, so that it can go into a header unquoted.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= HOST_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<IpAddr> {
    let values = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok());
    values
        .flat_map(|v| v.split(','))
        .filter_map(address)
        .collect()
}

/// An address with or without port, brackets and quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(ip.to_canonical())
}

/// The parts of a `Forwarded` header (RFC 7239) that matter here.
#[derive(Debug, Default)]
struct Forwarded {
    hops: Vec<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Forwarded {
    fn parse(header: &str) -> Self {
        let mut out = Self::default();
        for pair in header.split([',', ';']) {
            let Some((key, value)) = pair.trim().split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "for" => out.hops.extend(address(value)),
                "proto" => out.proto = Some(value.to_ascii_lowercase()),
                "host" => out.host = Some(value.to_owned()),
                _ => {}
            }
        }
        out
    }
}

/// Whether `ip` is one of the addresses or networks.
pub fn is_trusted(ip: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|net| net.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: &str, headers: &[(&'static str, &str)], trusted: &[&str]) -> Caller {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("header"));
        }
        let trusted: Vec<Network> = trusted
            .iter()
            .map(|t| t.parse().expect("network"))
            .collect();
        let peer = Peer {
            addr: SocketAddr::new(peer.parse().expect("ip"), 1),
            tls: false,
        };
        Caller::of(peer, &map, &Uri::from_static("/v2/"), &trusted)
    }

    #[test]
    fn strangers_cannot_forward() {
        let got = caller(
            "192.0.2.1",
            &[
                ("host", "r:5000"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
            ],
            &[],
        );
        assert_eq!(
            (got.ip.to_string().as_str(), got.scheme, got.host.as_str()),
            ("192.0.2.1", "http", "r:5000")
        );
        assert_eq!(got.service(), "r");
    }

    #[test]
    fn proxies_can() {
        let headers = [
            ("host", "in"),
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "out:443"),
        ];
        let got = caller("10.0.0.1", &headers, &["10.0.0.0/8"]);
        assert_eq!(
            (got.ip.to_string().as_str(), got.scheme, got.host.as_str()),
            ("1.2.3.4", "https", "out:443")
        );
        let got = caller(
            "::1",
            &[("forwarded", "for=\"[2001:db8::1]:80\";proto=https;host=x")],
            &["::1"],
        );
        assert_eq!(
            (got.ip.to_string().as_str(), got.scheme, got.host.as_str()),
            ("2001:db8::1", "https", "x")
        );
    }

    #[test]
    fn host_parts() {
        assert_eq!(host_part("a:1"), "a");
        assert_eq!(host_part("[::1]:1"), "[::1]");
        assert_eq!(host_part("[::1]"), "[::1]");
    }
}
