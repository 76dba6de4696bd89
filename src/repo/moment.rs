//! Reading as of a revision: what tags, manifests and blobs a repository showed then. Not cached: it is asked rarely.

use super::error::RepoError;
use super::keys::{self, Class, Name};
use super::record::{ChangeRecord, ItemRecord};
use super::restore::readable;
use super::{Blob, Manifest, Repos, TagPage, read, rows};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, Page, Reference, RepoId, RepoName, Rev};

/// Rows read in one page.
const PAGE: usize = 500;

impl Repos {
    /// The newest revision that was made at this time (wall clock, ms) or before; refused if the history no longer keeps
    /// what it showed.
    pub async fn rev_at(&self, name: &RepoName, at_ms: u64) -> Result<Rev, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let (id, record) =
                super::visible(r, name.as_str())?.ok_or(RepoError::NameUnknown(name.clone()))?;
            // Times rise with revisions, but for a clock that was set back; then any revision of that time will do.
            let (mut below, mut above) = (0, record.head + 1);
            while above - below > 1 {
                let middle = below + (above - below) / 2;
                match made(r, id, Rev(middle), Rev(above))? {
                    Some((_, at)) if at <= at_ms => below = middle,
                    _ => above = middle,
                }
            }
            let rev = Rev(below);
            readable(&record, rev)?;
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
                Reference::Tag(tag) => rows::at(r, id, &Name::Tag(tag.as_str()), rev)?,
                Reference::Digest(digest) => rows::at(r, id, &Name::Manifest(digest), rev)?,
            };
            let (_, item) = item.ok_or_else(unknown)?;
            let digest = item.digest().ok_or_else(unknown)?;
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
        let (name, digest) = (name.clone(), *digest);
        self.hop(move |inner, r| {
            let id = repo_at(r, &name, rev)?;
            if !shown_at(r, id, &digest, rev)? {
                return Err(RepoError::BlobUnknown(digest));
            }
            read::open(inner, r, &digest)
        })
        .await
    }

    /// One page of the tags of a revision.
    pub async fn tags_at(
        &self,
        name: &RepoName,
        rev: Rev,
        page: &Page,
    ) -> Result<TagPage, RepoError> {
        let (name, page) = (name.clone(), page.clone());
        self.hop(move |_, r| {
            let id = repo_at(r, &name, rev)?;
            let mut last = page.last.clone().filter(|l| !l.contains('\0'));
            let mut tags = Vec::new();
            while tags.len() <= page.limit() {
                let Some(tag) = next_tag(r, id, last.as_deref())? else {
                    break;
                };
                if rows::at(r, id, &Name::Tag(&tag), rev)?.is_some()
                    && let Ok(tag) = tag.parse()
                {
                    tags.push(tag);
                }
                last = Some(tag);
            }
            let more = tags.len() > page.limit();
            tags.truncate(page.limit());
            Ok(TagPage { tags, more })
        })
        .await
    }
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
            // Names of an earlier revision that begins before `from`: on to the next one.
            (Some(rev), _) => key = keys::change_head(id, Rev(rev.0 + 1)),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The repository of a name, if it can still be read as of the revision.
pub(super) fn repo_at(r: &Read<'_>, name: &RepoName, rev: Rev) -> Result<RepoId, RepoError> {
    let (id, record) =
        super::visible(r, name.as_str())?.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    readable(&record, rev)?;
    Ok(id)
}

/// Whether a manifest that was there at the revision names the digest.
fn shown_at(r: &Read<'_>, id: RepoId, digest: &Digest, rev: Rev) -> Result<bool, RepoError> {
    let (mut from, to) = keys::refs_in(digest, id, Class::Manifest).range();
    loop {
        let page = r.scan(Table::Refs, &from, &to, PAGE)?;
        for (key, _) in &page {
            let parent = keys::ref_head(key).and_then(|(_, _, rest)| keys::parent_of(rest));
            if let Some((parent, added)) = parent
                && rows::at(r, id, &Name::Manifest(&parent), rev)?
                    .is_some_and(|(found, _)| found == added)
            {
                return Ok(true);
            }
        }
        match page.last().filter(|_| page.len() == PAGE) {
            Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
            None => return Ok(false),
        }
    }
}

/// The first tag after `last` that ever was and is not forgotten.
fn next_tag(r: &Read<'_>, id: RepoId, last: Option<&str>) -> Result<Option<String>, RepoError> {
    let mut next: Option<String> = None;
    for past in [false, true] {
        let (mut from, to) = keys::items(id, Class::Tag, past).range();
        if let Some(last) = last {
            from = keys::items(id, Class::Tag, past)
                .raw(last.as_bytes())
                .u8(1)
                .done();
        }
        if let Some((key, row)) = r.scan(Table::Items, &from, &to, 1)?.pop()
            && let Some((tag, _)) = keys::tag_of_item(&key)
        {
            ItemRecord::from_bytes(&row)?;
            if next.as_deref().is_none_or(|n| tag < n) {
                next = Some(tag.to_owned());
            }
        }
    }
    Ok(next)
}
