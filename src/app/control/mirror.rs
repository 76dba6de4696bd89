//! Copying an image, as the control API sees it: what to copy, and handing it to [`crate::mirror`].

use super::{Fault, FaultKind, News, Progress};
use crate::app::App;
use crate::fetch::{Credential, FetchOptions, TlsClient};
use crate::mirror::{self, MirrorError, MirrorErrorKind, MirrorReport, MirrorRequest};
use crate::types::{JobId, RepoName};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What to copy, and how to reach it. Credentials are the calling user's and serve this one run: they are neither stored
/// nor logged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct MirrorJob {
    /// `docker://HOST/NAME[:TAG|@DIGEST]`.
    pub source: String,
    /// Name of the repository here; none: `HOST/NAME`.
    pub to: Option<String>,
    /// `OS/ARCHITECTURE[/VARIANT]`; none: all platforms.
    pub platforms: Vec<String>,
    /// A platform that the image does not have is a warning.
    #[serde(default)]
    pub allow_missing_platforms: bool,
    /// Plain HTTP is allowed to a host that is not this machine.
    pub plain_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_pem: Option<String>,
    /// The other registry's certificate is not checked.
    pub insecure: bool,
    /// Hosts, beside the registry's own domain, that may be given the credentials to issue a token.
    pub realms: Vec<String>,
    /// Hosts that the registry may lead to although they are this machine, link-local or unique-local.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    /// What to log in to the registry with.
    pub login: Option<Credential>,
    /// Nobody waits for it: the running server goes on with it.
    #[serde(default)]
    pub detach: bool,
}

impl MirrorJob {
    /// What it does, for people.
    pub(in crate::app) fn what(&self) -> String {
        match &self.to {
            Some(to) => format!("{} to {to}", self.source),
            None => self.source.clone(),
        }
    }
}

/// Does the work of such a job; `stop` ends it early.
pub(in crate::app) async fn run(
    app: &App,
    (id, job): (JobId, MirrorJob),
    news: News,
    stop: CancellationToken,
) -> Result<MirrorReport, Fault> {
    let request = MirrorRequest {
        to: job.to.as_deref().map(str::parse::<RepoName>).transpose()?,
        source: job.source,
        platforms: job.platforms,
        allow_missing_platforms: job.allow_missing_platforms,
        fetch: FetchOptions {
            tls: trusting(job.ca_pem.as_deref()),
            ca_pem: job.ca_pem.map(String::into_bytes),
            insecure: job.insecure,
            plain_http: job.plain_http,
            credentials: job.login,
            extra_realm_hosts: job.realms,
            allow_hosts: job.allow_hosts,
            ..FetchOptions::default()
        },
        memory: app.config.load().mirror_memory_bytes,
        job: Some(id),
    };
    let hears = move |now| news(Progress::Mirror(now));
    Ok(mirror::run(&app.repos, request, hears, stop).await?)
}

/// TLS that trusts the certificates of a PEM text, if it holds any.
pub(super) fn trusting(pem: Option<&str>) -> Option<TlsClient> {
    let settings = crate::tls::outward(pem?.as_bytes())?;
    Some(TlsClient::new(settings))
}

impl From<MirrorError> for Fault {
    fn from(error: MirrorError) -> Self {
        if let MirrorError::Begun { error, bytes } = error {
            let mut fault = Self::from(*error);
            fault.message = format!("{}. {}", fault.message, mirror::kept(bytes));
            return fault;
        }
        let kind = match error.kind() {
            MirrorErrorKind::Usage => FaultKind::Usage,
            MirrorErrorKind::NotFound => FaultKind::NotFound,
            MirrorErrorKind::Memory => FaultKind::State,
            MirrorErrorKind::Repo => {
                return match error {
                    MirrorError::Repo(error) => error.into(),
                    error => Self::new(FaultKind::Failed, error.to_string()),
                };
            }
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
