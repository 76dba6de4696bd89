//! Who may do what at a file repository, what strangers learn, and what clients of one protocol get at a repository of the
//! other.

use std::io::Write as _;

use crate::formats::file::reading::{create, put, put_with, repr, server};
use crate::harness::content::{OCI_MANIFEST, noise, push_blob, push_image, sha256};
use crate::harness::{Client, Reply, Server, run_ok};

const BASIC: &str = "Basic realm=\"Dryport\", charset=\"UTF-8\"";
const ANN: (&str, &str) = ("ann", "ann-s3cret-x");

/// A server where nobody may do anything without an account: ann writes below `team`, bob reads there.
async fn closed() -> Server {
    let server = Server::start_with(&["--mode", "standalone"], &["--mode", "standalone"]).await;
    for name in ["team/files", "other/files"] {
        create(&server, name);
        put(&server.admin(), &format!("/r/{name}/a"), b"1")
            .await
            .expect(201);
    }
    server.add_user(ANN.0, ANN.1, &["--role", "writer", "--on", "team"]);
    server.add_user("bob", "bob-s3cret-x", &["--role", "reader", "--on", "team"]);
    server
}

/// What a stranger could tell two answers apart by.
fn seen(reply: &Reply) -> (u16, String, String) {
    let text = reply.text();
    let text = text
        .split(" (request")
        .next()
        .unwrap_or_default()
        .to_owned();
    (
        reply.status,
        text,
        reply.header("www-authenticate").to_owned(),
    )
}

async fn ask(client: &Client, method: &str, path: &str) -> Reply {
    match method {
        "PUT" => put(client, path, b"2").await,
        _ => client.send(method, path, &[], b"").await,
    }
}

#[tokio::test]
async fn rights_are_those_of_the_repository() {
    let server = closed().await;
    let (ann, bob) = (
        server.client(Some(ANN)),
        server.client(Some(("bob", "bob-s3cret-x"))),
    );
    for (client, method, path, status) in [
        (&ann, "GET", "/r/team/files/a", 200),
        (&ann, "GET", "/r/team/files/", 200),
        (&ann, "PUT", "/r/team/files/b", 201),
        (&ann, "DELETE", "/r/team/files/b", 204),
        (&bob, "GET", "/r/team/files/a", 200),
        (&bob, "HEAD", "/r/team/files/a", 200),
        (&bob, "GET", "/r/team/files/SHA256SUMS", 200),
        (&bob, "PUT", "/r/team/files/b", 403),
        (&bob, "DELETE", "/r/team/files/a", 403),
        (&ann, "GET", "/r/other/files/a", 404),
        (&ann, "PUT", "/r/other/files/a", 404),
        (&ann, "DELETE", "/r/other/files/a", 404),
    ] {
        let reply = ask(client, method, path).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    let cached = ann.get("/r/team/files/a").await;
    assert_eq!(cached.header("cache-control"), "private, no-cache");
    let wrong = server
        .client(Some(("ann", "wrong")))
        .get("/r/team/files/a")
        .await;
    assert_eq!(wrong.expect(401).header("www-authenticate"), BASIC);
}

#[tokio::test]
async fn what_is_hidden_is_as_what_is_not_there() {
    let server = closed().await;
    for client in [server.client(Some(ANN)), server.anonymous()] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            for (hidden, none) in [
                ("/r/other/files/a", "/r/other/nothing/a"),
                ("/r/other/files", "/r/other/nothing"),
                ("/r/other/files/", "/r/other/nothing/"),
                ("/r/other/files/b/c", "/r/other/nothing/b/c"),
                ("/r/other/files@g1/a", "/r/other/nothing@g1/a"),
                ("/r/other/files/%2e%2e/x", "/r/other/nothing/%2e%2e/x"),
            ] {
                let hidden = ask(&client, method, hidden).await;
                let none = ask(&client, method, none).await;
                assert_eq!(seen(&hidden), seen(&none), "{method}");
                assert!([401, 404].contains(&none.status));
            }
        }
    }
    let reply = server.anonymous().get("/r/other/files/a").await.expect(401);
    assert_eq!(reply.header("www-authenticate"), BASIC);
    let text = put(&server.client(Some(ANN)), "/r/team/new/a", b"1")
        .await
        .expect(404)
        .text();
    assert!(
        text.contains("dryport repo create NAME --kind file"),
        "{text}"
    );
}

#[tokio::test]
async fn who_loses_the_right_while_a_file_is_sent_makes_none() {
    let server = closed().await;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let auth = crate::harness::basic(ANN.0, ANN.1);
    let head = format!(
        "PUT /r/team/files/late HTTP/1.1\r\nhost: x\r\nauthorization: {auth}\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabc"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let access = || server.log().contains("\"path\":\"/r/team/files/late\"");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!access(), "it waits for the rest");
    run_ok(&[
        "user",
        "revoke",
        "ann",
        "--on",
        "team",
        "--data",
        &server.dir(),
    ]);
    stream.write_all(b"def").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    server.admin().get("/r/team/files/late").await.expect(404);
}

#[tokio::test]
async fn each_protocol_keeps_to_its_own_repositories() {
    let server = server().await;
    let admin = server.admin();
    let digest = sha256(b"1");
    put(&admin, "/r/files/a", b"1").await.expect(201);
    push_image(&admin, "images/app", "v1", 1).await;
    // A registry client at a file repository.
    for path in [
        "tags/list".to_owned(),
        "manifests/a".into(),
        format!("blobs/{digest}"),
    ] {
        admin.get(&format!("/v2/files/{path}")).await.expect(404);
    }
    let begin = admin.post("/v2/files/blobs/uploads/").await;
    begin.refused(409, "DENIED");
    let whole = format!("/v2/files/blobs/uploads/?digest={digest}");
    admin.send("POST", &whole, &[], b"1").await.expect(409);
    push_blob(&admin, "images/app", b"1").await;
    let mount = format!("/v2/files/blobs/uploads/?mount={digest}&from=images/app");
    admin.post(&mount).await.expect(409);
    let headers = [("content-type", OCI_MANIFEST)];
    let manifest = admin
        .get("/v2/images/app/manifests/v1")
        .await
        .expect(200)
        .body;
    let reply = admin
        .send("PUT", "/v2/files/manifests/v1", &headers, &manifest)
        .await;
    reply.refused(409, "DENIED");
    // What a file has is no blob to be mounted elsewhere by those who only know its digest.
    put(&admin, "/r/files/secret", &noise(9, 100))
        .await
        .expect(201);
    let mount = format!(
        "/v2/images/app/blobs/uploads/?mount={}&from=files",
        sha256(&noise(9, 100))
    );
    admin.post(&mount).await.expect(202);
    // And the other way round.
    for path in [
        "/r/images/app/x",
        "/r/images/app/",
        "/r/images/app",
        "/r/images/",
    ] {
        admin.get(path).await.expect(404);
        if path.ends_with('x') {
            let text = put(&admin, path, b"1").await.expect(409).text();
            assert!(
                text.contains("is a repository of kind oci, not file"),
                "{text}"
            );
        }
    }
    let catalog = admin.get("/v2/_catalog").await.expect(200).text();
    assert!(
        catalog.contains("images/app") && !catalog.contains("files"),
        "{catalog}"
    );
    // Images may have names below that of a file repository, which stays what its paths mean.
    push_image(&admin, "files/app", "v1", 2).await;
    put(&admin, "/r/files/app/x", b"1").await.expect(201);
    admin.get("/v2/files/app/manifests/v1").await.expect(200);
}

#[tokio::test]
async fn quotas_hold_for_files() {
    let server = crate::core::quota::exact::server_keeping("0s").await;
    create(&server, "team/files");
    let admin = server.admin();
    let dir = server.dir();
    crate::core::quota::exact::set(&server, "team", "100KB");
    let used = |is: u64| {
        assert_eq!(
            crate::core::quota::exact::figure(&server, "team", "used"),
            is
        );
    };
    put(&admin, "/r/team/files/a", &noise(1, 60_000))
        .await
        .expect(201);
    used(60_000);
    // What is known to be there already needs no room.
    let same = [("repr-digest", &*repr(&sha256(&noise(1, 60_000))))];
    let reply = put_with(&admin, "/r/team/files/same", &same, &noise(1, 60_000)).await;
    reply.expect(201);
    used(60_000);
    let text = put(&admin, "/r/team/files/b", &noise(2, 60_000))
        .await
        .expect(403)
        .text();
    assert!(text.contains("the quota on team is used up"), "{text}");
    let chunked = noise(3, 60_000);
    let reply = server.raw(&[
        format!(
            "PUT /r/team/files/c HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n",
            crate::harness::basic(crate::harness::ADMIN.0, crate::harness::ADMIN.1),
            chunked.len()
        )
        .as_bytes(),
        &chunked,
        b"\r\n0\r\n\r\n",
    ].concat());
    assert!(reply.starts_with("HTTP/1.1 403 "), "{reply}");
    let part = [("content-range", "bytes 0-59999/120000")];
    put_with(&admin, "/r/team/files/d", &part, &noise(4, 60_000))
        .await
        .expect(403);
    put(&admin, "/r/team/files/a", &noise(5, 40_000))
        .await
        .expect(200);
    used(100_000);
    admin.delete("/r/team/files/same").await.expect(204);
    used(40_000);
    run_ok(&["gc", "--data", &dir]);
    put(&admin, "/r/team/files/b", &noise(2, 60_000))
        .await
        .expect(201);
    used(100_000);
    run_ok(&["check", "--deep", "--data", &dir]);
}
