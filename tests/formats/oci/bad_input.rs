//! Malformed input: each has its error of the spec, and nothing is stored.

use serde_json::json;

use crate::harness::content::{OCI_INDEX, OCI_MANIFEST, push_image, sha256};
use crate::harness::{Server, with_query};

#[tokio::test]
async fn names_and_references() {
    let server = Server::start().await;
    let admin = server.admin();
    let long = "a/".repeat(200) + "a";
    let digest = sha256(b"x");
    for name in [
        "UPPER",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        ".a",
        "a/-/b",
        "a%20b",
        long.as_str(),
    ] {
        for path in [
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/{name}/blobs/{digest}"),
            format!("/v2/{name}/tags/list"),
        ] {
            let reply = admin.get(&path).await;
            assert!(
                matches!(reply.status, 400 | 404),
                "{path}: {} {}",
                reply.status,
                reply.text()
            );
            assert!(
                matches!(reply.code().as_str(), "NAME_INVALID" | "NAME_UNKNOWN"),
                "{path}: {}",
                reply.text()
            );
        }
        let reply = admin.post(&format!("/v2/{name}/blobs/uploads/")).await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{name}: {}",
            reply.status
        );
        let put = format!("/v2/{name}/manifests/v1");
        let reply = admin
            .send("PUT", &put, &[("content-type", OCI_MANIFEST)], b"{}")
            .await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{name}: {}",
            reply.status
        );
    }
    let tag = "t".repeat(129);
    for reference in ["-x", ".x", "a%20b", tag.as_str(), "a%2Fb", "sha256:12"] {
        let path = format!("/v2/a/manifests/{reference}");
        let reply = admin
            .send("PUT", &path, &[("content-type", OCI_MANIFEST)], b"{}")
            .await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{reference}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.code().is_empty(), "{reference}: {}", reply.text());
        let reply = admin.get(&path).await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{reference}: {}",
            reply.status
        );
    }
    assert_eq!(
        admin.get("/v2/_catalog").await.expect(200).json()["repositories"],
        json!([])
    );
}

#[tokio::test]
async fn digests() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "a", "v1", 1).await;
    let upper = sha256(b"x").to_uppercase().replace("SHA256", "sha256");
    let cases = [
        "sha256:abc",
        "sha256:",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256",
        upper.as_str(),
        "sha512:00",
    ];
    for digest in cases {
        for path in [
            format!("/v2/a/blobs/{digest}"),
            format!("/v2/a/referrers/{digest}"),
        ] {
            let reply = admin.get(&path).await;
            assert!(
                matches!(reply.status, 400 | 404),
                "{path}: {} {}",
                reply.status,
                reply.text()
            );
        }
        admin
            .get(&format!("/v2/a/referrers/{digest}"))
            .await
            .refused(400, "DIGEST_INVALID");
        let at = admin
            .post("/v2/a/blobs/uploads/")
            .await
            .expect(202)
            .location();
        let put = with_query(&at, &format!("digest={digest}"));
        admin
            .send("PUT", &put, &[], b"x")
            .await
            .refused(400, "DIGEST_INVALID");
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        admin
            .send("POST", &path, &[], b"x")
            .await
            .refused(400, "DIGEST_INVALID");
    }
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    admin
        .send("PUT", &at, &[], b"x")
        .await
        .refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn content_ranges() {
    let server = Server::start().await;
    let admin = server.admin();
    for range in [
        "5-2",
        "a-b",
        "0-",
        "-4",
        "bytes",
        "0-99999999999999999999999",
        "0-4,5-9",
    ] {
        let at = admin
            .post("/v2/a/blobs/uploads/")
            .await
            .expect(202)
            .location();
        let reply = admin
            .send("PATCH", &at, &[("content-range", range)], b"12345")
            .await;
        assert!(
            matches!(reply.status, 400 | 416),
            "{range}: {}",
            reply.status
        );
        assert!(
            matches!(
                reply.code().as_str(),
                "BLOB_UPLOAD_INVALID" | "SIZE_INVALID"
            ),
            "{range}: {}",
            reply.text()
        );
        assert!(
            matches!(
                admin.get(&at).await.expect(204).header("range"),
                "0-0" | "0--1"
            ),
            "{range}"
        );
    }
    // The header promises another length than the body has.
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    let reply = admin
        .send("PATCH", &at, &[("content-range", "0-9")], b"12345")
        .await;
    assert!(matches!(reply.status, 400 | 416), "{}", reply.status);
    for at in [
        "/v2/a/blobs/uploads/nonsense",
        "/v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000",
    ] {
        let reply = admin.get(at).await;
        assert_eq!(reply.status, 404, "{at}");
        assert_eq!(reply.code(), "BLOB_UPLOAD_UNKNOWN", "{at}");
    }
}

#[tokio::test]
async fn manifests() {
    let server = Server::start().await;
    let admin = server.admin();
    let deep = "[".repeat(20_000);
    let cases: [(&str, &str); 9] = [
        (OCI_MANIFEST, ""),
        (OCI_MANIFEST, "not json"),
        (OCI_MANIFEST, "[]"),
        (OCI_MANIFEST, deep.as_str()),
        (
            OCI_MANIFEST,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:zz","size":1,"mediaType":"a/b"},"layers":[]}"#,
        ),
        (
            OCI_MANIFEST,
            r#"{"schemaVersion":2,"config":7,"layers":"x"}"#,
        ),
        (
            OCI_INDEX,
            r#"{"schemaVersion":2,"manifests":[{"digest":12}]}"#,
        ),
        (OCI_INDEX, r#"{"schemaVersion":2,"manifests":{}}"#),
        ("text/plain", "{}"),
    ];
    for (kind, body) in cases {
        let reply = admin
            .send(
                "PUT",
                "/v2/a/manifests/v1",
                &[("content-type", kind)],
                body.as_bytes(),
            )
            .await;
        let shown: String = body.chars().take(60).collect();
        assert!(
            matches!(reply.status, 400 | 415),
            "{shown}: {} {}",
            reply.status,
            reply.text()
        );
        assert_eq!(reply.code(), "MANIFEST_INVALID", "{shown}");
    }
    admin.get("/v2/a/manifests/v1").await.expect(404);
}

#[tokio::test]
async fn pages() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "a", "v1", 1).await;
    for path in [
        "/v2/a/tags/list?n=-1",
        "/v2/a/tags/list?n=x",
        "/v2/_catalog?n=-1",
        "/v2/_catalog?n=1e3",
    ] {
        let reply = admin.get(path).await.expect(400);
        assert!(!reply.code().is_empty(), "{path}");
    }
    admin.get("/v2/a/tags/list?n=99999999").await.expect(200);
}

#[tokio::test]
async fn tokens_and_headers() {
    let server = Server::start().await;
    push_image(&server.admin(), "a", "v1", 1).await;
    for token in ["x", "a.b.c", "", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjaSJ9."] {
        let reply = server.bearer(token).get("/v2/a/manifests/v1").await;
        assert_eq!(reply.status, 401, "{token}");
        assert_eq!(reply.code(), "UNAUTHORIZED");
    }
    let ask = |header: &str| {
        server.raw(
            format!("GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n").as_bytes(),
        )
    };
    for header in [
        "Authorization: Basic %%%",
        "Authorization: Basic Y2k=",
        "Authorization: Digest x",
        "Authorization: Basic",
    ] {
        assert!(
            ask(header).starts_with("HTTP/1.1 401"),
            "{header}: {}",
            ask(header)
        );
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for body in ["", "grant_type=magic", "grant_type=password&username=ci"] {
        let reply = server
            .anonymous()
            .send("POST", "/v2/auth", &form, body.as_bytes())
            .await;
        assert!(
            matches!(reply.status, 400 | 401),
            "{body}: {}",
            reply.status
        );
    }
    assert!(server.raw(b"NONSENSE\r\n\r\n").starts_with("HTTP/1.1 400"));
    let reply = server
        .admin()
        .send("PATCH", "/v2/a/manifests/v1", &[], b"x")
        .await;
    assert!(matches!(reply.status, 404 | 405), "{}", reply.status);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::start().await;
    // 8 MiB towards an upload that nobody may make: the answer comes before the bytes are through.
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n",
        sha256(b"x")
    );
    let mut request = head.clone().into_bytes();
    request.extend_from_slice(&vec![0; 8 * 1024 * 1024]);
    let answer = server.raw(&request);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let waits = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let answer = server.raw(waits.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
