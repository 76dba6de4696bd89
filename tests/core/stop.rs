//! Signals and systemd: what becomes of transfers when the server is told to stop, and what the supervisor hears.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::formats::oci::mirror::fills::until_received;
use crate::harness::content::{noise, push_blob, sha256};
use crate::harness::{SOON, Server, init, until, with_query};

const MIB: usize = 1024 * 1024;
const AUTH: &str = "Basic Y2k6czNjcmV0LW9mLWNp"; // the admin's name and password

async fn server_with(env: &[(&str, &str)]) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    Server::serve(home, &[], env).await
}

/// A download that reads its first bytes; the kernel's buffers hold no more than a few MiB of the rest.
fn open_download(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1024]).unwrap();
    stream
}

/// A chunk of an upload of which `sent` bytes have gone out and the rest does not come.
fn open_upload(server: &Server, at: &str, bytes: &[u8], sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\nContent-Type: application/octet-stream\r\n\
         Content-Range: 0-{}\r\nContent-Length: {}\r\n\r\n",
        bytes.len() - 1,
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..sent]).unwrap();
    stream
}

/// Asks where the upload is (what stood in the request's buffer may be lost, `least` bytes not), sends the rest and checks what is stored.
async fn finish_upload(server: &Server, repo: &str, at: &str, bytes: &[u8], least: usize) {
    let admin = server.admin();
    let status = admin.get(at).await.expect(204);
    let end: usize = status.header("range")[2..].parse().unwrap();
    assert!(end + 1 >= least, "{} of {least} bytes are left", end + 1);
    let range = format!("{}-{}", end + 1, bytes.len() - 1);
    let headers = [("content-range", range.as_str())];
    let at = admin
        .send("PATCH", &status.location(), &headers, &bytes[end + 1..])
        .await
        .expect(202)
        .location();
    let put = with_query(&at, &format!("digest={}", sha256(bytes)));
    admin
        .send("PUT", &put, &[("content-length", "0")], b"")
        .await
        .expect(201);
    let path = format!("/v2/{repo}/blobs/{}", sha256(bytes));
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
}

#[tokio::test]
async fn within_the_drain_time_downloads_end_and_a_stalled_upload_stays_resumable() {
    let mut server = server_with(&[("DRYPORT_SERVE__DRAIN", "8s")]).await;
    let admin = server.admin();
    let bytes = noise(3, 24 * MIB);
    let path = format!("/v2/a/blobs/{}", push_blob(&admin, "a", &bytes).await);
    let upload = noise(4, 6 * MIB);
    let at = admin.post("/v2/b/blobs/uploads/").await.expect(202);
    let at = at.location();
    let mut download = open_download(&server, &path);
    let stalled = open_upload(&server, &at, &upload, 3 * MIB);
    until_received(&server, 2 * MIB as u64).await;

    let told = Instant::now();
    server.signal("TERM");
    let reader = std::thread::spawn(move || {
        // Slowly, so that it ends well after the signal, and within the drain time.
        let (mut total, mut buffer) = (1024, vec![0; MIB]);
        loop {
            match download.read(&mut buffer).unwrap() {
                0 => return (total, told.elapsed()),
                n => total += n,
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    until("a stopping server takes no connections", SOON, async || {
        TcpStream::connect(("127.0.0.1", server.http)).is_err()
    })
    .await;
    let code = server.exit_code(SOON).await;
    let took = told.elapsed();
    assert_eq!(code, Some(0), "{}", server.log());
    let (total, ended) = reader.join().unwrap();
    assert!(total > bytes.len(), "the download was cut at {total}");
    assert!(ended > Duration::from_millis(600), "not slow: {ended:?}");
    assert!(
        took > Duration::from_secs(7),
        "the upload was not waited for: {took:?}"
    );
    drop(stalled);
    server.restart().await;
    finish_upload(&server, "b", &at, &upload, 2 * MIB).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let mut server = server_with(&[("DRYPORT_SERVE__DRAIN", "10m")]).await;
        let admin = server.admin();
        let bytes = noise(3, 24 * MIB);
        let path = format!("/v2/a/blobs/{}", push_blob(&admin, "a", &bytes).await);
        let upload = noise(4, 4 * MIB);
        let at = admin.post("/v2/b/blobs/uploads/").await.expect(202);
        let at = at.location();
        let download = open_download(&server, &path);
        let stalled = open_upload(&server, &at, &upload, 2 * MIB);
        until_received(&server, MIB as u64).await;
        server.signal("TERM");
        let code = server.exit_code(Duration::from_millis(1500)).await;
        assert_eq!(code, None, "it did not wait for the download");
        let told = Instant::now();
        server.signal(second);
        let code = server.exit_code(SOON).await;
        assert_eq!(code, Some(0), "{}", server.log());
        // The drain time is five times as long.
        assert!(told.elapsed() < SOON, "{second}: {:?}", told.elapsed());
        drop((download, stalled));
        server.restart().await;
        finish_upload(&server, "b", &at, &upload, MIB).await;
    }
}

/// The next message at the supervisor's socket.
fn heard(supervisor: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let n = supervisor.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

fn supervisor(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    let limit = Some(SOON);
    socket.set_read_timeout(limit).unwrap();
    socket
}

#[tokio::test]
async fn a_supervisor_hears_ready_reloading_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = supervisor(&path);
    let mut server = server_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    // A start that takes long must not be ended for it.
    assert_eq!(heard(&socket).trim(), "EXTEND_TIMEOUT_USEC=60000000");
    assert!(heard(&socket).lines().any(|l| l == "READY=1"));
    server.signal("HUP");
    let reloading = heard(&socket);
    assert!(reloading.lines().any(|l| l == "RELOADING=1"), "{reloading}");
    // systemd.service(5), Type=notify-reload: without the time systemd takes no notice.
    let clock = reloading
        .lines()
        .find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
    assert!(
        clock.is_some_and(|t| t.parse::<u64>().is_ok()),
        "{reloading}"
    );
    assert!(heard(&socket).lines().any(|l| l == "READY=1"));
    server.signal("TERM");
    assert!(heard(&socket).lines().any(|l| l == "STOPPING=1"));
    let code = server.exit_code(SOON).await;
    assert_eq!(code, Some(0), "{}", server.log());
}
