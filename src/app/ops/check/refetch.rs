//! `check-refetch`.

use crate::app::ops::mirror::trusting;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::fetch::{Credential, FetchOptions};
use crate::mirror;
use crate::repo::check::CameFrom;
use crate::types::{Digest, Remedy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Fetches damaged contents again. Credentials are the calling user's and serve this one run: they are neither stored nor
/// logged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Refetch {
    /// Each digest, with the registries that had it.
    pub wanted: Vec<(Digest, Vec<CameFrom>)>,
    /// What to log in with, by repository ([`CameFrom::repository`]).
    pub logins: BTreeMap<String, Credential>,
    /// Plain HTTP is allowed to hosts that are not this machine.
    pub plain_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_pem: Option<String>,
    /// Hosts that a registry may lead to although they are this machine, link-local or unique-local.
    pub allow_hosts: Vec<String>,
}

/// What came of one digest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Refetched {
    /// The digest.
    pub digest: Digest,
    /// Where it came from, if it did.
    pub from: Option<String>,
    /// Why it did not.
    pub error: Option<String>,
    /// What can be done about that, if something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// What came of each.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RefetchedAll {
    /// In the order of the request.
    pub refetched: Vec<Refetched>,
}

impl Operation for Refetch {
    type Reply = RefetchedAll;

    const SPEC: Spec = Spec::new(
        "check-refetch",
        Verb::Make,
        "/check/refetch",
        Action::ServerAdmin,
    )
    .about("Fetches damaged contents again from the registries that had them")
    .control_only();

    async fn run(self, ctx: &Ctx) -> Result<RefetchedAll, Fault> {
        let mut refetched = Vec::with_capacity(self.wanted.len());
        for (digest, upstreams) in &self.wanted {
            refetched.push(self.one(ctx, *digest, upstreams).await?);
        }
        Ok(RefetchedAll { refetched })
    }
}

impl Refetch {
    /// From the first registry that gives it.
    async fn one(
        &self,
        ctx: &Ctx,
        digest: Digest,
        upstreams: &[CameFrom],
    ) -> Result<Refetched, Fault> {
        let mut outcome = Refetched {
            digest,
            from: None,
            error: None,
            remedy: None,
        };
        for upstream in upstreams {
            if ctx.stop.is_cancelled() {
                return Err(Fault::failed("stopped"));
            }
            let fetch = FetchOptions {
                tls: trusting(self.ca_pem.as_deref()),
                ca_pem: self.ca_pem.clone().map(String::into_bytes),
                plain_http: self.plain_http,
                credentials: self.logins.get(&upstream.repository()).cloned(),
                allow_hosts: self.allow_hosts.clone(),
                tries: 3,
                ..FetchOptions::default()
            };
            match mirror::refetch(&ctx.app.repos, upstream, fetch, &ctx.stop).await {
                Ok(_) => {
                    outcome.from = Some(upstream.repository());
                    (outcome.error, outcome.remedy) = (None, None);
                    break;
                }
                Err(error) => {
                    tracing::warn!(%digest, registry = upstream.registry, %error, "a damaged blob could not be fetched again");
                    outcome.remedy = error.remedy();
                    outcome.error = Some(error.to_string());
                }
            }
        }
        Ok(outcome)
    }
}
