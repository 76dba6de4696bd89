//! What safety costs, measured on the machine at hand:
//!
//! ```text
//! cargo bench --bench costs -- commits GIB        commit latency of a small and of a GIB-sized database
//! cargo bench --bench costs -- orphans COUNT      collection of so many blobs that nothing references
//! cargo bench --bench costs -- sweep SECONDS      pushes beside a collector that sweeps all the time, and without one
//! ```
//!
//! In process, over the real store and the real content directory, below `$DRYPORT_BENCH_DIR` (default: the temporary
//! directory, which should be a disk and not memory).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench fails by panicking
#![allow(clippy::disallowed_methods)] // its files are its own

mod common;

use bytes::Bytes;
use common::{repos, scratch, store};
use dryport::gc::{Collector, GcOptions};
use dryport::repo::Repos;
use dryport::store::{Lane, Need, Store, StoreError, Table};
use dryport::types::{Algorithm, Digest, RepoName};
use futures_util::stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Writers of a measured phase.
const WRITERS: u64 = 8;

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let what = args.next().unwrap_or_default();
    let n: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match (what.as_str(), n) {
        ("commits", n) if n > 0 => runtime.block_on(commits(n)),
        ("orphans", n) if n > 0 => runtime.block_on(orphans(n)),
        ("sweep", n) if n > 0 => runtime.block_on(sweep(n)),
        _ => {
            println!(
                "costs: say commits GIB, orphans COUNT or sweep SECONDS; nothing was measured"
            );
        }
    }
}

fn quantile(sorted: &[u128], q: f64) -> u128 {
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]
    let at = ((sorted.len() - 1) as f64 * q) as usize;
    sorted[at]
}

/// Latency of single-row commits by [`WRITERS`] writers for ten seconds: p50 and p99 in microseconds, commits a second.
async fn latency(store: &Store) -> (u128, u128, u64) {
    let end = Instant::now() + Duration::from_secs(10);
    let tasks = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            let mut n = 0_u64;
            while Instant::now() < end {
                let begun = Instant::now();
                let key = [b"bench".as_slice(), &writer.to_be_bytes(), &n.to_be_bytes()].concat();
                store
                    .write(Lane::Request, Need::Grows, "bench", move |tx| {
                        tx.put(Table::Meta, &key, &[7; 100])
                    })
                    .await
                    .unwrap_or_else(|e: StoreError| panic!("{e}"));
                times.push(begun.elapsed().as_micros());
                n += 1;
            }
            times
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    all.sort_unstable();
    (
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        all.len() as u64 / 10,
    )
}

async fn commits(gib: u64) {
    let dir = scratch();
    let store = store(dir.path());
    let (p50, p99, rate) = latency(&store).await;
    println!(
        "empty database: commit p50 {p50} us, p99 {p99} us, {rate} a second by {WRITERS} writers"
    );
    let begun = Instant::now();
    let (mut row, value) = (0_u64, vec![9_u8; 60_000]);
    while store.counters().file_bytes < gib << 30 {
        let (from, value) = (row, value.clone());
        store
            .write(Lane::Background, Need::Grows, "fill", move |tx| {
                (from..from + 400).try_for_each(|n| {
                    let digest = Digest::of(Algorithm::Sha256, &n.to_be_bytes());
                    tx.put(Table::Bytes, digest.as_key(), &value)
                })
            })
            .await
            .unwrap_or_else(|e: StoreError| panic!("{e}"));
        row += 400;
    }
    let bytes = store.counters().file_bytes;
    println!(
        "filled to {:.1} GiB in {} s",
        gibibytes(bytes),
        begun.elapsed().as_secs()
    );
    let (p50_full, p99_full, rate_full) = latency(&store).await;
    println!(
        "{:.1} GiB database: commit p50 {p50_full} us, p99 {p99_full} us, {rate_full} a second by {WRITERS} writers",
        gibibytes(bytes)
    );
    println!(
        "ratio full to empty: p50 {:.2}, p99 {:.2}",
        ratio(p50_full, p50),
        ratio(p99_full, p99)
    );
    store.close();
    let begun = Instant::now();
    drop(self::store(dir.path()));
    println!(
        "reopening after a clean end: {} ms",
        begun.elapsed().as_millis()
    );
}

#[allow(clippy::cast_precision_loss)]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: u128, b: u128) -> f64 {
    a as f64 / b.max(1) as f64
}

/// One push of a blob of its own.
async fn push(repos: &Repos, name: &RepoName, n: u64, len: usize) {
    let mut bytes = vec![0; len];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let id = repos
        .begin_upload(name, Algorithm::Sha256, "bench")
        .await
        .unwrap();
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]);
    repos
        .finish_upload(name, id, None, Some(len as u64), body, &digest)
        .await
        .unwrap();
}

/// Blobs that lost their lease: half of them lie in the database, half in content files.
async fn orphans(count: u64) {
    let dir = scratch();
    let (store, repos) = repos(dir.path(), Duration::from_millis(1), Duration::ZERO);
    let name: RepoName = "bench/orphans".parse().unwrap();
    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (repos, name, next) = (repos.clone(), name.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    push(&repos, &name, n, if n % 2 == 0 { 64 } else { 4100 }).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!(
        "pushed {count} blobs in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let options = GcOptions {
        interval: Duration::ZERO,
        files_per_second: 0,
    };
    let begun = Instant::now();
    let report = Collector::new(repos, options).sweep(false).await.unwrap();
    println!(
        "collected {} blobs ({} files) in {:.1} s",
        report.rows.freed_blobs,
        report.files_removed,
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(report.rows.freed_blobs, count);
    store.close();
}

/// Pushes a second over the time, by [`WRITERS`] writers.
async fn pushes(repos: &Repos, seconds: u64, round: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let repos = repos.clone();
            tokio::spawn(async move {
                let name: RepoName = format!("bench/w{writer}").parse().unwrap();
                let mut done = 0;
                while Instant::now() < end {
                    push(&repos, &name, round << 48 | writer << 40 | done, 65_536).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.unwrap();
    }
    all / seconds
}

/// Alternating rounds: with a sweep running beside all the time (everything pushed is garbage a second later), and without.
async fn sweep(seconds: u64) {
    let dir = scratch();
    let (store, repos) = repos(dir.path(), Duration::from_secs(1), Duration::ZERO);
    let options = GcOptions {
        interval: Duration::ZERO,
        files_per_second: 2000,
    };
    let collector = Collector::new(repos.clone(), options);
    let mut ratios = Vec::new();
    for round in 0..3 {
        let alone = pushes(&repos, seconds, 2 * round).await;
        let stop = Arc::new(AtomicBool::new(false));
        let sweeping = tokio::spawn({
            let (collector, stop) = (collector.clone(), Arc::clone(&stop));
            async move {
                let mut freed = 0;
                while !stop.load(Ordering::Relaxed) {
                    freed += collector.sweep(false).await.unwrap().rows.freed_blobs;
                }
                freed
            }
        });
        let beside = pushes(&repos, seconds, 2 * round + 1).await;
        stop.store(true, Ordering::Relaxed);
        let freed = sweeping.await.unwrap();
        println!(
            "64 KiB pushes a second: alone {alone}, beside a sweep {beside}; freed meanwhile {freed}"
        );
        ratios.push(ratio(beside.into(), alone.into()));
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio: {:.2}", ratios[1]);
    store.close();
}
