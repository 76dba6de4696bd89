//! The server, the content and the people of the authorization matrix.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, put_manifest,
    sha256,
};
use crate::harness::{Client, Server};
use crate::http::authz::law::{Mode, Spot, User, Who};

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
                    let _ = write!(out, " {}", self.admin.head(&path).await.status);
                }
                for manifest in [&goods.manifest, &goods.signature] {
                    let path = format!("/v2/{repo}/manifests/{}", sha256(manifest));
                    let _ = write!(out, " {}", self.admin.head(&path).await.status);
                }
            }
            let path = format!("/v2/{repo}/blobs/uploads/{}", self.sessions[&spot]);
            let reply = self.admin.get(&path).await;
            let _ = write!(out, " upload {} {}", reply.status, reply.header("range"));
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
