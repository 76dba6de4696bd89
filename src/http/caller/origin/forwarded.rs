//! What proxies say of who called them: `X-Forwarded-For` with its companions, and `Forwarded` (RFC 7239).
//!
//! Every proxy adds its element at the end, also behind what its own client sent: so lists are read from the right, all
//! lines of a header as one list, and nothing of what stands further left can change how an element is read. Owns the
//! grammar; whom to believe is decided in `client`.

use super::is_host;
use axum::http::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// What one proxy said of one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ProxySaid {
    /// Who called it.
    pub(super) node: Node,
    /// `http` or `https`, as it was called.
    pub(super) scheme: Option<&'static str>,
    /// The host and port that it was called by.
    pub(super) host: Option<String>,
}

/// Who called a proxy.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// This address.
    Address(IpAddr),
    /// It does not tell: `unknown`, a made-up name, or nothing at all.
    #[default]
    Hidden,
}

/// An element that is not of the header's grammar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The elements of all `Forwarded` lines, the nearest proxy's first.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Result<ProxySaid, Malformed>> {
    from_the_right(headers, "forwarded", true).map(|text| element(text).ok_or(Malformed))
}

/// The same for `X-Forwarded-For`, `-Proto` and `-Host`. Where a list has fewer elements than `X-Forwarded-For`, some proxy
/// replaced what was there: then its first is the one of all that follow.
pub(super) fn x_forwarded(
    headers: &HeaderMap,
) -> impl Iterator<Item = Result<ProxySaid, Malformed>> {
    let mut addresses = from_the_right(headers, "x-forwarded-for", false);
    let mut schemes = from_the_right(headers, "x-forwarded-proto", false);
    let mut hosts = from_the_right(headers, "x-forwarded-host", false);
    let mut first = true;
    std::iter::from_fn(move || {
        let (address, scheme, host) = (addresses.next(), schemes.next(), hosts.next());
        // A proxy that names nobody may still say how it was called.
        let nearest = std::mem::replace(&mut first, false);
        if address.is_none() && !(nearest && (scheme.is_some() || host.is_some())) {
            return None;
        }
        let node = match address.map(text_of) {
            None => Some(Node::Hidden),
            Some(text) => text.and_then(node),
        };
        let Some(node) = node else {
            return Some(Err(Malformed));
        };
        Some(Ok(ProxySaid {
            node,
            scheme: scheme.and_then(text_of).and_then(scheme_of),
            host: host.and_then(text_of).and_then(host_of),
        }))
    })
}

/// The elements of all lines of a header, the last first; empty ones count for nothing.
fn from_the_right<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
    quotes: bool,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(move |line| Elements {
        rest: Some(line.as_bytes()),
        quotes,
    })
}

/// The elements of one line from its end. Bytes, not text: what one element holds must not make another unreadable.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
    /// A comma may stand in a quoted string.
    quotes: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let comma = last_comma(rest, self.quotes);
            self.rest = comma.and_then(|at| rest.get(..at));
            let element = rest.get(comma.map_or(0, |at| at + 1)..).unwrap_or_default();
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// The last comma that is not in a quoted string.
fn last_comma(text: &[u8], quotes: bool) -> Option<usize> {
    let mut inside = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            // From the end the closing quote comes first; one that is escaped does not open the string.
            b'"' if quotes => inside = !inside || is_escaped(text, at),
            b',' if !inside => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether an odd number of backslashes stands before.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.iter().take(at).rev();
    before.take_while(|b| **b == b'\\').count() % 2 == 1
}

/// One element of `Forwarded`: `for=NODE;proto=SCHEME;host=HOST;by=NODE` in any order, each at most once.
fn element(text: &[u8]) -> Option<ProxySaid> {
    let mut said = ProxySaid::default();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(said);
        }
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after;
            continue;
        }
        let (name, after) = rest.split_at(rest.iter().position(|b| !is_token(*b))?);
        let name = name.to_ascii_lowercase();
        if name.is_empty() || seen.contains(&name) || seen.len() > MOST_PAIRS {
            return None;
        }
        let (value, after) = value(after.strip_prefix(b"=")?)?;
        match name.as_slice() {
            b"for" => said.node = node(text_of(&value)?)?,
            b"proto" => said.scheme = text_of(&value).and_then(scheme_of),
            // What a client called may be anything; that makes the element no worse.
            b"host" => said.host = text_of(&value).and_then(host_of),
            _ => {}
        }
        seen.push(name);
        rest = after.trim_ascii_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(b";")?;
        }
    }
}

/// More pairs than this are of no known proxy.
const MOST_PAIRS: usize = 16;

/// A token or a quoted string, and what follows it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        // Colon and brackets should be quoted, and some proxies leave that out.
        let ours = |b: &u8| is_token(*b) || b":[]".contains(b);
        let end = text.iter().position(|b| !ours(b)).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_vec(), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some((value, quoted.get(at + 1..)?)),
            (_, b'\\') => value.push(*bytes.next()?.1),
            (_, byte) => value.push(*byte),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn scheme_of(text: &str) -> Option<&'static str> {
    ["http", "https"]
        .into_iter()
        .find(|s| text.eq_ignore_ascii_case(s))
}

fn host_of(text: &str) -> Option<String> {
    is_host(text).then(|| text.to_owned())
}

/// An address with or without a port and brackets, `unknown`, or a made-up name, which begins with an underscore.
fn node(text: &str) -> Option<Node> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Node::Address(ip.to_canonical()));
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(Node::Address(addr.ip().to_canonical()));
    }
    // nginx writes `unix:` of a proxy that called it over a socket.
    if text == "unix:" {
        return Some(Node::Hidden);
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let number = |p: &str| (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|p| !number(p) && !is_made_up(p)) {
        return None;
    }
    if name.eq_ignore_ascii_case("unknown") || is_made_up(name) {
        return Some(Node::Hidden);
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let ip: IpAddr = match bare {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => IpAddr::V4(name.parse().ok()?),
    };
    Some(Node::Address(ip.to_canonical()))
}

fn is_made_up(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() > 1 && text.starts_with('_') && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<Node> {
        text.parse().ok().map(Node::Address)
    }

    #[test]
    fn nodes() {
        for (text, want) in [
            ("192.0.2.1", address("192.0.2.1")),
            ("192.0.2.1:80", address("192.0.2.1")),
            ("192.0.2.1:_p", address("192.0.2.1")),
            ("[2001:db8::1]", address("2001:db8::1")),
            ("[2001:db8::1]:443", address("2001:db8::1")),
            ("[2001:db8::1]:_p", address("2001:db8::1")),
            ("2001:db8::1", address("2001:db8::1")),
            ("::ffff:192.0.2.1", address("192.0.2.1")),
            ("[::ffff:192.0.2.1]:1", address("192.0.2.1")),
            ("unknown", Some(Node::Hidden)),
            ("unix:", Some(Node::Hidden)),
            ("Unknown:1", Some(Node::Hidden)),
            ("_gazonk", Some(Node::Hidden)),
            ("_a.b-c:_d", Some(Node::Hidden)),
        ] {
            assert_eq!(node(text), want, "{text}");
            assert!(want.is_some());
        }
        for bad in [
            "",
            "_",
            "_ä",
            "a",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:123456",
            "192.0.2.1:x",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[::1]x",
            "unknown ",
            "1.2.3.4 5.6.7.8",
        ] {
            assert_eq!(node(bad), None, "{bad}");
        }
    }

    #[test]
    fn elements_of_rfc_7239() {
        let said = |text: &str| element(text.as_bytes());
        let all = said("For=\"[2001:db8::1]:80\";PROTO=HTTPS; by=_x ;host=\"r.example:8443\"");
        assert_eq!(
            all,
            Some(ProxySaid {
                node: address("2001:db8::1").expect("address"),
                scheme: Some("https"),
                host: Some("r.example:8443".to_owned()),
            })
        );
        assert_eq!(
            said("for=\"1.2.3\\.4\"").map(|s| s.node),
            address("1.2.3.4")
        );
        // Not quoted, as it should be.
        assert_eq!(
            said("for=1.2.3.4:80;host=r:1").map(|s| s.node),
            address("1.2.3.4")
        );
        // What is unknown counts for nothing, and neither does a host that is none.
        let odd = said(";;x=\"a;b,c\";host=\"a b\";for=1.2.3.4;").expect("well-formed");
        assert_eq!((Some(odd.node), odd.host), (address("1.2.3.4"), None));
        assert_eq!(said("proto=wss"), Some(ProxySaid::default()));
        for bad in [
            "for",
            "for=",
            "=1.2.3.4",
            "for=1.2.3.4 proto=http",
            "for=\"1.2.3.4",
            "for=\"1.2.3.4\"x",
            "for=1.2.3.4;for=5.6.7.8",
            "for =1.2.3.4",
            "for=x",
            "for=1.2.3.4;\"",
            "for=\"1.2.3.4\\",
        ] {
            assert_eq!(said(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_cut_from_their_end() {
        let cut = |text: &'static str| -> Vec<&str> {
            let elements = Elements {
                rest: Some(text.as_bytes()),
                quotes: true,
            };
            elements.filter_map(text_of).collect()
        };
        assert_eq!(cut("a, ,b=\"x,\\\",y\",c,"), ["c", "b=\"x,\\\",y\"", "a"]);
        // An open quote of a client swallows nothing that a proxy added.
        assert_eq!(
            cut("for=\"6.6.6.6, for=1.2.3.4"),
            ["for=1.2.3.4", "for=\"6.6.6.6"]
        );
        assert_eq!(
            cut("for=\\\", for=\"1.2.3.4\""),
            ["for=\"1.2.3.4\"", "for=\\\""]
        );
        assert!(cut(" ,, ").is_empty());
    }
}
