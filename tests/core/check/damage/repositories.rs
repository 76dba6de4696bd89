//! Repositories: their names, rows and figures, and what they show.

use dryport::repo::rows::keys::{self, DueKind, Name};
use dryport::repo::rows::record::{ItemRecord, RepoRecord, UsageRecord};
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::RepoId;

use super::{all, app, case, live, live_manifest};
use crate::harness::damage::{Copy, kinds, world};

#[tokio::test]
async fn repositories() {
    fn edit(c: &Copy, change: fn(&mut RepoRecord)) {
        let rows = c.rows();
        rows.edit(Table::Repos, &keys::repo(app(&rows)), change);
    }
    all(vec![
        case("name-missing", "a name is gone", |_, c| {
            c.rows().drop_row(Table::Names, &keys::name("team/app"));
        }),
        case(
            "name-missing",
            "a name leads to another repository",
            |_, c| {
                let rows = c.rows();
                let other = rows.repo("other").0.to_be_bytes();
                rows.put(Table::Names, &keys::name("team/app"), &other);
            },
        ),
        case("name-extra", "a name leads nowhere", |_, c| {
            c.rows()
                .put(Table::Names, &keys::name("ghost"), &999_u64.to_be_bytes());
        }),
        case("repo-missing", "a repository's row is gone", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            rows.drop_row(Table::Repos, &keys::repo(id));
        })
        .still("repo-missing"),
        case("repo-unreadable", "a repository's row", |_, c| {
            let rows = c.rows();
            rows.put(Table::Repos, &keys::repo(app(&rows)), b"\x02x");
        })
        .still("repo-unreadable"),
        case("head-behind", "revisions after the newest", |_, c| {
            edit(c, |row| row.head -= 2);
        }),
        case("horizon-ahead", "nothing can be read", |_, c| {
            edit(c, |row| row.horizon = row.head + 1);
        }),
        case("stage-missing", "held for nothing", |_, c| {
            edit(c, |row| row.stage = Some(7));
        }),
        case("repo-number-behind", "a number twice", |_, c| {
            c.rows()
                .put(Table::Meta, b"next_repo", &1_u64.to_be_bytes());
        }),
        case("usage-wrong", "figures", |_, c| {
            let rows = c.rows();
            rows.edit(
                Table::Usage,
                &keys::repo(app(&rows)),
                |row: &mut UsageRecord| row.bytes += 5,
            );
        }),
        case("usage-wrong", "no figures", |_, c| {
            let rows = c.rows();
            rows.drop_row(Table::Usage, &keys::repo(app(&rows)));
        }),
        case("usage-extra", "of nobody", |_, c| {
            let row = UsageRecord::default().to_bytes().unwrap();
            c.rows().put(Table::Usage, &keys::repo(RepoId(999)), &row);
        }),
        case("feed-unreadable", "a row", |_, c| c.rows().append(b"junk")),
        case("feed-missing", "the newest revision", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let row = rows.get(Table::Repos, &keys::repo(id)).unwrap();
            let head = RepoRecord::from_bytes(&row).unwrap().head;
            let told = rows.all(Table::Feed).into_iter().rev().find(|(_, row)| {
                let row = dryport::store::feed::FeedRecord::from_bytes(row).unwrap();
                row.is_revision_of(id.0) && row.rev == head
            });
            rows.drop_row(Table::Feed, &told.unwrap().0);
        }),
    ])
    .await;
}

#[tokio::test]
async fn items() {
    all(vec![
        case("item-unreadable", "a tag", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.put(Table::Items, &key, b"\x01x");
        })
        .tags(&["team/app:v2"])
        .still("item-unreadable"),
        case("item-inconsistent", "live and removed at once", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.edit(Table::Items, &key, |row: &mut ItemRecord| row.removed = 9);
        })
        .tags(&["team/app:v2"])
        .still("item-inconsistent"),
        case("item-missing", "a tag's row", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.drop_row(Table::Items, &key);
        })
        .tags(&["team/app:v2"])
        .still("item-missing"),
        case("item-missing", "a manifest's row", |w, c| {
            let rows = c.rows();
            let (key, _) = live_manifest(&rows, &w.index);
            rows.drop_row(Table::Items, &key);
        })
        .tags(&["team/app:multi"])
        .still("item-missing"),
    ])
    .await;
}

#[tokio::test]
async fn a_dangling_tag_is_told_of_and_left() {
    let world = world().await;
    let copy = Copy::of(world);
    {
        // Tag v2 is made to mean what `old` meant, which was deleted.
        let rows = copy.rows();
        let id = app(&rows);
        let (key, row) = live(&rows, "v2");
        let (_, added) = keys::text_of_item(&key).unwrap();
        let target = row.digest().unwrap();
        rows.edit(Table::Items, &key, |row: &mut ItemRecord| {
            row.target = world.old.as_key().to_vec();
        });
        rows.drop_row(
            Table::Refs,
            &keys::item_ref(&target, id, &Name::tag("v2"), added),
        );
        let to = keys::item_ref(&world.old, id, &Name::tag("v2"), added);
        rows.put(Table::Refs, &to, b"");
        let what = keys::due_in(id, &target);
        rows.put(Table::Due, &keys::due(1, DueKind::Untagged, &what), b"");
    }
    for more in [&[][..], &["--repair"], &[]] {
        let (code, report) = copy.check(more);
        assert_eq!(
            (code, kinds(&report)),
            (4, vec!["tag-dangling".to_owned()]),
            "{report:#}"
        );
        assert_eq!(report["problems"][0]["tags"][0], "team/app:v2");
    }
}
