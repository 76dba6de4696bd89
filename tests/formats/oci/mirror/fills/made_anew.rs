//! A name that becomes another repository's while something is on its way to it.

use super::{World, begin};
use crate::harness::content::{
    OCI_MANIFEST, SCHEMA2, bytes_of, descriptor, image, noise, push_blob, push_image, put_manifest,
    sha256,
};
use crate::harness::damage;
use crate::harness::{SOON, Server, run_ok, text_of, until, with_query};

/// The last word of the upstream comes after the name has become another's: what the run commits must not go there.
#[tokio::test]
async fn a_run_whose_name_was_made_anew_brings_nothing() {
    let (world, target) = (World::new().await, Server::start().await);
    let dir = target.dir();
    let of = |tag: &str| {
        ["mirror", "--data", &dir, &world.source(tag), "--to", "copy"].map(str::to_owned)
    };
    run_ok(&of("v1").each_ref().map(String::as_str));
    // Of its blobs all are here but one, which may be absent and so is only asked after.
    let config = br#"{"os":"linux"}"#.to_vec();
    let mut other = image(&config, &[&world.layer]);
    other["mediaType"] = SCHEMA2.into();
    let foreign = b"not given away";
    let mut layer = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        foreign,
    );
    layer["urls"] = serde_json::json!(["https://example.invalid/layer"]);
    other["layers"].as_array_mut().unwrap().push(layer);
    let (admin, other) = (world.server.admin(), bytes_of(&other));
    put_manifest(&admin, "team/app", "v2", SCHEMA2, &other).await;
    world.upstream.manners.lock().unwrap().hold = Some((sha256(foreign), 0));
    let run = begin(&target, &world.source("v2"), "copy");
    until(
        "the layer that may be absent is asked after",
        SOON,
        async || {
            let manners = world.upstream.manners.lock().unwrap();
            manners
                .asked
                .iter()
                .any(|a| a.starts_with(&sha256(foreign)))
        },
    )
    .await;
    run_ok(&["repo", "delete", "copy", "--data", &dir]);
    let (owner, small) = (target.admin(), image(&config, &[&world.layer]));
    for blob in [&config, &world.layer] {
        push_blob(&owner, "copy", blob).await;
    }
    put_manifest(&owner, "copy", "own", OCI_MANIFEST, &bytes_of(&small)).await;
    world.upstream.manners.lock().unwrap().hold = None;
    let ended = tokio::task::spawn_blocking(|| run.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert_ne!(output.status.code(), Some(0), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("was deleted"),
        "{}",
        text_of(&output)
    );
    owner.get("/v2/copy/manifests/v2").await.expect(404);
    let tags = owner.get("/v2/copy/tags/list").await.expect(200).json();
    assert_eq!(tags["tags"], serde_json::json!(["own"]));
    // A run that begins now is one into another's name: nothing forbids it, and it is whole.
    run_ok(&of("v2").each_ref().map(String::as_str));
    owner.get("/v2/copy/manifests/v2").await.expect(200);
}

#[tokio::test]
async fn an_upload_of_a_repository_that_was_made_anew_is_over() {
    let mut target = Server::start().await;
    let (admin, dir) = (target.admin(), target.dir());
    let bytes = noise(61, 300_000);
    let octets = ("content-type", "application/octet-stream");
    push_image(&admin, "team/app", "v1", 1).await;
    let mut begun = Vec::new();
    for len in [0, 100, 200_000] {
        let post = admin.post("/v2/team/app/blobs/uploads/").await;
        let at = post.expect(202).location();
        if len > 0 {
            let patch = admin.send("PATCH", &at, &[octets], &bytes[..len]).await;
            patch.expect(202);
        }
        begun.push((at, len));
    }
    run_ok(&["repo", "delete", "team/app", "--data", &dir]);
    for (again, restart) in [(false, false), (true, false), (true, true)] {
        if again {
            push_image(&admin, "team/app", "v2", 2).await;
        }
        if restart {
            target.kill();
            target.restart().await;
        }
        let admin = target.admin();
        for (at, len) in &begun {
            let put = with_query(at, &format!("digest={}", sha256(&bytes)));
            for (method, path) in [("GET", at), ("PATCH", at), ("PUT", &put), ("DELETE", at)] {
                let body = if method == "PATCH" || method == "PUT" {
                    &bytes[*len..]
                } else {
                    &[]
                };
                let reply = admin.send(method, path, &[octets], body).await;
                assert_eq!(
                    reply.status,
                    404,
                    "{method} after {len}, anew: {again}: {}",
                    reply.text()
                );
            }
        }
        let blob = format!("/v2/team/app/blobs/{}", sha256(&bytes));
        admin.get(&blob).await.expect(404);
    }
    let (code, report) = damage::check(&target.data(), &["--deep"]);
    assert_eq!(code, 0, "{report:#}");
}
