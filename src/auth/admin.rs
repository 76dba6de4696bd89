//! Changes of users. Each ends what is remembered of them after the commit and before the answer.

use super::user::{self, Account};
use super::{Auth, AuthError, RoleGrant, UserName, UserView, password};
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::{Lane, Need, StoreError, Txn};
use crate::types::wall_ms;
use std::sync::Arc;

/// Names that the log and the audit trail give to others than accounts.
const RESERVED: [&str; 2] = ["operator", "dryport"];

impl Auth {
    /// The same accounts, for changes that somebody else asks for than the operator.
    #[must_use]
    pub fn asked_by(&self, who: &str) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            who: who.into(),
        }
    }

    /// Adds a user. The password has 1 to 1024 bytes.
    pub async fn add(
        &self,
        name: &UserName,
        password: &str,
        grants: Vec<RoleGrant>,
    ) -> Result<(), AuthError> {
        let grants = user::grants(grants)?;
        if RESERVED.contains(&name.as_str()) {
            return Err(AuthError::Name(format!(
                "{name} is the name of who runs this server, or of the server itself, in the log and the audit trail; choose another one"
            )));
        }
        let account = Account {
            uid: random()?,
            created_ms: wall_ms(),
            password: self.hash(password).await?,
            password_generation: 1,
            grants,
        };
        self.change("user add", name, move |txn, name| {
            if user::load(txn, name)?.is_some() {
                return Err(AuthError::Exists(name.to_string()));
            }
            Ok(user::save(txn, name, &account)?)
        })
        .await?;
        tracing::info!(action = "user.admin", by = &*self.who, account = %name, "user added");
        Ok(())
    }

    /// Gives a user another password: decisions and refresh tokens of the old one end.
    pub async fn passwd(&self, name: &UserName, password: &str) -> Result<(), AuthError> {
        let hash = self.hash(password).await?;
        self.change("user passwd", name, move |txn, name| {
            let mut account = user::load_known(txn, name)?;
            account.password.clone_from(&hash);
            account.password_generation += 1;
            Ok(user::save(txn, name, &account)?)
        })
        .await?;
        tracing::info!(action = "user.admin", by = &*self.who, account = %name, "password changed");
        Ok(())
    }

    /// Gives a user a role on a prefix; another role on the same prefix is replaced.
    pub async fn grant(&self, name: &UserName, grant: RoleGrant) -> Result<(), AuthError> {
        let grant = RoleGrant {
            role: grant.role,
            prefix: user::prefix(&grant.prefix)?,
        };
        let (role, prefix) = (grant.role, grant.prefix.clone());
        self.change("user grant", name, move |txn, name| {
            let mut account = user::load_known(txn, name)?;
            account.grant(grant.clone())?;
            Ok(user::save(txn, name, &account)?)
        })
        .await?;
        tracing::info!(action = "user.admin", by = &*self.who, account = %name, role = role.name(), prefix, "role granted");
        Ok(())
    }

    /// Takes the role on exactly this prefix away.
    pub async fn revoke(&self, name: &UserName, prefix: &str) -> Result<(), AuthError> {
        let bare = user::prefix(prefix)?;
        self.change("user revoke", name, move |txn, name| {
            let mut account = user::load_known(txn, name)?;
            account.revoke(name, &bare)?;
            Ok(user::save(txn, name, &account)?)
        })
        .await?;
        tracing::info!(action = "user.admin", by = &*self.who, account = %name, prefix, "role revoked");
        Ok(())
    }

    /// Removes a user: its decisions and tokens end at once.
    pub async fn remove(&self, name: &UserName) -> Result<(), AuthError> {
        self.change("user remove", name, |txn, name| {
            user::load_known(txn, name)?;
            Ok(user::erase(txn, name)?)
        })
        .await?;
        tracing::info!(action = "user.admin", by = &*self.who, account = %name, "user removed");
        Ok(())
    }

    /// Every user, by name.
    pub async fn list(&self) -> Result<Vec<UserView>, AuthError> {
        let users = self.hop(|rows| user::all(rows, 0)).await?;
        let view = |(name, account): (UserName, Account)| UserView {
            name: name.to_string(),
            grants: account.grants,
            created_ms: account.created_ms,
        };
        Ok(users.into_iter().map(view).collect())
    }

    /// Whether there is no user yet.
    pub async fn is_empty(&self) -> Result<bool, AuthError> {
        Ok(self.hop(|rows| user::all(rows, 1)).await?.is_empty())
    }

    async fn hash(&self, password: &str) -> Result<String, AuthError> {
        password::check(password)?;
        let turn = self.inner.gate.turn().await?;
        turn.hash(password.to_owned()).await
    }

    /// One transaction on a user's row.
    async fn change<F>(
        &self,
        what: &'static str,
        name: &UserName,
        mut rows: F,
    ) -> Result<(), AuthError>
    where
        F: FnMut(&mut Txn<'_>, &UserName) -> Result<(), AuthError> + Send + 'static,
    {
        let (name, at_ms, who) = (name.clone(), wall_ms(), Arc::clone(&self.who));
        self.write(Lane::Request, what, move |txn| {
            rows(txn, &name)?;
            let told = FeedRecord {
                kind: FeedKind::Account as u8,
                repo: 0,
                name: name.as_str().into(),
                rev: 0,
                at_ms,
                who: who.to_string(),
                why: what.into(),
                cause: FeedCause::None,
            };
            Ok(feed::tell(txn, told)?)
        })
        .await
    }

    /// One transaction on accounts, which tells the feed of what it changes: so the memory of them ends before the answer.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        what: &'static str,
        rows: impl FnMut(&mut Txn<'_>) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let store = &self.inner.store;
        store.write(lane, Need::Keeps, what, rows).await
    }

    /// One read hop, off the async threads.
    pub(super) async fn hop<T: Send + 'static>(
        &self,
        read: impl FnMut(&crate::store::Read<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let store = self.inner.store.clone();
        let task = tokio::task::spawn_blocking(move || store.read(read));
        match task.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(AuthError::Internal("reading an account was cut short")),
        }
    }
}

fn random() -> Result<u64, AuthError> {
    getrandom::u64().map_err(|_| AuthError::Internal("the system gives no random numbers"))
}
