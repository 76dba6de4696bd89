//! What is done for the trail every few seconds: rows of the feed are moved, what was gathered is written, old rows are chained,
//! and those beyond what is kept go.
//!
//! Owns the order and the rhythm of these. How each is done is its own file's.

use super::chain::{self, Bounds, CHECKPOINT_ROWS};
use super::moving;
use super::pulls::Grown;
use super::record::{AuditRecord, Position};
use super::trail::{self, Trail};
use super::verify::hex;
use super::{Audit, AuditError};
use crate::store::{Lane, Need, StoreError, StoreErrorKind, Txn};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::time::{Duration, Instant};

/// How often a server does it: what a crash may lose of refusals and pulls, with the time of one turn.
pub const EVERY: Duration = Duration::from_secs(5);
/// How old rows are that are chained: rows of pulls grow for a minute.
const SETTLED: Duration = Duration::from_mins(2);
/// How often rows are chained.
const CHAIN: Duration = Duration::from_mins(1);
/// How often the log tells of the chain's end.
const ANCHOR: Duration = Duration::from_hours(24);
/// Rows of one transaction.
const ROWS: usize = 500;

/// Who the accounts are whose pulls were counted.
pub trait Accounts: Sync {
    /// The id and the roles of an account by its name; 0 and none if it is not there any more.
    fn identity(&self, name: &str) -> impl Future<Output = (u64, Vec<String>)> + Send;
}

/// What is remembered from turn to turn.
#[derive(Default)]
pub(super) struct Turns {
    /// Where the last row stood at some times, the oldest first.
    marks: VecDeque<(Instant, Position)>,
    chained: Option<Instant>,
    anchored: Option<Instant>,
}

/// The id and the roles of accounts, by name.
type Identities = HashMap<String, (u64, Vec<String>)>;

/// Writes the rows of counts that have grown; answers where each stands.
fn set_pulls(
    tx: &mut Txn<'_>,
    start: [u8; 32],
    grown: &[Grown],
    of: &Identities,
) -> Result<Vec<(Grown, Position)>, StoreError> {
    let mut trail = Trail::open(tx, start)?;
    let mut written = Vec::with_capacity(grown.len());
    for one in grown {
        let mut one = one.clone();
        let record = |one: &Grown| {
            let mut row = one.record();
            (row.account_id, row.roles) = of.get(&row.account).cloned().unwrap_or_default();
            row
        };
        let at = match one.row() {
            Some(at) if trail.set(at, &record(&one))? => at,
            _ => {
                one.begin_anew();
                trail.add(&record(&one))?
            }
        };
        written.push((one, at));
    }
    trail.close()?;
    Ok(written)
}

impl Audit {
    /// Brings the trail up to now. What fails is tried again by the next turn, and keeps nothing else from being done: what goes
    /// may be what makes room. To be run to its end.
    pub async fn turn(&self, accounts: &impl Accounts) -> Result<(), AuditError> {
        let _turns = self.0.turn.lock().await;
        let refused = self.write_refused().await;
        let pulls = self.write_pulls(accounts).await;
        let moved = self.move_rows().await;
        refused.and(pulls).and(moved)
    }

    /// Writes what was gathered, and moves nothing: at the end of a command, which leaves the rest to the next server.
    pub async fn flush(&self, accounts: &impl Accounts) -> Result<(), AuditError> {
        let _turns = self.0.turn.lock().await;
        let refused = self.write_refused().await;
        refused.and(self.write_pulls(accounts).await)
    }

    /// As [`Audit::turn`], and chains what is old, and drops what is not kept: for a server, which does it every few seconds.
    pub async fn keep(&self, accounts: &impl Accounts) -> Result<(), AuditError> {
        let turned = self.turn(accounts).await;
        let mut turns = self.0.turn.lock().await;
        let settled = self.settle(&mut turns).await;
        turned.and(settled)
    }

    async fn move_rows(&self) -> Result<(), AuditError> {
        let start = self.0.start;
        // Most of the time there is nothing, and a change is more work than a look.
        while self
            .hop(|store| Ok(store.read(|r| moving::is_due(r))?))
            .await?
        {
            let moved = move |tx: &mut Txn<'_>| moving::advance(tx, start);
            let moved = self.change(Lane::Background, Need::Grows, "audit.move", moved);
            if moved.await? == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn write_refused(&self) -> Result<(), AuditError> {
        let mut rows = self.0.refused.take();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(ROWS));
            if let Err(error) = self.add_all(rows.clone()).await {
                self.0.refused.give_back(rows);
                self.0.refused.give_back(rest);
                return Err(error);
            }
            rows = rest;
        }
        Ok(())
    }

    async fn add_all(&self, rows: Vec<AuditRecord>) -> Result<(), AuditError> {
        let start = self.0.start;
        let add = move |tx: &mut Txn<'_>| {
            let mut trail = Trail::open(tx, start)?;
            for row in &rows {
                trail.add(row)?;
            }
            trail.close()
        };
        Ok(self
            .change(Lane::Background, Need::Grows, "audit.add", add)
            .await?)
    }

    async fn write_pulls(&self, accounts: &impl Accounts) -> Result<(), AuditError> {
        let mut known = Identities::new();
        loop {
            let grown = self.0.pulls.grown(ROWS);
            if grown.is_empty() {
                return Ok(());
            }
            for account in grown.iter().filter_map(Grown::account) {
                if !known.contains_key(account) {
                    known.insert(account.to_owned(), accounts.identity(account).await);
                }
            }
            let (start, of) = (self.0.start, known.clone());
            let set = move |tx: &mut Txn<'_>| set_pulls(tx, start, &grown, &of);
            let written = self.change(Lane::Background, Need::Grows, "audit.pulls", set);
            for (one, at) in written.await? {
                self.0.pulls.written(one, at);
            }
        }
    }

    /// Chains what is old enough, and drops what is not kept.
    async fn settle(&self, turns: &mut Turns) -> Result<(), AuditError> {
        let last = self
            .hop(|store| Ok(store.read(|r| trail::last(r))?))
            .await?;
        let Some(last) = last else { return Ok(()) };
        let now = Instant::now();
        if turns.marks.back().is_none_or(|(_, at)| *at != last) {
            turns.marks.push_back((now, last));
        }
        if turns
            .chained
            .is_some_and(|at| now.duration_since(at) < CHAIN)
        {
            return Ok(());
        }
        let is_old = |(at, _): &(Instant, Position)| now.duration_since(*at) >= SETTLED;
        let mut until = None;
        while turns.marks.front().is_some_and(is_old) {
            until = turns.marks.pop_front();
        }
        let lengthened = match until {
            Some((_, until)) => self.lengthen(until).await,
            None => Ok(()),
        };
        self.shorten().await?;
        lengthened?;
        turns.chained = Some(now);
        let is_due = |at: Instant| now.duration_since(at) >= ANCHOR;
        if turns.anchored.is_none_or(is_due) && self.anchor().await? {
            turns.anchored = Some(now);
        }
        Ok(())
    }

    async fn lengthen(&self, until: Position) -> Result<(), AuditError> {
        let start = self.0.start;
        loop {
            let checkpoint = move |tx: &mut Txn<'_>| chain::lengthen(tx, start, until);
            let rows = self.change(Lane::Background, Need::Keeps, "audit.chain", checkpoint);
            if rows.await? < CHECKPOINT_ROWS {
                return Ok(());
            }
        }
    }

    async fn shorten(&self) -> Result<(), AuditError> {
        let (start, options) = (self.0.start, self.options());
        let bounds = Bounds {
            keep_ms: options.keep_ms,
            max_bytes: options.max_bytes,
        };
        let mut gone = 0;
        loop {
            let drop = move |tx: &mut Txn<'_>| chain::shorten(tx, start, bounds);
            let dropped = self.change(Lane::Background, Need::Removes, "audit.trim", drop);
            match dropped.await? {
                Some(rows) => gone += rows,
                None => break,
            }
        }
        if gone > 0 {
            tracing::info!(target: "audit", rows = gone, "the oldest rows of the audit trail went");
        }
        Ok(())
    }

    /// Tells the log of the chain's end: what stands there cannot be changed by changing the trail. Answers whether there is one.
    async fn anchor(&self) -> Result<bool, AuditError> {
        let head = self
            .hop(|store| Ok(store.read(|r| trail::head(r))?))
            .await?;
        let Some(head) = head.filter(|head| head.checkpoints > 0) else {
            return Ok(false);
        };
        tracing::info!(
            target: "audit",
            checkpoints = head.checkpoints,
            gone_checkpoints = head.gone_checkpoints,
            gone_rows = head.gone_rows,
            rows = head.rows,
            hash = hex(&head.hash),
            "the chain of the audit trail"
        );
        Ok(true)
    }

    /// Whether a turn that failed is to be told of at all: on a full disk the rows wait, and others tell of the disk.
    pub fn is_told(error: &AuditError) -> bool {
        !matches!(error, AuditError::Store(e) if matches!(e.kind(), StoreErrorKind::NoSpace))
    }
}
