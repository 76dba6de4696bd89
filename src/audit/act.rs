//! One act: who asks for what, from where. Changes carry it into the feed, refusals into the trail.
//!
//! Owns what of a request is kept, and how long a text of it may be. Must not know how requests are made.

use super::record::{ActRecord, AuditOutcome, AuditRecord};
use crate::store::cause::Cause;
use crate::store::record::Record as _;
use crate::types::{net, wall_ms};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The longest input in bytes, error, and any other text.
const INPUT: usize = 2000;
const ERROR: usize = 500;
const TEXT: usize = 256;
/// Roles that are kept of one account.
const ROLES: usize = 20;

/// Who asks, from where.
#[derive(Debug, Clone, Default)]
pub struct Initiator {
    /// The account's random id; 0 where none asks.
    pub account_id: u64,
    /// Its name; `operator` for the control socket, empty for anybody.
    pub account: String,
    /// Its roles: `admin`, or role and prefix as in `writer:team`.
    pub roles: Vec<String>,
    /// The client's address; none for the control socket and for jobs.
    pub address: Option<IpAddr>,
    /// The client's word for itself.
    pub agent: String,
    /// The request's id in the log, or `job-NUMBER`.
    pub request: String,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Act {
    by: Initiator,
    action: String,
    input: String,
    begun: Instant,
}

/// How an act ended that changed nothing.
#[derive(Debug, Clone)]
pub struct Ended {
    /// On what.
    pub resource: String,
    /// How.
    pub outcome: AuditOutcome,
    /// The HTTP status; 0 for none.
    pub status: u16,
    /// Why it failed; empty if it did not.
    pub error: String,
}

impl Act {
    /// An act that begins now. `input` has no secrets.
    pub fn new(by: &Initiator, action: &str, input: &str) -> Self {
        Self::since(Instant::now(), by, action, input)
    }

    /// The same for one that began then.
    pub fn since(begun: Instant, by: &Initiator, action: &str, input: &str) -> Self {
        let text = |text: &str| cut(text, TEXT);
        let (roles, more) = by.roles.split_at(by.roles.len().min(ROLES));
        let mut roles: Vec<_> = roles.iter().map(|role| text(role)).collect();
        if !more.is_empty() {
            roles.push(format!("and {} more", more.len()));
        }
        Self {
            by: Initiator {
                account_id: by.account_id,
                account: text(&by.account),
                roles,
                address: by.address,
                agent: text(&by.agent),
                request: text(&by.request),
            },
            action: text(action),
            input: cut(input, INPUT),
            begun,
        }
    }

    /// The cause of the changes that are made for it.
    pub fn cause(self: &Arc<Self>) -> Arc<Cause> {
        let act = Arc::clone(self);
        // Its texts are bounded, so it is never longer than a record may be; without one the row says who and why all the same.
        Cause::new(move || act.record().to_bytes().unwrap_or_default())
    }

    fn record(&self) -> ActRecord {
        ActRecord {
            account_id: self.by.account_id,
            account: self.by.account.clone(),
            roles: self.by.roles.clone(),
            action: self.action.clone(),
            address: self.address(),
            agent: self.by.agent.clone(),
            request: self.by.request.clone(),
            input: self.input.clone(),
            ms: self.ms(),
        }
    }

    /// The client's network: an IPv6 client has all of a /64.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.by.address.map(net)
    }

    fn address(&self) -> String {
        self.by
            .address
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    fn ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// The row of its end.
    pub(super) fn ended(&self, end: &Ended) -> AuditRecord {
        AuditRecord {
            at_ms: wall_ms(),
            account_id: self.by.account_id,
            account: self.by.account.clone(),
            roles: self.by.roles.clone(),
            action: self.action.clone(),
            resource: cut(&end.resource, 2 * TEXT),
            outcome: end.outcome,
            address: self.address(),
            agent: self.by.agent.clone(),
            request: self.by.request.clone(),
            input: self.input.clone(),
            status: end.status,
            error: cut(&end.error, ERROR),
            ms: self.ms(),
            count: 1,
        }
    }
}

/// A text without control characters, and no longer than so many bytes: an ellipsis stands for the rest.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.min(text.len()));
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut kept: String = text[..end].chars().map(printable).collect();
    if end < text.len() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(cut("a\x1b[2Jb", 10), "a\u{fffd}[2Jb");
        assert_eq!(cut("äö", 3), "ä…");
        let by = Initiator {
            account: "x".repeat(10_000),
            agent: "\n".repeat(10_000),
            roles: vec!["r".repeat(10_000); 1000],
            request: "y".repeat(10_000),
            ..Initiator::default()
        };
        let act = Act::new(&by, &"z".repeat(10_000), &"i".repeat(1 << 20));
        let bytes = act.record().to_bytes().expect("bounded");
        assert!(bytes.len() < 32 << 10, "{}", bytes.len());
        assert_eq!(act.by.roles.len(), ROLES + 1);
    }
}
