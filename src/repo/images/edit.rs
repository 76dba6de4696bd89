//! Manifests and tags in an [`Edit`]: what is derived from a manifest beside its item (what it names, its subject, leases),
//! in the caller's transaction.

use super::parts;
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::format::Inspected;
use crate::repo::quota;
use crate::repo::rows::keys::{self, Class, DueKind, Name};
use crate::repo::rows::record::{ItemRecord, ReferrerRecord, SourceRecord};
use crate::repo::rows::{self, arrive, live};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table};
use crate::types::{AttachedTag, Digest, ItemName, Rev, Tag};

/// A manifest about to become an item; its bytes are durable or go into `bytes` in the same transaction.
#[derive(Debug, Clone)]
pub(in crate::repo) struct NewManifest {
    pub digest: Digest,
    pub size: u64,
    pub inspected: Inspected,
    pub source: SourceRecord,
    pub tags: Vec<Tag>,
}

impl Edit<'_, '_> {
    /// Whether the manifest's content may be missing; answers what is missing.
    pub fn missing(&self, inspected: &Inspected) -> Result<Vec<Digest>, StoreError> {
        let needed = inspected.children.iter().filter(|c| !c.optional);
        let needed: Vec<_> = needed.map(|child| child.digest).collect();
        let held = rows::holds_many(self.tx, self.id, &needed)?;
        let missing = needed.into_iter().zip(held).filter(|(_, held)| !held);
        Ok(missing.map(|(digest, _)| digest).collect())
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

    /// A manifest without a tag, or with one less: a lease keeps it for those who rely on having seen it.
    pub(super) fn hold(&mut self, digest: &Digest) -> Result<(), StoreError> {
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
        let was_hidden = self.unhide(new)?;
        self.put(&name, &item)?;
        let own = keys::item_ref(&new.digest, self.id, &name, self.rev);
        // Its own reference stayed with it, and keeps it already.
        let by: &[u8] = if was_hidden { &[] } else { &own };
        quota::gain(self.tx, self.id, &new.digest, new.size, by)?;
        let children: Vec<_> = new.inspected.children.iter().map(|c| c.digest).collect();
        let held = rows::holds_many(self.tx, self.id, &children)?;
        for (child, held) in children.iter().zip(held) {
            let class = if held { Class::Manifest } else { Class::Wanted };
            let key = keys::manifest_ref(child, self.id, class, &new.digest, self.rev);
            self.tx.put(keys::table(class), &key, &[])?;
        }
        Ok(arrive(self.tx, self.id, &new.digest)?)
    }

    /// A manifest that this revision added and closed waits in the past for the collector, with what it names; added again, it
    /// is there no more. Answers whether it was.
    fn unhide(&mut self, new: &NewManifest) -> Result<bool, StoreError> {
        let past = keys::item(self.id, &Name::manifest(&new.digest), true, self.rev);
        if self.tx.get(Table::Items, &past)?.is_none() {
            return Ok(false);
        }
        self.tx.delete(Table::Items, &past)?;
        for child in &new.inspected.children {
            for class in [Class::Manifest, Class::Wanted] {
                let digest = &child.digest;
                let key = keys::manifest_ref(digest, self.id, class, &new.digest, self.rev);
                self.tx.delete(keys::table(class), &key)?;
            }
        }
        if let Some(subject) = &new.inspected.subject {
            let kind = &new.inspected.artifact_type;
            let row = keys::referrer(self.id, true, subject, kind, &new.digest, self.rev);
            self.tx.delete(Table::Referrers, &row)?;
        }
        Ok(true)
    }

    /// Has the collector drop a manifest that this very revision added, with what it names: no revision shows it.
    pub(super) fn hide(&mut self, digest: &Digest, item: &ItemRecord) -> Result<(), StoreError> {
        let mut item = item.clone();
        item.removed = self.rev.0;
        let past = keys::item(self.id, &Name::manifest(digest), true, self.rev);
        self.tx.put(Table::Items, &past, &item.to_bytes()?)?;
        let what = [
            keys::due_in(self.id, digest),
            self.rev.0.to_be_bytes().to_vec(),
        ]
        .concat();
        let due = keys::due(self.tx.running_ms(), DueKind::Past, &what);
        self.tx.put(Table::Due, &due, &[])
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
        self.put(&name, &self.item(new))
    }

    /// Those who referred to a manifest that is gone are looked at by the collector; and the list of them, if there is one,
    /// when their leases are over.
    pub(super) fn leave_referrers(&mut self, subject: &Digest) -> Result<(), StoreError> {
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
    pub(super) fn leave_blobs(&mut self, digest: &Digest) -> Result<(), StoreError> {
        let what = keys::due_in(self.id, digest);
        let now = self.tx.running_ms();
        self.tx
            .put(Table::Due, &keys::due(now, DueKind::Closed, &what), &[])
    }

    pub(super) fn close_referrer(
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
}

/// A manifest's row among the referrers of its subject.
pub(in crate::repo) fn referrer_row(
    inspected: &Inspected,
    size: u64,
    removed: u64,
) -> ReferrerRecord {
    ReferrerRecord {
        removed,
        media_type: inspected.media_type.as_str().into(),
        size,
        annotations: inspected.annotations.clone().unwrap_or_default(),
        long: inspected.annotations.is_none(),
    }
}
