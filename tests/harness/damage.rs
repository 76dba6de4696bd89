//! A data directory with some of everything, and the tools to damage copies of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dryport::repo::rows::keys;
use dryport::store::record::Record;
use dryport::store::{Get, Lane, Need, Store, StoreOptions, Table, Txn};
use dryport::types::{Digest, RepoId, Rev};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::{Client, SOON, Server, run, text_of};

/// What there is to damage; `dir` is never touched, copies are.
pub struct World {
    _home: TempDir,
    dir: PathBuf,
    /// The image of team/app:v1.
    pub image: Digest,
    /// Its placed layer and its inline configuration.
    pub layer: Digest,
    pub config: Digest,
    /// The index team/app:multi and one of its manifests.
    pub index: Digest,
    pub child: Digest,
    /// A manifest that refers to the image.
    pub referrer: Digest,
    /// A manifest without a tag.
    pub untagged: Digest,
    /// A manifest whose bytes are a file.
    pub long: Digest,
    /// A blob that nothing needs.
    pub orphan: Digest,
    /// A blob that was pushed and is not used yet; its bytes are in two rows.
    pub loose: Digest,
    /// The manifest that tag `old` meant before it was deleted.
    pub old: Digest,
    /// An unfinished upload: its id.
    pub upload: String,
}

fn digest(bytes: &[u8]) -> Digest {
    sha256(bytes).parse().unwrap()
}

static WORLD: OnceCell<World> = OnceCell::const_new();

pub async fn world() -> &'static World {
    WORLD.get_or_init(make).await
}

async fn index(client: &Client, repo: &str) -> (Digest, Digest) {
    let (mut children, mut last) = (Vec::new(), Vec::new());
    for seed in [11, 12] {
        let bytes = push_image(client, repo, "scratch", seed).await;
        children.push(descriptor(OCI_MANIFEST, &bytes));
        last = bytes;
    }
    client
        .delete(&format!("/v2/{repo}/manifests/scratch"))
        .await
        .expect(202);
    let absent = descriptor(OCI_MANIFEST, b"this platform was never pushed");
    children.push(absent);
    let bytes =
        bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}));
    put_manifest(client, repo, "multi", OCI_INDEX, &bytes).await;
    (digest(&bytes), digest(&last))
}

async fn make() -> World {
    // Nobody drops what is static: the next run clears it up.
    let top = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(top).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("damage-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let home = tempfile::Builder::new()
        .prefix("damage-")
        .tempdir_in(top)
        .unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_CHECK__EVERY", "0s"),
    ];
    let mut server = Server::serve(home, &[], &env).await;
    let admin = server.admin();
    let (layer, config) = (noise(1, 150_000), b"{\"os\":\"linux\"}".to_vec());
    for repo in ["team/app", "other"] {
        push_blob(&admin, repo, &layer).await;
        push_blob(&admin, repo, &config).await;
    }
    let image_bytes = bytes_of(&image(&config, &[&layer]));
    put_manifest(&admin, "team/app", "v1", OCI_MANIFEST, &image_bytes).await;
    put_manifest(&admin, "other", "v1", OCI_MANIFEST, &image_bytes).await;
    push_image(&admin, "team/app", "v2", 2).await;
    push_image(&admin, "team/app", "v2", 3).await;
    let old = push_image(&admin, "team/app", "old", 4).await;
    admin
        .delete(&format!("/v2/team/app/manifests/{}", sha256(&old)))
        .await
        .expect(202);
    let (index, child) = index(&admin, "team/app").await;
    push_blob(&admin, "team/app", b"{}").await;
    let subject = descriptor(OCI_MANIFEST, &image_bytes);
    let referrer = bytes_of(&artifact(&subject, "application/x.sbom", "of v1"));
    put_manifest(
        &admin,
        "team/app",
        &sha256(&referrer),
        OCI_MANIFEST,
        &referrer,
    )
    .await;
    let mut untagged = image(&config, &[]);
    untagged["annotations"] = json!({"for": "nobody"});
    let untagged = bytes_of(&untagged);
    put_manifest(
        &admin,
        "team/app",
        &sha256(&untagged),
        OCI_MANIFEST,
        &untagged,
    )
    .await;
    let mut long = image(&config, &[&layer]);
    long["annotations"] = json!({"text": "x".repeat(200_000)});
    let long = bytes_of(&long);
    put_manifest(&admin, "team/app", "long", OCI_MANIFEST, &long).await;
    let orphan = noise(7, 90_000);
    let loose = noise(8, 9000);
    push_blob(&admin, "other", &orphan).await;
    push_blob(&admin, "other", &loose).await;
    admin
        .delete(&format!("/v2/other/blobs/{}", sha256(&orphan)))
        .await
        .expect(202);
    push_image(&admin, "gone", "v1", 9).await;
    let dir = server.dir();
    crate::harness::run_ok(&["repo", "delete", "--data", &dir, "gone"]);
    crate::harness::run_ok(&["quota", "set", "--data", &dir, "team", "1GiB"]);
    let at = admin.post("/v2/other/blobs/uploads/").await.expect(202);
    let octets = [("content-type", "application/octet-stream")];
    let at = admin
        .send("PATCH", &at.location(), &octets, &noise(9, 700_000))
        .await
        .expect(202)
        .location();
    let upload = at.split('?').next().unwrap().rsplit('/').next().unwrap();
    let upload = upload.to_owned();
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
    let home = server.into_home();
    World {
        dir: home.path().join("data"),
        _home: home,
        image: digest(&image_bytes),
        layer: digest(&layer),
        config: digest(&config),
        index,
        child,
        referrer: digest(&referrer),
        untagged: digest(&untagged),
        long: digest(&long),
        orphan: digest(&orphan),
        loose: digest(&loose),
        old: digest(&old),
        upload,
    }
}

/// A copy of the world's data directory.
pub struct Copy {
    home: TempDir,
}

impl Copy {
    pub fn of(world: &World) -> Self {
        let home = tempfile::tempdir().unwrap();
        let done = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(&world.dir)
            .arg(home.path())
            .status();
        assert!(done.unwrap().success());
        Self { home }
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub fn rows(&self) -> Rows {
        Rows::open(&self.dir())
    }

    /// `dryport check --json` with more arguments; gives its exit code and its report.
    pub fn check(&self, more: &[&str]) -> (i32, Value) {
        check(&self.dir(), more)
    }

    /// The content files of a digest.
    pub fn files(&self, digest: &Digest) -> Vec<PathBuf> {
        let hex = digest.hex();
        let folder = self.dir().join("blobs/sha256").join(&hex[..2]);
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(&hex))
            .collect();
        files.sort();
        files
    }

    pub fn file(&self, digest: &Digest) -> PathBuf {
        self.files(digest).pop().expect("a content file")
    }
}

pub fn check(dir: &Path, more: &[&str]) -> (i32, Value) {
    let mut args = vec!["check", "--data", dir.to_str().unwrap(), "--json"];
    args.extend_from_slice(more);
    let output = run(&args);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text_of(&output)));
    (output.status.code().unwrap(), report)
}

/// The kinds that a report lists, in order.
pub fn kinds(report: &Value) -> Vec<String> {
    let mut kinds: Vec<String> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds
}

/// The rows of a data directory that no server has open.
pub struct Rows(Store);

impl Rows {
    pub fn open(dir: &Path) -> Self {
        let options = StoreOptions {
            dir: dir.to_owned(),
            cache_bytes: 8 << 20,
            slow: Duration::from_secs(10),
            holder: "test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 1 << 20,
            upgrade_without_copy: false,
        };
        Self(Store::open(options).unwrap())
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.0.read(|r| r.get(table, key)).unwrap()
    }

    pub fn all(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0
            .read(|r| r.scan(table, &[], &[], usize::MAX))
            .unwrap()
    }

    pub fn put(&self, table: Table, key: &[u8], value: &[u8]) {
        let (key, value) = (key.to_vec(), value.to_vec());
        self.0
            .write_blocking(Lane::Request, Need::Grows, "test", move |tx| {
                tx.put(table, &key, &value)
            })
            .unwrap();
    }

    /// Puts many rows.
    pub fn put_all(&self, rows: &[(Table, Vec<u8>, Vec<u8>)]) {
        for some in rows.chunks(4000) {
            let some = some.to_vec();
            let put = move |tx: &mut Txn<'_>| {
                some.iter()
                    .try_for_each(|(table, key, value)| tx.put(*table, key, value))
            };
            self.0
                .write_blocking(Lane::Request, Need::Grows, "test", put)
                .unwrap();
        }
    }

    pub fn append(&self, value: &[u8]) {
        let value = value.to_vec();
        self.0
            .write_blocking(Lane::Request, Need::Grows, "test", move |tx| {
                tx.append(&value)
            })
            .unwrap();
    }

    /// Drops a row that must be there.
    pub fn drop_row(&self, table: Table, key: &[u8]) {
        assert!(self.get(table, key).is_some(), "no row to drop");
        let key = key.to_vec();
        self.0
            .write_blocking(Lane::Request, Need::Grows, "test", move |tx| {
                tx.delete(table, &key)
            })
            .unwrap();
    }

    /// The one row of a table whose key has all of these pieces.
    pub fn key_with(&self, table: Table, pieces: &[&[u8]]) -> Vec<u8> {
        let has = |key: &[u8], piece: &[u8]| key.windows(piece.len()).any(|w| w == piece);
        let rows = self.all(table).into_iter().map(|(key, _)| key);
        let mut found: Vec<_> = rows
            .filter(|key| pieces.iter().all(|p| has(key, p)))
            .collect();
        assert_eq!(found.len(), 1, "{} rows of {table:?}", found.len());
        found.remove(0)
    }

    /// Changes a record in place.
    pub fn edit<R: Record>(&self, table: Table, key: &[u8], change: impl FnOnce(&mut R)) {
        let mut record = R::from_bytes(&self.get(table, key).expect("a row")).unwrap();
        change(&mut record);
        self.put(table, key, &record.to_bytes().unwrap());
    }

    pub fn repo(&self, name: &str) -> RepoId {
        let id = self.get(Table::Names, &keys::name(name)).expect("a name");
        RepoId(u64::from_be_bytes(id.try_into().unwrap()))
    }

    /// The revision that added a live item.
    pub fn added(&self, id: RepoId, name: &keys::Name<'_>) -> Rev {
        let (from, _) = keys::item_rows(id, name, false).range();
        let rows = self.all(Table::Items);
        let key = rows.iter().find(|(key, _)| key.starts_with(&from));
        keys::added_of_item(&key.expect("an item").0).unwrap()
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.0.close();
    }
}
