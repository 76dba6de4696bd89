//! From a due row to the steps that it asks for: what may be read outside a transaction is read here, the children of
//! manifests above all. Steps name what they drop; each transaction looks again whether it may.

use super::Tally;
use super::apply::is_needed;
use super::step::Step;
use crate::repo::Inner;
use crate::repo::bounded::is_spent;
use crate::repo::error::RepoError;
use crate::repo::failures::Failures;
use crate::repo::rows::keys::{self, Class, DueKind, ItemKey, Name};
use crate::repo::rows::record::{ItemRecord, RepoRecord};
use crate::repo::rows::{self, number};
use crate::repo::stage;
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId, Rev};

/// The same of one step that looks whether a live manifest needs them.
const LAPSING: usize = 50;
/// Item rows that one due row's plan drops before it is planned again.
pub(super) const ITEMS: usize = 100;
/// Change rows that one step looks at, and one plan of a revision.
pub(super) const NAMES: usize = 200;
/// Bytes of manifests that one plan reads, about, for what they name.
const BYTES: u64 = 16 << 20;

/// How much later, at most, a row is looked at again whose manifests cannot be read for now (running ms).
const AGAIN_MS: u64 = 10 * 60 * 1000;

/// The steps for a page of due rows.
pub(super) struct StepPlan<'a, 'r> {
    pub(super) inner: &'a Inner,
    pub(super) read: &'a Read<'r>,
    pub(super) purge: bool,
    pub(super) now: u64,
    steps: Vec<Step>,
    pub(super) tally: Tally,
    /// Bytes of manifests that were read.
    pub(super) bytes: u64,
    /// Manifests that could not be read for now.
    unread: Failures,
}

impl<'a, 'r> StepPlan<'a, 'r> {
    /// Plans over one view of the store; with `purge` the past is over, whatever its time.
    pub fn new(inner: &'a Inner, read: &'a Read<'r>, purge: bool) -> Self {
        Self {
            inner,
            read,
            purge,
            now: read.running_ms(),
            steps: Vec::new(),
            tally: Tally::default(),
            bytes: 0,
            unread: Failures::default(),
        }
    }

    /// Whether this read has looked at so much that another row, or another part of one, belongs into the next.
    pub fn is_full(&self) -> bool {
        is_spent(self.read) || self.bytes > BYTES
    }

    /// The steps and what they come to.
    pub fn finish(self) -> (Vec<Step>, Tally) {
        self.unread.tell(
            "some removed manifests cannot be read, so what they named stays; it is tried again within ten minutes",
        );
        (self.steps, self.tally)
    }

    /// Plans one due row, or with `from` the part of it that comes then; answers where to go on with it once these steps
    /// are carried out.
    pub fn row(
        &mut self,
        key: &[u8],
        value: &[u8],
        from: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        if from.is_none() && self.waits(key)? {
            return Ok(None);
        }
        self.tally.examined += u64::from(from.is_none());
        let before = self.steps.len();
        match self.part(key, value, from) {
            Err(error) if is_unread(&error) => {
                // Half of a row's steps would forget what the manifest names.
                self.steps.truncate(before);
                self.unread.add(error);
                // A sweep that looks ahead comes to it once more, and must find it put off to the same time then.
                self.push(Step::Later {
                    key: key.into(),
                    at: (self.now / AGAIN_MS + 1) * AGAIN_MS,
                    value: value.into(),
                })?;
                Ok(None)
            }
            planned => planned,
        }
    }

    /// Whether a due row acts on what is live, of a repository whose next revision a stage makes: what that closed is at the
    /// head still. Its row stays until the stage has ended.
    fn waits(&self, key: &[u8]) -> Result<bool, RepoError> {
        let Some((_, kind, what)) = keys::due_parts(key) else {
            return Ok(false);
        };
        let acts = match kind {
            DueKind::Untagged
            | DueKind::Subject
            | DueKind::Past
            | DueKind::Closed
            | DueKind::List => true,
            DueKind::Lease
            | DueKind::Orphan
            | DueKind::History
            | DueKind::Repo
            | DueKind::Unpinned
            | DueKind::Snapshot => false,
        };
        match Parts(what).u64().filter(|_| acts) {
            Some(id) => Ok(stage::staged_rev(self.read, RepoId(id))?.is_some()),
            None => Ok(false),
        }
    }

    /// The same, if all that it wants to read can be read.
    fn part(
        &mut self,
        key: &[u8],
        value: &[u8],
        from: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        if let Some((at, DueKind::History, what)) = keys::due_parts(key) {
            let mut parts = Parts(what);
            if let (Some(id), Some(rev)) = (parts.u64(), parts.u64()) {
                let revision = (RepoId(id), Rev(rev));
                return self.history(key, at, number(value), revision, from);
            }
        }
        if let Some((at, DueKind::List, what)) = keys::due_parts(key) {
            let mut parts = Parts(what);
            if let (Some(id), Some(subject)) = (parts.u64(), parts.digest()) {
                return self.list(key, at, (RepoId(id), subject), from);
            }
        }
        if let Some((_, DueKind::Unpinned, what)) = keys::due_parts(key) {
            let mut parts = Parts(what);
            if let (Some(id), Some(rev)) = (parts.u64(), parts.u64()) {
                return self.unpinned(key, (RepoId(id), Rev(rev)), from);
            }
        }
        self.whole(key, value).map(|()| None)
    }

    /// Plans a due row that takes one part.
    fn whole(&mut self, key: &[u8], value: &[u8]) -> Result<(), RepoError> {
        let planned = keys::due_parts(key).and_then(|(at, kind, what)| {
            let mut parts = Parts(what);
            Some(match kind {
                DueKind::Lease => self.lease(key, at, parts.digest()?, RepoId(parts.u64()?)),
                DueKind::Orphan => {
                    let digest = parts.digest()?;
                    self.push(Step::Orphan {
                        key: key.into(),
                        digest,
                    })
                }
                DueKind::Untagged => {
                    let (id, digest) = (RepoId(parts.u64()?), parts.digest()?);
                    self.untagged(key, at, number(value), id, digest)
                }
                // Those that can be read were planned before.
                DueKind::History | DueKind::List | DueKind::Unpinned => return None,
                DueKind::Snapshot => {
                    let (id, title) = (RepoId(parts.u64()?), parts.text()?.to_owned());
                    if at > self.now {
                        return Some(Ok(()));
                    }
                    self.push(Step::Expire {
                        key: key.into(),
                        id,
                        title,
                    })
                }
                DueKind::Subject => {
                    let (id, subject) = (RepoId(parts.u64()?), parts.digest()?);
                    self.subject(key, id, &subject, parts.rest())
                }
                DueKind::Past => {
                    let (id, digest) = (RepoId(parts.u64()?), parts.digest()?);
                    self.past(key, id, &digest, Rev(parts.u64()?))
                }
                DueKind::Closed => {
                    let (id, digest) = (RepoId(parts.u64()?), parts.digest()?);
                    self.closed(key, id, &digest)
                }
                DueKind::Repo => self.repo(key, at, number(value), RepoId(parts.u64()?)),
            })
        });
        planned.unwrap_or_else(|| {
            tracing::warn!(key = ?key, "a due row that nobody can read was dropped");
            self.push(Step::Done { key: key.into() })
        })
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the last line of functions that do fail"
    )]
    pub(super) fn push(&mut self, step: Step) -> Result<(), RepoError> {
        self.steps.push(step);
        Ok(())
    }

    pub(super) fn done(&mut self, key: &[u8]) -> Result<(), RepoError> {
        self.push(Step::Done { key: key.into() })
    }

    /// Repository by number: `None` if its rows are gone.
    pub(super) fn record(&self, id: RepoId) -> Result<Option<RepoRecord>, RepoError> {
        let row = self.read.get(Table::Repos, &keys::repo(id))?;
        Ok(row.map(|row| RepoRecord::from_bytes(&row)).transpose()?)
    }

    pub(super) fn keep_ms(&self, record: &RepoRecord) -> u64 {
        let default = self.inner.options.keep.as_millis() as u64;
        record.keep_ms.unwrap_or(default)
    }

    fn lease(&mut self, key: &[u8], at: u64, digest: Digest, id: RepoId) -> Result<(), RepoError> {
        if at <= self.now {
            let key = key.into();
            return self.push(Step::Lease { key, digest, id });
        }
        let end = self.read.get(Table::Refs, &keys::link(&digest, id))?;
        let is_current = end.is_some_and(|end| number(&end) == at);
        if is_current && !rows::is_kept(self.read, id, &digest)? {
            self.tally.kept_by_lease += 1;
        }
        Ok(())
    }

    fn untagged(
        &mut self,
        key: &[u8],
        at: u64,
        since: u64,
        id: RepoId,
        digest: Digest,
    ) -> Result<(), RepoError> {
        let Some(record) = self.record(id)?.filter(|r| !r.deleted) else {
            return self.done(key);
        };
        let ends = if since == 0 {
            0
        } else {
            since + self.keep_ms(&record)
        };
        if !self.purge && ends > self.now {
            let item = rows::live(self.read, id, &Name::manifest(&digest))?;
            if let Some((_, item)) = item
                && !is_needed(self.read, id, &digest, &item)?
            {
                self.tally.kept_by_history += 1;
            }
            return self.later(key, at, ends, since);
        }
        if at > self.now && !self.purge {
            // Only its lease holds it; the step would find that out, too.
            let held = self.read.get(Table::Mentions, &keys::held(&digest, id))?;
            if held.is_some_and(|end| number(&end) > self.now) {
                return Ok(());
            }
        }
        self.push(Step::Untagged {
            key: key.into(),
            id,
            digest,
            since,
        })
    }

    /// Moves a due row to the time that the settings of today ask for.
    pub(super) fn later(
        &mut self,
        key: &[u8],
        at: u64,
        ends: u64,
        since: u64,
    ) -> Result<(), RepoError> {
        if at == ends {
            return Ok(());
        }
        self.push(Step::Later {
            key: key.into(),
            at: ends,
            value: since.to_be_bytes().into(),
        })
    }

    fn subject(
        &mut self,
        key: &[u8],
        id: RepoId,
        subject: &Digest,
        after: &[u8],
    ) -> Result<(), RepoError> {
        let (mut from, to) = keys::referrers(id, false, subject).range();
        from.extend_from_slice(after);
        let rows = self.read.scan(Table::Referrers, &from, &to, NAMES)?;
        let digests = rows
            .iter()
            .filter_map(|(key, _)| keys::referrer_parts(key).map(|(_, digest)| digest))
            .collect();
        self.push(Step::Suspect { id, digests })?;
        if let Some((last, _)) = rows.last().filter(|_| rows.len() == NAMES) {
            let prefix = keys::referrers(id, false, subject).done().len();
            let what = [&keys::due_in(id, subject), &last[prefix..], &[0]].concat();
            self.push(Step::Later {
                key: keys::due(self.now, DueKind::Subject, &what),
                at: self.now,
                value: Vec::new(),
            })?;
        }
        self.done(key)
    }

    /// A manifest that is in the past: what it had been pushed for is shown no longer than a lease.
    fn closed(&mut self, key: &[u8], id: RepoId, digest: &Digest) -> Result<(), RepoError> {
        let (from, to) = keys::item_rows(id, &Name::manifest(digest), true).range();
        // Without a past row its blobs were let go with it.
        if let Some((_, row)) = self.read.scan(Table::Items, &from, &to, 1)?.pop() {
            let item = ItemRecord::from_bytes(&row)?;
            let children = self.children(digest, &item.media_type)?;
            for children in children.chunks(LAPSING) {
                let children = children.to_vec();
                self.push(Step::Lapse { id, children })?;
            }
        }
        self.done(key)
    }

    fn past(
        &mut self,
        key: &[u8],
        id: RepoId,
        digest: &Digest,
        added: Rev,
    ) -> Result<(), RepoError> {
        let name = Name::manifest(digest).to_owned();
        let row = keys::item(id, &name.as_name(), true, added);
        if let Some(row) = self.read.get(Table::Items, &row)? {
            self.item(
                id,
                &name,
                true,
                added,
                &ItemRecord::from_bytes(&row)?,
                false,
            )?;
        }
        self.done(key)
    }

    /// A page of a deleted repository's rows: items first, for they know what is to be let go.
    ///
    /// Its own row stays one lease longer than the rest: until then links of uploads may stand, and quotas know by the
    /// name what they count for. `stage` is 0 before that, the time of the last row after it.
    fn repo(&mut self, key: &[u8], at: u64, stage: u64, id: RepoId) -> Result<(), RepoError> {
        if at > self.now {
            return Ok(());
        }
        // The row is a hint, also when it is damage: nothing goes that was not deleted, or of which that is not known.
        if !self.record(id)?.is_some_and(|record| record.deleted) {
            tracing::error!(
                id = id.0,
                "a due row asks to remove a repository that is not deleted; it was dropped"
            );
            return self.done(key);
        }
        let (before, mut unread) = (self.steps.len(), None);
        let mut left = ITEMS;
        for class in Class::of_items() {
            for past in [false, true] {
                let (from, to) = keys::items(id, class, past).range();
                for (key, value) in self.read.scan(Table::Items, &from, &to, left)? {
                    left -= 1;
                    if let Some(ItemKey { name, added, .. }) = keys::of_item(&key) {
                        let name = name.to_owned();
                        let item = ItemRecord::from_bytes(&value)?;
                        match self.item(id, &name, past, added, &item, true) {
                            Err(error) if is_unread(&error) => unread = Some(error),
                            planned => planned?,
                        }
                    }
                    if self.is_full() {
                        return Ok(());
                    }
                }
            }
        }
        // The others go first; then there is nothing to do but to wait.
        if let Some(error) = unread.filter(|_| self.steps.len() == before) {
            return Err(error);
        }
        if left < ITEMS {
            return Ok(());
        }
        let mut left = 2 * NAMES;
        let tables = [
            Table::Changes,
            Table::Referrers,
            Table::Fills,
            Table::Pins,
            Table::Snapshots,
        ];
        for table in tables {
            let (from, to) = keys::of_repo(id).range();
            let rows = self.read.scan(table, &from, &to, left)?;
            left -= rows.len();
            let keys = rows.into_iter().map(|(key, _)| key).collect();
            self.push(Step::Erase { table, keys })?;
        }
        if left < 2 * NAMES {
            return Ok(());
        }
        if stage == 0 {
            let lease = self.inner.options.lease.as_millis() as u64;
            return self.later(key, at, self.now + lease + 1, self.now);
        }
        self.push(Step::EndRepo {
            key: key.into(),
            id,
        })
    }
}

/// Whether a manifest could not be read for now: see [`read::bytes_if_whole`](crate::repo::images::read::bytes_if_whole).
pub(super) fn is_unread(error: &RepoError) -> bool {
    matches!(error, RepoError::Blob(_) | RepoError::BlobUnknown(_))
}
