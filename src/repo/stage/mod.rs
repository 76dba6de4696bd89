//! Big changes: any number of rows of the next revision of one or many repositories, in ordinary transactions, which are seen
//! all at once or not at all.
//!
//! Owns the rows of stages and how one begins, is written, is shown (the flip) and is taken back. While a repository has a
//! stage, readers see its head, its other writers wait, and the collector leaves it alone. Who made a stage and is gone (a
//! crash, a panic) left rows that [`Repos::tidy_stages`] takes back, unless a job goes on with them. Must not know what the
//! rows mean.

mod held;
mod rows;
mod undo;

pub(in crate::repo) use held::Stages;
pub use rows::StageRecord;
pub(in crate::repo) use rows::{StageId, all, lost};

use super::bounded::is_spent;
use super::edit::{self, Context, Edit};
use super::error::RepoError;
use super::rows::keys;
use super::rows::record::RepoRecord;
use super::{Repos, rows as repo_rows};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, StoreError, Table, Txn};
use crate::types::{JobId, RepoId, RepoName, Rev};
use held::StageHold;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Repositories of one stage, at most: the flip is one transaction, with a few rows of each.
pub(in crate::repo) const MOST: usize = 800;
/// Row changes of one ordinary transaction of a stage, about.
const ROWS: usize = 2_500;
/// Changes of one transaction, at most.
const AT_ONCE: usize = 1_024;
/// How long a change waits for the stages in its way before it is refused for now.
pub(in crate::repo) const PATIENCE: Duration = Duration::from_secs(10);
/// Stages that are looked at in one read.
const LOOKED: usize = 1_000;

/// A big change to be made.
#[derive(Debug, Clone)]
pub(in crate::repo) struct NewStage {
    /// The repositories.
    pub of: Vec<(RepoName, RepoId)>,
    /// The job that makes it, and goes on with it after a restart, with a hash of all that is to be put and closed: then it
    /// must be the same.
    pub job: Option<(JobId, [u8; 32])>,
    /// Who asked for it.
    pub who: String,
    /// The action's name.
    pub why: &'static str,
    /// What it may have of a full disk.
    pub need: Need,
}

/// A stage that this process writes. One that is dropped before it is shown is taken back later.
pub(in crate::repo) struct Stage {
    repos: Repos,
    id: StageId,
    of: Vec<(RepoName, RepoId)>,
    context: Context,
    need: Need,
    begun: Instant,
    hold: StageHold,
}

impl Repos {
    /// Begins a stage, or goes on with the same one of the same job. Others of that job are taken back first. From here on the
    /// heads of its repositories stay where they are.
    ///
    /// # Errors
    /// [`RepoError::NameUnknown`] where a name does not mean that repository any more; [`RepoError::Staged`] if another stage
    /// holds one of them and does not end soon; [`RepoError::Refused`] for too many repositories.
    pub(in crate::repo) async fn begin_stage(&self, new: NewStage) -> Result<Stage, RepoError> {
        if new.of.len() > MOST {
            return Err(too_many(new.of.len()));
        }
        let (of, need) = (new.of.clone(), new.need);
        let context = self.context(&new.who, new.why);
        let (id, hold) = match self.left_by_job(&new).await? {
            Some(found) => found,
            None => self.begin_new(new).await?,
        };
        Ok(Stage {
            repos: self.clone(),
            id,
            of,
            context,
            need,
            begun: Instant::now(),
            hold,
        })
    }

    /// The stage that the same job had begun, if it is the same; others of it are taken back.
    async fn left_by_job(&self, new: &NewStage) -> Result<Option<(StageId, StageHold)>, RepoError> {
        let Some((job, plan)) = new.job else {
            return Ok(None);
        };
        let stages = self.hop(|_, r| Ok(all(r, LOOKED)?)).await?;
        let mut found = None;
        for (id, stage) in stages.into_iter().filter(|(_, stage)| stage.job == job.0) {
            let Some(hold) = self.0.stages.hold(id) else {
                continue;
            };
            let ids = new.of.iter().map(|(_, id)| id.0);
            let is_same = stage.plan == plan && ids.eq(stage.repos.iter().copied());
            if is_same && !stage.undone && found.is_none() {
                tracing::info!(
                    stage = id.0,
                    job = job.0,
                    "a big change goes on where it was"
                );
                found = Some((id, hold));
            } else {
                self.undo_stage(id, hold).await?;
            }
        }
        Ok(found)
    }

    async fn begin_new(&self, new: NewStage) -> Result<(StageId, StageHold), RepoError> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|e| RepoError::Task(e.to_string()))?;
        let id = StageId(u64::from_be_bytes(number));
        // Nobody takes it back from here on.
        let hold = self.0.stages.hold(id);
        let hold = hold.ok_or_else(|| RepoError::Task("a new stage has a writer".into()))?;
        let at_ms = crate::types::wall_ms();
        let need = new.need;
        let begin = move |tx: &mut Txn<'_>| begin(tx, id, &new, at_ms);
        self.unless_staged(need, "stage.begin", begin).await?;
        Ok((id, hold))
    }

    /// A transaction of a client's request that makes a revision, and finds no stage in its way; one that does waits for its
    /// end, and is tried again.
    pub(in crate::repo) async fn unless_staged<T: Send + 'static>(
        &self,
        need: Need,
        name: &'static str,
        change: impl FnMut(&mut Txn<'_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let change = Arc::new(std::sync::Mutex::new(change));
        let mut waiting = self.0.stages.waiting(PATIENCE);
        loop {
            let again = Arc::clone(&change);
            let once = move |tx: &mut Txn<'_>| super::state::lock(&again)(tx);
            match self.write(need, name, once).await {
                Err(RepoError::Staged(of)) => {
                    if !waiting.ended().await {
                        return Err(RepoError::Staged(of));
                    }
                }
                done => return done,
            }
        }
    }

    /// Takes back every stage that nobody writes, but those of jobs that `goes_on` says will be begun again soon. One that
    /// cannot be taken back holds up no other; the first error is answered.
    pub async fn tidy_stages(&self, goes_on: impl Fn(JobId) -> bool) -> Result<usize, RepoError> {
        let stages = self.hop(|_, r| Ok(all(r, LOOKED)?)).await?;
        let (mut undone, mut failed) = (0, None);
        for (id, stage) in stages {
            let is_left = stage.undone || stage.job == 0 || !goes_on(JobId(stage.job));
            if !is_left {
                continue;
            }
            let Some(hold) = self.0.stages.hold(id) else {
                continue;
            };
            match self.undo_stage(id, hold).await {
                Ok(()) => undone += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(undone), Err)
    }

    /// Waits until a stage was left by who wrote it.
    pub async fn stage_left(&self) {
        self.0.stages.left().await;
    }
}

/// Refuses a change of so many repositories.
pub(in crate::repo) fn too_many(repositories: usize) -> RepoError {
    RepoError::Refused(format!(
        "one change takes {MOST} repositories at most, and this one is of {repositories}; nothing was changed, choose fewer"
    ))
}

fn begin(tx: &mut Txn<'_>, stage: StageId, new: &NewStage, at_ms: u64) -> Result<(), RepoError> {
    for (name, id) in &new.of {
        let record = repo_rows::find(tx, name.as_str())?;
        let record = record.filter(|(found, record)| found == id && !record.deleted);
        let (_, mut record) = record.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
        edit::not_staged(&record)?;
        record.stage = Some(stage.0);
        tx.put(Table::Repos, &keys::repo(*id), &record.to_bytes()?)?;
    }
    let row = StageRecord {
        repos: new.of.iter().map(|(_, id)| id.0).collect(),
        plan: new.job.map_or_else(Vec::new, |(_, plan)| plan.to_vec()),
        job: new.job.map_or(0, |(job, _)| job.0),
        who: new.who.clone(),
        why: new.why.into(),
        at_ms,
        undone: false,
    };
    Ok(rows::put(tx, stage, &row)?)
}

impl Stage {
    /// One ordinary transaction of it, in the repository of this place in the list; nobody sees it yet. What was put before
    /// counts, so that doing it again changes nothing.
    pub(in crate::repo) async fn write<T: Send + 'static>(
        &self,
        at: usize,
        mut change: impl FnMut(&mut Edit<'_, '_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let (name, id) = self.of[at].clone();
        let (stage, context) = (self.id, self.context.clone());
        let write = move |tx: &mut Txn<'_>| {
            let record = own(tx, stage, (&name, id))?;
            let mut edit = Edit::staged(tx, id, record, &context);
            let done = change(&mut edit)?;
            edit.finish()?;
            Ok(done)
        };
        let store = &self.repos.0.store;
        store
            .write(Lane::Request, self.need, "stage.write", write)
            .await
    }

    /// A list of changes in one repository, in its order, as many in one transaction as that may be; `cost` is how many rows
    /// one changes at most. Answers what each came to.
    pub(in crate::repo) async fn write_all<T: Send + Sync + 'static, R: Send + 'static>(
        &self,
        at: usize,
        list: Arc<Vec<T>>,
        cost: impl Fn(&T) -> usize + Clone + Send + 'static,
        put: impl Fn(&mut Edit<'_, '_>, &T) -> Result<R, RepoError> + Clone + Send + 'static,
    ) -> Result<Vec<R>, RepoError> {
        let mut done = Vec::with_capacity(list.len());
        let mut most = AT_ONCE;
        while done.len() < list.len() {
            let from = done.len();
            let once = || {
                let (list, cost, put) = (Arc::clone(&list), cost.clone(), put.clone());
                self.write(at, move |edit| {
                    let mut some = Vec::new();
                    for one in list[from..].iter().take(most) {
                        let is_full = edit.tx.changed() + cost(one) > ROWS || is_spent(edit.tx);
                        if is_full && !some.is_empty() {
                            break;
                        }
                        some.push(put(edit, one)?);
                    }
                    Ok(some)
                })
            };
            match self.repos.with_history(&self.of[at].0, once).await {
                // More waited for what came than the estimate knew of.
                Err(RepoError::Store(StoreError::TooMany(_))) if most > 1 => most /= 2,
                some => done.extend(some?),
            }
        }
        Ok(done)
    }

    /// Ends it: shows what was written, or takes everything back and answers why it was not. With the result comes the new
    /// head of each repository, in the order of the list.
    pub(in crate::repo) async fn end<T>(
        self,
        written: Result<T, RepoError>,
    ) -> Result<(T, Vec<Rev>), RepoError> {
        match written {
            Ok(done) => Ok((done, self.flip().await?)),
            Err(error) => Err(self.undo(error).await),
        }
    }

    /// Shows all of it, in one transaction; answers the head of each repository, in the order of the list.
    async fn flip(self) -> Result<Vec<Rev>, RepoError> {
        let (id, of) = (self.id, self.of.clone());
        let mut context = self.context.clone();
        context.at_ms = crate::types::wall_ms();
        let flip = move |tx: &mut Txn<'_>| flip(tx, id, &of, &context);
        let written = Instant::now();
        let flipped = self.repos.write(self.need, "stage.flip", flip);
        let revs = match flipped.await {
            Ok(revs) => revs,
            Err(error) if error.stored_nothing() => return Err(self.undo(error).await),
            // It may be shown: who takes such back finds out.
            Err(error) => return Err(error),
        };
        tracing::info!(
            why = self.context.why,
            who = self.context.who,
            repositories = revs.len(),
            written_ms = (written - self.begun).as_millis() as u64,
            flip_ms = written.elapsed().as_millis() as u64,
            "a big change is shown"
        );
        self.hold.end();
        Ok(revs)
    }

    /// Takes all of it back, as if it had never been begun; answers why. What cannot be taken back now is later.
    async fn undo(self, why: RepoError) -> RepoError {
        if let Err(error) = self.repos.undo_stage(self.id, self.hold).await {
            tracing::warn!(%error, "a big change that failed is taken back later, and its repositories take no changes until then");
        }
        why
    }
}

/// The row of a repository of a stage that is being written.
fn own(
    tx: &Txn<'_>,
    stage: StageId,
    (name, id): (&RepoName, RepoId),
) -> Result<RepoRecord, RepoError> {
    rows::held_by(tx, id, stage)?.ok_or_else(|| {
        RepoError::Refused(format!(
            "the big change of {name} was taken back meanwhile; nothing was changed, try again"
        ))
    })
}

fn flip(
    tx: &mut Txn<'_>,
    stage: StageId,
    of: &[(RepoName, RepoId)],
    context: &Context,
) -> Result<Vec<Rev>, RepoError> {
    let mut revs = Vec::with_capacity(of.len());
    for (name, id) in of {
        let mut record = own(tx, stage, (name, *id))?;
        record.stage = None;
        let rev = Rev(record.head + 1);
        let (from, to) = keys::change_names(*id, rev);
        if tx.scan(Table::Changes, &from, &to, 1)?.is_empty() {
            revs.push(Rev(record.head));
            tx.put(Table::Repos, &keys::repo(*id), &record.to_bytes()?)?;
            continue;
        }
        // The time is that of the flip: times rise with revisions.
        edit::put_head(tx, *id, rev, context)?;
        let keep_ms = record.keep_ms.unwrap_or(context.keep_ms);
        revs.push(edit::reveal(tx, *id, record, Some(keep_ms), context)?);
    }
    rows::delete(tx, stage)?;
    Ok(revs)
}

/// The revision that a stage makes of the repository; none if none holds it.
pub(in crate::repo) fn staged_rev(get: &impl Get, id: RepoId) -> Result<Option<Rev>, StoreError> {
    let record = record(get, id)?.filter(|record| record.stage.is_some());
    Ok(record.map(|record| Rev(record.head + 1)))
}

/// How long the repository keeps what was closed (ms).
pub(in crate::repo) fn keep_ms(
    get: &impl Get,
    id: RepoId,
    context: &Context,
) -> Result<u64, StoreError> {
    let keep_ms = record(get, id)?.and_then(|record| record.keep_ms);
    Ok(keep_ms.unwrap_or(context.keep_ms))
}

fn record(get: &impl Get, id: RepoId) -> Result<Option<RepoRecord>, StoreError> {
    let row = get.get(Table::Repos, &keys::repo(id))?;
    row.map(|row| RepoRecord::from_bytes(&row)).transpose()
}
