//! What clients and other registries send in a request's or an answer's head: paths, queries, hosts, challenges.

use super::text;
use dryport::config::{Config, LoadOptions, Network, ProxyHeader, load_text};
use dryport::fetch::challenge::parse;
use dryport::http::{Caller, OciRoute, Peer, Query, basic, challenge as written};
use dryport::mirror::link::next;
use dryport::types::PageRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

/// A path: what it is routed to, spelled as a path again, is routed to the same.
pub fn route(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(route) = OciRoute::parse(text) else {
        return;
    };
    let path = match &route {
        OciRoute::Base => "/v2/".to_owned(),
        OciRoute::Auth => "/v2/auth".to_owned(),
        OciRoute::Catalog => "/v2/_catalog".to_owned(),
        OciRoute::ExtDiscover => "/v2/_oci/ext/discover".to_owned(),
        OciRoute::Tags { name } => format!("/v2/{name}/tags/list"),
        OciRoute::Manifest { name, reference } => format!("/v2/{name}/manifests/{reference}"),
        OciRoute::Blob { name, digest } => format!("/v2/{name}/blobs/{digest}"),
        OciRoute::Uploads { name } => format!("/v2/{name}/blobs/uploads/"),
        OciRoute::Upload { name, id } => format!("/v2/{name}/blobs/uploads/{id}"),
        OciRoute::Referrers { name, digest } => format!("/v2/{name}/referrers/{digest}"),
    };
    let leads_out = |part: &str| matches!(part, "." | "..");
    assert!(
        !path.split('/').any(leads_out) && !path.contains("//"),
        "{path:?}"
    );
    assert_eq!(OciRoute::parse(&path), Ok(route), "{text:?}");
}

/// A query: 300 pairs at most, as many as it has parts, the first of a name wins, no text grows; a page holds at most 1,000.
pub fn query(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let parts = || text.split('&').filter(|p| !p.is_empty());
    let Ok(query) = Query::parse(text) else {
        return assert!(parts().count() > 300);
    };
    assert!(parts().count() <= 300);
    assert_eq!(Query::parse(text).ok().as_ref(), Some(&query));
    for part in parts() {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        // A name without escapes stands for itself.
        if key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let all: Vec<&str> = query.all(key).collect();
            assert!(!all.is_empty(), "{text:?}");
            assert_eq!(query.get(key), all.first().copied());
            let plain = value.bytes().all(|b| b.is_ascii_alphanumeric());
            assert!(!plain || all.contains(&value), "{text:?}");
            // Three bytes of an escape become at most the three of a replacement character.
            let longest = 3 * text.len();
            assert!(all.iter().all(|v| v.len() <= longest));
        }
    }
    let page = PageRequest::parse(query.get("n"), query.get("last"));
    assert!(page.is_ok_and(|p| p.limit() <= PageRequest::MAX) || query.get("n").is_some());
}

/// `WWW-Authenticate` of another registry: bounded by its length, lower-case names, and the same once it is written
/// down again.
pub fn challenge(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let found = parse(text);
    let params: usize = found.iter().map(|c| c.params.len()).sum();
    assert!(found.len() + params <= text.len());
    let mut again = Vec::new();
    for challenge in &found {
        assert!(is_token(&challenge.scheme), "{found:?}");
        let mut params = Vec::new();
        for (name, value) in &challenge.params {
            assert!(is_token(name), "{found:?}");
            assert!(value.len() <= text.len());
            let first = challenge.params.iter().find(|(n, _)| n == name);
            assert_eq!(challenge.get(name), first.map(|(_, v)| v.as_str()));
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            params.push(format!("{name}=\"{value}\""));
        }
        again.push(format!("{} {}", challenge.scheme, params.join(", ")));
    }
    assert_eq!(parse(&again.join(", ")), found, "{text:?}");
}

/// `Link` lines of another registry: the next page is spelled in one of them, is the same once it is written down again,
/// and neither what stands before it nor what follows changes it. What cannot be read stays so whatever follows.
pub fn link(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').take(32).collect();
    let read = |lines: &[&[u8]]| next(lines.iter().copied());
    let found = read(&lines);
    let (first, more) = (&b"</first>; rel=\"first\""[..], &b"</more>; rel=next"[..]);
    assert_eq!(read(&[&[first], &lines[..]].concat()), found);
    let followed = read(&[&lines[..], &[more]].concat());
    let joined: Vec<Vec<u8>> = lines.iter().map(|l| [first, b", ", l].concat()).collect();
    let joined: Vec<&[u8]> = joined.iter().map(Vec::as_slice).collect();
    assert_eq!(read(&joined), found);
    let Ok(Some(target)) = found else {
        let more = found.map(|_| Some("/more".to_owned()));
        return assert_eq!(followed, more);
    };
    assert_eq!(followed.as_ref(), Ok(&Some(target.clone())));
    assert!(
        !target.contains('>') && target.trim() == target,
        "{target:?}"
    );
    let spelled = |line: &&[u8]| text(line).is_some_and(|line| line.contains(&target));
    assert!(lines.iter().any(spelled), "{target:?}");
    for again in ["; rel=next", " ;REL = \"prev NEXT\"; title=\"a, <b>; c\""] {
        let again = format!("<{target}>{again}");
        assert_eq!(read(&[again.as_bytes()]), Ok(Some(target.clone())));
    }
}

fn is_token(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&b);
    !text.is_empty() && text.bytes().all(|b| good(b) && !b.is_ascii_uppercase())
}

/// Header lines of a request (`name: value`): who called is a host that may stand in a header, and the challenge made
/// of it is one challenge that says what it should; from a stranger no forwarding header counts.
pub fn client(data: &[u8]) {
    let headers = lines(data);
    let uri = Uri::from_static("/v2/");
    for header in HEADERS {
        let stranger = Caller::of(PEER, &headers, &uri, &[], header);
        assert_eq!((stranger.ip, stranger.scheme), (PEER.addr.ip(), "http"));
        let caller = Caller::of(PEER, &headers, &uri, &proxies(), header);
        assert!(matches!(caller.scheme, "http" | "https"));
        assert!(!matches!(caller.ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()));
        for caller in [&stranger, &caller] {
            assert!(!caller.host.is_empty() && caller.host.len() <= 300);
            assert!(caller.host.starts_with(caller.service()));
            says_what_it_should(caller);
        }
    }
    if let Some(value) = headers.get("authorization").and_then(|v| v.to_str().ok())
        && let Some((user, password)) = basic(value)
    {
        use base64::Engine as _;
        assert!(!user.contains(':'));
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        assert_eq!(basic(&format!("Basic {text}")), Some((user, password)));
    }
}

const HEADERS: [ProxyHeader; 3] = [
    ProxyHeader::XForwardedFor,
    ProxyHeader::Forwarded,
    ProxyHeader::None,
];

/// The proxy that a request came through.
const PEER: Peer = Peer {
    addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7),
    tls: false,
    astray: false,
};

fn proxies() -> Vec<Network> {
    let networks = ["192.0.2.0/24", "10.0.0.0/8"].iter();
    networks.filter_map(|n| n.parse().ok()).collect()
}

/// Header lines `name: value`, at most 32 of them.
pub(super) fn lines(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n').take(32) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Header lines of a client, to which its proxy adds what it knows, on a line of its own or at the end of the last one:
/// the client is who the proxy says, whatever else is there, and by the name that the proxy says.
pub fn forwarded(data: &[u8]) {
    let sent = lines(data);
    let uri = Uri::from_static("/v2/");
    for (header, adds) in [
        (
            ProxyHeader::XForwardedFor,
            &[
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "r.example:8443"),
            ] as &[_],
        ),
        (
            ProxyHeader::Forwarded,
            &[(
                "forwarded",
                "for=\"203.0.113.9:4711\";proto=https;host=\"r.example:8443\"",
            )],
        ),
    ] {
        for joined in [false, true] {
            let mut headers = sent.clone();
            for (name, value) in adds {
                add(&mut headers, name, value, joined);
            }
            let caller = Caller::of(PEER, &headers, &uri, &proxies(), header);
            assert_eq!(caller.ip, IpAddr::from([203, 0, 113, 9]), "{headers:?}");
            assert_eq!(
                (caller.scheme, caller.host.as_str(), caller.gate),
                ("https", "r.example:8443", false),
                "{headers:?}"
            );
        }
    }
}

/// Adds a value as proxies do: on a line of its own, or behind all that was there.
fn add(headers: &mut HeaderMap, name: &'static str, value: &str, joined: bool) {
    let before: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if joined && !before.is_empty() {
        let all = [before.join(&b", "[..]), value.as_bytes().to_vec()].join(&b", "[..]);
        if let Ok(value) = HeaderValue::from_bytes(&all) {
            headers.insert(name, value);
        }
    } else if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

fn says_what_it_should(caller: &Caller) {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let options = LoadOptions {
            data: Some("/data".into()),
            ..LoadOptions::default()
        };
        let loaded = load_text(&options, "/data/dryport.toml".into(), String::new());
        loaded.expect("the defaults are a configuration").config
    });
    let scope = "repository:a/b:pull,push";
    let text = written(config, caller, scope, Some("invalid_token"));
    assert!(HeaderValue::from_str(&text).is_ok(), "{text:?}");
    let found = parse(&text);
    assert_eq!(found.len(), 1, "{text:?}");
    let realm = format!("{}://{}/v2/auth", caller.scheme, caller.host);
    let want = [
        ("realm", realm.as_str()),
        ("service", caller.service()),
        ("scope", scope),
        ("error", "invalid_token"),
    ];
    assert_eq!(found[0].params.len(), want.len(), "{text:?}");
    for (name, value) in want {
        assert_eq!(found[0].get(name), Some(value), "{text:?}");
    }
}
