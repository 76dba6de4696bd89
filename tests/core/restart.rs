//! kill -9 and start again: uploads go on where they were, and what was acknowledged is there.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::formats::oci::mirror::fills::until_received;
use crate::harness::content::{OCI_MANIFEST, bytes_of, image, noise, push_image, sha256};
use crate::harness::{SOON, Server, until, with_query};

/// What an upload reports to have, as a count.
fn received(range: &str) -> usize {
    let end: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    if end == 0 { 0 } else { end + 1 }
}

#[tokio::test]
async fn an_upload_goes_on_after_kill_9() {
    let mut server = Server::start().await;
    let bytes = noise(1, 8 * 1024 * 1024);
    let admin = server.admin();
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    let first = 3 * 1024 * 1024;
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-range", "0-3145727"),
    ];
    let at = admin
        .send("PATCH", &at, &headers, &bytes[..first])
        .await
        .expect(202)
        .location();

    // The second chunk breaks off in the middle: the server dies while it receives.
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y2k6czNjcmV0LW9mLWNp\r\nContent-Type: \
         application/octet-stream\r\nContent-Range: {first}-{}\r\nContent-Length: {}\r\n\r\n",
        bytes.len() - 1,
        bytes.len() - first
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .write_all(&bytes[first..first + 2 * 1024 * 1024])
        .unwrap();
    until_received(&server, first as u64 + 1).await;
    server.kill();
    drop(stream);
    server.restart().await;

    let admin = server.admin();
    let status = admin.get(&at).await.expect(204);
    let offset = received(status.header("range"));
    assert!(
        (first..bytes.len()).contains(&offset),
        "{offset} bytes left of at least {first}"
    );
    let range = format!("{offset}-{}", bytes.len() - 1);
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-range", range.as_str()),
    ];
    let at = admin
        .send("PATCH", &status.location(), &headers, &bytes[offset..])
        .await
        .expect(202)
        .location();
    let put = with_query(&at, &format!("digest={}", sha256(&bytes)));
    admin
        .send("PUT", &put, &[("content-length", "0")], b"")
        .await
        .expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&bytes));
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
}

#[tokio::test]
async fn an_upload_goes_on_after_an_orderly_stop() {
    let mut server = Server::start().await;
    let bytes = noise(2, 600_000);
    let admin = server.admin();
    let at = admin
        .post("/v2/a/blobs/uploads/?digest-algorithm=sha512")
        .await
        .expect(202)
        .location();
    let at = admin
        .send("PATCH", &at, &[], &bytes[..400_000])
        .await
        .expect(202)
        .location();
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0), "{}", server.log());
    server.restart().await;
    let admin = server.admin();
    let status = admin.get(&at).await.expect(204);
    assert_eq!(status.header("range"), "0-399999");
    let put = with_query(
        &status.location(),
        &format!("digest={}", crate::harness::content::sha512(&bytes)),
    );
    admin
        .send("PUT", &put, &[], &bytes[400_000..])
        .await
        .expect(201);
}

#[tokio::test]
async fn a_cancelled_upload_stays_cancelled() {
    let mut server = Server::start().await;
    let admin = server.admin();
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    let at = admin
        .send("PATCH", &at, &[], b"12345")
        .await
        .expect(202)
        .location();
    admin.delete(&at).await.expect(204);
    server.kill();
    server.restart().await;
    server
        .admin()
        .get(&at)
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
}

/// Pushes images until told to stop; gives what was acknowledged: path, bytes.
async fn pusher(
    server_client: crate::harness::Client,
    worker: u64,
    stop: Arc<AtomicBool>,
    number: Arc<AtomicUsize>,
) -> Vec<(String, Vec<u8>)> {
    let mut done = Vec::new();
    let client = server_client;
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Some layers go inline, some into files.
        let layer = noise(
            worker * 100_000 + round,
            if round % 2 == 0 { 900 } else { 150_000 },
        );
        let config = format!("{{\"worker\":{worker},\"round\":{round}}}").into_bytes();
        let mut complete = true;
        for bytes in [&layer, &config] {
            let path = format!("/v2/w{worker}/blobs/uploads/?digest={}", sha256(bytes));
            match client
                .maybe(
                    "POST",
                    &path,
                    &[("content-type", "application/octet-stream")],
                    bytes,
                )
                .await
            {
                Some(reply) if reply.status == 201 => {
                    number.fetch_add(1, Ordering::Relaxed);
                    done.push((
                        format!("/v2/w{worker}/blobs/{}", sha256(bytes)),
                        bytes.clone(),
                    ));
                }
                _ => complete = false,
            }
        }
        if !complete {
            break;
        }
        let manifest = bytes_of(&image(&config, &[&layer]));
        let path = format!("/v2/w{worker}/manifests/r{round}");
        let reply = client
            .maybe("PUT", &path, &[("content-type", OCI_MANIFEST)], &manifest)
            .await;
        if reply.is_some_and(|r| r.status == 201) {
            done.push((path, manifest));
        }
    }
    done
}

#[tokio::test]
async fn every_acknowledged_push_survives_kill_9() {
    let mut server = Server::start().await;
    push_image(&server.admin(), "warm", "up", 1).await;
    for life in 0_u64..3 {
        let (stop, number) = (Arc::default(), Arc::default());
        let workers: Vec<_> = (0..4)
            .map(|w| {
                tokio::spawn(pusher(
                    server.admin(),
                    life * 10 + w,
                    Arc::clone(&stop),
                    Arc::clone(&number),
                ))
            })
            .collect();
        // At a moment that differs from life to life.
        tokio::time::sleep(Duration::from_millis(700 + 300 * life)).await;
        until("something is pushed", SOON, async || {
            number.load(Ordering::Relaxed) > 0
        })
        .await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for worker in workers {
            acknowledged.extend(worker.await.unwrap());
        }
        server.restart().await;
        let admin = server.admin();
        for (path, bytes) in acknowledged {
            assert_eq!(admin.get(&path).await.expect(200).body, bytes, "{path}");
        }
    }
}

#[tokio::test]
async fn sigterm_lets_a_running_download_finish() {
    let mut server = Server::start().await;
    let admin = server.admin();
    let bytes = noise(3, 24 * 1024 * 1024);
    let path = format!(
        "/v2/a/blobs/{}",
        crate::harness::content::push_blob(&admin, "a", &bytes).await
    );
    let port = server.http;
    let len = bytes.len();
    let (begun, is_begun) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        use std::io::Read;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 {
                return total;
            }
            total += n;
            let _ = begun.send(());
            std::thread::sleep(Duration::from_millis(4));
        }
    });
    is_begun.recv().unwrap();
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0), "{}", server.log());
    assert!(reader.join().unwrap() > len, "the download was cut");
}

#[tokio::test]
async fn an_upload_whose_file_lost_its_bytes_takes_them_again() {
    let mut server = Server::start().await;
    let bytes = noise(2, 100_000);
    let admin = server.admin();
    let begun = admin.post("/v2/a/blobs/uploads/").await.expect(202);
    let at = begun.location();
    let patched = admin.send("PATCH", &at, &[], &bytes[..5000]);
    let at = patched.await.expect(202).location();
    server.kill();
    // As a failed sync leaves it, or a kill between its making and the first write.
    for file in server.data().join("uploads").read_dir().unwrap() {
        let file = std::fs::File::options()
            .write(true)
            .open(file.unwrap().path());
        file.unwrap().set_len(0).unwrap();
    }
    server.restart().await;
    let admin = server.admin();
    let status = admin.get(&at).await.expect(204);
    assert_eq!(received(status.header("range")), 0);
    let put = with_query(&at, &format!("digest={}", sha256(&bytes)));
    admin.send("PUT", &put, &[], &bytes).await.expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&bytes));
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
}
