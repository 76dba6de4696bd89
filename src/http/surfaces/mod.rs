//! The families of URLs that this server answers, told apart by the first segment of the path.
//!
//! Owns what a surface is, and the one table of them. A new one is a file that implements [`Surface`], and a line in the
//! table. Must not know what any of them answers.

pub mod api;
pub mod elsewhere;
pub mod health;
pub mod oci;
mod serving;
pub mod tree;

pub use serving::answer;

use super::answer::Fail;
use super::log::access::RequestId;
use super::metrics::RequestClass;
use super::request::{Incoming, QueryError, Req};
use crate::auth::Action;
use crate::types::RepoName;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};

/// A request's path as one surface reads it, and all that the surface says of it.
pub trait Surface: Sized {
    /// What clients are asked for whose credentials do not do.
    const CHALLENGE: ChallengeKind;

    /// What it does writes its rows of the audit trail by itself.
    const WRITES_ROWS: bool = false;

    /// What is known of a request once the repository that it is about is found.
    type Found: Send + Sync;

    /// Reads a raw path whose first segment is this surface's; nothing where the surface has nothing.
    fn parse(path: &str) -> Option<Self>;

    /// The class for metrics.
    fn class(&self) -> RequestClass;

    /// The right that a request needs, also its name in the log.
    fn action(&self, method: &Method) -> Action;

    /// Who looks at its credentials.
    fn credentials(&self) -> Credentials {
        Credentials::Checked
    }

    /// The scope of the token that the refusal of its credentials asks for.
    fn scope(&self, _method: &Method) -> String {
        String::new()
    }

    /// The refusal of more parameters than are taken.
    fn too_many(&self, error: QueryError) -> Fail {
        Fail::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", error.to_string())
    }

    /// Whether a content file may be open while the request is under way.
    fn opens_a_file(&self, _method: &Method) -> bool {
        false
    }

    /// Finds the repository that the request is about, as of when. This is the one place for it, before anybody is asked for a
    /// right.
    async fn resolve(self, req: &Req) -> Result<Self::Found, Fail>;

    /// The name that rights are asked on, for a request about a repository.
    fn name(_found: &Self::Found) -> Option<&RepoName> {
        None
    }

    /// Asks for the right, and answers. What is not the pull of content must be boxed: every request has room for the largest
    /// of what is not, also while thousands wait for their turn.
    async fn answer(
        found: &Self::Found,
        req: &mut Req,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Fail>;

    /// A refusal as the clients of this surface read it.
    fn refuse(fail: Fail, id: RequestId) -> Response<Body>;

    /// Adds the headers that every answer of this surface has.
    fn mark(_headers: &mut HeaderMap) {}
}

/// Who looks at the credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody: it answers anybody, whatever is shown, and counts for no client.
    Ignored,
    /// The entry, before the surface is asked.
    Checked,
    /// The surface by itself.
    Own,
}

/// What a client is asked for whose credentials do not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// A token of the token service.
    Token,
    /// A name and a password.
    Password,
}

/// The table: each surface, the type of its paths, and the first segments that are its own.
macro_rules! surfaces {
    ($($name:ident($path:ty): $($segment:literal)|+;)*) => {
        /// A request's path, read by the surface that it belongs to.
        pub enum Route {
            $(#[doc = concat!("Paths below ", $("`/", $segment, "` "),+)] $name($path),)*
            /// What no other surface has.
            Elsewhere(elsewhere::Elsewhere),
        }

        impl Route {
            /// The route of a raw (still percent-encoded) path.
            pub fn parse(path: &str) -> Self {
                let segment = path.strip_prefix('/').and_then(|rest| rest.split('/').next());
                let own = match segment.unwrap_or_default() {
                    $($($segment)|+ => <$path as Surface>::parse(path).map(Self::$name),)*
                    _ => None,
                };
                own.unwrap_or_else(|| Self::Elsewhere(elsewhere::Elsewhere::of(path)))
            }
        }

        /// Does the same with the path of whichever surface it is.
        macro_rules! each {
            ($route:expr, $bound:ident => $done:expr) => {
                match $route {
                    $(Route::$name($bound) => $done,)*
                    Route::Elsewhere($bound) => $done,
                }
            };
        }
    };
}

surfaces! {
    Oci(oci::OciPath): "v2";
    Tree(tree::TreeRoute): "r";
    Api(api::ApiPath): "api";
    Health(health::Health): "healthz" | "livez" | "readyz" | "metrics";
}

/// What answers of a surface have in common, whatever is asked for.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Writes a refusal.
    pub refuse: fn(Fail, RequestId) -> Response<Body>,
    /// What clients are asked for.
    pub challenge: ChallengeKind,
    /// Adds headers.
    pub mark: fn(&mut HeaderMap),
}

impl Manner {
    fn of<S: Surface>(_: &S) -> Self {
        Self {
            refuse: S::refuse,
            challenge: S::CHALLENGE,
            mark: S::mark,
        }
    }
}

impl Route {
    /// The class for metrics.
    pub fn class(&self) -> RequestClass {
        each!(self, path => path.class())
    }

    /// The right that a request needs, also its name in the log.
    pub fn action(&self, method: &Method) -> Action {
        each!(self, path => path.action(method))
    }

    /// How its surface answers.
    pub fn manner(&self) -> Manner {
        each!(self, path => Manner::of(path))
    }

    /// Takes the request from its limits to its answer.
    pub async fn serve(
        self,
        req: &mut Req,
        query: &str,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Fail> {
        each!(self, path => answer(path, req, query, body).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_surface_of_its_first_segment() {
        let class = |path: &str| Route::parse(path).class();
        for other in [
            "/",
            "/v1",
            "/v3/",
            "/r",
            "/v2x",
            "/api",
            "/api/v10",
            "/healthz/x",
            "",
            "*",
            "//v2/",
        ] {
            assert!(
                matches!(Route::parse(other), Route::Elsewhere(_)),
                "{other}"
            );
        }
        assert_eq!(class("/v2/"), RequestClass::Base);
        assert_eq!(class("/r/a"), RequestClass::Tree);
        assert_eq!(class("/api/v1/repos"), RequestClass::Api);
        assert!(matches!(Route::parse("/v2/%ff"), Route::Oci(_)));
        assert!(matches!(Route::parse("/readyz"), Route::Health(_)));
    }
}
