//! The upgrades from schema to schema, in the order in which they came. Each is what it was then: it knows the keys of
//! its time, and must not call what may change later.

use crate::store::engine::{Rows, WriteRows};
use crate::store::key::Parts;
use crate::store::read::Way;
use crate::store::{SCHEMA, StoreError, Table};

/// Turns schema N into N + 1, inside one transaction. Step 0 of the list starts from schema 1.
#[derive(Clone, Copy)]
pub(in crate::store) struct Step {
    /// Does it.
    pub run: fn(&dyn WriteRows) -> Result<(), StoreError>,
    /// Tables all of whose rows it may move or write again: before it begins there is room for that.
    pub rewrites: &'static [Table],
}

/// The upgrades of this program: one fewer than [`SCHEMA`].
pub(in crate::store) const STEPS: [Step; SCHEMA as usize - 1] = [
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
        rewrites: &[Table::Refs],
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
fn has_a_log(_rows: &dyn WriteRows) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 3 has bytes in two rows. A program that reads the first alone would serve half a blob.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn bytes_in_two_rows(_rows: &dyn WriteRows) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 4 has what names a digest and keeps nothing of it (classes 3, wanted, and 4, held) in a table of its own. A
/// program that looks for it among the references would not find it.
fn mentions_apart(rows: &dyn WriteRows) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let page = rows.page(Table::Refs, &from, &[], PAGE, Way::Up)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        // The first key after it.
        from = [last, &[0][..]].concat();
        let (mut gone, mut moved) = (Rows::new(), Rows::new());
        for (key, value) in page {
            let mut parts = Parts(&key);
            let head = (parts.digest(), parts.u64(), parts.u8());
            if let (Some(_), Some(_), Some(3 | 4)) = head {
                gone.insert(key.clone(), None);
                moved.insert(key, Some(value));
            }
        }
        rows.change(Table::Refs, &gone)?;
        rows.change(Table::Mentions, &moved)?;
    }
}

/// Schema 5 has repositories of other kinds than oci, snapshots and pins. A program that knows none would serve the first as
/// images, and drop what the others keep.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn other_kinds(_rows: &dyn WriteRows) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 6 has stages: rows of a revision that is to come, written in many transactions. A program that knows none would
/// put revisions of its own among them.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn has_stages(_rows: &dyn WriteRows) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 7 has the request behind a change in the feed's row, and the audit trail made of it. A program that knows none would
/// take those rows for damage, and leave its own changes out of the trail.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn has_causes(_rows: &dyn WriteRows) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{End, Engine as _};
    use crate::store::key::Key;
    use crate::store::redb::open_as;
    use crate::store::{Get as _, Store, StoreOptions, disk};
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
        let before = open_as(&options(), &disk::machine(), &STEPS[..2]);
        let (db, log) = before.expect("a store of schema 3");
        let row = |n: u64| (key(n, class(n)), Some(n.to_be_bytes().to_vec()));
        let mut refs: Rows = (0..ROWS).map(row).collect();
        // What nobody can read stays for `check`.
        refs.insert(b"?".to_vec(), Some(Vec::new()));
        let put = db.write(|rows| Ok((rows.change(Table::Refs, &refs)?, End::Durable)));
        put.expect("commits");
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
