//! A run: what clients of one kind of repository do while the disk takes notes, with a kill and a stop between; and what
//! every client can do, whatever the kind.

use super::disk::{Disk, Fault};
use super::ledger::{Key, Ledger, Promise};
use super::state::{Op, State};
use super::{Rng, Service, kinds};
use crate::repo::{At, BodyStream, NewSnapshot, RepoError};
use crate::types::{Algorithm, Digest, Kind, RepoName, Title};
use bytes::Bytes;
use futures_util::stream;

pub(super) type Done<T = ()> = Result<T, RepoError>;
pub(super) const SHA256: Algorithm = Algorithm::Sha256;
pub(super) const SHA512: Algorithm = Algorithm::Sha512;

/// A finished run.
pub(super) struct Recording {
    pub base: State,
    pub ops: Vec<Op>,
    pub ledger: Ledger,
}

/// One client of the registry.
pub(super) struct Client<'a> {
    pub service: &'a Service,
    pub ledger: &'a Ledger,
}

pub(super) fn repo(name: &str) -> RepoName {
    name.parse().expect("a name")
}

pub(super) fn title(text: &str) -> Title {
    text.parse().expect("a title")
}

pub(super) fn content(rng: &mut Rng, len: usize) -> Bytes {
    (0..len).map(|_| rng.below(256) as u8).collect()
}

/// The bytes in frames of 30,000.
pub(super) fn body(bytes: &Bytes) -> impl BodyStream + use<> {
    let frames: Vec<_> = bytes
        .chunks(30_000)
        .map(|c| Ok::<_, String>(Bytes::copy_from_slice(c)))
        .collect();
    stream::iter(frames)
}

impl<'a> Client<'a> {
    /// A client of one process.
    pub fn new(service: &'a Service, ledger: &'a Ledger) -> Self {
        Self { service, ledger }
    }
}

impl Client<'_> {
    /// A snapshot of one repository, or of all that have the same first component as the first.
    pub async fn cut(&self, names: &[&RepoName], as_title: &str, all: Option<Digest>) -> Done {
        let of = match names {
            [one] => one.to_string(),
            more => {
                let first = more[0].as_str().split('/').next();
                format!("{}/**", first.expect("a component"))
            }
        };
        let title = title(as_title);
        let names: Vec<RepoName> = names.iter().map(|name| (*name).clone()).collect();
        let promise = Promise {
            facts: vec![(Key::Cut(names.clone(), title.clone()), all)],
            revs: Vec::new(),
        };
        let new = NewSnapshot {
            of: of.parse().expect("a pattern"),
            at: At::Head,
            title: Some(title),
            expires_ms: None,
            held: false,
            who: "power".into(),
        };
        let work = self.service.repos.create_snapshots(new);
        let made = self.ledger.doing(promise, work).await?;
        assert_eq!(made.len(), names.len());
        Ok(())
    }

    pub async fn delete_snapshot(&self, name: &RepoName, as_title: &str) -> Done {
        let title = title(as_title);
        let promise = Promise {
            facts: vec![(Key::Cut(vec![name.clone()], title.clone()), None)],
            revs: Vec::new(),
        };
        let work = self.service.repos.delete_snapshot(name, &title, "power");
        self.ledger.doing(promise, work).await
    }
}

/// Runs everything of a kind once on a disk that begins with `base`.
pub(super) async fn run(kind: Kind, base: State, seed: u64, fault: Fault) -> Recording {
    let disk = Disk::start(base.clone(), format!("boot of run {seed}"), fault);
    let ledger = Ledger::new(disk.clone());
    let mut writers = kinds::of(kind).writers(seed);

    let service = Service::open(&disk).expect("opens");
    // Quotas that refuse nothing: their counts are checked on every image, and of one the oldest history goes.
    for (prefix, history) in [("", None), ("team", Some(2000))] {
        let set = service.repos.set_quota(prefix, 1 << 40, history).await;
        set.expect("a quota");
    }
    writers.first_process(&Client::new(&service, &ledger)).await;

    // kill -9: what was acknowledged stands, not the machine's doing but the page cache's.
    let killed = disk.kill();
    service.abandon();
    let service = Service::open(&killed).expect("opens after a kill");
    writers.after_a_kill(&Client::new(&service, &ledger)).await;

    service.close().await;
    // Its uploads have their files locked to the end of the process.
    drop(service);
    let service = Service::open(&killed).expect("opens after a stop");
    writers.after_a_stop(&Client::new(&service, &ledger)).await;
    service.close().await;
    let ops = killed.history().0;
    Recording { base, ops, ledger }
}
