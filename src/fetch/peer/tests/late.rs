//! Requests beside late ones.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// A server whose answers are quick until it is told to be slow for the next request; and a peer that knows that.
async fn known(hosts: &[&str], hedge: bool) -> Peer {
    let mut options = peer_options(hosts);
    options.hedge = hedge;
    let peer = Peer::new(options).expect("peer");
    for _ in 0..25 {
        peer.head(&ask("manifests/latest")).await.expect("answer");
    }
    peer
}

/// The next request is slow while the flag is set; it takes it off.
async fn slow_once(slow_ms: u64) -> (String, Seen, Arc<AtomicBool>) {
    let slow = Arc::new(AtomicBool::new(false));
    let flag = slow.clone();
    let (host, seen) = server(move |_, _| {
        let after = if flag.swap(false, Ordering::SeqCst) {
            slow_ms
        } else {
            0
        };
        kept(after, "200 OK", "", "fine")
    })
    .await;
    (host, seen, slow)
}

#[tokio::test]
async fn a_late_manifest_is_asked_for_again_by_another_connection() {
    let (host, seen, slow) = slow_once(3000).await;
    let peer = known(&[&host], true).await;
    for head in [true, false] {
        let before = count(&seen);
        slow.store(true, Ordering::SeqCst);
        let began = Instant::now();
        let asked = ask("manifests/latest");
        let answer = if head {
            peer.head(&asked).await
        } else {
            // Twenty more requests pay for another one.
            for _ in 0..20 {
                slow.store(false, Ordering::SeqCst);
                peer.head(&asked).await.expect("answer");
            }
            slow.store(true, Ordering::SeqCst);
            peer.get(&asked, 100).await
        };
        answer.expect("answer");
        assert!(began.elapsed() < Duration::from_millis(1500), "{head}");
        assert_eq!(count(&seen) - before, if head { 2 } else { 22 });
    }
    assert_eq!(peer.counters().addresses[0].hedged, 2);
    // Nothing is saved up: the next late one is waited for.
    let before = count(&seen);
    slow.store(true, Ordering::SeqCst);
    let asked = ask("manifests/latest");
    let waited = tokio::time::timeout(Duration::from_millis(300), peer.head(&asked));
    assert!(waited.await.is_err());
    assert_eq!(count(&seen) - before, 1);
}

#[tokio::test]
async fn lists_blobs_and_those_who_do_not_wish_it_are_asked_once() {
    let (host, seen, slow) = slow_once(400).await;
    for (hedge, rest) in [
        (true, "tags/list"),
        (true, "blobs/sha256:x"),
        (false, "manifests/latest"),
    ] {
        let peer = known(&[&host], hedge).await;
        let before = count(&seen);
        slow.store(true, Ordering::SeqCst);
        peer.get(&ask(rest), 100).await.expect("answer");
        assert_eq!(count(&seen) - before, 1, "{rest}");
        assert_eq!(peer.counters().addresses[0].hedged, 0);
    }
}

#[tokio::test]
async fn another_address_is_asked_where_one_is_late() {
    let (first, _, slow) = slow_once(3000).await;
    let (second, at_second) = server(|_, _| kept(0, "200 OK", "", "second")).await;
    let peer = known(&[&first, &second], true).await;
    slow.store(true, Ordering::SeqCst);
    let answer = peer
        .get(&ask("manifests/latest"), 100)
        .await
        .expect("answer");
    assert_eq!(&answer.body[..], b"second");
    assert_eq!(count(&at_second), 1);
}

#[tokio::test]
async fn a_late_token_is_asked_for_again() {
    let slow = Arc::new(AtomicBool::new(false));
    let flag = slow.clone();
    let (host, seen) = server(move |_, head| {
        let at = head
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default();
        if head.starts_with("get /token") {
            let after = if flag.swap(false, Ordering::SeqCst) {
                3000
            } else {
                0
            };
            kept(after, "200 OK", "", "{\"token\":\"t\"}")
        } else if head.contains("authorization: bearer t") {
            kept(0, "200 OK", "", "fine")
        } else {
            let who =
                format!("www-authenticate: Bearer realm=\"http://{at}/token\",service=\"s\"\r\n");
            kept(0, "401 Who", &who, "")
        }
    })
    .await;
    let peer = known(&[&host], true).await;
    slow.store(true, Ordering::SeqCst);
    let other = PeerAsk {
        name: "library/b".to_owned(),
        ..ask("manifests/latest")
    };
    let began = Instant::now();
    peer.get(&other, 100).await.expect("answer");
    assert!(began.elapsed() < Duration::from_millis(1500));
    let seen = seen.lock().expect("lock");
    assert_eq!(
        seen.iter()
            .filter(|head| head.starts_with("get /token"))
            .count(),
        3
    );
}
