//! Passwords at the door: delays, cached decisions, and argon2 only where neither has an answer.

use super::delay::Wait;
use super::password::HashPlace;
use crate::auth::{Auth, AuthError, Grant, Principal, UserName, password};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A password that was right: for which account, and which of its passwords.
#[derive(Debug, Clone)]
pub(in crate::auth) struct Decision {
    name: Arc<UserName>,
    uid: u64,
    password_generation: u64,
}

/// What is known of a password before it is looked at.
enum Known {
    /// It was right a while ago, and still is.
    Right(Grant),
    /// Nothing stands in the way of looking at it.
    Nothing,
    /// Its address waits, for so many seconds.
    AddressWaits(u64),
}

/// In the wait of an address every try is answered after this time, unless it was right: so the answer does not tell
/// whether there is such an account.
pub(in crate::auth) const SAME_TIME: Duration = Duration::from_millis(500);
/// Tries of this kind that run at once, at all addresses: they must not keep others from the gate. As many for which there
/// is nothing to try may wait among them, however many come.
pub(in crate::auth) const FEW: usize = 2;

impl Auth {
    /// Checks a password; a right one is remembered while it is used, so argon2 runs once for many requests. `from` is
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
        match self.known(&key, user, from).await? {
            Known::Right(grant) => return Ok(grant),
            Known::AddressWaits(seconds) => {
                return self.in_the_wait(key, user, password, from, seconds).await;
            }
            Known::Nothing => {}
        }
        let turn = self.inner.gate.turn().await?;
        // Others may have been at the same account, or with the same password, while this login waited.
        match self.known(&key, user, from).await? {
            Known::Right(grant) => return Ok(grant),
            Known::AddressWaits(seconds) => {
                drop(turn);
                return self.in_the_wait(key, user, password, from, seconds).await;
            }
            Known::Nothing => {}
        }
        if let Some(grant) = self.look(turn, key, user, password, from).await? {
            return Ok(grant);
        }
        self.inner.delays.failed(user, from, Instant::now());
        told(user, from);
        Err(AuthError::BadCredentials)
    }

    /// A try while its address waits as a whole. One bad client there must not stop the others: an account that is there
    /// and never failed there has a try of its own, and only a right password shows in the answer. All else takes the same
    /// time, says the same and does the same work, for names that are no account's too: who watches how long others wait
    /// at the gate meanwhile learns nothing.
    async fn in_the_wait(
        &self,
        key: [u8; 32],
        user: &str,
        password: &str,
        from: IpAddr,
        seconds: u64,
    ) -> Result<Grant, AuthError> {
        let (now, until) = (Instant::now(), tokio::time::Instant::now() + SAME_TIME);
        let delays = &self.inner.delays;
        let first = delays.tried_in_wait(user, from, now);
        let there = match user.parse::<UserName>() {
            Ok(name) => self.account(&name).await?.is_some(),
            Err(_) => false,
        };
        if first {
            let (auth, user, password) = (self.clone(), user.to_owned(), password.to_owned());
            let own = there && delays.take_own(&user, from, now);
            // It goes on where this answer does not wait for it, and what it finds is remembered.
            let made = tokio::spawn(async move {
                if own {
                    return auth.own_try(key, user, password, from).await;
                }
                auth.vain_try(&user, password, from).await;
                None
            });
            if let Ok(Ok(Some(grant))) = tokio::time::timeout_at(until, made).await {
                return Ok(grant);
            }
        }
        tokio::time::sleep_until(until).await;
        // It may have been found right for another request meanwhile.
        let found = self.remembered(&key).await?;
        found.ok_or(AuthError::Slowed(seconds))
    }

    async fn own_try(
        self,
        key: [u8; 32],
        user: String,
        password: String,
        from: IpAddr,
    ) -> Option<Grant> {
        let few = self.inner.own_tries.acquire().await;
        let looked = match (few, self.inner.gate.turn().await) {
            (Ok(_place), Ok(turn)) => self.look(turn, key, &user, &password, from).await,
            _ => Err(AuthError::Busy),
        };
        match looked {
            Ok(None) => {
                told(&user, from);
                None
            }
            Ok(grant) => grant,
            Err(_) => {
                self.inner.delays.give_back_own(&user, from);
                None
            }
        }
    }

    /// The work of a try, for a name that has none: it is no account's, or had its own. Left out where others of this kind
    /// wait already, so that they keep no account waiting; then the places are in use, and one more would not show.
    async fn vain_try(self, user: &str, password: String, from: IpAddr) {
        let Ok(_vain) = self.inner.vain_tries.try_acquire() else {
            return;
        };
        let few = self.inner.own_tries.acquire().await;
        if let (Ok(_place), Ok(turn)) = (few, self.inner.gate.turn().await)
            && turn.verify(hashed(password), None).await.is_ok()
        {
            told(user, from);
        }
    }

    /// Looks at a password: a right one is remembered, and ends the waits of its account there.
    async fn look(
        &self,
        turn: HashPlace,
        key: [u8; 32],
        user: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Option<Grant>, AuthError> {
        let name = user.parse::<UserName>().ok().map(Arc::new);
        let account = match &name {
            Some(name) => self.account(name).await?,
            None => None,
        };
        let tried = hashed(password.to_owned());
        let stored = account.as_ref().filter(|_| !tried.is_empty());
        let right = turn
            .verify(tried, stored.map(|a| a.password.clone()))
            .await?;
        let (Some(name), Some(account), true) = (name, account, right) else {
            return Ok(None);
        };
        self.inner.delays.succeeded(user, from);
        let decision = Decision {
            name: Arc::clone(&name),
            uid: account.uid,
            password_generation: account.password_generation,
        };
        self.inner.decisions.insert(key, decision);
        Ok(Some(Grant::whole(Principal::User(name))))
    }

    /// What is known of a password; or the wait that its account has at this address.
    async fn known(&self, key: &[u8; 32], user: &str, from: IpAddr) -> Result<Known, AuthError> {
        let wait = self.inner.delays.wait(user, from, Instant::now());
        // An account that is slowed at this address gets no answer at all, or the cache would be an oracle without
        // delays. An address that is slowed as a whole still serves what was right from there before: one broken client
        // behind a proxy must not stop the others.
        if let Wait::Account(seconds) = wait {
            return Err(AuthError::Slowed(seconds));
        }
        if let Some(grant) = self.remembered(key).await? {
            return Ok(Known::Right(grant));
        }
        Ok(match wait {
            Wait::Address(seconds) => Known::AddressWaits(seconds),
            Wait::None | Wait::Account(_) => Known::Nothing,
        })
    }

    /// A remembered decision, if the account is still the same with the same password. Each use of it renews it.
    pub(in crate::auth) async fn remembered(
        &self,
        key: &[u8; 32],
    ) -> Result<Option<Grant>, AuthError> {
        let Some(decision) = self.inner.decisions.get(key) else {
            return Ok(None);
        };
        let account = self.account(&decision.name).await?;
        let same = account.is_some_and(|a| {
            a.uid == decision.uid && a.password_generation == decision.password_generation
        });
        if same {
            return Ok(Some(Grant::whole(Principal::User(decision.name))));
        }
        self.inner.decisions.remove(key);
        Ok(None)
    }

    /// Cache key of a password tried for a user at an address; tells nothing without this process's secret.
    pub(in crate::auth) fn decision_key(
        &self,
        user: &str,
        password: &str,
        from: IpAddr,
    ) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.inner.secret)
            .chain_update(crate::types::net(from).to_string())
            .chain_update([0])
            .chain_update(user)
            .chain_update([0])
            .chain_update(password)
            .finalize()
            .into()
    }
}

/// What is hashed of a password that was tried: nothing of one that is too long, for known and unknown users alike.
fn hashed(password: String) -> String {
    if password.len() <= password::MAX {
        password
    } else {
        String::new()
    }
}

/// A failed login stands in the log, whatever else is left out there.
fn told(user: &str, from: IpAddr) {
    let account: String = user.chars().take(UserName::MAX).collect();
    // Debug form: what a client calls itself may hold control characters.
    tracing::warn!(action = "login", ?account, address = %from, "failed login");
}
