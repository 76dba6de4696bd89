//! What a request about a repository asks of: which repository its name means, and as of when.
//!
//! Owns names of the past and `?ns=`. Must not decide who may do what.

use crate::auth::{Action, Principal, Resource};
use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::caller::credentials::scope;
use crate::http::request::Req;
use crate::http::server::limits::ClientPlace;
use crate::repo::At;
use crate::types::{Moment, RepoName};
use crate::upstream::Upstream;
use axum::body::Body;
use axum::http::header::{HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// What a reading request asks of.
pub struct Asked {
    /// The name in the URL.
    pub url: RepoName,
    /// The repository that it means.
    pub name: RepoName,
    /// As of when.
    pub at: At,
    namespace: Namespace,
}

/// How `?ns=HOST` was read (distribution-spec, "Registry Proxying").
enum Namespace {
    /// There was none.
    None,
    /// It means `HOST/NAME`; this is the name alone.
    Meant(RepoName),
    /// There is no such repository that the user may read; this would be its name.
    Other(RepoName),
}

impl Asked {
    /// Finds the repository that a reading request means: `?ns=HOST` means `HOST/NAME` if that exists and its user may read it,
    /// else `NAME`.
    pub async fn of(req: &Req, name: &RepoName) -> Result<Self, Fail> {
        if let Some(meant) = req.meant(name).await? {
            return Ok(Self {
                url: name.clone(),
                name: meant.name,
                at: meant.at,
                namespace: Namespace::None,
            });
        }
        let ns = req.query.get("ns").filter(|ns| !ns.is_empty());
        let there = ns.and_then(|ns| namespaced(ns, name));
        if let Some(there) = &there
            && req.state.app.repos.exists(there).await?
            && req.user_may(Action::RepoPull, there).await?
        {
            return Ok(Self::now(there, Namespace::Meant(name.clone())));
        }
        if !req.state.app.pull.is_empty()
            && let Some(there) = Box::pin(of_upstream(req, name, ns)).await?
        {
            return Ok(Self::now(&there, Namespace::Meant(name.clone())));
        }
        Ok(match there {
            Some(there) => Self::now(name, Namespace::Other(there)),
            None => Self::now(name, Namespace::None),
        })
    }

    /// The upstream whose repository it is, if it is one, as it is now.
    pub fn upstream(&self, req: &Req) -> Option<Arc<Upstream>> {
        let pull = &req.state.app.pull;
        if pull.is_empty() || self.at != At::Head {
            return None;
        }
        pull.upstream_of(&self.name)
    }

    /// A repository as it is now.
    fn now(name: &RepoName, namespace: Namespace) -> Self {
        Self {
            url: name.clone(),
            name: name.clone(),
            at: At::Head,
            namespace,
        }
    }

    /// Fails unless the request may read it.
    pub async fn authorize(&self, req: &Req) -> Result<(), Fail> {
        let action = Action::RepoPull;
        if self.at != At::Head {
            let auth = &req.state.app.auth;
            if auth.authorize(&req.grant, action, self.resource()).await? {
                return Ok(());
            }
            return Box::pin(req.require(action, &self.url)).await;
        }
        match &self.namespace {
            Namespace::None => req.require(action, &self.name).await,
            Namespace::Meant(_) if req.may(action, &self.name).await? => Ok(()),
            // Clients make the scope of their token of the name that they know.
            Namespace::Meant(plain) => {
                let resource = Resource::Past {
                    now: &self.name,
                    asked: plain,
                };
                let auth = &req.state.app.auth;
                if auth.authorize(&req.grant, action, resource).await? {
                    return Ok(());
                }
                Err(with_scopes(req, &self.name, plain))
            }
            Namespace::Other(there) => match req.require(action, &self.name).await {
                Err(fail) if fail.status == StatusCode::UNAUTHORIZED => {
                    Err(with_scopes(req, there, &self.name))
                }
                other => other,
            },
        }
    }

    /// Says in an answer how `?ns=` was read.
    pub fn tell(&self, req: &Req, response: &mut Response<Body>) {
        if let (Namespace::Meant(_), Some(ns)) = (&self.namespace, req.query.get("ns")) {
            put(response, NAMESPACE, ns);
        }
    }

    /// What rights on it are asked on.
    fn resource(&self) -> Resource<'_> {
        if self.at == At::Head {
            return Resource::Repo(&self.url);
        }
        Resource::Past {
            now: &self.name,
            asked: &self.url,
        }
    }
}

/// The repository of an upstream that a name means: with `?ns=` that of the host, else that of the default one if nothing here
/// has the name. The host is looked up among those that an operator named, and never asked by its name alone.
async fn of_upstream(
    req: &Req,
    name: &RepoName,
    ns: Option<&str>,
) -> Result<Option<RepoName>, Fail> {
    let pull = &req.state.app.pull;
    let named = ns.and_then(|ns| pull.of_namespace(ns));
    let upstream = match named {
        Some(upstream) => Some(upstream),
        // A host that nobody named is nobody's: the default one is not it.
        None if ns.is_some() || pull.upstream_of(name).is_some() => None,
        None => pull.default_upstream(),
    };
    let there = upstream.and_then(|upstream| {
        let there = upstream.settings.name_here(name)?;
        // A prefix within its own is another upstream's.
        let of = pull.upstream_of(&there)?;
        (of.settings.name == upstream.settings.name).then_some(there)
    });
    let Some(there) = there else {
        return Ok(None);
    };
    if ns.is_none() && req.state.app.repos.origin(name).await?.is_some() {
        return Ok(None);
    }
    let may = req.user_may(Action::RepoPull, &there).await?;
    Ok(may.then_some(there))
}

/// Refuses to write to a name of the past, and to one that would become one as soon as there is such a snapshot. What lies
/// there from before is an ordinary repository.
pub async fn writable(req: &Req, name: &RepoName) -> Result<(), Fail> {
    if matches!(req.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let Some((moment, now)) = name.moment() else {
        return Ok(());
    };
    let denied = |text| Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text));
    if req.meant(name).await?.is_some() {
        return denied(format!(
            "this name means the past, which nobody can change; write to {now}"
        ));
    }
    if let Moment::Snapshot(title) = moment
        && !req.state.app.repos.exists(name).await?
    {
        return denied(format!(
            "this name would mean the snapshot {title} of {now} as soon as there is one; write to another name"
        ));
    }
    Ok(())
}

/// A place among the reads of the past of this client, for those that take more than a seek; none for a repository as it is
/// now. To be held until what was asked for is known, not until it is sent.
pub async fn past_place(req: &Req, asked: &Asked) -> Result<Option<ClientPlace>, Fail> {
    let Some(client) = req.counted().filter(|_| asked.at != At::Head) else {
        return Ok(None);
    };
    let words = ("reads of the past", "try again when they are done");
    let place = req.state.past.take(&client, PATIENCE, words);
    place.await.map(Some)
}

/// A challenge for both readings of a name, as the client cannot know which of them holds.
fn with_scopes(req: &Req, there: &RepoName, name: &RepoName) -> Fail {
    let both = format!(
        "{} {}",
        scope(Action::RepoPull, there),
        scope(Action::RepoPull, name)
    );
    let error = req.grant.scope.is_some().then_some("insufficient_scope");
    let mut fail = req.unauthorized(&both, error);
    fail.headers
        .retain(|(header, _)| *header == WWW_AUTHENTICATE);
    fail
}

/// `HOST/NAME`, as the mirror names repositories: `docker.io` has its one-component names under `library/`, and the
/// colon of a port is a dash.
fn namespaced(ns: &str, name: &RepoName) -> Option<RepoName> {
    let host = ns.to_ascii_lowercase().replace(':', "-");
    let library = if host == "docker.io" && !name.as_str().contains('/') {
        "library/"
    } else {
        ""
    };
    format!("{host}/{library}{name}").parse().ok()
}

/// How long an answer about a digest holds: for ever. Caches that others share may keep it only where everybody may read
/// it: they would give it to anybody who asks (RFC 9111 section 3.5).
pub async fn immutable(req: &Req, asked: &Asked) -> Result<HeaderValue, Fail> {
    let open = if asked.at == At::Head {
        req.anybody_may(Action::RepoPull, &asked.url).await?
    } else {
        let auth = &req.state.app.auth;
        auth.authorize_user(&Principal::Anonymous, Action::RepoPull, asked.resource())
            .await?
    };
    Ok(HeaderValue::from_static(if open {
        "public, max-age=31536000, immutable"
    } else {
        "private, max-age=31536000, immutable"
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces() {
        let name = |text: &str| text.parse::<RepoName>().expect("valid");
        let of = |ns, n: &str| namespaced(ns, &name(n)).map(|r| r.to_string());
        assert_eq!(
            of("docker.io", "alpine").as_deref(),
            Some("docker.io/library/alpine")
        );
        assert_eq!(of("docker.io", "a/b").as_deref(), Some("docker.io/a/b"));
        assert_eq!(of("quay.io", "x").as_deref(), Some("quay.io/x"));
        assert_eq!(
            of("localhost:5000", "x").as_deref(),
            Some("localhost-5000/x")
        );
        assert_eq!(of("../..", "x"), None);
    }
}
