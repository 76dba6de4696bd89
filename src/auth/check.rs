//! The check of the accounts' rows: what nobody can log in with, and what nobody could have written.
//!
//! An account is a source: nothing of it can be computed from elsewhere, and no right is ever guessed. What cannot be
//! read may be taken out by whoever keeps a copy of it ([`Auth::drop_row`]); grants in the wrong order are sorted.

use super::user::{self, Account};
use super::{Auth, AuthError, UserName, password};
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::record::Record;
use crate::store::{Get, Lane, StoreError, Table};
use crate::types::wall_ms;
use std::sync::Arc;

/// Rows of one read.
const PAGE: usize = 500;

/// What is wrong with an account's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountFault {
    /// Its key is no user name, or its record cannot be read.
    Unreadable,
    /// A newer version wrote it.
    TooNew,
    /// Its password hash cannot be read: nobody can log in.
    Password,
    /// Its grants are not in order, so that some are not found when they are changed; nothing else is wrong with them.
    Order,
    /// It has a grant that nobody could have given: twice on one prefix, or on what is no prefix.
    Grant(String),
}

/// A row of an account that is not as it should be.
#[derive(Debug, Clone)]
pub struct FaultyAccount {
    /// The user, as far as the key says.
    pub name: String,
    /// What is wrong.
    pub fault: AccountFault,
    /// The row as it was read.
    pub row: Vec<u8>,
    key: Vec<u8>,
}

impl Auth {
    /// Every row of an account that is not as it should be, and how many rows were looked at.
    pub async fn faulty_accounts(&self) -> Result<(u64, Vec<FaultyAccount>), AuthError> {
        let (mut seen, mut faulty, mut from) = (0, Vec::new(), Some(Vec::new()));
        while let Some(start) = from {
            let (rows, found, next) = self
                .hop(move |r| {
                    let rows = r.scan(Table::Principals, &start, &[], PAGE)?;
                    let found: Vec<_> = rows.iter().filter_map(|(k, v)| faults(k, v)).collect();
                    let last = rows.last().filter(|_| rows.len() == PAGE);
                    let next = last.map(|(key, _)| [key.as_slice(), &[0]].concat());
                    Ok((rows.len() as u64, found, next))
                })
                .await?;
            seen += rows;
            faulty.extend(found);
            from = next;
        }
        Ok((seen, faulty))
    }

    /// Takes out a row that cannot be read, if it is still the one that was seen; whether it was. The caller keeps its
    /// bytes.
    pub async fn drop_row(&self, seen: &FaultyAccount) -> Result<bool, AuthError> {
        if seen.fault != AccountFault::Unreadable {
            return Ok(false);
        }
        self.replace(seen, None).await
    }

    /// Puts the grants in order, if the row is still the one that was seen; whether it was.
    pub async fn sort_grants(&self, seen: &FaultyAccount) -> Result<bool, AuthError> {
        if seen.fault != AccountFault::Order {
            return Ok(false);
        }
        let mut account = Account::from_bytes(&seen.row)?;
        account.grants.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        self.replace(seen, Some(account.to_bytes()?)).await
    }

    async fn replace(
        &self,
        seen: &FaultyAccount,
        value: Option<Vec<u8>>,
    ) -> Result<bool, AuthError> {
        let (key, row) = (seen.key.clone(), seen.row.clone());
        let (name, at_ms, who) = (seen.name.clone(), wall_ms(), Arc::clone(&self.who));
        self.write(Lane::Background, "check.account", move |txn| {
            if txn.get(Table::Principals, &key)?.as_ref() != Some(&row) {
                return Ok(false);
            }
            match &value {
                Some(value) => txn.put(Table::Principals, &key, value)?,
                None => txn.delete(Table::Principals, &key)?,
            }
            let told = FeedRecord {
                kind: FeedKind::Account as u8,
                repo: 0,
                name: name.clone(),
                rev: 0,
                at_ms,
                who: who.to_string(),
                why: "check.account".into(),
                cause: FeedCause::None,
            };
            feed::tell(txn, told)?;
            Ok(true)
        })
        .await
    }
}

fn faults(key: &[u8], row: &[u8]) -> Option<FaultyAccount> {
    let text = key.strip_suffix(&[0]).unwrap_or(key);
    let name = String::from_utf8_lossy(text).into_owned();
    let is_name = name.parse::<UserName>().is_ok() && text.len() < key.len();
    let fault = match Account::from_bytes(row) {
        Err(StoreError::RecordTooNew { .. }) => Some(AccountFault::TooNew),
        Ok(account) if is_name => account_fault(&account),
        Ok(_) | Err(_) => Some(AccountFault::Unreadable),
    };
    fault.map(|fault| FaultyAccount {
        name,
        fault,
        row: row.to_vec(),
        key: key.to_vec(),
    })
}

fn account_fault(account: &Account) -> Option<AccountFault> {
    if !password::is_readable(&account.password) {
        return Some(AccountFault::Password);
    }
    let mut prefixes: Vec<&str> = account.grants.iter().map(|g| g.prefix.as_str()).collect();
    for held in &prefixes {
        if user::prefix(held).ok().as_deref() != Some(*held) {
            return Some(AccountFault::Grant((*held).to_owned()));
        }
    }
    let in_order = prefixes.is_sorted();
    prefixes.sort_unstable();
    let twice = prefixes.windows(2).find(|two| two[0] == two[1]);
    match twice {
        Some(two) => Some(AccountFault::Grant(two[0].to_owned())),
        None => (!in_order).then_some(AccountFault::Order),
    }
}
