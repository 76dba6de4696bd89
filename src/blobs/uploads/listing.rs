//! Lists of the files in DIR/uploads, in pieces: there may be many, and each costs a call.

use crate::blobs::files::{Files, Seen};
use crate::blobs::{BlobError, Purpose, UploadFile, UploadName};
use std::fs::ReadDir;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

/// The files of sessions or of fills, as far as they were not listed yet. Files of other names are left alone.
pub struct UploadListing {
    files: Arc<Files>,
    purpose: Purpose,
    dir: Option<(PathBuf, ReadDir)>,
    round: u64,
}

impl UploadListing {
    pub(in crate::blobs) fn open(files: Arc<Files>, purpose: Purpose) -> Result<Self, BlobError> {
        let dir = match files.real("uploads") {
            Ok(Some(dir)) => {
                let entries = dir.read_dir().map_err(BlobError::io("list", &dir))?;
                Some((dir, entries))
            }
            // A check tells of what is there instead.
            Ok(None) | Err(BlobError::Folder(..)) => None,
            Err(e) => return Err(e),
        };
        let round = files.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Self {
            files,
            purpose,
            dir,
            round,
        })
    }

    /// What the next `most` entries of the folder are, of which some may be no such files; `None` at the end.
    pub fn some(&mut self, most: usize) -> Result<Option<Vec<UploadFile>>, BlobError> {
        let Some((dir, entries)) = &mut self.dir else {
            return Ok(None);
        };
        let (mut found, mut ended) = (Vec::new(), true);
        for entry in entries.take(most) {
            ended = false;
            let entry = entry.map_err(BlobError::io("list", dir))?;
            let name = entry.file_name().to_str().and_then(UploadName::parse);
            let Some(name) = name.filter(|name| name.purpose == self.purpose) else {
                continue;
            };
            let listed = &self.files.counts.uploads_listed;
            listed.fetch_add(1, Ordering::Relaxed);
            match entry.metadata() {
                Ok(meta) if !meta.is_file() => {}
                Ok(meta) => found.push((name, (meta.len(), meta.modified().ok()))),
                // Finished or discarded since the folder was read.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(BlobError::io("look at", &entry.path())(e)),
            }
        }
        if ended {
            self.dir = None;
            let (purpose, round) = (self.purpose, self.round);
            seen(&self.files).retain(|name, seen| name.purpose != purpose || seen.round >= round);
            return Ok(None);
        }
        let (round, mut seen) = (self.round, seen(&self.files));
        let found = found.into_iter().map(|(name, state)| {
            let now = Seen {
                state,
                since: Instant::now(),
                round,
            };
            let seen = seen.entry(name).or_insert(now);
            if seen.state != state {
                (seen.state, seen.since) = (state, Instant::now());
            }
            seen.round = seen.round.max(round);
            UploadFile {
                name,
                len: state.0,
                idle: seen.since.elapsed(),
            }
        });
        Ok(Some(found.collect()))
    }
}

fn seen(files: &Files) -> MutexGuard<'_, std::collections::HashMap<UploadName, Seen>> {
    files.seen.lock().unwrap_or_else(PoisonError::into_inner)
}
