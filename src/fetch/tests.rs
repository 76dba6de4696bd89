//! The client against a small server on loopback that answers by hand-written bytes.

use super::*;
use crate::fetch::error::FetchErrorKind;
use crate::types::Remedy;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// Serves one request a connection; `answer` gets the number of the request and its head.
pub(crate) async fn serve(
    answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
                // The first byte of a TLS greeting.
                if head == [0x16] {
                    break;
                }
            }
            if head == [0x16] || head.is_empty() {
                continue;
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let number = {
                let mut log = log.lock().expect("lock");
                log.push(head.clone());
                log.len() - 1
            };
            let _ = stream.write_all(&answer(number, &head)).await;
            let _ = stream.shutdown().await;
        }
    });
    (host, seen)
}

pub(crate) fn reply(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn options() -> FetchOptions {
    FetchOptions {
        plain_http: true,
        backoff: Duration::from_millis(5),
        ..FetchOptions::default()
    }
}

fn with_password() -> FetchOptions {
    let credential = Credential::Basic {
        user: "user".to_owned(),
        password: "secret".to_owned(),
    };
    FetchOptions {
        credentials: Some(credential),
        ..options()
    }
}

/// So many bytes are there, of so many.
fn span(from: u64, size: u64) -> FetchSpan {
    FetchSpan {
        from,
        size,
        ranges: true,
        decode: true,
    }
}

async fn all(download: &mut Download) -> Result<String, FetchError> {
    let mut body = Vec::new();
    while let Some(piece) = download.chunk().await? {
        body.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn waits_as_asked_and_tries_again() {
    let (host, seen) = serve(|n, _| match n {
        0 => reply("429 Too Many", "retry-after: 1\r\n", ""),
        1 => reply("503 Busy", "", ""),
        _ => reply("200 OK", "", "done"),
    })
    .await;
    let waits = Arc::new(Mutex::new(Vec::new()));
    let log = waits.clone();
    let client = FetchClient::new(&host, options()).expect("client");
    let client = client.on_retry(move |retry| log.lock().expect("lock").push(retry));
    let answer = client.get("/x", "*/*", "s", 100).await.expect("answer");
    assert_eq!(&answer.body[..], b"done");
    assert_eq!(seen.lock().expect("lock").len(), 3);
    let waits = waits.lock().expect("lock");
    assert_eq!(waits[0].wait, Duration::from_secs(1));
    assert!(waits[0].why.contains("429"), "{}", waits[0].why);
}

#[tokio::test]
async fn does_not_wait_for_ever() {
    let (host, seen) = serve(|_, _| reply("500 Broken", "", "")).await;
    let client = FetchClient::new(
        &host,
        FetchOptions {
            tries: 3,
            ..options()
        },
    )
    .expect("client");
    let error = client
        .get("/x?secret=1", "*/*", "s", 100)
        .await
        .expect_err("fails");
    assert!(
        error.to_string().contains("500") && !error.to_string().contains("secret"),
        "{error}"
    );
    assert_eq!(seen.lock().expect("lock").len(), 3);
    let (host, _) = serve(|_, _| reply("429 Too Many", "retry-after: 86400\r\n", "")).await;
    let client = FetchClient::new(&host, options()).expect("client");
    let error = client.get("/x", "*/*", "s", 100).await.expect_err("fails");
    assert_eq!(error.kind(), FetchErrorKind::Unreachable);
}

#[tokio::test]
async fn goes_on_where_a_body_broke() {
    let (host, seen) = serve(|n, head| match n {
        0 => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123".to_vec(),
        1 => {
            assert!(head.contains("range: bytes=4-"), "{head}");
            b"HTTP/1.1 206 Partial\r\ncontent-range: bytes 4-9/10\r\ncontent-length: 6\r\n\r\n45"
                .to_vec()
        }
        // This one does not know ranges: what is there already must be passed over.
        _ => reply("200 OK", "", "0123456789"),
    })
    .await;
    let client = FetchClient::new(&host, options()).expect("client");
    let mut download = client
        .download("/b", "s", span(0, 10))
        .await
        .expect("begins");
    assert_eq!(all(&mut download).await.expect("body"), "0123456789");
    assert_eq!(download.offset(), 10);
    assert_eq!(seen.lock().expect("lock").len(), 3);
    let mut rest = client
        .download("/b", "s", span(7, 10))
        .await
        .expect("begins");
    assert_eq!(all(&mut rest).await.expect("body"), "789");
}

/// A server that breaks off once and then refuses the rest in its own way.
#[tokio::test]
async fn a_part_that_is_refused_is_followed_by_the_whole() {
    let part = "content-range: bytes 4-9/10\r\n";
    let refusals = [
        ("416", "", ""),
        ("400", "", "no"),
        ("401", "", ""),
        ("403", "", ""),
        ("404", "", ""),
        ("405", "", ""),
        ("500", "", ""),
        ("501", "", ""),
        ("503", "", ""),
        ("302", "location: ftp://x/\r\n", ""),
        ("204", "", ""),
        ("206", "", "456789"),
        ("206", "content-range: bytes 5-9/10\r\n", "56789"),
        ("206", "content-range: bytes 4-9/11\r\n", "456789"),
        ("206", "content-range: 4-9\r\n", "456789"),
        ("200", "", "456789"),
        ("200", part, "456789"),
    ];
    for (status, headers, body) in refusals {
        let refusal = reply(&format!("{status} No"), headers, body);
        let (host, seen) = serve(move |n, head| match n {
            0 => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123".to_vec(),
            _ if head.contains("range: bytes=4-") => refusal.clone(),
            _ => reply("200 OK", "", "0123456789"),
        })
        .await;
        let client = FetchClient::new(
            &host,
            FetchOptions {
                tries: 2,
                ..options()
            },
        )
        .expect("client");
        for from in [0, 4] {
            let begun = client.download("/b", "s", span(from, 10)).await;
            let mut download = begun.unwrap_or_else(|e| panic!("{status} {headers}: {e}"));
            let got = all(&mut download).await;
            let got = got.unwrap_or_else(|e| panic!("{status} {headers}: {e}"));
            assert_eq!(got, &"0123456789"[from as usize..], "{status} {headers}");
            assert!(!download.is_made());
        }
        // Once it is known that there are no parts, none is asked for.
        let ranged = |head: &&String| head.contains("range: bytes");
        let ranged = seen.lock().expect("lock").iter().filter(ranged).count();
        let tries = if status.starts_with("50") && status != "501" {
            2
        } else {
            1
        };
        assert_eq!(ranged, 2 * tries, "{status} {headers}");
    }
}

#[tokio::test]
async fn a_body_has_its_length() {
    let (host, _) = serve(|_, _| reply("200 OK", "", "0123456789")).await;
    let client = FetchClient::new(
        &host,
        FetchOptions {
            tries: 2,
            ..options()
        },
    )
    .expect("client");
    let mut long = client
        .download("/b", "s", span(0, 9))
        .await
        .expect("begins");
    assert!(matches!(
        all(&mut long).await,
        Err(FetchError::TooLarge { .. })
    ));
    let mut short = client
        .download("/b", "s", span(0, 11))
        .await
        .expect("begins");
    assert!(matches!(
        all(&mut short).await,
        Err(FetchError::Body { .. })
    ));
    let mut nothing = client
        .download("/b", "s", span(0, 0))
        .await
        .expect("begins");
    assert_eq!(all(&mut nothing).await.expect("body"), "");
}

#[tokio::test]
async fn a_redirect_carries_no_authorization() {
    let (cdn, at_cdn) = serve(|_, _| reply("200 OK", "", "blob")).await;
    let named = cdn.clone();
    let (host, at_host) = serve(move |_, head| {
        if head.contains("authorization: basic dxnlcjpzzwnyzxq=") {
            reply(
                "307 Elsewhere",
                &format!("location: http://{cdn}/signed?key=1\r\n"),
                "",
            )
        } else {
            reply("401 Who", "www-authenticate: Basic realm=\"x\"\r\n", "")
        }
    })
    .await;
    let options = FetchOptions {
        allow_hosts: vec![named],
        ..with_password()
    };
    let client = FetchClient::new(&host, options).expect("client");
    let mut download = client
        .download("/b", "s", span(0, 4))
        .await
        .expect("begins");
    assert_eq!(all(&mut download).await.expect("body"), "blob");
    assert_eq!(at_host.lock().expect("lock").len(), 2);
    let at_cdn = at_cdn.lock().expect("lock");
    assert_eq!(at_cdn.len(), 1);
    assert!(!at_cdn[0].contains("authorization"), "{}", at_cdn[0]);
}

#[tokio::test]
async fn a_token_is_fetched_once_and_renewed_when_refused() {
    let (host, seen) = serve(|n, head| {
        let host = head
            .lines()
            .find_map(|l| l.strip_prefix("host: "))
            .unwrap_or_default();
        let challenge =
            format!("www-authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
        if head.starts_with("get /token?") {
            assert!(
                head.contains("service=s&scope=repository%3aa%3apull&account=user"),
                "{head}"
            );
            assert!(head.contains("authorization: basic"), "{head}");
            reply(
                "200 OK",
                "",
                &format!("{{\"token\":\"t{n}\",\"expires_in\":300}}"),
            )
        } else if n != 4 && head.contains("authorization: bearer t") {
            reply("200 OK", "", "fine")
        } else {
            reply("401 Who", &challenge, "")
        }
    })
    .await;
    let client = FetchClient::new(&host, with_password()).expect("client");
    for _ in 0..3 {
        client
            .get("/x", "*/*", "repository:a:pull", 100)
            .await
            .expect("answer")
            .check()
            .expect("fine");
    }
    // 401, token, 200; 200; 401 (withdrawn), token, 200.
    assert_eq!(seen.lock().expect("lock").len(), 7);
}

#[tokio::test]
async fn refusals_end_the_run() {
    let (host, seen) =
        serve(|_, _| reply("401 Who", "www-authenticate: Basic realm=\"x\"\r\n", "")).await;
    let client = FetchClient::new(&host, with_password()).expect("client");
    let error = client
        .get("/x", "*/*", "s", 100)
        .await
        .expect_err("refused");
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(seen.lock().expect("lock").len(), 2);
    let (host, _) = serve(|_, _| {
        reply(
            "401 Who",
            "www-authenticate: Bearer realm=\"https://evil.example/t\",service=\"s\"\r\n",
            "",
        )
    })
    .await;
    let client = FetchClient::new(&host, with_password()).expect("client");
    let error = client
        .get("/x", "*/*", "s", 100)
        .await
        .expect_err("refused");
    let trust = Remedy::TrustRealm("evil.example".to_owned());
    assert_eq!(error.remedy(), Some(trust), "{error}");
}

#[tokio::test]
async fn this_machine_may_speak_plain_http() {
    let (host, seen) = serve(|_, _| reply("200 OK", "", "x")).await;
    let client = FetchClient::new(
        &host,
        FetchOptions {
            plain_http: false,
            ..options()
        },
    )
    .expect("client");
    assert_eq!(
        client
            .head("/v2/", "*/*", "s")
            .await
            .expect("answer")
            .status,
        200
    );
    let seen = seen.lock().expect("lock");
    assert!(seen.iter().all(|head| head.contains("/v2/")) && !seen.is_empty());
}

/// Names and what they have as an address; every name that ends in `.example` is on this machine.
fn lookup() -> (super::wire::Lookup, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let lookup = super::wire::Lookup::new(move |name: String| {
        log.lock().expect("lock").push(name.clone());
        async move {
            let here = name.ends_with(".example");
            let found = here.then(|| ([127, 0, 0, 1], 0).into());
            found
                .map(|at| vec![at])
                .ok_or_else(|| std::io::ErrorKind::NotFound.into())
        }
    });
    (lookup, seen)
}

fn port_of(host: &str) -> &str {
    host.rsplit_once(':').expect("a port").1
}

#[tokio::test]
async fn a_name_at_this_machine_is_asked_only_if_it_was_named() {
    let (cdn, at_cdn) = serve(|_, _| reply("200 OK", "", "blob")).await;
    let elsewhere = format!("cdn.example:{}", port_of(&cdn));
    let location = format!("location: http://{elsewhere}/b\r\n");
    let (host, at_host) = serve(move |_, _| reply("307 Elsewhere", &location, "")).await;
    // The registry itself may be here: the operator named it.
    let host = format!("up.example:{}", port_of(&host));
    let (lookup, looked) = lookup();
    let client = FetchClient::with_lookup(&host, options(), &lookup).expect("client");
    let Err(error) = client.download("/a?key=1", "s", span(0, 4)).await else {
        panic!("it was followed");
    };
    assert_eq!(error.kind(), FetchErrorKind::Refused);
    let text = error.to_string();
    let told = format!(
        "http://{host}/a leads to {elsewhere}, which is not asked: 127.0.0.1 is this machine"
    );
    assert!(text.starts_with(&told) && !text.contains("key"), "{text}");
    let allow = Remedy::AllowHost(elsewhere.clone());
    assert_eq!(error.remedy(), Some(allow), "{text}");
    assert_eq!(at_cdn.lock().expect("lock").len(), 0);
    // Not tried again: it will not pass by itself.
    assert_eq!(at_host.lock().expect("lock").len(), 1);
    assert_eq!(*looked.lock().expect("lock"), ["up.example", "cdn.example"]);

    for named in [elsewhere.clone(), elsewhere.to_ascii_uppercase()] {
        let options = FetchOptions {
            allow_hosts: vec![named],
            ..options()
        };
        let client = FetchClient::with_lookup(&host, options, &lookup).expect("client");
        let mut download = client
            .download("/a", "s", span(0, 4))
            .await
            .expect("begins");
        assert_eq!(all(&mut download).await.expect("body"), "blob");
    }
    // Its other ports are not.
    let options = FetchOptions {
        allow_hosts: vec!["cdn.example".to_owned()],
        ..options()
    };
    let client = FetchClient::with_lookup(&host, options, &lookup).expect("client");
    assert!(client.download("/a", "s", span(0, 4)).await.is_err());
}

#[tokio::test]
async fn addresses_in_urls_are_judged_in_every_spelling() {
    let (inner, at_inner) = serve(|_, _| reply("200 OK", "", "")).await;
    let port = port_of(&inner).to_owned();
    let (host, _) = serve(|_, _| reply("200 OK", "", "")).await;
    let client = FetchClient::new(&host, options()).expect("client");
    for spelled in [
        "127.0.0.1",
        "127.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.1.",
        "%3127.0.0.1",
        "\u{ff11}27.0.0.1",
        "127\u{3002}0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "169.254.169.254",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
    ] {
        // As the target of a Link, of which any server may make what it likes.
        let target = format!("http://{spelled}:{port}/x");
        let answer = client.get(&target, "*/*", "s", 100).await;
        assert!(
            matches!(answer, Err(FetchError::Inward { .. })),
            "{spelled}: {answer:?}"
        );
    }
    assert_eq!(at_inner.lock().expect("lock").len(), 0);
    // The registry's own address in another spelling is the registry.
    let own = format!("http://0x7f.1:{}/x", port_of(&host));
    client.get(&own, "*/*", "s", 100).await.expect("answer");
}

#[tokio::test]
async fn a_token_service_may_stand_beside_the_registry_and_nowhere_else_here() {
    let (tokens, at_tokens) = serve(|_, _| reply("200 OK", "", "{\"token\":\"t\"}")).await;
    let port = port_of(&tokens).to_owned();
    let (lookup, _) = lookup();
    for (at, asked) in [("up.example", 1), ("tokens.example", 0), ("127.0.0.1", 0)] {
        let challenge = format!("www-authenticate: Bearer realm=\"http://{at}:{port}/t\"\r\n");
        let (host, _) = serve(move |_, head| {
            if head.contains("bearer t") {
                reply("200 OK", "", "fine")
            } else {
                reply("401 Who", &challenge, "")
            }
        })
        .await;
        at_tokens.lock().expect("lock").clear();
        let host = format!("up.example:{}", port_of(&host));
        let client = FetchClient::with_lookup(&host, options(), &lookup).expect("client");
        let answer = client.get("/x", "*/*", "s", 100).await;
        assert_eq!(answer.is_ok(), asked == 1, "{at}: {answer:?}");
        assert_eq!(at_tokens.lock().expect("lock").len(), asked, "{at}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 16];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(&reply("400 What", "", "")).await;
            let _ = stream.shutdown().await;
        }
    });
    let host = format!("up.example:{port}");
    let (lookup, _) = lookup();
    let secure = FetchOptions {
        plain_http: false,
        ..options()
    };
    let client = FetchClient::with_lookup(&host, secure, &lookup).expect("client");
    let error = client.get("/x", "*/*", "s", 100).await.expect_err("no TLS");
    assert_eq!(error.remedy(), Some(Remedy::PlainHttp(host)), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Unreachable);
}
