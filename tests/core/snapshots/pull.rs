//! Images as a snapshot shows them, for stock clients: `HOST/snap/TITLE/NAME:TAG`.

use std::time::Duration;

use dryport::repo::rows::keys;
use dryport::repo::rows::record::RepoRecord;
use dryport::store::record::Record as _;
use dryport::store::{Get as _, Lane, Need, StoreError, Table};
use serde_json::{Value, json};

use crate::core::past::closed_store;
use crate::core::snapshots::images::{clean, gc, root, server, snapshot, told};
use crate::harness::clock::pass;
use crate::harness::content::{
    OCI_MANIFEST, artifact, bytes_of, descriptor, noise, push_blob, push_image, put_manifest,
    sha256,
};
use crate::harness::{Client, Server, dryport};

const HOUR: Duration = Duration::from_secs(3_601);

/// Pulls an image whole, twice: from the store, and from memory.
async fn pulls(client: &Client, repo: &str, tag: &str, manifest: &[u8]) {
    for _ in 0..2 {
        let path = format!("/v2/{repo}/manifests/{tag}");
        let reply = client.get(&path).await.expect(200);
        assert_eq!(reply.body, manifest);
        let head = client.head(&path).await.expect(200);
        assert_eq!(head.header("docker-content-digest"), sha256(manifest));
        let manifest: Value = reply.json();
        let mut blobs = manifest["layers"].as_array().unwrap().clone();
        blobs.push(manifest["config"].clone());
        for blob in blobs {
            let digest = blob["digest"].as_str().unwrap();
            let path = format!("/v2/{repo}/blobs/{digest}");
            assert_eq!(sha256(&client.get(&path).await.expect(200).body), digest);
            let head = client.head(&path).await.expect(200);
            assert_eq!(head.header("content-length"), blob["size"].to_string());
        }
    }
}

async fn tags(client: &Client, repo: &str) -> Value {
    let list = client.get(&format!("/v2/{repo}/tags/list")).await;
    list.expect(200).json()["tags"].clone()
}

#[tokio::test]
async fn a_snapshot_is_pulled_as_it_was() {
    let mut server = server("1h", "1h").await;
    let admin = server.admin();
    let v1 = push_image(&admin, "team/app", "v1", 1).await;
    let large = noise(77, 100_000);
    push_blob(&admin, "team/app", &large).await;
    let with_large = bytes_of(&crate::harness::content::image(b"{}", &[&large]));
    push_blob(&admin, "team/app", b"{}").await;
    put_manifest(&admin, "team/app", "large", OCI_MANIFEST, &with_large).await;
    let note = bytes_of(&artifact(&descriptor(OCI_MANIFEST, &v1), "a/b", "note"));
    let note_digest = sha256(&note);
    put_manifest(&admin, "team/app", &note_digest, OCI_MANIFEST, &note).await;
    told(&server, &["create", "team/app", "--as", "june"]);

    let past = "snap/june/team/app";
    let check = async |client: &Client| {
        pulls(client, past, "v1", &v1).await;
        pulls(client, past, "large", &with_large).await;
        assert_eq!(tags(client, past).await, json!(["large", "v1"]));
        let path = format!("/v2/{past}/referrers/{}", sha256(&v1));
        let list = client.get(&path).await.expect(200).json();
        assert_eq!(list["manifests"][0]["digest"], note_digest);
        assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
    };
    check(&admin).await;
    let v2 = push_image(&admin, "team/app", "v1", 2).await;
    push_image(&admin, "team/app", "v3", 3).await;
    check(&admin).await;
    for digest in [sha256(&v1), sha256(&with_large)] {
        let path = format!("/v2/team/app/manifests/{digest}");
        admin.delete(&path).await.expect(202);
    }
    check(&admin).await;
    for _ in 0..3 {
        pass(&mut server, HOUR).await;
        gc(&server, &["--purge-history"]);
        check(&server.admin()).await;
        clean(&server);
    }
    let admin = server.admin();
    pulls(&admin, "team/app", "v1", &v2).await;
    assert_eq!(tags(&admin, "team/app").await, json!(["v1", "v3"]));
    // What came later is not in it.
    let layer = sha256(&noise(3, 2000));
    let path = format!("/v2/{past}/blobs/{layer}");
    admin.get(&path).await.refused(404, "BLOB_UNKNOWN");
    let path = format!("/v2/{past}/manifests/v3");
    admin.get(&path).await.refused(404, "MANIFEST_UNKNOWN");
    // With the snapshot its name ends, at once.
    snapshot(&server, &["delete", "team/app@june"]);
    for what in ["manifests/v1", "tags/list"] {
        let path = format!("/v2/{past}/{what}");
        admin.get(&path).await.refused(404, "NAME_UNKNOWN");
    }
}

#[tokio::test]
async fn nobody_writes_to_a_name_of_a_snapshot() {
    let server = server("1h", "1h").await;
    let admin = server.admin();
    let v1 = push_image(&admin, "app", "v1", 1).await;
    told(&server, &["create", "app", "--as", "june"]);
    // Also where there is no such snapshot, and no such repository: the name could come to mean one.
    for repo in ["snap/june/app", "snap/july/app", "snap/june/other"] {
        let path = format!("/v2/{repo}/blobs/uploads/");
        admin.post(&path).await.refused(403, "DENIED");
        let path = format!("/v2/{repo}/manifests/v2");
        let kind = [("content-type", OCI_MANIFEST)];
        let put = admin.send("PUT", &path, &kind, &v1[..]).await;
        put.refused(403, "DENIED");
        admin.delete(&path).await.refused(403, "DENIED");
    }
    // What is no title is an ordinary name.
    push_image(&admin, "snap/20261101/app", "v1", 1).await;
    let names = admin.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(names["repositories"], json!(["app", "snap/20261101/app"]));
}

#[tokio::test]
async fn the_rights_on_the_repository_hold_for_its_snapshots() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let admin = server.admin();
    let v1 = push_image(&admin, "team/app", "v1", 1).await;
    told(&server, &["create", "team/app", "--as", "june"]);
    server.add_user(
        "ann",
        "ann's password",
        &["--role", "reader", "--on", "team"],
    );
    server.add_user(
        "bob",
        "bob's password",
        &["--role", "admin", "--on", "snap"],
    );
    let past = "snap/june/team/app";
    let path = format!("/v2/{past}/manifests/v1");
    let ann = server.client(Some(("ann", "ann's password")));
    pulls(&ann, past, "v1", &v1).await;
    // Who has rights on the name has none on what it means.
    let bob = server.client(Some(("bob", "bob's password")));
    bob.get(&path).await.refused(404, "NAME_UNKNOWN");
    server
        .anonymous()
        .get(&path)
        .await
        .refused(401, "UNAUTHORIZED");
    let service = server.service().await;
    for (user, status) in [(&ann, 200), (&bob, 404)] {
        let ask = format!("/v2/auth?service={service}&scope=repository:{past}:pull");
        let token = user.get(&ask).await.expect(200).json();
        let token = token["token"].as_str().unwrap().to_owned();
        server.bearer(&token).get(&path).await.expect(status);
    }
}

#[tokio::test]
async fn a_repository_from_before_keeps_its_name() {
    let mut server = server("1h", "1h").await;
    let admin = server.admin();
    let old = push_image(&admin, "renamed", "v1", 1).await;
    let new = push_image(&admin, "app", "v1", 2).await;
    let name = "snap/june/app";
    let store = closed_store(&mut server);
    let rename = store.write_blocking(Lane::Background, Need::Keeps, "rename", move |tx| {
        let id = tx.get(Table::Names, &keys::name("renamed"))?.unwrap();
        let mut record = RepoRecord::from_bytes(&tx.get(Table::Repos, &id)?.unwrap())?;
        record.name = name.into();
        tx.put(Table::Repos, &id, &record.to_bytes()?)?;
        tx.delete(Table::Names, &keys::name("renamed"))?;
        tx.put(Table::Names, &keys::name(name), &id)?;
        Ok::<_, StoreError>(())
    });
    rename.unwrap();
    store.close();
    server.restart().await;
    let admin = server.admin();
    pulls(&admin, name, "v1", &old).await;
    let v2 = push_image(&admin, name, "v2", 3).await;
    pulls(&admin, name, "v2", &v2).await;
    // The snapshot goes before it, as long as it is there.
    told(&server, &["create", "app", "--as", "june"]);
    pulls(&admin, name, "v1", &new).await;
    admin
        .get(&format!("/v2/{name}/manifests/v2"))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    snapshot(&server, &["delete", "app@june"]);
    pulls(&admin, name, "v2", &v2).await;
}

#[tokio::test]
async fn kills_while_it_is_collected_around_change_no_snapshot() {
    let mut server = server("1s", "0s").await;
    let push = async |admin: &Client, n: u64| {
        push_image(admin, "app", "v1", 3 * n).await;
        push_image(admin, "app", "v2", 3 * n + 1).await;
        let loose = push_image(admin, "app", "loose", 3 * n + 2).await;
        admin.delete("/v2/app/manifests/loose").await.expect(202);
        loose
    };
    let mut kept = Vec::new();
    for n in 0..6 {
        let admin = server.admin();
        let loose = push(&admin, n).await;
        let title = format!("s{n}");
        told(&server, &["create", "app", "--as", &title]);
        kept.push((title, root(&server, &format!("app@s{n}"))));
        for reference in ["v1", "v2", &sha256(&loose)] {
            let path = format!("/v2/app/manifests/{reference}");
            admin.delete(&path).await.expect(202);
        }
        if n % 3 == 2 {
            let (title, _) = kept.remove(1);
            snapshot(&server, &["delete", &format!("app@{title}")]);
        }
        // Leases are over, and the sweep is cut off somewhere.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let dir = server.dir();
        let sweep = dryport(&["gc", "--data", &dir, "--purge-history"]).spawn();
        tokio::time::sleep(Duration::from_millis(40 * n)).await;
        server.kill();
        let _ = sweep.unwrap().wait();
        server.restart().await;
        for (title, whole) in &kept {
            assert_eq!(
                root(&server, &format!("app@{title}")),
                *whole,
                "{n} {title}"
            );
        }
        clean(&server);
    }
    let admin = server.admin();
    for (title, _) in &kept {
        for tag in ["v1", "v2"] {
            let path = format!("/v2/snap/{title}/app/manifests/{tag}");
            let manifest = admin.get(&path).await.expect(200).body;
            pulls(&admin, &format!("snap/{title}/app"), tag, &manifest).await;
        }
    }
}
