//! The check: every row against its sources, every file against its row, every byte against its digest; and the scrub,
//! which does the last of these all the time, slowly.
//!
//! What rows must be is [`crate::repo::check`]'s, what files are is `blobs`'. Here is when, how fast, and what is done
//! about it: rows are mended in small transactions, files move to `quarantine/`, and nothing is decided by guess. On a
//! healthy store nothing is written.

mod accounts;
mod bytes;
mod contents;
mod files;
mod news;
mod pace;
mod scrub;
mod strays;

pub use news::CheckProgress;
pub use scrub::{ScrubCounters, ScrubProgress};

use super::alone::Last;
use crate::auth::Auth;
use crate::blobs::{BlobError, Blobs};
use crate::repo::check::{CameFrom, Level, Problem, ProblemKind, RowsOptions};
use crate::repo::{RepoError, Repos};
use crate::types::Digest;
use contents::blocking;
use news::Far;
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strays::Strays;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Blobs of one read.
const PAGE: usize = 200;
/// Problems that a report lists; the rest is counted.
const LISTED: usize = 10_000;
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
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub struct CheckRequest {
    /// Read all bytes of all blobs.
    pub deep: bool,
    /// Mend what can be mended.
    pub repair: bool,
    /// Read as fast as the disk gives, whatever `check.rate` says.
    pub fast: bool,
}

/// What a check found.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct CheckReport {
    /// Everything that is wrong, at most 10,000 of them.
    pub problems: Vec<Problem>,
    /// How many there are of each kind.
    pub kinds: BTreeMap<ProblemKind, u64>,
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
    pub fn wanted(&self) -> Vec<(Digest, Vec<CameFrom>)> {
        let open = self.problems.iter().filter(|p| !p.repaired);
        open.filter(|p| !p.upstreams.is_empty() && is_about_bytes(p.kind))
            .filter_map(|p| Some((p.digest?, p.upstreams.clone())))
            .collect()
    }
}

fn is_about_bytes(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::BlobMissing
            | ProblemKind::BlobTruncated
            | ProblemKind::BlobCorrupt
            | ProblemKind::BlobAwaitsPush
            | ProblemKind::BlobRowMissing
            | ProblemKind::BlobRowUnreadable
            | ProblemKind::BlobPlaceWrong
            | ProblemKind::InlineMissing
            | ProblemKind::InlineCorrupt
    )
}

/// Checks; cheap to clone.
#[derive(Clone)]
pub struct Checker(Arc<Inner>);

struct Inner {
    repos: Repos,
    blobs: Blobs,
    auth: Auth,
    options: CheckOptions,
    /// Held by the one check that runs.
    turn: Turn<()>,
    online: AtomicBool,
    strays: Mutex<Strays>,
    scrub: scrub::Counts,
    /// The last pass of the scrub, and what ends the one that runs.
    alone: Last<ScrubProgress>,
    pass: Mutex<Option<CancellationToken>>,
}

impl Checker {
    /// A checker of these repositories, contents and accounts; nothing runs yet.
    pub fn new(repos: Repos, blobs: Blobs, auth: Auth, options: CheckOptions) -> Self {
        Self(Arc::new(Inner {
            repos,
            blobs,
            auth,
            options,
            turn: Turn::new(()),
            online: AtomicBool::new(false),
            strays: Mutex::default(),
            scrub: scrub::Counts::default(),
            alone: Last::default(),
            pass: Mutex::default(),
        }))
    }

    /// From now on clients work on the same data.
    pub fn set_online(&self) {
        self.0.online.store(true, Ordering::Relaxed);
    }

    fn is_online(&self) -> bool {
        self.0.online.load(Ordering::Relaxed)
    }

    fn strays(&self) -> MutexGuard<'_, Strays> {
        // Valid after every step.
        self.0.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One check, after one that is running. `news` hears a few times a second how far it is, from any thread, and must
    /// not block. `stop` ends it early; a deep one is then taken up by the next.
    pub async fn check(
        &self,
        request: CheckRequest,
        news: impl Fn(CheckProgress) + Send + Sync + 'static,
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
        let far = Far::new(speed.clone());
        let _telling = far.tell(news);
        self.all_contents(request, &speed, &far, &mut report)
            .await?;
        if !report.interrupted {
            far.at_rows();
            self.all_rows(request.repair, &speed, &mut report).await?;
        }
        report.bytes_read = speed.read();
        report.took_ms = begun.elapsed().as_millis() as u64;
        report.sum_up();
        Ok(report)
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
            .filter(|p| p.kind == ProblemKind::BlobSizeWrong && !p.repaired)
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
        report.rows += self.accounts(repair, &mut problems).await?;
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
    ) -> Result<crate::repo::check::RowFindings, RepoError> {
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
            files = blocking(move || {
                let mut files = blobs.uploads.sessions()?;
                files.extend(blobs.uploads.fills()?);
                Ok::<_, BlobError>(files)
            })
            .await??;
            let last = look == looks;
            let found = self
                .0
                .repos
                .check_uploads(files.clone(), repair && last, online)
                .await?;
            if last {
                rows.problems.extend(found);
            } else if found.is_empty() {
                break;
            } else {
                tokio::time::sleep(MOMENT).await;
            }
        }
        self.torn_files(&files, repair, &mut rows.problems).await?;
        self.uploads_of_nobody(&files, repair, &mut rows.problems)
            .await?;
        Ok(rows)
    }
}
