//! A history that is too full and of which nothing can go: its pushes are refused, and that costs nobody much, however many
//! there are and whatever stands in the way. What makes room is seen at once.

use std::time::Instant;

use dryport::repo::rows::keys::{self, DueKind};
use dryport::store::Table;
use dryport::store::key::Key;
use dryport::types::{Algorithm, Digest, RepoId, Rev};
use serde_json::json;

use crate::core::quota::exact::{figure, server_keeping, try_blob};
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, push_image, put_manifest, sha256,
};
use crate::harness::damage::Rows;
use crate::harness::{Client, SOON, Server, run_ok, until};
use crate::http::abuse::metric;

/// What a read looks at (see `repo/bounded`), and a few rows beside.
const BOUND: u64 = 2100;
/// Rows of others.
const MANY: u64 = 6000;

fn quota(server: &Server, prefix: &str, history: &str) {
    let dir = server.dir();
    let set = [
        "quota",
        "set",
        "--data",
        &dir,
        prefix,
        "1MB",
        "--history",
        history,
    ];
    run_ok(&set);
}

/// Lets `team/app` keep a manifest that was removed and that its index needs: more than the quota's history may keep.
/// Answers the path of the index.
async fn fill(server: &Server, client: &Client) -> String {
    quota(server, "team", "100");
    let child = push_image(client, "team/app", "child", 1).await;
    let index = bytes_of(&json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, &child)],
    }));
    put_manifest(client, "team/app", "v1", OCI_INDEX, &index).await;
    let path = |bytes: &[u8]| format!("/v2/team/app/manifests/{}", sha256(bytes));
    client.delete(&path(&child)).await.expect(202);
    assert_eq!(figure(server, "team", "history"), child.len() as u64);
    path(&index)
}

async fn refused(client: &Client, n: u64) {
    let bytes = format!("new bytes {n}").into_bytes();
    let push = try_blob(client, "team/other", &bytes).await;
    let text = push.refused(403, "DENIED").text();
    assert!(text.contains("bytes by other repositories"), "{text}");
}

/// Puts rows of others before those that are looked for: digests that the quota shows, and of which many repositories of
/// another prefix have a history.
async fn crowd(server: &mut Server) {
    server.kill();
    let (mut rows, far) = (Vec::new(), 1 << 40);
    for n in 0..MANY {
        let digest = Digest::of(Algorithm::Sha256, &n.to_be_bytes());
        let key = Key::new().text("team").raw(digest.as_key()).done();
        let counts = [1_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat();
        rows.push((Table::QuotaHolders, key, counts));
        let what = keys::due_rev(RepoId(1000 + n), Rev(1));
        let key = keys::due(far + n, DueKind::History, &what);
        rows.push((Table::Due, key, 1_u64.to_be_bytes().to_vec()));
    }
    let store = Rows::open(&server.data());
    store.put_all(&rows);
    drop(store);
    server.restart().await;
}

#[tokio::test]
async fn a_refused_push_looks_at_a_bounded_number_of_rows_and_the_next_ones_at_few() {
    let mut server = server_keeping("30d").await;
    fill(&server, &server.admin()).await;
    crowd(&mut server).await;
    let admin = server.admin();
    let at_start = metric(&server, "dryport_store_read_rows_total").await;
    refused(&admin, 0).await;
    let most = metric(&server, "dryport_store_read_rows_max").await;
    let first = metric(&server, "dryport_store_read_rows_total").await - at_start;
    assert!(most <= BOUND, "a read looked at {most} rows");
    assert!(
        first > 2 * MANY,
        "{first}: the rows of others stand in no way"
    );
    // What was due went with the first one, which may have changed something.
    refused(&admin, 50).await;
    let before = metric(&server, "dryport_store_read_rows_total").await;
    let begun = Instant::now();
    for n in 1..=20 {
        refused(&admin, n).await;
    }
    let after = metric(&server, "dryport_store_read_rows_total").await;
    // What was seen is believed for some seconds: as often as these took, all may have been looked at again.
    let again = begun.elapsed().as_secs() / 4;
    let most = 2000 + again * (first + 100);
    assert!(
        after - before <= most,
        "{} rows in 20 pushes",
        after - before
    );

    // Also where they come at once, and where none has looked lately.
    let before = metric(&server, "dryport_store_read_rows_total").await;
    let begun = Instant::now();
    futures_util::future::join_all((21..41).map(|n| refused(&admin, n))).await;
    let after = metric(&server, "dryport_store_read_rows_total").await;
    let most = 2000 + (1 + begun.elapsed().as_secs() / 4) * (first + 100);
    assert!(
        after - before <= most,
        "{} rows in 20 pushes",
        after - before
    );
    let most = metric(&server, "dryport_store_read_rows_max").await;
    assert!(most <= BOUND, "a read looked at {most} rows");
}

#[tokio::test]
async fn who_keeps_much_is_named_beyond_rows_that_say_nothing() {
    let mut server = server_keeping("30d").await;
    fill(&server, &server.admin()).await;
    crowd(&mut server).await;
    let admin = server.admin();
    let refused = try_blob(&admin, "team/app", b"new bytes").await;
    let text = refused.refused(403, "DENIED").text();
    assert!(text.contains("bytes by team/app"), "{text}");
}

#[tokio::test]
async fn a_push_that_has_become_possible_is_taken_at_once() {
    let server = server_keeping("30d").await;
    let (admin, dir) = (server.admin(), server.dir());
    // By the end of what kept it, which is history of its own by then.
    let index = fill(&server, &admin).await;
    refused(&admin, 1).await;
    admin.delete(&index).await.expect(202);
    let push = try_blob(&admin, "team/other", b"after the index went").await;
    push.expect(201);

    // By the end of the repository: its rows are the collector's, which the push asks for help.
    fill(&server, &admin).await;
    refused(&admin, 2).await;
    run_ok(&["repo", "delete", "--data", &dir, "team/app"]);
    let push = try_blob(&admin, "team/other", b"after the repository went").await;
    push.expect(201);

    // By a larger bound.
    let index = fill(&server, &admin).await;
    refused(&admin, 3).await;
    quota(&server, "team", "1MB");
    let push = try_blob(&admin, "team/other", b"after the quota grew").await;
    push.expect(201);
    admin.delete(&index).await.expect(202);

    run_ok(&["check", "--data", &dir]);
}

#[tokio::test]
async fn what_time_makes_possible_is_taken_some_seconds_later() {
    let server = server_keeping("30d").await;
    let (admin, dir) = (server.admin(), server.dir());
    fill(&server, &admin).await;
    run_ok(&[
        "repo",
        "set",
        "team/app",
        "--data",
        &dir,
        "--history-keep",
        "0s",
    ]);
    // Its index ends with its last tag, once no lease holds it; nobody sweeps.
    admin.delete("/v2/team/app/manifests/v1").await.expect(202);
    let mut n = 0;
    until("a push is taken", SOON, async || {
        n += 1;
        let push = try_blob(&admin, "team/other", format!("new bytes {n}").as_bytes()).await;
        push.status == 201 || push.refused(403, "DENIED").status == 201
    })
    .await;
}
