//! The server, the content and the people of the authorization matrix.

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::json;

use crate::authz_law::{Mode, Right, Spot, User, Who, everything, granted};
use crate::authz_tokens::Forge;
use crate::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, put_manifest,
    sha256,
};
use crate::harness::{ADMIN, Client, Server, dryport, run_ok, run_with_input, text_of};

/// What one repository holds, or for `Item::Nowhere` might.
pub struct Goods {
    pub manifest: Vec<u8>,
    config: Vec<u8>,
    pub layer: Vec<u8>,
    /// A blob of no manifest.
    pub loose: Vec<u8>,
    /// A signature of the manifest.
    pub signature: Vec<u8>,
    /// A tag that no other repository has.
    pub tag: String,
    /// Text that stands in its content, and every digest in it without the algorithm.
    pub secrets: Vec<String>,
}

/// Where content is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    InA,
    InB,
    Nowhere,
}

impl Item {
    pub const ALL: [Self; 3] = [Self::InA, Self::InB, Self::Nowhere];

    pub fn is_in(self, spot: Spot) -> bool {
        matches!((self, spot), (Self::InA, Spot::A) | (Self::InB, Spot::B))
    }

    /// The repository that holds it.
    pub fn home(self) -> Option<Spot> {
        match self {
            Self::InA => Some(Spot::A),
            Self::InB => Some(Spot::B),
            Self::Nowhere => None,
        }
    }
}

impl Goods {
    fn new(letter: char) -> Self {
        let seed = u64::from(letter);
        let config =
            format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"note\":\"{letter}-config\"}}");
        // Above the size that lies in the database, so that it is read from a file.
        let (layer, loose) = (noise(seed, 9001), noise(seed + 100, 700));
        let mut document = image(config.as_bytes(), &[&layer]);
        document["annotations"] = json!({"note": format!("{letter}-annotation")});
        let manifest = bytes_of(&document);
        let note = format!("{letter}-signature");
        let subject = descriptor(OCI_MANIFEST, &manifest);
        let signature = bytes_of(&artifact(&subject, "application/vnd.authz.note", &note));
        let tag = format!("{letter}-only");
        let mut secrets = vec![
            note,
            tag.clone(),
            format!("{letter}-annotation"),
            format!("{letter}-config"),
        ];
        let digests = [config.as_bytes(), &layer, &loose, &manifest, &signature];
        secrets.extend(digests.map(|bytes| sha256(bytes)["sha256:".len()..].to_owned()));
        let config = config.into_bytes();
        Self {
            manifest,
            config,
            layer,
            loose,
            signature,
            tag,
            secrets,
        }
    }
}

pub struct World {
    pub mode: Mode,
    pub server: Server,
    pub admin: Client,
    goods: HashMap<Item, Goods>,
    pub whos: Vec<Who>,
    /// Refresh tokens: of will, of rex, of a user that was removed, of one whose password changed.
    pub refresh: Vec<(User, String)>,
    /// Uploads that the admin began, with a few bytes in them.
    pub sessions: HashMap<Spot, String>,
}

fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

/// A user's password; that of the admin is the harness's.
fn password(user: &str) -> String {
    if user == ADMIN.0 {
        ADMIN.1.to_owned()
    } else {
        format!("password-of-{user}")
    }
}

impl World {
    pub async fn build(mode: Mode) -> Self {
        let preset = match mode {
            Mode::Mirror => "mirror",
            Mode::Standalone => "standalone",
        };
        let server = Server::start_with(&["--mode", preset], &[]).await;
        let goods = [(Item::InA, 'p'), (Item::InB, 'q'), (Item::Nowhere, 'r')];
        let mut world = Self {
            mode,
            admin: server.admin(),
            server,
            goods: goods
                .map(|(item, letter)| (item, Goods::new(letter)))
                .into(),
            whos: Vec::new(),
            refresh: Vec::new(),
            sessions: HashMap::new(),
        };
        for spot in [Spot::A, Spot::B] {
            world.fill(spot).await;
            let id = world.session(spot).await;
            let path = format!("/v2/{}/blobs/uploads/{id}", spot.name());
            world
                .admin
                .send("PATCH", &path, &[], b"bytes")
                .await
                .expect(202);
            world.sessions.insert(spot, id);
        }
        world.people().await;
        world
    }

    pub fn goods(&self, item: Item) -> &Goods {
        &self.goods[&item]
    }

    fn held(&self, spot: Spot) -> &Goods {
        self.goods(if spot == Spot::A {
            Item::InA
        } else {
            Item::InB
        })
    }

    /// Pushes all that a repository holds, again if it is there.
    pub async fn fill(&self, spot: Spot) {
        let (goods, repo) = (self.held(spot), spot.name());
        for blob in [&goods.config[..], &goods.layer, &goods.loose, b"{}"] {
            push_blob(&self.admin, repo, blob).await;
        }
        put_manifest(&self.admin, repo, "v1", OCI_MANIFEST, &goods.manifest).await;
        put_manifest(&self.admin, repo, &goods.tag, OCI_MANIFEST, &goods.manifest).await;
        let digest = sha256(&goods.signature);
        put_manifest(&self.admin, repo, &digest, OCI_MANIFEST, &goods.signature).await;
    }

    /// A new upload of the admin's.
    pub async fn session(&self, spot: Spot) -> String {
        let start = format!("/v2/{}/blobs/uploads/", spot.name());
        let reply = self.admin.post(&start).await.expect(202);
        reply.header("docker-upload-uuid").to_owned()
    }

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

    async fn people(&mut self) {
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
        let access = crate::authz_tokens::claims(&tokens[ADMIN.0].0)["access"].clone();
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

    /// All that a client can find out about both repositories and the catalog, to see that nothing was changed.
    pub async fn state(&self) -> String {
        let mut out = self.admin.get("/v2/_catalog").await.text();
        for spot in [Spot::A, Spot::B] {
            let (repo, goods) = (spot.name(), self.held(spot));
            out += &self
                .admin
                .get(&format!("/v2/{repo}/tags/list"))
                .await
                .text();
            let manifest = sha256(&goods.manifest);
            for path in [
                "manifests/v1".to_owned(),
                format!("manifests/{}", goods.tag),
                format!("referrers/{manifest}"),
            ] {
                out += &self.admin.get(&format!("/v2/{repo}/{path}")).await.text();
            }
            for item in Item::ALL {
                let goods = self.goods(item);
                for blob in [&goods.layer, &goods.loose] {
                    let path = format!("/v2/{repo}/blobs/{}", sha256(blob));
                    out += &format!(" {}", self.admin.head(&path).await.status);
                }
                for manifest in [&goods.manifest, &goods.signature] {
                    let path = format!("/v2/{repo}/manifests/{}", sha256(manifest));
                    out += &format!(" {}", self.admin.head(&path).await.status);
                }
            }
            let path = format!("/v2/{repo}/blobs/uploads/{}", self.sessions[&spot]);
            let reply = self.admin.get(&path).await;
            out += &format!(" upload {} {}", reply.status, reply.header("range"));
        }
        out
    }

    /// An index that names the item's manifest, and an image that has the item's layer.
    pub fn naming(&self, item: Item) -> [(&'static str, Vec<u8>); 2] {
        let goods = self.goods(item);
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [descriptor(OCI_MANIFEST, &goods.manifest)],
        });
        [
            (OCI_INDEX, bytes_of(&index)),
            (OCI_MANIFEST, bytes_of(&image(b"{}", &[&goods.layer]))),
        ]
    }
}
