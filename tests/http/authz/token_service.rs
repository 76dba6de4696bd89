//! The authorization matrix of the token service: who gets a token for what, by GET and by POST.

use serde_json::Value;

use crate::harness::{ADMIN, Reply};
use crate::http::authz::law::{Mode, User, everything, granted};
use crate::http::authz::matrix::Judge;
use crate::http::authz::tokens::claims;
use crate::http::authz::wire::Ask;
use crate::http::authz::world::World;

impl Judge<'_> {
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

    pub async fn token_service(&mut self) {
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
                self.must(what, &[401], &reply);
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
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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
