//! Restoring whole repositories: what they showed then becomes their newest revision, in all of them at once.
//!
//! What few changes do is one transaction; more are a stage. Either way readers see the old or the new.

use super::back::{Back, Plan};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::shown::At;
use crate::repo::stage::{NewStage, Stage};
use crate::repo::{Repos, any_visible};
use crate::store::Need;
use crate::types::{RepoName, RepoPattern};
use std::sync::Arc;

/// How often it is tried again because a repository changed meanwhile.
const TRIES: usize = 5;
/// Row changes of one transaction, about.
const ROWS: usize = 3_500;

/// What the restore of a repository came to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Restored {
    /// The repository.
    #[serde(default)]
    pub name: String,
    /// The revision that shows it again: a new one, unless nothing had to change.
    pub rev: u64,
    /// Tags or files that mean again what they meant.
    pub restored: u64,
    /// Tags or files that were not there then, and are gone.
    pub removed: u64,
}

impl Repos {
    /// Makes repositories show again what they showed as of `at`, each in one new revision and all of them at once: every tag
    /// with the manifests below it, or every file. Manifests that came since stay until nothing needs them. Of a pattern those
    /// are restored that have a snapshot of that title, or a history of that time.
    ///
    /// # Errors
    /// [`RepoError::Refused`] if bytes of it are gone, or if a repository changes again and again meanwhile;
    /// [`RepoError::NothingMatches`] for a pattern that names none. Nothing was changed then.
    pub async fn restore_snapshots(
        &self,
        of: &RepoPattern,
        at: &At,
        who: &str,
    ) -> Result<Vec<Restored>, RepoError> {
        tracing::info!(target: "audit", action = "snapshot.restore", repo = %of, who);
        let names = self.restorable(of, at).await?;
        for _ in 0..TRIES {
            let mut plans = Vec::with_capacity(names.len());
            for name in &names {
                plans.push(self.plan_restore(name, at).await?);
            }
            let done = match plans.as_slice() {
                [one] if one.cost() <= ROWS => self.restore_at_once(one, who).await?,
                _ => self.restore_staged(&plans, who).await?,
            };
            let Some(revs) = done else {
                continue;
            };
            for name in &names {
                self.after_removal(name, None).await;
            }
            let came_to = |(plan, rev): (&Plan, u64)| plan.came_to(rev);
            return Ok(plans.iter().zip(revs).map(came_to).collect());
        }
        Err(RepoError::Refused(format!(
            "{of} was changed again and again meanwhile; nothing was restored, try again"
        )))
    }

    /// The repositories that are restored.
    async fn restorable(&self, of: &RepoPattern, at: &At) -> Result<Vec<RepoName>, RepoError> {
        let names = self.named_by(of).await?;
        if of.as_name().is_some() {
            return Ok(names);
        }
        let mut with = Vec::with_capacity(names.len());
        for name in names {
            match self.pair_of(&name, at, &At::Head).await {
                Ok(_) => with.push(name),
                // One without that snapshot, or that was deleted meanwhile, is none of them.
                Err(RepoError::SnapshotUnknown { .. } | RepoError::NameUnknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if with.is_empty() {
            return Err(RepoError::NothingMatches(of.to_string()));
        }
        Ok(with)
    }

    /// In one transaction; none if the repository has changed since.
    async fn restore_at_once(&self, plan: &Plan, who: &str) -> Result<Option<Vec<u64>>, RepoError> {
        let context = self.context(who, "snapshot.restore");
        let (name, now, steps) = (plan.name.clone(), plan.now, Arc::clone(&plan.steps));
        let change = self.change(&plan.name, Need::Grows, "snapshot.restore", move |tx| {
            let (id, record) = any_visible(tx, name.as_str())?
                .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
            // What was planned is right for this head alone.
            if id != now.id || record.head != now.rev.0 {
                return Ok(None);
            }
            let mut edit = Edit::open(tx, id, record, &context)?;
            for step in &*steps {
                step.put(&mut edit)?;
            }
            Ok(Some(vec![edit.finish()?.0]))
        });
        change.await
    }

    /// As a stage; none if one of them has changed since.
    async fn restore_staged(
        &self,
        plans: &[Plan],
        who: &str,
    ) -> Result<Option<Vec<u64>>, RepoError> {
        let of = plans.iter();
        let new = NewStage {
            of: of
                .map(|plan| (plan.name.clone(), plan.now.id, Some(plan.now.rev)))
                .collect(),
            job: None,
            who: who.to_owned(),
            why: "snapshot.restore",
        };
        let lists = plans.iter().map(|plan| (Arc::clone(&plan.steps), plan.quotas));
        let (this, lists) = (self.clone(), lists.collect::<Vec<_>>());
        // To its end, whether or not the caller waits for it.
        self.to_its_end(async move {
            let Some(stage) = this.begin_stage(new).await? else {
                return Ok(None);
            };
            match write(&stage, lists).await {
                Ok(()) => {
                    let revs = stage.flip().await?;
                    Ok(Some(revs.iter().map(|rev| rev.0).collect()))
                }
                Err(error) => {
                    stage.undo().await?;
                    Err(error)
                }
            }
        })
        .await
    }
}

/// Writes the steps of each repository.
async fn write(stage: &Stage, lists: Vec<(Arc<Vec<Back>>, usize)>) -> Result<(), RepoError> {
    for (at, (steps, quotas)) in lists.into_iter().enumerate() {
        let cost = move |step: &Back| step.cost(quotas);
        let put = |edit: &mut Edit<'_, '_>, step: &Back| step.put(edit);
        stage.write_all(at, steps, cost, put).await?;
    }
    Ok(())
}
