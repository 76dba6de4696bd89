//! What was left half done, and nobody goes on with, is removed.

use sha2::{Digest as _, Sha256};

use super::{World, begin, run_kill, uploads};
use crate::harness::content::{noise, push_image};
use crate::harness::damage;
use crate::harness::{SOON, Server, run, run_ok, text_of, until};

/// What a mirror run of a build before fills had rows of their own left half done.
fn leave_as_of_old(dir: &std::path::Path, repo: &str, digest: &str) -> String {
    use dryport::repo::rows::record::UploadRecord;
    use dryport::store::Table;
    use dryport::store::record::Record as _;
    use dryport::types::{Algorithm, Hasher};
    let (bytes, mut hasher) = (noise(1, 100_000), Hasher::new(Algorithm::Sha256));
    hasher.update(&bytes);
    let computed = Sha256::digest(format!("mirror {repo} {digest}").as_bytes());
    let id: [u8; 16] = computed[..16].try_into().unwrap();
    let rows = damage::Rows::open(dir);
    if rows.get(Table::Meta, b"no_old_fills").is_some() {
        rows.drop_row(Table::Meta, b"no_old_fills");
    }
    let row = UploadRecord {
        repo: rows.repo(repo).0,
        algorithm: Algorithm::Sha256.code(),
        offset: bytes.len() as u64,
        hash_state: hasher.save(),
        boot_id: "another".into(),
        saved_ms: 0,
        owner: String::new(),
    };
    rows.put(Table::Uploads, &id, &row.to_bytes().unwrap());
    let id = dryport::types::UploadId(id).to_string();
    let name = format!("{id}.{}.sha256", row.repo);
    std::fs::write(dir.join("uploads").join(name), &bytes).unwrap();
    id
}

#[tokio::test]
async fn what_older_builds_left_in_a_mirror_is_removed() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let (dir, small) = (target.dir(), world.source("small"));
    let output = run(&["mirror", "--data", &dir, &small, "--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    push_image(&target.admin(), "local", "v1", 9).await;
    target.kill();
    let data = target.data();
    let (old, kept) = tokio::task::spawn_blocking(move || {
        let old = leave_as_of_old(&data, "copy", &"sha256:00".repeat(4));
        // In a repository that takes pushes it is an upload as any other, which nobody writes to but by its id.
        (old, leave_as_of_old(&data, "local", "x"))
    })
    .await
    .unwrap();
    target.restart().await;
    let names: Vec<String> = uploads(&target).into_iter().map(|(name, _)| name).collect();
    assert!(names.len() == 1 && names[0].starts_with(&kept), "{names:?}");
    let at = format!("/v2/copy/blobs/uploads/{old}");
    let reply = target.admin().get(&at).await;
    reply.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let at = format!("/v2/local/blobs/uploads/{kept}");
    target.admin().delete(&at).await.expect(204);
    let output = run(&[
        "mirror",
        "--data",
        &dir,
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(world.asked(), 1);
    world.assert_law(&target, "copy").await;
}

#[tokio::test]
async fn a_paused_run_that_nobody_goes_on_with_is_given_up() {
    let (world, mut target) = (World::new().await, Server::start().await);
    world.hold(true);
    let dir = target.dir();
    for (n, name) in ["copy", "gone"].into_iter().enumerate() {
        let output = run(&[
            "mirror",
            "--data",
            &dir,
            &world.source("small"),
            "--to",
            name,
        ]);
        assert!(output.status.success(), "{}", text_of(&output));
        let mut paused = begin(&target, &world.source("v1"), name);
        until("some of the layer is here", SOON, async || {
            let some = uploads(&target).into_iter().filter(|f| f.1 >= 1 << 20);
            some.count() > n
        })
        .await;
        run_kill(&paused);
        until("the run ends", SOON, async || {
            paused.try_wait().unwrap().is_some()
        })
        .await;
    }
    world.hold(false);
    assert_eq!(uploads(&target).len(), 2);
    run_ok(&["repo", "delete", "gone", "--data", &dir]);
    run_ok(&["gc", "--data", &dir]);
    target.kill();
    let data = target.data();
    let fills = tokio::task::spawn_blocking(move || {
        damage::Rows::open(&data)
            .all(dryport::store::Table::Fills)
            .len()
    });
    assert_eq!(
        fills.await.unwrap(),
        1,
        "the rows of a deleted repository go"
    );
    let mut server =
        Server::serve(target.into_home(), &[], &[("DRYPORT_UPLOADS__IDLE", "1s")]).await;
    until("the file that no row names goes", SOON, async || {
        uploads(&server).len() == 1
    })
    .await;
    server.kill();
    let (code, report) = damage::check(&server.data(), &["--deep"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
}
