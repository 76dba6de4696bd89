//! The authorization matrix of what is about no single repository: health, metrics, the base, the catalog, malformed
//! paths and wrong methods, and the token service.

use crate::harness::Reply;
use crate::http::authz::law::{PAST, Spot, User, may_catalog};
use crate::http::authz::matrix::Judge;
use crate::http::authz::wire::{Ask, shape};
use crate::http::authz::world::World;

/// What answers anybody, whatever is shown, and the same to all.
const OPEN: &[(&str, &str, u16)] = &[
    ("GET", "/", 200),
    ("GET", "/healthz", 200),
    ("HEAD", "/healthz", 200),
    ("GET", "/livez", 200),
    ("GET", "/readyz", 200),
    ("GET", "/v1/_ping", 200),
    ("GET", "/v1/search?q=q", 404),
    ("GET", "/v1/repositories/team/qkept/tags", 404),
    ("POST", "/healthz", 405),
    ("DELETE", "/", 405),
    ("GET", "/control", 404),
    ("POST", "/control", 404),
    ("GET", "/run/control.sock", 404),
    ("GET", "/api/users", 404),
    ("GET", "/v3/", 404),
    ("GET", "//v2/", 404),
    ("GET", "/V2/team/qkept/tags/list", 404),
];

/// Below `/v2/`, and no route of it; the second name is absent. Only credentials that count get as far as the answer.
const MALFORMED: &[(&str, &str)] = &[
    ("GET", "/v2/NAME"),
    ("GET", "/v2/NAME/"),
    ("GET", "/v2/NAME/tags"),
    ("GET", "/v2/NAME/manifests/"),
    ("GET", "/v2/NAME/manifests/.x"),
    ("PUT", "/v2/NAME/manifests/.x"),
    ("GET", "/v2/NAME/manifests/sha256:00"),
    ("GET", "/v2/NAME/blobs/v1"),
    ("GET", "/v2/NAME/blobs/uploads/no-id"),
    ("GET", "/v2/NAME/referrers/v1"),
    ("GET", "/v2/NAME//tags/list"),
    ("GET", "/v2//NAME/tags/list"),
    ("GET", "/v2/./NAME/tags/list"),
    ("GET", "/v2/x/../NAME/tags/list"),
    ("GET", "/v2/%2e%2e/NAME/tags/list"),
    ("GET", "/v2/NAME%00/tags/list"),
    ("GET", "/v2/NAME%2Ftags%2Flist%2f"),
    ("GET", "/v2/NAME/_catalog"),
    ("GET", "/v2/_catalog/"),
];

/// Writing to the past: nobody can, whatever there was.
const HISTORY: &[(&str, &str)] = &[
    ("PUT", "manifests/v1"),
    ("DELETE", "manifests/v1"),
    ("DELETE", "blobs/DIGEST"),
    ("POST", "blobs/uploads/"),
    ("PATCH", "blobs/uploads/00000000000000000000000000000000"),
];

/// Methods that a route does not have.
const METHODS: &[(&str, &str)] = &[
    ("POST", "manifests/v1"),
    ("PATCH", "manifests/v1"),
    ("OPTIONS", "manifests/v1"),
    ("PUT", "tags/list"),
    ("DELETE", "tags/list"),
    ("POST", "tags/list?ns=team"),
    ("DELETE", "referrers/DIGEST"),
    ("PUT", "blobs/DIGEST"),
    ("PATCH", "blobs/DIGEST"),
    ("GET", "blobs/uploads/"),
    ("DELETE", "blobs/uploads/"),
    ("POST", "blobs/uploads/00000000000000000000000000000000"),
];

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Judge<'_> {
    /// One of these statuses, and nothing told.
    pub fn must(&mut self, what: &str, want: &[u16], reply: &Reply) {
        if !want.contains(&reply.status) {
            self.fail(what, &format!("must be one of {want:?}"), reply);
        }
        if reply.status == 401 && reply.header("www-authenticate").is_empty() {
            self.fail(what, "a 401 needs a challenge", reply);
        }
        self.no_secrets(what, what, reply);
    }

    pub fn refused(&self) -> bool {
        self.who.user == User::Refused
    }

    async fn open_routes(&mut self) {
        for (method, path, status) in OPEN {
            let reply = self.ask(&Ask::new(method, *path)).await;
            self.must(&format!("{method} {path}"), &[*status], &reply);
        }
    }

    async fn base_and_metrics(&mut self) {
        let known = self.who.user != User::Nobody || self.who.scope.is_some();
        let refused = self.refused();
        let pick = |want: u16| if refused { 401 } else { want };
        let far = |method| Ask::new(method, "/metrics").with("x-forwarded-for", "203.0.113.9");
        let metrics = match (self.who.user, &self.who.scope) {
            (User::Nobody, _) => 401,
            // A registry token never administers.
            (User::Admin, None) => 200,
            _ => 403,
        };
        let base = if known { 200 } else { 401 };
        for (ask, want) in [
            (Ask::new("GET", "/v2/"), base),
            (Ask::new("GET", "/v2"), base),
            (Ask::new("HEAD", "/v2/"), base),
            (Ask::new("POST", "/v2/"), 405),
            (Ask::new("GET", "/v2/_oci/ext/discover"), 200),
            (Ask::new("GET", "/metrics"), 200),
            (far("GET"), metrics),
            (far("HEAD"), metrics),
            (
                Ask::new("GET", "/metrics").with("forwarded", "for=203.0.113.9"),
                metrics,
            ),
        ] {
            let reply = self.ask(&ask).await;
            let what = format!("{} {} {:?}", ask.method, ask.path, ask.headers);
            self.must(&what, &[pick(want)], &reply);
            if reply.status == 200 && ask.path == "/metrics" && reply.text().contains("qkept") {
                self.fail(&what, "metrics name repositories", &reply);
            }
        }
    }

    async fn catalog(&mut self) {
        let mode = self.world.mode;
        let seen: Vec<&str> = [Spot::A, Spot::B]
            .map(Spot::name)
            .into_iter()
            .filter(|name| self.who.sees(mode, name))
            .collect();
        let may = may_catalog(mode, self.who.user) && self.who.covers("*", "catalog");
        for query in [
            "",
            "?n=1",
            "?n=0",
            "?n=1&last=team/qkept",
            "?last=teammate/a",
            "?n=x",
        ] {
            let what = format!("GET /v2/_catalog{query}");
            let reply = self
                .ask(&Ask::new("GET", format!("/v2/_catalog{query}")))
                .await;
            if !may {
                self.must(&what, &[401], &reply);
                if !reply
                    .header("www-authenticate")
                    .contains("scope=\"registry:catalog:*\"")
                {
                    self.fail(&what, "the challenge names another scope", &reply);
                }
                continue;
            }
            self.must(&what, &[if query == "?n=x" { 400 } else { 200 }], &reply);
            if reply.status == 200 {
                let last = query.split_once("last=").map_or("", |(_, last)| last);
                let after: Vec<&str> = seen.iter().copied().filter(|name| *name > last).collect();
                let limit = if query.contains("n=1") {
                    1
                } else if query.contains("n=0") {
                    0
                } else {
                    9
                };
                let page = &after[..after.len().min(limit)];
                let cut = page.len() < after.len() && limit > 0;
                if reply.json()["repositories"] != serde_json::json!(page)
                    || reply.next().is_some() != cut
                {
                    self.fail(&what, &format!("must be {page:?}, more: {cut}"), &reply);
                }
            }
        }
    }

    /// What is no route, and what has no such method: the same answer whether the repository exists or not.
    async fn strays(&mut self) {
        let malformed = MALFORMED
            .iter()
            .map(|(m, p)| (*m, (*p).to_owned(), vec![400, 404]));
        let methods = METHODS.iter().map(|(m, p)| {
            let path = format!("/v2/NAME/{}", p.replace("DIGEST", DIGEST));
            // The session's route asks who may push before it looks at the method.
            let session = p.ends_with("00");
            (
                *m,
                path,
                if session {
                    vec![401, 403, 404, 405]
                } else {
                    vec![405]
                },
            )
        });
        let history = HISTORY.iter().map(|(m, p)| {
            let path = format!("/v2/{PAST}NAME/{}", p.replace("DIGEST", DIGEST));
            (*m, path, vec![403])
        });
        let all: Vec<_> = malformed.chain(methods).chain(history).collect();
        for (method, path, mut want) in all {
            if self.refused() {
                want = vec![401];
            }
            for (here, absent) in [(Spot::A, Spot::NotA), (Spot::B, Spot::NotB)] {
                let mut shapes = Vec::new();
                for spot in [here, absent] {
                    let ask = Ask::new(method, path.replace("NAME", spot.name()));
                    let reply = self.ask(&ask).await;
                    self.must(&format!("{method} {}", ask.path), &want, &reply);
                    shapes.push((shape(&reply, &[spot.name()]), reply));
                }
                if shapes[0].0 != shapes[1].0 && !self.who.sees(self.world.mode, here.name()) {
                    let absent = shapes[1].0.clone();
                    self.fail(
                        &format!("{method} {path}"),
                        &format!("not as for {absent}"),
                        &shapes[0].1,
                    );
                }
            }
        }
    }

    async fn server(&mut self) {
        self.open_routes().await;
        self.base_and_metrics().await;
        self.catalog().await;
        self.token_service().await;
        if self.thorough() {
            self.strays().await;
        }
    }
}

/// The matrix of the server's own routes.
pub async fn server_matrix(world: &World) -> (usize, Vec<String>) {
    let (mut cells, mut failures) = (0, Vec::new());
    for who in &world.whos {
        let mut judge = Judge::new(world, who);
        judge.server().await;
        cells += judge.cells;
        failures.append(&mut judge.failures);
    }
    (cells, failures)
}
