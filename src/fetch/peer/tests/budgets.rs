//! What an upstream and its operator allow.

use super::*;
use crate::fetch::FetchSpan;

async fn asked(peer: &Peer) -> Result<SmallAnswer, FetchError> {
    peer.get(&ask("manifests/latest"), 100).await
}

#[tokio::test]
async fn a_busy_upstream_is_waited_for() {
    for headers in ["retry-after: 1\r\n", ""] {
        let (host, seen) = server(move |n, _| match n {
            0 => kept(0, "429 Many", headers, ""),
            _ => kept(0, "200 OK", "", "fine"),
        })
        .await;
        let peer = peer(&[&host]);
        let began = Instant::now();
        let first = asked(&peer);
        // Later ones are held, too, whatever they are.
        let second = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            peer.head(&ask("manifests/latest")).await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(&first.expect("answer").body[..], b"fine");
        second.expect("answer");
        let took = began.elapsed().as_millis();
        assert!((950..1600).contains(&took), "{took}");
        assert_eq!(count(&seen), 3);
        assert_eq!(peer.counters().addresses[0].breaker, BreakerState::Closed);
    }
}

#[tokio::test]
async fn nobody_is_held_for_longer_than_half_a_minute() {
    let (host, seen) = server(|_, _| kept(0, "429 Many", "retry-after: 31\r\n", "")).await;
    let peer = peer(&[&host]);
    let began = Instant::now();
    for _ in 0..3 {
        let error = asked(&peer).await.expect_err("busy");
        assert!(
            matches!(
                error,
                FetchError::Wait {
                    seconds: 30 | 31,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(count(&seen), 1);
    let held = peer.counters().addresses[0].held_for;
    assert!(
        held.is_some_and(|held| held > Duration::from_secs(29)),
        "{held:?}"
    );
}

#[tokio::test]
async fn a_spent_budget_holds_manifests_alone() {
    let (host, seen) = server(|n, _| match n {
        0 => kept(
            0,
            "200 OK",
            "ratelimit-limit: 100;w=21600\r\nratelimit-remaining: 0;w=21600\r\n",
            "fine",
        ),
        _ => kept(0, "200 OK", "", "fine"),
    })
    .await;
    let peer = peer(&[&host]);
    asked(&peer).await.expect("the last");
    let error = asked(&peer).await.expect_err("spent");
    assert!(matches!(error, FetchError::Wait { .. }), "{error}");
    // What Docker Hub does not count goes on: HEAD, and the blobs of the last manifest.
    peer.head(&ask("manifests/latest")).await.expect("HEAD");
    let span = FetchSpan {
        from: 0,
        size: 4,
        ranges: true,
        decode: true,
    };
    let mut blob = peer.download(&ask("blobs/x"), span).await.expect("blob");
    assert!(blob.chunk().await.expect("body").is_some());
    assert_eq!(count(&seen), 3);
    let counted = &peer.counters().addresses[0];
    assert_eq!((counted.budget, counted.budget_left), (Some(100), Some(0)));
}

#[tokio::test]
async fn an_address_with_a_spent_budget_is_passed_over() {
    let (first, _) =
        server(|_, _| kept(0, "200 OK", "ratelimit-remaining: 0;w=60\r\n", "first")).await;
    let (second, _) = server(|_, _| kept(0, "200 OK", "", "second")).await;
    let peer = peer(&[&first, &second]);
    assert_eq!(&asked(&peer).await.expect("answer").body[..], b"first");
    assert_eq!(&asked(&peer).await.expect("answer").body[..], b"second");
}

#[tokio::test]
async fn so_many_requests_a_second() {
    let (host, seen) = server(|_, _| kept(0, "200 OK", "", "fine")).await;
    let mut options = peer_options(&[&host]);
    options.requests_per_second = 10;
    let peer = Peer::new(options).expect("peer");
    let began = Instant::now();
    let all = (0..20).map(|_| asked(&peer));
    for one in futures_util::future::join_all(all).await {
        one.expect("answer");
    }
    let took = began.elapsed().as_millis();
    // Ten at once, ten in the second after.
    assert!((950..1600).contains(&took), "{took}");
    assert_eq!(count(&seen), 20);
    // Whoever would wait too long hears it at once.
    let mut options = peer_options(&[&host]);
    options.requests_per_second = 1;
    let peer = Peer::new(options).expect("peer");
    let all = (0..40).map(|_| tokio::time::timeout(Duration::from_millis(500), asked(&peer)));
    let all = futures_util::future::join_all(all).await;
    let refused = all
        .iter()
        .filter(|one| matches!(one, Ok(Err(FetchError::Wait { .. }))))
        .count();
    assert_eq!(refused, 9);
}

#[tokio::test]
async fn so_many_bytes_a_second_shared_fairly() {
    const SIZE: usize = 500_000;
    let body = "x".repeat(SIZE);
    let (host, _) = server(move |_, _| kept(0, "200 OK", "", &body)).await;
    let mut options = peer_options(&[&host]);
    options.bytes_per_second = 1_000_000;
    let peer = Peer::new(options).expect("peer");
    let span = FetchSpan {
        from: 0,
        size: SIZE as u64,
        ranges: true,
        decode: true,
    };
    let began = Instant::now();
    let one = || async {
        let mut blob = peer.download(&ask("blobs/x"), span).await.expect("blob");
        while blob.chunk().await.expect("body").is_some() {}
        began.elapsed().as_secs_f64()
    };
    let (a, b, c) = tokio::join!(one(), one(), one());
    // 1.5 MB, of which a quarter of a second's worth comes at once.
    let last = a.max(b).max(c);
    assert!((1.2..1.9).contains(&last), "{last}");
    let first = a.min(b).min(c);
    assert!(first > last * 0.6, "{first} of {last}");
    assert_eq!(peer.counters().addresses[0].bytes, 3 * SIZE as u64);
}
