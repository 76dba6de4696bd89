//! The pass over all contents: every blob's bytes, in the order of digests, from where an interrupted deep check was; and
//! the bytes in the database that no blob needs.

use super::contents::blocking;
use super::news::Far;
use super::pace::Pace;
use super::{CheckReport, CheckRequest, Checker, PAGE};
use crate::repo::RepoError;
use crate::repo::check::{Problem, ProblemKind};
use crate::types::Remedy;
use std::time::Duration;
use tokio::time::Instant;

/// So often a deep check notes how far it is: what a crash makes it read again is at most what it read in this time,
/// and one blob.
const NOTED: Duration = Duration::from_secs(5);
/// Where a deep check that was interrupted goes on.
const NOTE: &str = "check.deep";

impl Checker {
    /// Every blob's bytes.
    pub(super) async fn all_contents(
        &self,
        request: CheckRequest,
        speed: &Pace,
        far: &Far,
        report: &mut CheckReport,
    ) -> Result<(), RepoError> {
        let mut from = if request.deep {
            self.0.repos.note_of(NOTE).await?
        } else {
            Vec::new()
        };
        report.resumed = !from.is_empty();
        far.begin(
            self.0.repos.contents_size(from.clone()).await?,
            request.deep,
        );
        let mut noted = Instant::now();
        loop {
            let (page, next) = self.0.repos.contents(from.clone(), PAGE).await?;
            for content in &page {
                report.blobs += 1;
                far.at_blob();
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
                far.past_blob(content.size);
                if request.deep && noted.elapsed() > NOTED {
                    let after = [content.digest.as_key(), &[0]].concat();
                    let here = report.resume_at(&after);
                    self.0.repos.set_note(NOTE, here).await?;
                    noted = Instant::now();
                }
            }
            let Some(next) = next else {
                break;
            };
            from = next;
        }
        // Nothing is written unless something was.
        if request.deep && !self.0.repos.note_of(NOTE).await?.is_empty() {
            self.0.repos.set_note(NOTE, Vec::new()).await?;
        }
        Ok(())
    }

    /// Bytes in the database that no blob's row needs: kept in the quarantine, then dropped.
    pub(super) async fn spare_bytes(
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
                        && matches!(
                            p.kind,
                            ProblemKind::BlobRowMissing | ProblemKind::BlobRowUnreadable
                        )
                });
                if told {
                    continue;
                }
                let what = format!("the database has bytes of {digest} that no blob needs");
                let problem = Problem::new(ProblemKind::InlineExtra, what).digest(&digest);
                if !repair {
                    problems.push(
                        problem
                            .how("a repair moves them to quarantine/")
                            .mended_by(Remedy::Repair),
                    );
                    continue;
                }
                let blobs = self.0.blobs.clone();
                let to =
                    blocking(move || blobs.content.quarantine_bytes(&digest, &bytes)).await??;
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
