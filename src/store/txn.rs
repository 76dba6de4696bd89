//! Writing: one closure's overlay, and the batch that overlays are merged into.
//!
//! A closure reads its own changes over those of the closures before it in the batch, over the last commit. Its
//! changes wait in the overlay until it has returned Ok; then they are merged into the batch's transaction of the engine.

use super::cause::{Cause, FeedCause};
use super::engine::{KeySpan, Rows, WriteRows};
use super::epochs::{Ends, Subject};
use super::feed::FeedRecord;
use super::log;
use super::read::{Looks, Way, bounds, merge};
use super::record::Record as _;
use super::table::{KEY_LIMIT, meta};
use super::{Get, Need, Row, StoreError, Table, feed};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most row changes of one closure.
pub const ROW_LIMIT: usize = 5_000;

/// Changes by table and key; `None` is a deleted row.
pub(super) type Overlay = BTreeMap<Table, Rows>;

/// A write transaction's overlay.
pub struct Txn<'a> {
    /// The batch so far.
    base: &'a dyn WriteRows,
    running_ms: u64,
    need: Need,
    overlay: Overlay,
    changes: usize,
    failed: RefCell<Option<StoreError>>,
    looks: Looks,
    cause: Option<&'a Cause>,
    told: bool,
    ends: &'a Ends,
}

impl<'a> Txn<'a> {
    pub(super) fn new(batch: &'a Batch<'_>, need: Need, cause: Option<&'a Cause>) -> Self {
        Self {
            base: batch.below,
            running_ms: batch.running_ms,
            need,
            cause,
            told: false,
            ends: &batch.ends,
            overlay: Overlay::new(),
            changes: 0,
            failed: RefCell::new(None),
            looks: Looks::default(),
        }
    }

    /// The changes, or the first failure of a verb: a closure that overlooks one must not half succeed.
    pub(super) fn finish(self) -> Result<Overlay, StoreError> {
        match self.failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(self.overlay),
        }
    }

    /// Sets a row. Refuses values over 64 KiB (256 KiB in `Bytes` and `Pages`), keys over 2,000 bytes, more than 5,000 row changes in
    /// one closure, rows of the feed (see [`Txn::append`]), the store's own rows in `Meta`, and content where the change does
    /// not say that it grows.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let put = check_put(self.need, table, key, value);
        self.noted(put)?;
        self.change(table, key, Some(value.to_vec()))
    }

    /// Removes a row (absent is fine).
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let free = not_reserved(table, key);
        self.noted(free)?;
        self.change(table, key, None)
    }

    /// Sets a row of the store's own.
    pub(super) fn put_own(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.change(Table::Meta, key, Some(value.to_vec()))
    }

    /// Removes a row of the store's own.
    #[cfg(test)]
    pub(super) fn delete_own(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.change(Table::Meta, key, None)
    }

    /// How many rows it changes so far.
    pub fn changed(&self) -> usize {
        self.changes
    }

    /// Appends to the feed; order is commit order.
    pub fn append(&mut self, value: &[u8]) -> Result<(), StoreError> {
        let fits = check_len("a feed row", value.len(), Table::Feed.value_limit());
        self.noted(fits)?;
        let sequence = feed::next(self)?;
        self.change(Table::Feed, &sequence.to_be_bytes(), Some(value.to_vec()))
    }

    /// Ends what memory knows of this once the change is seen, before anybody is answered: for a change that no row of the
    /// feed tells of. One that is refused after this may end it as well.
    pub fn ends(&mut self, subject: Subject<'_>) {
        self.ends.mark(subject);
    }

    /// The same of all that memory knows, for a rare change of which is not known what it touches.
    pub fn ends_everything(&mut self) {
        self.ends.everything();
    }

    /// Appends a row that [`feed::tell`] tells, and ends what it tells of.
    pub(super) fn tell(&mut self, row: &FeedRecord) -> Result<(), StoreError> {
        self.ends.told(row);
        self.append(&row.to_bytes()?)
    }

    /// What the next row of the feed says of the request behind it.
    pub(super) fn cause(&mut self) -> FeedCause {
        match self.cause {
            None => FeedCause::None,
            Some(_) if self.told => FeedCause::Before,
            Some(cause) => {
                self.told = true;
                FeedCause::Words(cause.words())
            }
        }
    }

    /// Whether a request stands behind the transaction, and not the server itself.
    pub fn is_asked_for(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether a row of the feed got the words of the request behind it.
    pub(super) fn has_told(&self) -> bool {
        self.told
    }

    fn change(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let full = self.changes >= ROW_LIMIT;
        match self.overlay.entry(table).or_default().entry(key.to_vec()) {
            Entry::Occupied(mut old) => {
                old.insert(value);
            }
            Entry::Vacant(_) if full => return self.noted(Err(StoreError::TooMany(ROW_LIMIT))),
            Entry::Vacant(slot) => {
                slot.insert(value);
                self.changes += 1;
            }
        }
        Ok(())
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failed
                .borrow_mut()
                .get_or_insert_with(|| error.clone());
        }
        result
    }
}

impl Get for Txn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.looks.one();
        match self.overlay.get(&table).and_then(|t| t.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.noted(self.base.get(table, key)),
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
        let span = bounds(from, to);
        let changes = span.and_then(|span| {
            let changes = self.overlay.get(&table)?;
            Some(changes.range::<[u8], _>(span))
        });
        // At most so many rows of the base vanish from the page.
        let gone = changes
            .clone()
            .into_iter()
            .flatten()
            .filter(|(_, change)| change.is_none())
            .count();
        let limit_below = limit.saturating_add(gone);
        let rows = self.noted(self.base.page(table, from, to, limit_below, way))?;
        let rows = self.looks.page(rows);
        Ok(match (changes, way) {
            (None, _) => rows,
            (Some(changes), Way::Up) => merge(rows, changes, limit, way),
            (Some(changes), Way::Down) => merge(rows, changes.rev(), limit, way),
        })
    }

    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.looks.many(keys.len());
        let Some(own) = self.overlay.get(&table) else {
            return self.noted(self.base.get_many(table, keys));
        };
        let below: Vec<_> = keys
            .iter()
            .filter(|k| !own.contains_key(*k))
            .cloned()
            .collect();
        let mut below = self.noted(self.base.get_many(table, &below))?.into_iter();
        let value = |key| {
            own.get(key)
                .cloned()
                .unwrap_or_else(|| below.next().flatten())
        };
        Ok(keys.iter().map(value).collect())
    }

    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        let Some(own) = self.overlay.get(&table) else {
            self.looks.many(spans.len());
            return self.noted(self.base.first_many(table, spans));
        };
        // What was not changed here is asked for at once.
        let is_touched = |(from, to): &KeySpan| {
            bounds(from, to).is_some_and(|span| own.range::<[u8], _>(span).next().is_some())
        };
        let below: Vec<_> = spans.iter().filter(|s| !is_touched(s)).cloned().collect();
        self.looks.many(below.len());
        let mut below = self.noted(self.base.first_many(table, &below))?.into_iter();
        let first = |span: &KeySpan| {
            if is_touched(span) {
                Ok(self.page(table, &span.0, &span.1, 1, Way::Up)?.pop())
            } else {
                Ok(below.next().flatten())
            }
        };
        spans.iter().map(first).collect()
    }

    fn running_ms(&self) -> u64 {
        self.running_ms
    }

    fn looked(&self) -> usize {
        self.looks.get()
    }
}

fn not_reserved(table: Table, key: &[u8]) -> Result<(), StoreError> {
    if table == Table::Meta && key.starts_with(meta::PREFIX) {
        return Err(StoreError::Reserved("this row of the meta table"));
    }
    Ok(())
}

fn check_put(need: Need, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if table == Table::Feed {
        return Err(StoreError::Reserved("the feed"));
    }
    if need != Need::Grows && matches!(table, Table::Bytes | Table::Pages) {
        return Err(StoreError::Small);
    }
    not_reserved(table, key)?;
    check_len("a key", key.len(), KEY_LIMIT)?;
    check_len("a value", value.len(), table.value_limit())
}

fn check_len(what: &'static str, len: usize, limit: usize) -> Result<(), StoreError> {
    if len > limit {
        return Err(StoreError::TooLarge { what, len, limit });
    }
    Ok(())
}

/// What a batch came to.
pub(super) struct Ended {
    /// What the log gets, if it may be short enough.
    pub changes: Option<Vec<u8>>,
    /// How far the store is: for redb's file, if the log has no room.
    pub own: Rows,
    /// What memory knows no more.
    pub ends: Ends,
}

/// One transaction of the engine that the overlays of a batch are merged into.
pub(super) struct Batch<'t> {
    below: &'t dyn WriteRows,
    running_ms: u64,
    rows: Cell<usize>,
    bytes: Cell<usize>,
    most_looked: Cell<usize>,
    ends: Ends,
    /// What was merged, as it goes to the log; `None` if it is longer than `room`.
    changes: RefCell<Option<Vec<u8>>>,
    room: usize,
}

impl<'t> Batch<'t> {
    /// Nothing is written yet. Up to `room` bytes of changes are kept for the log, in `memory`, whatever it holds.
    pub fn new(
        below: &'t dyn WriteRows,
        running_ms: u64,
        room: usize,
        mut memory: Vec<u8>,
    ) -> Self {
        memory.clear();
        Self {
            below,
            running_ms,
            rows: Cell::new(0),
            bytes: Cell::new(0),
            most_looked: Cell::new(0),
            ends: Ends::default(),
            changes: RefCell::new(Some(memory)),
            room,
        }
    }

    /// Rows merged so far.
    pub fn rows(&self) -> usize {
        self.rows.get()
    }

    /// Bytes of their keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// A closure has looked at so many rows.
    pub fn note_looks(&self, rows: usize) {
        self.most_looked.set(self.most_looked.get().max(rows));
    }

    /// The most rows that one closure looked at.
    pub fn most_looked(&self) -> usize {
        self.most_looked.get()
    }

    /// Takes one closure's changes over. An error spoils the whole batch.
    pub fn merge(&self, overlay: &Overlay) -> Result<(), StoreError> {
        for (table, rows) in overlay {
            self.merge_rows(*table, rows)?;
        }
        Ok(())
    }

    /// The same for the rows of one table.
    pub fn merge_rows(&self, table: Table, rows: &Rows) -> Result<(), StoreError> {
        self.below.change(table, rows)?;
        let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        self.rows.set(self.rows.get() + rows.len());
        self.bytes
            .set(self.bytes.get() + rows.iter().map(size).sum::<usize>());
        let mut changes = self.changes.borrow_mut();
        if let Some(bytes) = changes.as_mut() {
            log::add(bytes, table, rows);
            if bytes.len() > self.room {
                *changes = None;
            }
        }
        Ok(())
    }

    /// Ends the batch of this number. The rows that say how far the store is are not merged: redb's file gets them with the
    /// next durable commit, the log with each batch.
    pub fn end(self, number: u64) -> Result<Ended, StoreError> {
        let row = |key: &[u8], value: u64| (key.to_vec(), Some(value.to_be_bytes().to_vec()));
        let mut own = Rows::from([
            row(meta::RUNNING, self.running_ms),
            row(meta::BATCH, number),
        ]);
        let last = self.below.page(Table::Feed, &[], &[], 1, Way::Down)?;
        if let Some((key, _)) = last.first() {
            own.extend([row(meta::FEED_NEXT, feed::after(key)?)]);
        }
        let mut changes = self.changes.into_inner();
        if let Some(bytes) = &mut changes {
            log::add(bytes, Table::Meta, &own);
        }
        let ends = self.ends;
        Ok(Ended { changes, own, ends })
    }
}
