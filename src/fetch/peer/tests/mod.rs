//! An upstream's behaviours against small servers on loopback, each connection with a task of its own.

mod bodies;
mod budgets;
mod failing;
mod late;
mod login;

use super::*;
use crate::fetch::tests::{Seen, options};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with one request: it waits, sends this, and goes on or closes.
pub(super) struct Does {
    pub after: Duration,
    pub bytes: Vec<u8>,
    pub keeps: bool,
}

/// An answer of this status after so many milliseconds; the connection stays.
pub(super) fn kept(after_ms: u64, status: &str, headers: &str, body: &str) -> Does {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    Does {
        after: Duration::from_millis(after_ms),
        bytes: text.into_bytes(),
        keeps: true,
    }
}

/// Serves; `does` gets the number of the request and its head in lower case.
pub(super) async fn server(
    does: impl Fn(usize, &str) -> Does + Send + Sync + 'static,
) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    let seen = Seen::default();
    let (log, does) = (seen.clone(), Arc::new(does));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, does) = (log.clone(), does.clone());
            tokio::spawn(async move { connection(stream, &log, &*does).await });
        }
    });
    (host, seen)
}

async fn connection(
    mut stream: TcpStream,
    log: &Seen,
    does: &(impl Fn(usize, &str) -> Does + ?Sized),
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let number = {
            let mut log = log.lock().expect("lock");
            log.push(head.clone());
            log.len() - 1
        };
        let now = does(number, &head);
        tokio::time::sleep(now.after).await;
        if stream.write_all(&now.bytes).await.is_err() || !now.keeps {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// A server that takes connections and never says anything, not even TLS.
pub(super) async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    host
}

/// An address where nothing listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address").to_string()
}

pub(super) fn url(host: &str) -> PeerUrl {
    PeerUrl {
        host: host.to_owned(),
        is_plain: true,
        prefix: String::new(),
    }
}

pub(super) fn peer_options(hosts: &[&str]) -> PeerOptions {
    PeerOptions {
        urls: hosts.iter().map(|host| url(host)).collect(),
        fetch: options(),
        requests_per_second: 0,
        bytes_per_second: 0,
        hedge: false,
    }
}

pub(super) fn peer(hosts: &[&str]) -> Peer {
    Peer::new(peer_options(hosts)).expect("peer")
}

pub(super) fn ask(rest: &str) -> PeerAsk {
    PeerAsk {
        name: "library/a".to_owned(),
        rest: rest.to_owned(),
        accept: "*/*".to_owned(),
    }
}

pub(super) fn count(seen: &Seen) -> usize {
    seen.lock().expect("lock").len()
}

#[tokio::test]
async fn what_is_asked_for_is_a_path_below_v2() {
    let (host, seen) = server(|_, _| kept(0, "200 OK", "x: y\r\n", "body")).await;
    let mut options = peer_options(&[&host]);
    options.urls[0].prefix = "proxy/".to_owned();
    let peer = Peer::new(options).expect("peer");
    let answer = peer
        .get(&ask("manifests/latest"), 100)
        .await
        .expect("answer");
    assert_eq!(&answer.body[..], b"body");
    let answer = peer.head(&ask("tags/list?n=3")).await;
    assert!(answer.is_ok());
    {
        let seen = seen.lock().expect("lock");
        assert!(
            seen[0].starts_with("get /v2/proxy/library/a/manifests/latest http"),
            "{}",
            seen[0]
        );
        assert!(
            seen[1].starts_with("head /v2/proxy/library/a/tags/list?n=3 http"),
            "{}",
            seen[1]
        );
    }
    for bad in [
        "",
        "manifests/../../x",
        "manifests//x",
        "a b",
        "a#b",
        "a\\b",
        "./a",
    ] {
        let error = peer.head(&ask(bad)).await.expect_err(bad);
        assert!(matches!(error, FetchError::Options(_)), "{error}");
    }
    for bad in ["", "..", "a/../b", "a?b", "a%2e", "/a"] {
        let ask = PeerAsk {
            name: bad.to_owned(),
            ..ask("manifests/latest")
        };
        assert!(peer.head(&ask).await.is_err(), "{bad}");
    }
    assert_eq!(count(&seen), 2);
    let counters = peer.counters().addresses;
    assert_eq!(counters[0].address, format!("http://{host}/proxy"));
    assert_eq!(
        (counters[0].requests, counters[0].bytes, counters[0].errors),
        (2, 4, 0)
    );
}

#[tokio::test]
async fn pages_go_on_at_the_same_host_and_repository() {
    let link = "link: <http://evil.example/v2/x>; rel=\"next\"\r\n";
    let (host, _) = server(move |_, _| kept(0, "200 OK", link, "{}")).await;
    let peer = peer(&[&host]);
    let ask = ask("tags/list?n=2");
    let answer = peer.get(&ask, 100).await.expect("answer");
    for good in [
        "/v2/library/a/tags/list?n=2&last=b",
        &format!("http://{host}/v2/library/a/tags/list?n=2&last=b"),
        "list?n=2&last=b",
    ] {
        assert!(same_host(&answer, good), "{good}");
        let next = peer.next_page(&ask, &answer, good).expect(good);
        assert_eq!(next.rest, "tags/list?n=2&last=b");
    }
    for bad in [
        "http://evil.example/v2/library/a/tags/list",
        "//evil.example/v2/library/a/tags/list",
        "https:/x",
        "data:x",
    ] {
        assert!(!same_host(&answer, bad), "{bad}");
        assert!(peer.next_page(&ask, &answer, bad).is_err(), "{bad}");
    }
    for bad in [
        "/v2/library/b/tags/list",
        "/v2/library/a/../b/tags/list",
        "/x",
        "",
    ] {
        let next = peer.next_page(&ask, &answer, bad);
        let same = next.as_ref().is_ok_and(|next| next.rest == ask.rest);
        assert!(next.is_err() || same, "{bad}");
    }
}
