//! What the collector does to rows: it takes `due` rows, looks at the truth again, and drops what nothing needs.
//!
//! A due row is planned in one read ([`plan`]: here manifests are read, for their children) and carried out in background
//! transactions of bounded size ([`apply`]), each of which decides from rows alone. A due row goes with its last step, so
//! a crash anywhere only means that it is looked at again. When to sweep, and how fast, is `gc`'s business.

mod apply;
#[cfg(test)]
mod law;
mod list;
mod past;
mod places;
mod plan;
mod release;
mod step;
mod survey;
mod unlink;
mod unstage;

use super::bounded::is_spent;
use super::edit::Context;
use super::error::RepoError;
use super::{Repos, wall_ms};
use crate::blobs::Place;
use crate::store::{Get as _, Lane, Need, Table, Txn};
use plan::StepPlan;
use std::collections::VecDeque;
use std::sync::Arc;
use step::{Done, Step};

pub(super) use apply::is_needed;
pub(super) use places::{condemn_stray, is_named};
pub(super) use release::{drop_ref, let_go};
pub use survey::{Holding, Survey};
pub use unlink::Unlinking;

/// Row changes of one background transaction, about; a step never costs more than a few hundred.
const BATCH_COST: usize = 800;
/// How the collector signs its revisions; no account can have this name.
const COLLECTOR: &str = "dryport gc";

/// What one or more rounds of collecting came to.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub struct Tally {
    /// Due rows looked at.
    pub examined: u64,
    /// Links whose lease ended without a reference.
    pub links_dropped: u64,
    /// Manifests that lost their last tag long enough ago.
    pub manifests_removed: u64,
    /// Tags that listed what refers to a manifest that is gone.
    #[serde(default)]
    pub lists_removed: u64,
    /// Rows of the history that nobody can ask for any more.
    pub history_dropped: u64,
    /// Blobs without a reference whose rows are gone.
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Blobs seen that only a lease keeps.
    pub kept_by_lease: u64,
    /// Removed tags and manifests, and untagged manifests, seen that only the history keeps.
    pub kept_by_history: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.examined += more.examined;
        self.links_dropped += more.links_dropped;
        self.manifests_removed += more.manifests_removed;
        self.lists_removed += more.lists_removed;
        self.history_dropped += more.history_dropped;
        self.freed_blobs += more.freed_blobs;
        self.freed_bytes += more.freed_bytes;
        self.kept_by_lease += more.kept_by_lease;
        self.kept_by_history += more.kept_by_history;
    }
}

/// A row that asks the collector to look at something.
#[derive(Debug, Clone)]
pub struct Due {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Due {
    /// A row as it may stand in the table.
    pub(super) fn new(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, value }
    }

    /// The row's key.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Where the next page of rows starts after this one.
    pub fn after(&self) -> Vec<u8> {
        [self.key.as_slice(), &[0]].concat()
    }
}

impl Repos {
    /// Rows to look at from `from` on, at most `limit`: those whose time has come, or with `all` also those to come.
    pub async fn due(&self, from: Vec<u8>, all: bool, limit: usize) -> Result<Vec<Due>, RepoError> {
        let to = if all {
            Vec::new()
        } else {
            (self.0.store.running_ms() + 1).to_be_bytes().to_vec()
        };
        self.hop(move |_, r| {
            if !all && from >= to {
                return Ok(Vec::new());
            }
            let rows = r.scan(Table::Due, &from, &to, limit)?;
            Ok(rows
                .into_iter()
                .map(|(key, value)| Due { key, value })
                .collect())
        })
        .await
    }

    /// Looks at what the rows name and drops what nothing needs any more. With `purge` the history keeps nothing; leases
    /// always count.
    pub async fn reclaim(&self, due: Vec<Due>, purge: bool) -> Result<Tally, RepoError> {
        let due = Arc::new(due);
        let (mut tally, mut done, mut from) = (Tally::default(), 0, None);
        while done < due.len() {
            let (rows, begun) = (Arc::clone(&due), from);
            let planned = self.hop(move |inner, r| {
                let mut plan = StepPlan::new(inner, r, purge);
                let (mut next, mut from) = (done, begun.clone());
                while let Some(row) = rows.get(next)
                    && (next == done || !plan.is_full())
                {
                    from = plan.row(&row.key, &row.value, from)?;
                    // The next part of a row is planned when the steps of this one are done.
                    if from.is_some() {
                        break;
                    }
                    next += 1;
                }
                Ok((plan.finish(), next, from))
            });
            let ((steps, planned), next, then) = planned.await?;
            (done, from) = (next, then);
            tally += planned;
            tally += self.carry_out_all(steps).await?;
        }
        Ok(tally)
    }

    /// Carries steps out, in transactions of bounded size.
    async fn carry_out_all(&self, steps: Vec<Step>) -> Result<Tally, RepoError> {
        let mut tally = Tally::default();
        let mut steps = VecDeque::from(steps);
        while !steps.is_empty() {
            let mut cost = 0;
            let some = steps.iter().take_while(|step| {
                let is_first = cost == 0;
                cost += step.cost();
                is_first || cost <= BATCH_COST
            });
            let some: Vec<Step> = some.cloned().collect();
            let (done, part, more) = self.carry_out(some).await?;
            tally += more;
            steps.drain(..done);
            if let Some(next) = steps.front_mut() {
                next.forget(part);
            }
        }
        Ok(tally)
    }

    /// Carries out the first of these steps, as many as one transaction may look at the rows of; answers how many, and how
    /// many parts of the one after them.
    async fn carry_out(&self, steps: Vec<Step>) -> Result<(usize, usize, Tally), RepoError> {
        let context = Context {
            who: COLLECTOR.into(),
            ..self.context("", "gc")
        };
        let reclaim = move |tx: &mut Txn<'_>| {
            let mut tally = Tally::default();
            let (mut done, mut part) = (0, 0);
            for step in &steps {
                if done > 0 && is_spent(tx) {
                    break;
                }
                if let Done::Part(parts) = apply::step(tx, step, &context, &mut tally)? {
                    part = parts;
                    break;
                }
                done += 1;
            }
            Ok::<_, RepoError>((done, part, tally))
        };
        let store = &self.0.store;
        store
            .write(Lane::Background, Need::Keeps, "gc.reclaim", reclaim)
            .await
    }

    /// Condemns a content file that no blob's row names: `false` if one does after all. The file is removed with the
    /// other condemned ones. For files that were seen without a row for long enough that no commit can still name them.
    pub async fn condemn_stray(&self, place: &Place) -> Result<bool, RepoError> {
        let digest = place.digest()?;
        let (place, at_ms) = (place.clone(), wall_ms());
        let write = self
            .0
            .store
            .write(Lane::Background, Need::Keeps, "gc.stray", move |tx| {
                places::condemn_stray(tx, &digest, &place, at_ms)
            });
        write.await
    }

    /// Whether a blob's row names this content file, or a condemned row does.
    pub async fn is_known_place(&self, place: &Place) -> Result<bool, RepoError> {
        let digest = place.digest()?;
        let place = place.clone();
        self.hop(move |_, r| places::is_known_place(r, &digest, &place))
            .await
    }
}
