//! Tokens, credentials that change, what goes to whom, and the way there.

use super::*;
use crate::fetch::{ClientCertificate, Credential, CredentialProvider, FetchSpan};
use std::sync::Mutex;

fn basic(password: &str) -> Credential {
    Credential::Basic {
        user: "user".to_owned(),
        password: password.to_owned(),
    }
}

fn host_of(head: &str) -> &str {
    head.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap_or_default()
}

fn who(head: &str) -> Does {
    let who = format!(
        "www-authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n",
        host_of(head)
    );
    kept(20, "401 Who", &who, "")
}

#[tokio::test]
async fn many_who_wait_ask_for_one_token() {
    let (host, seen) = server(|_, head| {
        if head.starts_with("get /token") {
            kept(100, "200 OK", "", "{\"token\":\"t\",\"expires_in\":300}")
        } else if head.contains("authorization: bearer t") {
            kept(0, "200 OK", "", "fine")
        } else {
            who(head)
        }
    })
    .await;
    let peer = peer(&[&host]);
    let latest = ask("manifests/latest");
    let all = (0..30).map(|_| peer.get(&latest, 100));
    for one in futures_util::future::join_all(all).await {
        assert_eq!(&one.expect("answer").body[..], b"fine");
    }
    // The next name's token is asked for without a 401 before.
    let before = count(&seen);
    let other = PeerAsk {
        name: "library/b".to_owned(),
        ..latest.clone()
    };
    peer.get(&other, 100).await.expect("answer");
    assert_eq!(count(&seen) - before, 2);
    let seen = seen.lock().expect("lock");
    let tokens: Vec<_> = seen
        .iter()
        .filter(|head| head.starts_with("get /token"))
        .collect();
    assert_eq!(tokens.len(), 2);
    assert!(
        tokens[0].contains("scope=repository%3alibrary%2fa%3apull"),
        "{}",
        tokens[0]
    );
}

#[tokio::test]
async fn they_share_its_failure_too() {
    let (host, seen) = server(|_, head| {
        if head.starts_with("get /token") {
            kept(300, "403 No", "", "")
        } else {
            who(head)
        }
    })
    .await;
    let peer = peer(&[&host]);
    let latest = ask("manifests/latest");
    let began = Instant::now();
    let all = (0..30).map(|_| peer.get(&latest, 100));
    for one in futures_util::future::join_all(all).await {
        assert!(matches!(one, Err(FetchError::Unauthorized { .. })));
    }
    assert!(began.elapsed() < Duration::from_millis(1500));
    let seen = seen.lock().expect("lock");
    let tokens = seen
        .iter()
        .filter(|head| head.starts_with("get /token"))
        .count();
    assert_eq!(tokens, 1);
    assert_eq!(peer.counters().addresses[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn whoever_leaves_does_not_take_the_token_along() {
    let (host, _) = server(|_, head| {
        if head.starts_with("get /token") {
            kept(200, "200 OK", "", "{\"token\":\"t\"}")
        } else if head.contains("authorization: bearer t") {
            kept(0, "200 OK", "", "fine")
        } else {
            who(head)
        }
    })
    .await;
    let peer = peer(&[&host]);
    let latest = ask("manifests/latest");
    let leaves = tokio::time::timeout(Duration::from_millis(100), peer.get(&latest, 100));
    let (left, stays) = tokio::join!(leaves, peer.get(&latest, 100));
    assert!(left.is_err());
    stays.expect("answer");
}

#[tokio::test]
async fn credentials_that_changed_are_read_again() {
    // "user:old" and "user:new".
    let (host, _) = server(|n, head| {
        let good = if n < 4 {
            "dxnlcjpvbgq="
        } else {
            "dxnlcjpuzxc="
        };
        if head.contains(&format!("authorization: basic {good}")) {
            kept(0, "200 OK", "", "fine")
        } else {
            kept(0, "401 Who", "www-authenticate: Basic realm=\"x\"\r\n", "")
        }
    })
    .await;
    let now = Arc::new(Mutex::new("old"));
    let read = now.clone();
    let mut options = peer_options(&[&host]);
    let provider = CredentialProvider::new(move |_| Some(basic(*read.lock().expect("lock"))));
    options.fetch.provider = Some(provider);
    let peer = Peer::new(options).expect("peer");
    let latest = ask("manifests/latest");
    for _ in 0..3 {
        peer.get(&latest, 100).await.expect("old");
    }
    // The server knows the new one alone from now on, and so does the file.
    *now.lock().expect("lock") = "new";
    peer.get(&latest, 100).await.expect("new");
}

#[tokio::test]
async fn endless_401s_and_redirects_end() {
    let (host, seen) = server(|_, head| {
        if head.starts_with("get /token") {
            kept(0, "200 OK", "", "{\"token\":\"t\"}")
        } else {
            who(head)
        }
    })
    .await;
    let error = peer(&[&host])
        .get(&ask("manifests/latest"), 9)
        .await
        .expect_err("401");
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
    assert!(count(&seen) <= 5);
    let (host, seen) = server(|_, _| kept(0, "302 Here", "location: /v2/again\r\n", "")).await;
    let error = peer(&[&host])
        .get(&ask("manifests/latest"), 9)
        .await
        .expect_err("loop");
    assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    assert!(count(&seen) <= 6);
}

#[tokio::test]
async fn what_is_ours_goes_to_no_other_host() {
    let (cdn, at_cdn) = server(|_, _| kept(0, "200 OK", "", "blob")).await;
    let named = cdn.clone();
    let (host, _) = server(move |_, head| {
        if head.contains("authorization: basic") {
            kept(
                0,
                "307 There",
                &format!("location: http://{cdn}/signed?key=1\r\n"),
                "",
            )
        } else {
            kept(0, "401 Who", "www-authenticate: Basic realm=\"x\"\r\n", "")
        }
    })
    .await;
    let mut options = peer_options(&[&host]);
    options.fetch.credentials = Some(basic("secret"));
    options.fetch.allow_hosts = vec![named];
    let peer = Peer::new(options).expect("peer");
    let span = FetchSpan {
        from: 0,
        size: 4,
        ranges: true,
        decode: true,
    };
    let mut blob = peer.download(&ask("blobs/x"), span).await.expect("begins");
    assert_eq!(
        blob.chunk().await.expect("body").as_deref(),
        Some(&b"blob"[..])
    );
    peer.get(&ask("manifests/latest"), 9).await.expect("answer");
    let at_cdn = at_cdn.lock().expect("lock");
    assert_eq!(at_cdn.len(), 2);
    assert!(at_cdn.iter().all(|head| !head.contains("authorization")));
}

#[tokio::test]
async fn a_proxy_is_asked_instead() {
    let (proxy, at_proxy) = server(|_, _| kept(0, "200 OK", "", "through")).await;
    let mut options = peer_options(&["registry.invalid"]);
    options.fetch.proxy = Some(format!("http://u:p@{proxy}"));
    assert!(!format!("{options:?}").contains("u:p"));
    let peer = Peer::new(options).expect("peer");
    let answer = peer
        .get(&ask("manifests/latest"), 100)
        .await
        .expect("answer");
    assert_eq!(&answer.body[..], b"through");
    {
        let at_proxy = at_proxy.lock().expect("lock");
        let line = "get http://registry.invalid/v2/library/a/manifests/latest http/1.1";
        assert!(at_proxy[0].starts_with(line), "{}", at_proxy[0]);
        assert!(
            at_proxy[0].contains("proxy-authorization: basic dtpw"),
            "{}",
            at_proxy[0]
        );
    }
    for bad in ["", "registry", "ftp://x", "file:///x"] {
        let mut options = peer_options(&["registry.invalid"]);
        options.fetch.proxy = Some(bad.to_owned());
        assert!(Peer::new(options).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_none_is_refused() {
    let mut options = peer_options(&["registry.invalid"]);
    options.fetch.client_certificate = Some(ClientCertificate {
        chain: b"no".to_vec(),
        key: b"secret".to_vec(),
    });
    assert!(!format!("{options:?}").contains("secret"));
    let Err(error) = Peer::new(options) else {
        panic!("it was taken");
    };
    assert!(error.to_string().contains("client certificate"), "{error}");
}
