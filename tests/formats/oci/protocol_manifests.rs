//! The distribution spec, part two: manifests, their tags, their children.

use serde_json::json;

use crate::harness::Server;
use crate::harness::content::{
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, SCHEMA2, artifact, bytes_of, descriptor, image,
    noise, push_blob, push_image, put_manifest, sha256, sha512,
};

#[tokio::test]
async fn put_get_head_by_tag_and_by_digest() {
    let server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "team/app", "v1", 1).await;
    let digest = sha256(&bytes);
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        for reply in [
            admin.get(&path).await.expect(200),
            admin.head(&path).await.expect(200),
        ] {
            assert_eq!(reply.header("content-type"), OCI_MANIFEST);
            assert_eq!(reply.header("docker-content-digest"), digest);
            assert_eq!(reply.header("content-length"), bytes.len().to_string());
        }
        assert_eq!(admin.get(&path).await.body, bytes);
        let tag = admin.get(&path).await.header("etag").to_string();
        admin
            .send("GET", &path, &[("if-none-match", &tag)], b"")
            .await
            .expect(304);
    }
    admin
        .get("/v2/team/app/manifests/v2")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    admin
        .get(&format!("/v2/team/app/manifests/{}", sha256(b"x")))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    admin.head("/v2/team/app/manifests/v2").await.expect(404);
    admin
        .get("/v2/no/such/manifests/v1")
        .await
        .refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn one_put_gives_many_tags() {
    let server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "a", "first", 2).await;
    let digest = sha256(&bytes);
    // As many as an answer has headers for that common clients take.
    let tags: Vec<String> = (0..64).map(|n| format!("{n:0>128}")).collect();
    let path = format!("/v2/a/manifests/{digest}?tag={}", tags.join("&tag="));
    let many = format!("{path}&tag=more");
    let kind = [("content-type", OCI_MANIFEST)];
    let refused = admin.send("PUT", &many, &kind, &bytes).await;
    assert!(refused.expect(414).text().contains("64"));
    let reply = admin
        .send("PUT", &path, &[("content-type", OCI_MANIFEST)], &bytes)
        .await
        .expect(201);
    let said: Vec<String> = reply
        .headers
        .get_all("oci-tag")
        .iter()
        .flat_map(|v| {
            v.to_str()
                .unwrap()
                .split(',')
                .map(|t| t.trim().to_string())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(said, tags);
    for tag in &tags {
        admin
            .get(&format!("/v2/a/manifests/{tag}"))
            .await
            .expect(200);
    }
    let bad = format!("/v2/a/manifests/{digest}?tag=good&tag=-bad");
    admin
        .send("PUT", &bad, &[("content-type", OCI_MANIFEST)], &bytes)
        .await
        .expect(400);
    admin.get("/v2/a/manifests/good").await.expect(404);
}

#[tokio::test]
async fn sha512_manifests() {
    let server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "a", "v1", 3).await;
    let digest = sha512(&bytes);
    let path = format!("/v2/a/manifests/{digest}");
    let reply = admin
        .send("PUT", &path, &[("content-type", OCI_MANIFEST)], &bytes)
        .await
        .expect(201);
    assert_eq!(reply.header("docker-content-digest"), digest);
    let got = admin.get(&path).await.expect(200);
    assert_eq!(
        (got.header("docker-content-digest"), &got.body),
        (digest.as_str(), &bytes)
    );
    let other = format!("/v2/a/manifests/{}", sha512(b"x"));
    admin
        .send("PUT", &other, &[("content-type", OCI_MANIFEST)], &bytes)
        .await
        .refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn bytes_are_served_as_pushed() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    push_blob(&admin, "a", b"layer").await;
    // Odd spacing, unknown fields, docker's schema 2, a vendor's own type.
    let layer = sha256(b"layer");
    let schema2 = format!(
        "{{\n  \"schemaVersion\" : 2,\t\"mediaType\": \"{SCHEMA2}\", \"x-own\": [1, 2],\n \"config\": {{\"mediaType\": \
         \"application/vnd.docker.container.image.v1+json\", \"size\": 2, \"digest\": \"{}\"}}, \"layers\": \
         [{{\"mediaType\": \"application/vnd.docker.image.rootfs.diff.tar.gzip\", \"size\": 5, \"digest\": \"{layer}\"}}]}}\n\n",
        sha256(b"{}")
    );
    let vendor = br#"{"schemaVersion":2,"anything":true}"#.to_vec();
    for (tag, kind, bytes) in [
        ("schema2", SCHEMA2, schema2.into_bytes()),
        ("vendor", "application/vnd.example.thing.v1+json", vendor),
    ] {
        put_manifest(&admin, "a", tag, kind, &bytes).await;
        let got = admin
            .get(&format!("/v2/a/manifests/{tag}"))
            .await
            .expect(200);
        assert_eq!((got.header("content-type"), &got.body), (kind, &bytes));
    }
}

#[tokio::test]
async fn indexes_nested_and_sparse() {
    let server = Server::start().await;
    let admin = server.admin();
    let one = push_image(&admin, "a", "one", 4).await;
    let mut child = descriptor(OCI_MANIFEST, &one);
    child["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let inner =
        bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}));
    put_manifest(&admin, "a", "inner", OCI_INDEX, &inner).await;
    let nested = [descriptor(OCI_INDEX, &inner)];
    let outer = bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": nested}));
    put_manifest(&admin, "a", "outer", OCI_INDEX, &outer).await;
    let absent = [descriptor(OCI_MANIFEST, b"a platform that nobody copied")];
    let sparse =
        bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": absent}));
    put_manifest(&admin, "a", "sparse", OCI_INDEX, &sparse).await;
    assert_eq!(
        admin.get("/v2/a/manifests/sparse").await.expect(200).body,
        sparse
    );
    // An index is no grant: naming another repository's digest does not show it.
    let hidden = push_image(&admin, "other", "v1", 5).await;
    let grab = [descriptor(OCI_MANIFEST, &hidden)];
    let grab = bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": grab}));
    put_manifest(&admin, "a", "grab", OCI_INDEX, &grab).await;
    admin
        .get(&format!("/v2/a/manifests/{}", sha256(&hidden)))
        .await
        .expect(404);
    admin
        .get(&format!("/v2/a/blobs/{}", sha256(&hidden)))
        .await
        .expect(404);
}

#[tokio::test]
async fn a_manifest_of_four_mebibytes_and_not_more() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    let make = |size: usize| {
        let mut manifest = image(b"{}", &[]);
        manifest["annotations"] = json!({"fill": ""});
        let short = bytes_of(&manifest).len();
        manifest["annotations"] = json!({"fill": "x".repeat(size - short)});
        bytes_of(&manifest)
    };
    let largest = make(4 * 1024 * 1024);
    put_manifest(&admin, "a", "large", OCI_MANIFEST, &largest).await;
    assert_eq!(
        admin.get("/v2/a/manifests/large").await.expect(200).body,
        largest
    );
    let path = "/v2/a/manifests/over";
    let over = make(4 * 1024 * 1024 + 1);
    let reply = admin
        .send("PUT", path, &[("content-type", OCI_MANIFEST)], &over)
        .await
        .expect(413);
    assert!(!reply.code().is_empty(), "{}", reply.text());
    admin.get(path).await.expect(404);
}

#[tokio::test]
async fn deletes() {
    let server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "a", "v1", 6).await;
    let digest = sha256(&bytes);
    put_manifest(&admin, "a", "v2", OCI_MANIFEST, &bytes).await;
    admin.delete("/v2/a/manifests/v1").await.expect(202);
    admin
        .get("/v2/a/manifests/v1")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    admin
        .get(&format!("/v2/a/manifests/{digest}"))
        .await
        .expect(200);
    admin
        .delete(&format!("/v2/a/manifests/{digest}"))
        .await
        .expect(202);
    for reference in ["v2", digest.as_str()] {
        admin
            .get(&format!("/v2/a/manifests/{reference}"))
            .await
            .refused(404, "MANIFEST_UNKNOWN");
        admin
            .delete(&format!("/v2/a/manifests/{reference}"))
            .await
            .expect(404);
    }
    assert_eq!(
        admin.get("/v2/a/tags/list").await.expect(200).json()["tags"],
        json!([])
    );
    // Pushed again, all is as new.
    push_image(&admin, "a", "v1", 6).await;
    assert_eq!(
        admin.get("/v2/a/manifests/v1").await.expect(200).body,
        bytes
    );
}

#[tokio::test]
async fn an_overwritten_tag_keeps_the_old_digest() {
    let server = Server::start().await;
    let admin = server.admin();
    let old = push_image(&admin, "a", "latest", 7).await;
    let new = push_image(&admin, "a", "latest", 8).await;
    assert_eq!(
        admin.get("/v2/a/manifests/latest").await.expect(200).body,
        new
    );
    assert_eq!(
        admin
            .get(&format!("/v2/a/manifests/{}", sha256(&old)))
            .await
            .expect(200)
            .body,
        old
    );
}

#[tokio::test]
async fn names_may_hold_the_words_of_the_routes() {
    let server = Server::start().await;
    let admin = server.admin();
    let names = [
        "bench/blobs/manifests/latest",
        "tags/list",
        "a/blobs/uploads/x",
        "blobs",
        "v2/v2",
        "x/tags/list/y",
    ];
    for (seed, name) in names.into_iter().enumerate() {
        let bytes = push_image(&admin, name, "v1", 100 + seed as u64).await;
        assert_eq!(
            admin
                .get(&format!("/v2/{name}/manifests/v1"))
                .await
                .expect(200)
                .body,
            bytes,
            "{name}"
        );
        let tags = admin
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200)
            .json();
        assert_eq!(tags, json!({"name": name, "tags": ["v1"]}));
    }
}

#[tokio::test]
async fn the_namespace_of_a_mirror_request() {
    let server = Server::start().await;
    let admin = server.admin();
    let alpine = push_image(&admin, "docker.io/library/alpine", "3", 9).await;
    let app = push_image(&admin, "quay.example/team/app", "v1", 10).await;
    let plain = push_image(&admin, "team/app", "v1", 11).await;
    for (path, wanted) in [
        ("library/alpine/manifests/3?ns=docker.io", &alpine),
        ("alpine/manifests/3?ns=docker.io", &alpine),
        ("team/app/manifests/v1?ns=quay.example", &app),
        ("team/app/manifests/v1?ns=other.example", &plain),
        ("team/app/manifests/v1", &plain),
    ] {
        let reply = server.anonymous().get(&format!("/v2/{path}")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(&reply.body, wanted, "{path}");
    }
    let layer = sha256(&noise(10, 2000));
    server
        .anonymous()
        .get(&format!("/v2/team/app/blobs/{layer}?ns=quay.example"))
        .await
        .expect(200);
}

#[tokio::test]
async fn the_namespace_counts_on_every_reading_route() {
    let server = Server::start().await;
    let admin = server.admin();
    let alpine = push_image(&admin, "docker.io/library/alpine", "3", 9).await;
    let layer = sha256(&noise(9, 2000));
    let subject = sha256(&alpine);
    let sbom = bytes_of(&artifact(
        &descriptor(OCI_MANIFEST, &alpine),
        "application/vnd.example.sbom",
        "of it",
    ));
    let there = "docker.io/library/alpine";
    put_manifest(&admin, there, &sha256(&sbom), OCI_MANIFEST, &sbom).await;
    let anyone = server.anonymous();
    for name in ["alpine", "library/alpine"] {
        let at = |path: &str, ns: &str| format!("/v2/{name}/{path}?ns={ns}");
        for path in [
            "manifests/3".to_owned(),
            format!("manifests/{subject}"),
            format!("blobs/{layer}"),
        ] {
            for ns in ["docker.io", "Docker.IO"] {
                let got = anyone.get(&at(&path, ns)).await.expect(200);
                assert_eq!(got.header("oci-namespace"), ns, "{path}");
                let head = anyone.head(&at(&path, ns)).await.expect(200);
                assert_eq!(
                    head.header("docker-content-digest"),
                    got.header("docker-content-digest")
                );
            }
            // Of another registry it is not.
            anyone
                .get(&at(&path, "quay.example"))
                .await
                .refused(404, "NAME_UNKNOWN");
            anyone
                .get(&at(&path, ""))
                .await
                .refused(404, "NAME_UNKNOWN");
        }
        let range = [("range", "bytes=10-19")];
        let part = at(&format!("blobs/{layer}"), "docker.io");
        let part = anyone.send("GET", &part, &range, b"").await.expect(206);
        assert_eq!(part.body, noise(9, 2000)[10..20]);
        let tags = anyone.get(&at("tags/list", "docker.io")).await.expect(200);
        assert_eq!(tags.json()["tags"], json!(["3"]));
        let path = format!("referrers/{subject}");
        let list = anyone.get(&at(&path, "docker.io")).await.expect(200).json();
        assert_eq!(list["manifests"][0]["digest"], sha256(&sbom), "{name}");
        let none = anyone.get(&at(&path, "quay.example")).await.expect(200);
        assert_eq!(none.json()["manifests"], json!([]));
    }
    // What is in HOST/NAME does not mix with NAME: a blob of the one is none of the other.
    push_image(&admin, "alpine", "own", 12).await;
    let own = sha256(&noise(12, 2000));
    let path = format!("/v2/alpine/blobs/{own}");
    anyone.get(&path).await.expect(200);
    let other = format!("{path}?ns=docker.io");
    anyone.get(&other).await.refused(404, "BLOB_UNKNOWN");
    // Pushes go where their path says.
    admin
        .post("/v2/alpine/blobs/uploads/?ns=docker.io")
        .await
        .expect(202);
    // A port becomes a dash, as `mirror` names it.
    let app = push_image(&admin, "localhost-5000/app", "v1", 13).await;
    let got = anyone.get("/v2/app/manifests/v1?ns=localhost%3A5000").await;
    assert_eq!(got.expect(200).body, app);
}

#[tokio::test]
async fn a_manifest_needs_its_blobs_where_the_policy_is_strict() {
    // The default takes sparse images; what is named but absent stays absent.
    let server = Server::start().await;
    let admin = server.admin();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, b"gone"),
        "layers": [descriptor(OCI_LAYER, b"gone too")],
    });
    put_manifest(&admin, "a", "sparse", OCI_MANIFEST, &bytes_of(&manifest)).await;
    admin
        .get(&format!("/v2/a/blobs/{}", sha256(b"gone")))
        .await
        .refused(404, "BLOB_UNKNOWN");
}
