//! Who needs what: references, and the sums of quotas.

use dryport::repo::rows::keys::{self, Class, Name};
use dryport::repo::rows::record::QuotaRecord;
use dryport::store::Table;
use dryport::types::Rev;

use super::{all, app, case, live_manifest};
use crate::harness::damage::World;

#[tokio::test]
async fn references() {
    all(vec![
        case("ref-missing", "of a tag", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let added = rows.added(id, &Name::tag("v1"));
            rows.drop_row(
                Table::Refs,
                &keys::item_ref(&w.image, id, &Name::tag("v1"), added),
            );
        }),
        case("ref-missing", "of a manifest to itself", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.image, id, Class::Manifest, &w.image, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of a manifest to a layer", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.long);
            let key = keys::manifest_ref(&w.layer, id, Class::Manifest, &w.long, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of an index to a manifest", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.index);
            let key = keys::manifest_ref(&w.child, id, Class::Manifest, &w.index, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of what is wanted", |w, c| {
            let rows = c.rows();
            let (_, added) = live_manifest(&rows, &w.index);
            let key = rows.key_with(
                Table::Mentions,
                &[
                    &[Class::Wanted as u8],
                    w.index.as_key(),
                    &added.0.to_be_bytes(),
                ],
            );
            rows.drop_row(Table::Mentions, &key);
        }),
        case("ref-extra", "of a tag that never was", |w, c| {
            let rows = c.rows();
            let key = keys::item_ref(&w.image, app(&rows), &Name::tag("ghost"), Rev(1));
            rows.put(Table::Refs, &key, b"");
        }),
        case(
            "ref-extra",
            "of a manifest that does not name it",
            |w, c| {
                let rows = c.rows();
                let id = app(&rows);
                let (_, added) = live_manifest(&rows, &w.image);
                let key = keys::manifest_ref(&w.child, id, Class::Manifest, &w.image, added);
                rows.put(Table::Refs, &key, b"");
            },
        ),
        case("ref-extra", "wanted and held at once", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.layer, id, Class::Wanted, &w.image, added);
            rows.put(Table::Mentions, &key, b"");
        }),
        case("ref-extra", "wanted, where it would keep it", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.orphan, id, Class::Wanted, &w.image, added);
            rows.put(Table::Refs, &key, b"");
        }),
        case("ref-extra", "held, where it only names it", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.layer, id, Class::Manifest, &w.image, added);
            rows.put(Table::Mentions, &key, b"");
        }),
        case("ref-extra", "that nobody can read", |w, c| {
            let key = [w.image.as_key(), &[1, 2, 3]].concat();
            c.rows().put(Table::Refs, &key, b"");
        }),
        case("ref-extra", "a mention that nobody can read", |w, c| {
            let key = [w.image.as_key(), &[1, 2, 3]].concat();
            c.rows().put(Table::Mentions, &key, b"");
        }),
        case("ref-wrong-class", "here, but only wanted", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.index);
            let of = |class| keys::manifest_ref(&w.child, id, class, &w.index, added);
            rows.drop_row(Table::Refs, &of(Class::Manifest));
            rows.put(Table::Mentions, &of(Class::Wanted), b"");
        }),
        case("link-missing", "of a layer", |w, c| {
            let rows = c.rows();
            let key = keys::link(&w.layer, app(&rows));
            rows.drop_row(Table::Refs, &key);
        })
        .tags(&["team/app:long", "team/app:v1"]),
        case("lease-unreadable", "of a layer", |w, c| {
            let rows = c.rows();
            rows.put(Table::Refs, &keys::link(&w.layer, app(&rows)), b"soon");
        }),
        case("held-extra", "of a manifest that is not there", |w, c| {
            let rows = c.rows();
            let key = keys::held(&w.layer, app(&rows));
            rows.put(Table::Mentions, &key, &5_u64.to_be_bytes());
        }),
    ])
    .await;
}

#[tokio::test]
async fn quotas() {
    fn holders(w: &World) -> Vec<u8> {
        [b"team\0", w.layer.as_key()].concat()
    }
    all(vec![
        case("quota-wrong", "its sum", |_, c| {
            c.rows()
                .edit(Table::Quotas, b"team\0", |row: &mut QuotaRecord| {
                    row.used += 7;
                });
        }),
        case("quota-wrong", "the sum of its history", |_, c| {
            c.rows()
                .edit(Table::Quotas, b"team\0", |row: &mut QuotaRecord| {
                    row.history += 7;
                });
        }),
        case("quota-holders-wrong", "one that keeps too many", |w, c| {
            let rows = c.rows();
            let mut row = rows.get(Table::QuotaHolders, &holders(w)).unwrap();
            row[15] += 1;
            rows.put(Table::QuotaHolders, &holders(w), &row);
        }),
        case("quota-unreadable", "its row", |_, c| {
            c.rows().put(Table::Quotas, b"team\0", b"\x01");
        })
        .still("quota-unreadable"),
        case("quota-holders-wrong", "a digest not counted", |w, c| {
            c.rows().drop_row(Table::QuotaHolders, &holders(w));
        }),
        case("quota-holders-wrong", "a digest counted twice", |w, c| {
            let rows = c.rows();
            rows.put(Table::QuotaHolders, &holders(w), &9_u64.to_be_bytes());
        }),
        case("quota-holders-wrong", "of no quota", |w, c| {
            let key = [b"ghost\0", w.layer.as_key()].concat();
            c.rows()
                .put(Table::QuotaHolders, &key, &1_u64.to_be_bytes());
        }),
    ])
    .await;
}
