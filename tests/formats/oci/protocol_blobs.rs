//! The distribution spec, part one: ping, tokens, blobs, uploads, mounts, ranges.

use serde_json::Value;

use crate::harness::content::{noise, push_blob, sha256, sha512};
use crate::harness::{ADMIN, Client, Reply, Server, with_query};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

async fn start_upload(client: &Client, repo: &str) -> String {
    client
        .post(&format!("/v2/{repo}/blobs/uploads/"))
        .await
        .expect(202)
        .location()
}

async fn patch(client: &Client, at: &str, from: usize, bytes: &[u8]) -> Reply {
    let range = format!("{from}-{}", from + bytes.len() - 1);
    client
        .send("PATCH", at, &[OCTETS, ("content-range", &range)], bytes)
        .await
}

#[tokio::test]
async fn ping_answers_with_a_challenge() {
    let server = Server::start().await;
    let reply = server
        .anonymous()
        .get("/v2/")
        .await
        .refused(401, "UNAUTHORIZED");
    let challenge = reply.header("www-authenticate").to_string();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(
        challenge.contains(&format!("realm=\"http://{}/v2/auth\"", server.host())),
        "{challenge}"
    );
    assert!(challenge.contains("service=\""), "{challenge}");
    assert_eq!(
        reply.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    server.admin().get("/v2/").await.expect(200);
    let id = |r: &Reply| r.headers.keys().any(|k| k.as_str().contains("request-id"));
    assert!(id(&reply), "{:?}", reply.headers);
    assert!(id(&server.anonymous().get("/healthz").await.expect(200)));
}

#[tokio::test]
async fn tokens_by_get_and_by_post() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "team/app", b"hello").await;
    let service = server.service().await;
    let query = &format!("/v2/auth?service={service}&scope=repository:team/app:pull,push");
    let reply = admin.get(query).await.expect(200).json();
    let token = reply["token"].as_str().unwrap().to_string();
    assert_eq!(reply["access_token"], reply["token"]);
    assert!(reply["expires_in"].as_u64().unwrap() >= 60);
    assert!(reply["issued_at"].as_str().unwrap().contains('T'));
    push_blob(&server.bearer(&token), "team/app", b"by token").await;

    // A token says what may be asked; another repository is out of its reach.
    let other = server
        .bearer(&token)
        .post("/v2/team/other/blobs/uploads/")
        .await;
    assert!(matches!(other.status, 401 | 403), "{}", other.status);

    let form = format!(
        "grant_type=password&service={service}&client_id=test&username={}&password={}&scope=repository:team/app:pull",
        ADMIN.0, ADMIN.1
    );
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let reply = server
        .anonymous()
        .send("POST", "/v2/auth", &kind, form.as_bytes())
        .await
        .expect(200)
        .json();
    let token = reply["access_token"].as_str().unwrap().to_string();
    let path = format!("/v2/team/app/blobs/{}", sha256(b"hello"));
    server.bearer(&token).get(&path).await.expect(200);
    let refused = server
        .bearer(&token)
        .post("/v2/team/app/blobs/uploads/")
        .await;
    assert!(matches!(refused.status, 401 | 403), "{}", refused.status);

    // Without a scope it proves who asks, which is what login does.
    let reply = admin
        .get(&format!("/v2/auth?service={service}"))
        .await
        .expect(200)
        .json();
    server
        .bearer(reply["token"].as_str().unwrap())
        .get("/v2/")
        .await
        .expect(200);
    // Anonymous clients get a token that pulls.
    let reply = server
        .anonymous()
        .get("/v2/auth?scope=repository:team/app:pull,push")
        .await
        .expect(200)
        .json();
    let token = reply["token"].as_str().unwrap().to_string();
    server.bearer(&token).get(&path).await.expect(200);
    assert!(matches!(
        server
            .bearer(&token)
            .post("/v2/team/app/blobs/uploads/")
            .await
            .status,
        401 | 403
    ));
}

#[tokio::test]
async fn push_in_one_post() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(1, 70_000));
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&bytes));
    let reply = admin
        .send("POST", &path, &[OCTETS], &bytes)
        .await
        .expect(201);
    assert_eq!(reply.header("docker-content-digest"), sha256(&bytes));
    assert_eq!(admin.get(&reply.location()).await.expect(200).body, bytes);
    let wrong = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"other"));
    admin
        .send("POST", &wrong, &[OCTETS], &bytes)
        .await
        .refused(400, "DIGEST_INVALID");
    admin
        .get(&format!("/v2/a/blobs/{}", sha256(b"other")))
        .await
        .refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn push_by_post_and_put() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(2, 300_000));
    let start = admin.post("/v2/a/b/c/blobs/uploads/").await.expect(202);
    assert_eq!(start.header("range"), "0-0");
    assert!(!start.header("docker-upload-uuid").is_empty());
    let put = with_query(&start.location(), &format!("digest={}", sha256(&bytes)));
    let done = admin.send("PUT", &put, &[OCTETS], &bytes).await.expect(201);
    assert_eq!(done.header("docker-content-digest"), sha256(&bytes));
    let got = admin
        .get(&format!("/v2/a/b/c/blobs/{}", sha256(&bytes)))
        .await
        .expect(200);
    assert_eq!(got.body, bytes);
    assert_eq!(got.header("docker-content-digest"), sha256(&bytes));
    let head = admin
        .head(&format!("/v2/a/b/c/blobs/{}", sha256(&bytes)))
        .await
        .expect(200);
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    admin
        .send("PUT", &put, &[OCTETS], &bytes)
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn push_an_empty_blob() {
    let server = Server::start().await;
    let admin = server.admin();
    let digest = push_blob(&admin, "a", b"").await;
    let got = admin
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .expect(200);
    assert_eq!((got.body.len(), got.header("content-length")), (0, "0"));
}

#[tokio::test]
async fn push_in_chunks_with_status_and_resume() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(3, 900_000));
    let mut at = start_upload(&admin, "a").await;
    for from in [0_usize, 300_000] {
        let reply = patch(&admin, &at, from, &bytes[from..from + 300_000])
            .await
            .expect(202);
        assert_eq!(reply.header("range"), format!("0-{}", from + 299_999));
        at = reply.location();
    }
    let status = admin.get(&at).await.expect(204);
    assert_eq!(status.header("range"), "0-599999");
    at = status.location();
    // Again from the start, or with a gap: refused, and the upload goes on where it was.
    for from in [0_usize, 700_000] {
        let reply = patch(&admin, &at, from, &bytes[from..from + 1000])
            .await
            .refused(416, "BLOB_UPLOAD_INVALID");
        assert!(reply.header("range").is_empty() || reply.header("range") == "0-599999");
    }
    let put = with_query(&at, &format!("digest={}", sha256(&bytes)));
    let late = [OCTETS, ("content-range", "700000-899999")];
    admin
        .send("PUT", &put, &late, &bytes[700_000..])
        .await
        .expect(416);
    let rest = [OCTETS, ("content-range", "600000-899999")];
    admin
        .send("PUT", &put, &rest, &bytes[600_000..])
        .await
        .expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&bytes));
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
}

#[tokio::test]
async fn push_as_a_stream() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(4, 500_000));
    let at = start_upload(&admin, "a").await;
    // No Content-Length and no Content-Range: what docker, podman and skopeo send.
    let mut request = format!(
        "PATCH {at} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic Y2k6czNjcmV0LW9mLWNp\r\n\
         Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        server.host()
    )
    .into_bytes();
    for piece in bytes.chunks(60_000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = server.raw(&request).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 202"), "{answer}");
    assert!(answer.contains("range: 0-499999"), "{answer}");
    let put = with_query(
        &admin.get(&at).await.expect(204).location(),
        &format!("digest={}", sha256(&bytes)),
    );
    admin
        .send("PUT", &put, &[("content-length", "0")], b"")
        .await
        .expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&bytes));
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
}

#[tokio::test]
async fn cancel_ends_an_upload() {
    let server = Server::start().await;
    let admin = server.admin();
    let at = start_upload(&admin, "a").await;
    let at = patch(&admin, &at, 0, b"12345").await.expect(202).location();
    admin.delete(&at).await.expect(204);
    admin.get(&at).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    admin.delete(&at).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    patch(&admin, &at, 5, b"67")
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    // An upload belongs to its repository.
    let at = start_upload(&admin, "a").await;
    admin
        .get(&at.replacen("/v2/a/", "/v2/b/", 1))
        .await
        .expect(404);
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let server = Server::start().await;
    let admin = server.admin();
    let at = start_upload(&admin, "a").await;
    let put = with_query(&at, &format!("digest={}", sha256(b"what was promised")));
    admin
        .send("PUT", &put, &[OCTETS], b"what came")
        .await
        .refused(400, "DIGEST_INVALID");
    for bytes in [&b"what was promised"[..], b"what came"] {
        admin
            .head(&format!("/v2/a/blobs/{}", sha256(bytes)))
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn sha512_is_an_equal() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(5, 100_000));
    let digest = sha512(&bytes);
    let start = admin
        .post("/v2/a/blobs/uploads/?digest-algorithm=sha512")
        .await
        .expect(202);
    let at = patch(&admin, &start.location(), 0, &bytes[..40_000])
        .await
        .expect(202)
        .location();
    let put = with_query(&at, &format!("digest={digest}"));
    let done = admin
        .send("PUT", &put, &[OCTETS], &bytes[40_000..])
        .await
        .expect(201);
    assert_eq!(done.header("docker-content-digest"), digest);
    assert_eq!(
        admin
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
    // In one POST, and without saying the algorithm before the PUT.
    let path = format!("/v2/b/blobs/uploads/?digest={digest}");
    admin
        .send("POST", &path, &[OCTETS], &bytes)
        .await
        .expect(201);
    let put = with_query(
        &start_upload(&admin, "c").await,
        &format!("digest={digest}"),
    );
    admin.send("PUT", &put, &[OCTETS], &bytes).await.expect(201);
    let unknown = admin
        .post("/v2/a/blobs/uploads/?digest-algorithm=md5")
        .await;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
}

#[tokio::test]
async fn mount_links_what_the_user_may_read() {
    let server = Server::start().await;
    let admin = server.admin();
    let digest = push_blob(&admin, "src/one", &noise(6, 50_000)).await;
    let reply = admin
        .post(&format!(
            "/v2/dst/a/blobs/uploads/?mount={digest}&from=src/one"
        ))
        .await
        .expect(201);
    assert_eq!(reply.header("docker-content-digest"), digest);
    admin.get(&reply.location()).await.expect(200);
    // The name in `from` comes percent-encoded from some clients.
    admin
        .post(&format!(
            "/v2/dst/b/blobs/uploads/?mount={digest}&from=src%2Fone"
        ))
        .await
        .expect(201);
    admin
        .post(&format!("/v2/dst/c/blobs/uploads/?mount={digest}"))
        .await
        .expect(201);
    // What is not there becomes an ordinary upload.
    let absent = sha256(b"absent");
    let reply = admin
        .post(&format!(
            "/v2/dst/d/blobs/uploads/?mount={absent}&from=src/one"
        ))
        .await
        .expect(202);
    admin.get(&reply.location()).await.expect(204);
    admin
        .post(&format!(
            "/v2/dst/d/blobs/uploads/?mount={digest}&from=no/such"
        ))
        .await;
    admin
        .post(&format!("/v2/dst/d/blobs/uploads/?mount={absent}"))
        .await
        .expect(202);

    // A user who may not read the source gets no bytes for knowing their digest.
    server.add_user("eve", "pw-of-eve-1", &["--role", "writer", "--on", "eve"]);
    let private = Server::start_with(&["--mode", "standalone"], &[]).await;
    private.add_user("eve", "pw-of-eve-1", &["--role", "writer", "--on", "eve"]);
    let secret = push_blob(&private.admin(), "src/secret", &noise(7, 50_000)).await;
    let eve = private.client(Some(("eve", "pw-of-eve-1")));
    for path in [
        format!("mount={secret}&from=src/secret"),
        format!("mount={secret}"),
    ] {
        eve.post(&format!("/v2/eve/x/blobs/uploads/?{path}"))
            .await
            .expect(202);
    }
    eve.head(&format!("/v2/eve/x/blobs/{secret}"))
        .await
        .expect(404);
}

#[tokio::test]
async fn a_token_limits_the_target_of_a_mount_not_its_source() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let digest = push_blob(&server.admin(), "src/one", b"shared").await;
    let token = server
        .admin()
        .get("/v2/auth?scope=repository:dst/a:pull,push")
        .await
        .expect(200)
        .json();
    let client = server.bearer(token["token"].as_str().unwrap());
    client
        .post(&format!(
            "/v2/dst/a/blobs/uploads/?mount={digest}&from=src/one"
        ))
        .await
        .expect(201);
}

#[tokio::test]
async fn ranges_of_a_blob() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(8, 400_000));
    let path = format!("/v2/a/blobs/{}", push_blob(&admin, "a", &bytes).await);
    let whole = admin.get(&path).await.expect(200);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let cases: [(&str, std::ops::Range<usize>); 5] = [
        ("bytes=0-99", 0..100),
        ("bytes=100000-100009", 100_000..100_010),
        ("bytes=399999-", 399_999..400_000),
        ("bytes=-500", 399_500..400_000),
        ("bytes=300000-9999999", 300_000..400_000),
    ];
    for (range, wanted) in cases {
        let reply = admin
            .send("GET", &path, &[("range", range)], b"")
            .await
            .expect(206);
        assert_eq!(reply.body, bytes[wanted.clone()], "{range}");
        let said = format!("bytes {}-{}/400000", wanted.start, wanted.end - 1);
        assert_eq!(reply.header("content-range"), said);
        assert_eq!(reply.header("content-length"), wanted.len().to_string());
    }
    for range in ["bytes=400000-", "bytes=500-0", "bytes=999999-1000000"] {
        let reply = admin
            .send("GET", &path, &[("range", range)], b"")
            .await
            .expect(416);
        if range != "bytes=500-0" {
            assert_eq!(reply.header("content-range"), "bytes */400000");
        }
    }
    let head = admin
        .send("HEAD", &path, &[("range", "bytes=0-9")], b"")
        .await;
    assert!(matches!(head.status, 200 | 206));
}

#[tokio::test]
async fn several_ranges_come_as_parts() {
    let server = Server::start().await;
    let (admin, bytes) = (server.admin(), noise(9, 100_000));
    let path = format!("/v2/a/blobs/{}", push_blob(&admin, "a", &bytes).await);
    let reply = admin
        .send("GET", &path, &[("range", "bytes=0-9,50000-50019")], b"")
        .await
        .expect(206);
    let kind = reply.header("content-type").to_string();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{kind}"));
    let found = |needle: &[u8]| reply.body.windows(needle.len()).any(|w| w == needle);
    assert!(found(boundary.trim_matches('"').as_bytes()));
    assert!(found(b"bytes 0-9/100000") && found(b"bytes 50000-50019/100000"));
    assert!(found(&bytes[..10]) && found(&bytes[50_000..50_020]));
}

#[tokio::test]
async fn entity_tags_spare_the_body() {
    let server = Server::start().await;
    let admin = server.admin();
    let digest = push_blob(&admin, "a", b"some bytes").await;
    let path = format!("/v2/a/blobs/{digest}");
    let tag = admin
        .get(&path)
        .await
        .expect(200)
        .header("etag")
        .to_string();
    assert!(tag.contains(&digest), "{tag}");
    let same = admin
        .send("GET", &path, &[("if-none-match", &tag)], b"")
        .await
        .expect(304);
    assert!(same.body.is_empty());
    admin
        .send("GET", &path, &[("if-none-match", "\"other\"")], b"")
        .await
        .expect(200);
    let stale = [("range", "bytes=0-3"), ("if-range", "\"other\"")];
    admin.send("GET", &path, &stale, b"").await.expect(200);
    let fresh = [("range", "bytes=0-3"), ("if-range", tag.as_str())];
    assert_eq!(
        admin.send("GET", &path, &fresh, b"").await.expect(206).body,
        b"some"
    );
}

#[tokio::test]
async fn blobs_are_shown_only_by_their_repository() {
    let server = Server::start().await;
    let admin = server.admin();
    let digest = push_blob(&admin, "a", b"mine").await;
    push_blob(&admin, "b", b"other").await;
    admin
        .get(&format!("/v2/b/blobs/{digest}"))
        .await
        .refused(404, "BLOB_UNKNOWN");
    admin
        .head(&format!("/v2/b/blobs/{digest}"))
        .await
        .expect(404);
    admin
        .get(&format!("/v2/none/blobs/{digest}"))
        .await
        .expect(404);
    admin
        .delete(&format!("/v2/b/blobs/{digest}"))
        .await
        .refused(404, "BLOB_UNKNOWN");
    admin
        .delete(&format!("/v2/a/blobs/{digest}"))
        .await
        .expect(202);
    admin
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn health_and_metrics() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let anyone = server.anonymous();
    for path in ["/healthz", "/livez", "/readyz"] {
        anyone.get(path).await.expect(200);
    }
    push_blob(&server.admin(), "a", b"count me").await;
    let metrics = anyone.get("/metrics").await.expect(200);
    assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
    anyone.get("/v1/_ping").await.expect(200);
    let old = anyone.get("/v1/search?q=x").await.expect(404);
    assert!(old.text().contains("v2"), "{}", old.text());
    let lost = anyone.get("/no/such/page").await.expect(404);
    let body: Value = serde_json::from_slice(&lost.body).unwrap_or_default();
    assert!(body.is_null() || body["errors"].is_array());
}
