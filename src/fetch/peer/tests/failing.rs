//! Addresses that fail: the next one, the breaker, and how long anybody waits.

use super::*;
use crate::fetch::wire::Lookup;

/// Short waits.
fn quick(hosts: &[&str]) -> PeerOptions {
    let mut options = peer_options(hosts);
    options.fetch.connect_timeout = Duration::from_millis(200);
    options.fetch.first_byte = Some(Duration::from_millis(300));
    options
}

async fn asked(peer: &Peer) -> Result<SmallAnswer, FetchError> {
    peer.get(&ask("manifests/latest"), 100).await
}

#[tokio::test]
async fn no_connection_is_told_at_once_and_the_third_closes_the_address() {
    let host = nobody().await;
    let peer = peer(&[&host]);
    assert_eq!(peer.standing(), PeerStanding::Unknown);
    let began = Instant::now();
    for n in 1..=3 {
        let error = asked(&peer).await.expect_err("nobody there");
        assert!(matches!(error, FetchError::Connect { .. }), "{n}: {error}");
        assert_eq!(peer.standing() == PeerStanding::Doubtful, n < 3);
    }
    let error = asked(&peer).await.expect_err("closed");
    let FetchError::Away {
        host: named,
        retry_after,
    } = error
    else {
        panic!("{error}");
    };
    assert!(
        named == host && retry_after <= Duration::from_millis(5500),
        "{retry_after:?}"
    );
    assert!(matches!(peer.standing(), PeerStanding::Away { .. }));
    assert!(began.elapsed() < Duration::from_secs(1));
    let counted = &peer.counters().addresses[0];
    assert_eq!((counted.requests, counted.errors), (3, 3));
    assert_eq!(counted.breaker, BreakerState::Open);
}

#[tokio::test]
async fn one_silence_closes_an_address() {
    // No TLS greeting is answered: that is no connection either.
    let mut options = quick(&[&silent().await]);
    options.urls[0].is_plain = false;
    let peer = Peer::new(options).expect("peer");
    let began = Instant::now();
    let error = asked(&peer).await.expect_err("silent");
    assert!(
        matches!(
            error,
            FetchError::Connect {
                is_silent: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_millis(400));
    let error = asked(&peer).await.expect_err("closed");
    assert!(matches!(error, FetchError::Away { .. }), "{error}");
    // Nor is a name that nobody answers for.
    let never = Lookup::new(|_| std::future::pending());
    let mut options = quick(&["up.example"]);
    options.urls[0].is_plain = false;
    let peer = Peer::with_lookup(options, &never).expect("peer");
    let began = Instant::now();
    let error = asked(&peer).await.expect_err("silent");
    assert!(
        matches!(
            error,
            FetchError::Connect {
                is_silent: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_millis(400));
}

#[tokio::test]
async fn nobody_waits_longer_than_two_seconds_for_a_connection() {
    let mut options = peer_options(&[&silent().await]);
    options.urls[0].is_plain = false;
    let peer = Peer::new(options).expect("peer");
    let began = Instant::now();
    asked(&peer).await.expect_err("silent");
    let took = began.elapsed().as_millis();
    assert!((1900..2300).contains(&took), "{took}");
}

#[tokio::test]
async fn a_first_byte_has_its_time() {
    let host = silent().await;
    let peer = Peer::new(quick(&[&host])).expect("peer");
    let began = Instant::now();
    let error = asked(&peer).await.expect_err("silent");
    assert!(
        matches!(
            error,
            FetchError::Connect {
                is_silent: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("no answer came"), "{error}");
    let took = began.elapsed().as_millis();
    assert!((400..700).contains(&took), "{took}");
}

#[tokio::test]
async fn the_next_address_is_asked_where_one_fails() {
    for status in ["500 No", "502 No", "503 No", "507 No", "429 Many"] {
        let (first, at_first) = server(move |_, _| kept(0, status, "retry-after: 9\r\n", "")).await;
        let (second, at_second) = server(|_, _| kept(0, "200 OK", "", "fine")).await;
        let peer = peer(&[&first, &second]);
        for _ in 0..5 {
            assert_eq!(&asked(&peer).await.expect(status).body[..], b"fine");
        }
        // A 429 holds the address back, three failures close it.
        let tries = if status.starts_with("429") { 1 } else { 3 };
        assert_eq!(
            (count(&at_first), count(&at_second)),
            (tries, 5),
            "{status}"
        );
        assert_eq!(peer.standing(), PeerStanding::Up);
    }
    let gone = nobody().await;
    let (second, _) = server(|_, _| kept(0, "200 OK", "", "fine")).await;
    asked(&peer(&[&gone, &second])).await.expect("the second");
    // All fail: the last failure is told.
    let error = asked(&peer(&[&nobody().await, &gone]))
        .await
        .expect_err("none");
    assert!(error.to_string().contains(&gone), "{error}");
}

#[tokio::test]
async fn refusals_and_misses_are_answers() {
    for (status, want) in [
        ("404 No", Some(404)),
        ("403 No", Some(403)),
        ("401 Who", None),
        ("410 Gone", Some(410)),
    ] {
        let (first, at_first) = server(move |_, _| kept(0, status, "", "")).await;
        let (second, at_second) = server(|_, _| kept(0, "200 OK", "", "fine")).await;
        let peer = peer(&[&first, &second]);
        for _ in 0..5 {
            match (asked(&peer).await, want) {
                (Ok(answer), Some(want)) => assert_eq!(answer.status, want),
                (Err(FetchError::Unauthorized { .. }), None) => {}
                (other, _) => panic!("{status}: {other:?}"),
            }
        }
        assert_eq!((count(&at_first), count(&at_second)), (5, 0), "{status}");
        assert_eq!(peer.counters().addresses[0].breaker, BreakerState::Closed);
    }
}

#[tokio::test]
async fn the_first_address_is_preferred_again_after_its_trial() {
    let (first, at_first) = server(|n, _| match n {
        0..3 => kept(0, "500 No", "", ""),
        _ => kept(150, "200 OK", "", "first"),
    })
    .await;
    let (second, _) = server(|_, _| kept(0, "200 OK", "", "second")).await;
    let peer = peer(&[&first, &second]);
    for _ in 0..4 {
        assert_eq!(&asked(&peer).await.expect("answer").body[..], b"second");
    }
    assert_eq!(count(&at_first), 3);
    tokio::time::sleep(Duration::from_millis(5600)).await;
    assert_eq!(peer.counters().addresses[0].breaker, BreakerState::HalfOpen);
    // One of many tries it; the others do not wait for that.
    let many: Vec<_> = (0..10)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { asked(&peer).await })
        })
        .collect();
    let mut bodies = Vec::new();
    for one in many {
        bodies.push(one.await.expect("task").expect("answer").body);
    }
    let tried = bodies.iter().filter(|body| &body[..] == b"first").count();
    assert_eq!((tried, count(&at_first)), (1, 4));
    assert_eq!(&asked(&peer).await.expect("answer").body[..], b"first");
}

#[tokio::test]
async fn a_trial_that_is_given_up_is_made_again() {
    let (host, seen) = server(|n, _| match n {
        0..3 => kept(0, "500 No", "", ""),
        3 => kept(60_000, "200 OK", "", ""),
        _ => kept(0, "200 OK", "", "fine"),
    })
    .await;
    let peer = peer(&[&host]);
    for _ in 0..3 {
        asked(&peer).await.expect_err("500");
    }
    tokio::time::sleep(Duration::from_millis(5600)).await;
    let given_up = tokio::time::timeout(Duration::from_millis(100), asked(&peer)).await;
    assert!(given_up.is_err());
    assert_eq!(&asked(&peer).await.expect("answer").body[..], b"fine");
    assert_eq!(count(&seen), 5);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_nothing() {
    // Every second request finds its connection closed without an answer.
    let (host, seen) = server(|n, _| {
        if n % 2 == 1 {
            Does {
                after: Duration::ZERO,
                bytes: Vec::new(),
                keeps: false,
            }
        } else {
            kept(0, "200 OK", "", "fine")
        }
    })
    .await;
    let peer = peer(&[&host]);
    for _ in 0..4 {
        assert_eq!(&asked(&peer).await.expect("answer").body[..], b"fine");
    }
    // 1 + 3 times two.
    assert_eq!(count(&seen), 7);
    assert_eq!(peer.counters().addresses[0].errors, 0);
    // Once, and no more.
    let (host, seen) = server(|_, _| Does {
        after: Duration::ZERO,
        bytes: Vec::new(),
        keeps: false,
    })
    .await;
    let error = asked(&super::peer(&[&host])).await.expect_err("closed");
    assert!(
        matches!(
            error,
            FetchError::Connect {
                is_silent: false,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(count(&seen), 2);
}
