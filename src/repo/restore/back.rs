//! The small steps of which a restore is made, in the order in which they are done; each is safe to do again.

use super::closure::{gone, relink};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::files::{NewFile, When};
use crate::repo::images::batch;
use crate::repo::images::edit::NewManifest;
use crate::repo::rows;
use crate::repo::rows::record::ItemRecord;
use crate::types::{FilePath, Tag};
use std::ops::Range;
use std::sync::Arc;

/// Row changes of a tag or file that goes or comes, beside what quotas count.
const ROWS: usize = 12;
/// Row changes of one step that shows again what a manifest names, and how many digests: others may wait for each.
const LINKED: usize = 1_500;
const LINKS: usize = 20;

/// A step.
pub(super) enum Back {
    /// A tag that was not there.
    TagGone(String),
    /// A file that was not there.
    FileGone(FilePath),
    /// Some of what a manifest names is shown again.
    Links(Arc<NewManifest>, Range<usize>),
    /// A manifest comes back, with some of its tags.
    Manifest(Arc<NewManifest>),
    /// A file comes back.
    File(FilePath, ItemRecord),
}

impl Back {
    /// Row changes, at most, where so many quotas hold the repository.
    pub fn cost(&self, quotas: usize) -> usize {
        match self {
            Self::TagGone(_) => ROWS,
            Self::FileGone(_) | Self::File(..) => ROWS + 4 * quotas,
            Self::Links(_, some) => link_rows(quotas) * some.len(),
            Self::Manifest(new) => batch::cost(new, quotas),
        }
    }

    /// Does it.
    pub fn put(&self, edit: &mut Edit<'_, '_>) -> Result<(), RepoError> {
        match self {
            Self::TagGone(tag) => edit.delete_tag(tag).map(drop)?,
            Self::FileGone(path) => match edit.delete_file(path, &When::Always) {
                // It was done before.
                Err(RepoError::PathUnknown(_)) => {}
                done => done?,
            },
            Self::Links(new, some) => {
                let lease_ms = edit.context.lease_ms;
                let children = new.inspected.children[some.clone()].iter();
                let children: Vec<_> = children.map(|child| child.digest).collect();
                relink(edit.tx, edit.id, &children, lease_ms)?;
            }
            Self::Manifest(new) => {
                rows::blob(edit.tx, &new.digest)?.ok_or_else(|| gone(&new.digest))?;
                edit.put_manifest(new)?;
            }
            Self::File(path, then) => {
                let new = NewFile {
                    path: path.clone(),
                    when: When::Always,
                    digest: None,
                    who: edit.context.who.clone(),
                    owner: String::new(),
                };
                let lost = || RepoError::FileDamaged(path.to_string());
                let digest = then.digest().ok_or_else(lost)?;
                rows::blob(edit.tx, &digest)?.ok_or_else(lost)?;
                edit.put_file(&new, &digest, then.size)?;
            }
        }
        Ok(())
    }
}

/// Row changes of a link, at most, where so many quotas hold the repository.
fn link_rows(quotas: usize) -> usize {
    4 + 2 * quotas
}

/// The steps that bring back manifests with their tags, given children before parents.
pub(super) fn of_manifests(manifests: Vec<Arc<NewManifest>>, quotas: usize) -> Vec<Back> {
    let at_once = (LINKED / link_rows(quotas)).clamp(1, LINKS);
    let mut steps = Vec::with_capacity(2 * manifests.len());
    for new in manifests {
        let all = new.inspected.children.len();
        let links = (0..all).step_by(at_once);
        let links = links.map(|from| from..all.min(from + at_once));
        steps.extend(links.map(|some| Back::Links(Arc::clone(&new), some)));
        steps.extend(of_few_tags(new).into_iter().map(Back::Manifest));
    }
    steps
}

/// Row changes of all of them, about.
pub(super) fn cost(steps: &[Back], quotas: usize) -> usize {
    steps.iter().map(|step| step.cost(quotas)).sum()
}

/// The same manifest once for as many of its tags as one transaction takes.
fn of_few_tags(new: Arc<NewManifest>) -> Vec<Arc<NewManifest>> {
    if new.tags.len() <= batch::TAGS {
        return vec![new];
    }
    let some = |tags: &[Tag]| {
        Arc::new(NewManifest {
            tags: tags.to_vec(),
            ..(*new).clone()
        })
    };
    new.tags.chunks(batch::TAGS).map(some).collect()
}
