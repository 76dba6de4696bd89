//! Passwords at the door: delays, cached decisions, and argon2 only where neither has an answer.

use super::delay::{self, Wait};
use super::{Auth, AuthError, Grant, Principal, UserName, password};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A password that was right: for which account, and which of its passwords.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    name: Arc<UserName>,
    uid: u64,
    password_generation: u64,
}

impl Auth {
    /// Checks a password; a right one is remembered for 5 minutes, so argon2 runs once for many requests. `from` is
    /// the client's address, for login delays. Never tells which half was wrong.
    ///
    /// # Errors
    /// `BadCredentials`; `Slowed` with the seconds to wait; `Busy`; a failing store.
    pub async fn login(
        &self,
        user: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Grant, AuthError> {
        let key = self.decision_key(user, password, from);
        if let Some(grant) = self.decided(&key, user, from).await? {
            return Ok(grant);
        }
        let turn = self.inner.gate.turn().await?;
        // Others may have been at the same account, or with the same password, while this login waited.
        if let Some(grant) = self.decided(&key, user, from).await? {
            return Ok(grant);
        }
        let name = user.parse::<UserName>().ok().map(Arc::new);
        let account = match &name {
            Some(name) => self.account(name).await?,
            None => None,
        };
        let usable = !password.is_empty() && password.len() <= password::MAX;
        let stored = account.as_ref().filter(|_| usable);
        // What is too long is not hashed either, for known and unknown users alike.
        let tried = if usable { password } else { "" }.to_owned();
        let right = turn
            .verify(tried, stored.map(|a| a.password.clone()))
            .await?;
        match (name, account) {
            (Some(name), Some(account)) if right => {
                self.inner.delays.succeeded(user, from);
                let decision = Decision {
                    name: Arc::clone(&name),
                    uid: account.uid,
                    password_generation: account.password_generation,
                };
                self.inner.decisions.insert(key, decision);
                Ok(Grant::whole(Principal::User(name)))
            }
            _ => Err(self.refuse(user, from)),
        }
    }

    /// A remembered decision, if the account is still the same with the same password; or the wait that is due.
    async fn decided(
        &self,
        key: &[u8; 32],
        user: &str,
        from: IpAddr,
    ) -> Result<Option<Grant>, AuthError> {
        let wait = self.inner.delays.wait(user, from, Instant::now());
        // An account that is slowed at this address gets no answer at all, or the cache would be an oracle without
        // delays. An address that is slowed as a whole still serves what was right from there a moment ago: one
        // broken client behind a proxy must not stop the others.
        if let Wait::Account(seconds) = wait {
            return Err(AuthError::Slowed(seconds));
        }
        if let Some(decision) = self.inner.decisions.get(key) {
            let account = self.account(&decision.name).await?;
            let same = account.is_some_and(|a| {
                a.uid == decision.uid && a.password_generation == decision.password_generation
            });
            if same {
                return Ok(Some(Grant::whole(Principal::User(decision.name))));
            }
            self.inner.decisions.remove(key);
        }
        match wait {
            Wait::Address(seconds) => Err(AuthError::Slowed(seconds)),
            Wait::None | Wait::Account(_) => Ok(None),
        }
    }

    fn refuse(&self, user: &str, from: IpAddr) -> AuthError {
        self.inner.delays.failed(user, from, Instant::now());
        let account: String = user.chars().take(UserName::MAX).collect();
        // Debug form: what a client calls itself may hold control characters.
        tracing::warn!(action = "login", ?account, address = %from, "failed login");
        AuthError::BadCredentials
    }

    /// Cache key of a password tried for a user at an address; tells nothing without this process's secret.
    fn decision_key(&self, user: &str, password: &str, from: IpAddr) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.inner.secret)
            .chain_update(delay::net(from).to_string())
            .chain_update([0])
            .chain_update(user)
            .chain_update([0])
            .chain_update(password)
            .finalize()
            .into()
    }
}
