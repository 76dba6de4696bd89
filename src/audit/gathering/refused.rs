//! What failed or was refused, gathered in memory: one row stands for all of a kind that one client sent since the last look.
//!
//! Owns their counting, and bounds it. Must not write anything.

use crate::audit::record::{AuditOutcome, AuditRecord};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different rows of one client, and of all.
const EACH: usize = 32;
const ALL: usize = 10_000;

/// What makes two refusals one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    account: String,
    address: String,
    action: String,
    resource: String,
    outcome: AuditOutcome,
    status: u16,
}

#[derive(Default)]
struct Table {
    rows: HashMap<Sort, AuditRecord>,
    /// Rows of each account and address.
    clients: HashMap<(String, String), usize>,
}

/// The refusals since the last look.
#[derive(Default)]
pub(in crate::audit) struct Refused(Mutex<Table>);

/// Stands for the resources beyond those that are told apart.
const OTHERS: &str = "(others)";

impl Refused {
    /// Counts one. Beyond what is told apart of a client its resource is not kept; beyond what is told apart at all its client
    /// is not.
    pub fn note(&self, mut row: AuditRecord) {
        let mut table = self.lock();
        let client = (row.account.clone(), row.address.clone());
        let of_client = table.clients.get(&client).copied().unwrap_or_default();
        if !table.rows.contains_key(&sort(&row)) && of_client >= EACH {
            OTHERS.clone_into(&mut row.resource);
            row.input.clear();
        }
        if !table.rows.contains_key(&sort(&row)) && table.rows.len() >= ALL {
            OTHERS.clone_into(&mut row.account);
            OTHERS.clone_into(&mut row.resource);
            (row.account_id, row.roles) = (0, Vec::new());
            row.address.clear();
            row.agent.clear();
            row.input.clear();
        }
        let client = (row.account.clone(), row.address.clone());
        match table.rows.entry(sort(&row)) {
            Entry::Occupied(mut before) => before.get_mut().count += row.count,
            Entry::Vacant(free) => {
                free.insert(row);
                *table.clients.entry(client).or_default() += 1;
            }
        }
    }

    /// All of them, the oldest first; none is left.
    pub fn take(&self) -> Vec<AuditRecord> {
        let table = std::mem::take(&mut *self.lock());
        let mut rows: Vec<_> = table.rows.into_values().collect();
        rows.sort_by_key(|row| row.at_ms);
        rows
    }

    /// Brings those back that could not be written.
    pub fn give_back(&self, rows: Vec<AuditRecord>) {
        for row in rows {
            self.note(row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sort(row: &AuditRecord) -> Sort {
    Sort {
        account: row.account.clone(),
        address: row.address.clone(),
        action: row.action.clone(),
        resource: row.resource.clone(),
        outcome: row.outcome,
        status: row.status,
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

    #[test]
    fn one_client_fills_few_rows_and_all_are_counted() {
        let refused = Refused::default();
        for n in 0..5000 {
            refused.note(row("ann", &format!("r{}", n % 100)));
            refused.note(row("bob", "x"));
        }
        let rows = refused.take();
        let of = |account: &str| rows.iter().filter(|row| row.account == account).count();
        assert_eq!((of("ann"), of("bob")), (EACH + 1, 1));
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 10_000);
        assert!(refused.take().is_empty());
        refused.give_back(rows);
        assert_eq!(
            refused.take().iter().map(|row| row.count).sum::<u64>(),
            10_000
        );
    }

    #[test]
    fn many_clients_are_bounded() {
        let refused = Refused::default();
        for n in 0..2 * ALL {
            refused.note(row(&format!("u{n}"), "r"));
        }
        let rows = refused.take();
        assert!(rows.len() <= ALL + 1, "{}", rows.len());
        assert_eq!(
            rows.iter().map(|row| row.count).sum::<u64>(),
            2 * ALL as u64
        );
    }
}
