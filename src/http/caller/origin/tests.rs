//! Whom a request is taken to come from, whatever its headers say.

use super::*;
use ProxyHeader::{Forwarded, XForwardedFor};

type Lines<'a> = &'a [(&'static str, &'a str)];

fn caller(peer: &str, headers: Lines<'_>, trusted: &[&str], header: ProxyHeader) -> Caller {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("header");
        map.append(*name, value);
    }
    let trusted: Vec<Network> = trusted
        .iter()
        .map(|t| t.parse().expect("network"))
        .collect();
    let peer = Peer {
        addr: SocketAddr::new(peer.parse().expect("ip"), 1),
        tls: false,
        astray: false,
    };
    Caller::of(peer, &map, &Uri::from_static("/v2/"), &trusted, header)
}

/// Address, scheme and host of a request that came through a proxy at 10.0.0.1; 10.0.0.0/8 is trusted.
fn seen(header: ProxyHeader, headers: Lines<'_>) -> (String, &'static str, String, bool) {
    let caller = caller("10.0.0.1", headers, &["10.0.0.0/8", "::1"], header);
    (
        caller.ip.to_string(),
        caller.scheme,
        caller.host,
        caller.gate,
    )
}

fn is(ip: &str, scheme: &'static str, host: &str) -> (String, &'static str, String, bool) {
    (ip.to_owned(), scheme, host.to_owned(), false)
}

#[test]
fn strangers_cannot_forward() {
    let lines: Lines<'_> = &[
        ("host", "r:5000"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1;proto=https;host=evil"),
        ("x-forwarded-proto", "https"),
    ];
    for header in [Forwarded, XForwardedFor] {
        for trusted in [&[] as &[&str], &["10.0.0.0/8"]] {
            let got = caller("192.0.2.1", lines, trusted, header);
            assert_eq!(
                (got.ip.to_string().as_str(), got.scheme, got.host.as_str()),
                ("192.0.2.1", "http", "r:5000")
            );
            assert_eq!((got.service(), got.gate), ("r", false));
        }
    }
}

#[test]
fn one_header_counts_and_the_others_are_a_clients() {
    let lines: Lines<'_> = &[
        ("host", "in"),
        ("forwarded", "for=6.6.6.6;proto=https;host=evil"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-host", "bad"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "8.8.8.8"),
    ];
    assert_eq!(seen(XForwardedFor, lines), is("7.7.7.7", "http", "bad"));
    assert_eq!(seen(Forwarded, lines), is("6.6.6.6", "https", "evil"));
    let nobody = ("10.0.0.1".to_owned(), "http", "in".to_owned(), true);
    assert_eq!(seen(ProxyHeader::None, lines), nobody);
}

#[test]
fn all_lines_are_one_list_that_is_read_from_the_right() {
    for lines in [
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "1.2.3.4"),
        ] as Lines<'_>,
        &[("x-forwarded-for", "6.6.6.6, 1.2.3.4")],
        &[("x-forwarded-for", "6.6.6.6,1.2.3.4,10.0.0.9")],
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "10.0.0.9"),
        ],
        &[
            ("x-forwarded-for", "1.2.3.4:4711"),
            ("x-forwarded-for", ", 10.0.0.9:80 ,"),
        ],
        // What is no text, or no address, spoils only itself.
        &[("x-forwarded-for", "\u{e4}, 1.2.3.4")],
        &[("x-forwarded-for", "x, \", 1.2.3.4")],
    ] {
        assert_eq!(
            seen(XForwardedFor, lines),
            is("1.2.3.4", "http", "localhost"),
            "{lines:?}"
        );
    }
    for lines in [
        &[("forwarded", "for=6.6.6.6"), ("forwarded", "for=1.2.3.4")] as Lines<'_>,
        &[("forwarded", "for=\"6.6.6.6, for=1.2.3.4")],
        &[
            ("forwarded", "for=\"6.6.6.6\\"),
            ("forwarded", "for=\"1.2.3.4:80\""),
        ],
        &[("forwarded", "for=6.6.6.6, for=1.2.3.4, for=10.0.0.9")],
        &[("forwarded", "\u{e4}=\", for=1.2.3.4;by=_x")],
    ] {
        assert_eq!(
            seen(Forwarded, lines),
            is("1.2.3.4", "http", "localhost"),
            "{lines:?}"
        );
    }
}

#[test]
fn scheme_and_host_are_the_last_trusted_proxys() {
    let one: Lines<'_> = &[
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil, out:443"),
    ];
    assert_eq!(seen(XForwardedFor, one), is("1.2.3.4", "https", "out:443"));
    // Two proxies that add, two that replace, and one of each.
    let added: Lines<'_> = &[
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.9"),
        ("x-forwarded-proto", "http, https, http"),
        ("x-forwarded-host", "evil, out, in"),
    ];
    assert_eq!(seen(XForwardedFor, added), is("1.2.3.4", "https", "out"));
    let replaced: Lines<'_> = &[
        ("x-forwarded-for", "1.2.3.4, 10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "out"),
    ];
    assert_eq!(seen(XForwardedFor, replaced), is("1.2.3.4", "https", "out"));
    let elements: Lines<'_> = &[(
        "forwarded",
        "for=6.6.6.6;host=evil, for=1.2.3.4;proto=https;host=out, for=10.0.0.9;proto=http;host=in",
    )];
    assert_eq!(seen(Forwarded, elements), is("1.2.3.4", "https", "out"));
    // One that names nobody may say it too; what stands further left is not its own.
    let unnamed = ("10.0.0.1".to_owned(), "https", "out".to_owned(), true);
    let lines: Lines<'_> = &[
        ("x-forwarded-proto", "http, https"),
        ("x-forwarded-host", "evil, out"),
    ];
    assert_eq!(seen(XForwardedFor, lines), unnamed);
    let lines: Lines<'_> = &[("forwarded", "for=6.6.6.6;host=evil, proto=https;host=out")];
    assert_eq!(seen(Forwarded, lines), unnamed);
    let ours: Lines<'_> = &[
        ("x-forwarded-for", "10.0.0.5"),
        ("x-forwarded-proto", "https, http"),
    ];
    let inside = ("10.0.0.5".to_owned(), "http", "localhost".to_owned(), true);
    assert_eq!(seen(XForwardedFor, ours), inside);
    let lines: Lines<'_> = &[
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-host", "a\" b"),
        ("host", "in"),
    ];
    assert_eq!(seen(XForwardedFor, lines), is("1.2.3.4", "http", "in"));
}

#[test]
fn what_cannot_be_read_ends_the_way_at_what_is_known() {
    // A proxy hides who called: many may come through it. What is malformed is counted, at the proxy's address.
    for (header, line, gate) in [
        (Forwarded, "for=6.6.6.6, for=unknown", true),
        (Forwarded, "for=6.6.6.6, for=_hidden", true),
        (Forwarded, "for=6.6.6.6, for=1.2.3", false),
        (Forwarded, "for=6.6.6.6, for=\"1.2.3.4", false),
        (Forwarded, "for=6.6.6.6, for=1.2.3.4;for=7.7.7.7", false),
        (XForwardedFor, "6.6.6.6, unknown", true),
        (XForwardedFor, "6.6.6.6, 1.2.3.4 7.7.7.7", false),
        (XForwardedFor, "6.6.6.6, -", false),
    ] {
        let name = if header == Forwarded {
            "forwarded"
        } else {
            "x-forwarded-for"
        };
        let got = seen(header, &[(name, line)]);
        assert_eq!((got.0.as_str(), got.3), ("10.0.0.1", gate), "{line}");
        let behind = format!(
            "{line}, {}",
            if header == Forwarded {
                "for=10.0.0.9"
            } else {
                "10.0.0.9"
            }
        );
        let got = seen(header, &[(name, &behind)]);
        assert_eq!((got.0.as_str(), got.3), ("10.0.0.9", gate), "{behind}");
    }
}

#[test]
fn every_sign_of_a_proxy_is_known() {
    for name in [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Real-IP",
        "X-Original-Host",
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("host", "x".parse().expect("value"));
        headers.insert("x-request-id", "x".parse().expect("value"));
        assert!(!was_forwarded(&headers));
        headers.insert(
            axum::http::HeaderName::from_bytes(name.as_bytes()).expect("name"),
            "x".parse().expect("value"),
        );
        assert!(was_forwarded(&headers), "{name}");
    }
}

#[test]
fn host_parts() {
    assert_eq!(host_part("a:1"), "a");
    assert_eq!(host_part("[::1]:1"), "[::1]");
    assert_eq!(host_part("[::1]"), "[::1]");
}

#[test]
fn what_a_host_header_may_hold() {
    for good in [
        "",
        "r",
        "r.example",
        "r.example.",
        "R_1.example:5000",
        "r:",
        "192.0.2.1:80",
        "[::1]",
        "[::1]:",
        "[2001:db8::1]:8443",
        "[fe80::1%25eth0]:8443",
        "[fe80::1%eth0]:8443",
        "[fe80::1%25]",
        "[fe80::1%2]",
        "a%41b~!$&'()*+,;=",
    ] {
        assert!(is_host_and_port(good.as_bytes()), "{good}");
    }
    let long = "a".repeat(HOST_MAX + 1);
    for bad in [
        " ",
        "a b",
        "a\tb",
        "a/b",
        "http://a",
        "a@b",
        "a?b",
        "a#b",
        "a\"b",
        "a\\b",
        "<a>",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:80x",
        ":80",
        ":",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[::1]:x",
        "[fe80::1%]",
        "[fe80::1%eth0%eth1]",
        "[fe80::1%a b]",
        "[a]",
        "a%4",
        "a%zz",
        "b\u{fc}cher.example",
        &long,
    ] {
        assert!(!is_host_and_port(bad.as_bytes()), "{bad}");
    }
    assert!(!is_host_and_port(b"\xff"));
}
