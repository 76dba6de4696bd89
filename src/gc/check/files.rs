//! Files against rows: content files that no row names, uploads of nobody, and what Dryport did not make.

use super::Checker;
use super::contents::blocking;
use crate::blobs::{Foreign, Place, UploadFile};
use crate::repo::RepoError;
use crate::repo::check::{Problem, ProblemKind};
use crate::types::{Algorithm, Digest, Remedy};
use std::collections::BTreeMap;

impl Checker {
    /// Every file of `blobs/` and `uploads/`. `spoken_for`: digests whose files another problem speaks of.
    pub(super) async fn files(
        &self,
        repair: bool,
        spoken_for: &BTreeMap<Digest, ProblemKind>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), RepoError> {
        let blobs = self.0.blobs.clone();
        for file in blocking(move || blobs.content.strangers()).await?? {
            problems.push(self.stranger(file, repair).await?);
        }
        for algorithm in Algorithm::ALL {
            for byte in 0..=u8::MAX {
                let blobs = self.0.blobs.clone();
                let listed = match blocking(move || blobs.content.places_in(algorithm, byte))
                    .await?
                {
                    Ok(listed) => listed,
                    Err(error) => {
                        let problem = Problem::new(ProblemKind::BlobUnreadable, error.to_string());
                        problems.push(problem.how("look at the disk, and at the folder's mode"));
                        continue;
                    }
                };
                for file in listed.foreign {
                    problems.push(self.stranger(file, repair).await?);
                }
                if listed.places.is_empty() {
                    continue;
                }
                let mut places = self.0.repos.unknown_places(listed.places).await?;
                places.retain(|p| p.digest().is_ok_and(|d| !spoken_for.contains_key(&d)));
                for place in places {
                    if self.is_stray(&place) {
                        problems.push(self.stray(&place, repair).await?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Content files that have been without a row for long enough; the others are remembered. They are counted and stay:
    /// where `meta.redb` was lost and an older copy was put back, these are the only bytes of what came since, and
    /// `--repair`, which a person asks for, moves them to the quarantine. What the collector removes had a row that said
    /// so.
    pub(super) async fn look_for_strays(&self) -> Result<u64, RepoError> {
        let mut strays = 0;
        for algorithm in Algorithm::ALL {
            for byte in 0..=u8::MAX {
                let blobs = self.0.blobs.clone();
                let listed = blocking(move || blobs.content.places_in(algorithm, byte)).await??;
                if listed.places.is_empty() {
                    continue;
                }
                let places = self.0.repos.unknown_places(listed.places).await?;
                strays += places.iter().filter(|place| self.is_stray(place)).count() as u64;
            }
        }
        Ok(strays)
    }

    /// Whether a file without a row has been one for long enough.
    fn is_stray(&self, place: &Place) -> bool {
        if !self.is_online() {
            return true;
        }
        let now = self.0.repos.running_ms();
        self.strays().is_settled(&place.0, now)
    }

    async fn stray(&self, place: &Place, repair: bool) -> Result<Problem, RepoError> {
        let what = format!("{place} belongs to no blob");
        let mut problem = Problem::new(ProblemKind::StrayFile, what).file(format!("blobs/{place}"));
        if let Ok(digest) = place.digest() {
            problem = problem.digest(&digest);
        }
        if !repair {
            return Ok(problem
                .how("a repair moves it to quarantine/")
                .mended_by(Remedy::Repair));
        }
        // The collector would remove what is condemned here before it has come to the quarantine.
        let _file_stays = self.0.repos.without_removals().await;
        // A commit that still meant to name it is refused from here on and tries again.
        if self.is_online() && !self.0.repos.condemn_stray(place).await? {
            return Ok(problem.done("a blob has it by now"));
        }
        self.move_away(problem).await
    }

    async fn stranger(&self, found: Foreign, repair: bool) -> Result<Problem, RepoError> {
        let Foreign { file, is } = found;
        let kind = if file.starts_with("uploads") {
            ProblemKind::ForeignUpload
        } else {
            ProblemKind::ForeignFile
        };
        let what = if is.is_empty() {
            format!("{file} is not Dryport's")
        } else {
            format!("{file} is {is}, and not Dryport's")
        };
        let problem = Problem::new(kind, what).file(file);
        if repair {
            self.move_away(problem).await
        } else {
            Ok(problem
                .how("a repair moves it to quarantine/")
                .mended_by(Remedy::Repair))
        }
    }

    /// Moves the file of a problem to the quarantine.
    pub(super) async fn move_away(&self, problem: Problem) -> Result<Problem, RepoError> {
        let Some(file) = problem.file.clone() else {
            return Ok(problem);
        };
        let blobs = self.0.blobs.clone();
        Ok(
            match blocking(move || blobs.content.quarantine(&file)).await? {
                Ok(Some(to)) => problem.done(format!("moved to {to}")),
                Ok(None) => problem.done("it is gone"),
                Err(error) => problem.how(error.to_string()),
            },
        )
    }

    /// Upload files of repositories that never existed.
    pub(super) async fn uploads_of_nobody(
        &self,
        files: &[UploadFile],
        repair: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<(), RepoError> {
        let next = self.0.repos.next_number().await?;
        // Number 0 is that of manifests on their way in.
        for file in files.iter().filter(|file| file.name.repo.0 >= next) {
            let what = format!(
                "upload {} for repository number {}, which never existed",
                file.name.id, file.name.repo.0
            );
            let problem = Problem::new(ProblemKind::UploadFileWithoutRepo, what).file(file.path());
            problems.push(if repair {
                self.move_away(problem).await?
            } else {
                problem
                    .how("a repair moves it to quarantine/")
                    .mended_by(Remedy::Repair)
            });
        }
        Ok(())
    }

    /// Upload files shorter than their rows said, once the rows are gone, and files of fills that no row names: nothing can
    /// be gone on with from them.
    pub(super) async fn torn_files(
        &self,
        files: &[UploadFile],
        repair: bool,
        problems: &mut [Problem],
    ) -> Result<(), RepoError> {
        for at in 0..problems.len() {
            let Some(problem) = problems.get(at).filter(|p| is_torn(p, repair)) else {
                continue;
            };
            if files.iter().any(|f| problem.file == Some(f.path())) {
                let moved = self.move_away(problem.clone()).await?;
                if let Some(place) = problems.get_mut(at) {
                    *place = moved;
                }
            }
        }
        Ok(())
    }

    /// Files of condemned rows that were left behind: they are removed, as the collection had decided.
    pub(super) async fn condemned(&self, problems: &mut [Problem]) -> Result<(), RepoError> {
        let left = |p: &Problem| p.kind == ProblemKind::CondemnedLeft && !p.repaired;
        if !problems.iter().any(left) {
            return Ok(());
        }
        let mut pass = self.0.repos.unlink_condemned();
        while pass.has_more() {
            pass.some(1000).await?;
        }
        pass.end()?;
        for problem in problems.iter_mut().filter(|p| left(p)) {
            problem.repaired = true;
            problem.how = "removed, as was decided".into();
        }
        Ok(())
    }
}

fn is_torn(problem: &Problem, repair: bool) -> bool {
    match problem.kind {
        ProblemKind::UploadTorn | ProblemKind::FillTorn => problem.repaired,
        ProblemKind::FillFileLeft => repair,
        _ => false,
    }
}
