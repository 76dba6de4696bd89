//! Conditions, ranges and digests of requests on files (RFC 9110 sections 13 and 14, RFC 9530).

use crate::formats::file::reading::{put, put_with, repr, server};
use crate::harness::content::{noise, sha256, sha512};

#[tokio::test]
async fn what_a_reader_has_is_not_sent_again() {
    let server = server().await;
    let (admin, path) = (server.admin(), "/r/files/a.txt");
    let made = put(&admin, path, b"0123456789").await.expect(201);
    let (tag, date) = (made.header("etag"), made.header("last-modified"));
    let before = "Sun, 06 Nov 1994 08:49:37 GMT";
    for method in ["GET", "HEAD"] {
        for (headers, status) in [
            (&[("if-none-match", tag)][..], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"x\"")], 200),
            (&[("if-modified-since", date)], 304),
            (&[("if-modified-since", before)], 200),
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", date)],
                200,
            ),
            (&[("if-match", tag)], 200),
            (&[("if-match", "\"x\"")], 412),
            (&[("if-unmodified-since", date)], 200),
            (&[("if-unmodified-since", before)], 412),
            (&[("if-match", tag), ("if-unmodified-since", before)], 200),
        ] {
            let reply = admin.send(method, path, headers, b"").await;
            assert_eq!(reply.status, status, "{method} {headers:?}");
            if status == 304 {
                assert_eq!(reply.header("etag"), tag);
                assert_eq!(reply.header("last-modified"), date);
                assert!(reply.body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn ranges_of_a_file() {
    let server = server().await;
    let admin = server.admin();
    let large = noise(3, 300_000);
    put(&admin, "/r/files/small", b"0123456789")
        .await
        .expect(201);
    let made = put(&admin, "/r/files/large", &large).await.expect(201);
    let one = [("range", "bytes=2-4")];
    let reply = admin.send("GET", "/r/files/small", &one, b"").await;
    assert_eq!(reply.header("content-range"), "bytes 2-4/10");
    assert_eq!(reply.expect(206).text(), "234");
    let end = [("range", "bytes=10-")];
    let reply = admin.send("GET", "/r/files/small", &end, b"").await;
    assert_eq!(reply.expect(416).header("content-range"), "bytes */10");
    let two = [("range", "bytes=0-9,-10")];
    let reply = admin
        .send("GET", "/r/files/large", &two, b"")
        .await
        .expect(206);
    assert!(
        reply
            .header("content-type")
            .starts_with("multipart/byteranges")
    );
    let has = |part: &[u8]| reply.body.windows(part.len()).any(|w| w == part);
    assert!(has(&large[..10]) && has(&large[299_990..]));
    let (tag, date) = (made.header("etag"), made.header("last-modified"));
    for (since, status) in [
        (tag, 206),
        (date, 206),
        ("\"x\"", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        let headers = [("range", "bytes=5-299998"), ("if-range", since)];
        let reply = admin.send("GET", "/r/files/large", &headers, b"").await;
        let all = if status == 206 {
            &large[5..299_999]
        } else {
            &large
        };
        assert!(reply.expect(status).body == all, "{since}");
    }
}

#[tokio::test]
async fn a_change_is_made_only_if_things_are_as_expected() {
    let server = server().await;
    let (admin, path) = (server.admin(), "/r/files/a");
    let (one, two) = (sha256(b"one"), sha256(b"two"));
    let (one, two) = (format!("\"{one}\""), format!("\"{two}\""));
    let before = "Sun, 06 Nov 1994 08:49:37 GMT";
    let put = async |name: &str, value: &str, bytes: &[u8]| {
        let reply = put_with(&admin, path, &[(name, value)], bytes).await;
        reply.status
    };
    assert_eq!(put("if-match", "*", b"one").await, 412);
    assert_eq!(put("if-match", &one, b"one").await, 412);
    assert_eq!(put("if-none-match", "*", b"one").await, 201);
    assert_eq!(put("if-none-match", "*", b"two").await, 412);
    assert_eq!(put("if-none-match", &one, b"two").await, 412);
    assert_eq!(put("if-match", &two, b"two").await, 412);
    assert_eq!(put("if-match", &format!("W/{one}"), b"two").await, 412);
    assert_eq!(put("if-unmodified-since", before, b"two").await, 412);
    assert_eq!(admin.get(path).await.text(), "one");
    let list = format!("\"x\", {two} , {one}");
    assert_eq!(put("if-match", &list, b"two").await, 200);
    assert_eq!(put("if-none-match", &one, b"one").await, 200);
    assert_eq!(put("if-match", "*", b"two").await, 200);
    let date = admin.head(path).await.header("last-modified").to_owned();
    assert_eq!(put("if-unmodified-since", &date, b"one").await, 200);
    let both = [("if-match", "*"), ("if-none-match", "*")];
    put_with(&admin, path, &both, b"x").await.expect(400);
    let delete = async |tag: &str| {
        let reply = admin.send("DELETE", path, &[("if-match", tag)], b"").await;
        reply.status
    };
    assert_eq!(delete(&two).await, 412);
    assert_eq!(delete(&one).await, 204);
    // Where nothing is, it is nothing that was expected; without a condition it is just not there.
    assert_eq!(delete(&one).await, 412);
    assert_eq!(delete("*").await, 412);
    let none = [("if-none-match", one.as_str())];
    let none = admin.send("DELETE", path, &none, b"").await;
    assert_eq!(none.status, 404);
    admin.delete(path).await.expect(404);
    let nowhere = [("if-match", "*")];
    let nowhere = admin.send("DELETE", "/r/nowhere/a", &nowhere, b"").await;
    assert_eq!(nowhere.status, 404);
    // Of many who create one file, one does.
    let racers = (0..8).map(|n: u8| {
        let admin = admin.clone();
        tokio::spawn(async move {
            let headers = [("if-none-match", "*")];
            put_with(&admin, "/r/files/race", &headers, &vec![n; 70_000]).await
        })
    });
    let mut made = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        made.push(racer.await.unwrap().status);
    }
    made.sort_unstable();
    assert_eq!(made, [201, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn a_file_with_another_digest_than_it_was_sent_with_is_refused() {
    let server = server().await;
    let admin = server.admin();
    let bytes = noise(4, 100_000);
    let (good, bad) = (sha256(&bytes), sha256(b"other"));
    let hex = |digest: &str| digest.split_once(':').unwrap().1.to_owned();
    for (n, (name, value, status)) in [
        ("repr-digest", repr(&good), 201),
        ("repr-digest", repr(&sha512(&bytes)), 201),
        (
            "repr-digest",
            format!("{}, {}", repr(&good), repr(&sha512(&bytes))),
            201,
        ),
        ("x-checksum-sha256", hex(&good).to_uppercase(), 201),
        ("repr-digest", repr(&bad), 400),
        ("repr-digest", repr(&sha512(b"other")), 400),
        ("x-checksum-sha256", hex(&bad), 400),
        ("repr-digest", "sha-256=:AAAA:".into(), 400),
        ("x-checksum-sha256", "00".into(), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/r/files/d{n}");
        let reply = put_with(&admin, &path, &[(name, &value)], &bytes).await;
        let reply = reply.expect(status);
        if status == 201 {
            assert_eq!(reply.header("etag"), format!("\"{good}\""));
        } else {
            admin.get(&path).await.expect(404);
        }
        if value == repr(&bad) || value == hex(&bad) {
            let text = reply.text();
            assert!(text.contains(&good) && text.contains(&bad), "{text}");
        }
    }
    let coded = [("content-encoding", "gzip")];
    put_with(&admin, "/r/files/x", &coded, &bytes)
        .await
        .expect(415);
}
