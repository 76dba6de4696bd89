//! The distribution spec, part three: tags, referrers, catalog, page by page.

use serde_json::{Value, json};

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, push_blob, push_image, put_manifest,
    sha256,
};
use crate::harness::{Client, Server};

fn names(reply: &Value, field: &str) -> Vec<String> {
    reply[field]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_string())
        .collect()
}

/// Follows `Link` to the end.
async fn all_pages(client: &Client, first: &str, field: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut path) = (Vec::new(), 0, Some(first.to_string()));
    while let Some(at) = path {
        let reply = client.get(&at).await.expect(200);
        found.extend(names(&reply.json(), field));
        path = reply.next();
        pages += 1;
        assert!(pages < 1000, "pages without an end");
    }
    (found, pages)
}

#[tokio::test]
async fn tags_come_in_order_and_in_pages() {
    let server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "a", "zz", 1).await;
    let mut tags = vec!["zz".to_string()];
    for n in 0..25 {
        let tag = format!("v{n}");
        put_manifest(&admin, "a", &tag, OCI_MANIFEST, &bytes).await;
        tags.push(tag);
    }
    tags.sort();
    let list = admin.get("/v2/a/tags/list").await.expect(200);
    assert_eq!(names(&list.json(), "tags"), tags);
    assert_eq!(list.json()["name"], "a");
    assert_eq!(
        all_pages(&admin, "/v2/a/tags/list?n=7", "tags").await,
        (tags.clone(), 4)
    );
    let none = admin.get("/v2/a/tags/list?n=0").await.expect(200);
    assert_eq!(
        (none.json()["tags"].clone(), none.next()),
        (json!([]), None)
    );
    let after = admin.get("/v2/a/tags/list?last=v2&n=2").await.expect(200);
    assert_eq!(names(&after.json(), "tags"), ["v20", "v21"]);
    // The marker need not exist.
    let after = admin.get("/v2/a/tags/list?last=v2a").await.expect(200);
    assert_eq!(names(&after.json(), "tags")[0], "v3");
    let end = admin.get("/v2/a/tags/list?last=zz").await.expect(200);
    assert_eq!(end.json()["tags"], json!([]));
    admin
        .get("/v2/none/tags/list")
        .await
        .refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn referrers_with_filter() {
    let server = Server::start().await;
    let admin = server.admin();
    let image = push_image(&admin, "a", "v1", 2).await;
    push_blob(&admin, "a", b"{}").await;
    let subject = descriptor(OCI_MANIFEST, &image);
    let mut wanted = Vec::new();
    for (n, kind) in [
        "application/vnd.example.sbom",
        "application/vnd.example.sig",
        "application/vnd.example.sig",
    ]
    .iter()
    .enumerate()
    {
        let bytes = bytes_of(&artifact(&subject, kind, &format!("number {n}")));
        let path = format!("/v2/a/manifests/{}", sha256(&bytes));
        let reply = admin
            .send("PUT", &path, &[("content-type", OCI_MANIFEST)], &bytes)
            .await
            .expect(201);
        assert_eq!(reply.header("oci-subject"), sha256(&image));
        wanted.push(sha256(&bytes));
    }
    let path = format!("/v2/a/referrers/{}", sha256(&image));
    let reply = server.anonymous().get(&path).await.expect(200);
    assert_eq!(reply.header("content-type"), OCI_INDEX);
    let list = reply.json();
    assert_eq!(
        (list["schemaVersion"].clone(), list["mediaType"].clone()),
        (json!(2), json!(OCI_INDEX))
    );
    let mut digests: Vec<_> = list["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["digest"].clone())
        .collect();
    digests.sort_by_key(ToString::to_string);
    wanted.sort();
    assert_eq!(digests, wanted);
    assert!(
        list["manifests"][0]["annotations"]["note"]
            .as_str()
            .unwrap()
            .starts_with("number")
    );

    let reply = admin
        .get(&format!("{path}?artifactType=application/vnd.example.sig"))
        .await
        .expect(200);
    assert_eq!(reply.header("oci-filters-applied"), "artifactType");
    let list = reply.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(list.len(), 2);
    assert!(
        list.iter()
            .all(|m| m["artifactType"] == "application/vnd.example.sig")
    );
    // Nothing refers to it: an empty index, also where there is no such repository or digest.
    for path in [
        format!("/v2/a/referrers/{}", sha256(b"x")),
        format!("/v2/b/referrers/{}", sha256(b"x")),
    ] {
        assert_eq!(
            admin.get(&path).await.expect(200).json()["manifests"],
            json!([]),
            "{path}"
        );
    }
    // A referrer that is deleted is gone from the list.
    admin
        .delete(&format!("/v2/a/manifests/{}", wanted[0]))
        .await
        .expect(202);
    assert_eq!(
        admin.get(&path).await.json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_subject_may_come_later() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    let late = bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
    let subject = descriptor(OCI_INDEX, &late);
    let first = bytes_of(&artifact(&subject, "application/vnd.example.sig", "early"));
    put_manifest(&admin, "a", "sig", OCI_MANIFEST, &first).await;
    put_manifest(&admin, "a", "late", OCI_INDEX, &late).await;
    let list = admin
        .get(&format!("/v2/a/referrers/{}", sha256(&late)))
        .await
        .expect(200)
        .json();
    assert_eq!(list["manifests"][0]["digest"], sha256(&first));
}

#[tokio::test]
async fn many_referrers_come_in_pages() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    let image = push_image(&admin, "a", "v1", 3).await;
    let subject = descriptor(OCI_MANIFEST, &image);
    // 250 descriptors with 24 KB of annotations each would be 6 MB in one answer.
    let count = 250;
    for n in 0..count {
        let mut manifest = artifact(&subject, "application/vnd.example.big", &format!("n{n}"));
        manifest["annotations"]["fill"] = json!("x".repeat(24_000));
        let bytes = bytes_of(&manifest);
        let path = format!("/v2/a/manifests/{}", sha256(&bytes));
        admin
            .send("PUT", &path, &[("content-type", OCI_MANIFEST)], &bytes)
            .await
            .expect(201);
    }
    let (mut seen, mut path) = (
        std::collections::BTreeSet::new(),
        Some(format!("/v2/a/referrers/{}", sha256(&image))),
    );
    while let Some(at) = path {
        let reply = admin.get(&at).await.expect(200);
        assert!(
            reply.body.len() <= 4 * 1024 * 1024,
            "{} bytes",
            reply.body.len()
        );
        for manifest in reply.json()["manifests"].as_array().unwrap() {
            assert!(seen.insert(manifest["digest"].to_string()), "twice");
            let shown = &manifest["annotations"];
            assert_eq!(shown["fill"].as_str().unwrap().len(), 24_000);
            assert!(shown["note"].as_str().unwrap().starts_with('n'));
        }
        path = reply.next();
    }
    assert_eq!(seen.len(), count);
}

#[tokio::test]
async fn the_catalog_shows_what_the_caller_may_read() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let admin = server.admin();
    for name in ["b/two", "a/one", "team/app", "teammate/app", "team"] {
        push_image(&admin, name, "v1", 4).await;
    }
    let all = ["a/one", "b/two", "team", "team/app", "teammate/app"];
    assert_eq!(
        names(
            &admin.get("/v2/_catalog").await.expect(200).json(),
            "repositories"
        ),
        all
    );
    assert_eq!(
        all_pages(&admin, "/v2/_catalog?n=2", "repositories")
            .await
            .0,
        all
    );
    server.add_user(
        "rita",
        "pw-of-rita-1",
        &["--role", "reader", "--on", "team"],
    );
    let rita = server.client(Some(("rita", "pw-of-rita-1")));
    assert_eq!(
        all_pages(&rita, "/v2/_catalog?n=1", "repositories").await.0,
        ["team", "team/app"]
    );
    server
        .anonymous()
        .get("/v2/_catalog")
        .await
        .refused(401, "UNAUTHORIZED");
}
