//! What any engine must pass: one function for each promise of [`engine`](super::engine), and of the store above it.
//!
//! Owns the promises, the grounds that they are tried on, and mutants: engines that break one promise each, so that the suite is
//! known to see it. The power-cut tests run the same functions on their own disk (`testing/power/cases/contract.rs`). A new
//! engine is another type in `tests.rs`. Must not look into an engine: what it does shows in rows alone.

#![allow(clippy::unwrap_used)]

mod closures;
pub(crate) mod cuts;
mod mutants;
mod rows;
mod tests;
mod transactions;

use super::disk::Opener;
use super::engine::{End, Engine, ReadRows, Rows, WriteRows};
use super::{Row, StoreError, StoreOptions, Table};

/// Where an engine is tried: a disk of its own, with nothing on it.
pub(crate) trait Ground {
    /// The options of a store there.
    fn options(&self) -> StoreOptions;
    /// Its disk.
    fn opener(&self) -> Opener;
    /// The program ends at once, and with it, on a disk that knows how, the power: what is opened from now on finds what that
    /// left. What is open goes on with what was.
    fn cut(&self);
}

/// How a promise was broken.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("an error: {error}"))
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nothing, if it was kept.
pub(crate) type Kept = Result<(), Broken>;

/// A promise tried on fresh ground.
pub(crate) type Promise = fn(&dyn Ground) -> Kept;

/// All promises, each with its name.
pub(crate) fn promises<E: Engine>() -> Vec<(&'static str, Promise)> {
    macro_rules! named {
        ($($module:ident::$name:ident),* $(,)?) => {
            vec![$((stringify!($name), $module::$name::<E> as Promise)),*]
        };
    }
    named![
        rows::keys_are_ordered_as_their_bytes,
        rows::pages_run_both_ways,
        rows::an_open_end_is_no_bound,
        rows::keys_and_values_come_back,
        rows::tables_are_apart,
        rows::many_are_answered_in_the_order_asked,
        rows::first_rows_are_answered_in_the_order_asked,
        transactions::a_read_sees_all_that_was_acknowledged,
        transactions::a_read_sees_one_state,
        transactions::what_failed_or_was_given_up_changed_nothing,
        transactions::a_change_reads_its_own_changes,
        transactions::the_next_change_reads_the_last_one,
        cuts::what_is_durable_survives_a_cut_and_nothing_is_half,
        cuts::what_was_acknowledged_survives_a_cut,
        closures::closures_count_once,
        closures::closures_decide_one_after_the_other,
        closures::the_feed_is_read_once_and_in_one_order,
        closures::the_feed_says_what_was_trimmed,
        closures::the_clock_never_goes_back,
    ]
}

/// Says how a promise was broken, unless this holds.
fn holds(it: bool, what: impl Into<String>) -> Kept {
    if it { Ok(()) } else { Err(Broken(what.into())) }
}

/// The same for what should be equal.
fn same<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T, what: &str) -> Kept {
    let short = |value: &T| {
        let mut text = format!("{value:?}");
        text.truncate(300);
        text
    };
    let text = || format!("{what}: {} in place of {}", short(seen), short(wanted));
    if seen == wanted {
        Ok(())
    } else {
        Err(Broken(text()))
    }
}

/// An engine on this ground.
fn open<E: Engine>(ground: &dyn Ground) -> Result<E, StoreError> {
    let (options, opener) = (ground.options(), ground.opener());
    opener.make_dir(&options.dir)?;
    Ok(E::open(&options, &opener)?.0)
}

/// One transaction that changes rows of one table.
fn change<E: Engine>(engine: &E, table: Table, rows: &Rows, end: End) -> Result<(), StoreError> {
    engine.write(|txn| Ok((txn.change(table, rows)?, end)))
}

/// Rows to be set.
fn set<K: AsRef<[u8]>, V: AsRef<[u8]>>(rows: impl IntoIterator<Item = (K, V)>) -> Rows {
    let row = |(key, value): (K, V)| (key.as_ref().to_vec(), Some(value.as_ref().to_vec()));
    rows.into_iter().map(row).collect()
}

/// All rows of a table.
fn all(rows: &(impl ReadRows + ?Sized), table: Table) -> Result<Vec<Row>, StoreError> {
    rows.page(table, &[], &[], usize::MAX, super::Way::Up)
}

/// A number as a key or a value.
fn number(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}
