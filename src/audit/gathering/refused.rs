//! What failed or was refused, gathered in memory: one row stands for all of a kind that one client sent since the last look.
//!
//! Owns their counting, and bounds it. Must not write anything.

use super::allowance::Allowance;
use crate::audit::record::{AuditOutcome, AuditRecord};
use crate::types::net;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different rows of one client between two looks, and of all that have no account.
const EACH: usize = 32;
const STRANGERS: f64 = 200.0;
/// Different rows that strangers may add in a second from then on: the trail must not be filled by who has no account.
const STRANGERS_A_SECOND: f64 = 0.2;

/// What makes two refusals one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    account: String,
    client: Option<IpAddr>,
    action: String,
    resource: String,
    outcome: AuditOutcome,
    status: u16,
    /// Of an account: what was asked for.
    input: String,
}

struct Table {
    rows: HashMap<Sort, AuditRecord>,
    /// Rows of each account and network.
    clients: HashMap<(String, Option<IpAddr>), usize>,
    /// Rows that strangers may add.
    strangers: Allowance,
}

/// The refusals since the last look.
pub(in crate::audit) struct Refused(Mutex<Table>);

/// Stands for what is not told apart.
const OTHERS: &str = "(others)";

impl Refused {
    pub fn new() -> Self {
        Self(Mutex::new(Table {
            rows: HashMap::new(),
            clients: HashMap::new(),
            strangers: Allowance::new(STRANGERS, STRANGERS_A_SECOND),
        }))
    }

    /// Counts one of a client, whose network is given. Beyond what is told apart of a client its resource is not kept; beyond
    /// what is told apart of strangers their addresses are not. An account always keeps its name.
    pub fn note(&self, mut row: AuditRecord, mut client: Option<IpAddr>) {
        let mut table = self.lock();
        let table = &mut *table;
        let of = |row: &AuditRecord, client| (row.account.clone(), client);
        if !table.rows.contains_key(&sort(&row, client)) {
            let count = table.clients.get(&of(&row, client));
            if count.is_some_and(|count| *count >= EACH) {
                OTHERS.clone_into(&mut row.resource);
                row.input.clear();
            }
        }
        if row.account.is_empty()
            && client.is_some()
            && !table.rows.contains_key(&sort(&row, client))
            && !table.strangers.take()
        {
            OTHERS.clone_into(&mut row.resource);
            OTHERS.clone_into(&mut row.address);
            row.agent.clear();
            row.input.clear();
            client = None;
        }
        let key = sort(&row, client);
        match table.rows.entry(key) {
            Entry::Occupied(mut before) => before.get_mut().count += row.count,
            Entry::Vacant(free) => {
                *table.clients.entry(of(&row, client)).or_default() += 1;
                free.insert(row);
            }
        }
    }

    /// All of them, the oldest first; none is left.
    pub fn take(&self) -> Vec<AuditRecord> {
        let mut table = self.lock();
        table.clients.clear();
        let mut rows: Vec<_> = std::mem::take(&mut table.rows).into_values().collect();
        rows.sort_by_key(|row| row.at_ms);
        rows
    }

    /// Brings those back that could not be written.
    pub fn give_back(&self, rows: Vec<AuditRecord>) {
        for row in rows {
            // They were told apart before.
            let client = row.address.parse().ok().map(net);
            let mut table = self.lock();
            let before = table.rows.entry(sort(&row, client));
            before.and_modify(|r| r.count += row.count).or_insert(row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sort(row: &AuditRecord, client: Option<IpAddr>) -> Sort {
    let input = if row.account.is_empty() {
        String::new()
    } else {
        row.input.clone()
    };
    Sort {
        account: row.account.clone(),
        client,
        action: row.action.clone(),
        resource: row.resource.clone(),
        outcome: row.outcome,
        status: row.status,
        input,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Ended, Initiator};

    fn row(account: &str, resource: &str) -> AuditRecord {
        let by = Initiator {
            account: account.into(),
            ..Initiator::default()
        };
        Act::new(&by, "repo.push", "").ended(&Ended {
            resource: resource.into(),
            outcome: AuditOutcome::Denied,
            status: 403,
            error: String::new(),
        })
    }

    fn from(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn one_client_fills_few_rows_and_all_are_counted() {
        let refused = Refused::new();
        for n in 0..5000 {
            refused.note(row("ann", &format!("r{}", n % 100)), Some(from(1)));
            refused.note(row("bob", "x"), Some(from(1)));
        }
        let rows = refused.take();
        let of = |account: &str| rows.iter().filter(|row| row.account == account).count();
        assert_eq!((of("ann"), of("bob")), (EACH + 1, 1));
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 10_000);
        assert!(refused.take().is_empty());
        refused.give_back(rows);
        let rows = refused.take();
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 10_000);
    }

    #[test]
    fn strangers_fill_few_rows_and_hide_no_account() {
        let refused = Refused::new();
        for n in 0..20_000 {
            refused.note(row("", "r"), Some(from(n)));
            refused.note(row(&format!("u{}", n % 300), "r"), Some(from(n)));
        }
        let rows = refused.take();
        let strangers = rows.iter().filter(|row| row.account.is_empty()).count();
        assert!((1..=220).contains(&strangers), "{strangers}");
        let named = rows.iter().filter(|row| !row.account.is_empty());
        assert_eq!(named.map(|row| row.count).sum::<u64>(), 20_000);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 40_000);
        assert!(rows.iter().all(|row| row.account != OTHERS));
    }
}
