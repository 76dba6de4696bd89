//! One upstream with what is remembered of it while it is as it is: another setting makes another, with nothing remembered.

use super::credentials::{Found, Login};
use super::error::UpstreamError;
use super::settings::{UpstreamOrigin, UpstreamSettings, UpstreamUrl, is_hub};
use super::view::UpstreamCounters;
use crate::fetch::{Credential, FetchOptions, TlsClient};
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for a connection: what is not here costs no client more.
const CONNECT: Duration = Duration::from_secs(2);
/// Where Docker Hub's registry is, whichever of its names is given.
const HUB_API: &str = "registry-1.docker.io";

/// One upstream.
#[derive(Debug)]
pub struct Upstream {
    /// What the operator says of it.
    pub settings: UpstreamSettings,
    /// Where that stands.
    pub origin: UpstreamOrigin,
    login: Login,
}

impl Upstream {
    pub(super) fn new(settings: UpstreamSettings, origin: UpstreamOrigin) -> Self {
        Self {
            settings,
            origin,
            login: Login::default(),
        }
    }

    /// The host (`HOST` or `HOST:PORT`) to connect to for one of its addresses: all names of Docker Hub lead to one.
    pub fn host_of(url: &UpstreamUrl) -> &str {
        if is_hub(url.host()) {
            HUB_API
        } else {
            url.host()
        }
    }

    /// What a client for one of its addresses is made with; what to log in with is looked up now.
    ///
    /// # Errors
    /// [`UpstreamError::Secret`] where that, or a certificate, cannot be had.
    pub async fn fetch_options(
        self: &Arc<Self>,
        url: &UpstreamUrl,
    ) -> Result<FetchOptions, UpstreamError> {
        let login = self.login(url).await?;
        if let Some(odd) = &login.warning {
            tracing::warn!(upstream = %self.settings.name, "{odd}");
        }
        Ok(self.options_with(url, login.credential))
    }

    /// The same with these credentials.
    pub(super) fn options_with(
        &self,
        url: &UpstreamUrl,
        credentials: Option<Credential>,
    ) -> FetchOptions {
        let settings = &self.settings;
        let pem = settings.ca_pem.as_ref().map(String::as_bytes);
        FetchOptions {
            ca_pem: pem.map(<[u8]>::to_vec),
            tls: pem.and_then(crate::tls::outward).map(TlsClient::new),
            plain_http: url.is_plain(),
            credentials,
            connect_timeout: CONNECT,
            read_timeout: settings.first_byte,
            ..FetchOptions::default()
        }
    }

    /// What to log in with, and what is odd about where it comes from.
    pub(super) async fn login(self: &Arc<Self>, url: &UpstreamUrl) -> Result<Found, UpstreamError> {
        let (own, url) = (Arc::clone(self), url.clone());
        let look = tokio::task::spawn_blocking(move || own.login.of(&own.settings, &url));
        look.await.map_err(|e| UpstreamError::Task(e.to_string()))?
    }

    /// The upstream refused what it was logged in to with (401): the next log-in looks it up anew. Blocks while that is looked up.
    pub fn forget_login(&self) {
        self.login.forget();
    }

    /// What is known of its work since the start.
    pub fn counters(&self) -> UpstreamCounters {
        UpstreamCounters::default()
    }
}
