//! Engines that break one promise each, on purpose.
//!
//! Owns the mutants and which promise each breaks. All of them are redb but for that one thing.

use super::*;
use crate::store::Way;
use crate::store::engine::KeySpan;
use crate::store::lock_of;
use crate::store::log::ChangeLog;
use crate::store::redb::{Redb, Snapshot};
use crate::store::table::meta;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

/// What a mutant does wrong.
pub(super) trait Wrong: Send + Sync + 'static {
    const IS: Break;
}

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident breaks $promise:ident,)*) => {
        /// The ways to break a promise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Break { $($(#[doc = $doc])* $name),* }

        $(struct $name;
        impl Wrong for $name {
            const IS: Break = Break::$name;
        })*

        /// Each mutant: what it does wrong, the promise that this breaks, and all promises tried on it.
        pub(super) fn mutants() -> Vec<(Break, &'static str, Vec<(&'static str, Promise)>)> {
            vec![$((
                Break::$name,
                stringify!($promise),
                promises::<Mutant<$name>>(),
            )),*]
        }
    };
}

mutants! {
    /// A commit that is said to be durable is in memory alone.
    NotDurable breaks what_is_durable_survives_a_cut_and_nothing_is_half,
    /// What was acknowledged is on the disk in part.
    Half breaks what_is_durable_survives_a_cut_and_nothing_is_half,
    /// What was acknowledged without the log is lost.
    LosesTheLast breaks what_was_acknowledged_survives_a_cut,
    /// A read begins with the state of the read before it.
    Stale breaks a_read_sees_all_that_was_acknowledged,
    /// A read sees what is committed while it lasts.
    Unsteady breaks a_read_sees_one_state,
    /// What failed or was given up stays: a closure that runs again counts twice.
    CountsTwice breaks what_failed_or_was_given_up_changed_nothing,
    /// A change sees rows as they were when it began.
    OwnUnseen breaks a_change_reads_its_own_changes,
    /// A change sees rows as they were before the last change: an update is lost.
    LostUpdate breaks the_next_change_reads_the_last_one,
    /// The same, seen by closures of many threads.
    LostClosure breaks closures_count_once,
    /// The same, seen by closures that decide.
    WriteSkew breaks closures_decide_one_after_the_other,
    /// Keys in the order of a language: large and small letters together.
    Collated breaks keys_are_ordered_as_their_bytes,
    /// A descending page runs upwards.
    OneWay breaks pages_run_both_ways,
    /// An open end is a bound: keys that begin with 0xff lie behind it.
    BoundEnd breaks an_open_end_is_no_bound,
    /// An empty end is the empty key, before which nothing lies.
    EmptyEnd breaks an_open_end_is_no_bound,
    /// Keys are cut at 1,024 bytes.
    ShortKeys breaks keys_and_values_come_back,
    /// An empty value is no row.
    NoEmptyValues breaks keys_and_values_come_back,
    /// Two tables are one.
    OneTable breaks tables_are_apart,
    /// Many values come in the order of the keys.
    ManyByKey breaks many_are_answered_in_the_order_asked,
    /// First rows come in the order of the spans' keys.
    FirstsByKey breaks first_rows_are_answered_in_the_order_asked,
    /// Rows of the feed come in another order.
    FeedTurned breaks the_feed_is_read_once_and_in_one_order,
    /// A row of the feed shows late, behind ones that come after it.
    FeedLate breaks the_feed_is_read_once_and_in_one_order,
    /// The feed forgets up to where it was trimmed.
    FeedWhole breaks the_feed_says_what_was_trimmed,
    /// The clock begins anew with each opening.
    ClockAnew breaks the_clock_never_goes_back,
}

/// An engine that does this wrong.
pub(super) struct Mutant<W> {
    redb: Arc<Redb>,
    /// Rows as the last read or change began with them.
    older: Mutex<Option<Snapshot>>,
    wrong: PhantomData<fn() -> W>,
}

impl<W: Wrong> Mutant<W> {
    /// Rows of now, or as they were at the last call.
    fn older(&self) -> Result<Snapshot, StoreError> {
        let now = self.redb.begin_read()?;
        let mut older = lock_of(&self.older);
        match older.replace(now) {
            Some(older) => Ok(older),
            None => self.redb.begin_read(),
        }
    }

    /// Rows that a change sees in place of those under it.
    fn seen(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(match W::IS {
            Break::OwnUnseen => Some(self.redb.begin_read()?),
            Break::LostUpdate | Break::LostClosure | Break::WriteSkew => Some(self.older()?),
            _ => None,
        })
    }
}

impl<W: Wrong> Engine for Mutant<W> {
    type Read = Bent;

    fn open(options: &StoreOptions, opener: &Opener) -> Result<(Self, ChangeLog), StoreError> {
        let (redb, log) = Redb::open(options, opener)?;
        let mutant = Self {
            redb: Arc::new(redb),
            older: Mutex::default(),
            wrong: PhantomData,
        };
        Ok((mutant, log))
    }

    fn open_frozen(options: &StoreOptions, opener: &Opener, upto: u64) -> Result<Self, StoreError> {
        Ok(Self {
            redb: Arc::new(Redb::open_frozen(options, opener, upto)?),
            older: Mutex::default(),
            wrong: PhantomData,
        })
    }

    fn begin_read(&self) -> Result<Bent, StoreError> {
        let rows = match W::IS {
            Break::Stale => self.older()?,
            _ => self.redb.begin_read()?,
        };
        let live = (W::IS == Break::Unsteady).then(|| Arc::clone(&self.redb));
        Ok(Bent {
            rows,
            live,
            is: W::IS,
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&dyn WriteRows) -> Result<(T, End), StoreError>,
    ) -> Result<T, StoreError> {
        let is = W::IS;
        let seen = self.seen()?;
        match is {
            Break::Half => {
                let (value, end, mut noted) = self.redb.write(|rows| {
                    let over = Over::new(rows, seen, is);
                    let (value, end) = change(&over)?;
                    Ok(((value, end, over.noted.into_inner()), End::Abort))
                })?;
                if end == End::Abort {
                    return Ok(value);
                }
                let rest = noted.split_off(noted.len().min(1));
                for (part, end) in [(noted, End::Durable), (rest, end)] {
                    self.redb.write(|rows| {
                        let mut part = part.iter();
                        part.try_for_each(|(table, part)| rows.change(*table, part))?;
                        Ok(((), end))
                    })?;
                }
                Ok(value)
            }
            Break::CountsTwice => self.redb.write(|rows| {
                Ok(match change(&Over::new(rows, seen, is)) {
                    Ok((value, _)) => (Ok(value), End::Durable),
                    Err(error) => (Err(error), End::Durable),
                })
            })?,
            _ => self.redb.write(|rows| {
                let (value, end) = change(&Over::new(rows, seen, is))?;
                let lies = matches!(is, Break::NotDurable | Break::LosesTheLast);
                Ok((
                    value,
                    if lies && end == End::Durable {
                        End::Memory
                    } else {
                        end
                    },
                ))
            }),
        }
    }
}

/// Rows that a mutant shows.
pub(super) struct Bent {
    rows: Snapshot,
    /// Looked at anew each time.
    live: Option<Arc<Redb>>,
    is: Break,
}

impl Bent {
    fn with<T>(&self, f: impl FnOnce(&Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.live {
            Some(redb) => f(&redb.begin_read()?),
            None => f(&self.rows),
        }
    }
}

impl ReadRows for Bent {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|rows| rows.get(one(self.is, table), key))
    }
    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        self.with(|rows| page(self.is, rows, table, (from, to), limit, way))
    }
    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.with(|rows| rows.get_many(table, &turned(keys, self.is == Break::ManyByKey)))
    }
    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        if self.is == Break::FirstsByKey {
            return self.with(|rows| rows.first_many(table, &turned(spans, true)));
        }
        let first = |(from, to): &KeySpan| Ok(self.page(table, from, to, 1, Way::Up)?.pop());
        spans.iter().map(first).collect()
    }
}

/// Rows under a change of a mutant.
struct Over<'a> {
    below: &'a dyn WriteRows,
    /// Read in the place of those.
    seen: Option<Snapshot>,
    is: Break,
    noted: RefCell<Vec<(Table, Rows)>>,
}

impl<'a> Over<'a> {
    fn new(below: &'a dyn WriteRows, seen: Option<Snapshot>, is: Break) -> Self {
        let noted = RefCell::default();
        Self {
            below,
            seen,
            is,
            noted,
        }
    }
}

impl ReadRows for Over<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.seen {
            Some(seen) => seen.get(table, key),
            None => self.below.get(one(self.is, table), key),
        }
    }
    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        match &self.seen {
            Some(seen) => page(self.is, seen, table, (from, to), limit, way),
            None => page(self.is, self.below, table, (from, to), limit, way),
        }
    }
}

impl WriteRows for Over<'_> {
    fn change(&self, table: Table, rows: &Rows) -> Result<(), StoreError> {
        let mut bent = Rows::new();
        for (key, value) in rows {
            let (mut key, mut value) = (key.clone(), value.clone());
            match self.is {
                Break::ShortKeys => key.truncate(1024),
                Break::NoEmptyValues => value = value.filter(|value| !value.is_empty()),
                Break::FeedWhole if key == meta::FEED_TRIMMED => continue,
                Break::ClockAnew if key == meta::RUNNING => continue,
                _ => {}
            }
            bent.insert(key, value);
        }
        self.noted.borrow_mut().push((table, bent.clone()));
        self.below.change(one(self.is, table), &bent)
    }
}

fn one(is: Break, table: Table) -> Table {
    match table {
        Table::Tiers if is == Break::OneTable => Table::Views,
        table => table,
    }
}

fn turned<T: Clone + Ord>(list: &[T], by_key: bool) -> Vec<T> {
    let mut list = list.to_vec();
    if by_key {
        list.sort();
    }
    list
}

fn page(
    is: Break,
    below: &(impl ReadRows + ?Sized),
    table: Table,
    (from, to): (&[u8], &[u8]),
    limit: usize,
    way: Way,
) -> Result<Vec<Row>, StoreError> {
    let table = one(is, table);
    let whole = |limit, way| below.page(table, from, to, limit, way);
    match is {
        Break::OneWay => whole(limit, Way::Up),
        Break::BoundEnd if to.is_empty() => below.page(table, from, &[0xff], limit, way),
        Break::EmptyEnd if to.is_empty() => Ok(Vec::new()),
        Break::Collated => {
            let mut rows = whole(usize::MAX, Way::Up)?;
            rows.sort_by_key(|(key, _)| key.to_ascii_lowercase());
            if way == Way::Down {
                rows.reverse();
            }
            rows.truncate(limit);
            Ok(rows)
        }
        Break::FeedTurned if table == Table::Feed => {
            let mut rows = whole(limit, way)?;
            if let [first, second, ..] = &mut rows[..] {
                std::mem::swap(&mut first.1, &mut second.1);
            }
            Ok(rows)
        }
        Break::FeedLate if table == Table::Feed => {
            let mut rows = whole(limit, way)?;
            if rows.len() > 1 {
                rows.remove(rows.len() - 2);
            }
            Ok(rows)
        }
        _ => whole(limit, way),
    }
}
