//! File repositories: what is put at a path is got there again, with the headers, conditions and ranges of RFC 9110.

use serde_json::Value;

use crate::harness::content::{noise, sha256};
use crate::harness::{Client, Reply, Server, run, run_ok, text_of};

/// A server with the empty file repository `files`.
pub async fn server() -> Server {
    let server = Server::start().await;
    create(&server, "files");
    server
}

pub fn create(server: &Server, name: &str) {
    run_ok(&[
        "repo",
        "create",
        name,
        "--kind",
        "file",
        "--data",
        &server.dir(),
    ]);
}

pub async fn put(client: &Client, path: &str, bytes: &[u8]) -> Reply {
    put_with(client, path, &[], bytes).await
}

/// The same with an empty body, which has a length all the same.
pub async fn put_with(client: &Client, path: &str, more: &[(&str, &str)], bytes: &[u8]) -> Reply {
    let length = bytes.len().to_string();
    let mut headers = more.to_vec();
    if bytes.is_empty() {
        headers.push(("content-length", &length));
    }
    client.send("PUT", path, &headers, bytes).await
}

/// A digest in hexadecimal as `Repr-Digest` has it.
pub fn repr(digest: &str) -> String {
    use base64::Engine as _;
    let (name, hex) = digest.split_once(':').unwrap();
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let name = name.replace("sha", "sha-");
    let coded = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("{name}=:{coded}:")
}

fn seconds(date: &str) -> i64 {
    let date = jiff::fmt::rfc2822::parse(date).unwrap();
    date.timestamp().as_second()
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_put() {
    let server = server().await;
    let admin = server.admin();
    for (path, bytes) in [
        ("/r/files/a.txt", b"hello\n".to_vec()),
        ("/r/files/none", Vec::new()),
        ("/r/files/deep/er/64k", noise(1, 65_536)),
        ("/r/files/deep/er/large", noise(2, 3_000_000)),
    ] {
        let reply = put(&admin, path, &bytes).await.expect(201);
        let tag = format!("\"{}\"", sha256(&bytes));
        let digest = repr(&sha256(&bytes));
        assert_eq!(reply.location(), path);
        let made = reply.header("last-modified").to_owned();
        for reply in [reply, server.anonymous().head(path).await.expect(200)] {
            assert_eq!(reply.header("etag"), tag);
            assert_eq!(reply.header("repr-digest"), digest);
            assert_eq!(reply.header("last-modified"), made);
        }
        let head = server.anonymous().head(path).await.expect(200);
        let got = server.anonymous().get(path).await.expect(200);
        assert!(got.body == bytes, "{path}");
        for name in ["content-length", "content-type", "etag", "repr-digest"] {
            assert_eq!(head.header(name), got.header(name), "{name} of {path}");
        }
        assert_eq!(got.header("content-length"), bytes.len().to_string());
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert_eq!(got.header("cache-control"), "no-cache");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        // A registry's own header has no business here.
        assert_eq!(got.header("docker-distribution-api-version"), "");
    }
    let again = put(&admin, "/r/files/a.txt", b"hello\n").await;
    again.expect(200);
    put(&admin, "/r/files/a.txt", b"other").await.expect(200);
    let got = admin.get("/r/files/a.txt").await.expect(200);
    assert_eq!(got.text(), "other");
    admin.delete("/r/files/a.txt").await.expect(204);
    for gone in ["/r/files/a.txt", "/r/files/nothing/here"] {
        let reply = admin.get(gone).await.expect(404);
        assert_eq!(
            reply.header("content-type"),
            "text/plain; charset=utf-8",
            "people read it"
        );
        assert!(reply.text().contains("is not in this repository"));
        admin.delete(gone).await.expect(404);
    }
    put(&admin, "/r/files/a.txt", b"back").await.expect(201);
}

#[tokio::test]
async fn the_date_of_a_path_grows_by_whole_seconds_with_each_change() {
    let server = server().await;
    let admin = server.admin();
    let mut last = 0;
    for n in 0..8 {
        let path = "/r/files/moves";
        if n == 5 {
            admin.delete(path).await.expect(204);
        }
        let reply = put(&admin, path, &[n]).await;
        let date = seconds(reply.header("last-modified"));
        assert!(date > last, "change {n}");
        last = date;
        let same = put(&admin, path, &[n]).await.expect(200);
        assert_eq!(seconds(same.header("last-modified")), date, "nothing moved");
    }
}

#[tokio::test]
async fn names_are_checked_and_decoded_once() {
    let server = server().await;
    let admin = server.admin();
    for (raw, shown) in [
        ("g%2b%2b_1.0+rc1~:2.deb", "g++_1.0+rc1~:2.deb"),
        ("%40scope%2fname/x%20y", "x y"),
        ("%C3%A4", "\u{e4}"),
        ("%252e", "%2e"),
        ("Case", "Case"),
        ("case", "case"),
    ] {
        let path = format!("/r/files/n/{raw}");
        let reply = put(&admin, &path, raw.as_bytes()).await.expect(201);
        let got = admin.get(&reply.location()).await.expect(200);
        assert_eq!(got.text(), raw);
        let folder = if raw.contains("%2f") {
            "n/@scope/name/"
        } else {
            "n/"
        };
        let json = [("accept", "application/json")];
        let list = admin
            .send("GET", &format!("/r/files/{folder}"), &json, b"")
            .await;
        let list: Value = list.expect(200).json();
        let list = list["entries"].as_array().unwrap().clone();
        assert!(
            list.iter().any(|entry| entry["name"] == shown),
            "{shown}: {list:?}"
        );
    }
    let long = "x".repeat(1025);
    for (raw, why) in [
        ("", "needs a name"),
        ("dir/", "needs a name"),
        ("a/%2e%2e/b", "no empty, . or .."),
        ("a//b", "no empty, . or .."),
        ("a%5cb", "no backslash"),
        ("a%0ab", "bytes that no name can have"),
        ("%ff", "bytes that no name can have"),
        ("%C2%85", "no control character"),
        ("a%CC%88", "normalization form C"),
        (&long, "1024 are the most"),
    ] {
        let raw = format!(
            "PUT /r/files/{raw} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            crate::harness::basic(crate::harness::ADMIN.0, crate::harness::ADMIN.1)
        );
        let reply = server.raw(raw.as_bytes());
        assert!(reply.starts_with("HTTP/1.1 400 "), "{raw}: {reply}");
        assert!(reply.contains(why), "{raw}: {reply}");
    }
    let longest = format!("/r/files/{}", "x".repeat(1024));
    put(&admin, &longest, b"x").await.expect(201);
    admin.get(&longest).await.expect(200);
    admin
        .get(&format!("/r/files/{}", "y".repeat(4000)))
        .await
        .expect(404);
    for method in ["POST", "PATCH", "OPTIONS", "MKCOL"] {
        let reply = admin.send(method, "/r/files/a", &[], b"").await.expect(405);
        assert_eq!(reply.header("allow"), "GET, HEAD, PUT, DELETE");
    }
}

#[tokio::test]
async fn a_file_and_a_folder_do_not_share_a_name() {
    let server = server().await;
    let admin = server.admin();
    put(&admin, "/r/files/a/b", b"1").await.expect(201);
    let reply = put(&admin, "/r/files/a", b"2").await.expect(409);
    assert!(reply.text().contains("a is a folder"), "{}", reply.text());
    let reply = put(&admin, "/r/files/a/b/c", b"2").await.expect(409);
    assert!(reply.text().contains("a/b is a file"), "{}", reply.text());
    put(&admin, "/r/files/a-", b"2").await.expect(201);
    put(&admin, "/r/files/a.b", b"2").await.expect(201);
    admin.delete("/r/files/a/b").await.expect(204);
    put(&admin, "/r/files/a", b"2").await.expect(201);
}

#[tokio::test]
async fn a_page_of_a_repository_can_do_nothing() {
    let server = server().await;
    let admin = server.admin();
    for (path, kind) in [
        ("/r/files/a.html", "text/html; charset=utf-8"),
        ("/r/files/a.svg", "image/svg+xml"),
        ("/r/files/a.xml", "text/xml; charset=utf-8"),
        ("/r/files/a.tar.gz", "application/gzip"),
        ("/r/files/a.unheard", "application/octet-stream"),
    ] {
        put(&admin, path, b"<script>alert(1)</script>")
            .await
            .expect(201);
        let reply = admin.get(path).await.expect(200);
        assert_eq!(reply.header("content-type"), kind);
        assert_eq!(reply.header("content-encoding"), "");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let policy = reply.header("content-security-policy");
        assert!(policy.contains("sandbox;") && policy.contains("default-src 'none'"));
        assert!(!policy.contains("allow-"), "{policy}");
    }
}

#[tokio::test]
async fn repositories_are_made_and_shown() {
    let server = Server::start().await;
    let dir = server.dir();
    let made = run_ok(&[
        "repo",
        "create",
        "team/tools",
        "--kind",
        "file",
        "--data",
        &dir,
    ]);
    assert!(made.contains("/r/team/tools/"), "{made}");
    run_ok(&["repo", "create", "images", "--kind", "oci", "--data", &dir]);
    for (name, why) in [
        ("team/tools", "is there already, of kind file"),
        ("images", "is there already, of kind oci"),
        ("team", "would lie above the repository team/tools"),
        ("team/tools/x", "would lie below the repository team/tools"),
    ] {
        let output = run(&["repo", "create", name, "--kind", "file", "--data", &dir]);
        assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
        assert!(text_of(&output).contains(why), "{}", text_of(&output));
    }
    for wrong in [["Team", "file"], ["team2", "rpms"]] {
        let output = run(&[
            "repo", "create", wrong[0], "--kind", wrong[1], "--data", &dir,
        ]);
        assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    }
    // Beside it, and where only letters are the same.
    for name in ["team/tools2", "team/other", "tea"] {
        create(&server, name);
    }
    let admin = server.admin();
    put(&admin, "/r/team/tools/x/a", &noise(1, 5000))
        .await
        .expect(201);
    put(&admin, "/r/team/tools/b", &noise(1, 5000))
        .await
        .expect(201);
    let show = run_ok(&["repo", "show", "team/tools", "--json", "--data", &dir]);
    let show: Value = serde_json::from_str(&show).unwrap();
    assert_eq!(show["kind"], "file");
    assert_eq!(show["files"], 2);
    assert_eq!(show["bytes"], 5000, "each content once: {show}");
    assert_eq!((&show["tags"], &show["manifests"]), (&0.into(), &0.into()));
    let list = run_ok(&["repo", "list", "--data", &dir]);
    let line = list.lines().find(|line| line.starts_with("team/tools "));
    assert!(line.unwrap().contains("file"), "{list}");
    let catalog: Value = admin.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(catalog["repositories"], serde_json::json!(["images"]));
    run_ok(&["repo", "delete", "team/tools", "--data", &dir]);
    admin.get("/r/team/tools/b").await.expect(404);
    create(&server, "team/tools/x");
    admin.get("/r/team/tools/x/a").await.expect(404);
    admin.get("/r/team/tools/x/").await.expect(200);
}
