//! Restoring whole repositories: what they showed then becomes their newest revision, in all of them at once.
//!
//! What few changes do is one transaction; more are a stage. Either way readers see the old or the new.

use super::back::Back;
use super::plan::RestorePlan;
use super::{ROWS, Restored};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::shown::{At, readable};
use crate::repo::stage::{self, NewStage, Stage};
use crate::repo::{Repos, any_visible};
use crate::store::{Need, StoreError};
use crate::types::{RepoName, RepoPattern};
use std::sync::Arc;

/// Small steps of one restore, at most: they are in memory at once.
const STEPS: usize = 1_000_000;
/// The action's name in the history.
const WHY: &str = "snapshot.restore";
impl Repos {
    /// Makes repositories show again what they showed as of `at`, each in one new revision and all of them at once: every tag
    /// with the manifests below it, or every file. Manifests that came since stay until nothing needs them. Of a pattern those
    /// are restored that have a snapshot of that title, or a history of that time.
    ///
    /// # Errors
    /// [`RepoError::Refused`] if bytes of it are gone; [`RepoError::NothingMatches`] for a pattern that names none. Nothing was
    /// changed then.
    pub async fn restore_snapshots(
        &self,
        of: &RepoPattern,
        at: &At,
        who: &str,
    ) -> Result<Vec<Restored>, RepoError> {
        tracing::info!(target: "audit", action = "snapshot.restore", repo = %of, who);
        let names = self.restorable(of, at).await?;
        if names.len() > stage::MOST {
            return Err(stage::too_many(names.len()));
        }
        let (mut plans, mut steps) = (Vec::with_capacity(names.len()), 0);
        for name in &names {
            let plan = self.plan_restore(name, at).await?;
            steps += plan.steps.len();
            if steps > STEPS {
                return Err(RepoError::Refused(format!(
                    "more than {STEPS} tags and files of {of} changed since, which is more than one restore takes back; nothing was restored, choose fewer repositories"
                )));
            }
            plans.push(plan);
        }
        let at_once = match plans.as_slice() {
            [one] if one.cost() <= ROWS => self.restore_at_once(one, who).await?,
            _ => None,
        };
        let done = match at_once {
            Some(done) => done,
            None => self.restore_staged(plans, at, who).await?,
        };
        for name in &names {
            self.after_removal(name, None).await;
        }
        Ok(done)
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

    /// In one transaction; none if the repository has changed since it was planned.
    async fn restore_at_once(
        &self,
        plan: &RestorePlan,
        who: &str,
    ) -> Result<Option<Vec<Restored>>, RepoError> {
        let context = self.context(who, WHY);
        let (name, now, steps) = (plan.name.clone(), plan.now, Arc::clone(&plan.steps));
        let then = plan.then;
        let change = self.unless_staged(Need::Grows, WHY, move |tx| {
            let (id, record) = any_visible(tx, name.as_str())?
                .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
            if id != now.id || record.head != now.rev.0 {
                return Ok(None);
            }
            readable(tx, id, &record, then.rev)?;
            let mut edit = Edit::open(tx, id, record, &context)?;
            for step in &*steps {
                step.put(&mut edit)?;
            }
            Ok(Some(edit.finish()?))
        });
        match change.await {
            // More waited for it than the estimate knew of.
            Err(RepoError::Store(StoreError::TooMany(_))) => Ok(None),
            done => Ok(done?.map(|rev| vec![plan.came_to(rev)])),
        }
    }

    /// As a stage, to its end, whether or not the caller waits for it.
    async fn restore_staged(
        &self,
        plans: Vec<RestorePlan>,
        at: &At,
        who: &str,
    ) -> Result<Vec<Restored>, RepoError> {
        let of = plans.iter().map(|plan| (plan.name.clone(), plan.now.id));
        let new = NewStage {
            of: of.collect(),
            job: None,
            who: who.to_owned(),
            why: WHY,
            need: Need::Grows,
        };
        let (this, at) = (self.clone(), at.clone());
        self.to_its_end(async move {
            let stage = this.begin_stage(new).await?;
            let written = this.write_plans(&stage, plans, &at).await;
            let (plans, revs) = stage.end(written).await?;
            let done = plans.iter().zip(revs);
            Ok(done.map(|(plan, rev)| plan.came_to(rev)).collect())
        })
        .await
    }

    /// Writes what was planned, and plans again what has changed since: from here on nothing does.
    async fn write_plans(
        &self,
        stage: &Stage,
        mut plans: Vec<RestorePlan>,
        at: &At,
    ) -> Result<Vec<RestorePlan>, RepoError> {
        for (place, plan) in plans.iter_mut().enumerate() {
            let (_, now) = self.pair_of(&plan.name, at, &At::Head).await?;
            if now.rev != plan.now.rev {
                *plan = self.plan_restore(&plan.name, at).await?;
            }
            let quotas = plan.quotas;
            let cost = move |step: &Back| step.cost(quotas);
            let put = |edit: &mut Edit<'_, '_>, step: &Back| step.put(edit);
            let steps = Arc::clone(&plan.steps);
            stage.write_all(place, steps, cost, put).await?;
        }
        for plan in &plans {
            // What it showed is kept still, so nothing of it was dropped meanwhile.
            self.pair_of(&plan.name, at, &At::Head).await?;
        }
        Ok(plans)
    }
}
