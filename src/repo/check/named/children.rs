//! What a manifest names: each child's reference, the link that shows it, and the manifest among its subject's referrers.

use super::items::{Item, expect};
use crate::repo::Origin;
use crate::repo::check::mend::Mend;
use crate::repo::check::report::ProblemKind;
use crate::repo::check::walk::{self, Owner, Walk, holds};
use crate::repo::error::RepoError;
use crate::repo::format::{Child, Inspected, Said};
use crate::repo::images::edit::referrer_row;
use crate::repo::rows::is_kept_by_another;
use crate::repo::rows::keys::{self, Class, DueKind, Name};
use crate::repo::rows::record::{BlobRecord, ItemRecord};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId};

/// The references of one child, and its link.
pub(in crate::repo::check) fn child_rows(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    digest: &Digest,
    child: &Child,
) -> Result<(), RepoError> {
    let key_of = |class| keys::manifest_ref(&child.digest, item.id, class, digest, item.added);
    let (real, wanted) = (key_of(Class::Manifest), key_of(Class::Wanted));
    let held = holds(r, item.id, &child.digest)?;
    if r.get(Table::Refs, &real)?.is_some() {
        walk.expect_ref(&real);
        if !held && child.said == Said::Blob && !item.past {
            link(walk, r, item, &real, &child.digest)?;
        }
        return Ok(());
    }
    let is_wanted = r.get(Table::Mentions, &wanted)?;
    if let Some(seen) = is_wanted {
        walk.expect_ref(&wanted);
        if held && is_kept_by_another(r, item.id, &child.digest, Class::Manifest)? {
            // Of hundreds that waited for it some still do: the collector has them keep it when nothing else does.
        } else if held {
            walk.expect_ref(&real);
            let what = format!(
                "{} is here, but the reference of {} does not keep it",
                child.digest,
                item.text()
            );
            let problem = item
                .problem(ProblemKind::RefWrongClass, what)
                .digest(&child.digest);
            let mend = Mend::Rows {
                guard: vec![item.why(), (Table::Mentions, wanted.clone(), Some(seen))],
                change: vec![
                    (Table::Mentions, wanted, None),
                    (Table::Refs, real, Some(Vec::new())),
                ],
            };
            walk.mend(problem, mend);
        } else if !item.past {
            lost(walk, r, item, digest, child)?;
        }
        return Ok(());
    }
    // Naming a digest never grants it: only what is here gets a reference that keeps it.
    expect(
        walk,
        r,
        item,
        if held {
            (Table::Refs, real)
        } else {
            (Table::Mentions, wanted)
        },
        &child.digest,
    )
}

/// Content that is named in a field for the other kind: versions before this one let the collector take it. What else is
/// absent may never have come: a push may bring manifests first, and a mirror leaves out platforms.
fn lost(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    digest: &Digest,
    child: &Child,
) -> Result<(), RepoError> {
    let is_other = match child.said {
        Said::Blob => child.is_listed,
        Said::Manifest => !child.is_listed,
        // A mirror leaves out platforms whatever the index says of them.
        Said::Unknown => child.media_type.is_empty() && is_local(r, item.id)?,
    };
    if !is_other || child.optional {
        return Ok(());
    }
    let what = format!("{} names {}, which is not here", item.text(), child.digest);
    let mut problem = item
        .problem(ProblemKind::ContentMissing, what)
        .digest(&child.digest);
    problem.tags = super::tags::touched(r, item.id, digest)?;
    walk.tell(problem.how("push it again, with all that belongs to it"));
    Ok(())
}

fn is_local(r: &Read<'_>, id: RepoId) -> Result<bool, RepoError> {
    let Owner::There(record) = walk::owner(r, id)? else {
        return Ok(false);
    };
    Ok(record.origin == Origin::Local.code())
}

/// A live manifest's blob must be shown by its repository, unless it came as a manifest.
fn link(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    because: &[u8],
    digest: &Digest,
) -> Result<(), RepoError> {
    let Some(blob) = r.get(Table::Blobs, digest.as_key())? else {
        return Ok(());
    };
    for past in [false, true] {
        let (from, to) = keys::item_rows(item.id, &Name::manifest(digest), past).range();
        if !r.scan(Table::Items, &from, &to, 1)?.is_empty() {
            return Ok(());
        }
    }
    let size = BlobRecord::from_bytes(&blob).map_or(0, |b| b.size);
    let what = format!(
        "{} does not show blob {digest}, which {} needs",
        item.repo,
        item.text()
    );
    let mut problem = item.problem(ProblemKind::LinkMissing, what).digest(digest);
    problem.tags = super::tags::touched(r, item.id, digest)?;
    let key = keys::link(digest, item.id);
    // Several manifests may need it; it is told of once.
    if walk.expects_ref(&key) {
        return Ok(());
    }
    walk.expect_ref(&key);
    *walk.unlinked.entry(item.id.0).or_default() += size;
    let end = r.running_ms().to_be_bytes().to_vec();
    let due = keys::due(
        r.running_ms(),
        DueKind::Lease,
        &keys::due_link(digest, item.id),
    );
    let mend = Mend::Rows {
        guard: vec![
            item.why(),
            (Table::Refs, because.to_vec(), Some(Vec::new())),
            (Table::Refs, key.clone(), None),
        ],
        change: vec![
            (Table::Refs, key, Some(end)),
            (Table::Due, due, Some(Vec::new())),
        ],
    };
    walk.mend(problem, mend);
    Ok(())
}

/// The manifest among the referrers of its subject.
pub(in crate::repo::check) fn referrer(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    digest: &Digest,
    row: &ItemRecord,
    inspected: Option<&Inspected>,
) -> Result<(), RepoError> {
    let Ok(subject) = Digest::from_key(&row.own) else {
        return Ok(());
    };
    let Some(inspected) = inspected else {
        return Ok(());
    };
    let key = keys::referrer(
        item.id,
        item.past,
        &subject,
        &row.artifact_type,
        digest,
        item.added,
    );
    let want = referrer_row(inspected, row.size, row.removed).to_bytes()?;
    let what = format!("{} among the referrers of {subject}", item.text());
    match r.get(Table::Referrers, &key)? {
        None => {
            let problem = item.problem(ProblemKind::ReferrerMissing, what);
            let mend = Mend::write(item.why(), Table::Referrers, key, want);
            walk.mend(problem, mend);
        }
        Some(seen) if seen != want => {
            let problem = item.problem(ProblemKind::ReferrerWrong, what);
            walk.mend(problem, Mend::replace(Table::Referrers, key, seen, want));
        }
        Some(_) => {}
    }
    Ok(())
}
