//! What we show of ourselves to other servers, and when it is read. Secrets: nothing here prints them.

use super::{Credential, FetchOptions};
use std::fmt;
use std::sync::Arc;

/// Where credentials come from: asked at each log-in, so that those that changed are used without a restart.
#[derive(Clone)]
pub struct CredentialProvider(Arc<AskFor>);

type AskFor = dyn Fn(&str) -> Option<Credential> + Send + Sync;

impl CredentialProvider {
    /// One that asks this function, with the registry's `HOST` or `HOST:PORT`. It may block: it runs on a thread for such work.
    pub fn new(ask: impl Fn(&str) -> Option<Credential> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl fmt::Debug for CredentialProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialProvider")
    }
}

/// Our certificate for servers that ask for one.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The chain in PEM, ours first.
    pub chain: Vec<u8>,
    /// Its key in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(hidden)")
    }
}

impl FetchOptions {
    /// Whether there may be something to log in with.
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some() || self.provider.is_some()
    }

    /// What to log in with to the registry `host` now.
    pub(super) async fn credential(&self, host: &str) -> Option<Credential> {
        let Some(provider) = self.provider.clone() else {
            return self.credentials.clone();
        };
        let host = host.to_owned();
        let asked = tokio::task::spawn_blocking(move || (provider.0)(&host)).await;
        asked.ok().flatten()
    }
}

impl fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("FetchOptions")
            .field("ca_pem", &self.ca_pem.is_some())
            .field("insecure", &self.insecure)
            .field("plain_http", &self.plain_http)
            .field("credentials", &self.credentials)
            .field("proxy", &self.proxy.is_some())
            .field("connect_timeout", &self.connect_timeout)
            .field("first_byte", &self.first_byte)
            .field("read_timeout", &self.read_timeout)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}
