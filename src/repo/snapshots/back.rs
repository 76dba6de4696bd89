//! What has to change in a repository so that it shows again what it showed: a list of small steps, in the order in which
//! they are done.

use super::Restored;
use super::diff::Pair;
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::files::{NewFile, When};
use crate::repo::images::batch;
use crate::repo::images::edit::NewManifest;
use crate::repo::images::restore::{Closure, gone, relink};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{At, Shown, any_shown};
use crate::repo::{Inner, Repos, rows};
use crate::store::Read;
use crate::types::{Class, Digest, FilePath, RepoName, Rev, Tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Row changes of a tag or file that goes or comes, beside what quotas count.
const ROWS: usize = 12;
/// Digests that a manifest names and one step shows again.
const LINKS: usize = 200;

/// What has to change in a repository.
pub(super) struct Plan {
    pub name: RepoName,
    /// What it is right for.
    pub now: Shown,
    /// In this order.
    pub steps: Arc<Vec<Back>>,
    /// How many quotas hold the repository.
    pub quotas: usize,
    restored: u64,
    removed: u64,
}

/// One of them.
pub(super) enum Back {
    /// A tag that was not there.
    TagGone(String),
    /// A file that was not there.
    FileGone(FilePath),
    /// Some of what a manifest names is shown again.
    Links(Arc<NewManifest>, usize),
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
            Self::Links(..) => (3 + quotas) * LINKS,
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
            Self::Links(new, from) => {
                let lease_ms = edit.context.lease_ms;
                for child in new.inspected.children.iter().skip(*from).take(LINKS) {
                    relink(edit.tx, edit.id, &child.digest, lease_ms)?;
                }
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

impl Repos {
    /// Plans what makes a repository show again what it showed as of `at`.
    pub(super) async fn plan_restore(&self, name: &RepoName, at: &At) -> Result<Plan, RepoError> {
        let (then, now) = self.pair_of(name, at, &At::Head).await?;
        let names = self.changed_between(name, then, now).await?;
        let mut change = Change::default();
        for pair in self.compare(&names, then, now).await? {
            change.take(&pair);
        }
        let tops = std::mem::take(&mut change.tops);
        let mut manifests = Vec::new();
        if !tops.is_empty() {
            let (wanted, when) = (name.clone(), at.clone());
            let step = move |inner: &Inner, r: &Read<'_>, closure: &mut Closure| {
                let shown = any_shown(r, &wanted, &when)?;
                let ended = closure.go_on(inner, r, (shown.id, shown.rev))?;
                Ok(ended.then(|| std::mem::take(&mut closure.found)))
            };
            let closure = Closure::of(tops.into_iter().collect());
            let found = self.long_read(|inner| &inner.searches, None, closure, step);
            manifests = found.await?;
        }
        let quotas = self.quotas_above(name).await?;
        Ok(change.plan(name, now, quotas, manifests))
    }
}

/// What is different now.
#[derive(Default)]
struct Change {
    /// Manifests that come back, with the tags that mean them.
    tops: BTreeMap<Digest, Vec<Tag>>,
    /// What was not there.
    gone: Vec<Back>,
    /// Files that come back.
    files: Vec<Back>,
}

impl Change {
    fn take(&mut self, pair: &Pair) {
        let name = pair.name.as_name();
        let text = name.as_text().unwrap_or_default().to_owned();
        let is_same = |then: &ItemRecord| {
            let now = pair.after.as_ref();
            now.is_some_and(|now| now.target == then.target)
        };
        match (name.class(), &pair.before, &pair.after) {
            (Class::Tag, Some(then), _) if !is_same(then) => {
                if let (Some(digest), Ok(tag)) = (then.digest(), text.parse()) {
                    self.tops.entry(digest).or_default().push(tag);
                }
            }
            (Class::Tag, None, Some(_)) => self.gone.push(Back::TagGone(text)),
            // Nothing else names it: it comes back for its own sake.
            (Class::Manifest, Some(then), None) => {
                if let Some(digest) = then.digest() {
                    self.tops.entry(digest).or_default();
                }
            }
            (Class::Path, Some(then), _) if !is_same(then) => {
                if let Ok(path) = text.parse() {
                    self.files.push(Back::File(path, then.clone()));
                }
            }
            (Class::Path, None, Some(_)) => {
                self.gone.extend(text.parse().ok().map(Back::FileGone));
            }
            _ => {}
        }
    }

    /// What was not there goes first: a file may be where a folder is to be. Manifests come children before parents.
    fn plan(
        self,
        name: &RepoName,
        now: Shown,
        quotas: usize,
        manifests: Vec<Arc<NewManifest>>,
    ) -> Plan {
        let tags: usize = manifests.iter().map(|new| new.tags.len()).sum();
        let (removed, restored) = (self.gone.len() as u64, (tags + self.files.len()) as u64);
        let mut steps = self.gone;
        for new in manifests {
            let named = new.inspected.children.len();
            let links = (0..named).step_by(LINKS);
            steps.extend(links.map(|from| Back::Links(Arc::clone(&new), from)));
            steps.extend(of_few_tags(new).into_iter().map(Back::Manifest));
        }
        steps.extend(self.files);
        Plan {
            name: name.clone(),
            now,
            steps: Arc::new(steps),
            quotas,
            restored,
            removed,
        }
    }
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

impl Plan {
    /// Row changes of all of it, about.
    pub fn cost(&self) -> usize {
        let costs = self.steps.iter().map(|step| step.cost(self.quotas));
        costs.sum()
    }

    /// What it came to.
    pub fn came_to(&self, rev: Rev) -> Restored {
        Restored {
            name: self.name.to_string(),
            rev: rev.0,
            restored: self.restored,
            removed: self.removed,
        }
    }
}
