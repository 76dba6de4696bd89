//! From the feed to the trail: each change's row carries the request behind it in the change's own transaction, and becomes a
//! row of the trail soon after.
//!
//! Owns the cursor of this consumer. Must not change what the feed says.

use super::record::{ActRecord, AuditOutcome, AuditRecord};
use super::trail::Trail;
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedCursor, FeedKind, FeedRecord};
use crate::store::record::Record as _;
use crate::store::{Get, StoreError, Txn};

/// The consumer's name.
const CONSUMER: &str = "audit";
/// Rows of one transaction.
pub(super) const ROWS: usize = 500;
/// How many rows of the feed one transaction may have written.
const ONE_CHANGE: usize = 5_000;
/// Who does what nobody asked for.
const SERVER: &str = "dryport";

/// Whether the feed has rows that were not moved.
pub(super) fn is_due(get: &impl Get) -> Result<bool, StoreError> {
    feed::has_after(get, &feed::cursor(get, CONSUMER)?)
}

/// Whether rows were ever moved.
pub(super) fn has_moved(get: &impl Get) -> Result<bool, StoreError> {
    Ok(!feed::cursor(get, CONSUMER)?.is_start())
}

/// Moves the next rows of the feed. Answers how many.
pub(super) fn advance(tx: &mut Txn<'_>, start: [u8; 32]) -> Result<usize, StoreError> {
    let after = feed::cursor(tx, CONSUMER)?;
    let page = feed::read(tx, &after, ROWS)?;
    let mut act = match page.rows.first() {
        None => return Ok(0),
        Some((at, row)) if is_continued(row) => act_before(tx, *at)?,
        Some(_) => None,
    };
    let mut trail = Trail::open(tx, start)?;
    if page.behind && !after.is_start() {
        tracing::error!("rows of the feed were gone before the audit trail had them");
        trail.add(&lost(
            "changes whose rows in the feed were gone before they came here",
            &after,
        ))?;
    }
    for (at, row) in &page.rows {
        let row = FeedRecord::from_bytes(row);
        if let Ok(FeedRecord { cause, .. }) = &row {
            match cause {
                FeedCause::None => act = None,
                FeedCause::Before => {}
                FeedCause::Words(words) => act = ActRecord::from_bytes(words).ok(),
            }
        }
        let row = match row {
            Ok(row) => of(row, act.as_ref()),
            Err(error) => unreadable(at, &error),
        };
        trail.add(&row)?;
    }
    trail.close()?;
    feed::set_cursor(tx, CONSUMER, &page.next)?;
    Ok(page.rows.len())
}

fn is_continued(row: &[u8]) -> bool {
    FeedRecord::from_bytes(row).is_ok_and(|row| row.cause == FeedCause::Before)
}

/// The request of the last row before this one that states one.
fn act_before(get: &impl Get, at: FeedCursor) -> Result<Option<ActRecord>, StoreError> {
    let (mut at, mut seen) = (at, 0);
    while seen < ONE_CHANGE {
        let rows = feed::read_back(get, &at, 100)?;
        for (_, row) in &rows {
            match FeedRecord::from_bytes(row).map(|row| row.cause) {
                Ok(FeedCause::Words(words)) => return Ok(ActRecord::from_bytes(&words).ok()),
                Ok(FeedCause::Before) => {}
                _ => return Ok(None),
            }
        }
        match rows.last() {
            Some((earlier, _)) => (at, seen) = (*earlier, seen + rows.len()),
            None => break,
        }
    }
    Ok(None)
}

/// The row of the trail for one of the feed.
fn of(row: FeedRecord, act: Option<&ActRecord>) -> AuditRecord {
    let resource = resource(&row);
    let mut made = AuditRecord {
        at_ms: row.at_ms,
        account_id: 0,
        account: row.who,
        roles: Vec::new(),
        action: row.why,
        resource,
        outcome: AuditOutcome::Success,
        address: String::new(),
        agent: String::new(),
        request: String::new(),
        input: String::new(),
        status: 0,
        error: String::new(),
        ms: 0,
        count: 1,
    };
    if made.account.is_empty() && act.is_none() {
        SERVER.clone_into(&mut made.account);
    }
    if let Some(act) = act {
        let act = act.clone();
        (made.account_id, made.account, made.roles) = (act.account_id, act.account, act.roles);
        (made.action, made.input, made.ms) = (act.action, act.input, act.ms);
        (made.address, made.agent, made.request) = (act.address, act.agent, act.request);
    }
    made
}

/// What a row of the feed is about.
fn resource(row: &FeedRecord) -> String {
    let name = &row.name;
    match FeedKind::of(row.kind) {
        Some(FeedKind::Account) => format!("user:{name}"),
        Some(FeedKind::Setting) => format!("quota:{name}"),
        Some(FeedKind::Job) => format!("job:{name}"),
        Some(FeedKind::Schedule) => format!("schedule:{name}"),
        Some(FeedKind::Upstream) => format!("upstream:{name}"),
        // A blob's name has its repository in front.
        _ => name.clone(),
    }
}

fn unreadable(at: &FeedCursor, error: &StoreError) -> AuditRecord {
    lost(
        &format!("a change whose row in the feed cannot be read: {error}"),
        at,
    )
}

/// The row in the place of what cannot be told.
fn lost(what: &str, at: &FeedCursor) -> AuditRecord {
    let row = FeedRecord {
        kind: FeedKind::Setting as u8,
        repo: 0,
        name: String::new(),
        rev: 0,
        at_ms: crate::types::wall_ms(),
        who: String::new(),
        why: "feed".into(),
        cause: FeedCause::None,
    };
    AuditRecord {
        resource: format!("feed:{at}"),
        outcome: AuditOutcome::Error,
        error: what.to_owned(),
        ..of(row, None)
    }
}
