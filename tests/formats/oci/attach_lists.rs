//! Lists of what refers to a manifest, under the tag made of its digest: they live and go with it, whoever may push may
//! delete them, and nothing that may be meant otherwise goes with them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::past::assert_bounded;
use crate::formats::oci::attach::{Site, at, list, note, put};
use crate::harness::content::{
    OCI_INDEX, OCI_LAYER, OCI_MANIFEST, artifact, bytes_of, descriptor, image, push_blob,
    put_manifest, sha256,
};
use crate::harness::fake::tag_of;
use crate::harness::{Client, run_ok};

/// Sweeps several times, each after the leases that the one before gave.
async fn sweeps(site: &Site) {
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        site.gc(&[]);
    }
}

async fn referrers(client: &Client, subject: &str) -> usize {
    let path = format!("/v2/copy/app/referrers/{subject}");
    let listed = client.get(&path).await.expect(200).json();
    listed["manifests"].as_array().unwrap().len()
}

/// A signature as notation 1.3 makes it: the document, a new list with it under the tag, and the old list deleted.
async fn notation(client: &Client, subject: &[u8], text: &str, before: &[Vec<u8>]) -> Vec<u8> {
    let document = note(client, subject, text).await;
    let digest = sha256(&document);
    put(client, &digest, OCI_MANIFEST, &document)
        .await
        .expect(201);
    let tag = tag_of(&sha256(subject), "");
    let old = client.get(&at(&tag)).await;
    let mut all: Vec<&[u8]> = before.iter().map(Vec::as_slice).collect();
    all.push(&document);
    put(client, &tag, OCI_INDEX, &list(&all)).await.expect(201);
    if old.status == 200 {
        client.delete(&at(&sha256(&old.body))).await.expect(202);
    }
    document
}

#[tokio::test]
async fn a_list_lives_and_goes_with_its_manifest() {
    let site = Site::start("0s").await;
    let (writer, subject) = (site.server.admin(), site.image.bytes.clone());
    let tag = tag_of(&site.image.digest, "");
    let mut documents = Vec::new();
    for text in ["one", "two", "three"] {
        documents.push(notation(&writer, &subject, text, &documents).await);
    }
    let index = list(&documents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    sweeps(&site).await;
    assert_eq!(writer.get(&at(&tag)).await.expect(200).body, index);
    assert_eq!(referrers(&writer, &site.image.digest).await, 3);
    site.assert_sound();
    // Nor are they parts of the list: without it the manifest alone keeps them.
    writer.delete(&at(&sha256(&index))).await.expect(202);
    writer.get(&at(&tag)).await.expect(404);
    sweeps(&site).await;
    assert_eq!(referrers(&writer, &site.image.digest).await, 3);
    // Also where the list was there first.
    let (repo, document) = ("team/order", image_note(&subject));
    push_blob(&writer, repo, b"{}").await;
    put_manifest(&writer, repo, &tag, OCI_INDEX, &list(&[&document])).await;
    put_manifest(&writer, repo, "v1", OCI_MANIFEST, &subject).await;
    put_manifest(&writer, repo, &sha256(&document), OCI_MANIFEST, &document).await;
    let path = format!("/v2/{repo}/manifests/{tag}");
    writer.delete(&path).await.expect(202);
    sweeps(&site).await;
    let path = format!("/v2/{repo}/manifests/{}", sha256(&document));
    writer.get(&path).await.expect(200);
    // With the manifest they all go.
    put(&writer, &tag, OCI_INDEX, &index).await.expect(201);
    writer.delete(&at(&site.image.digest)).await.expect(202);
    site.sweep_until(&at(&tag), 404).await;
    for gone in documents.iter().chain([&index]) {
        site.sweep_until(&at(&sha256(gone)), 404).await;
    }
    site.assert_sound();
}

fn image_note(subject: &[u8]) -> Vec<u8> {
    let kind = "application/vnd.example.signature";
    bytes_of(&artifact(
        &descriptor(OCI_MANIFEST, subject),
        kind,
        "a note",
    ))
}

#[tokio::test]
async fn empty_lists_and_referrers_in_their_place_go_too_and_come_back() {
    for is_empty in [true, false] {
        let site = Site::start("30d").await;
        let (writer, dir) = (site.server.admin(), site.server.dir());
        let tag = tag_of(&site.image.digest, "");
        let (kind, body) = if is_empty {
            (OCI_INDEX, list(&[]))
        } else {
            (
                OCI_MANIFEST,
                note(&writer, &site.image.bytes, "direct").await,
            )
        };
        put(&writer, &tag, kind, &body).await.expect(201);
        // One that comes back within a lease keeps its list.
        let digest = site.image.digest.clone();
        writer.delete(&at(&digest)).await.expect(202);
        site.mirror();
        sweeps(&site).await;
        assert_eq!(writer.get(&at(&tag)).await.expect(200).body, body);
        writer.delete(&at(&digest)).await.expect(202);
        site.sweep_until(&at(&tag), 404).await;
        // The history has it as anything else that was removed.
        let full = format!("copy/app:{tag}");
        let history = run_ok(&["tag", "history", &full, "--json", "--data", &dir]);
        let history: Value = serde_json::from_str(&history).unwrap();
        assert_eq!(history[0]["who"], "dryport gc", "{history}");
        let rev = history[1]["rev"].as_u64().unwrap().to_string();
        run_ok(&["tag", "restore", &full, "--rev", &rev, "--data", &dir]);
        assert_eq!(writer.get(&at(&tag)).await.expect(200).body, body);
        site.assert_sound();
    }
}

#[tokio::test]
async fn what_may_be_meant_otherwise_stays() {
    let site = Site::start("0s").await;
    let writer = site.server.admin();
    push_blob(&writer, "team/app", b"{}").await;
    push_blob(&writer, "team/app", b"layer").await;
    let own = |n: u8| {
        let mut own = image(b"{}", &[]);
        own["annotations"] = json!({"n": n.to_string()});
        bytes_of(&own)
    };
    let mut kept = Vec::new();
    for n in 0..6 {
        let subject = own(n);
        let document = image_note(&subject);
        let digest = put_manifest(
            &writer,
            "team/app",
            &sha256(&subject),
            OCI_MANIFEST,
            &subject,
        )
        .await;
        put_manifest(
            &writer,
            "team/app",
            &sha256(&document),
            OCI_MANIFEST,
            &document,
        )
        .await;
        let tag = tag_of(&digest, "");
        let layer = descriptor(OCI_LAYER, b"layer");
        let (tag, kind, body) = match n {
            0 => (tag, OCI_MANIFEST, own(100)),
            1 => (tag, OCI_INDEX, list(&[&document, &own(100)])),
            2 => (tag, OCI_INDEX, list(&[&document, b"never came"])),
            3 => {
                let index =
                    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [layer]});
                (tag, OCI_INDEX, bytes_of(&index))
            }
            4 => (format!("{tag}.sig"), OCI_MANIFEST, own(101)),
            _ => ("signatures".into(), OCI_INDEX, list(&[&document])),
        };
        put_manifest(&writer, "team/app", &tag, kind, &body).await;
        let path = format!("/v2/team/app/manifests/{digest}");
        writer.delete(&path).await.expect(202);
        kept.push((tag, body));
    }
    sweeps(&site).await;
    for (tag, body) in kept {
        let path = format!("/v2/team/app/manifests/{tag}");
        assert_eq!(writer.get(&path).await.expect(200).body, body, "{tag}");
    }
    site.assert_sound();
}

async fn token(site: &Site, scope: &str) -> Client {
    let path = format!("/v2/auth?scope=repository:copy/app:{scope}");
    let reply = site.server.admin().get(&path).await.expect(200).json();
    site.server.bearer(reply["token"].as_str().unwrap())
}

#[tokio::test]
async fn who_may_push_may_delete_a_list_and_nothing_else() {
    let site = Site::start("30d").await;
    let (admin, subject) = (site.server.admin(), &site.image.bytes);
    let (pusher, reader) = (token(&site, "pull,push").await, token(&site, "pull").await);
    let tag = tag_of(&site.image.digest, "");
    let document = note(&admin, subject, "one").await;
    put(&pusher, &sha256(&document), OCI_MANIFEST, &document)
        .await
        .expect(201);
    let (one, empty) = (list(&[&document]), list(&[]));
    for body in [&one, &empty] {
        for by_tag in [true, false] {
            put(&pusher, &tag, OCI_INDEX, body).await.expect(201);
            let path = if by_tag { at(&tag) } else { at(&sha256(body)) };
            reader.delete(&path).await.refused(401, "UNAUTHORIZED");
            pusher.delete(&path).await.expect(202);
            admin.get(&at(&tag)).await.expect(404);
            let status = if by_tag { 200 } else { 404 };
            admin.get(&at(&sha256(body))).await.expect(status);
        }
    }
    // Where nothing may be attached, that right deletes nothing.
    put(&pusher, &tag, OCI_INDEX, &one).await.expect(201);
    site.set("off");
    for reference in [&tag, &sha256(&one)] {
        let reply = pusher.delete(&at(reference)).await;
        reply.refused(401, "UNAUTHORIZED");
    }
    site.set("on");
    // One that nothing means any more: what notation deletes.
    put(&pusher, &tag, OCI_INDEX, &one).await.expect(201);
    put(&pusher, &tag, OCI_INDEX, &empty).await.expect(201);
    pusher.delete(&at(&sha256(&one))).await.expect(202);
    // What else there is needs the right to delete.
    let signature = bytes_of(&image(b"{}", &[]));
    put(&pusher, &format!("{tag}.sig"), OCI_MANIFEST, &signature)
        .await
        .expect(201);
    for reference in [
        "v1",
        &site.image.digest,
        &sha256(&document),
        &format!("{tag}.sig"),
        "none",
    ] {
        pusher
            .delete(&at(reference))
            .await
            .refused(401, "UNAUTHORIZED");
    }
    // So does a list that a person gave a name, or that is part of something.
    let person = site.server.admin();
    for repo in ["team/named", "team/part"] {
        push_blob(&person, repo, b"{}").await;
        put_manifest(&person, repo, &sha256(&signature), OCI_MANIFEST, &signature).await;
        let document = image_note(&signature);
        put_manifest(&person, repo, &sha256(&document), OCI_MANIFEST, &document).await;
        let index = list(&[&document]);
        put_manifest(
            &person,
            repo,
            &tag_of(&sha256(&signature), ""),
            OCI_INDEX,
            &index,
        )
        .await;
        if repo == "team/named" {
            put_manifest(&person, repo, "release", OCI_INDEX, &index).await;
        } else {
            let mut entry = descriptor(OCI_INDEX, &index);
            entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
            let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
            put_manifest(&person, repo, "outer", OCI_INDEX, &bytes_of(&outer)).await;
        }
        let path = format!("/v2/auth?scope=repository:{repo}:pull,push");
        let reply = person.get(&path).await.expect(200).json();
        let pusher = site.server.bearer(reply["token"].as_str().unwrap());
        let path = format!("/v2/{repo}/manifests/{}", sha256(&index));
        pusher.delete(&path).await.refused(401, "UNAUTHORIZED");
        person.get(&path).await.expect(200);
    }
    site.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_looked_through_in_parts() {
    const ENTRIES: usize = 1500;
    let mut site = Site::start("0s").await;
    let writer = site.server.admin();
    push_blob(&writer, "copy/app", b"{}").await;
    let subject = Arc::new(site.image.bytes.clone());
    let mut running = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let (writer, subject) = (writer.clone(), Arc::clone(&subject));
        running.spawn(async move {
            let mut made = Vec::new();
            for n in (worker..ENTRIES).step_by(8) {
                let kind = "application/vnd.example.signature";
                let subject = descriptor(OCI_MANIFEST, &subject);
                let document = bytes_of(&artifact(&subject, kind, &n.to_string()));
                let reply = put(&writer, &sha256(&document), OCI_MANIFEST, &document).await;
                reply.expect(201);
                made.push(document);
            }
            made
        });
    }
    let all = running.join_all().await.concat();
    let index = list(&all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let tag = tag_of(&site.image.digest, "");
    put(&writer, &tag, OCI_INDEX, &index).await.expect(201);
    // What was looked at until now is forgotten.
    site.server.kill();
    site.server.restart().await;
    writer.delete(&at(&site.image.digest)).await.expect(202);
    site.sweep_until(&at(&tag), 404).await;
    assert_bounded(&site.server).await;
    // As by who may push.
    site.mirror();
    put(&writer, &tag, OCI_INDEX, &index).await.expect(201);
    site.server.kill();
    site.server.restart().await;
    let pusher = token(&site, "pull,push").await;
    pusher.delete(&at(&sha256(&index))).await.expect(202);
    assert_bounded(&site.server).await;
    site.assert_sound();
}
