//! Which tags suffer when a digest does, and who had it before us.

use super::items::live_manifest;
use crate::repo::Repos;
use crate::repo::check::report::CameFrom;
use crate::repo::check::walk::{self, PAGE, repo_name};
use crate::repo::error::RepoError;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::SourceRecord;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId};
use std::collections::BTreeSet;

/// Tags that one problem names; further ones are not looked for.
const TAGS: usize = 50;
/// Manifests that are looked at for one problem.
const MANIFESTS: usize = 500;

/// Whom a digest matters to.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// Live tags, as `REPOSITORY:TAG`.
    pub tags: Vec<String>,
    /// Registries that had it.
    pub upstreams: Vec<CameFrom>,
    /// Repositories that refer to it.
    pub repos: Vec<String>,
}

impl Repos {
    /// The live tags that need a digest, directly or through manifests, and the registries that it came from.
    pub async fn touched_by(&self, digest: &Digest) -> Result<Touched, RepoError> {
        let digest = *digest;
        self.hop(move |_, r| {
            let mut touched = Touched::default();
            let (mut from, to) = keys::refs(&digest).range();
            // One seek a repository.
            while let Some((key, _)) = r.scan(Table::Refs, &from, &to, 1)?.pop() {
                let Some((id, _, _)) = keys::ref_head(&key) else {
                    break;
                };
                from = keys::refs(&digest).u64(id.0 + 1).done();
                touched.repos.push(repo_name(r, id)?);
                touched.tags.extend(self::touched(r, id, &digest)?);
                for upstream in upstreams(r, id, &digest)? {
                    if !touched.upstreams.contains(&upstream) {
                        touched.upstreams.push(upstream);
                    }
                }
            }
            touched.tags.sort();
            touched.tags.truncate(TAGS);
            Ok(touched)
        })
        .await
    }
}

/// The live tags of one repository that need the digest.
pub(in crate::repo::check) fn touched(
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<Vec<String>, RepoError> {
    let name = repo_name(r, id)?;
    let mut tags = BTreeSet::new();
    let mut seen = BTreeSet::from([*digest]);
    let mut open = vec![*digest];
    while let Some(digest) = open.pop() {
        let (from, to) = keys::keepers(&digest, id);
        for (key, _) in r.scan(Table::Refs, &from, &to, PAGE)? {
            let Some((_, class, rest)) = keys::ref_head(&key) else {
                continue;
            };
            if class == Class::Tag as u8 {
                let tag = keys::text_of_ref(rest);
                if let Some((tag, added)) = tag {
                    let row = walk::readable(rows::live(r, id, &Name::tag(tag)))?.flatten();
                    if row.is_some_and(|(rev, _)| rev == added) {
                        tags.insert(format!("{name}:{tag}"));
                    }
                }
            } else if let Some((parent, added)) = keys::parent_of(rest)
                && seen.len() < MANIFESTS
                && (live_manifest(r, id, &parent)?.is_some_and(|(rev, _)| rev == added))
                && seen.insert(parent)
            {
                open.push(parent);
            }
        }
        if tags.len() >= TAGS {
            break;
        }
    }
    Ok(tags.into_iter().collect())
}

fn upstreams(r: &Read<'_>, id: RepoId, digest: &Digest) -> Result<Vec<CameFrom>, RepoError> {
    let mut found = Vec::new();
    let (from, to) = keys::refs_in(digest, id, Class::Manifest).range();
    for (key, _) in r.scan(Table::Refs, &from, &to, PAGE)? {
        let parent = keys::ref_head(&key).and_then(|(_, _, rest)| keys::parent_of(rest));
        let Some((parent, added)) = parent else {
            continue;
        };
        let row = walk::readable(rows::at(r, id, &Name::manifest(&parent), added))?.flatten();
        let Some((_, row)) = row else {
            continue;
        };
        if let SourceRecord::Registry { registry, name, .. } = row.source {
            let upstream = CameFrom {
                registry,
                name,
                digest: *digest,
                is_manifest: parent == *digest,
            };
            if !found.contains(&upstream) {
                found.push(upstream);
            }
        }
    }
    // As a manifest it is asked for by its own row's word, not by that of an index above it.
    if found.iter().any(|u| u.is_manifest) {
        for upstream in &mut found {
            upstream.is_manifest = true;
        }
    }
    Ok(found)
}

/// Notes the repositories that refer to these digests: their figures cannot be computed.
pub(in crate::repo::check) fn unsure(
    walk: &mut walk::Walk,
    r: &Read<'_>,
    digests: &BTreeSet<Digest>,
) -> Result<(), RepoError> {
    for digest in digests {
        let (mut from, to) = keys::refs(digest).range();
        while let Some((key, _)) = r.scan(Table::Refs, &from, &to, 1)?.pop() {
            let Some((id, _, _)) = keys::ref_head(&key) else {
                break;
            };
            walk.unsure.insert(id.0);
            from = keys::refs(digest).u64(id.0 + 1).done();
        }
    }
    Ok(())
}
