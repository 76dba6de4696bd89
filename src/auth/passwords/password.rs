//! Passwords: argon2id with the crate's default cost, as PHC strings; few at a time, never on an async thread.

use crate::auth::AuthError;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest password in bytes; more would only feed the hash function with a stranger's bytes.
pub(in crate::auth) const MAX: usize = 1024;

/// How long a login waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(15);

/// A hash of today's cost that no password is known for: what an unknown user's password is compared with, so that
/// the time to answer says nothing about whether the user exists.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZHJ5cG9ydC1ub2JvZHkh$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Checks a new password's length.
pub(in crate::auth) fn check(password: &str) -> Result<(), AuthError> {
    if password.is_empty() {
        return Err(AuthError::Name(
            "the password is empty; choose one of at least 1 character".to_owned(),
        ));
    }
    if password.len() > MAX {
        return Err(AuthError::Name(format!(
            "the password has {} bytes; at most {MAX} are taken",
            password.len()
        )));
    }
    Ok(())
}

/// Whether a stored hash can be compared with at all.
pub(in crate::auth) fn is_readable(stored: &str) -> bool {
    PasswordHash::new(stored).is_ok()
}

/// The gate before argon2: each run takes 19 MiB and a core for tens of milliseconds, and shares the blocking pool
/// with the store's reads.
pub(in crate::auth) struct Gate {
    places: Arc<Semaphore>,
    /// How often argon2 ran.
    runs: Arc<AtomicU64>,
}

/// A place at the gate.
pub(in crate::auth) struct HashPlace {
    place: OwnedSemaphorePermit,
    runs: Arc<AtomicU64>,
}

impl Gate {
    /// Half the cores, at least one.
    pub(in crate::auth) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Arc::new(Semaphore::new((cores / 2).max(1))),
            runs: Arc::default(),
        }
    }

    /// How often argon2 has run since the start.
    pub(in crate::auth) fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }

    /// Waits for a turn, not forever.
    pub(in crate::auth) async fn turn(&self) -> Result<HashPlace, AuthError> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(PATIENCE, place).await {
            Ok(Ok(place)) => Ok(HashPlace {
                place,
                runs: Arc::clone(&self.runs),
            }),
            Ok(Err(_)) | Err(_) => Err(AuthError::Busy),
        }
    }
}

impl HashPlace {
    /// Hashes a password to a PHC string with a fresh salt.
    pub(in crate::auth) async fn hash(self, password: String) -> Result<String, AuthError> {
        self.run(
            move || match Argon2::default().hash_password(password.as_bytes()) {
                Ok(hash) => Ok(hash.to_string()),
                Err(_) => Err(AuthError::Internal("the password could not be hashed")),
            },
        )
        .await
    }

    /// Compares a password with a PHC string. Without one (no such user) it does the same work and says no.
    pub(in crate::auth) async fn verify(
        self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, AuthError> {
        self.run(move || {
            let known = stored.is_some();
            let text = stored.unwrap_or_else(|| NOBODY.to_owned());
            let broken = AuthError::Internal("a stored password hash cannot be read");
            let hash = PasswordHash::new(&text).map_err(|_| broken.clone())?;
            match Argon2::default().verify_password(password.as_bytes(), &hash) {
                Ok(()) => Ok(known),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(_) => Err(broken),
            }
        })
        .await
    }

    /// Runs on the blocking pool; the turn ends with the work, also where nobody waits for it any more.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            self.runs.fetch_add(1, Ordering::SeqCst);
            drop(self.place);
            result
        });
        task.await.unwrap_or(Err(AuthError::Internal(
            "checking a password was cut short",
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turn() -> HashPlace {
        Gate::new().turn().await.expect("turn")
    }

    #[tokio::test]
    async fn hashes_verify() {
        let hash = turn().await.hash("secret".into()).await.expect("hash");
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        for (password, stored, want) in [
            ("secret", Some(hash.clone()), true),
            ("Secret", Some(hash.clone()), false),
            ("secret", None, false),
        ] {
            let good = turn().await.verify(password.into(), stored).await;
            assert_eq!(good.expect("verify"), want, "{password}");
        }
        let broken = turn().await.verify("x".into(), Some("plain".into())).await;
        assert!(broken.is_err());
    }

    #[tokio::test]
    async fn the_dummy_costs_what_a_real_hash_costs() {
        let real = turn().await.hash("x".into()).await.expect("hash");
        let params = |text: &str| PasswordHash::new(text).expect("phc").params.to_string();
        assert_eq!(params(NOBODY), params(&real));
        let size = |text: &str| {
            PasswordHash::new(text)
                .expect("phc")
                .hash
                .map(|h| h.as_ref().len())
        };
        assert_eq!(size(NOBODY), size(&real));
    }

    #[test]
    fn lengths() {
        assert!(check("").is_err() && check(&"x".repeat(1025)).is_err());
        assert!(check("x").is_ok() && check(&"x".repeat(1024)).is_ok());
    }
}
