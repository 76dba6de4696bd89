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

#[test]
fn many_rows_are_many_looks_and_come_over_changes_as_one_by_one() {
    let (_dir, store) = store();
    put(&store, "a", "1").unwrap();
    put(&store, "b", "1").unwrap();
    put(&store, "d", "1").unwrap();
    let keys = ["d", "a", "c", "none", "b"].map(|key| key.as_bytes().to_vec());
    let spans = [("b", "d"), ("a", "b"), ("c", ""), ("x", ""), ("b", "a")];
    let spans = spans.map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec()));
    let done: Done<()> = store.read(|r| {
        let values = r.get_many(Table::Names, &keys)?;
        let alone: Done<Vec<_>> = keys.iter().map(|k| r.get(Table::Names, k)).collect();
        assert_eq!((&values, r.looked()), (&alone?, 10));
        let firsts = r.first_many(Table::Names, &spans)?;
        let first = |(from, to): &KeySpan| Ok(r.scan(Table::Names, from, to, 1)?.pop());
        let alone: Done<Vec<_>> = spans.iter().map(first).collect();
        assert_eq!((firsts, r.looked()), (alone?, 20));
        Ok(())
    });
    done.unwrap();
    let (keys, spans) = (keys.clone(), spans.clone());
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "many", move |txn| {
        txn.put(Table::Names, b"c", b"2")?;
        txn.delete(Table::Names, b"a")?;
        let value = |text: &str| Some(text.as_bytes().to_vec());
        let values = txn.get_many(Table::Names, &keys)?;
        assert_eq!(values, [value("1"), None, value("2"), None, value("1")]);
        let firsts = txn.first_many(Table::Names, &spans)?;
        let row = |key: &str, n: &str| Some((key.as_bytes().to_vec(), n.as_bytes().to_vec()));
        assert_eq!(firsts, [row("b", "1"), None, row("c", "2"), None, None]);
        Ok(())
    });
    done.unwrap();
}
