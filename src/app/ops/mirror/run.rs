//! `mirror-run`: what to copy, and handing it to [`crate::mirror`].

use crate::app::App;
use crate::app::ops::job::left_to_the_queue;
use crate::app::ops::{
    Ctx, Fault, FaultKind, JobBegun, News, Operation, Progress, Slow, Spec, Verb,
};
use crate::app::runner::Task;
use crate::auth::Action;
use crate::fetch::{Credential, FetchOptions, TlsClient};
use crate::mirror::{self, MirrorReport, MirrorRequest};
use crate::types::{JobId, RepoName};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// What to copy, and how to reach it. Credentials are the calling user's and serve this one run: they are neither stored
/// nor logged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct MirrorJob {
    /// `docker://HOST/NAME[:TAG|@DIGEST]`.
    pub source: String,
    /// Name of the repository here; none: `HOST/NAME`.
    pub to: Option<String>,
    /// `OS/ARCHITECTURE[/VARIANT]`; none: all platforms.
    pub platforms: Vec<String>,
    /// A platform that the image does not have is a warning.
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
    pub allow_hosts: Vec<String>,
    /// What to log in to the registry with.
    pub login: Option<Credential>,
    /// Nobody waits for it: the running server goes on with it.
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

impl Operation for MirrorJob {
    type Reply = Slow<MirrorReport>;

    const SPEC: Spec = Spec::new("mirror-run", Verb::Make, "/mirror", Action::ServerAdmin)
        .about("Copies an image from another registry")
        .slow();

    async fn run(self, ctx: &Ctx) -> Result<Slow<MirrorReport>, Fault> {
        let runner = &ctx.app.runner;
        let detach = self.detach || !ctx.waits();
        if detach && !runner.serves() {
            return Err(Fault::new(
                FaultKind::State,
                "no server runs that the copy could be left to, and this command would take it along when it ends; start one (dryport serve), or leave --detach out",
            ));
        }
        let needs_its_command = self.login.is_some() || self.ca_pem.is_some();
        let task = Task::Mirror(Box::new(Self { detach, ..self }));
        if !ctx.waits() && !needs_its_command {
            return left_to_the_queue(ctx, &task).await;
        }
        let heard = runner.start(&ctx.app, task, ctx.who()).await?;
        if detach {
            let job = runner.jobs().await?.show(heard.id).await?;
            return Ok(Slow::Job(Box::new(job)));
        }
        ctx.tell(Progress::Job(JobBegun {
            job: heard.id,
            joined: heard.joined,
        }));
        let came = heard.out(runner, ctx.news(), ctx.stop.clone()).await?;
        Ok(Slow::Done(came.mirrored()?))
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
        memory: app.config.load().mirror.memory_bytes,
        job: Some(id),
    };
    let hears = move |now| news(Progress::Mirror(now));
    Ok(mirror::run(&app.repos, request, hears, stop).await?)
}

/// TLS that trusts the certificates of a PEM text, if it holds any.
pub(in crate::app::ops) fn trusting(pem: Option<&str>) -> Option<TlsClient> {
    let settings = crate::tls::outward(pem?.as_bytes())?;
    Some(TlsClient::new(settings))
}
