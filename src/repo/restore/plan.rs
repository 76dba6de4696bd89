//! What has to change in a repository so that it shows again all that it showed.

use super::Restored;
use super::back::{self, Back};
use super::closure::Closure;
use crate::repo::error::RepoError;
use crate::repo::images::edit::NewManifest;
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{At, Shown, any_shown};
use crate::repo::snapshots::Pair;
use crate::repo::{Inner, Repos};
use crate::store::Read;
use crate::types::{Class, Digest, RepoName, Rev, Tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has to change in a repository.
pub(super) struct RestorePlan {
    pub name: RepoName,
    /// What it is right for.
    pub now: Shown,
    /// What is restored.
    pub then: Shown,
    /// In this order.
    pub steps: Arc<Vec<Back>>,
    /// How many quotas hold the repository.
    pub quotas: usize,
    restored: u64,
    removed: u64,
}

impl Repos {
    /// Plans what makes a repository show again what it showed as of `at`.
    pub(super) async fn plan_restore(
        &self,
        name: &RepoName,
        at: &At,
    ) -> Result<RestorePlan, RepoError> {
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
        Ok(change.plan(name, (then, now), quotas, manifests))
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
        (then, now): (Shown, Shown),
        quotas: usize,
        manifests: Vec<Arc<NewManifest>>,
    ) -> RestorePlan {
        let tags: usize = manifests.iter().map(|new| new.tags.len()).sum();
        let (removed, restored) = (self.gone.len() as u64, (tags + self.files.len()) as u64);
        let mut steps = self.gone;
        steps.extend(back::of_manifests(manifests, quotas));
        steps.extend(self.files);
        RestorePlan {
            name: name.clone(),
            now,
            then,
            steps: Arc::new(steps),
            quotas,
            restored,
            removed,
        }
    }
}

impl RestorePlan {
    /// Row changes of all of it, about.
    pub fn cost(&self) -> usize {
        back::cost(&self.steps, self.quotas)
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
