//! One revision of one repository in the making: items put and closed, with every row derived from them (refs, due,
//! changes, usage, feed), all in the caller's transaction.
//!
//! Open a [`Change`], put and close items, finish it. If nothing changed there is no new revision.

use super::error::RepoError;
use super::format::Inspected;
use super::images::parts;
use super::quota;
use super::rows::keys::{self, Class, DueKind, Name};
use super::rows::record::{
    ChangeRecord, FeedRecord, ItemRecord, ReferrerRecord, RepoRecord, SourceRecord, UsageRecord,
};
use super::rows::{self, arrive, live, usage};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{AttachedTag, Digest, ItemName, RepoId, Rev, Tag};

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

/// A manifest about to become an item; its bytes are durable or go into `bytes` in the same transaction.
#[derive(Debug, Clone)]
pub(super) struct NewManifest {
    pub digest: Digest,
    pub size: u64,
    pub inspected: Inspected,
    pub source: SourceRecord,
    pub tags: Vec<Tag>,
}
/// One revision of one repository in the making.
pub(super) struct Change<'a, 't> {
    tx: &'a mut Txn<'t>,
    id: RepoId,
    record: RepoRecord,
    rev: Rev,
    changed: bool,
    /// Rows were closed, which the history keeps for a while.
    closed: bool,
    context: &'a Context,
}

impl<'a, 't> Change<'a, 't> {
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

    /// Whether the manifest's content may be missing; answers what is missing.
    pub fn missing(&self, inspected: &Inspected) -> Result<Vec<Digest>, StoreError> {
        let mut missing = Vec::new();
        for child in inspected.children.iter().filter(|c| !c.optional) {
            if !rows::holds(self.tx, self.id, &child.digest)? {
                missing.push(child.digest);
            }
        }
        Ok(missing)
    }

    /// Makes a manifest an item, with its references and referrer row, and moves its tags to it.
    pub fn put_manifest(&mut self, new: &NewManifest) -> Result<(), RepoError> {
        let name = Name::manifest(&new.digest);
        let media_type = new.inspected.media_type.as_str();
        let was_wanted = match live(self.tx, self.id, &name)? {
            Some((_, item)) if item.media_type == media_type => false,
            // Two of a closure cannot differ in the type alone: the first one stands.
            Some((added, _)) if added == self.rev => false,
            before => {
                if let Some((added, item)) = before {
                    self.close(&name, added, item)?;
                }
                self.add_manifest(new)?
            }
        };
        parts::came(self.tx, self.id, new, was_wanted, self.context.lease_ms)?;
        if new.tags.is_empty() {
            self.hold(&new.digest)?;
        }
        for tag in &new.tags {
            self.put_tag(tag, new)?;
        }
        Ok(())
    }

    /// How long the repository keeps what was closed.
    fn keep_ms(&self) -> u64 {
        self.record.keep_ms.unwrap_or(self.context.keep_ms)
    }

    /// A manifest without a tag, or with one less: a lease keeps it for those who rely on having seen it.
    fn hold(&mut self, digest: &Digest) -> Result<(), StoreError> {
        let (lease_ms, keep_ms) = (self.context.lease_ms, self.keep_ms());
        rows::hold(self.tx, self.id, digest, lease_ms, keep_ms)
    }

    fn item(&self, new: &NewManifest) -> ItemRecord {
        ItemRecord {
            removed: Rev::NEVER.0,
            target: new.digest.as_key().to_vec(),
            size: new.size,
            media_type: new.inspected.media_type.as_str().into(),
            source: new.source.clone(),
            at_ms: self.context.at_ms,
            own: Vec::new(),
            artifact_type: String::new(),
        }
    }

    /// Answers whether other manifests named it before.
    fn add_manifest(&mut self, new: &NewManifest) -> Result<bool, RepoError> {
        let mut item = self.item(new);
        if let Some(subject) = &new.inspected.subject {
            item.own = subject.as_key().to_vec();
            item.artifact_type.clone_from(&new.inspected.artifact_type);
            self.add_referrer(new, subject)?;
        }
        let name = Name::manifest(&new.digest);
        self.add(&name, &item)?;
        let own = keys::item_ref(&new.digest, self.id, &name, self.rev);
        self.tx.put(Table::Refs, &own, &[])?;
        quota::gain(self.tx, self.id, &new.digest, new.size, &own)?;
        for child in &new.inspected.children {
            let class = if rows::holds(self.tx, self.id, &child.digest)? {
                Class::Manifest
            } else {
                Class::Wanted
            };
            let key = keys::manifest_ref(&child.digest, self.id, class, &new.digest, self.rev);
            self.tx.put(keys::table(class), &key, &[])?;
        }
        let was_wanted = arrive(self.tx, self.id, &new.digest)?;
        self.count(|usage| usage.add(Class::Manifest, new.size))?;
        Ok(was_wanted)
    }

    fn add_referrer(&mut self, new: &NewManifest, subject: &Digest) -> Result<(), StoreError> {
        let inspected = &new.inspected;
        let row = referrer_row(inspected, new.size, Rev::NEVER.0);
        let key = keys::referrer(
            self.id,
            false,
            subject,
            &inspected.artifact_type,
            &new.digest,
            self.rev,
        );
        self.tx.put(Table::Referrers, &key, &row.to_bytes()?)
    }

    fn put_tag(&mut self, tag: &Tag, new: &NewManifest) -> Result<(), StoreError> {
        let name = Name::tag(tag.as_str());
        if let Some((added, item)) = live(self.tx, self.id, &name)? {
            if item.digest() == Some(new.digest)
                && item.media_type == new.inspected.media_type.as_str()
            {
                return Ok(());
            }
            self.close(&name, added, item)?;
        }
        self.add(&name, &self.item(new))?;
        let key = keys::item_ref(&new.digest, self.id, &name, self.rev);
        self.tx.put(Table::Refs, &key, &[])?;
        self.count(|usage| usage.add(Class::Tag, new.size))
    }

    fn add(&mut self, name: &Name<'_>, item: &ItemRecord) -> Result<(), StoreError> {
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
        Ok(())
    }

    /// Closes a live row: it moves to the past, and what it needed stays referenced until the history is pruned.
    fn close(
        &mut self,
        name: &Name<'_>,
        added: Rev,
        mut item: ItemRecord,
    ) -> Result<(), StoreError> {
        self.tx
            .delete(Table::Items, &keys::item(self.id, name, false, added))?;
        let target = item.digest();
        if added < self.rev {
            item.removed = self.rev.0;
            self.tx.put(
                Table::Items,
                &keys::item(self.id, name, true, added),
                &item.to_bytes()?,
            )?;
        } else if let (Class::Tag, Some(target)) = (name.class(), &target) {
            // Added by this very revision: nobody ever saw it, so it leaves no past.
            let key = keys::item_ref(target, self.id, name, added);
            self.tx.delete(Table::Refs, &key)?;
        }
        self.tx
            .put(Table::Changes, &keys::change(self.id, self.rev, name), &[])?;
        self.changed = true;
        self.closed = true;
        self.count(|usage| usage.take(name.class(), item.size))?;
        let Some(digest) = &name.as_manifest() else {
            return target.map_or(Ok(()), |digest| self.hold(&digest));
        };
        quota::lose(self.tx, self.id, digest, item.size)?;
        parts::forget(self.tx, self.id, digest)?;
        self.leave_referrers(digest)?;
        self.leave_blobs(digest)?;
        self.close_referrer(digest, added, &item)
    }

    /// Those who referred to a manifest that is gone are looked at by the collector; and the list of them, if there is one,
    /// when their leases are over.
    fn leave_referrers(&mut self, subject: &Digest) -> Result<(), StoreError> {
        let (from, to) = keys::referrers(self.id, false, subject).range();
        let now = self.tx.running_ms();
        let what = keys::due_in(self.id, subject);
        if !self.tx.scan(Table::Referrers, &from, &to, 1)?.is_empty() {
            let key = keys::due(now, DueKind::Subject, &what);
            self.tx.put(Table::Due, &key, &[])?;
        }
        let list = AttachedTag::list_of(subject);
        if live(self.tx, self.id, &Name::tag(&list))?.is_some() {
            let key = keys::due(now + self.context.lease_ms, DueKind::List, &what);
            self.tx.put(Table::Due, &key, &[])?;
        }
        Ok(())
    }

    /// The blobs of a manifest that is gone are looked at by the collector.
    fn leave_blobs(&mut self, digest: &Digest) -> Result<(), StoreError> {
        let what = keys::due_in(self.id, digest);
        let now = self.tx.running_ms();
        self.tx
            .put(Table::Due, &keys::due(now, DueKind::Closed, &what), &[])
    }

    fn close_referrer(
        &mut self,
        digest: &Digest,
        added: Rev,
        item: &ItemRecord,
    ) -> Result<(), StoreError> {
        let Ok(subject) = Digest::from_key(&item.own) else {
            return Ok(());
        };
        let live = keys::referrer(self.id, false, &subject, &item.artifact_type, digest, added);
        if let Some(row) = self.tx.get(Table::Referrers, &live)? {
            let mut row = ReferrerRecord::from_bytes(&row)?;
            row.removed = self.rev.0;
            self.tx.delete(Table::Referrers, &live)?;
            let past = keys::referrer(self.id, true, &subject, &item.artifact_type, digest, added);
            self.tx.put(Table::Referrers, &past, &row.to_bytes()?)?;
        }
        Ok(())
    }

    /// Removes a tag; whether there was one.
    pub fn delete_tag(&mut self, tag: &str) -> Result<bool, StoreError> {
        let name = Name::tag(tag);
        match live(self.tx, self.id, &name)? {
            Some((added, item)) => self.close(&name, added, item).map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes a tag if it means this digest.
    pub fn delete_tag_of(&mut self, name: &ItemName, digest: &Digest) -> Result<(), StoreError> {
        let name = name.as_name();
        match live(self.tx, self.id, &name)? {
            Some((added, item)) if item.digest() == Some(*digest) => self.close(&name, added, item),
            _ => Ok(()),
        }
    }

    /// Removes a manifest; whether there was one.
    pub fn delete_manifest(&mut self, digest: &Digest) -> Result<bool, StoreError> {
        let name = Name::manifest(digest);
        match live(self.tx, self.id, &name)? {
            Some((added, item)) => self.close(&name, added, item).map(|()| true),
            None => Ok(false),
        }
    }

    fn count(&mut self, change: impl FnOnce(&mut UsageRecord)) -> Result<(), StoreError> {
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
            repo: self.id.0,
            name: self.record.name.clone(),
            rev: self.rev.0,
            at_ms: context.at_ms,
            who: context.who.clone(),
            why: context.why.into(),
        };
        self.tx.append(&feed.to_bytes()?)?;
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

/// A manifest's row among the referrers of its subject.
pub(super) fn referrer_row(inspected: &Inspected, size: u64, removed: u64) -> ReferrerRecord {
    ReferrerRecord {
        removed,
        media_type: inspected.media_type.as_str().into(),
        size,
        annotations: inspected.annotations.clone().unwrap_or_default(),
        long: inspected.annotations.is_none(),
    }
}
