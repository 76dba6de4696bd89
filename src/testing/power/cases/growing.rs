//! A fill that is read while it comes, and a file that a command handed over: the power goes before each step of either, and
//! then the content is whole or not there.

use super::super::disk::{Disk, Fault};
use super::super::kinds::file::{new_file, path};
use super::super::scenario::{body, repo};
use super::super::state::State;
use super::super::{Rng, Service};
use crate::blobs::{Growing, GrowingError};
use crate::repo::{At, BlobBody, RepoError, Tree};
use crate::types::{Algorithm, Digest, Kind};
use bytes::Bytes;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use tempfile::NamedTempFile;

/// How the content comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Way {
    /// A fill, with readers.
    Fill,
    /// From a file that was handed over, copied.
    Copy,
    /// The same, cloned.
    Clone,
}

fn bytes() -> Bytes {
    (0..150_000_u32).map(|n| (n % 251) as u8).collect()
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, &bytes())
}

fn on(state: &State, boot: &str, way: Way) -> Disk {
    let disk = Disk::start(state.clone(), boot.into(), Fault::None);
    if way == Way::Clone {
        disk.know_clones();
    }
    disk
}

/// Reads from an offset to the end; what came, and how it ended.
async fn read(growing: Growing, from: usize) -> (usize, Vec<u8>, Result<(), GrowingError>) {
    let (mut reader, mut got) = (growing.reader(from as u64..u64::MAX), Vec::new());
    loop {
        match reader.next(7_000).await {
            Ok(Some(bytes)) => got.extend_from_slice(&bytes),
            Ok(None) => return (from, got, Ok(())),
            Err(error) => return (from, got, Err(error)),
        }
    }
}

/// The blob's fill, with readers who are there from the start and in the middle.
async fn fill(service: &Service) -> Result<(), RepoError> {
    let (repos, name, all) = (&service.repos, repo("mirror/e"), bytes());
    let mut fill = repos.fill(&name, &digest()).await?;
    let growing = fill.grow(Some(all.len() as u64))?;
    let reader = |from| tokio::spawn(read(growing.clone(), from));
    let readers = [reader(0), reader(60_000), reader(149_999)];
    let (mut at, mut written) = (fill.offset() as usize, Ok(()));
    while at < all.len() && written.is_ok() {
        let to = all.len().min(at + 40_000);
        written = fill.write(&all[at..to]);
        at = to;
        tokio::task::yield_now().await;
    }
    let done = match written {
        Ok(()) => repos.finish_fill(&name, fill).await,
        Err(error) => {
            drop(fill);
            Err(error)
        }
    };
    for reader in readers {
        let (from, got, end) = reader.await.expect("no panic");
        assert!(all[from..].starts_with(&got), "from {from}");
        assert_eq!(end.is_ok(), got.len() == all.len() - from, "{end:?}");
        assert!(end.is_ok() || done.is_err(), "{end:?}");
    }
    done
}

fn tree() -> Tree {
    Tree {
        name: repo("files"),
        at: At::Head,
        path: "a".into(),
        is_bare: false,
    }
}

async fn bring(service: &Service, way: Way, theirs: &NamedTempFile) -> Result<(), RepoError> {
    if way == Way::Fill {
        return Box::pin(fill(service)).await;
    }
    let file = File::open(theirs.path()).expect("there");
    let (new, len) = (new_file(&path("a")), bytes().len() as u64);
    let name = repo("files");
    let taken = service.repos.take_file(&name, new, file, len);
    Box::pin(taken).await.map(drop)
}

/// Whether the content is there; if it is, it is whole.
async fn is_there(service: &Service, way: Way) -> bool {
    let repos = &service.repos;
    let found = match way {
        Way::Fill => repos.blob(&repo("mirror/e"), &At::Head, &digest()).await,
        _ => repos.file(&tree()).await.map(|file| file.blob),
    };
    let blob = match found {
        Ok(blob) => blob,
        Err(error) => {
            let unknown = matches!(error, RepoError::BlobUnknown(_) | RepoError::PathUnknown(_));
            assert!(unknown, "{error}");
            return false;
        }
    };
    let got = match blob.body {
        BlobBody::Inline(bytes) => bytes,
        BlobBody::File(file) => {
            let mut got = vec![0; blob.size as usize];
            file.read_exact_at(&mut got, 0).expect("as long as it is");
            got.into()
        }
    };
    assert_eq!(Digest::of(Algorithm::Sha256, &got), digest(), "{way:?}");
    true
}

/// Cuts the power before each step; how many cuts there were, and after how many the content was there.
pub(in super::super) async fn cut_everywhere(base: &State, way: Way) -> (usize, usize) {
    let theirs = NamedTempFile::new().expect("a file");
    theirs.as_file().write_all_at(&bytes(), 0).expect("written");
    let about = || theirs.path().metadata().expect("there").modified().ok();
    let (before, mut there) = (about(), 0);
    for step in 0.. {
        let disk = on(base, "one boot", way);
        let service = Service::open(&disk).expect("opens");
        let (repos, few) = (&service.repos, Bytes::from_static(b"few"));
        let made = repos.create(&repo("files"), Kind::File, "ann").await;
        made.expect("made");
        let of = Digest::of(Algorithm::Sha256, &few);
        let name = repo("mirror/e");
        let pushed = repos.push_blob(&name, "ann", None, body(&few), &of);
        pushed.await.expect("pushed");
        let last = disk.steps() + step;
        disk.kill_at(last);
        let done = bring(&service, way, &theirs).await;
        let whole = disk.steps() < last;
        disk.kill();
        service.abandon();
        assert!(!whole || done.is_ok(), "{done:?}");

        let left = disk.history().1.after_cut(&mut Rng::new(step as u64));
        let service = Service::open(&on(&left, "the next boot", way)).expect("opens");
        let found = is_there(&service, way).await;
        assert!(found || done.is_err(), "{way:?}, cut {step}: it is lost");
        there += usize::from(found);
        // Whatever is left of it is in nobody's way.
        let again = bring(&service, way, &theirs).await;
        again.expect("it comes again");
        assert!(is_there(&service, way).await);
        service.close().await;
        assert_eq!(std::fs::read(theirs.path()).expect("read"), bytes());
        assert_eq!(about(), before, "the source is never changed");
        if whole {
            return (step + 1, there);
        }
    }
    (0, 0)
}
