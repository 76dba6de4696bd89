//! A row of the trail as people and programs read it, and the questions that can be asked of it.
//!
//! Owns the names of fields; they are fixed. Reads nothing.

use crate::audit::record::{AuditOutcome, AuditRecord, Position};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One row of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Its place in the trail, to go on after it.
    pub id: Position,
    /// When (RFC 3339, UTC, to the ms).
    pub time: String,
    /// The account's id (16 hexadecimal digits); empty where none asked.
    pub account_id: String,
    /// Its name; `operator` for the control socket, `dryport` for the server itself, empty for anybody.
    pub account: String,
    /// Its roles then: `admin`, or role and prefix as in `writer:team`.
    pub roles: Vec<String>,
    /// What was asked for: an operation, a right of the registry protocol, `pull`, `login`, or the kind of a job.
    pub action: String,
    /// On what: a repository, `NAME@TITLE` for a snapshot, `NAME@DIGEST` for a pull, `user:NAME`, `quota:PREFIX`, `job:NUMBER`,
    /// `schedule:NUMBER`, or `server`.
    pub resource: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The client's address; empty for the control socket and the server itself.
    pub address: String,
    /// The client's word for itself.
    pub user_agent: String,
    /// The request's id in the log, or `job-NUMBER`.
    pub request_id: String,
    /// The input without secrets: method and path, or an operation's fields as JSON.
    pub input: String,
    /// The HTTP status; none for operations, pulls and changes, whose row is written before the answer.
    pub status: Option<u16>,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// How long it took until the row was made, in ms.
    pub duration_ms: u64,
    /// How many requests the row stands for.
    pub count: u64,
}

impl AuditRow {
    /// Of a stored row.
    pub(in crate::audit) fn of(id: Position, row: AuditRecord) -> Self {
        let account_id = match row.account_id {
            0 => String::new(),
            id => format!("{id:016x}"),
        };
        Self {
            id,
            time: time(row.at_ms),
            account_id,
            account: row.account,
            roles: row.roles,
            action: row.action,
            resource: row.resource,
            outcome: row.outcome,
            address: row.address,
            user_agent: row.agent,
            request_id: row.request,
            input: row.input,
            status: Some(row.status).filter(|status| *status != 0),
            error: row.error,
            duration_ms: row.ms,
            count: row.count,
        }
    }
}

/// A wall clock in ms as RFC 3339.
pub(in crate::audit) fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).ok();
    let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| format!("{time:.3}"))
}

/// Which rows are wanted: those to which all that is given applies.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Not before this time (wall clock, ms).
    pub since_ms: Option<u64>,
    /// Before this time (wall clock, ms).
    pub until_ms: Option<u64>,
    /// Of this account.
    pub account: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// On what begins so.
    pub resource: Option<String>,
    /// That ended so.
    pub outcome: Option<AuditOutcome>,
    /// From this address.
    pub address: Option<String>,
    /// Of this request.
    pub request: Option<String>,
}

impl AuditFilter {
    /// Whether a row is wanted.
    pub(in crate::audit) fn takes(&self, row: &AuditRecord) -> bool {
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == text)
        };
        self.since_ms.is_none_or(|since| row.at_ms >= since)
            && self.until_ms.is_none_or(|until| row.at_ms < until)
            && is(&self.account, &row.account)
            && is(&self.action, &row.action)
            && self
                .resource
                .as_deref()
                .is_none_or(|wanted| row.resource.starts_with(wanted))
            && self.outcome.is_none_or(|wanted| row.outcome == wanted)
            && is(&self.address, &row.address)
            && is(&self.request, &row.request)
    }
}

/// Some rows, the oldest first, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The rows, the oldest first.
    pub rows: Vec<AuditRow>,
    /// Where to go on; none if that was all.
    pub next: Option<Position>,
}

/// What is wrong with the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditDamage {
    /// What, for people.
    pub what: String,
    /// From when to when the rows are that it may concern (RFC 3339); empty where that is not known.
    pub from: String,
    /// See `from`.
    pub to: String,
}

/// What a check of the trail found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerified {
    /// Rows that are there.
    pub rows: u64,
    /// Those of them that are chained; the newest are not yet.
    pub chained: u64,
    /// Checkpoints of the chain that are there.
    pub checkpoints: u64,
    /// Rows that went since they were older than is kept, or more.
    pub gone: u64,
    /// The hash of the last checkpoint (hexadecimal): to be compared with what the log says.
    pub hash: String,
    /// What is wrong; 100 at most.
    pub damage: Vec<AuditDamage>,
}
