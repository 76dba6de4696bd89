//! Large blobs over plain HTTP/1.1, where the kernel sends parts of files by itself: just those bytes arrive, in their
//! place between others, and never anything in place of bytes that are not there.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use crate::harness::content::{noise, push_blob};
use crate::harness::{ADMIN, SOON, Server, basic, init};
use crate::http::pieces::{file_of, in_memory};

/// More than two parts.
const LEN: usize = 2_500_001;

/// A blob of that length and its path.
async fn pushed(server: &Server, seed: u64) -> (Vec<u8>, String) {
    let blob = noise(seed, LEN);
    let digest = push_blob(&server.admin(), "a", &blob).await;
    (blob, format!("/v2/a/blobs/{digest}"))
}

/// A connection on which all these requests are sent at once, the last one to end it.
fn ask(server: &Server, path: &str, ranges: &[Range<usize>]) -> TcpStream {
    let mut requests = String::new();
    let login = basic(ADMIN.0, ADMIN.1);
    for (n, range) in ranges.iter().enumerate() {
        let end = if n + 1 == ranges.len() {
            "Connection: close\r\n"
        } else {
            ""
        };
        write!(
            requests,
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\nRange: bytes={}-{}\r\n{end}\r\n",
            range.start,
            range.end - 1
        )
        .unwrap();
    }
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    stream
}

/// The bodies of answers one after the other, up to one that is no success; what is not whole as far as it goes.
fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 206") {
            break;
        }
        let len = head.split("content-length: ").nth(1).unwrap();
        let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
        let body = &bytes[end + 4..];
        let (body, rest) = body.split_at(len.min(body.len()));
        bodies.push(body);
        bytes = rest;
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_one_connection_come_whole_and_in_order() {
    come_whole_and_in_order(&Server::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_do_so_without_sendfile_as_well() {
    let off = [("DRYPORT_SERVE__SENDFILE", "off")];
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    come_whole_and_in_order(&Server::serve(home, &[], &off).await).await;
}

async fn come_whole_and_in_order(server: &Server) {
    let (blob, path) = pushed(server, 5).await;
    // The kernel has all of it in memory afterwards.
    let whole = server.admin().get(&path).await.expect(200);
    assert!(whole.body == blob);
    let ranges = [
        0..LEN,
        3..1_048_579,
        0..16_384,
        1_048_000..1_064_385,
        LEN - 1..LEN,
        0..LEN,
    ];
    let mut stream = ask(server, &path, &ranges);
    // The socket is full in the middle of a part.
    std::thread::sleep(Duration::from_millis(300));
    let mut got = vec![0; 10_000];
    stream.read_exact(&mut got).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    stream.read_to_end(&mut got).unwrap();
    let bodies = bodies(&got);
    assert_eq!(bodies.len(), ranges.len());
    for (body, range) in bodies.into_iter().zip(ranges) {
        assert!(body == &blob[range.clone()], "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_come_alike_from_disk_and_memory() {
    let server = Server::start().await;
    let admin = server.admin();
    let (blob, path) = pushed(&server, 6).await;
    let range = [("range", "bytes=0-99999,5-9,400000-2400000")];
    let cold = admin.send("GET", &path, &range, b"").await.expect(206);
    let warm = admin.send("GET", &path, &range, b"").await.expect(206);
    assert!(cold.body == warm.body);
    for part in [0..100_000, 5..10, 400_000..2_400_001] {
        let part = &blob[part];
        assert!(warm.body.windows(part.len()).any(|w| w == part));
    }
}

/// Memory of the server's own, in KiB.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_not_read_into_memory() {
    let server = Server::start().await;
    let (_, path) = pushed(&server, 8).await;
    server.admin().get(&path).await.expect(200);
    if in_memory(&file_of(&server, LEN as u64)).is_none() {
        return;
    }
    let before = memory(&server);
    let two = [0..LEN, 0..LEN];
    let streams: Vec<_> = (0..40).map(|_| ask(&server, &path, &two)).collect();
    // Each has its answer begun, and some time to come to rest.
    for stream in &streams {
        stream.peek(&mut [0; 1]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let more = memory(&server).saturating_sub(before);
    // Half a MiB each, if they were read.
    assert!(more < 10_000, "{more} KiB for 40 answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_its_bytes_breaks_the_answer() {
    let server = Server::start().await;
    let (blob, path) = pushed(&server, 7).await;
    // The kernel has it in memory afterwards, and a connection does not take eight of it at once.
    server.admin().get(&path).await.expect(200);
    let mut stream = ask(&server, &path, &[const { 0..LEN }; 8]);
    let mut got = vec![0; 5_000];
    stream.read_exact(&mut got).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(file_of(&server, LEN as u64))
        .unwrap();
    // Not in its middle: of memory that it keeps a part of, the kernel clears the rest, also where that is on its way.
    file.set_len(0).unwrap();
    let ended = stream.read_to_end(&mut got);
    let bodies = bodies(&got);
    let whole = bodies.iter().filter(|body| body.len() == LEN).count();
    assert!(whole < 8, "{ended:?}: all answers were said to be whole");
    let same = |body: &[u8]| body == &blob[..body.len()];
    assert!(
        bodies.into_iter().all(same),
        "bytes that are not the blob's"
    );
}
