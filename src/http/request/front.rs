//! What is refused of a request before anything else is looked at: plain HTTP on the port of HTTPS, and a host that nobody
//! can tell.

use crate::http::answer::Fail;
use crate::http::caller::origin::{Caller, Peer, is_host_and_port};
use axum::http::Version;
use axum::http::header::{CONNECTION, HOST};
use axum::http::request::Parts;
use axum::http::uri::Authority;

/// Whether a request may be taken up at all.
pub fn check(peer: Peer, head: &Parts, caller: &Caller) -> Result<(), Fail> {
    let all = head.headers.get_all(HOST);
    let (hosts, mut named) = (all.iter().count(), all.iter());
    if peer.astray {
        let known = hosts > 0 || head.uri.authority().is_some();
        return Err(astray(known.then_some(caller.host.as_str())));
    }
    // RFC 9112 section 3.2: one that names two, or none that can be read, may be for another host than a proxy took it to
    // be for.
    let target = head.uri.authority().map(Authority::as_str);
    let why = match hosts {
        0 if head.version == Version::HTTP_11 => "no Host header, which HTTP/1.1 needs",
        0 | 1 if named.any(|value| !is_host_and_port(value.as_bytes())) => {
            "a Host header that is no host name with an optional port"
        }
        0 | 1 if target.is_some_and(|target| !is_target(target, head.version)) => {
            "a host in its target (in HTTP/2, an :authority) that is no host name with an optional port"
        }
        0 | 1 => return Ok(()),
        _ => "more than one Host header",
    };
    let text = format!("the request has {why}");
    Err(Fail::bad("UNSUPPORTED", text).with(CONNECTION, "close"))
}

/// Whether this is the host of a target. HTTP/2 allows no user before it (RFC 9113 section 8.3.1); HTTP/1.1 has it passed over.
fn is_target(text: &str, version: Version) -> bool {
    let host = match text.rsplit_once('@') {
        Some(_) if version >= Version::HTTP_2 => return false,
        Some((_, host)) => host,
        None => text,
    };
    !host.is_empty() && is_host_and_port(host.as_bytes())
}

/// Its credentials, if it has any, are not looked at: they came readable.
fn astray(host: Option<&str>) -> Fail {
    let address = match host {
        Some(host) => format!("https://{host}/"),
        None => "https:// instead of http://".to_owned(),
    };
    let text = format!("this port speaks HTTPS and got plain HTTP: use {address}");
    Fail::bad("UNSUPPORTED", text).with(CONNECTION, "close")
}
