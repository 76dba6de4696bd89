//! Whether what a request was let in by still holds while its body comes, which may take hours.

use super::{Action, Auth, AuthError, Grant, Principal, Resource, RoleGrant};
use crate::store::epochs::{Epoch, Subject};
use crate::types::RepoName;

/// A right that was there when a request began, and is asked for again once any account or switch has changed.
pub struct Standing {
    auth: Auth,
    grant: Grant,
    action: Action,
    name: RepoName,
    /// Which account it was, and which of its passwords.
    account: Option<(u64, u64)>,
    epoch: Epoch,
}

/// Why a right does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The account is not there any more, or has another password.
    Account,
    /// The account or, without one, anybody may not do this any more.
    Right,
}

impl Auth {
    /// What `grant` stands on for an action that goes on for long.
    pub async fn standing(
        &self,
        grant: &Grant,
        action: Action,
        name: &RepoName,
    ) -> Result<Standing, AuthError> {
        let epoch = self.inner.epochs.now(Subject::Accounts);
        Ok(Standing {
            account: self.identity(&grant.principal).await?,
            auth: self.clone(),
            grant: grant.clone(),
            action,
            name: name.clone(),
            epoch,
        })
    }

    /// The id of who asks (0 without an account) and its roles, as the audit trail tells of them: `admin`, or role and prefix as
    /// in `writer:team`. Of an account that cannot be read or is not there any more neither is known.
    pub async fn described(&self, principal: &Principal) -> (u64, Vec<String>) {
        let name = match principal {
            Principal::Operator => return (0, vec!["operator".to_owned()]),
            Principal::Anonymous => return (0, Vec::new()),
            Principal::User(name) => name,
        };
        let Ok(Some(account)) = self.account(name).await else {
            return (0, Vec::new());
        };
        let role = |grant: &RoleGrant| match grant.prefix.as_str() {
            "" => grant.role.name().to_owned(),
            prefix => format!("{}:{prefix}", grant.role.name()),
        };
        (account.uid, account.grants.iter().map(role).collect())
    }

    async fn identity(&self, principal: &Principal) -> Result<Option<(u64, u64)>, AuthError> {
        let Principal::User(name) = principal else {
            return Ok(None);
        };
        let account = self.account(name).await?;
        Ok(account.map(|a| (a.uid, a.password_generation)))
    }
}

impl Standing {
    /// Nothing has changed since it was asked for last. Costs next to nothing.
    pub fn is_current(&self) -> bool {
        let epochs = &self.auth.inner.epochs;
        epochs.is(Subject::Accounts, self.epoch)
    }

    /// Asks again: `None`, it holds.
    pub async fn ask(&mut self) -> Result<Option<Lost>, AuthError> {
        let epoch = self.auth.inner.epochs.now(Subject::Accounts);
        if self.auth.identity(&self.grant.principal).await? != self.account {
            return Ok(Some(Lost::Account));
        }
        let resource = Resource::Repo(&self.name);
        if !self
            .auth
            .authorize(&self.grant, self.action, resource)
            .await?
        {
            return Ok(Some(Lost::Right));
        }
        self.epoch = epoch;
        Ok(None)
    }
}
