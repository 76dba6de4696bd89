//! What a manifest names: each child's reference, the link that shows it, and the manifest among its subject's referrers.

use super::items::{Item, expect};
use super::mend::Mend;
use super::report::Kind;
use super::walk::{Walk, holds};
use crate::repo::change::referrer_row;
use crate::repo::error::RepoError;
use crate::repo::format::{Child, Inspected};
use crate::repo::keys::{self, Class, DueKind, Name};
use crate::repo::record::{BlobRecord, ItemRecord};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::Digest;

/// The references of one child, and its link.
pub(super) fn child_rows(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    digest: &Digest,
    child: &Child,
) -> Result<(), RepoError> {
    let key_of = |class| keys::manifest_ref(&child.digest, item.id, class, digest, item.added);
    let (real, wanted) = (key_of(Class::Manifest), key_of(Class::Wanted));
    let held = holds(r, item.id, &child.digest, child.is_manifest)?;
    if r.get(Table::Refs, &real)?.is_some() {
        walk.expect_ref(&real);
        if !held && !child.is_manifest && !item.past {
            link(walk, r, item, &real, &child.digest)?;
        }
        return Ok(());
    }
    let is_wanted = r.get(Table::Refs, &wanted)?;
    if let Some(seen) = is_wanted {
        walk.expect_ref(&wanted);
        if held {
            walk.expect_ref(&real);
            let what = format!(
                "{} is here, but the reference of {} does not keep it",
                child.digest,
                item.text()
            );
            let problem = item
                .problem(Kind::RefWrongClass, what)
                .digest(&child.digest);
            let mend = Mend::Rows {
                guard: vec![item.why(), (Table::Refs, wanted.clone(), Some(seen))],
                change: vec![
                    (Table::Refs, wanted, None),
                    (Table::Refs, real, Some(Vec::new())),
                ],
            };
            walk.mend(problem, mend);
        }
        return Ok(());
    }
    // Naming a digest never grants it: only what is here gets a reference that keeps it.
    expect(
        walk,
        r,
        item,
        if held { real } else { wanted },
        &child.digest,
    )
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
        let (from, to) = keys::item_rows(item.id, &Name::Manifest(digest), past).range();
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
    let mut problem = item.problem(Kind::LinkMissing, what).digest(digest);
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
pub(super) fn referrer(
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
            let problem = item.problem(Kind::ReferrerMissing, what);
            let mend = Mend::write(item.why(), Table::Referrers, key, want);
            walk.mend(problem, mend);
        }
        Some(seen) if seen != want => {
            let problem = item.problem(Kind::ReferrerWrong, what);
            walk.mend(problem, Mend::replace(Table::Referrers, key, seen, want));
        }
        Some(_) => {}
    }
    Ok(())
}
