//! What clients and other registries send in a request's or an answer's head: paths, queries, hosts, challenges.

use super::text;
use dryport::config::{Config, LoadOptions, Network, load_text};
use dryport::fetch::challenge::parse;
use dryport::http::route::{OciRoute, Route};
use dryport::http::{Caller, Peer, Query, basic, challenge as written};
use dryport::types::Page;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

/// A path: what it is routed to, spelled as a path again, is routed to the same.
pub fn route(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(Route::Oci(route)) = dryport::http::route::parse(text) else {
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
    let again = dryport::http::route::parse(&path);
    assert_eq!(again, Ok(Route::Oci(route)), "{text:?}");
}

/// A query: 256 pairs at most, as many as it has parts, the first of a name wins, no text grows; a page holds at most 1,000.
pub fn query(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let parts = || text.split('&').filter(|p| !p.is_empty());
    let Ok(query) = Query::parse(text) else {
        return assert!(parts().count() > 256);
    };
    assert!(parts().count() <= 256);
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
    let page = Page::parse(query.get("n"), query.get("last"));
    assert!(page.is_ok_and(|p| p.limit() <= Page::MAX) || query.get("n").is_some());
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

fn is_token(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&b);
    !text.is_empty() && text.bytes().all(|b| good(b) && !b.is_ascii_uppercase())
}

/// Header lines of a request (`name: value`): who called is a host that may stand in a header, and the challenge made
/// of it is one challenge that says what it should; from a stranger no forwarding header counts.
pub fn client(data: &[u8]) {
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
    let peer = Peer {
        addr: SocketAddr::from(([192, 0, 2, 1], 7)),
        tls: false,
    };
    let uri = Uri::from_static("/v2/");
    let stranger = Caller::of(peer, &headers, &uri, &[]);
    assert_eq!((stranger.ip, stranger.scheme), (peer.addr.ip(), "http"));
    let proxies: Vec<Network> = ["192.0.2.0/24", "10.0.0.0/8"]
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    let caller = Caller::of(peer, &headers, &uri, &proxies);
    assert!(matches!(caller.scheme, "http" | "https"));
    assert!(!matches!(caller.ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()));
    for caller in [&stranger, &caller] {
        assert!(!caller.host.is_empty() && caller.host.len() <= 300);
        assert!(caller.host.starts_with(caller.service()));
        says_what_it_should(caller);
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
