//! For whom an operation runs, and what it may use: the open registry, the caller, news, an early end, descriptors.

use super::fault::{Fault, FaultKind};
use super::reply::{News, Progress};
use crate::app::App;
use crate::auth::{Action, Auth, Grant, Principal, Resource};
use crate::types::RepoName;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Who the log and the history name for a change by the operator.
pub(in crate::app) const OPERATOR: &str = "operator";
/// Descriptors that wait for their operation, at most.
const FILES: usize = 64;
/// How long one waits for its operation.
const WAITS: Duration = Duration::from_mins(1);

/// Who asks, over which way.
#[derive(Debug, Clone)]
pub struct Requester {
    /// Principal, and what limits it.
    pub grant: Grant,
    /// Where the request came from; none: this machine's control socket or the command itself.
    pub address: Option<IpAddr>,
    /// The client's own word for itself.
    pub agent: String,
    /// The id of the request in the log.
    pub request: String,
}

/// What an operation runs with.
#[derive(Clone)]
pub struct Ctx {
    pub(super) app: App,
    requester: Requester,
    news: News,
    pub(super) stop: CancellationToken,
    waits: bool,
    files: HandedFiles,
}

impl Ctx {
    /// Of the operator, who waits for the end of slow work: of a control socket, or of a command without a server.
    pub fn operator(app: App, news: News, stop: CancellationToken, files: HandedFiles) -> Self {
        Self {
            app,
            requester: Requester {
                grant: Grant::whole(Principal::Operator),
                address: None,
                agent: String::new(),
                request: String::new(),
            },
            news,
            stop,
            waits: true,
            files,
        }
    }

    /// Of an account, which gets a job for slow work.
    pub fn account(app: App, requester: Requester) -> Self {
        Self {
            app,
            requester,
            news: Arc::new(|_| {}),
            stop: CancellationToken::new(),
            waits: false,
            files: HandedFiles::default(),
        }
    }

    /// Who asks.
    pub fn requester(&self) -> &Requester {
        &self.requester
    }

    /// How the history and jobs name the caller.
    pub fn who(&self) -> &str {
        match &self.requester.grant.principal {
            Principal::Operator => OPERATOR,
            Principal::User(name) => name.as_str(),
            Principal::Anonymous => "",
        }
    }

    /// The accounts, for changes that the caller asks for.
    pub(super) fn accounts(&self) -> Auth {
        self.app.auth.asked_by(self.who())
    }

    /// Whether the caller is the operator.
    pub fn is_operator(&self) -> bool {
        self.requester.grant.principal == Principal::Operator
    }

    /// Whether the caller waits for the end of slow work.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Who hears how far slow work is.
    pub(super) fn news(&self) -> News {
        Arc::clone(&self.news)
    }

    /// Tells the caller.
    pub(super) fn tell(&self, now: Progress) {
        (self.news)(now);
    }

    /// Whether the caller may do this.
    pub(super) async fn may(&self, action: Action, resource: Resource<'_>) -> Result<bool, Fault> {
        let grant = &self.requester.grant;
        Ok(self.app.auth.authorize(grant, action, resource).await?)
    }

    /// Whether the caller may see that a repository is there.
    pub(super) async fn sees(&self, name: &RepoName) -> Result<bool, Fault> {
        self.may(Action::RepoList, Resource::Repo(name)).await
    }

    /// Takes the descriptor that was handed over under this token.
    pub(super) fn take_file(&self, token: &str) -> Result<OwnedFd, Fault> {
        self.files.take(token).ok_or_else(|| {
            Fault::new(
                FaultKind::Failed,
                "the file that belongs to this request did not come, or came too long ago; try again",
            )
        })
    }
}

/// Descriptors that were handed over beside requests, by one-time token. Cheap to clone.
#[derive(Clone, Default)]
pub struct HandedFiles(Arc<Mutex<HashMap<String, (OwnedFd, Instant)>>>);

impl HandedFiles {
    /// Keeps a descriptor until its operation takes it, for 60 s at most. Answers whether there was room for it.
    pub fn put(&self, token: String, file: OwnedFd) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, since)| since.elapsed() < WAITS);
        if waiting.len() >= FILES || waiting.contains_key(&token) {
            return false;
        }
        waiting.insert(token, (file, Instant::now()));
        true
    }

    /// Lets go of those that nobody came for.
    pub async fn forget_later(&self) {
        tokio::time::sleep(WAITS).await;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, since)| since.elapsed() < WAITS);
    }

    fn take(&self, token: &str) -> Option<OwnedFd> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(token).map(|(file, _)| file)
    }
}
