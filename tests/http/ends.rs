//! What is under way ends with the right to it, and what every answer says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::formats::oci::mirror::fills::uploads;
use crate::harness::content::{OCI_MANIFEST, push_image, sha256};
use crate::harness::{SOON, Server, basic, dryport, run_ok, run_with_input, text_of, until};
use crate::http::abuse::connect;

const PASSWORD: &str = "pw-of-a-writer";

/// Sends a head and a part of its body.
fn begin(
    server: &Server,
    method: &str,
    path: &str,
    auth: &str,
    part: &[u8],
    whole: usize,
) -> TcpStream {
    let mut stream = connect(server.http);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {auth}\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: {whole}\r\n\r\n",
        server.host()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(part).unwrap();
    stream
}

/// Sends the rest, and reads the head of the answer.
fn go_on(stream: &mut TcpStream, rest: &[u8]) -> String {
    // The server may have closed it already: then the answer is there.
    let _ = stream.write_all(rest);
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// How a writer's right ends, and the status that tells of it.
const ENDINGS: [(&str, &str); 3] = [("remove", "401"), ("passwd", "401"), ("revoke", "403")];

fn end(server: &Server, user: &str, how: &str) {
    let dir = server.dir();
    match how {
        "passwd" => {
            let change = dryport(&["user", "passwd", "--data", &dir, user, "--password-stdin"]);
            let output = run_with_input(change, "another-password\n");
            assert!(output.status.success(), "{}", text_of(&output));
        }
        "revoke" => drop(run_ok(&[
            "user", "revoke", "--data", &dir, user, "--on", "team",
        ])),
        _ => drop(run_ok(&["user", "remove", "--data", &dir, user])),
    }
}

#[tokio::test]
async fn an_upload_ends_with_the_right_to_it() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "v1", 1).await;
    for (how, status) in ENDINGS {
        let user = format!("w-{how}");
        server.add_user(&user, PASSWORD, &["--role", "writer", "--on", "team"]);
        let writer = server.client(Some((&user, PASSWORD)));
        let token = writer
            .get("/v2/auth?scope=repository:team/app:pull,push")
            .await
            .expect(200)
            .json();
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        let auth = basic(&user, PASSWORD);
        let data = format!("{how} ").repeat(60_000).into_bytes();
        let (part, rest) = data.split_at(200_000);
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "x": "y".repeat(40_000),
            "config": { "mediaType": "a/b", "digest": sha256(b"{}"), "size": 2 }, "layers": [] });
        let manifest = manifest.to_string().into_bytes();
        let begun = || uploads(&server).iter().filter(|(_, len)| *len > 0).count();
        let (mut open, before) = (Vec::new(), begun());
        for auth in [&auth, &bearer] {
            let session = writer
                .post("/v2/team/app/blobs/uploads/")
                .await
                .expect(202)
                .location();
            let other = writer
                .post("/v2/team/app/blobs/uploads/")
                .await
                .expect(202)
                .location();
            let close = crate::harness::with_query(&other, &format!("digest={}", sha256(&data)));
            let whole = format!("/v2/team/app/blobs/uploads/?digest={}", sha256(&data));
            for (method, path) in [("PATCH", &session), ("PUT", &close), ("POST", &whole)] {
                open.push((begin(&server, method, path, auth, part, data.len()), rest));
            }
            let tag = "/v2/team/app/manifests/late";
            // A larger one waits for the turn of the other, which is gone on with later.
            let (first, last) = manifest.split_at(20_000);
            open.push((
                begin(&server, "PUT", tag, auth, first, manifest.len()),
                last,
            ));
        }
        // Another change of accounts ends nothing, and those that have not begun yet begin.
        server.add_user(&format!("x-{how}"), PASSWORD, &[]);
        until("the uploads have begun", SOON, async || {
            begun() >= before + 6
        })
        .await;
        // Nothing shows that of a manifest.
        tokio::time::sleep(Duration::from_millis(100)).await;
        end(&server, &user, how);
        for (n, (stream, rest)) in open.iter_mut().enumerate() {
            let answer = go_on(stream, rest);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{how} {n}: {answer}"
            );
            let asks = answer.to_lowercase().contains("www-authenticate: bearer");
            assert_eq!(asks, status == "401", "{how} {n}: {answer}");
        }
        admin
            .get(&format!("/v2/team/app/blobs/{}", sha256(&data)))
            .await
            .expect(404);
        admin.get("/v2/team/app/manifests/late").await.expect(404);
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_others_accounts_change() {
    let server = Server::start().await;
    server.add_user("will", PASSWORD, &["--role", "writer", "--on", ""]);
    let data = vec![7; 400_000];
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&data));
    let auth = basic("will", PASSWORD);
    let mut stream = begin(&server, "POST", &path, &auth, &data[..100_000], data.len());
    for n in 0..3_usize {
        server.add_user(&format!("other{n}"), PASSWORD, &[]);
        stream
            .write_all(&data[100_000 * (n + 1)..100_000 * (n + 1) + 50_000])
            .unwrap();
        stream
            .write_all(&data[100_000 * (n + 1) + 50_000..100_000 * (n + 2)])
            .unwrap();
    }
    let answer = go_on(&mut stream, b"");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn every_answer_forbids_to_guess_its_type() {
    let server = Server::start().await;
    let admin = server.admin();
    let manifest = push_image(&admin, "a", "v1", 1).await;
    let digest = sha256(&manifest);
    let etag = admin
        .get("/v2/a/manifests/v1")
        .await
        .header("etag")
        .to_owned();
    let (by_digest, none) = (format!("/v2/a/manifests/{digest}"), ("accept", "*/*"));
    for (method, path, header, status) in [
        ("GET", "/", none, 200),
        ("GET", "/livez", none, 200),
        ("GET", "/readyz", none, 200),
        ("GET", "/metrics", none, 200),
        ("GET", "/v2/", none, 200),
        ("GET", "/v2/a/manifests/v1", none, 200),
        ("HEAD", "/v2/a/manifests/v1", none, 200),
        (
            "GET",
            by_digest.as_str(),
            ("if-none-match", etag.as_str()),
            304,
        ),
        ("GET", "/v2/a/tags/list", none, 200),
        ("GET", "/v2/auth", none, 200),
        ("GET", "/v1/search", none, 404),
        ("GET", "/nothing", none, 404),
        ("GET", "/v2/a/manifests/none", none, 404),
        ("PUT", "/livez", none, 405),
        ("POST", "/v2/a/blobs/uploads/", none, 202),
        ("DELETE", "/v2/a/manifests/none", none, 404),
    ] {
        let reply = admin.send(method, path, &[header], b"").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert_eq!(
            reply.header("x-content-type-options"),
            "nosniff",
            "{method} {path}"
        );
    }
    let data = vec![9; 300_000];
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&data));
    admin.send("POST", &path, &[], &data).await.expect(201);
    let blob = format!("/v2/a/blobs/{}", sha256(&data));
    for (range, status) in [
        ("bytes=0-9", 206),
        ("bytes=0-1,5-6", 206),
        ("bytes=900000-", 416),
    ] {
        let reply = admin.send("GET", &blob, &[("range", range)], b"").await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{range}");
    }
    // What the server cannot even read, and content that looks like an answer to that.
    for request in [
        "GET / HTTP/1.1\r\nno header\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{1}\u{2}\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ] {
        let answer = server.raw(request.as_bytes()).to_lowercase();
        assert!(answer.starts_with("http/1.1 4"), "{request:?}: {answer}");
        assert!(
            answer.contains("\r\nx-content-type-options: nosniff\r\n"),
            "{request:?}: {answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let trap = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".repeat(5000);
    for data in [&trap[..], &trap[..49]] {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(data));
        admin.send("POST", &path, &[], data).await.expect(201);
        let reply = admin.get(&format!("/v2/a/blobs/{}", sha256(data))).await;
        assert!(reply.expect(200).body == data);
    }
    for request in [
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost: x\r\n\r\n",
    ] {
        let answer = server.raw(request.as_bytes()).to_lowercase();
        assert!(
            answer.contains("\r\nx-content-type-options: nosniff\r\n"),
            "{answer}"
        );
    }
}
