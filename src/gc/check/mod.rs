//! The check: every row against its sources, every file against its row, every byte against its digest; and the scrub,
//! which does the last of these all the time, slowly.
//!
//! What rows must be is [`crate::repo::check`]'s, what files are is `blobs`'. Here is when, how fast, and what is done
//! about it: rows are mended in small transactions, files move to `quarantine/`, and nothing is decided by guess. On a
//! healthy store nothing is written.

mod contents;
mod files;
mod pace;
mod scrub;

pub use scrub::ScrubCounters;

use crate::blobs::Blobs;
use crate::repo::check::{Kind, Level, Problem, RowsOptions, Upstream};
use crate::repo::{RepoError, Repos};
use crate::types::Digest;
use contents::blocking;
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Blobs looked at between two looks at the clock.
const PAGE: usize = 200;
/// Problems that a report lists; the rest is counted.
const LISTED: usize = 10_000;
/// So often a long check notes how far it is.
const NOTED: Duration = Duration::from_mins(5);
/// Where a deep check that was interrupted goes on.
const NOTE: &str = "check.deep";
/// While a server runs, what an upload's end leaves for a moment is looked at twice, so far apart.
const MOMENT: Duration = Duration::from_secs(3);

/// Settings of a [`Checker`].
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// In this time the scrub reads every blob; zero is never.
    pub every: Duration,
    /// Most bytes read a second; 0 is no limit.
    pub rate: u64,
}

/// What to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckRequest {
    /// Read all bytes of all blobs.
    pub deep: bool,
    /// Mend what can be mended.
    pub repair: bool,
    /// Read as fast as the disk gives, whatever `check.rate` says.
    pub fast: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckReport {
    /// Everything that is wrong, at most 10,000 of them.
    pub problems: Vec<Problem>,
    /// How many there are of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Damage that is still there.
    pub damage: u64,
    /// Problems of which nothing is left.
    pub repaired: u64,
    /// What a crash left: it costs room, nothing else, and does not count as damage.
    pub leftovers: u64,
    /// Rows looked at.
    pub rows: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes of contents read.
    pub bytes_read: u64,
    /// All bytes of all blobs were read, now or before an interruption.
    pub deep: bool,
    /// An earlier check that was interrupted went on, from the first thing that was still wrong.
    pub resumed: bool,
    /// It was interrupted: what comes after is not known.
    pub interrupted: bool,
    /// How long it took (ms).
    pub took_ms: u64,
}

impl CheckReport {
    fn add(&mut self, problem: Problem) {
        *self.kinds.entry(problem.kind).or_default() += 1;
        if self.problems.len() < LISTED {
            self.problems.push(problem);
        }
    }

    /// Where an interrupted check is taken up: here, or where it found the first thing that is still wrong, for this
    /// report may reach nobody.
    fn resume_at(&self, here: &[u8]) -> Vec<u8> {
        let open = self.problems.iter().find(|p| !p.repaired);
        match open.and_then(|p| p.digest) {
            Some(digest) => digest.as_key().to_vec(),
            None => here.to_vec(),
        }
    }

    /// Counts again what is repaired and what is left.
    pub fn sum_up(&mut self) {
        let count = |which: &dyn Fn(&Problem) -> bool| {
            self.problems.iter().filter(|p| which(p)).count() as u64
        };
        let repaired = count(&|p| p.repaired);
        let leftovers = count(&|p| !p.repaired && p.level == Level::Leftover);
        let all: u64 = self.kinds.values().sum();
        (self.repaired, self.leftovers) = (repaired, leftovers);
        self.damage = all - repaired - leftovers;
    }

    /// Contents that could be fetched again: each digest, with the registries that had it.
    pub fn wanted(&self) -> Vec<(Digest, Vec<Upstream>)> {
        let open = self.problems.iter().filter(|p| !p.repaired);
        open.filter(|p| !p.upstreams.is_empty() && is_about_bytes(p.kind))
            .filter_map(|p| Some((p.digest?, p.upstreams.clone())))
            .collect()
    }
}

fn is_about_bytes(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::BlobMissing
            | Kind::BlobTruncated
            | Kind::BlobCorrupt
            | Kind::BlobAwaitsPush
            | Kind::BlobRowMissing
            | Kind::BlobRowUnreadable
            | Kind::BlobPlaceWrong
            | Kind::InlineMissing
            | Kind::InlineCorrupt
    )
}

/// Checks; cheap to clone.
#[derive(Clone)]
pub struct Checker(Arc<Inner>);

struct Inner {
    repos: Repos,
    blobs: Blobs,
    options: CheckOptions,
    /// Held by the one check that runs.
    turn: Turn<()>,
    online: AtomicBool,
    /// Content files without a row, and since when (running ms).
    strays: Mutex<HashMap<String, u64>>,
    scrub: scrub::Counts,
}

impl Checker {
    /// A checker of these repositories and contents; nothing runs yet.
    pub fn new(repos: Repos, blobs: Blobs, options: CheckOptions) -> Self {
        Self(Arc::new(Inner {
            repos,
            blobs,
            options,
            turn: Turn::new(()),
            online: AtomicBool::new(false),
            strays: Mutex::default(),
            scrub: scrub::Counts::default(),
        }))
    }

    /// From now on clients work on the same data.
    pub fn set_online(&self) {
        self.0.online.store(true, Ordering::Relaxed);
    }

    fn is_online(&self) -> bool {
        self.0.online.load(Ordering::Relaxed)
    }

    fn strays(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // Valid after every step.
        self.0.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One check, after one that is running. `stop` ends it early; a deep one is then taken up by the next.
    pub async fn check(
        &self,
        request: CheckRequest,
        stop: CancellationToken,
    ) -> Result<CheckReport, RepoError> {
        let _turn = self.0.turn.lock().await;
        let begun = Instant::now();
        let rate = if request.fast { 0 } else { self.0.options.rate };
        let speed = Pace::new(rate, stop);
        let mut report = CheckReport {
            deep: request.deep,
            ..CheckReport::default()
        };
        self.all_contents(request, &speed, &mut report).await?;
        if !report.interrupted {
            self.all_rows(request.repair, &speed, &mut report).await?;
        }
        report.bytes_read = speed.read();
        report.took_ms = begun.elapsed().as_millis() as u64;
        report.sum_up();
        Ok(report)
    }

    /// Every blob's bytes.
    async fn all_contents(
        &self,
        request: CheckRequest,
        speed: &Pace,
        report: &mut CheckReport,
    ) -> Result<(), RepoError> {
        let mut from = if request.deep {
            self.0.repos.note_of(NOTE).await?
        } else {
            Vec::new()
        };
        report.resumed = !from.is_empty();
        let mut noted = Instant::now();
        loop {
            let (page, next) = self.0.repos.contents(from.clone(), PAGE).await?;
            for content in &page {
                report.blobs += 1;
                let found = self.confirmed(content, request.deep, speed).await?;
                if speed.is_stopped() {
                    report.interrupted = true;
                    if request.deep {
                        let here = report.resume_at(content.digest.as_key());
                        self.0.repos.set_note(NOTE, here).await?;
                    }
                    return Ok(());
                }
                if let Some((content, state)) = found {
                    report.add(self.judge(&content, state, request.repair).await?);
                }
            }
            let Some(next) = next else {
                break;
            };
            from = next;
            if request.deep && noted.elapsed() > NOTED {
                let here = report.resume_at(&from);
                self.0.repos.set_note(NOTE, here).await?;
                noted = Instant::now();
            }
        }
        // Nothing is written unless something was.
        if request.deep && !self.0.repos.note_of(NOTE).await?.is_empty() {
            self.0.repos.set_note(NOTE, Vec::new()).await?;
        }
        Ok(())
    }

    /// Every row and every file, and the contents that only they lead to.
    async fn all_rows(
        &self,
        repair: bool,
        speed: &Pace,
        report: &mut CheckReport,
    ) -> Result<(), RepoError> {
        let unsure: BTreeSet<Digest> = report
            .problems
            .iter()
            .filter(|p| p.kind == Kind::BlobSizeWrong && !p.repaired)
            .filter_map(|p| p.digest)
            .collect();
        let told: BTreeSet<Digest> = report.problems.iter().filter_map(|p| p.digest).collect();
        let rows = self.rows(repair, unsure).await?;
        report.rows = rows.examined;
        let mut problems = rows.problems;
        if repair {
            self.condemned(&mut problems).await?;
        }
        for (digest, kind) in &rows.rowless {
            problems.push(self.rowless(digest, *kind, repair, speed).await?);
        }
        for digest in rows.distrusted.iter().filter(|d| !told.contains(d)) {
            let Some(content) = self.0.repos.content(digest).await? else {
                continue;
            };
            if let Some((content, state)) = self.confirmed(&content, true, speed).await? {
                problems.push(self.judge(&content, state, repair).await?);
            }
        }
        self.spare_bytes(repair, &mut problems).await?;
        self.files(repair, &rows.rowless, &mut problems).await?;
        for problem in problems {
            report.add(problem);
        }
        Ok(())
    }

    /// The pass over the rows, with what the uploads' files are.
    async fn rows(
        &self,
        repair: bool,
        unsure: BTreeSet<Digest>,
    ) -> Result<crate::repo::check::Rows, RepoError> {
        let online = self.is_online();
        let options = RowsOptions {
            repair,
            online,
            unsure,
        };
        let mut rows = self.0.repos.check_rows(options).await?;
        // Files first: what is written between the two looks is longer than its row says, never shorter.
        let mut files = Vec::new();
        let looks = if online { 2 } else { 1 };
        for look in 1..=looks {
            let blobs = self.0.blobs.clone();
            files = blocking(move || blobs.uploads()).await??;
            let last = look == looks;
            let found = self
                .0
                .repos
                .check_uploads(files.clone(), repair && last)
                .await?;
            if last {
                rows.problems.extend(found);
            } else if found.is_empty() {
                break;
            } else {
                tokio::time::sleep(MOMENT).await;
            }
        }
        self.torn_files(&files, &mut rows.problems).await?;
        self.uploads_of_nobody(&files, repair, &mut rows.problems)
            .await?;
        Ok(rows)
    }

    /// Bytes in the database that no blob's row needs: kept in the quarantine, then dropped.
    async fn spare_bytes(
        &self,
        repair: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<(), RepoError> {
        let mut from = Vec::new();
        loop {
            let (spare, next) = self.0.repos.spare_bytes(from).await?;
            for (digest, bytes) in spare {
                let told = problems.iter().any(|p| {
                    p.digest == Some(digest)
                        && matches!(p.kind, Kind::BlobRowMissing | Kind::BlobRowUnreadable)
                });
                if told {
                    continue;
                }
                let what = format!("the database has bytes of {digest} that no blob needs");
                let problem = Problem::new(Kind::InlineExtra, what).digest(&digest);
                if !repair {
                    problems.push(problem.how("--repair moves them to quarantine/"));
                    continue;
                }
                let blobs = self.0.blobs.clone();
                let to = blocking(move || blobs.quarantine_bytes(&digest, &bytes)).await??;
                self.0.repos.drop_bytes(&digest).await?;
                problems.push(problem.done(format!("moved to {to}")));
            }
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }
}
