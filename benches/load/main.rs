//! A load bench that anyone can run: Dryport alone, or beside any registry by URL.
//!
//! ```text
//! cargo bench --bench load                                     Dryport of this tree, three rounds
//! cargo bench --bench load -- --only push --seconds 10         some workloads, longer
//! cargo bench --bench load -- --peer zot=http://127.0.0.1:5000 --peer-pid zot=$(pidof zot) --json load.json
//! ```
//!
//! Every round runs each workload against each target in turn, so that what else the machine does hits all alike. The
//! client speaks HTTP/1.1 by hand and takes half of the cores at most; its own cost is in the rates all the same. A run
//! beside which others took much of the machine (the column `others`) says little.

#![allow(missing_docs)] // a bench, not an interface
#![allow(clippy::disallowed_methods)] // its files are its own

mod client;
mod cpu;
mod report;
mod target;
mod work;

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use client::Endpoint;
use report::{Figures, Row};
use target::Target;
use work::{Bytes, Content, Kind, MIB, Sample, WORKLOADS, Workload};

/// Measures Dryport, and registries beside it. The first target is what the others are compared with.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Options {
    /// The binary to start [default: the one that this bench was built with]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Start no Dryport; measure peers only
    #[arg(long)]
    no_dryport: bool,
    /// One more argument of `dryport serve`; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    serve_arg: Vec<String>,
    /// A registry to measure; given twice, with http and https, it is measured both ways
    #[arg(long, value_name = "NAME=URL")]
    peer: Vec<String>,
    /// Its account for pushing (and for reading where it asks)
    #[arg(long, value_name = "NAME=USER:PASSWORD")]
    peer_login: Vec<String>,
    /// Its process, whose CPU is counted
    #[arg(long, value_name = "NAME=PID")]
    peer_pid: Vec<String>,
    /// CA certificate (PEM) of peers with https
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each workload in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only workloads whose names contain this; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// One short round of everything but the largest blobs: shows that it works, measures nothing
    #[arg(long)]
    smoke: bool,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of the client [default: half of the cores]
    #[arg(long)]
    threads: Option<usize>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> std::process::ExitCode {
    let mut options = Options::parse();
    if options.smoke {
        (options.rounds, options.seconds) = (1, options.seconds.min(0.5));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores / 2).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(measure(&options))) {
        Ok(0) => std::process::ExitCode::SUCCESS,
        Ok(errors) => {
            eprintln!("{errors} operations failed");
            std::process::ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("load: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn wanted(options: &Options) -> Vec<Workload> {
    let is_named = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
    };
    let is_small = |kind: Kind| match kind {
        Kind::Blob(size) | Kind::Push(size) | Kind::File(size) | Kind::PutFile(size) => size <= MIB,
        _ => true,
    };
    let all = WORKLOADS.into_iter();
    all.filter(|work| is_named(work.name) && (!options.smoke || is_small(work.kind)))
        .collect()
}

fn pairs(given: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::other(format!("{text}: say NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

async fn targets(options: &Options) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    if !options.no_dryport {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_dryport"));
        let binary = options.binary.clone().unwrap_or(built);
        let scratch = std::env::var_os("DRYPORT_BENCH_DIR").map(PathBuf::from);
        targets.push(Target::dryport(&binary, scratch.as_ref(), &options.serve_arg).await?);
    }
    let logins: BTreeMap<_, _> = pairs(&options.peer_login)?.into_iter().collect();
    let pids: BTreeMap<_, _> = pairs(&options.peer_pid)?.into_iter().collect();
    for (name, url) in pairs(&options.peer)? {
        let at = Endpoint::new(&url, options.ca.as_deref())?;
        let known = targets.iter().position(|t| t.name == name);
        let place = known.unwrap_or(targets.len());
        if known.is_none() {
            let pid = pids.get(&name).map(|pid| pid.parse().map_err(Error::other));
            targets.push(Target {
                plain: None,
                tls: None,
                pid: pid.transpose()?,
                login: logins.get(&name).cloned(),
                content: Content::default(),
                own: None,
                name,
            });
        }
        let side = if url.starts_with("https") {
            &mut targets[place].tls
        } else {
            &mut targets[place].plain
        };
        *side = Some(at);
    }
    if targets.is_empty() {
        return Err(Error::other(
            "nothing to measure: --no-dryport wants --peer",
        ));
    }
    Ok(targets)
}

/// All of it; answers how many operations failed.
async fn measure(options: &Options) -> Result<u64> {
    let works = wanted(options);
    if works.is_empty() {
        return Err(Error::other("no workload has such a name"));
    }
    let kinds: Vec<Kind> = works.iter().map(|work| work.kind).collect();
    let mut targets = targets(options).await?;
    for target in &mut targets {
        let filled = work::fill(target, &kinds).await;
        filled.map_err(|e| Error::other(format!("filling {}: {e}", target.name)))?;
    }
    let time = Duration::from_secs_f64(options.seconds);
    let mut samples: BTreeMap<(usize, usize), Vec<Sample>> = BTreeMap::new();
    for round in 0..options.rounds {
        for (w, work) in works.iter().enumerate() {
            let bytes = match work.kind {
                Kind::Push(size) | Kind::PutFile(size) => Some(Arc::new(Bytes::new(size))),
                _ => None,
            };
            for turn in 0..targets.len() {
                // Whoever comes first finds another machine than whoever comes after: they take turns.
                let t = (turn + round) % targets.len();
                eprintln!("round {} {} {}", round + 1, work.name, targets[t].name);
                if let Some(sample) = work::run(&targets[t], work, bytes.clone(), time).await? {
                    samples.entry((w, t)).or_default().push(sample);
                }
            }
        }
    }
    let mut rows = Vec::new();
    for (w, work) in works.iter().enumerate() {
        let of = |t: usize| Some(Figures::of(&targets[t].name, samples.get(&(w, t))?));
        let figures = (0..targets.len()).filter_map(of).collect();
        rows.push(Row {
            work: *work,
            figures,
        });
    }
    print!("{}", report::table(&rows));
    if let Some(file) = &options.json {
        let json = report::json(&rows, options.rounds, options.seconds);
        std::fs::write(file, serde_json::to_vec_pretty(&json)?)?;
    }
    let all = rows.iter().flat_map(|row| &row.figures);
    for one in all.clone() {
        if let Some(why) = &one.why {
            eprintln!("{}: the first failure was: {why}", one.target);
        }
    }
    Ok(all.map(|f| f.errors).sum())
}
