//! How a difference is mended: a few rows, in one background transaction that looks again whether the rows that the
//! finding rests on are still as they were. If they are not, nothing is written.

use super::report::Problem;
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::{QuotaRecord, UsageRecord};
use crate::repo::{Repos, quota, rows};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, StoreError, Table, Txn};
use crate::types::{Remedy, RepoId, Rev};

/// Row changes of one background transaction, about.
const BATCH: usize = 800;

/// A row: table, key, and its value or its absence.
pub(super) type Cell = (Table, Vec<u8>, Option<Vec<u8>>);

/// What to do about a finding.
#[derive(Debug, Clone)]
pub(super) enum Mend {
    /// If `guard` is as it was, write `change`.
    Rows { guard: Vec<Cell>, change: Vec<Cell> },
    /// Add what was found missing to a repository's figures; what else changed meanwhile stays.
    Usage {
        id: RepoId,
        tags: i128,
        manifests: i128,
        files: i128,
        bytes: i128,
    },
    /// Add what was found missing to what a quota counts.
    Quota {
        prefix: String,
        shown: i128,
        history: i128,
    },
    /// Drop a change, and the revision's head row with the last one.
    Change { key: Vec<u8>, id: RepoId, rev: Rev },
    /// Tell the feed of a revision again.
    Feed { row: Vec<u8> },
}

impl Mend {
    /// Writes a row that is missing, as long as `why` is there.
    pub fn write(why: Cell, table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self::Rows {
            guard: vec![why, (table, key.clone(), None)],
            change: vec![(table, key, Some(value))],
        }
    }

    /// Drops a row that is as it was seen, as long as `why` is so.
    pub fn drop(why: Vec<Cell>, table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        let mut guard = why;
        guard.push((table, key.clone(), Some(value)));
        Self::Rows {
            guard,
            change: vec![(table, key, None)],
        }
    }

    /// Puts another value in place of the one seen.
    pub fn replace(table: Table, key: Vec<u8>, seen: Vec<u8>, value: Vec<u8>) -> Self {
        Self::Rows {
            guard: vec![(table, key.clone(), Some(seen))],
            change: vec![(table, key, Some(value))],
        }
    }

    /// Adds a row without asking: a hint for the collector, which looks for itself.
    pub fn hint(table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self::Rows {
            guard: Vec::new(),
            change: vec![(table, key, Some(value))],
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Rows { change, .. } => change.len(),
            Self::Usage { .. } | Self::Quota { .. } | Self::Feed { .. } => 1,
            Self::Change { .. } => 2,
        }
    }

    /// Whether it was done; `false`: the rows have changed since.
    fn apply(&self, tx: &mut Txn<'_>) -> Result<bool, StoreError> {
        match self {
            Self::Rows { guard, change } => {
                for (table, key, value) in guard {
                    if tx.get(*table, key)? != *value {
                        return Ok(false);
                    }
                }
                for (table, key, value) in change {
                    match value {
                        Some(value) => tx.put(*table, key, value)?,
                        None => tx.delete(*table, key)?,
                    }
                }
            }
            Self::Usage {
                id,
                tags,
                manifests,
                files,
                bytes,
            } => {
                if tx.get(Table::Repos, &keys::repo(*id))?.is_none() {
                    return Ok(false);
                }
                // A row that cannot be read counts as none; what was found rests on that, too.
                let usage = rows::usage(tx, *id).unwrap_or_default();
                let usage = UsageRecord {
                    tags: plus(usage.tags, *tags),
                    manifests: plus(usage.manifests, *manifests),
                    files: plus(usage.files, *files),
                    bytes: plus(usage.bytes, *bytes),
                };
                tx.put(Table::Usage, &keys::repo(*id), &usage.to_bytes()?)?;
            }
            Self::Quota {
                prefix,
                shown,
                history,
            } => {
                let key = quota::key(prefix);
                let Some(row) = tx.get(Table::Quotas, &key)? else {
                    return Ok(false);
                };
                let mut record = QuotaRecord::from_bytes(&row)?;
                record.used = plus(record.used, *shown);
                record.history = plus(record.history, *history);
                tx.put(Table::Quotas, &key, &record.to_bytes()?)?;
            }
            Self::Change { key, id, rev } => {
                tx.delete(Table::Changes, key)?;
                let (from, to) = keys::change_names(*id, *rev);
                if tx.scan(Table::Changes, &from, &to, 1)?.is_empty() {
                    tx.delete(Table::Changes, &keys::change_head(*id, *rev))?;
                }
            }
            Self::Feed { row } => tx.append(row)?,
        }
        Ok(true)
    }
}

/// A figure and what it lacks.
fn plus(n: u64, more: i128) -> u64 {
    u64::try_from((i128::from(n) + more).max(0)).unwrap_or(u64::MAX)
}

/// A problem, and what rows can do about it.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub problem: Problem,
    pub mend: Option<Mend>,
}

impl Repos {
    /// Mends what can be mended, in transactions of bounded size; answers the problems with what came of it.
    pub(super) async fn mend(
        &self,
        findings: Vec<Finding>,
        repair: bool,
    ) -> Result<Vec<Problem>, RepoError> {
        let mut problems = Vec::with_capacity(findings.len());
        let mut batch = Vec::new();
        let mut cost = 0;
        for finding in findings {
            match finding.mend {
                Some(mend) if repair => {
                    cost += mend.cost();
                    batch.push((finding.problem, mend));
                    if cost >= BATCH {
                        problems.extend(self.carry_out_mends(std::mem::take(&mut batch)).await?);
                        cost = 0;
                    }
                }
                Some(_) => problems.push(
                    finding
                        .problem
                        .how("a repair mends it")
                        .mended_by(Remedy::Repair),
                ),
                None => problems.push(finding.problem),
            }
        }
        if !batch.is_empty() {
            problems.extend(self.carry_out_mends(batch).await?);
        }
        Ok(problems)
    }

    async fn carry_out_mends(
        &self,
        batch: Vec<(Problem, Mend)>,
    ) -> Result<Vec<Problem>, RepoError> {
        let (problems, mends): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let mended = self.change_any(Lane::Background, Need::Keeps, "check.mend", move |tx| {
            let done = mends.iter().map(|mend| mend.apply(tx));
            Ok(done.collect::<Result<Vec<bool>, StoreError>>()?)
        });
        let told = |(problem, done): (Problem, bool)| {
            if done {
                problem.done("mended")
            } else {
                problem.how("it changed while it was looked at; check again")
            }
        };
        Ok(problems.into_iter().zip(mended.await?).map(told).collect())
    }
}
