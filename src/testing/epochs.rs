//! Every sort of answer that the repositories keep in memory, and a change that commits while it is read: it is put in after it
//! was ended, and must not count.

use crate::blobs::{BlobOptions, Blobs};
use crate::gc::{Collector, GcOptions};
use crate::repo::{
    At, NewFile, NewSnapshot, PutManifest, RepoError, RepoOptions, Repos, Source, Tree, When,
};
use crate::store::{Store, StoreOptions};
use crate::types::{Algorithm, Digest, Kind, Reference, RepoName, Tag, Title};
use bytes::Bytes;
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

const DAY: Duration = Duration::from_hours(24);

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    repos: Repos,
}

impl World {
    fn open(lease: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 1 << 20,
            slow: Duration::from_hours(1),
            holder: "a test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 64 << 10,
            upgrade_without_copy: false,
        });
        let blobs = Blobs::open(BlobOptions {
            dir: dir.path().to_owned(),
            reserve_bytes: 0,
            owed_bytes: Arc::default(),
            inline_max: 16 << 10,
        });
        let options = RepoOptions {
            lease,
            keep: DAY,
            upload_idle: DAY,
            manifest_max: 4 << 20,
            uploads_max: 1000,
            upload_memory: 48 << 20,
            strict: false,
            cache_bytes: 1 << 20,
            format: &crate::formats::oci::Oci,
        };
        let store = store.unwrap();
        let repos = Repos::open(store.clone(), blobs.unwrap(), options).unwrap();
        Self {
            _dir: dir,
            store,
            repos,
        }
    }
}

/// Has `change` commit in the middle of each read that `ask` does, one after the other, and then asks for the `truth`; at last
/// between both.
async fn race(
    lease: Duration,
    prepare: impl AsyncFn(&Repos),
    ask: impl AsyncFn(&Repos),
    change: impl AsyncFn(&Repos) + Copy + Send + 'static,
    truth: impl AsyncFn(&Repos),
) {
    for passed in 0.. {
        let world = World::open(lease);
        prepare(&world.repos).await;
        let (repos, runtime) = (world.repos.clone(), Handle::current());
        let amid = move || runtime.block_on(change(&repos));
        world.store.amid_read(passed, amid);
        ask(&world.repos).await;
        let is_over = world.store.take_amid();
        assert!(!is_over || passed > 0, "it reads nothing");
        assert!(passed < 20, "no end of reads");
        if is_over {
            change(&world.repos).await;
        }
        truth(&world.repos).await;
        world.repos.close().await;
        world.store.close();
        if is_over {
            return;
        }
    }
}

fn app() -> RepoName {
    "team/app".parse().unwrap()
}

fn tag() -> Tag {
    "t".parse().unwrap()
}

fn image(n: u64) -> Bytes {
    let config = Digest::of(Algorithm::Sha256, b"{}");
    let json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": 2},
        "layers": [],
        "annotations": {"n": n.to_string()},
    });
    json.to_string().into()
}

fn of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

async fn push(repos: &Repos, n: u64) {
    let put = PutManifest {
        bytes: image(n),
        media_type: None,
        reference: Reference::Tag(tag()),
        tags: Vec::new(),
        source: Source::Push { by: "ann".into() },
    };
    repos.put_manifest(&app(), put, ()).await.unwrap();
}

/// The manifest that the tag means as of then.
async fn pulled(repos: &Repos, at: &At) -> Option<Digest> {
    match repos.manifest(&app(), at, &Reference::Tag(tag())).await {
        Ok(manifest) => Some(manifest.blob.digest),
        Err(error) => {
            assert!(!matches!(error, RepoError::Store(_)), "{error}");
            None
        }
    }
}

async fn push_blob(repos: &Repos, bytes: &'static [u8]) -> Result<(), RepoError> {
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(bytes))]);
    let len = Some(bytes.len() as u64);
    repos.push_blob(&app(), "ann", len, body, &of(bytes)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest() {
    let first = async |repos: &Repos| push(repos, 1).await;
    let ask = async |repos: &Repos| {
        pulled(repos, &At::Head).await;
    };
    let none = async |repos: &Repos| assert_eq!(pulled(repos, &At::Head).await, None);
    let second = async |repos: &Repos| {
        assert_eq!(pulled(repos, &At::Head).await, Some(of(&image(2))));
    };
    race(DAY, first, ask, async |repos| push(repos, 2).await, second).await;
    let delete = async |repos: &Repos| repos.delete_tag(&app(), &tag(), "ann").await.unwrap();
    race(DAY, first, ask, delete, none).await;
    let delete = async |repos: &Repos| {
        let (name, digest) = (app(), of(&image(1)));
        let deleted = repos.delete_manifest(&name, &digest, "ann", None);
        deleted.await.unwrap();
    };
    race(DAY, first, ask, delete, none).await;
    let delete = async |repos: &Repos| {
        repos.delete(&app(), "ann", false).await.unwrap();
    };
    race(DAY, first, ask, delete, none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob() {
    let prepare = async |repos: &Repos| push_blob(repos, b"a blob").await.unwrap();
    let digest = of(b"a blob");
    let head = async |repos: &Repos| drop(repos.blob_size(&app(), &At::Head, &digest).await);
    let get = async |repos: &Repos| drop(repos.blob(&app(), &At::Head, &digest).await);
    let none = async |repos: &Repos| {
        let size = repos.blob_size(&app(), &At::Head, &digest).await;
        assert!(matches!(size, Err(RepoError::BlobUnknown(_))), "{size:?}");
        let blob = repos.blob(&app(), &At::Head, &digest).await;
        assert!(matches!(blob, Err(RepoError::BlobUnknown(_))));
    };
    let delete = async |repos: &Repos| {
        let (name, digest) = (app(), of(b"a blob"));
        let deleted = repos.delete_blob(&name, &digest, None);
        deleted.await.unwrap();
    };
    race(DAY, prepare, head, delete, none).await;
    race(DAY, prepare, get, delete, none).await;
    // No row of the feed tells of what the collector drops.
    let sweep = async |repos: &Repos| {
        let options = GcOptions {
            interval: Duration::ZERO,
            files_per_second: 0,
        };
        let collector = Collector::new(repos.clone(), options);
        // Running time must have passed the lease.
        tokio::time::sleep(Duration::from_millis(5)).await;
        collector.sweep(true).await.unwrap();
    };
    race(Duration::ZERO, prepare, get, sweep, none).await;
}

async fn put_file(repos: &Repos, bytes: &'static [u8]) {
    let new = NewFile {
        path: "a/b".parse().unwrap(),
        when: When::Always,
        digest: None,
        who: "ann".into(),
        owner: "ann".into(),
    };
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(bytes))]);
    repos.put_file(&app(), new, None, body).await.unwrap();
}

async fn file(repos: &Repos) -> Option<Digest> {
    let tree = Tree {
        name: app(),
        at: At::Head,
        path: "a/b".into(),
        is_bare: false,
    };
    match repos.file(&tree).await {
        Ok(file) => Some(file.blob.digest),
        Err(error) => {
            assert!(matches!(error, RepoError::PathUnknown(_)), "{error}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file() {
    let prepare = async |repos: &Repos| {
        repos.create(&app(), Kind::File, "ann").await.unwrap();
        put_file(repos, b"one").await;
    };
    let ask = async |repos: &Repos| {
        file(repos).await;
    };
    let second = async |repos: &Repos| assert_eq!(file(repos).await, Some(of(b"two")));
    let put = async |repos: &Repos| put_file(repos, b"two").await;
    race(DAY, prepare, ask, put, second).await;
    let delete = async |repos: &Repos| {
        let path = "a/b".parse().unwrap();
        let (name, when) = (app(), When::Always);
        let deleted = repos.delete_file(&name, &path, when, "ann");
        deleted.await.unwrap();
    };
    let none = async |repos: &Repos| assert_eq!(file(repos).await, None);
    race(DAY, prepare, ask, delete, none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_past_and_what_it_shows() {
    let june = || "june".parse::<Title>().unwrap();
    let of_june = || "snap/june/team/app".parse::<RepoName>().unwrap();
    let at = || At::named("june").unwrap();
    let prepare = async |repos: &Repos| {
        push(repos, 1).await;
        let new = NewSnapshot {
            of: "team/app".parse().unwrap(),
            at: At::Head,
            title: Some(june()),
            expires_ms: None,
            held: false,
            who: "ann".into(),
        };
        repos.create_snapshots(new).await.unwrap();
    };
    let delete = async |repos: &Repos| {
        let (name, title) = (app(), "june".parse().unwrap());
        let deleted = repos.delete_snapshot(&name, &title, "ann");
        deleted.await.unwrap();
    };
    let ask = async |repos: &Repos| drop(repos.meant(&of_june()).await);
    let none = async |repos: &Repos| assert_eq!(repos.meant(&of_june()).await.unwrap(), None);
    race(DAY, prepare, ask, delete, none).await;
    let ask = async |repos: &Repos| {
        pulled(repos, &at()).await;
    };
    let none = async |repos: &Repos| assert_eq!(pulled(repos, &at()).await, None);
    race(DAY, prepare, ask, delete, none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn which_repository_a_name_means() {
    let prepare = async |repos: &Repos| push(repos, 1).await;
    let ask = async |repos: &Repos| drop(repos.check_pushes(&app()).await);
    let change = async |repos: &Repos| {
        repos.delete(&app(), "ann", false).await.unwrap();
        repos.create(&app(), Kind::File, "ann").await.unwrap();
    };
    let refused = async |repos: &Repos| assert!(repos.check_pushes(&app()).await.is_err());
    race(DAY, prepare, ask, change, refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_no_quota() {
    // It is not known any more, but the repository is.
    let prepare = async |repos: &Repos| {
        push_blob(repos, b"first").await.unwrap();
        repos.set_quota("team", 1 << 20, None).await.unwrap();
        repos.remove_quota("team").await.unwrap();
    };
    let ask = async |repos: &Repos| drop(push_blob(repos, b"second").await);
    let change = async |repos: &Repos| repos.set_quota("team", 20, None).await.unwrap();
    let full = async |repos: &Repos| {
        let pushed = push_blob(repos, b"more than there is room for").await;
        assert!(matches!(pushed, Err(RepoError::Quota { .. })), "{pushed:?}");
    };
    race(DAY, prepare, ask, change, full).await;
}
