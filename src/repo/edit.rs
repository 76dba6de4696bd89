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
use crate::store::cause::FeedCause;
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
    /// It is one of many transactions of a stage: the head stays where it is.
    staged: bool,
    /// Who does it, and when.
    pub context: &'a Context,
}

impl<'a, 't> Edit<'a, 't> {
    /// Begins the next revision.
    ///
    /// # Errors
    /// [`RepoError::Staged`] while a stage makes that one.
    pub fn open(
        tx: &'a mut Txn<'t>,
        id: RepoId,
        record: RepoRecord,
        context: &'a Context,
    ) -> Result<Self, RepoError> {
        not_staged(&record)?;
        Ok(Self::begin(tx, id, record, context, false))
    }

    /// Goes on with the revision that a stage makes, which the caller has found to be its own.
    pub fn staged(
        tx: &'a mut Txn<'t>,
        id: RepoId,
        record: RepoRecord,
        context: &'a Context,
    ) -> Self {
        Self::begin(tx, id, record, context, true)
    }

    fn begin(
        tx: &'a mut Txn<'t>,
        id: RepoId,
        record: RepoRecord,
        context: &'a Context,
        staged: bool,
    ) -> Self {
        let rev = Rev(record.head + 1);
        Self {
            tx,
            id,
            record,
            rev,
            changed: false,
            closed: false,
            staged,
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

    /// Writes the revision's own change row, if anything changed, and has it seen; one of a stage is seen with the others of
    /// its stage.
    pub fn finish(self) -> Result<Rev, RepoError> {
        if !self.changed {
            return Ok(Rev(self.record.head));
        }
        let (id, context) = (self.id, self.context);
        put_head(self.tx, id, self.rev, context)?;
        if !self.staged {
            let keep_ms = self.closed.then(|| self.keep_ms());
            reveal(self.tx, id, self.record, keep_ms, context)?;
        }
        Ok(self.rev)
    }
}

/// Refuses a repository whose next revision a stage makes.
pub(super) fn not_staged(record: &RepoRecord) -> Result<(), RepoError> {
    match record.stage {
        None => Ok(()),
        Some(_) => Err(RepoError::Staged(record.name.clone())),
    }
}

/// Writes time, person and reason of a revision.
pub(super) fn put_head(
    tx: &mut Txn<'_>,
    id: RepoId,
    rev: Rev,
    context: &Context,
) -> Result<(), StoreError> {
    let row = ChangeRecord {
        at_ms: context.at_ms,
        who: context.who.clone(),
        why: context.why.into(),
    };
    let key = keys::change_head(id, rev);
    tx.put(Table::Changes, &key, &row.to_bytes()?)
}

/// Moves the head to the next revision, whose rows are written, and tells the feed. `keep_ms`: it closed rows, which the
/// history keeps for so long.
pub(super) fn reveal(
    tx: &mut Txn<'_>,
    id: RepoId,
    mut record: RepoRecord,
    keep_ms: Option<u64>,
    context: &Context,
) -> Result<Rev, StoreError> {
    let rev = Rev(record.head + 1);
    let feed = FeedRecord {
        kind: FeedKind::Revision as u8,
        repo: id.0,
        name: record.name.clone(),
        rev: rev.0,
        at_ms: context.at_ms,
        who: context.who.clone(),
        why: context.why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, feed)?;
    if let Some(keep_ms) = keep_ms {
        let now = tx.running_ms();
        let key = keys::due(now + keep_ms, DueKind::History, &keys::due_rev(id, rev));
        tx.put(Table::Due, &key, &now.to_be_bytes())?;
    }
    record.head = rev.0;
    tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
    Ok(rev)
}
