//! Everybody who asks in the authorization matrix, and the credentials that each shows.

use std::collections::HashMap;

use serde_json::json;

use crate::harness::{ADMIN, basic, dryport, run_ok, run_with_input, text_of};
use crate::http::authz::law::{Right, Spot, User, Who, everything, granted};
use crate::http::authz::tokens::Forge;
use crate::http::authz::world::World;

/// A user's password; that of the admin is the harness's.
fn password(user: &str) -> String {
    if user == ADMIN.0 {
        ADMIN.1.to_owned()
    } else {
        format!("password-of-{user}")
    }
}

impl World {
    async fn token(&self, user: Option<&str>, scope: &str, more: &str) -> (String, String) {
        let login = user.map(|u| (u, password(u)));
        let client = self
            .server
            .client(login.as_ref().map(|(u, p)| (*u, p.as_str())));
        let path = format!("/v2/auth?scope={}{more}", scope.replace(' ', "%20"));
        let answer = client.get(&path).await.expect(200).json();
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        (text("token"), text("refresh_token"))
    }

    fn user_command(&self, what: &str, name: &str, more: &[&str], input: &str) {
        let dir = self.server.dir();
        let mut args = vec!["user", what, "--data", &dir, name];
        args.extend_from_slice(more);
        let output = run_with_input(dryport(&args), input);
        assert!(output.status.success(), "user {what}: {}", text_of(&output));
    }

    /// Makes the accounts and everybody's credentials.
    pub async fn people(&mut self) {
        for (name, role, prefix) in [
            ("rita", "reader", "team"),
            ("will", "writer", "team"),
            ("rex", "admin", ""),
            ("gone", "admin", ""),
            ("olga", "admin", ""),
        ] {
            self.server
                .add_user(name, &password(name), &["--role", role, "--on", prefix]);
        }
        let all = everything();
        let mut tokens = HashMap::new();
        for name in ["rita", "will", ADMIN.0, "rex", "gone", "olga"] {
            let more = "&offline_token=true";
            let (token, refresh) = self.token(Some(name), &all, more).await;
            // Decided and remembered while it was good.
            self.server.bearer(&token).get("/v2/").await.expect(200);
            tokens.insert(name, (token, refresh));
        }
        self.user_command("revoke", "rex", &["--on", ""], "");
        run_ok(&["user", "remove", "--data", &self.server.dir(), "gone"]);
        self.user_command(
            "passwd",
            "olga",
            &["--password-stdin"],
            "new-password-of-olga\n",
        );
        for (user, name) in [
            (User::Will, "will"),
            (User::Rex, "rex"),
            (User::Refused, "gone"),
            (User::Refused, "olga"),
        ] {
            self.refresh.push((user, tokens[name].1.clone()));
        }
        self.with_accounts(&tokens).await;
        self.with_forgeries(&tokens);
    }

    /// Everybody whose credentials count.
    async fn with_accounts(&mut self, tokens: &HashMap<&str, (String, String)>) {
        let mode = self.mode;
        let mut add = |name, user, auth: Option<String>, scope| {
            self.whos.push(Who {
                name,
                user,
                auth: auth.into_iter().collect(),
                scope,
            });
        };
        let bearer = |name: &str| Some(format!("Bearer {}", tokens[name].0));
        let login = |name: &str| Some(basic(name, &password(name)));
        add("anonymous", User::Nobody, None, None);
        add("reader of A", User::Rita, login("rita"), None);
        add("writer of A", User::Will, login("will"), None);
        add("admin", User::Admin, login(ADMIN.0), None);
        add(
            "user whose rights were revoked",
            User::Rex,
            login("rex"),
            None,
        );
        let scope = |user| Some(granted(mode, user));
        add(
            "token of a reader of A",
            User::Rita,
            bearer("rita"),
            scope(User::Rita),
        );
        add(
            "token of a writer of A",
            User::Will,
            bearer("will"),
            scope(User::Will),
        );
        add(
            "token of an admin",
            User::Admin,
            bearer(ADMIN.0),
            scope(User::Admin),
        );
        // It was issued for everything, and stays so; what its user may do is asked anew.
        let whole = || scope(User::Admin);
        add(
            "token whose rights were revoked",
            User::Rex,
            bearer("rex"),
            whole(),
        );
        let (anonymous, _) = self.token(None, &everything(), "").await;
        let narrow = format!("repository:{}:pull,push", Spot::A.name());
        let (narrow, _) = self.token(Some(ADMIN.0), &narrow, "").await;
        let (empty, _) = self.token(Some(ADMIN.0), "", "").await;
        let forge = Forge::of(&self.server, &tokens["rita"].0);
        let access = crate::http::authz::tokens::claims(&tokens[ADMIN.0].0)["access"].clone();
        let wide = forge.sign(&json!({"access": access}));
        let mut add = |name, user, token: &str, scope| {
            let auth = vec![format!("Bearer {token}")];
            self.whos.push(Who {
                name,
                user,
                auth,
                scope: Some(scope),
            });
        };
        let on_a =
            [Right::Pull, Right::Push].map(|r| (Spot::A.name().to_owned(), r.word().to_owned()));
        add(
            "anonymous token",
            User::Nobody,
            &anonymous,
            granted(mode, User::Nobody),
        );
        add(
            "admin's token for A alone",
            User::Admin,
            &narrow,
            on_a.to_vec(),
        );
        add("admin's token for nothing", User::Admin, &empty, Vec::new());
        add(
            "reader's token with more than the reader has",
            User::Rita,
            &wide,
            granted(mode, User::Admin),
        );
    }

    /// Everybody whose credentials do not count: all were an admin's, or say so.
    fn with_forgeries(&mut self, tokens: &HashMap<&str, (String, String)>) {
        let refused = |name, auth| Who {
            name,
            user: User::Refused,
            auth,
            scope: None,
        };
        let bearer = |token: &str| vec![format!("Bearer {token}")];
        let forge = Forge::of(&self.server, &tokens[ADMIN.0].0);
        for (name, token) in forge.bad() {
            self.whos.push(refused(name, bearer(&token)));
        }
        let first = basic(ADMIN.0, ADMIN.1);
        self.whos.extend([
            refused("token of a removed user", bearer(&tokens["gone"].0)),
            refused(
                "token from before a new password",
                bearer(&tokens["olga"].0),
            ),
            refused("refresh token as a token", bearer(&tokens[ADMIN.0].1)),
            refused("no token at all", vec!["Bearer ".into()]),
            refused("another scheme", vec![first.replace("Basic", "Digest")]),
            refused("password that is not base64", vec!["Basic !!!!".into()]),
            // Each costs a password hash: they take turns, so that every cell meets one of them.
            refused(
                "wrong password",
                vec![
                    basic(ADMIN.0, "a-wrong-password"),
                    basic("nobody-ever", ADMIN.1),
                    basic("gone", &password("gone")),
                    basic("olga", &password("olga")),
                    basic(ADMIN.0, ""),
                    basic("", ""),
                ],
            ),
        ]);
    }
}
