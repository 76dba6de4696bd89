//! One upstream with what is remembered of it while it is as it is: another setting makes another, with nothing remembered.

use super::credentials::{Found, Login};
use super::error::UpstreamError;
use super::pull::PullError;
use super::remote::Remote;
use super::settings::{UpstreamOrigin, UpstreamSettings, UpstreamUrl, is_hub};
use super::tally::Tally;
use super::view::{UpstreamBreaker, UpstreamCounters};
use crate::fetch::peer::PeerStanding;
use crate::fetch::{ClientCertificate, Credential, CredentialProvider, FetchOptions, TlsClient};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore};

/// The longest wait for a connection: what is not here costs no client more.
const CONNECT: Duration = Duration::from_secs(2);
/// How long nothing is tried again that its settings name and that is not there.
const RESTS: Duration = Duration::from_secs(10);
/// Manifests and lists that it is asked for at once; others wait.
const AT_ONCE: usize = 64;
/// The number of the next one.
static NEXT: AtomicU64 = AtomicU64::new(1);
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
    pub(super) tally: Tally,
    remote: OnceCell<Arc<Remote>>,
    /// Until when nothing is tried that failed.
    rests: Mutex<Option<Instant>>,
    /// Work for it that is under way.
    pub(super) turns: Arc<Semaphore>,
    /// Tells its memory from that of one with other settings.
    pub(super) id: u64,
}

impl Upstream {
    pub(super) fn new(settings: UpstreamSettings, origin: UpstreamOrigin) -> Self {
        Self {
            settings,
            origin,
            login: Login::default(),
            tally: Tally::default(),
            remote: OnceCell::new(),
            rests: Mutex::new(None),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The way to it, made at the first request.
    pub(super) async fn remote(self: &Arc<Self>) -> Result<Arc<Remote>, PullError> {
        if let Some(made) = self.remote.get() {
            return Ok(Arc::clone(made));
        }
        // What failed a moment ago is not tried by each who asks.
        let now = Instant::now();
        let rests = *self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.is_some_and(|until| now < until) {
            return Err(PullError::NotReady(self.settings.name.clone()));
        }
        let made = self.remote.get_or_try_init(|| Remote::of(self)).await;
        let until = made.is_err().then(|| Instant::now() + RESTS);
        *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = until;
        Ok(Arc::clone(made?))
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
            proxy: settings.proxy.clone(),
            connect_timeout: CONNECT,
            first_byte: Some(settings.first_byte),
            ..FetchOptions::default()
        }
    }

    /// What its clients are made with: what to log in with is looked up at each log-in, so what changed counts without a
    /// restart.
    pub(super) async fn standing_options(
        self: &Arc<Self>,
        url: &UpstreamUrl,
    ) -> Result<FetchOptions, UpstreamError> {
        // What cannot be had is told now, and not as a refusal later.
        let mut options = self.fetch_options(url).await?;
        if options.credentials.is_some() {
            let (own, url) = (Arc::downgrade(self), url.clone());
            options.provider = Some(CredentialProvider::new(move |_| {
                let own = own.upgrade()?;
                match own.login.of(&own.settings, &url) {
                    Ok(found) => found.credential,
                    Err(error) => {
                        tracing::warn!(upstream = %own.settings.name, %error, "nothing to log in with");
                        None
                    }
                }
            }));
        }
        if let Some((certificate, key)) = self.settings.client_certificate.clone() {
            let read = tokio::task::spawn_blocking(move || certificate_of(&certificate, &key));
            let read = read.await.map_err(|e| UpstreamError::Task(e.to_string()))?;
            options.client_certificate = Some(read?);
        }
        Ok(options)
    }

    /// What to log in with, and what is odd about where it comes from.
    pub(super) async fn login(self: &Arc<Self>, url: &UpstreamUrl) -> Result<Found, UpstreamError> {
        let (own, url) = (Arc::clone(self), url.clone());
        let look = tokio::task::spawn_blocking(move || own.login.of(&own.settings, &url));
        look.await.map_err(|e| UpstreamError::Task(e.to_string()))?
    }

    /// The upstream refused what it was logged in to with (401): the next log-in looks it up anew.
    pub fn forget_login(&self) {
        self.login.forget();
    }

    /// How it fares; nobody knows before the first request.
    pub(super) fn standing(&self) -> PeerStanding {
        let remote = self.remote.get();
        remote.map_or(PeerStanding::Unknown, |remote| remote.standing())
    }

    /// What is known of its work since the start.
    pub fn counters(&self) -> UpstreamCounters {
        let tallied = self.tally.now();
        let mut counters = UpstreamCounters {
            hits: tallied.hits + tallied.stale,
            misses: tallied.misses,
            stale: tallied.stale,
            ..UpstreamCounters::default()
        };
        let Some(remote) = self.remote.get() else {
            return counters;
        };
        let addresses = remote.counters().addresses;
        for address in &addresses {
            counters.requests += address.requests;
            counters.bytes += address.bytes;
            counters.errors += address.errors;
        }
        let millis = |ago: Duration| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let last = addresses.iter().filter_map(|a| a.last_success).min();
        counters.last_success_ms = last.map(millis);
        counters.budget_left = addresses.iter().filter_map(|a| a.budget_left).min();
        // It is asked as long as one address is.
        let states = addresses.iter().map(|a| UpstreamBreaker::from(a.breaker));
        counters.breaker = states.min().unwrap_or_default();
        counters
    }
}

/// Our certificate and its key, from their files. Blocks.
fn certificate_of(certificate: &str, key: &str) -> Result<ClientCertificate, UpstreamError> {
    let read = |path: &str| {
        let bytes = std::fs::read(path);
        bytes.map_err(|e| UpstreamError::Secret(format!("{path} cannot be read: {e}")))
    };
    Ok(ClientCertificate {
        chain: read(certificate)?,
        key: read(key)?,
    })
}
