//! What the collector is to look at, and when.

use dryport::repo::rows::keys::{self, DueKind, Name};
use dryport::store::Table;
use dryport::types::{RepoId, Rev};

use super::{all, app, case};
use crate::harness::damage::{Copy, Rows, kinds, world};
use crate::harness::run_ok;

/// The `due` row of a kind about something.
fn drop_due(rows: &Rows, kind: DueKind, what: &[u8]) {
    let all = rows.all(Table::Due);
    let found: Vec<_> = all
        .iter()
        .filter(|(key, _)| keys::due_parts(key).is_some_and(|(_, k, w)| k == kind && w == what))
        .collect();
    assert!(!found.is_empty(), "no due row {kind:?}");
    for (key, _) in found {
        rows.drop_row(Table::Due, key);
    }
}

#[tokio::test]
async fn the_collectors_list() {
    all(vec![
        case("lease-due-missing", "of a blob not used yet", |w, c| {
            let rows = c.rows();
            let id = rows.repo("other");
            drop_due(&rows, DueKind::Lease, &keys::due_link(&w.loose, id));
        }),
        case(
            "orphan-due-missing",
            "of a blob that nothing needs",
            |w, c| {
                drop_due(&c.rows(), DueKind::Orphan, w.orphan.as_key());
            },
        ),
        case(
            "untagged-due-missing",
            "of a manifest without a tag",
            |w, c| {
                let rows = c.rows();
                let what = keys::due_in(app(&rows), &w.untagged);
                drop_due(&rows, DueKind::Untagged, &what);
            },
        ),
        case(
            "history-due-missing",
            "of a revision that closed a tag",
            |_, c| {
                let rows = c.rows();
                let id = app(&rows);
                // The second push of v2 closed the first one.
                let rev = rows.added(id, &Name::tag("v2"));
                drop_due(&rows, DueKind::History, &keys::due_rev(id, rev));
            },
        ),
        case("repo-due-missing", "of a deleted repository", |_, c| {
            let rows = c.rows();
            let all = rows.all(Table::Due);
            let found = all.iter().find(|(key, _)| {
                keys::due_parts(key).is_some_and(|(_, kind, _)| kind == DueKind::Repo)
            });
            rows.drop_row(Table::Due, &found.expect("a due row").0);
        }),
        case("due-unreadable", "of a kind that is none", |_, c| {
            let key = [&7_u64.to_be_bytes()[..], &[99]].concat();
            c.rows().put(Table::Due, &key, b"");
        }),
        case("due-extra", "of a repository that never was", |w, c| {
            let what = keys::due_link(&w.loose, RepoId(4000));
            extra_due(c, 7, DueKind::Lease, &what);
        }),
        case("due-extra", "of a revision that never was", |_, c| {
            let id = app(&c.rows());
            extra_due(c, 7, DueKind::History, &keys::due_rev(id, Rev(5000)));
        }),
        case("due-extra", "that never comes", |w, c| {
            extra_due(c, u64::MAX, DueKind::Orphan, w.layer.as_key());
        }),
        case(
            "due-extra",
            "of a repository that is not deleted",
            |_, c| {
                let id = app(&c.rows());
                extra_due(c, 7, DueKind::Repo, &keys::repo(id));
            },
        ),
    ])
    .await;
}

fn extra_due(copy: &Copy, at: u64, kind: DueKind, what: &[u8]) {
    copy.rows().put(Table::Due, &keys::due(at, kind, what), b"");
}

#[tokio::test]
async fn the_collector_removes_no_repository_that_is_not_deleted() {
    let world = world().await;
    let copy = Copy::of(world);
    let id = app(&copy.rows());
    extra_due(&copy, 7, DueKind::Repo, &keys::repo(id));
    let dir = copy.dir();
    let dir = dir.to_str().unwrap();
    run_ok(&["gc", "--data", dir]);
    let tags = run_ok(&["tag", "list", "--data", dir, "team/app", "--json"]);
    assert!(tags.contains("v1") && tags.contains("multi"), "{tags}");
    let (code, report) = copy.check(&[]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
}
