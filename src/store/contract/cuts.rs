//! Promises about cuts: what was acknowledged is there, and none of it is half.
//!
//! Each is a run that notes what it acknowledged, and a check of what a cut left: rows as they were after some change, and no
//! earlier one than the last that was acknowledged. The power-cut tests cut before every step of the disk.

use super::*;
use crate::store::feed::{self, FeedCursor};
use crate::store::table::as_u64;
use crate::store::{Get as _, Lane, Need, Store};

/// Changes of a run. The last one is not durable: a cut may take it, but not a part of it.
const CHANGES: u64 = 31;

/// Told of each change that is to survive.
pub(crate) type Noted<'a> = &'a mut dyn FnMut(u64);

/// What the change of this number does, in three tables: sets some rows, and removes some of an earlier one.
fn step(n: u64) -> Vec<(Table, Rows)> {
    let pieces = (0..12_u8).map(|piece| ([&number(n)[..], &[piece]].concat(), vec![piece; 200]));
    let mut items = set(pieces);
    let old = number(n.saturating_sub(3));
    items.insert([&old[..], &[7]].concat(), None);
    let mut names = set([(number(n), b"there")]);
    names.insert(number(n.saturating_sub(5)), None);
    vec![
        (Table::Items, items),
        (Table::Names, names),
        (Table::Repos, set([(b"last", number(n))])),
    ]
}

/// The rows after so many changes.
fn after(changes: u64) -> Vec<(Table, Vec<Row>)> {
    let mut state: Vec<(Table, Rows)> = Vec::new();
    for (table, rows) in (1..=changes).flat_map(step) {
        match state.iter_mut().find(|(of, _)| *of == table) {
            Some((_, old)) => old.extend(rows),
            None => state.push((table, rows)),
        }
    }
    let there = |(key, value): (Vec<u8>, Option<Vec<u8>>)| Some((key, value?));
    let rows = |(table, rows): (Table, Rows)| (table, rows.into_iter().filter_map(there).collect());
    state.into_iter().map(rows).collect()
}

/// Changes of the engine alone: every third one is durable, the others are not until then.
pub(crate) fn run_engine<E: Engine>(ground: &dyn Ground, noted: Noted<'_>) -> Kept {
    let engine: E = open(ground)?;
    for n in 1..=CHANGES {
        let end = if n % 3 == 0 {
            End::Durable
        } else {
            End::Memory
        };
        engine.write(|txn| {
            for (table, rows) in step(n) {
                txn.change(table, &rows)?;
            }
            Ok(((), end))
        })?;
        if end == End::Durable {
            noted(n);
        }
    }
    ground.cut();
    Ok(())
}

/// What a cut of [`run_engine`] left, of which so many changes are to be there.
pub(crate) fn check_engine<E: Engine>(ground: &dyn Ground, kept: u64) -> Kept {
    let engine: E = open(ground)?;
    let read = engine.begin_read()?;
    let last = read.get(Table::Repos, b"last")?;
    let last = last.as_deref().and_then(as_u64).unwrap_or(0);
    holds(
        last >= kept,
        format!("change {last} is the last one, and {kept} was durable"),
    )?;
    for (table, rows) in after(last) {
        let what = format!("{} after change {last}", table.name());
        same(&all(&read, table)?, &rows, &what)?;
    }
    // It goes on from there.
    for (table, rows) in step(last + 1) {
        change(&engine, table, &rows, End::Durable)?;
    }
    Ok(())
}

pub(super) fn what_is_durable_survives_a_cut_and_nothing_is_half<E: Engine>(
    ground: &dyn Ground,
) -> Kept {
    let mut durable = 0;
    run_engine::<E>(ground, &mut |n| durable = n)?;
    check_engine::<E>(ground, durable)
}

/// Closures of a store: each is to survive once it was answered. What only the log has counts as well.
pub(crate) fn run_store<E: Engine>(ground: &dyn Ground, noted: Noted<'_>) -> Kept {
    let store = Store::<E>::open_over(ground.options(), ground.opener())?;
    for n in 1..=CHANGES {
        add(&store, n)?;
        noted(n);
    }
    ground.cut();
    store.close();
    Ok(())
}

fn add<E: Engine>(store: &Store<E>, n: u64) -> Result<(), StoreError> {
    store.write_blocking(Lane::Request, Need::Grows, "contract", move |txn| {
        for (table, rows) in step(n) {
            for (key, value) in rows {
                match value {
                    Some(value) => txn.put(table, &key, &value)?,
                    None => txn.delete(table, &key)?,
                }
            }
        }
        let now = txn.running_ms();
        txn.put(Table::Usage, b"clock", &number(now))?;
        txn.append(&number(n))
    })
}

/// What a cut of [`run_store`] left.
pub(crate) fn check_store<E: Engine>(ground: &dyn Ground, kept: u64) -> Kept {
    let store = Store::<E>::open_over(ground.options(), ground.opener())?;
    let (last, clock, fed, rows) = store.read(|r| {
        let last = r.get(Table::Repos, b"last")?;
        let last = last.as_deref().and_then(as_u64).unwrap_or(0);
        let clock = r.get(Table::Usage, b"clock")?;
        let fed = feed::read(r, &FeedCursor::START, 1000)?.rows;
        let mut rows = Vec::new();
        for (table, _) in after(1) {
            rows.push((table, r.scan(table, &[], &[], 10_000)?));
        }
        Ok::<_, StoreError>((last, clock, fed, rows))
    })?;
    holds(
        last >= kept,
        format!("change {last} is the last one, and {kept} was answered"),
    )?;
    if last > 0 {
        same(&rows, &after(last), &format!("rows after change {last}"))?;
    }
    let fed: Vec<u64> = fed.iter().filter_map(|(_, row)| as_u64(row)).collect();
    same(&fed, &(1..=last).collect(), "the feed")?;
    let clock = clock.as_deref().and_then(as_u64).unwrap_or(0);
    holds(
        store.running_ms() >= clock,
        "the clock is behind a change that it has",
    )?;
    add(&store, last + 1)?;
    store.close();
    Ok(())
}

pub(super) fn what_was_acknowledged_survives_a_cut<E: Engine>(ground: &dyn Ground) -> Kept {
    let mut answered = 0;
    run_store::<E>(ground, &mut |n| answered = n)?;
    check_store::<E>(ground, answered)
}
