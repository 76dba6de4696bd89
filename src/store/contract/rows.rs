//! Promises about rows: their order, their bounds, and that they come back as they went in.

use super::*;
use crate::store::KEY_LIMIT;
use crate::store::Way;

/// Keys on which orders differ: of lengths, of letters, of signs, of ends.
fn keys() -> Vec<Vec<u8>> {
    let texts = [
        "", "a", "A", "b", "B", "aa", "ab", "a-b", "a/b", "Zz", "é", "z", "10", "9",
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    for bytes in [
        &[0][..],
        &[0, 0],
        &[0, 1],
        &[1],
        &[0x7f],
        &[0x80],
        &[0xfe],
        &[0xfe, 0xff],
        &[0xff],
        &[0xff, 0],
        &[0xff, 0xff],
        &[0xff, 0xff, 0xff],
        &[b'a', 0],
        &[b'a', 0xff],
    ] {
        keys.push(bytes.to_vec());
    }
    keys
}

fn filled<E: Engine>(ground: &dyn Ground) -> Result<(E, Vec<Row>), StoreError> {
    let engine: E = open(ground)?;
    // In two transactions, and the later keys first.
    let (first, second): (Vec<_>, Vec<_>) = keys()
        .into_iter()
        .enumerate()
        .partition(|(n, _)| n % 3 == 0);
    for part in [second, first] {
        let rows = set(part.into_iter().map(|(n, key)| (key, number(n as u64))));
        change(&engine, Table::Items, &rows, End::Durable)?;
    }
    let keys = keys().into_iter().enumerate();
    let mut rows: Vec<Row> = keys.map(|(n, key)| (key, number(n as u64))).collect();
    rows.sort();
    Ok((engine, rows))
}

pub(super) fn keys_are_ordered_as_their_bytes<E: Engine>(ground: &dyn Ground) -> Kept {
    let (engine, wanted) = filled::<E>(ground)?;
    same(
        &all(&engine.begin_read()?, Table::Items)?,
        &wanted,
        "all rows",
    )?;
    let inside = engine.write(|txn| Ok((all(txn, Table::Items)?, End::Abort)))?;
    same(&inside, &wanted, "all rows inside a change")
}

/// Every pair of bounds, some limits, both ways.
pub(super) fn pages_run_both_ways<E: Engine>(ground: &dyn Ground) -> Kept {
    let (engine, rows) = filled::<E>(ground)?;
    let read = engine.begin_read()?;
    for (from, _) in &rows {
        for (to, _) in &rows {
            let mut wanted: Vec<Row> = rows
                .iter()
                .filter(|(key, _)| key >= from && (to.is_empty() || key < to))
                .cloned()
                .collect();
            for way in [Way::Up, Way::Down] {
                for limit in [0, 1, 3, 100] {
                    let page = read.page(Table::Items, from, to, limit, way)?;
                    let wanted = &wanted[..wanted.len().min(limit)];
                    let what = format!("{limit} rows {way:?} from {from:?} to {to:?}");
                    same(&page, &wanted.to_vec(), &what)?;
                }
                wanted.reverse();
            }
        }
    }
    Ok(())
}

pub(super) fn an_open_end_is_no_bound<E: Engine>(ground: &dyn Ground) -> Kept {
    let (engine, rows) = filled::<E>(ground)?;
    let read = engine.begin_read()?;
    for way in [Way::Up, Way::Down] {
        let page = read.page(Table::Items, &[0xff], &[], 100, way)?;
        same(&page.len(), &4, "rows of bytes 0xff before an open end")?;
    }
    let last = read.page(Table::Items, &[], &[], 1, Way::Down)?;
    same(&last.first(), &rows.last(), "the last row")?;
    let none = read.page(Table::Items, b"b", b"b", 100, Way::Up)?;
    let turned = read.page(Table::Items, b"b", b"a", 100, Way::Up)?;
    same(
        &(none.len(), turned.len()),
        &(0, 0),
        "rows where the end is at or before the start",
    )?;
    let firsts = read.first_many(Table::Items, &[(vec![0xff, 0xff], Vec::new())])?;
    same(
        &firsts[0].is_some(),
        &true,
        "a first row before an open end",
    )
}

/// Keys and values of every length that is allowed, some alike but for the end.
pub(super) fn keys_and_values_come_back<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    let mut rows = Rows::new();
    for len in [0, 1, 255, 256, 1024, 1999, KEY_LIMIT] {
        for last in [0, b'x', 0xff] {
            let mut key: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
            if let Some(end) = key.last_mut() {
                *end = last;
            }
            rows.insert(key, Some(vec![last; len % 3]));
        }
    }
    for (n, len) in [0, 1, 4095, 64 << 10, 256 << 10].into_iter().enumerate() {
        rows.insert(number(n as u64), Some(vec![n as u8; len]));
    }
    change(&engine, Table::Pages, &rows, End::Durable)?;
    drop(engine);
    let engine: E = open(ground)?;
    let wanted: Vec<Row> = rows
        .into_iter()
        .map(|(key, value)| (key, value.unwrap()))
        .collect();
    let read = engine.begin_read()?;
    for (key, value) in &wanted {
        let seen = read.get(Table::Pages, key)?;
        let what = format!("the value at a key of {} bytes", key.len());
        same(&seen.as_ref(), &Some(value), &what)?;
    }
    let seen = all(&read, Table::Pages)?;
    holds(
        seen == wanted,
        format!("{} rows in place of {}", seen.len(), wanted.len()),
    )
}

pub(super) fn tables_are_apart<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    for (n, table) in Table::ALL.into_iter().enumerate() {
        let rows = set([(b"of a table", number(n as u64))]);
        change(&engine, table, &rows, End::Memory)?;
    }
    change(
        &engine,
        Table::Names,
        &Rows::from([(b"of a table".to_vec(), None)]),
        End::Durable,
    )?;
    let read = engine.begin_read()?;
    for (n, table) in Table::ALL.into_iter().enumerate() {
        let wanted = (table != Table::Names).then(|| number(n as u64));
        same(&read.get(table, b"of a table")?, &wanted, table.name())?;
    }
    Ok(())
}

pub(super) fn many_are_answered_in_the_order_asked<E: Engine>(ground: &dyn Ground) -> Kept {
    let (engine, rows) = filled::<E>(ground)?;
    // Not in the order of keys, one twice, some that are not there.
    let mut asked: Vec<Vec<u8>> = rows
        .iter()
        .rev()
        .step_by(2)
        .map(|row| row.0.clone())
        .collect();
    asked.extend([
        b"none".to_vec(),
        b"a".to_vec(),
        Vec::new(),
        b"a".to_vec(),
        vec![0x81],
    ]);
    let value = |key: &Vec<u8>| {
        rows.iter()
            .find(|row| row.0 == *key)
            .map(|row| row.1.clone())
    };
    let wanted: Vec<_> = asked.iter().map(value).collect();
    let read = engine.begin_read()?;
    same(
        &read.get_many(Table::Items, &asked)?,
        &wanted,
        "many values",
    )?;
    let none = read.get_many(Table::Tiers, &asked)?;
    same(
        &none,
        &vec![None; asked.len()],
        "many values of an empty table",
    )?;
    let inside = engine.write(|txn| Ok((txn.get_many(Table::Items, &asked)?, End::Abort)))?;
    same(&inside, &wanted, "many values inside a change")?;
    same(&read.get_many(Table::Items, &[])?, &Vec::new(), "no values")
}

pub(super) fn first_rows_are_answered_in_the_order_asked<E: Engine>(ground: &dyn Ground) -> Kept {
    let (engine, rows) = filled::<E>(ground)?;
    let span = |from: &[u8], to: &[u8]| (from.to_vec(), to.to_vec());
    let asked = [
        span(b"b", b"c"),
        span(b"a", b"b"),
        span(b"", b""),
        span(&[0x82], &[0x90]),
        span(&[0xff, 0xff], b""),
        span(b"a", b"b"),
        span(b"b", b"a"),
    ];
    let first = |(from, to): &super::super::engine::KeySpan| {
        let inside = |row: &&Row| row.0 >= *from && (to.is_empty() || row.0 < *to);
        rows.iter().find(inside).cloned()
    };
    let wanted: Vec<_> = asked.iter().map(first).collect();
    let seen = engine.begin_read()?.first_many(Table::Items, &asked)?;
    same(&seen, &wanted, "first rows")?;
    let inside = engine.write(|txn| Ok((txn.first_many(Table::Items, &asked)?, End::Abort)))?;
    same(&inside, &wanted, "first rows inside a change")
}
