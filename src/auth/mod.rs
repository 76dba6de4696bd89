//! Accounts: users and their roles, passwords, tokens, and the one decision [`Auth::authorize`].
//!
//! Owns argon2 and jsonwebtoken, the table principals, and what is remembered of logins, tokens and accounts. Must not
//! know HTTP, and must not decide by anything but rows, switches and tokens.
//!
//! What is remembered: an account (with its roles) until the next change of any account; a right password while it
//! is used and an hour longer, a verified token until it expires. The latter two name the account and its password's generation, which
//! are compared with the account at every use, and roles are looked up at every use: so a change counts from the
//! moment it is answered, and argon2 never runs for what was decided already.
//!
//! `passwords` has what a login by password costs, `tokens` the token service and the scopes of tokens.

mod admin;
mod authorize;
mod check;
mod error;
mod passwords;
mod standing;
#[cfg(test)]
mod tests;
mod tokens;
mod user;
mod who;

pub use crate::types::net;
pub use check::{AccountFault, FaultyAccount};
pub use error::{AuthError, AuthErrorKind};
pub use scope::Scope;
pub use standing::{Lost, Standing};
pub use user::Account;
pub use who::{Action, Grant, Principal, Resource, Role, RoleGrant, UserName, UserView};

use crate::cache::Cache;
use crate::store::Store;
use crate::store::epochs::{Epoch, Epochs, Subject};
use arc_swap::ArcSwap;
use passwords::{delay, login, password};
use std::sync::Arc;
use std::time::Duration;
use tokens::{scope, service, token};
use tokio::sync::Semaphore;

/// How long a right password is remembered that nobody shows any more.
const DECISION_IDLE: Duration = Duration::from_hours(1);
/// Memory for each of the three caches.
const CACHE_BYTES: u64 = 8 << 20;

/// What `app` sets.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// Everybody may pull and list.
    pub anonymous_pull: bool,
    /// Everybody may push and tag.
    pub anonymous_push: bool,
    /// P-256 private keys as PKCS#8 PEM: the newest comes first and signs, all verify.
    pub signing_keys: Vec<String>,
    /// A token's life in seconds.
    pub token_seconds: u64,
}

/// A token service answer.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The bearer token (a JWT).
    pub token: String,
    /// Its life in seconds.
    pub expires_in: u64,
    /// When it was issued, ms since 1970 (UTC).
    pub issued_at_ms: u64,
    /// What was granted of the asked scopes.
    pub granted: Vec<Scope>,
}

/// The accounts; cheap to clone. Async methods need a tokio runtime with time enabled.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
    /// Who the feed and the log name for changes of accounts.
    who: Arc<str>,
}

struct Inner {
    store: Store,
    state: ArcSwap<State>,
    gate: password::Gate,
    own_tries: Semaphore,
    vain_tries: Semaphore,
    delays: delay::Delays,
    /// Keys the memory of passwords; random, of this process alone.
    secret: [u8; 32],
    /// When what is known of accounts ends.
    epochs: Arc<Epochs>,
    accounts: Cache<UserName, (Epoch, Option<Arc<user::Account>>)>,
    decisions: Cache<[u8; 32], login::Decision>,
    tokens: Cache<[u8; 32], Arc<service::VerifiedToken>>,
}

/// What the options say, ready for use.
struct State {
    switches: authorize::Switches,
    keys: token::Keys,
    token_seconds: u64,
}

impl State {
    fn new(options: &AuthOptions) -> Result<Self, AuthError> {
        Ok(Self {
            switches: authorize::Switches {
                anonymous_pull: options.anonymous_pull,
                anonymous_push: options.anonymous_push,
            },
            keys: token::Keys::new(&options.signing_keys)?,
            token_seconds: options.token_seconds,
        })
    }
}

impl Auth {
    /// Opens the accounts of a store. Reads nothing yet.
    ///
    /// # Errors
    /// `Refused` where no signing key is given or one cannot be used; `Internal` without random numbers.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "options are handed over, as to every module"
    )]
    pub fn open(store: Store, options: AuthOptions) -> Result<Self, AuthError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)
            .map_err(|_| AuthError::Internal("the system gives no random numbers"))?;
        let inner = Inner {
            epochs: store.epochs(),
            store,
            state: ArcSwap::from_pointee(State::new(&options)?),
            gate: password::Gate::new(),
            own_tries: Semaphore::new(login::FEW),
            vain_tries: Semaphore::new(login::FEW),
            delays: delay::Delays::default(),
            secret,
            accounts: Cache::new(CACHE_BYTES, None, |name, (_, account)| {
                let grants = account.as_ref().map_or(0, |a| a.grants.len());
                name.as_str().len() + 300 + grants * 300
            }),
            decisions: Cache::idle(CACHE_BYTES, DECISION_IDLE, |_, _| 150),
            tokens: Cache::new(CACHE_BYTES, None, |_, verified| verified.weight()),
        };
        Ok(Self {
            inner: Arc::new(inner),
            who: "operator".into(),
        })
    }

    /// Replaces switches, keys and token life (SIGHUP), and forgets every decision. On an error all stays as it was.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "options are handed over, as to every module"
    )]
    pub fn reconfigure(&self, options: AuthOptions) -> Result<(), AuthError> {
        self.inner.state.store(Arc::new(State::new(&options)?));
        self.inner.epochs.end(Subject::Accounts);
        self.inner.decisions.clear();
        self.inner.tokens.clear();
        Ok(())
    }

    /// How many passwords were hashed or compared with a hash since the start: each takes 19 MiB and tens of milliseconds.
    pub fn passwords_checked(&self) -> u64 {
        self.inner.gate.runs()
    }

    fn state(&self) -> Arc<State> {
        self.inner.state.load_full()
    }

    /// A user's account as it is now: from memory if nothing changed since it was read, else from the store.
    async fn account(&self, name: &UserName) -> Result<Option<Arc<user::Account>>, AuthError> {
        // Taken before the store is read: an account that a change overtakes is kept under an epoch that is over already.
        let epoch = self.inner.epochs.now(Subject::Accounts);
        if let Some((read_at, account)) = self.inner.accounts.get(name)
            && read_at == epoch
        {
            return Ok(account);
        }
        let wanted = name.clone();
        let read = self.hop(move |rows| user::load(rows, &wanted)).await?;
        let account = read.map(Arc::new);
        self.inner
            .accounts
            .insert(name.clone(), (epoch, account.clone()));
        Ok(account)
    }
}
