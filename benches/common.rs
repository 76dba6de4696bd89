//! The real store and the real content directory of a bench, opened in process.

#![allow(clippy::unwrap_used)] // a bench fails by panicking

use dryport::blobs::{BlobOptions, Blobs};
use dryport::repo::{RepoOptions, Repos};
use dryport::store::{Store, StoreOptions};
use std::path::Path;
use std::time::Duration;

/// A directory below `$DRYPORT_BENCH_DIR` (default: the temporary directory), which should be a disk and not memory.
pub fn scratch() -> tempfile::TempDir {
    match std::env::var_os("DRYPORT_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// The store alone.
pub fn store(dir: &Path) -> Store {
    Store::open(StoreOptions {
        dir: dir.to_owned(),
        cache_bytes: 64 << 20,
        slow: Duration::from_mins(10),
        holder: "bench".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 2 << 20,
        upgrade_without_copy: false,
    })
    .unwrap()
}

/// The repositories over it. `keep` is how long their history stays.
pub fn repos(dir: &Path, lease: Duration, keep: Duration) -> (Store, Repos) {
    let store = store(dir);
    let blobs = Blobs::open(BlobOptions {
        dir: dir.to_owned(),
        reserve_bytes: 0,
        owed_bytes: std::sync::Arc::default(),
        inline_max: 64 << 10,
    })
    .unwrap();
    let options = RepoOptions {
        lease,
        keep,
        upload_idle: Duration::from_hours(24),
        manifest_max: 4 << 20,
        uploads_max: 1000,
        upload_memory: 48 << 20,
        strict: false,
        cache_bytes: 64 << 20,
        format: &dryport::formats::oci::Oci,
    };
    let repos = Repos::open(store.clone(), blobs, options).unwrap();
    (store, repos)
}
