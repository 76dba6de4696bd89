//! The authorization matrix of what is about no single repository: health, metrics, the base, the catalog, malformed
//! paths and wrong methods, and the token service.

use serde_json::Value;

use crate::authz::Judge;
use crate::authz_law::{Mode, Spot, User, everything, granted, may_catalog};
use crate::authz_tokens::claims;
use crate::authz_wire::{Ask, shape};
use crate::authz_world::World;
use crate::harness::{ADMIN, Reply};

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
    fn must(&mut self, what: &str, want: &[u16], reply: &Reply) {
        if !want.contains(&reply.status) {
            self.fail(what, &format!("must be one of {want:?}"), reply);
        }
        if reply.status == 401 && reply.header("www-authenticate").is_empty() {
            self.fail(what, "a 401 needs a challenge", reply);
        }
        self.no_secrets(what, what, reply);
    }

    fn refused(&self) -> bool {
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
                let more = page.len() < after.len() && limit > 0;
                if reply.json()["repositories"] != serde_json::json!(page)
                    || reply.next().is_some() != more
                {
                    self.fail(&what, &format!("must be {page:?}, more: {more}"), &reply);
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
        let all: Vec<_> = malformed.chain(methods).collect();
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
                if shapes[0].0 != shapes[1].0 {
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

    /// Checks a token answer: the law's grants and nothing else, for this user.
    fn token_answer(&mut self, what: &str, user: User, reply: &Reply) {
        if reply.status != 200 {
            return self.fail(what, "must be 200", reply);
        }
        let answer = reply.json();
        let claims = claims(answer["token"].as_str().unwrap());
        let name = match user {
            User::Rita => "rita",
            User::Will => "will",
            User::Admin => ADMIN.0,
            User::Rex => "rex",
            User::Nobody | User::Refused => "",
        };
        let mut access: Vec<(String, String)> = Vec::new();
        for scope in claims["access"].as_array().unwrap() {
            let words = scope["actions"].as_array().unwrap();
            access.extend(words.iter().map(|w| (text(&scope["name"]), text(w))));
        }
        let want = granted(self.world.mode, user);
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        if claims["sub"] != name || access != want || life != 300 || answer["expires_in"] != 300 {
            self.fail(
                what,
                &format!("must be for {name:?} and grant {want:?}: {claims}"),
                reply,
            );
        }
        if reply.header("cache-control") != "no-store" {
            self.fail(what, "a token must not be stored", reply);
        }
        let shown = answer["scope"].as_str().unwrap_or_default();
        if shown.split(' ').filter(|s| !s.is_empty()).count()
            != claims["access"].as_array().unwrap().len()
        {
            self.fail(what, "scope tells something else than the token", reply);
        }
    }

    async fn token_service(&mut self) {
        let scope = everything().replace(' ', "%20");
        let each: Vec<String> = everything()
            .split(' ')
            .map(|s| format!("scope={s}"))
            .collect();
        let starred = everything()
            .replace("pull,push,delete", "*")
            .replace(' ', "+");
        // A bearer token is no login: only a name and password are, or nothing at all.
        let login = !self.refused() && self.who.scope.is_none();
        for query in [
            format!("scope={scope}"),
            format!("service=127.0.0.1&account={}&scope={scope}", ADMIN.0),
            each.join("&"),
            format!("scope={starred}"),
        ] {
            let what = "GET /v2/auth";
            let reply = self
                .ask(&Ask::new("GET", format!("/v2/auth?{query}")))
                .await;
            if login {
                self.token_answer(what, self.who.user, &reply);
            } else {
                self.must(what, &[401, 429], &reply);
            }
        }
        let head = self
            .ask(&Ask::new("HEAD", format!("/v2/auth?scope={scope}")))
            .await;
        self.must("HEAD /v2/auth", if login { &[200] } else { &[401] }, &head);
        for method in ["PUT", "DELETE"] {
            let reply = self.ask(&Ask::new(method, "/v2/auth")).await;
            self.must(&format!("{method} /v2/auth"), &[405], &reply);
        }
        self.token_forms(login, &scope).await;
    }

    /// The form says who asks; credentials in the header beside it have to count, too.
    async fn token_forms(&mut self, login: bool, scope: &str) {
        let post = |form: String| {
            Ask::new("POST", "/v2/auth").body("application/x-www-form-urlencoded", form.as_bytes())
        };
        let will =
            format!("grant_type=password&username=will&password=password-of-will&scope={scope}");
        let reply = self.ask(&post(will)).await;
        if login {
            self.token_answer("POST /v2/auth with will's password", User::Will, &reply);
        } else {
            self.must("POST /v2/auth with will's password", &[401], &reply);
        }
        let refresh: Vec<(User, String)> = self.world.refresh.clone();
        for (user, token) in &refresh {
            let what = format!("POST /v2/auth with a refresh token of {user:?}");
            let form = format!("grant_type=refresh_token&refresh_token={token}&scope={scope}");
            let reply = self.ask(&post(form)).await;
            if login && *user != User::Refused {
                self.token_answer(&what, *user, &reply);
            } else {
                self.must(&what, &[401], &reply);
            }
            let elsewhere =
                format!("grant_type=refresh_token&service=registry.example&refresh_token={token}");
            let reply = self.ask(&post(elsewhere)).await;
            self.must(&format!("{what} for another service"), &[401], &reply);
        }
        for (form, want) in [
            ("grant_type=password&username=will", 400),
            ("grant_type=authorization_code&code=x", 400),
            ("", 400),
            ("grant_type=refresh_token", 401),
            ("grant_type=refresh_token&refresh_token=x.y.z", 401),
        ] {
            let reply = self.ask(&post(form.to_owned())).await;
            self.must(
                &format!("POST /v2/auth {form}"),
                &[if login { want } else { 401 }],
                &reply,
            );
        }
    }

    async fn server(&mut self) {
        self.open_routes().await;
        self.base_and_metrics().await;
        self.catalog().await;
        self.token_service().await;
        // Each costs a password hash where it is wrong, and what is told does not depend on it.
        if self.who.auth.len() < 2 {
            self.strays().await;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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

/// Tokens that the token service gives to anybody who asks must not be good for what they were not asked for.
#[tokio::test]
async fn a_token_is_for_the_service_that_it_names() {
    let world = World::build(Mode::Standalone).await;
    let admin = world.server.admin();
    let get = async |query: &str| {
        let answer = admin
            .get(&format!("/v2/auth?{query}"))
            .await
            .expect(200)
            .json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let catalog = "scope=registry:catalog:*";
    for service in [
        "registry.example",
        "dryport-refresh/127.0.0.1",
        "127.0.0.1:80",
        "localhost",
    ] {
        let token = get(&format!("service={service}&{catalog}")).await;
        world
            .server
            .bearer(&token)
            .get("/v2/_catalog")
            .await
            .expect(401);
        let form = format!("grant_type=refresh_token&refresh_token={token}&{catalog}");
        let form = form.as_bytes();
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        world
            .server
            .anonymous()
            .send("POST", "/v2/auth", &kind, form)
            .await
            .expect(401);
    }
    let token = get(catalog).await;
    world
        .server
        .bearer(&token)
        .get("/v2/_catalog")
        .await
        .expect(200);
}
