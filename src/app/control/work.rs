//! Does what a [`Request`] asks, with the handles of an open [`App`].
//!
//! The same code runs in the server and, where none runs, in the command itself.

use super::{Fault, FaultKind, News, Reply, Request, TrustView, When};
use crate::app::App;
use crate::auth::{AuthError, AuthErrorKind, RoleGrant, UserName};
use crate::blobs::BlobErrorKind;
use crate::repo::{At, RepoError};
use crate::store::{StoreError, StoreErrorKind};
use crate::types::{NameError, Page, RepoName, Rev, Tag};
use std::net::{IpAddr, SocketAddr};
use tokio_util::sync::CancellationToken;

/// Who the log and the history name for a change made here.
pub(super) const OPERATOR: &str = "operator";

/// Does one thing. `news` hears how far slow work is; `stop` ends it early (what was fetched is kept and taken up by the
/// next run). Every change is durable when this returns.
pub async fn execute(
    app: &App,
    request: Request,
    news: News,
    stop: CancellationToken,
) -> Result<Reply, Fault> {
    match request {
        Request::Trust => trust(app).map(Reply::Trust),
        Request::DbStatus => Ok(Reply::Database(app.store.status()?)),
        Request::Mirror(job) => super::jobs::mirror(app, *job, OPERATOR, news, stop).await,
        Request::JobList
        | Request::JobShow { .. }
        | Request::JobLog { .. }
        | Request::JobCancel { .. }
        | Request::JobRetry { .. } => super::jobs::ask(app, request).await,
        Request::Gc { purge_history } => super::jobs::gc(app, purge_history, news, stop).await,
        Request::QuotaSet { .. } | Request::QuotaList | Request::QuotaRemove { .. } => {
            quotas(app, request).await
        }
        Request::Check(request) => super::jobs::check(app, request, news, stop).await,
        Request::Refetch(job) => super::check::refetch(app, *job, stop)
            .await
            .map(Reply::Refetched),
        Request::GcSurvey => Ok(Reply::Survey(app.repos.survey().await?)),
        Request::RepoList { .. }
        | Request::RepoShow { .. }
        | Request::RepoCreate { .. }
        | Request::RepoDelete { .. }
        | Request::RepoSet { .. } => repos(app, request).await,
        Request::FileShow { target } => super::file_at(app, &target).await.map(Reply::File),
        Request::Snapshot(request) => super::snapshot::run(app, request).await,
        Request::Schedule(request) => super::schedule::run(app, request).await,
        Request::TagList { .. }
        | Request::TagHistory { .. }
        | Request::TagDelete { .. }
        | Request::TagRestore { .. } => tags(app, request).await,
        users => accounts(app, users).await,
    }
}

fn trust(app: &App) -> Result<TrustView, Fault> {
    let Some(tls) = &app.tls else {
        let text = "this server has no TLS listener, so there is nothing to trust";
        return Err(Fault::new(FaultKind::State, text));
    };
    Ok(trust_view(tls, &app.config.load()))
}

/// Certificate and address for people, of a server with this configuration.
pub(in crate::app) fn trust_view(
    tls: &crate::tls::Tls,
    config: &crate::config::Config,
) -> TrustView {
    let names = tls.names();
    let (host, port) = config.url.as_deref().and_then(host_of).unwrap_or_else(|| {
        let name = names
            .iter()
            .find(|n| n.as_str() != "localhost" && n.parse::<IpAddr>().is_err());
        let port = config.https.first().map_or(8443, SocketAddr::port);
        (name.map_or("localhost", String::as_str).to_owned(), port)
    });
    TrustView {
        ca_pem: tls.ca_pem(),
        ca_permits: tls.ca_permits(),
        fingerprint: tls.fingerprint(),
        text: tls.trust_text(&host, port),
        host: format!("{host}:{port}"),
        names,
    }
}

/// Host and port of an `https` or `http` URL.
fn host_of(url: &str) -> Option<(String, u16)> {
    let url: http::Uri = url.parse().ok()?;
    let implied = if url.scheme_str()? == "http" { 80 } else { 443 };
    Some((url.host()?.to_owned(), url.port_u16().unwrap_or(implied)))
}

async fn accounts(app: &App, request: Request) -> Result<Reply, Fault> {
    match request {
        Request::UserAdd {
            name,
            password,
            grants,
        } => {
            let grants = grants
                .into_iter()
                .map(checked)
                .collect::<Result<Vec<_>, _>>()?;
            app.auth.add(&user(&name)?, &password.0, grants).await?;
        }
        Request::UserPasswd { name, password } => {
            app.auth.passwd(&user(&name)?, &password.0).await?;
            app.password_changed(&name);
        }
        Request::UserGrant { name, grant } => {
            app.auth.grant(&user(&name)?, checked(grant)?).await?;
        }
        Request::UserRevoke { name, prefix } => {
            app.auth.revoke(&user(&name)?, &clean(&prefix)?).await?;
        }
        Request::UserRemove { name } => {
            app.auth.remove(&user(&name)?).await?;
            app.password_changed(&name);
        }
        _ => return Ok(Reply::Users(app.auth.list().await?)),
    }
    Ok(Reply::Done)
}

async fn repos(app: &App, request: Request) -> Result<Reply, Fault> {
    match request {
        Request::RepoShow { name } => Ok(Reply::Repo(app.repos.view(&repo(&name)?).await?)),
        Request::RepoCreate { name, kind } => {
            app.repos.create(&repo(&name)?, kind, OPERATOR).await?;
            Ok(Reply::Done)
        }
        Request::RepoDelete {
            name,
            with_snapshots,
        } => {
            let name = repo(&name)?;
            let deleted = app.repos.delete(&name, OPERATOR, with_snapshots).await?;
            super::jobs::delete(app, name.to_string(), deleted).await;
            Ok(Reply::Done)
        }
        Request::RepoSet { name, change } => {
            app.repos.set(&repo(&name)?, change, OPERATOR).await?;
            Ok(Reply::Done)
        }
        Request::RepoList { after } => {
            let mut repos = Vec::new();
            let mut next = after;
            loop {
                let page = app.repos.names(None, next.as_deref(), Page::MAX).await?;
                for name in &page.names {
                    match app.repos.view(name).await {
                        Ok(view) => repos.push(view),
                        // Deleted between the two reads.
                        Err(RepoError::NameUnknown(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                next = page.next;
                // Who asks goes on after the last of them.
                if next.is_none() || !repos.is_empty() {
                    break;
                }
            }
            let more = next.is_some();
            Ok(Reply::Repos { repos, more })
        }
        _ => Err(Fault::new(
            FaultKind::Usage,
            "this is not a request about repositories",
        )),
    }
}

async fn tags(app: &App, request: Request) -> Result<Reply, Fault> {
    match request {
        Request::TagList { repo: name, after } => {
            let page = Page {
                n: None,
                last: after,
            };
            let found = app.repos.tags(&repo(&name)?, &At::Head, &page).await?;
            Ok(Reply::Tags {
                tags: found.tags.iter().map(Tag::to_string).collect(),
                more: found.next.is_some(),
            })
        }
        Request::TagHistory {
            repo: name,
            tag: text,
        } => Ok(Reply::History(
            app.repos.tag_history(&repo(&name)?, &tag(&text)?).await?,
        )),
        Request::TagDelete {
            repo: name,
            tag: text,
        } => {
            app.repos
                .delete_tag(&repo(&name)?, &tag(&text)?, OPERATOR)
                .await?;
            Ok(Reply::Done)
        }
        Request::TagRestore {
            repo: name,
            tag: text,
            when,
        } => {
            let (name, tag) = (repo(&name)?, tag(&text)?);
            let rev = match when {
                When::Rev(rev) => Rev(rev),
                When::AtMs(at_ms) => app.repos.rev_at(&name, at_ms).await?,
            };
            let digest = app.repos.restore_tag(&name, &tag, rev, OPERATOR).await?;
            Ok(Reply::Restored(digest.to_string()))
        }
        _ => Err(Fault::new(
            FaultKind::Usage,
            "this is not a request about tags",
        )),
    }
}

async fn quotas(app: &App, request: Request) -> Result<Reply, Fault> {
    match request {
        Request::QuotaSet {
            prefix,
            limit,
            history,
        } => {
            let prefix = clean(&prefix)?;
            app.repos.set_quota(&prefix, limit, history).await?;
            Ok(Reply::Done)
        }
        Request::QuotaRemove { prefix } => {
            app.repos.remove_quota(&clean(&prefix)?).await?;
            Ok(Reply::Done)
        }
        _ => Ok(Reply::Quotas(app.repos.quotas().await?)),
    }
}

fn user(text: &str) -> Result<UserName, Fault> {
    Ok(text.parse::<UserName>()?)
}

pub(super) fn repo(text: &str) -> Result<RepoName, Fault> {
    Ok(text.parse::<RepoName>()?)
}

fn tag(text: &str) -> Result<Tag, Fault> {
    Ok(text.parse::<Tag>()?)
}

fn checked(mut grant: RoleGrant) -> Result<RoleGrant, Fault> {
    grant.prefix = clean(&grant.prefix)?;
    Ok(grant)
}

/// A prefix without a slash at its end; `*` and nothing mean everything.
fn clean(prefix: &str) -> Result<String, Fault> {
    let prefix = prefix
        .strip_suffix("/*")
        .or_else(|| prefix.strip_suffix('/'))
        .unwrap_or(prefix);
    if prefix.is_empty() || prefix == "*" {
        return Ok(String::new());
    }
    Ok(repo(prefix)?.to_string())
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self::new(FaultKind::Usage, error.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(of_store(error.kind()), error.to_string())
    }
}

pub(in crate::app) fn of_store(kind: StoreErrorKind) -> FaultKind {
    match kind {
        StoreErrorKind::Locked | StoreErrorKind::TooNew | StoreErrorKind::Refused => {
            FaultKind::State
        }
        StoreErrorKind::Damaged => FaultKind::Damaged,
        _ => FaultKind::Failed,
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        let kind = match (&error, error.kind()) {
            (AuthError::Store(store), _) => of_store(store.kind()),
            (_, AuthErrorKind::Usage) => FaultKind::Usage,
            (_, AuthErrorKind::NotFound) => FaultKind::NotFound,
            (_, AuthErrorKind::Exists | AuthErrorKind::Refused) => FaultKind::State,
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<RepoError> for Fault {
    fn from(error: RepoError) -> Self {
        let kind = match &error {
            RepoError::NameUnknown(_)
            | RepoError::NothingMatches(_)
            | RepoError::ManifestUnknown(_)
            | RepoError::BlobUnknown(_)
            | RepoError::PathUnknown(_)
            | RepoError::SnapshotUnknown { .. } => FaultKind::NotFound,
            RepoError::ReadOnly(_)
            | RepoError::NotAttached { .. }
            | RepoError::Refused(_)
            | RepoError::OtherKind { .. }
            | RepoError::Exists(_)
            | RepoError::PathTaken { .. }
            | RepoError::Precondition { .. }
            | RepoError::Quota { .. }
            | RepoError::HistoryFull { .. } => FaultKind::State,
            RepoError::FileDamaged(_) => FaultKind::Damaged,
            RepoError::Blob(blob) if blob.kind() == BlobErrorKind::Damaged => FaultKind::Damaged,
            RepoError::Store(store) => of_store(store.kind()),
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        let host = |url| host_of(url).map(|(h, p)| format!("{h}:{p}"));
        assert_eq!(
            host("https://a.example:5000").as_deref(),
            Some("a.example:5000")
        );
        assert_eq!(host("https://a.example").as_deref(), Some("a.example:443"));
        assert_eq!(host("https://[::1]:8443").as_deref(), Some("[::1]:8443"));
        assert_eq!(host("nonsense"), None);
    }

    #[test]
    fn prefixes() {
        for all in ["", "*", "/", "/*"] {
            assert_eq!(clean(all).expect("everything"), "", "{all}");
        }
        for team in ["team", "team/", "team/*"] {
            assert_eq!(clean(team).expect("a prefix"), "team", "{team}");
        }
        assert_eq!(clean("Team").map_err(|f| f.kind()), Err(FaultKind::Usage));
    }
}
