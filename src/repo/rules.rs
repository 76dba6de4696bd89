//! What items of a class mean beside their own rows: the hooks that editing and reclaiming call, one implementation a class.
//!
//! Owns the trait and the table of who implements it. Each hook runs inside the caller's transaction, looks at a few rows and
//! decides from rows alone.

use super::edit::Edit;
use super::files::rules::Paths;
use super::images::rules::{Manifests, Tags};
use super::rows::keys::{self, Class, Name};
use super::rows::record::ItemRecord;
use crate::store::{StoreError, Txn};
use crate::types::{Digest, RepoId, Rev};

/// An item whose row was closed by an edit.
pub(super) struct Closed<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// The revision that added it.
    pub added: Rev,
    /// Its row, as it is now.
    pub item: &'a ItemRecord,
    /// It was there in a revision before; else this very edit had added it, and its row is gone.
    pub leaves_past: bool,
}

/// An item whose row was dropped by the collector.
pub(super) struct Dropped<'a> {
    /// The repository.
    pub id: RepoId,
    /// Its name.
    pub name: Name<'a>,
    /// The revision that added it.
    pub added: Rev,
    /// Whether it was of the past; a live one goes with its repository alone.
    pub past: bool,
    /// Its row.
    pub item: &'a ItemRecord,
    /// The lease of what it let go (ms).
    pub lease_ms: u64,
}

impl Dropped<'_> {
    /// The key of its own reference.
    pub fn own_ref(&self, target: &Digest) -> Vec<u8> {
        keys::item_ref(target, self.id, &self.name, self.added)
    }
}

/// An item that is live again: what closed it is taken back, and nobody saw that.
pub(super) struct Reopened<'a> {
    /// The repository.
    pub id: RepoId,
    /// Its name.
    pub name: Name<'a>,
    /// The revision that added it.
    pub added: Rev,
    /// Its row.
    pub item: &'a ItemRecord,
    /// How long a lease is (ms).
    pub lease_ms: u64,
    /// How long the history keeps what was closed (ms).
    pub keep_ms: u64,
}

/// What the items of a class mean beside their own rows.
pub(super) trait Rules: Sync {
    /// After a row was closed.
    fn closed(&self, edit: &mut Edit<'_, '_>, closed: &Closed<'_>) -> Result<(), StoreError>;

    /// After a row that was closed became live again, with its references as they were.
    fn reopened(&self, tx: &mut Txn<'_>, reopened: &Reopened<'_>) -> Result<(), StoreError>;

    /// After a row was dropped: its references go.
    fn dropped(&self, tx: &mut Txn<'_>, dropped: &Dropped<'_>) -> Result<(), StoreError>;
}

/// Of classes without items.
struct None;

impl Rules for None {
    fn closed(&self, _: &mut Edit<'_, '_>, _: &Closed<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopened(&self, _: &mut Txn<'_>, _: &Reopened<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn dropped(&self, _: &mut Txn<'_>, _: &Dropped<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The rules of a class.
pub(super) fn of(class: Class) -> &'static dyn Rules {
    match class {
        Class::Tag => &Tags,
        Class::Manifest => &Manifests,
        Class::Path => &Paths,
        Class::Link | Class::Wanted | Class::Held | Class::Part => &None,
    }
}
