//! Places: how many things one client may have under way at once.
//!
//! A client is an account or, without one, an address (an IPv6 /64 counts as one). Things at once are counted, not
//! things a second: many machines behind one address that each do a little never meet a limit. Who finds no place
//! waits a moment first, as most things are over soon.

use crate::http::answer::Fail;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients kept before those without anything under way are forgotten.
const MANY: usize = 4096;

/// Whom a limit counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Client {
    /// An account, wherever it calls from.
    Account(Arc<str>),
    /// Somebody without an account; see [`crate::auth::net`].
    Address(IpAddr),
    /// Who shows credentials that are not yet checked: people without an account at the same address are not in the way.
    Login(IpAddr),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "the account {name}"),
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Login(address) => write!(f, "the address {address}, logging in,"),
        }
    }
}

/// A place of one client; free again when dropped.
pub type ClientPlace = OwnedSemaphorePermit;

/// The places of every client for one kind of thing.
pub struct Places {
    most: usize,
    clients: Mutex<Clients>,
}

struct Clients {
    known: HashMap<Client, Arc<Semaphore>>,
    /// At so many, those with nothing under way are forgotten.
    sweep_at: usize,
}

impl Places {
    /// `most` places for each client.
    pub fn new(most: usize) -> Self {
        let clients = Clients {
            known: HashMap::new(),
            sweep_at: MANY,
        };
        Self {
            most: most.clamp(1, Semaphore::MAX_PERMITS),
            clients: Mutex::new(clients),
        }
    }

    /// Takes a place, waiting for one no longer than `patience`. The refusal, a 429, says that the client has so many
    /// of `what` under way, and what to do.
    pub async fn take(
        &self,
        client: &Client,
        patience: Duration,
        (what, to_do): (&str, &str),
    ) -> Result<ClientPlace, Fail> {
        self.take_many(1, client, patience, (what, to_do)).await
    }

    /// Takes so many places at once, in the same way.
    pub async fn take_many(
        &self,
        number: u32,
        client: &Client,
        patience: Duration,
        (what, to_do): (&str, &str),
    ) -> Result<ClientPlace, Fail> {
        let places = self.of(client);
        if let Ok(place) = Arc::clone(&places).try_acquire_many_owned(number) {
            return Ok(place);
        }
        match tokio::time::timeout(patience, places.acquire_many_owned(number)).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(refusal(client, what, self.most, to_do)),
        }
    }

    fn of(&self, client: &Client) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = clients.known.get(client) {
            return Arc::clone(places);
        }
        if clients.known.len() >= clients.sweep_at {
            clients
                .known
                .retain(|_, places| Arc::strong_count(places) > 1);
            clients.sweep_at = MANY.max(clients.known.len() * 2);
        }
        let places = Arc::new(Semaphore::new(self.most));
        clients.known.insert(client.clone(), Arc::clone(&places));
        places
    }
}

fn refusal(client: &Client, what: &str, most: usize, to_do: &str) -> Fail {
    let text = format!(
        "{client} has {most} {what} under way, the most at once for one client of this registry; {to_do}"
    );
    Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text).with(RETRY_AFTER, "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Client {
        Client::Address(IpAddr::from(n.to_be_bytes()))
    }

    const WHAT: (&str, &str) = ("things", "wait");

    #[tokio::test]
    async fn each_client_has_its_own() {
        let places = Places::new(1);
        let now = Duration::from_millis(1);
        let first = places.take(&address(1), now, WHAT).await.expect("a place");
        let second = places.take(&address(1), now, WHAT).await;
        assert_eq!(second.expect_err("none").status.as_u16(), 429);
        assert!(places.take(&address(2), now, WHAT).await.is_ok());
        drop(first);
        assert!(places.take(&address(1), now, WHAT).await.is_ok());
    }

    #[tokio::test]
    async fn who_has_nothing_under_way_is_forgotten() {
        let places = Places::new(1);
        let kept = places.take(&address(0), Duration::ZERO, WHAT).await;
        for n in 1..3 * MANY as u32 {
            let _ = places.take(&address(n), Duration::ZERO, WHAT).await;
        }
        assert!(places.clients.lock().expect("lock").known.len() <= MANY);
        let again = places.take(&address(0), Duration::ZERO, WHAT).await;
        assert!(kept.is_ok() && again.is_err());
    }
}
