//! Whether what a client waits for depends on how much there is:
//!
//! ```text
//! cargo bench --bench scale -- TAGS [DIR]      10, 10,000 and TAGS tags in one repository, then none of them
//! ```
//!
//! In process, over the real store and the real content directory, below `$DRYPORT_BENCH_DIR` (default: the temporary
//! directory, which should be a disk and not memory). With DIR the data directory is made there and stays, with all tags:
//! for a look at it through a server. One that is there already is measured as it is.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench fails by panicking

/// The program's own heap.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod common;

use bytes::Bytes;
use common::{repos, scratch};
use dryport::repo::{At, NewSnapshot, PutManifest, ReferrerQuery, Repos, Source};
use dryport::store::Store;
use dryport::types::{Algorithm, Digest, PageRequest, Reference, RepoName, Tag, Title};
use futures_util::{StreamExt as _, stream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Changes at once while the repository grows and shrinks.
const WRITERS: usize = 256;
/// Samples of one figure.
const SAMPLES: u64 = 2000;
/// Tags for one more repository beside the large one.
const TAGS_A_REPO: u64 = 100;
/// Entries of a page.
const PAGE: usize = 100;

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let tags: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let keep = args.next();
    if tags < 10 {
        println!("scale: say how many TAGS, 10 at least; nothing was measured");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(dir) = keep {
        runtime.block_on(measure(Path::new(&dir), tags, true));
        return;
    }
    let dir = scratch();
    runtime.block_on(measure(dir.path(), tags, false));
}

fn open(dir: &Path) -> (Store, Repos) {
    repos(dir, Duration::from_hours(24), Duration::from_hours(24 * 30))
}

/// The repository that grows, and what every manifest in it shares.
struct Bench {
    repos: Repos,
    name: RepoName,
    blob: Digest,
    subject: Digest,
}

impl Bench {
    async fn new(repos: Repos) -> Self {
        let name: RepoName = "scale/app".parse().unwrap();
        let config = Bytes::from_static(b"{}");
        let blob = Digest::of(Algorithm::Sha256, &config);
        let id = repos
            .begin_upload(&name, Algorithm::Sha256, "bench")
            .await
            .unwrap();
        let body = stream::iter([Ok::<_, String>(config)]);
        repos
            .finish_upload(&name, id, None, None, body, &blob)
            .await
            .unwrap();
        let mut bench = Self {
            repos,
            name,
            blob,
            subject: blob,
        };
        bench.subject = bench
            .put(&bench.name, "subject", None, Some("subject"))
            .await;
        for n in 0..10 {
            let (label, subject) = (format!("referrer {n}"), Some(bench.subject));
            bench.put(&bench.name, &label, subject, None).await;
        }
        // So that a page of the catalog is as long with few tags as with many.
        for n in 0..PAGE {
            let name = format!("scale/s{n:09}").parse().unwrap();
            bench.put(&name, "one", None, Some("latest")).await;
        }
        bench
    }

    /// A manifest of its own by its label, durable when this returns.
    async fn put(
        &self,
        name: &RepoName,
        label: &str,
        subject: Option<Digest>,
        tag: Option<&str>,
    ) -> Digest {
        let subject = subject.map_or_else(String::new, |digest| {
            format!(
                r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":2}}"#
            )
        });
        let bytes = Bytes::from(format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[],"annotations":{{"n":"{label}"}}{subject}}}"#,
            self.blob
        ));
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let put = PutManifest {
            bytes,
            media_type: None,
            reference: Reference::Digest(digest),
            tags: tag.into_iter().map(|tag| tag.parse().unwrap()).collect(),
            source: Source::Push { by: "bench".into() },
        };
        self.repos.put_manifest(name, put, ()).await.unwrap();
        digest
    }

    /// Adds tags until there are `to`, and a small repository for every few of them.
    async fn grow(&self, from: u64, to: u64) {
        let begun = Instant::now();
        stream::iter(from..to)
            .for_each_concurrent(WRITERS, |n| async move {
                let tag = format!("t{n:09}");
                self.put(&self.name, &tag, None, Some(&tag)).await;
                if n % TAGS_A_REPO == 0 {
                    let name = format!("scale/r{n:09}").parse().unwrap();
                    self.put(&name, &tag, None, Some("latest")).await;
                }
            })
            .await;
        println!(
            "{} tags more: {:.0} a second",
            to - from,
            rate(to - from, begun)
        );
    }

    async fn shrink(&self, tags: u64) {
        let begun = Instant::now();
        stream::iter(0..tags)
            .for_each_concurrent(WRITERS, |n| async move {
                let tag: Tag = format!("t{n:09}").parse().unwrap();
                self.repos
                    .delete_tag(&self.name, &tag, "bench")
                    .await
                    .unwrap();
            })
            .await;
        println!("{tags} tags deleted: {:.0} a second", rate(tags, begun));
    }

    /// One line: p50 and p99 of each figure, one request after the other.
    async fn line(&self, what: &str, tags: u64, round: &str) {
        let middle = format!("t{:09}", tags / 2);
        let page = |last: Option<String>| PageRequest {
            n: Some(PAGE),
            last,
        };
        let (first, second) = (page(None), page(Some(middle.clone())));
        let repo = format!("scale/r{:09}", tags / 2);
        let mut line = what.to_owned();
        let mut add = |name: &str, times: Vec<u128>| line.push_str(&figure(name, &times));
        let (before, puts) = (written(), SAMPLES / 4);
        let times = samples(puts, async |n| {
            let tag = format!("{round}-{n}");
            self.put(&self.name, &tag, None, Some(&tag)).await;
        });
        let times = times.await;
        let kib = (written() - before) / puts / 1024;
        add(&format!("PUT of {kib} KiB"), times);
        add(
            "tags",
            samples(SAMPLES, async |_| {
                self.repos
                    .tags(&self.name, &At::Head, &first)
                    .await
                    .unwrap();
            })
            .await,
        );
        add(
            "tags from the middle",
            samples(SAMPLES, async |_| {
                self.repos
                    .tags(&self.name, &At::Head, &second)
                    .await
                    .unwrap();
            })
            .await,
        );
        add(
            "catalog from the middle",
            samples(SAMPLES, async |_| {
                self.repos.names(None, Some(&repo), PAGE).await.unwrap();
            })
            .await,
        );
        let all = ReferrerQuery::default();
        add(
            "referrers",
            samples(SAMPLES, async |_| {
                let found = self.repos.short_referrers(&self.name, &self.subject, &all);
                let found = found.await.unwrap().expect("few are short");
                assert_eq!(found.descriptors.len(), 10);
            })
            .await,
        );
        add(
            "HEAD blob",
            samples(SAMPLES, async |_| {
                assert!(self.repos.has_blob(&self.name, &self.blob).await.unwrap());
            })
            .await,
        );
        println!("{line}");
        self.past(what, round).await;
    }

    /// One line of what snapshots cost, whatever the repository holds: make, delete, compare two with 100 changes in between,
    /// and read a manifest of one beside the same at the head.
    async fn past(&self, what: &str, round: &str) {
        let mut line = format!("{what}, snapshots");
        let mut add = |name: &str, times: Vec<u128>| line.push_str(&figure(name, &times));
        let title = |n: u64| -> Title { format!("{round}-{n}").parse().unwrap() };
        let make = async |n| {
            let new = NewSnapshot {
                of: self.name.as_str().parse().unwrap(),
                at: At::Head,
                title: Some(title(n)),
                expires_ms: None,
                held: false,
                who: "bench".into(),
            };
            self.repos.create_snapshots(new).await.unwrap();
        };
        let some = SAMPLES / 10;
        add("create", samples(some, make).await);
        for n in 0..100 {
            let tag = format!("{round}-changed-{n}");
            self.put(&self.name, &tag, None, Some(&tag)).await;
        }
        make(some).await;
        let at = |n| At::named(title(n).as_str()).unwrap();
        let (first, last) = (at(0), at(some));
        add(
            "diff of 100",
            samples(some, async |_| {
                let diff = self.repos.diff_snapshots(&self.name, &first, &last);
                assert_eq!(diff.await.unwrap().added.len(), 100);
            })
            .await,
        );
        let tag = Reference::Tag("subject".parse().unwrap());
        for (name, at) in [
            ("GET at the head", &At::Head),
            ("GET at a snapshot", &first),
        ] {
            add(
                name,
                samples(SAMPLES, async |_| {
                    self.repos.manifest(&self.name, at, &tag).await.unwrap();
                })
                .await,
            );
        }
        add(
            "delete",
            samples(some, async |n| {
                let title = title(n);
                let deleted = self.repos.delete_snapshot(&self.name, &title, "bench");
                deleted.await.unwrap();
            })
            .await,
        );
        println!("{line}");
    }
}

async fn samples(count: u64, mut one: impl AsyncFnMut(u64)) -> Vec<u128> {
    let mut times = Vec::new();
    for n in 0..count {
        let begun = Instant::now();
        one(n).await;
        times.push(begun.elapsed().as_micros());
    }
    times.sort_unstable();
    times
}

/// Bytes that this process has given to the kernel.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

fn figure(name: &str, times: &[u128]) -> String {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(" | {name} {}/{}", at(50), at(99))
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn rate(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn measure(dir: &Path, tags: u64, keep: bool) {
    let again = dir.join("meta.redb").exists();
    let (store, repos) = open(dir);
    let bench = Bench::new(repos).await;
    println!("p50/p99 in us, one request after the other");
    if again {
        let round = format!("p{}", std::process::id());
        return bench.line("as it is", tags, &round).await;
    }
    let mut there = 0;
    for (round, stop) in [10, 10_000, tags]
        .into_iter()
        .filter(|n| *n <= tags)
        .enumerate()
    {
        bench.grow(there, stop).await;
        there = stop;
        bench
            .line(&format!("{stop} tags"), stop, &format!("r{round}"))
            .await;
    }
    if !keep {
        bench.shrink(tags).await;
        bench.line("after all were deleted", tags, "gone").await;
    }
    bench.repos.close().await;
    drop(bench);
    store.close();
    let begun = Instant::now();
    let (store, repos) = open(dir);
    println!("opened again in {} ms", begun.elapsed().as_millis());
    drop(repos);
    store.close();
}
