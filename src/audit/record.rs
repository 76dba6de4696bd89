//! What the rows of the audit trail hold. The golden files pin their bytes.

use super::AuditError;
use crate::store::record::{Decode, Encode, Record};
use std::fmt;
use std::str::FromStr;

/// How a request ended.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was done.
    Success,
    /// It failed.
    Error,
    /// Who asked may not do it, or showed credentials that do not count.
    Denied,
}

impl AuditOutcome {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Success, Self::Error, Self::Denied];

    /// Its word: `success`, `error` or `denied`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Denied => "denied",
        }
    }
}

/// One row: who did what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditRecord {
    /// When (wall clock, ms).
    pub at_ms: u64,
    /// The account's random id; 0 where no account asked.
    pub account_id: u64,
    /// Its name; `operator` for who opened the control socket, `dryport` for the server itself, empty for anybody.
    pub account: String,
    /// Its roles then: `admin`, or role and prefix as in `writer:team`.
    pub roles: Vec<String>,
    /// What was asked for: an operation, a right of the registry protocol, or `pull`.
    pub action: String,
    /// On what: a repository, `NAME@TITLE` for a snapshot, `NAME@DIGEST` for a pull, `user:NAME`, `quota:PREFIX`, `job:NUMBER`,
    /// `schedule:NUMBER`, or `server`.
    pub resource: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The client's address; empty for the control socket and the server itself.
    pub address: String,
    /// The client's word for itself.
    pub agent: String,
    /// The request's id in the log, or `job-NUMBER`.
    pub request: String,
    /// The input without secrets: method and path, or an operation's fields as JSON.
    pub input: String,
    /// The HTTP status; 0 where none was known: a change's row is written before its answer.
    pub status: u16,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// How long it took until then, in ms.
    pub ms: u64,
    /// How many requests the row stands for.
    pub count: u64,
}

impl Record for AuditRecord {
    const NAME: &'static str = "audit";
    const VERSION: u8 = 1;
}

/// The request behind a change, as the feed's row carries it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct ActRecord {
    pub account_id: u64,
    pub account: String,
    pub roles: Vec<String>,
    pub action: String,
    pub address: String,
    pub agent: String,
    pub request: String,
    pub input: String,
    /// From the request to the change, in ms.
    pub ms: u64,
}

impl Record for ActRecord {
    const NAME: &'static str = "audit-act";
    const VERSION: u8 = 1;
}

/// A checkpoint of the chain: the rows after the checkpoint before it, up to its own place.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct CheckpointRecord {
    /// Checkpoints before it, also those that are gone.
    pub number: u64,
    /// Its rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// When it was made (running time, ms).
    pub made_ms: u64,
    /// SHA-256 over the hash of the checkpoint before it, its number, its time and its rows.
    pub hash: [u8; 32],
}

impl Record for CheckpointRecord {
    const NAME: &'static str = "audit-checkpoint";
    const VERSION: u8 = 1;
}

/// Where the trail begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeadRecord {
    /// The hash that the oldest checkpoint follows: random at first, then that of the last checkpoint that is gone.
    pub start: [u8; 32],
    /// Checkpoints that are gone, and their rows.
    pub gone_checkpoints: u64,
    pub gone_rows: u64,
    /// Checkpoints that were made.
    pub checkpoints: u64,
    /// The hash of the last of them; `start` where none is.
    pub hash: [u8; 32],
    /// The place of its last row: later rows come after it.
    pub chained: Position,
    /// Rows that are there, and bytes of their keys and values.
    pub rows: u64,
    pub bytes: u64,
}

impl Record for HeadRecord {
    const NAME: &'static str = "audit-head";
    const VERSION: u8 = 1;
}

/// Where a row stands among the others: its time (wall clock, ms; never less than that of a chained row), and a number for
/// those of one ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Position {
    /// See above.
    pub(super) ms: u64,
    /// See above.
    pub(super) number: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

impl FromStr for Position {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let read = text.split_once('-').and_then(|(ms, number)| {
            let (ms, number) = (ms.parse().ok()?, number.parse().ok()?);
            Some(Self { ms, number })
        });
        read.filter(|position| position.to_string() == text)
            .ok_or_else(|| AuditError::Position(text.chars().take(80).collect()))
    }
}

crate::types::as_text!(
    Position,
    "AuditPosition",
    "The place of a row in the audit trail.",
    "1790000000000-0"
);

#[cfg(test)]
mod golden_tests {
    use super::*;
    use crate::store::record::golden;

    #[test]
    fn golden_audit() {
        golden::check(&AuditRecord {
            at_ms: 1_790_000_000_000,
            account_id: 0x0102_0304_0506_0708,
            account: "ann".into(),
            roles: vec!["admin".into(), "writer:team".into()],
            action: "snapshot-create".into(),
            resource: "team/app@june".into(),
            outcome: AuditOutcome::Denied,
            address: "2001:db8::1".into(),
            agent: "curl/8".into(),
            request: "0123456789abcdef".into(),
            input: "{}".into(),
            status: 403,
            error: "no".into(),
            ms: 12,
            count: 3,
        });
        golden::check(&ActRecord {
            account_id: 7,
            account: "ann".into(),
            roles: vec!["admin".into()],
            action: "repo.push".into(),
            address: "192.0.2.1".into(),
            agent: "curl/8".into(),
            request: "0123456789abcdef".into(),
            input: "PUT /v2/a/manifests/b".into(),
            ms: 5,
        });
        golden::check(&CheckpointRecord {
            number: 3,
            rows: 1000,
            bytes: 300_000,
            made_ms: 77_000,
            hash: [7; 32],
        });
        golden::check(&HeadRecord {
            start: [1; 32],
            gone_checkpoints: 2,
            gone_rows: 1999,
            checkpoints: 5,
            hash: [7; 32],
            chained: Position {
                ms: 1_790_000_000_000,
                number: 9,
            },
            rows: 3100,
            bytes: 930_000,
        });
    }
}
