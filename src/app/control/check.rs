//! Checking and fetching again, as the control API sees it.

use super::{Fault, FaultKind};
use crate::app::App;
use crate::fetch::{Credential, FetchOptions};
use crate::mirror;
use crate::repo::check::Upstream;
use crate::types::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Contents to fetch again, and how to reach the registries that had them. Credentials are the calling user's and serve
/// this one run: they are neither stored nor logged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RefetchJob {
    /// Each digest, with the registries that had it.
    pub wanted: Vec<(Digest, Vec<Upstream>)>,
    /// What to log in with, by repository ([`Upstream::repository`]).
    pub logins: BTreeMap<String, Credential>,
    /// Plain HTTP is allowed to hosts that are not this machine.
    pub plain_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_pem: Option<String>,
    /// Hosts that a registry may lead to although they are this machine, link-local or unique-local.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
}

/// What came of one digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refetched {
    /// The digest.
    pub digest: Digest,
    /// Where it came from, if it did.
    pub from: Option<String>,
    /// Why it did not.
    pub error: Option<String>,
}

pub(super) async fn refetch(
    app: &App,
    job: RefetchJob,
    stop: CancellationToken,
) -> Result<Vec<Refetched>, Fault> {
    let mut done = Vec::with_capacity(job.wanted.len());
    for (digest, upstreams) in &job.wanted {
        let mut outcome = Refetched {
            digest: *digest,
            from: None,
            error: None,
        };
        for upstream in upstreams {
            if stop.is_cancelled() {
                return Err(Fault::new(FaultKind::Failed, "stopped"));
            }
            let fetch = FetchOptions {
                tls: super::mirror::trusting(job.ca_pem.as_deref()),
                ca_pem: job.ca_pem.clone().map(String::into_bytes),
                plain_http: job.plain_http,
                credentials: job.logins.get(&upstream.repository()).cloned(),
                allow_hosts: job.allow_hosts.clone(),
                tries: 3,
                ..FetchOptions::default()
            };
            match mirror::refetch(&app.repos, upstream, fetch, &stop).await {
                Ok(_) => {
                    outcome.from = Some(upstream.repository());
                    outcome.error = None;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%digest, registry = upstream.registry, %error, "a damaged blob could not be fetched again");
                    outcome.error = Some(error.to_string());
                }
            }
        }
        done.push(outcome);
    }
    Ok(done)
}
