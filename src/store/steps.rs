//! The upgrades from schema to schema, in the order in which they came. Each is what it was then: it knows the keys of
//! its time, and must not call what may change later.

use super::error::redb as redb_error;
use super::key::Parts;
use super::{Row, SCHEMA, StoreError};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use std::ops::Bound;

/// Turns schema N into N + 1, inside one transaction. Step 0 of the list starts from schema 1.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Does it.
    pub run: fn(&WriteTransaction) -> Result<(), StoreError>,
    /// Tables all of whose rows it may move or write again: before it begins there is room for that.
    pub rewrites: &'static [&'static str],
}

/// The upgrades of this program: one fewer than [`SCHEMA`].
pub(super) const STEPS: [Step; SCHEMA as usize - 1] = [
    Step {
        run: has_a_log,
        rewrites: &[],
    },
    Step {
        run: bytes_in_two_rows,
        rewrites: &[],
    },
    Step {
        run: mentions_apart,
        rewrites: &["refs"],
    },
    Step {
        run: other_kinds,
        rewrites: &[],
    },
    Step {
        run: has_stages,
        rewrites: &[],
    },
    Step {
        run: has_causes,
        rewrites: &[],
    },
];

/// Rows in memory at once.
const PAGE: usize = 10_000;

/// Schema 2 has a log. A program that knows none would not repeat what it holds, and lose acknowledged changes.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn has_a_log(_txn: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 3 has bytes in two rows. A program that reads the first alone would serve half a blob.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn bytes_in_two_rows(_txn: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 4 has what names a digest and keeps nothing of it (classes 3, wanted, and 4, held) in a table of its own. A
/// program that looks for it among the references would not find it.
fn mentions_apart(txn: &WriteTransaction) -> Result<(), StoreError> {
    const REFS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("refs");
    const MENTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("mentions");
    let failed = |e| redb_error("upgrade", e);
    let mut refs = txn.open_table(REFS).map_err(|e| redb_error("upgrade", e))?;
    let mut mentions = txn
        .open_table(MENTIONS)
        .map_err(|e| redb_error("upgrade", e))?;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut moved, mut last): (Vec<Row>, _) = (Vec::new(), None);
        let page = refs.range::<&[u8]>((from, Bound::Unbounded));
        for row in page.map_err(failed)?.take(PAGE) {
            let (key, value) = row.map_err(failed)?;
            let mut parts = Parts(key.value());
            let head = (parts.digest(), parts.u64(), parts.u8());
            if let (Some(_), Some(_), Some(3 | 4)) = head {
                moved.push((key.value().to_vec(), value.value().to_vec()));
            }
            last = Some(key.value().to_vec());
        }
        for (key, value) in moved {
            refs.remove(key.as_slice()).map_err(failed)?;
            let row = mentions.insert(key.as_slice(), value.as_slice());
            row.map_err(failed)?;
        }
        match last {
            Some(_) => after = last,
            None => return Ok(()),
        }
    }
}

/// Schema 5 has repositories of other kinds than oci, snapshots and pins. A program that knows none would serve the first as
/// images, and drop what the others keep.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn other_kinds(_txn: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 6 has stages: rows of a revision that is to come, written in many transactions. A program that knows none would
/// put revisions of its own among them.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn has_stages(_txn: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 7 has the request behind a change in the feed's row, and the audit trail made of it. A program that knows none would
/// take those rows for damage, and leave its own changes out of the trail.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn has_causes(_txn: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::Key;
    use crate::store::{Get as _, Store, StoreOptions, Table, disk, upgrade};
    use crate::types::{Algorithm, Digest};

    /// A reference's key: class, and something behind it.
    fn key(n: u64, class: u8) -> Vec<u8> {
        let digest = Digest::of(Algorithm::Sha256, &(n / 7).to_be_bytes());
        let key = Key::new().raw(digest.as_key()).u64(n).u8(class);
        key.u64(n).done()
    }

    #[test]
    fn mentions_go_to_a_table_of_their_own_and_references_stay() {
        const ROWS: u64 = 25_000;
        let dir = tempfile::tempdir().expect("a directory");
        let options = || StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 8 << 20,
            slow: std::time::Duration::from_secs(10),
            holder: "a test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 64 << 10,
            upgrade_without_copy: false,
        };
        let class = |n: u64| (n % 5) as u8;
        let before = upgrade::open_as(&options(), &disk::machine(), &STEPS[..2]);
        let (db, log) = before.expect("a store of schema 3");
        let txn = upgrade::begin_write(&db).expect("begins");
        {
            let mut refs = txn.open_table(Table::Refs.definition()).expect("refs");
            for n in 0..ROWS {
                let (key, value) = (key(n, class(n)), n.to_be_bytes());
                refs.insert(key.as_slice(), value.as_slice()).expect("put");
            }
            // What nobody can read stays for `check`.
            refs.insert(&b"?"[..], &b""[..]).expect("put");
        }
        txn.commit().expect("commits");
        drop((db, log));
        for _ in 0..2 {
            let store = Store::open(options()).expect("opens");
            let read = store.read(|r| {
                for n in 0..ROWS {
                    let places = [Table::Refs, Table::Mentions];
                    let [here, there] = places.map(|table| r.get(table, &key(n, class(n))));
                    let value = Some(n.to_be_bytes().to_vec());
                    let wanted = if class(n) < 3 {
                        (value, None)
                    } else {
                        (None, value)
                    };
                    assert_eq!((here?, there?), wanted, "row {n}");
                }
                assert!(r.get(Table::Refs, b"?")?.is_some());
                r.scan(Table::Mentions, &[], &[], 2 * ROWS as usize)
            });
            assert_eq!(read.expect("read").len() as u64, ROWS / 5 * 2);
            store.close();
        }
        assert!(dir.path().join("meta.redb.schema-3.bak").exists());
    }
}
