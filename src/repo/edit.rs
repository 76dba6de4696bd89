//! One revision of one repository in the making: items put and closed, with every row derived from them (refs, due,
//! changes, usage, feed), all in the caller's transaction.
//!
//! Open an [`Edit`], put, close and reference items, finish it. If nothing changed there is no new revision. It is the only
//! writer of these rows, and knows items of any class; what closing one of a class means beside that says [`super::rules`].

use super::error::RepoError;
use super::rows::keys::{self, DueKind, Name};
use super::rows::record::{ChangeRecord, ItemRecord, RepoRecord, UsageRecord};
use super::rows::usage;
use super::rules::{self, Closed};
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::record::Record;
use crate::store::{Get as _, StoreError, Table, Txn};
use crate::types::{Digest, RepoId, Rev};

/// What the rows of a transaction need to know beside the rows.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// Who does it.
    pub who: String,
    /// The action.
    pub why: &'static str,
    /// Wall clock, ms: taken before the closure, which may run again.
    pub at_ms: u64,
    /// How long a link holds without a reference (running ms).
    pub lease_ms: u64,
    /// How long the history keeps what was closed (running ms), unless the repository says otherwise.
    pub keep_ms: u64,
}

/// One revision of one repository in the making.
pub(super) struct Edit<'a, 't> {
    /// The transaction.
    pub tx: &'a mut Txn<'t>,
    /// The repository.
    pub id: RepoId,
    record: RepoRecord,
    /// The revision that is made.
    pub rev: Rev,
    changed: bool,
    /// Rows were closed, which the history keeps for a while.
    closed: bool,
    /// Who does it, and when.
    pub context: &'a Context,
}

impl<'a, 't> Edit<'a, 't> {
    /// Begins the next revision.
    pub fn open(tx: &'a mut Txn<'t>, id: RepoId, record: RepoRecord, context: &'a Context) -> Self {
        let rev = Rev(record.head + 1);
        Self {
            tx,
            id,
            record,
            rev,
            changed: false,
            closed: false,
            context,
        }
    }

    /// How long the repository keeps what was closed.
    pub fn keep_ms(&self) -> u64 {
        self.record.keep_ms.unwrap_or(self.context.keep_ms)
    }

    /// Puts an item: its live row, its reference to what it means, and the change; counts it.
    pub fn put(&mut self, name: &Name<'_>, item: &ItemRecord) -> Result<(), StoreError> {
        // Within one revision the last write wins: a row that this revision closed stays in the past, one that it
        // added before is overwritten by the same key.
        self.tx.put(
            Table::Items,
            &keys::item(self.id, name, false, self.rev),
            &item.to_bytes()?,
        )?;
        self.tx
            .put(Table::Changes, &keys::change(self.id, self.rev, name), &[])?;
        self.changed = true;
        if let Some(target) = item.digest() {
            let key = keys::item_ref(&target, self.id, name, self.rev);
            self.tx.put(Table::Refs, &key, &[])?;
        }
        self.count(|usage| usage.add(name.class(), item.size))
    }

    /// Closes a live row: it moves to the past, and what it needed stays referenced until the history is pruned.
    pub fn close(
        &mut self,
        name: &Name<'_>,
        added: Rev,
        mut item: ItemRecord,
    ) -> Result<(), StoreError> {
        self.tx
            .delete(Table::Items, &keys::item(self.id, name, false, added))?;
        let leaves_past = added < self.rev;
        if leaves_past {
            item.removed = self.rev.0;
            self.tx.put(
                Table::Items,
                &keys::item(self.id, name, true, added),
                &item.to_bytes()?,
            )?;
        }
        self.tx
            .put(Table::Changes, &keys::change(self.id, self.rev, name), &[])?;
        self.changed = true;
        self.closed = true;
        self.count(|usage| usage.take(name.class(), item.size))?;
        let rules = rules::of(name.class());
        rules.closed(
            self,
            &Closed {
                name: *name,
                added,
                item: &item,
                leaves_past,
            },
        )
    }

    /// Drops the reference of an item that this very revision added: nobody ever saw it, so it leaves no past.
    pub fn unreference(
        &mut self,
        name: &Name<'_>,
        target: &Digest,
        added: Rev,
    ) -> Result<(), StoreError> {
        let key = keys::item_ref(target, self.id, name, added);
        self.tx.delete(Table::Refs, &key)
    }

    /// Changes the repository's figures.
    pub fn count(&mut self, change: impl FnOnce(&mut UsageRecord)) -> Result<(), StoreError> {
        let mut usage = usage(self.tx, self.id)?;
        change(&mut usage);
        self.tx
            .put(Table::Usage, &keys::repo(self.id), &usage.to_bytes()?)
    }

    /// Moves the head and writes the revision's change and feed rows, if anything changed.
    pub fn finish(mut self) -> Result<Rev, RepoError> {
        if !self.changed {
            return Ok(Rev(self.record.head));
        }
        let context = self.context;
        let row = ChangeRecord {
            at_ms: context.at_ms,
            who: context.who.clone(),
            why: context.why.into(),
        };
        self.tx.put(
            Table::Changes,
            &keys::change_head(self.id, self.rev),
            &row.to_bytes()?,
        )?;
        let feed = FeedRecord {
            kind: FeedKind::Revision as u8,
            repo: self.id.0,
            name: self.record.name.clone(),
            rev: self.rev.0,
            at_ms: context.at_ms,
            who: context.who.clone(),
            why: context.why.into(),
        };
        feed::tell(self.tx, &feed)?;
        if self.closed {
            let now = self.tx.running_ms();
            let what = keys::due_rev(self.id, self.rev);
            let key = keys::due(now + self.keep_ms(), DueKind::History, &what);
            self.tx.put(Table::Due, &key, &now.to_be_bytes())?;
        }
        self.record.head = self.rev.0;
        self.tx
            .put(Table::Repos, &keys::repo(self.id), &self.record.to_bytes()?)?;
        Ok(self.rev)
    }
}
