//! User records and their rows: table principals, key = the name.

use super::{AuthError, RoleGrant, UserName};
use crate::store::key::Key;
use crate::store::record::{Decode, Encode, Record};
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::RepoName;

/// The most grants of one user: the record has to fit into a row.
const MOST_GRANTS: usize = 200;
/// Users read in one step of a listing.
const STEP: usize = 500;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Account {
    /// Random: tells this account from an earlier or later one of the same name.
    pub(super) uid: u64,
    /// When it was added, ms since 1970 (UTC).
    pub(super) created_ms: u64,
    /// PHC string.
    pub(super) password: String,
    /// Counts the passwords; tokens and decisions of an older one do not count.
    pub(super) password_generation: u64,
    /// At most one a prefix, sorted by prefix.
    pub(super) grants: Vec<RoleGrant>,
}

impl Record for Account {
    const NAME: &'static str = "account";
    const VERSION: u8 = 1;
}

impl Account {
    /// Gives a role; one on the same prefix is replaced.
    pub(super) fn grant(&mut self, grant: RoleGrant) -> Result<(), AuthError> {
        match self
            .grants
            .binary_search_by(|g| g.prefix.cmp(&grant.prefix))
        {
            Ok(at) => self.grants[at] = grant,
            Err(_) if self.grants.len() >= MOST_GRANTS => {
                return Err(AuthError::Refused(format!(
                    "the user has {MOST_GRANTS} roles already, the most there can be; revoke one, or grant a role on a shorter prefix"
                )));
            }
            Err(at) => self.grants.insert(at, grant),
        }
        Ok(())
    }

    /// Takes the role on exactly this prefix away.
    pub(super) fn revoke(&mut self, name: &UserName, prefix: &str) -> Result<(), AuthError> {
        let before = self.grants.len();
        self.grants.retain(|g| g.prefix != prefix);
        if self.grants.len() < before {
            return Ok(());
        }
        let held: Vec<String> = self.grants.iter().map(|g| shown(&g.prefix)).collect();
        Err(AuthError::Refused(format!(
            "user {name} has no role on {}; it has roles on: {}",
            shown(prefix),
            if held.is_empty() {
                "nothing".to_owned()
            } else {
                held.join(", ")
            }
        )))
    }
}

fn shown(prefix: &str) -> String {
    if prefix.is_empty() {
        "everything (\"\")".to_owned()
    } else {
        prefix.to_owned()
    }
}

/// A prefix as stored: no slash at its end; "" or whole components of a repository name.
pub(super) fn prefix(text: &str) -> Result<String, AuthError> {
    let bare = text.strip_suffix('/').unwrap_or(text);
    if bare.is_empty() {
        return Ok(String::new());
    }
    if let Ok(name) = bare.parse::<RepoName>() {
        return Ok(name.as_str().to_owned());
    }
    let start: String = text.chars().take(80).collect();
    Err(AuthError::Name(format!(
        "{start:?} is not a prefix: write a repository name or its first components, for example team or team/app, or \"\" for everything"
    )))
}

/// Checks and sorts the grants of a new user.
pub(super) fn grants(given: Vec<RoleGrant>) -> Result<Vec<RoleGrant>, AuthError> {
    let mut account = Account {
        uid: 0,
        created_ms: 0,
        password: String::new(),
        password_generation: 0,
        grants: Vec::new(),
    };
    for RoleGrant { role, prefix: text } in given {
        let prefix = prefix(&text)?;
        account.grant(RoleGrant { role, prefix })?;
    }
    Ok(account.grants)
}

fn key(name: &UserName) -> Vec<u8> {
    Key::new().text(name.as_str()).done()
}

/// Reads a user.
pub(super) fn load(rows: &impl Get, name: &UserName) -> Result<Option<Account>, StoreError> {
    rows.get(Table::Principals, &key(name))?
        .map(|bytes| Account::from_bytes(&bytes))
        .transpose()
}

/// Reads a user that has to be there.
pub(super) fn load_known(rows: &impl Get, name: &UserName) -> Result<Account, AuthError> {
    load(rows, name)?.ok_or_else(|| AuthError::Unknown(name.to_string()))
}

/// Writes a user.
pub(super) fn save(
    txn: &mut Txn<'_>,
    name: &UserName,
    account: &Account,
) -> Result<(), StoreError> {
    txn.put(Table::Principals, &key(name), &account.to_bytes()?)
}

/// Removes a user's row.
pub(super) fn erase(txn: &mut Txn<'_>, name: &UserName) -> Result<(), StoreError> {
    txn.delete(Table::Principals, &key(name))
}

/// At most `limit` users (0: all), by name.
pub(super) fn all(rows: &impl Get, limit: usize) -> Result<Vec<(UserName, Account)>, StoreError> {
    let mut users = Vec::new();
    let mut from = Vec::new();
    let step = if limit == 0 { STEP } else { limit.min(STEP) };
    loop {
        // Names begin with a letter or digit, so every key is below this end.
        let page = rows.scan(Table::Principals, &from, &[0xff], step)?;
        for (key, value) in &page {
            let text = key.strip_suffix(&[0]).unwrap_or(key);
            let name = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
            if let Some(name) = name {
                users.push((name, Account::from_bytes(value)?));
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == step && (limit == 0 || users.len() < limit) => {
                from = [key.as_slice(), &[0]].concat();
            }
            _ => return Ok(users),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn prefixes() {
        for (text, want) in [
            ("", ""),
            ("/", ""),
            ("team", "team"),
            ("team/", "team"),
            ("a/b/", "a/b"),
        ] {
            assert_eq!(prefix(text).expect(text), want);
        }
        for bad in ["/team", "team//", "Team", "a b", "*", "team/*", ".."] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_role_a_prefix() {
        let grant = |role, prefix: &str| RoleGrant {
            role,
            prefix: prefix.into(),
        };
        let sorted = grants(vec![
            grant(Role::Reader, "b"),
            grant(Role::Admin, ""),
            grant(Role::Writer, "b/"),
        ])
        .expect("grants");
        assert_eq!(sorted, [grant(Role::Admin, ""), grant(Role::Writer, "b")]);
        let many = (0..=MOST_GRANTS).map(|n| grant(Role::Reader, &format!("r{n}")));
        assert!(grants(many.collect()).is_err());
    }

    #[test]
    fn stored_accounts_stay_readable() {
        let golden = include_bytes!("../../tests/golden/record/account.v1.bin");
        let grant = |role, prefix: &str| RoleGrant {
            role,
            prefix: prefix.into(),
        };
        let account = Account {
            uid: 0x0102_0304_0506_0708,
            created_ms: 1_750_000_000_000,
            password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
            password_generation: 2,
            grants: vec![grant(Role::Admin, ""), grant(Role::Writer, "team")],
        };
        assert_eq!(Account::from_bytes(golden).expect("record"), account);
        assert_eq!(account.to_bytes().expect("bytes"), golden);
    }
}
