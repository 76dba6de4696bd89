//! The hot inner functions, alone: what a request costs before and after its system calls.
//!
//! ```text
//! cargo bench --bench inner                   all of them
//! cargo bench --bench inner -- parse          those with this in their name
//! ```
//!
//! What is async runs on a runtime of one thread, whose own cost (well below a microsecond; a hop to a thread and back
//! where the store is read) is in the figure. `DRYPORT_BENCH_DIR` says where the store of `store` and `repo` lies.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench fails by panicking
#![allow(clippy::disallowed_methods)] // its files are its own

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use dryport::auth::{
    Action, Auth, AuthOptions, Grant, Principal, Resource, Role, RoleGrant, Scope, UserName,
};
use dryport::blobs::{BlobOptions, Blobs};
use dryport::formats::oci::Oci;
use dryport::http::OciRoute;
use dryport::repo::format::Format as _;
use dryport::repo::rows::record::{ItemRecord, SourceRecord};
use dryport::repo::{At, PutManifest, RepoOptions, Repos, Source};
use dryport::store::record::Record as _;
use dryport::store::{Get as _, Lane, Need, Store, StoreError, StoreOptions, Table};
use dryport::types::{Algorithm, ByteRanges, Digest, PageRequest, Reference, RepoName};

/// As in the program.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const DIGEST: &str = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";
const NAME: &str = "team/project/application";

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_digest() -> Digest {
    black_box(DIGEST).parse().unwrap()
}

#[divan::bench(args = ["v1.2.3-alpine", DIGEST])]
fn parse_reference(text: &str) -> Reference {
    black_box(text).parse().unwrap()
}

#[divan::bench(args = ["manifest", "blob", "tags"])]
fn parse_route(bencher: Bencher, what: &str) {
    let path = match what {
        "manifest" => format!("/v2/{NAME}/manifests/v1.2.3"),
        "blob" => format!("/v2/{NAME}/blobs/{DIGEST}"),
        _ => format!("/v2/{NAME}/tags/list"),
    };
    bencher.bench_local(|| OciRoute::parse(black_box(&path)).unwrap());
}

#[divan::bench(args = ["bytes=0-1023", "bytes=0-99,200-299,-500"])]
fn parse_range(header: &str) -> usize {
    let ranges = ByteRanges::parse(black_box(header)).unwrap();
    ranges.within(1 << 30).len()
}

fn image(layers: u64) -> Vec<u8> {
    let digest = |n: u64| Digest::of(Algorithm::Sha256, &n.to_be_bytes()).to_string();
    let all: Vec<_> = (1..=layers)
        .map(|n| {
            serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(n), "size": 1000 * n})
        })
        .collect();
    let config = serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest(0), "size": 7000});
    let manifest = serde_json::json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": all});
    serde_json::to_vec(&manifest).unwrap()
}

#[divan::bench(args = [5, 30])]
fn parse_manifest(bencher: Bencher, layers: u64) {
    let bytes = image(layers);
    bencher.bench_local(|| Oci.inspect(black_box(&bytes), None).unwrap());
}

fn item() -> ItemRecord {
    ItemRecord {
        removed: u64::MAX,
        target: DIGEST.parse::<Digest>().unwrap().as_key().to_vec(),
        size: 1234,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        source: SourceRecord::Push("somebody".into()),
        at_ms: 1_750_000_000_000,
        own: Vec::new(),
        artifact_type: String::new(),
    }
}

#[divan::bench]
fn record_encode(bencher: Bencher) {
    let item = item();
    bencher.bench_local(|| black_box(&item).to_bytes().unwrap());
}

#[divan::bench]
fn record_decode(bencher: Bencher) {
    let bytes = item().to_bytes().unwrap();
    bencher.bench_local(|| ItemRecord::from_bytes(black_box(&bytes)).unwrap());
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn sha256(bencher: Bencher, size: usize) {
    let bytes = vec![7; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| Digest::of(Algorithm::Sha256, black_box(&bytes)));
}

/// A store and what is above it; gone with the value.
struct World {
    runtime: tokio::runtime::Runtime,
    store: Store,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let dir = match std::env::var_os("DRYPORT_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(dir).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let store = Store::open(StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 64 << 20,
            slow: Duration::from_mins(1),
            holder: "bench".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 2 << 20,
            upgrade_without_copy: false,
        });
        Self {
            runtime: runtime.unwrap(),
            store: store.unwrap(),
            dir,
        }
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn auth(&self) -> Auth {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let options = AuthOptions {
            anonymous_pull: false,
            anonymous_push: false,
            signing_keys: vec![key.serialize_pem()],
            token_seconds: 3600,
        };
        let auth = Auth::open(self.store.clone(), options).unwrap();
        let grants = ["team", "other", "third/deep"].map(|prefix| RoleGrant {
            role: Role::Writer,
            prefix: prefix.into(),
        });
        self.wait(auth.add(&user(), "password", grants.into()))
            .unwrap();
        auth
    }

    fn token(&self, auth: &Auth) -> String {
        let scopes = Scope::parse(&format!("repository:{NAME}:pull,push")).unwrap();
        let who = Principal::User(Arc::new(user()));
        self.wait(auth.issue(&who, "bench", &scopes)).unwrap().token
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.store.close();
    }
}

fn user() -> UserName {
    "ann".parse().unwrap()
}

#[divan::bench]
fn authorize(bencher: Bencher) {
    let world = World::new();
    let auth = world.auth();
    let grant = Grant::whole(Principal::User(Arc::new(user())));
    let name: RepoName = NAME.parse().unwrap();
    let decide = || {
        let decision = auth.authorize(&grant, Action::RepoPull, Resource::Repo(&name));
        assert!(world.wait(decision).unwrap());
    };
    // The first one reads the account.
    decide();
    bencher.bench_local(decide);
}

#[divan::bench]
fn token_seen_before(bencher: Bencher) {
    let world = World::new();
    let auth = world.auth();
    let token = world.token(&auth);
    bencher.bench_local(|| world.wait(auth.bearer(black_box(&token), "bench")).unwrap());
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn token_new(bencher: Bencher) {
    let world = World::new();
    let auth = world.auth();
    bencher
        .with_inputs(|| world.token(&auth))
        .bench_local_values(|token| world.wait(auth.bearer(&token, "bench")).unwrap());
}

#[divan::bench]
fn token_issue(bencher: Bencher) {
    let world = World::new();
    let auth = world.auth();
    bencher.bench_local(|| world.token(&auth));
}

#[divan::bench]
fn store_point_read(bencher: Bencher) {
    let world = World::new();
    let key = |n: u64| Digest::of(Algorithm::Sha256, &n.to_be_bytes());
    for from in (0..10_000).step_by(2000) {
        let filled: Result<(), StoreError> =
            world
                .store
                .write_blocking(Lane::Background, Need::Grows, "fill", move |tx| {
                    (from..from + 2000)
                        .try_for_each(|n| tx.put(Table::Blobs, key(n).as_key(), &[7; 80]))
                });
        filled.unwrap();
    }
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7919) % 10_000;
        let wanted = key(n);
        let row = world.store.read(|r| r.get(Table::Blobs, wanted.as_key()));
        row.unwrap().unwrap()
    });
}

fn repos(world: &World, dir: &Path, tags: u64) -> (Repos, RepoName) {
    let blobs = Blobs::open(BlobOptions {
        dir: dir.to_owned(),
        reserve_bytes: 0,
        owed_bytes: std::sync::Arc::default(),
        inline_max: 64 << 10,
    });
    let options = RepoOptions {
        lease: Duration::from_hours(1),
        keep: Duration::ZERO,
        upload_idle: Duration::from_hours(1),
        manifest_max: 4 << 20,
        uploads_max: 1000,
        upload_memory: 48 << 20,
        strict: false,
        cache_bytes: 64 << 20,
        format: &Oci,
    };
    let repos = Repos::open(world.store.clone(), blobs.unwrap(), options).unwrap();
    let name: RepoName = NAME.parse().unwrap();
    for n in 0..tags.div_ceil(500) {
        let more = (n * 500..tags.min((n + 1) * 500)).map(|t| format!("t{t:06}").parse().unwrap());
        let put = PutManifest {
            bytes: Bytes::from(image(5)),
            media_type: None,
            reference: "v1".parse().unwrap(),
            tags: more.collect(),
            source: Source::Push { by: "bench".into() },
        };
        world.wait(repos.put_manifest(&name, put, ())).unwrap();
    }
    (repos, name)
}

#[divan::bench(args = [1000, 20_000])]
fn repo_page_of_100_tags(bencher: Bencher, tags: u64) {
    let world = World::new();
    let (repos, name) = repos(&world, world.dir.path(), tags);
    let page = PageRequest::parse(Some("100"), Some("t000500")).unwrap();
    bencher.bench_local(|| world.wait(repos.tags(&name, &At::Head, &page)).unwrap());
}

#[divan::bench]
fn repo_manifest_by_tag(bencher: Bencher) {
    let world = World::new();
    let (repos, name) = repos(&world, world.dir.path(), 10);
    let tag: Reference = "v1".parse().unwrap();
    bencher.bench_local(|| world.wait(repos.manifest(&name, &At::Head, &tag)).unwrap());
}
