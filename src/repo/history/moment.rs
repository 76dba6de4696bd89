//! Reading as of a revision: what tags, manifests and blobs a repository showed then. Not cached: it is asked rarely.
//! What takes more than a seek goes on from hop to hop, a few reads at once ([`crate::repo::bounded`]).

use crate::cache::Cache;
use crate::repo::bounded::{Next, Pages, left};
use crate::repo::error::RepoError;
use crate::repo::history::tags_at::TagsAt;
use crate::repo::images::read;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::{ChangeRecord, RepoRecord};
use crate::repo::shown::readable;
use crate::repo::{Blob, Inner, Manifest, Repos, TagPage, rows};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table};
use crate::types::{Digest, Kind, Page, Reference, RepoId, RepoName, Rev};
use std::sync::Arc;

impl Repos {
    /// The newest revision that was made at this time (wall clock, ms) or before; refused if the history no longer keeps
    /// what it showed.
    pub async fn rev_at(&self, name: &RepoName, at_ms: u64) -> Result<Rev, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let (id, record) = crate::repo::visible(r, name.as_str(), Kind::Oci)?
                .ok_or(RepoError::NameUnknown(name.clone()))?;
            let rev = rev_at(r, id, &record, at_ms)?;
            readable(r, id, &record, rev)?;
            Ok(rev)
        })
        .await
    }

    /// The manifest of a tag or digest at a revision.
    pub async fn manifest_at(
        &self,
        name: &RepoName,
        reference: &Reference,
        rev: Rev,
    ) -> Result<Manifest, RepoError> {
        let (name, reference) = (name.clone(), reference.clone());
        self.hop(move |inner, r| {
            let id = repo_at(r, &name, rev)?;
            let unknown = || RepoError::ManifestUnknown(reference.to_string());
            let item = match &reference {
                Reference::Tag(tag) => rows::at(r, id, &Name::tag(tag.as_str()), rev)?,
                Reference::Digest(digest) => rows::at(r, id, &Name::manifest(digest), rev)?,
            };
            let (_, item) = item.ok_or_else(unknown)?;
            let digest = item.digest().ok_or_else(unknown)?;
            if let Some((added, _)) = rows::at(r, id, &Name::manifest(&digest), rev)? {
                remember(inner, id, rev, (digest, added));
            }
            Ok(Manifest {
                blob: read::open_manifest(inner, r, &digest)?,
                media_type: item.media_type.parse().map_err(|_| unknown())?,
            })
        })
        .await
    }

    /// The blob, if a manifest of that revision needs it.
    pub async fn blob_at(
        &self,
        name: &RepoName,
        digest: &Digest,
        rev: Rev,
    ) -> Result<Blob, RepoError> {
        let (wanted, digest) = (name.clone(), *digest);
        let known = self.hop(move |inner, r| {
            let id = repo_at(r, &wanted, rev)?;
            let known = is_of_recent(inner, r, id, &digest, rev)?;
            known.then(|| read::open(inner, r, &digest)).transpose()
        });
        if let Some(blob) = known.await? {
            return Ok(blob);
        }
        let wanted = name.clone();
        self.long_read(
            |inner| &inner.past,
            None,
            None,
            move |inner, r, parents: &mut Option<Pages>| {
                let id = repo_at(r, &wanted, rev)?;
                let range = keys::refs_in(&digest, id, Class::Manifest).range();
                let parents = parents.get_or_insert_with(|| Pages::new(Table::Refs, range));
                match shown_at(r, id, parents, rev)? {
                    Shown::By(parent, added) => {
                        remember(inner, id, rev, (parent, added));
                        read::open(inner, r, &digest).map(Some)
                    }
                    Shown::NotYet => Ok(None),
                    Shown::Not => Err(RepoError::BlobUnknown(digest)),
                }
            },
        )
        .await
    }

    /// One page of the tags of a revision. It may be short, or empty, and not the last.
    pub async fn tags_at(
        &self,
        name: &RepoName,
        rev: Rev,
        page: &Page,
    ) -> Result<TagPage, RepoError> {
        let (name, limit) = (name.clone(), page.limit());
        let last = page.last.clone().filter(|l| !l.contains('\0'));
        self.long_read(
            |inner| &inner.past,
            None,
            TagsAt::begin(rev, limit, last),
            move |_, r, tags| tags.go_on(r, repo_at(r, &name, rev)?),
        )
        .await
    }
}

/// What is wrong with a history whose revisions have no times.
const LOST: &str =
    "many revisions of a repository have lost their time; `dryport check` says which";

/// The newest revision that was made at this time (wall clock, ms) or before.
pub(in crate::repo) fn rev_at(
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    at_ms: u64,
) -> Result<Rev, RepoError> {
    // Times rise with revisions, but for a clock that was set back; then any revision of that time will do.
    let (mut below, mut above) = (0, record.head + 1);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        match made(r, id, Rev(middle), Rev(above))? {
            Some((_, at)) if at <= at_ms => below = middle,
            _ => above = middle,
        }
    }
    Ok(Rev(below))
}

/// The first revision from `from` on, before `to`, that the history has a time of.
fn made(r: &Read<'_>, id: RepoId, from: Rev, to: Rev) -> Result<Option<(Rev, u64)>, RepoError> {
    let mut key = keys::change_head(id, from);
    let end = keys::change_head(id, to);
    while let Some((found, row)) = r.scan(Table::Changes, &key, &end, 1)?.pop() {
        let mut parts = Parts(&found);
        let rev = parts.u64().and_then(|_| parts.u64()).map(Rev);
        match (rev, parts.u8()) {
            (Some(rev), Some(0)) => {
                return Ok(Some((rev, ChangeRecord::from_bytes(&row)?.at_ms)));
            }
            // A revision whose head row is missing, which is damage; one more is looked at, and not all that there are.
            (Some(rev), _) if left(r) > 0 => key = keys::change_head(id, Rev(rev.0 + 1)),
            (Some(_), _) => return Err(StoreError::Damaged(LOST.into()).into()),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The repository of a name, if it can still be read as of the revision.
pub(in crate::repo) fn repo_at(
    r: &Read<'_>,
    name: &RepoName,
    rev: Rev,
) -> Result<RepoId, RepoError> {
    let (id, record) = crate::repo::visible(r, name.as_str(), Kind::Oci)?
        .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    readable(r, id, &record, rev)?;
    Ok(id)
}

/// Whether a revision shows a blob.
enum Shown {
    /// A manifest needs it, added by this revision.
    By(Digest, Rev),
    /// There is more to look at.
    NotYet,
    /// Nothing does.
    Not,
}

/// Looks on, one hop long, for a manifest that was there at the revision and needs the digest.
fn shown_at(r: &Read<'_>, id: RepoId, parents: &mut Pages, rev: Rev) -> Result<Shown, RepoError> {
    loop {
        let page = match parents.next(r, 2)? {
            Next::Rows(page) => page,
            Next::Spent => return Ok(Shown::NotYet),
            Next::End => return Ok(Shown::Not),
        };
        for (key, _) in &page {
            let parent = keys::ref_head(key).and_then(|(_, _, rest)| keys::parent_of(rest));
            if let Some((parent, added)) = parent
                && added <= rev
                && is_there(r, id, &parent, added, rev)?
            {
                return Ok(Shown::By(parent, added));
            }
        }
    }
}

/// Whether the manifest that this revision added was there at `rev`.
fn is_there(
    r: &Read<'_>,
    id: RepoId,
    manifest: &Digest,
    added: Rev,
    rev: Rev,
) -> Result<bool, RepoError> {
    let found = rows::at(r, id, &Name::manifest(manifest), rev)?;
    Ok(found.is_some_and(|(found, _)| found == added))
}

/// Manifests that were lately read as of a revision, or found to need a blob then, the latest first: who pulls an image
/// of the past asks for a manifest and then for its blobs.
pub(in crate::repo) type Recent = Cache<(RepoId, Rev), Arc<[(Digest, Rev)]>>;

/// Bytes of memory for them.
const RECENT_BYTES: u64 = 2 << 20;
/// Manifests remembered of one revision.
const RECENT: usize = 16;

/// Nothing yet.
pub(in crate::repo) fn recent() -> Recent {
    Cache::new(RECENT_BYTES, None, |_, manifests| {
        16 + manifests.len() * size_of::<(Digest, Rev)>()
    })
}

/// Notes a manifest and the revision that added it.
fn remember(inner: &Inner, id: RepoId, rev: Rev, manifest: (Digest, Rev)) {
    let before = inner.recent.get(&(id, rev)).unwrap_or_default();
    if before.first() == Some(&manifest) {
        return;
    }
    let others = before.iter().filter(|m| **m != manifest);
    let all = std::iter::once(&manifest).chain(others).take(RECENT);
    inner.recent.insert((id, rev), all.copied().collect());
}

/// Whether one of those manifests needs the digest; what memory says of them is looked up.
fn is_of_recent(
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
    rev: Rev,
) -> Result<bool, RepoError> {
    for (parent, added) in inner.recent.get(&(id, rev)).unwrap_or_default().iter() {
        let key = keys::manifest_ref(digest, id, Class::Manifest, parent, *added);
        if r.get(Table::Refs, &key)?.is_some() && is_there(r, id, parent, *added, rev)? {
            return Ok(true);
        }
    }
    Ok(false)
}
