//! What a read or a change counts as looked at: each scan something, also where it finds nothing.

use super::*;

/// Every kind of scan that finds nothing: between keys, behind the last, where no key can lie, in an empty table, and none
/// wanted.
const NOTHING: [(Table, &[u8], &[u8], usize); 5] = [
    (Table::Names, b"b", b"c", 5),
    (Table::Names, b"z", b"", 5),
    (Table::Names, b"b", b"a", 5),
    (Table::Items, b"", b"", 5),
    (Table::Names, b"", b"", 0),
];

fn looks_of_each(get: &impl Get) -> Done<Vec<usize>> {
    let mut looks = Vec::new();
    for (table, from, to, limit) in NOTHING {
        let before = get.looked();
        assert!(get.scan(table, from, to, limit)?.is_empty());
        looks.push(get.looked() - before);
        let before = get.looked();
        assert!(get.scan_back(table, from, to, limit)?.is_empty());
        looks.push(get.looked() - before);
    }
    Ok(looks)
}

#[test]
fn a_scan_that_finds_nothing_is_a_look() {
    let (_dir, store) = store();
    put(&store, "a", "1").unwrap();
    let looks = store.read(|r| looks_of_each(r));
    assert_eq!(looks.unwrap(), [1; 10]);
    let looks = store.write_blocking(Lane::Request, Need::Grows, "looks", |txn| {
        let before = looks_of_each(txn)?;
        // The same over changes of its own.
        txn.put(Table::Names, b"a", b"2")?;
        txn.put(Table::Items, b"a", b"")?;
        txn.delete(Table::Items, b"a")?;
        Ok::<_, StoreError>([before, looks_of_each(txn)?].concat())
    });
    assert_eq!(looks.unwrap(), [1; 20]);
}

#[test]
fn rows_that_were_deleted_are_looked_at_where_a_scan_passes_over_them() {
    let (_dir, store) = store();
    let looks = store.write_blocking(Lane::Request, Need::Grows, "put", |txn| {
        (0..9_u8).try_for_each(|n| txn.put(Table::Names, &[n], b""))
    });
    looks.unwrap();
    let looks = store.write_blocking(Lane::Request, Need::Grows, "looks", |txn| {
        (0..8_u8).try_for_each(|n| txn.delete(Table::Names, &[n]))?;
        let found = txn.scan(Table::Names, &[], &[], 1)?;
        Ok::<_, StoreError>((found.len(), txn.looked()))
    });
    assert_eq!(looks.unwrap(), (1, 9));
}
