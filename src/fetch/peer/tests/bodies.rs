//! Bodies: taken up again elsewhere, held to their limits, and never waited for without end.

use super::*;
use crate::fetch::FetchSpan;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

fn span(size: u64) -> FetchSpan {
    FetchSpan {
        from: 0,
        size,
        ranges: true,
        decode: true,
    }
}

async fn all(blob: &mut PeerDownload) -> Result<String, FetchError> {
    let mut body = Vec::new();
    while let Some(piece) = blob.chunk().await? {
        body.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(body).expect("text"))
}

fn cut(text: &str) -> Does {
    Does {
        after: Duration::ZERO,
        bytes: text.as_bytes().to_vec(),
        keeps: false,
    }
}

#[tokio::test]
async fn a_blob_that_breaks_goes_on_by_range() {
    let (host, seen) = server(|n, head| {
        if n == 0 {
            return cut("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123");
        }
        assert!(head.contains("range: bytes=4-"), "{head}");
        kept(0, "206 Part", "content-range: bytes 4-9/10\r\n", "456789")
    })
    .await;
    let peer = peer(&[&host]);
    let mut blob = peer
        .download(&ask("blobs/x"), span(10))
        .await
        .expect("begins");
    assert_eq!(all(&mut blob).await.expect("body"), "0123456789");
    assert!(blob.is_made() && blob.offset() == 10);
    assert_eq!(count(&seen), 2);
    assert_eq!(peer.counters().addresses[0].bytes, 10);
}

#[tokio::test]
async fn it_goes_on_at_the_next_address() {
    let (first, at_first) = server(|n, _| match n {
        0 => cut("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123"),
        _ => kept(0, "503 Gone", "", ""),
    })
    .await;
    let (second, at_second) = server(|_, head| {
        assert!(head.contains("range: bytes=4-"), "{head}");
        kept(0, "206 Part", "content-range: bytes 4-9/10\r\n", "456789")
    })
    .await;
    let peer = peer(&[&first, &second]);
    let mut blob = peer
        .download(&ask("blobs/x"), span(10))
        .await
        .expect("begins");
    assert_eq!(all(&mut blob).await.expect("body"), "0123456789");
    assert!(count(&at_first) >= 2);
    assert_eq!(count(&at_second), 1);
}

#[tokio::test]
async fn what_breaks_always_ends() {
    let (host, seen) = server(|_, _| cut("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")).await;
    let peer = peer(&[&host]);
    let mut blob = peer
        .download(&ask("blobs/x"), span(10))
        .await
        .expect("begins");
    let began = Instant::now();
    let error = all(&mut blob).await.expect_err("broken");
    assert!(matches!(error, FetchError::Body { .. }), "{error}");
    assert_eq!(count(&seen), 4);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_missing_blob_and_a_wrong_length_are_told() {
    let (host, _) = server(|_, head| match head {
        head if head.contains("/long") => kept(0, "200 OK", "", "0123456789"),
        head if head.contains("/short") => kept(0, "200 OK", "", "01234"),
        _ => kept(0, "404 No", "", ""),
    })
    .await;
    let peer = peer(&[&host]);
    let Err(error) = peer.download(&ask("blobs/none"), span(9)).await else {
        panic!("there is none");
    };
    assert!(
        matches!(error, FetchError::Status { status: 404, .. }),
        "{error}"
    );
    let mut blob = peer
        .download(&ask("blobs/long"), span(9))
        .await
        .expect("begins");
    assert!(matches!(
        all(&mut blob).await,
        Err(FetchError::TooLarge { .. })
    ));
    let mut blob = peer
        .download(&ask("blobs/short"), span(9))
        .await
        .expect("begins");
    assert!(all(&mut blob).await.is_err());
    assert_eq!(peer.counters().addresses[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_stalled_and_a_dripping_blob_are_broken_off() {
    let (host, _) = server(|_, _| {
        let mut does = kept(0, "200 OK", "", "");
        does.bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123".to_vec();
        does
    })
    .await;
    let mut options = peer_options(&[&host]);
    options.fetch.read_timeout = Duration::from_millis(100);
    let peer = Peer::new(options).expect("peer");
    let mut blob = peer
        .download(&ask("blobs/x"), span(10))
        .await
        .expect("begins");
    assert_eq!(
        blob.chunk().await.expect("first").as_deref(),
        Some(&b"0123"[..])
    );
    let began = Instant::now();
    blob.chunk().await.expect_err("stalled");
    assert!(began.elapsed() < Duration::from_secs(3));
    // A byte now and then is no progress either.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n")
                    .await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    let mut options = peer_options(&[&host]);
    options.fetch.read_timeout = Duration::from_millis(200);
    let peer = Peer::new(options).expect("peer");
    let mut blob = peer
        .download(&ask("blobs/x"), span(90_000))
        .await
        .expect("begins");
    let began = Instant::now();
    all(&mut blob).await.expect_err("drips");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn small_answers_have_their_limit() {
    let (host, _) = server(|_, _| kept(0, "200 OK", "", &"x".repeat(2000))).await;
    let small = peer(&[&host]);
    small.get(&ask("manifests/x"), 2000).await.expect("fits");
    let error = small
        .get(&ask("manifests/x"), 1999)
        .await
        .expect_err("long");
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    // Endless.
    let (host, _) = server(|_, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..100 {
            bytes.extend_from_slice(b"400\r\n");
            bytes.extend_from_slice(&[b'x'; 0x400]);
            bytes.extend_from_slice(b"\r\n");
        }
        Does {
            after: Duration::ZERO,
            bytes,
            keeps: true,
        }
    })
    .await;
    let error = peer(&[&host])
        .get(&ask("manifests/x"), 2000)
        .await
        .expect_err("endless");
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    // A bomb.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![0; 32 << 20]).expect("memory");
    let bomb = bomb.finish().expect("memory");
    let (host, _) = server(move |_, _| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            bomb.len()
        );
        Does {
            after: Duration::ZERO,
            bytes: [head.as_bytes(), &bomb].concat(),
            keeps: true,
        }
    })
    .await;
    let error = peer(&[&host])
        .get(&ask("manifests/x"), 1 << 20)
        .await
        .expect_err("bomb");
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
}
