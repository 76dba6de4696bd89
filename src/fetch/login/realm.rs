//! Which token service may get the credentials: the one place that decides it (CVE-2026-33540 and its kin).

use crate::fetch::error::FetchError;
use crate::fetch::wire::literal;
use reqwest::Url;
use std::net::IpAddr;

/// Whether the host of `url` is this machine: `localhost`, a name under it, or a loopback address.
pub(in crate::fetch) fn is_loopback(url: &Url) -> bool {
    match literal(url) {
        Some(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        Some(ip) => ip.is_loopback(),
        None => {
            let host = url.host_str().unwrap_or_default().trim_end_matches('.');
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

/// Host, and the port where it is not the scheme's own.
pub(in crate::fetch) fn host_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether two URLs have the same scheme, host and port.
pub(in crate::fetch) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Refuses a token service that nobody may be sent to, or, `with_credentials`, one that may not have them.
pub(in crate::fetch) fn check(
    registry: &Url,
    realm: &Url,
    extra: &[String],
    with_credentials: bool,
) -> Result<(), FetchError> {
    let unusable = |why: String| FetchError::Realm {
        registry: host_port(registry),
        why,
    };
    let secure = realm.scheme() == "https";
    if realm.host_str().is_none() || !(secure || realm.scheme() == "http") {
        return Err(unusable(format!(
            "{} is no http or https address",
            crate::fetch::wire::shown(realm)
        )));
    }
    if !secure && registry.scheme() != "http" {
        return Err(unusable(format!(
            "{} is plain HTTP, the registry is not: whoever is on the way could read the credentials",
            host_port(realm)
        )));
    }
    if with_credentials && !related(registry, realm) && !listed(realm, extra) {
        return Err(FetchError::RealmHost {
            registry: host_port(registry),
            realm: host_port(realm),
        });
    }
    Ok(())
}

fn listed(realm: &Url, extra: &[String]) -> bool {
    let (bare, full) = (realm.host_str().unwrap_or_default(), host_port(realm));
    let with_default = format!("{bare}:{}", realm.port_or_known_default().unwrap_or(0));
    extra.iter().any(|e| {
        let e = e.to_ascii_lowercase();
        e == full || e == with_default || (e == bare && realm.port().is_none())
    })
}

/// The same host, or two names under one domain that somebody registered. Ports are not compared: a token service
/// beside its registry often has its own.
fn related(registry: &Url, realm: &Url) -> bool {
    let (Some(a), Some(b)) = (registry.host_str(), realm.host_str()) else {
        return false;
    };
    let (a, b) = (a.trim_end_matches('.'), b.trim_end_matches('.'));
    if a == b {
        return true;
    }
    if literal(registry).is_some() || literal(realm).is_some() {
        return false;
    }
    match (registered(a), registered(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The registrable domain, where the public suffix list knows the suffix: an unknown top-level name (`corp`, `lan`)
/// says nothing about who owns what is under it.
fn registered(host: &str) -> Option<&str> {
    let domain = psl::domain(host.as_bytes())?;
    domain.suffix().is_known().then_some(())?;
    std::str::from_utf8(domain.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Remedy;

    fn allowed(registry: &str, realm: &str, extra: &[&str]) -> bool {
        let extra: Vec<String> = extra.iter().map(|e| (*e).to_owned()).collect();
        check(
            &registry.parse().expect("url"),
            &realm.parse().expect("url"),
            &extra,
            true,
        )
        .is_ok()
    }

    #[test]
    fn who_may_get_the_credentials() {
        let cases = [
            ("https://r.example.com", "https://r.example.com/token", true),
            (
                "https://r.example.com:5000",
                "https://r.example.com/token",
                true,
            ),
            (
                "https://example.com",
                "https://auth.example.com/token",
                true,
            ),
            (
                "https://registry-1.docker.io",
                "https://auth.docker.io/token",
                true,
            ),
            (
                "https://r.example.co.uk",
                "https://auth.example.co.uk/",
                true,
            ),
            ("https://example.co.uk", "https://other.co.uk/", false),
            ("https://me.github.io", "https://you.github.io/", false),
            ("https://me.github.io", "https://auth.me.github.io/", true),
            ("https://example.com", "https://example.org/", false),
            ("https://example.com", "https://notexample.com/", false),
            (
                "https://example.com",
                "https://example.com.evil.net/",
                false,
            ),
            ("https://10.0.0.1", "https://10.0.0.1:5001/", true),
            ("https://10.0.0.1", "https://10.0.0.2/", false),
            ("https://10.0.0.1", "https://1.10.0.0.example.com/", false),
            ("https://a.corp", "https://b.corp/", false),
            ("https://r.example.com", "http://r.example.com/token", false),
            ("http://r.example.com", "http://r.example.com/token", true),
            (
                "http://r.example.com",
                "https://auth.example.com/token",
                true,
            ),
            ("https://r.example.com", "https://127.0.0.1/token", false),
            (
                "https://r.example.com",
                "https://169.254.169.254/token",
                false,
            ),
            ("https://r.example.com", "file:///etc/passwd", false),
            ("http://localhost:5000", "http://localhost:5001/auth", true),
        ];
        for (registry, realm, want) in cases {
            assert_eq!(allowed(registry, realm, &[]), want, "{registry} -> {realm}");
        }
    }

    #[test]
    fn named_hosts() {
        assert!(allowed(
            "https://a.example",
            "https://login.other.net/t",
            &["login.other.net"]
        ));
        assert!(allowed(
            "https://a.example",
            "https://login.other.net/t",
            &["login.other.net:443"]
        ));
        assert!(allowed(
            "https://a.example",
            "https://login.other.net:8443/t",
            &["login.other.net:8443"]
        ));
        assert!(!allowed(
            "https://a.example",
            "https://login.other.net:8443/t",
            &["login.other.net"]
        ));
        assert!(!allowed(
            "https://a.example",
            "http://login.other.net/t",
            &["login.other.net"]
        ));
        let error = check(
            &"https://a.example".parse().expect("url"),
            &"https://b.net/t".parse().expect("url"),
            &[],
            true,
        );
        let trust = Remedy::TrustRealm("b.net".to_owned());
        assert_eq!(error.expect_err("refused").remedy(), Some(trust));
    }

    #[test]
    fn loopback() {
        for yes in [
            "http://localhost",
            "http://127.0.0.2:1",
            "http://[::1]:5000",
            "http://x.localhost",
        ] {
            assert!(is_loopback(&yes.parse().expect("url")), "{yes}");
        }
        for no in [
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[fe80::1]",
        ] {
            assert!(!is_loopback(&no.parse().expect("url")), "{no}");
        }
    }
}
