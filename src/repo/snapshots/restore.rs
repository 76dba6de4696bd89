//! Restoring a whole repository: what it showed then becomes its newest revision.

use super::diff::Pair;
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::files::{NewFile, When};
use crate::repo::images::edit::NewManifest;
use crate::repo::images::restore::{Closure, gone, relink};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{At, Shown, any_shown};
use crate::repo::{Inner, Repos, any_visible, rows};
use crate::store::{Need, Read, StoreError};
use crate::types::{Class, Digest, FilePath, RepoName, Tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often it is tried again because the repository changed meanwhile.
const TRIES: usize = 5;
/// Rows that one revision may change, about.
const MOST: usize = 5_000;

/// What a restore came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Restored {
    /// The revision that shows it again: a new one, unless nothing had to change.
    pub rev: u64,
    /// Tags or files that mean again what they meant.
    pub restored: u64,
    /// Tags or files that were not there then, and are gone.
    pub removed: u64,
}

/// What has to change.
struct Plan {
    now: Shown,
    /// Children before parents.
    manifests: Vec<Arc<NewManifest>>,
    /// Files that come back.
    files: Vec<(FilePath, ItemRecord)>,
    /// Tags that were not there.
    tags_gone: Vec<String>,
    /// Files that were not there.
    files_gone: Vec<FilePath>,
}

impl Repos {
    /// Makes a repository show again what it showed as of `at`, in one new revision: every tag with the manifests below it,
    /// or every file. Manifests that came since stay until nothing needs them.
    ///
    /// # Errors
    /// [`RepoError::Refused`] if it does not fit one revision (some thousand changes), if bytes of it are gone, or if the
    /// repository changes again and again meanwhile. Nothing was changed then.
    pub async fn restore_snapshot(
        &self,
        name: &RepoName,
        at: &At,
        who: &str,
    ) -> Result<Restored, RepoError> {
        tracing::info!(target: "audit", action = "snapshot.restore", repo = %name, who);
        for _ in 0..TRIES {
            let plan = Arc::new(self.plan_restore(name, at).await?);
            let context = self.context(who, "snapshot.restore");
            let (wanted, steps) = (name.clone(), Arc::clone(&plan));
            let change = self.change(name, Need::Grows, "snapshot.restore", move |tx| {
                let (id, record) = any_visible(tx, wanted.as_str())?
                    .ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
                // What was planned is right for this head alone.
                if id != steps.now.id || record.head != steps.now.rev.0 {
                    return Ok(None);
                }
                for new in &steps.manifests {
                    for child in &new.inspected.children {
                        relink(tx, id, &child.digest, context.lease_ms)?;
                    }
                    rows::blob(tx, &new.digest)?.ok_or_else(|| gone(&new.digest))?;
                }
                let rev = put_back(Edit::open(tx, id, record, &context), &steps)?;
                Ok(Some(rev))
            });
            let Some(rev) = change.await.map_err(|error| too_large(name, error))? else {
                continue;
            };
            self.after_removal(name, None).await;
            return Ok(plan.came_to(rev));
        }
        Err(RepoError::Refused(format!(
            "{name} was changed again and again meanwhile; nothing was restored, try again"
        )))
    }

    async fn plan_restore(&self, name: &RepoName, at: &At) -> Result<Plan, RepoError> {
        let (then, now) = self.pair_of(name, at, &At::Head).await?;
        let names = self.changed_between(name, then, now).await?;
        if names.len() > MOST {
            return Err(too_many(name));
        }
        let mut plan = Plan {
            now,
            manifests: Vec::new(),
            files: Vec::new(),
            tags_gone: Vec::new(),
            files_gone: Vec::new(),
        };
        let mut tops: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for pair in self.compare(&names, then, now).await? {
            plan.take(pair, &mut tops);
        }
        if !tops.is_empty() {
            let (wanted, when) = (name.clone(), at.clone());
            let step = move |inner: &Inner, r: &Read<'_>, closure: &mut Closure| {
                let shown = any_shown(r, &wanted, &when)?;
                let ended = closure.go_on(inner, r, (shown.id, shown.rev))?;
                Ok(ended.then(|| std::mem::take(&mut closure.found)))
            };
            let closure = Closure::of(tops.into_iter().collect());
            let found = self.long_read(|inner| &inner.searches, None, closure, step);
            plan.manifests = found.await?;
        }
        Ok(plan)
    }
}

impl Plan {
    fn take(&mut self, pair: Pair, tops: &mut BTreeMap<Digest, Vec<Tag>>) {
        let name = pair.name.as_name();
        let text = name.as_text().unwrap_or_default().to_owned();
        match (name.class(), pair.before, pair.after) {
            (Class::Tag, Some(then), now) => {
                let is_same = now.is_some_and(|now| now.target == then.target);
                if let (false, Some(digest), Ok(tag)) = (is_same, then.digest(), text.parse()) {
                    tops.entry(digest).or_default().push(tag);
                }
            }
            (Class::Tag, None, Some(_)) => self.tags_gone.push(text),
            // Nothing else names it: it comes back for its own sake.
            (Class::Manifest, Some(then), None) => {
                if let Some(digest) = then.digest() {
                    tops.entry(digest).or_default();
                }
            }
            (Class::Path, Some(then), now) => {
                let is_same = now.is_some_and(|now| now.target == then.target);
                if let (false, Ok(path)) = (is_same, text.parse()) {
                    self.files.push((path, then));
                }
            }
            (Class::Path, None, Some(_)) => self.files_gone.extend(text.parse().ok()),
            _ => {}
        }
    }

    fn came_to(&self, rev: u64) -> Restored {
        let tags: usize = self.manifests.iter().map(|new| new.tags.len()).sum();
        Restored {
            rev,
            restored: (tags + self.files.len()) as u64,
            removed: (self.tags_gone.len() + self.files_gone.len()) as u64,
        }
    }
}

/// What was not there goes first: a file may be where a folder is to be.
fn put_back(mut edit: Edit<'_, '_>, plan: &Plan) -> Result<u64, RepoError> {
    for tag in &plan.tags_gone {
        edit.delete_tag(tag)?;
    }
    for path in &plan.files_gone {
        edit.delete_file(path, &When::Always)?;
    }
    for new in &plan.manifests {
        edit.put_manifest(new)?;
    }
    for (path, then) in &plan.files {
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
    Ok(edit.finish()?.0)
}

fn too_large(name: &RepoName, error: RepoError) -> RepoError {
    match error {
        RepoError::Store(StoreError::TooMany(_)) => too_many(name),
        error => error,
    }
}

fn too_many(name: &RepoName) -> RepoError {
    RepoError::Refused(format!(
        "more of {name} changed since than one revision can take back (some thousand rows); nothing was restored. Restore tags or files one by one"
    ))
}
