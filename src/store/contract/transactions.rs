//! Promises about transactions: what one sees, and what of one stays.

use super::*;
use crate::store::table::as_u64;

fn counter(rows: &(impl ReadRows + ?Sized)) -> Result<u64, StoreError> {
    let row = rows.get(Table::Names, b"count")?;
    Ok(row.as_deref().and_then(as_u64).unwrap_or(0))
}

/// Adds one to a row, as a closure does: from what it reads.
fn count(txn: &dyn WriteRows) -> Result<u64, StoreError> {
    let next = counter(txn)? + 1;
    txn.change(Table::Names, &set([(b"count", number(next))]))?;
    Ok(next)
}

pub(super) fn a_read_sees_all_that_was_acknowledged<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    for n in 1..=20 {
        let end = if n % 4 == 0 {
            End::Durable
        } else {
            End::Memory
        };
        engine.write(|txn| Ok((count(txn)?, end)))?;
        same(
            &counter(&engine.begin_read()?)?,
            &n,
            "what was acknowledged",
        )?;
    }
    Ok(())
}

pub(super) fn a_read_sees_one_state<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    let pair = |n| set([(b"one", number(n)), (b"two", number(n))]);
    change(&engine, Table::Items, &pair(0), End::Durable)?;
    for n in 1..=6 {
        let read = engine.begin_read()?;
        let one = read.get(Table::Items, b"one")?;
        let end = if n % 2 == 0 {
            End::Durable
        } else {
            End::Memory
        };
        change(&engine, Table::Items, &pair(n), end)?;
        change(&engine, Table::Names, &set([(number(n), b"")]), end)?;
        let two = read.get(Table::Items, b"two")?;
        same(&two, &one, "two rows that are always alike")?;
        // Also of a table that it had not looked at.
        let there = read.get(Table::Names, &number(n))?;
        same(&there, &None, "a row of later")?;
    }
    Ok(())
}

pub(super) fn what_failed_or_was_given_up_changed_nothing<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    engine.write(|txn| Ok((count(txn)?, End::Durable)))?;
    let failed = engine.write(|txn| {
        count(txn)?;
        Err::<((), End), _>(StoreError::Busy)
    });
    same(
        &failed,
        &Err(StoreError::Busy),
        "the answer of a change that failed",
    )?;
    same(
        &counter(&engine.begin_read()?)?,
        &1,
        "after a change that failed",
    )?;
    for _ in 0..3 {
        engine.write(|txn| Ok((count(txn)?, End::Abort)))?;
        same(
            &counter(&engine.begin_read()?)?,
            &1,
            "after a change that was given up",
        )?;
    }
    // The same closure once more, and now it ends.
    let again = engine.write(|txn| Ok((count(txn)?, End::Durable)))?;
    same(&again, &2, "a change that ran again")?;
    ground.cut();
    drop(engine);
    let engine: E = open(ground)?;
    same(
        &counter(&engine.begin_read()?)?,
        &2,
        "a change that ran again, on the disk",
    )
}

pub(super) fn a_change_reads_its_own_changes<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    change(
        &engine,
        Table::Items,
        &set([(b"a", b"1"), (b"b", b"1"), (b"d", b"1")]),
        End::Memory,
    )?;
    let seen = engine.write(|txn| {
        txn.change(Table::Items, &set([(b"c", b"2"), (b"d", b"2")]))?;
        txn.change(
            Table::Items,
            &Rows::from([(b"a".to_vec(), None), (b"x".to_vec(), None)]),
        )?;
        let many = ["a", "b", "c", "d"].map(|key| key.as_bytes().to_vec());
        let values = txn.get_many(Table::Items, &many)?;
        let gone = txn.get(Table::Items, b"a")?;
        Ok(((all(txn, Table::Items)?, values, gone), End::Durable))
    })?;
    let row = |key: &[u8; 1], value: &[u8; 1]| (key.to_vec(), value.to_vec());
    let rows = vec![row(b"b", b"1"), row(b"c", b"2"), row(b"d", b"2")];
    let mut values = vec![None];
    values.extend(rows.iter().map(|row| Some(row.1.clone())));
    same(&seen, &(rows.clone(), values, None), "rows inside a change")?;
    same(
        &all(&engine.begin_read()?, Table::Items)?,
        &rows,
        "rows after it",
    )
}

pub(super) fn the_next_change_reads_the_last_one<E: Engine>(ground: &dyn Ground) -> Kept {
    let engine: E = open(ground)?;
    let (threads, each) = (4, 25);
    // The lanes let in one at a time; which, nobody knows.
    let lane = std::sync::Mutex::new(());
    let add = || {
        for n in 0..each {
            let _turn = super::super::lock_of(&lane);
            let end = if n % 5 == 0 {
                End::Durable
            } else {
                End::Memory
            };
            engine.write(|txn| Ok((count(txn)?, end)))?;
        }
        Ok::<_, StoreError>(())
    };
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|_| s.spawn(add)).collect();
        all.into_iter()
            .try_for_each(|thread| thread.join().unwrap())
    })?;
    same(
        &counter(&engine.begin_read()?)?,
        &(threads * each),
        "what all of them added",
    )
}
