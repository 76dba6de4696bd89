//! What was: lists of referrers, changes, snapshots and their pins.

use dryport::repo::rows::keys::{self, Name};
use dryport::repo::rows::record::{ReferrerRecord, SnapshotRecord};
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::{RepoId, Rev};

use super::{all, app, case, live_manifest};
use crate::harness::damage::{Rows, World};

fn referrer_key(w: &World, rows: &Rows) -> Vec<u8> {
    let (_, added) = live_manifest(rows, &w.referrer);
    keys::referrer(
        app(rows),
        false,
        &w.image,
        "application/x.sbom",
        &w.referrer,
        added,
    )
}

#[tokio::test]
async fn history() {
    all(vec![
        case("referrer-missing", "of an image", |w, c| {
            let rows = c.rows();
            rows.drop_row(Table::Referrers, &referrer_key(w, &rows));
        }),
        case("referrer-extra", "that is no item", |w, c| {
            let rows = c.rows();
            let row = rows.get(Table::Referrers, &referrer_key(w, &rows)).unwrap();
            let key = keys::referrer(app(&rows), false, &w.image, "x", &w.layer, Rev(1));
            rows.put(Table::Referrers, &key, &row);
        }),
        case("referrer-wrong", "its annotations", |w, c| {
            let rows = c.rows();
            let key = referrer_key(w, &rows);
            rows.edit(Table::Referrers, &key, |row: &mut ReferrerRecord| {
                row.annotations.clear();
            });
        }),
        case("change-missing", "of a live tag", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let name = Name::tag("v1");
            let key = keys::change(id, rows.added(id, &name), &name);
            rows.drop_row(Table::Changes, &key);
        }),
        case("change-head-missing", "of a revision", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let key = keys::change_head(id, rows.added(id, &Name::tag("v1")));
            rows.drop_row(Table::Changes, &key);
        }),
        case("change-head-missing", "one that cannot be read", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let key = keys::change_head(id, rows.added(id, &Name::tag("v1")));
            rows.put(Table::Changes, &key, b"\x01");
        }),
        case("change-extra", "of a tag that never was", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            let key = keys::change(id, rev, &Name::tag("ghost"));
            rows.put(Table::Changes, &key, b"");
        }),
    ])
    .await;
}

#[tokio::test]
async fn snapshots_and_pins() {
    all(vec![
        case("pin-extra", "of a snapshot that there is not", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            rows.put(Table::Pins, &keys::pin(id, rev, "ghost"), b"");
        }),
        case("pin-extra", "of another revision than it has", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            put_snapshot(&rows, id, rev);
            rows.put(Table::Pins, &keys::pin(id, rev, "june"), b"");
            rows.put(Table::Pins, &keys::pin(id, Rev(rev.0 - 1), "june"), b"");
        }),
        case("pin-missing", "of a snapshot", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            put_snapshot(&rows, id, rows.added(id, &Name::tag("v1")));
        }),
    ])
    .await;
}

fn put_snapshot(rows: &Rows, id: RepoId, rev: Rev) {
    let row = SnapshotRecord {
        rev: rev.0,
        at_ms: 1,
        who: "a test".into(),
        ends: None,
        held: false,
        root: None,
    };
    let row = row.to_bytes().unwrap();
    rows.put(Table::Snapshots, &keys::snapshot(id, "june"), &row);
}
