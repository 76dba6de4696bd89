//! From names to addresses, for each new connection. Where nobody named the host, addresses that it may not lead to are
//! taken out here, after the look-up and before the connection, so that no second look-up can give another answer.

use super::address::inward;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks up a name; the ports of what it gives mean nothing.
#[derive(Clone)]
pub(in crate::fetch) struct Lookup(Arc<dyn Fn(String) -> Found + Send + Sync>);

impl Lookup {
    /// One that asks this function.
    pub(in crate::fetch) fn new<F>(ask: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(ask(name))))
    }

    /// The system's.
    pub(in crate::fetch) fn system() -> Self {
        Self::new(
            |name: String| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) },
        )
    }
}

/// A host that nobody named is at an address where only the operator may send us.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address} is {what}")]
pub(in crate::fetch) struct Inward {
    pub(in crate::fetch) address: IpAddr,
    /// In words.
    pub(in crate::fetch) what: &'static str,
}

impl Inward {
    /// What is wrong with an address, if something is.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        inward(address).map(|what| Self { address, what })
    }
}

/// The resolver of one pool of connections.
pub(super) struct Resolver {
    pub(super) lookup: Lookup,
    /// Whether anything but the operator chose the names.
    pub(super) guarded: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup.0)(name.as_str().to_owned());
        let guarded = self.guarded;
        Box::pin(async move {
            let found = found.await?;
            let outward = if guarded { outward(found)? } else { found };
            Ok(Box::new(outward.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be connected to; an error if there are none but others.
fn outward(mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Inward> {
    let refused = found.iter().find_map(|at| Inward::of(at.ip()));
    found.retain(|at| inward(at.ip()).is_none());
    match refused {
        Some(refused) if found.is_empty() => Err(refused),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn resolved(resolver: &Resolver) -> Result<Vec<String>, String> {
        let name: Name = "cdn.example".parse().expect("name");
        match resolver.resolve(name).await {
            Ok(found) => Ok(found.map(|at| at.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn each_answer_is_judged() {
        // Another answer each time, as of a name that is made to change between a check and its use.
        let answers = [
            vec!["8.8.8.8"],
            vec!["127.0.0.1"],
            vec!["fd00:ec2::254", "::ffff:169.254.169.254"],
            vec!["fd00::1", "8.8.4.4", "10.0.0.1", "::1"],
            vec![],
        ];
        let asked = Arc::new(AtomicUsize::new(0));
        let lookup = Lookup::new(move |_| {
            let now = answers[asked.fetch_add(1, Ordering::Relaxed) % answers.len()].clone();
            async move {
                let address = |text: &&str| SocketAddr::new(text.parse().expect("address"), 0);
                Ok(now.iter().map(address).collect())
            }
        });
        let guarded = Resolver {
            lookup: lookup.clone(),
            guarded: true,
        };
        assert_eq!(resolved(&guarded).await.expect("public"), ["8.8.8.8"]);
        assert_eq!(
            resolved(&guarded).await.expect_err("loopback"),
            "127.0.0.1 is this machine"
        );
        assert!(
            resolved(&guarded)
                .await
                .expect_err("metadata")
                .contains("a metadata service")
        );
        assert_eq!(
            resolved(&guarded).await.expect("the rest"),
            ["8.8.4.4", "10.0.0.1"]
        );
        assert!(resolved(&guarded).await.expect("none").is_empty());
        let open = Resolver {
            lookup,
            guarded: false,
        };
        for want in [1, 1, 2, 4] {
            assert_eq!(resolved(&open).await.expect("all").len(), want);
        }
    }
}
