//! Many ranges in one request, as clients ask that take only the parts of a layer that they lack: each is one part of the
//! answer, in the order asked, whatever the protocol and wherever the bytes are.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::content::{OCI_MANIFEST, noise, push_blob, push_image, sha256};
use crate::harness::{Client, Reply, SOON, Server, basic, found};

/// In the store's rows, and in a file.
const INLINE: usize = 20_011;
const IN_FILE: usize = 3_000_017;

const PASSWORD: &str = "correct horse battery";

/// One part of an answer: its `Content-Range`, and its bytes.
type Part = (String, Vec<u8>);

/// The parts of a multipart answer, read as strictly as it is written.
#[track_caller]
fn parts(reply: &Reply, kind: &str) -> Vec<Part> {
    let head = reply.header("content-type");
    let boundary = head
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mut rest: &[u8] = &reply.body;
    let mut parts = Vec::new();
    let mut first = true;
    loop {
        let line = format!("{}--{boundary}", if first { "" } else { "\r\n" });
        rest = rest.strip_prefix(line.as_bytes()).expect("a delimiter");
        first = false;
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let range = head
            .strip_prefix(&format!("\r\nContent-Type: {kind}\r\nContent-Range: "))
            .unwrap_or_else(|| panic!("{head}"));
        let ends = range.strip_prefix("bytes ").unwrap().split('/').next();
        let (from, to) = ends.unwrap().split_once('-').unwrap();
        let len = to.parse::<usize>().unwrap() + 1 - from.parse::<usize>().unwrap();
        let (body, after) = rest[end + 4..].split_at(len);
        parts.push((range.to_owned(), body.to_vec()));
        rest = after;
    }
}

/// The parts that ranges (both ends included) of these bytes have.
fn wanted(bytes: &[u8], ranges: &[(usize, usize)]) -> Vec<Part> {
    let part = |(from, to): &(usize, usize)| {
        let head = format!("bytes {from}-{to}/{}", bytes.len());
        (head, bytes[*from..=*to].to_vec())
    };
    ranges.iter().map(part).collect()
}

fn header(ranges: &[(usize, usize)]) -> String {
    let all: Vec<String> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
    format!("bytes={}", all.join(","))
}

/// So many ranges over content of a length: some touch the one before, some overlap it, some go backwards; together
/// about its size.
fn spread(count: usize, len: usize) -> Vec<(usize, usize)> {
    let each = len / count;
    let range = |n: usize| match n % 4 {
        0 => (n * each, (n + 1) * each - 1),
        1 => (n * each, n * each + each / 2),
        2 => (n * each - each / 2, n * each + each / 3),
        _ => ((count - n) * each, (count - n) * each),
    };
    (0..count).map(range).collect()
}

async fn ask(client: &Client, path: &str, range: &str) -> Reply {
    client.send("GET", path, &[("range", range)], b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_is_one_part_in_the_order_asked() {
    let server = Server::start().await;
    let clients = [
        ("HTTP/1.1", server.admin()),
        ("HTTP/1.1 over TLS", server.over_tls(false)),
        ("HTTP/2", server.over_tls(true)),
    ];
    for len in [INLINE, IN_FILE] {
        let bytes = noise(len as u64, len);
        let digest = push_blob(&server.admin(), "a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        for count in [2, 16, 17, 28, 1024] {
            let ranges = spread(count, len);
            let asked = header(&ranges);
            assert!(asked.len() < 17_000);
            for (name, client) in &clients {
                // The first one finds a file cold.
                for _ in 0..2 {
                    let reply = ask(client, &path, &asked).await.expect(206);
                    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
                    let came = parts(&reply, "application/octet-stream");
                    assert!(
                        came == wanted(&bytes, &ranges),
                        "{count} ranges of {len} bytes by {name}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn parts_are_neither_merged_nor_sorted() {
    let server = Server::start().await;
    let client = server.admin();
    let bytes = noise(3, INLINE);
    let digest = push_blob(&client, "a", &bytes).await;
    let path = format!("/v2/a/blobs/{digest}");
    let last = INLINE - 1;
    let octets = "application/octet-stream";
    for (asked, ranges) in [
        ("bytes=0-9,10-19", vec![(0, 9), (10, 19)]),
        ("bytes=10-19,0-9", vec![(10, 19), (0, 9)]),
        ("bytes=0-9,0-9,5-7", vec![(0, 9), (0, 9), (5, 7)]),
        (
            "bytes=-5,0-0,20000-",
            vec![(last - 4, last), (0, 0), (20_000, last)],
        ),
        (" bytes= 0-0 ,\t1-1, ,", vec![(0, 0), (1, 1)]),
        ("Bytes=0-0,1-1", vec![(0, 0), (1, 1)]),
        // What cannot be satisfied is left out.
        ("bytes=0-0,99999-,1-1,-0", vec![(0, 0), (1, 1)]),
        ("bytes=0-0,5-99999", vec![(0, 0), (5, last)]),
    ] {
        let reply = ask(&client, &path, asked).await.expect(206);
        assert!(parts(&reply, octets) == wanted(&bytes, &ranges), "{asked}");
    }
    // One that is left is an answer of one range.
    let reply = ask(&client, &path, "bytes=99999-,4-6").await.expect(206);
    assert_eq!(reply.header("content-range"), format!("bytes 4-6/{INLINE}"));
    assert_eq!(reply.body, &bytes[4..=6]);
    let many = format!("bytes=-0{}", ",99999-".repeat(100));
    let reply = ask(&client, &path, &many).await.expect(416);
    assert_eq!(reply.header("content-range"), format!("bytes */{INLINE}"));
}

#[tokio::test]
async fn more_than_twice_the_content_is_answered_with_all_of_it() {
    let server = Server::start().await;
    let client = server.admin();
    for len in [10, INLINE, IN_FILE] {
        let bytes = noise(4, len);
        let digest = push_blob(&client, "a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        let twice = ask(&client, &path, "bytes=0-,0-").await.expect(206);
        assert_eq!(parts(&twice, "application/octet-stream").len(), 2);
        let overlapping = format!("bytes=0-{}", ",0-".repeat(1000));
        for more in ["bytes=0-,0-,0-0", "bytes=1-,0-,-2,-1", &overlapping] {
            let reply = ask(&client, &path, more).await.expect(200);
            assert!(reply.body == bytes && reply.header("content-range").is_empty());
            assert_eq!(reply.header("content-length"), len.to_string());
        }
    }
}

#[tokio::test]
async fn ranges_of_manifests_the_past_and_conditions() {
    let server = Server::start().await;
    let client = server.admin();
    let manifest = push_image(&client, "a", "v1", 9).await;
    let bytes = noise(5, INLINE);
    let digest = push_blob(&client, "a", &bytes).await;
    let (ranges, octets) = (spread(28, 400), "application/octet-stream");
    let asked = header(&ranges);
    let reply = ask(&client, "/v2/a/manifests/v1", &asked).await;
    assert!(parts(&reply.expect(206), OCI_MANIFEST) == wanted(&manifest, &ranges));
    // A moment after the push, once there is one.
    let layer = noise(9, 2000);
    let blob = format!("a/blobs/{}", sha256(&layer));
    for path in ["a/manifests/v1".to_owned(), blob] {
        let reply = found("the moment is there", SOON, async || {
            let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%Sz");
            let reply = ask(&client, &format!("/v2/at/{now}/{path}"), &asked).await;
            (reply.status == 206).then_some(reply)
        })
        .await;
        let (kind, bytes) = if path.contains("manifests") {
            (OCI_MANIFEST, &manifest)
        } else {
            (octets, &layer)
        };
        assert!(parts(&reply, kind) == wanted(bytes, &ranges), "{path}");
    }
    let path = format!("/v2/a/blobs/{digest}");
    let head = [("range", asked.as_str())];
    let reply = client.send("HEAD", &path, &head, b"").await.expect(200);
    assert_eq!(reply.header("content-length"), INLINE.to_string());
    assert_eq!(reply.header("content-range"), "");
    let tag = format!("\"{digest}\"");
    for (condition, status) in [
        (tag.clone(), 206),
        (format!("W/{tag}"), 200),
        ("\"other\"".to_owned(), 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 200),
    ] {
        let headers = [("range", asked.as_str()), ("if-range", &condition)];
        let reply = client
            .send("GET", &path, &headers, b"")
            .await
            .expect(status);
        if status == 206 {
            assert!(parts(&reply, octets) == wanted(&bytes, &ranges));
        } else {
            assert!(reply.body == bytes, "{condition}");
        }
    }
}

#[tokio::test]
async fn more_ranges_than_are_answered_one_by_one_are_answered_with_all_of_it() {
    let server = Server::start().await;
    let client = server.admin();
    let (octets, most) = ("application/octet-stream", 1024);
    for len in [INLINE, IN_FILE] {
        let bytes = noise(7, len);
        let digest = push_blob(&client, "a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        let many = |n: usize| format!("bytes={}", "-1,".repeat(n));
        let reply = ask(&client, &path, &many(most)).await.expect(206);
        let tail = (len - 1, len - 1);
        assert!(parts(&reply, octets) == wanted(&bytes, &vec![tail; most]));
        // Those that lie outside the content, and what is wrong behind them, are not looked for.
        for more in [
            many(most + 1),
            many(20_000),
            many(most) + "99999999-",
            many(most + 1) + "2-1,x",
        ] {
            let reply = ask(&client, &path, &more).await.expect(200);
            assert!(reply.body == bytes && reply.header("content-range").is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_answers_of_several_ranges_are_on_their_way_at_once() {
    let server = Server::start().await;
    let bytes = noise(6, 4 * IN_FILE);
    let digest = push_blob(&server.admin(), "a", &bytes).await;
    let path = format!("/v2/a/blobs/{digest}");
    // More than a connection takes on that nobody reads, in parts that are framed as they are sent.
    let ranges: Vec<(usize, usize)> = (0..1000).map(|n| (n, n + 11_999)).collect();
    let (asked, octets) = (header(&ranges), "application/octet-stream");
    let names: Vec<String> = (0..5).map(|n| format!("user{n}")).collect();
    for name in &names {
        server.add_user(name, PASSWORD, &["--role", "reader", "--on", ""]);
    }
    let untaken = |name: &str| {
        let login = basic(name, PASSWORD);
        let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\nRange: {asked}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 206");
        stream
    };
    let mut held: Vec<Vec<TcpStream>> = Vec::new();
    held.push((0..8).map(|_| untaken(&names[0])).collect());
    let client = |n: usize| server.client(Some((&names[n], PASSWORD)));
    // One more of this client waits, and is refused in the end; others do not, nor does a single range.
    let (late, one, other) = (client(0), client(0), client(1));
    let (late, one, other) = tokio::join!(
        ask(&late, &path, &asked),
        ask(&one, &path, "bytes=5-9"),
        ask(&other, &path, &asked),
    );
    late.refused(429, "TOOMANYREQUESTS");
    assert_eq!(one.expect(206).body, &bytes[5..=9]);
    assert!(parts(&other.expect(206), octets) == wanted(&bytes, &ranges));
    // Where as many are on their way in all, others get the whole at once.
    for name in &names[1..4] {
        held.push((0..8).map(|_| untaken(name)).collect());
    }
    let reply = ask(&client(4), &path, &asked).await.expect(200);
    assert!(reply.body == bytes);
    // Who goes away gives the places back.
    held.clear();
    let reply = found("the places are free", SOON, async || {
        let reply = ask(&client(4), &path, &asked).await;
        (reply.status == 206).then_some(reply)
    });
    assert!(parts(&reply.await, octets) == wanted(&bytes, &ranges));
}
