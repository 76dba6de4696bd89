//! How far a job is, counted from its news: what the job's row says, and the lines of its log.

use super::ops::Progress;
use crate::mirror::MirrorProgress;
use serde::Serialize;
use std::collections::HashMap;

/// Lines that wait to be written.
const LINES: usize = 50;

/// The figures of a mirror run; of other work what it told last.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Manifests of the closure.
    manifests: u64,
    /// Its blobs.
    blobs: u64,
    /// Their bytes.
    bytes: u64,
    /// Blobs that are here, fetched or found.
    blobs_done: u64,
    /// Bytes that are here.
    bytes_done: u64,
    #[serde(skip)]
    told: Option<String>,
    #[serde(skip)]
    growing: HashMap<String, u64>,
    #[serde(skip)]
    lines: Vec<String>,
}

impl Tally {
    /// Counts one piece of news.
    pub fn hear(&mut self, now: &Progress) {
        let Progress::Mirror(now) = now else {
            self.told = serde_json::to_string(now).ok();
            return;
        };
        match now {
            MirrorProgress::Resolved {
                digest,
                manifests,
                blobs,
                bytes,
            } => {
                (self.manifests, self.blobs, self.bytes) = (*manifests, *blobs, *bytes);
                self.line(format!(
                    "{digest}: {manifests} manifests, {blobs} blobs, {bytes} bytes"
                ));
            }
            MirrorProgress::Blob { digest, size, done } => {
                let before = self.growing.get(digest).copied().unwrap_or(0);
                self.bytes_done = self.bytes_done.saturating_sub(before) + done;
                if done == size {
                    self.growing.remove(digest);
                    self.blobs_done += 1;
                } else {
                    self.growing.insert(digest.clone(), *done);
                }
            }
            MirrorProgress::Skipped { size, .. } => {
                self.blobs_done += 1;
                self.bytes_done += size;
            }
            MirrorProgress::Retry { why, wait_ms } => {
                self.line(format!("{why}; again in {wait_ms} ms"));
            }
            MirrorProgress::Committed { manifests, tags } => {
                self.line(format!(
                    "{manifests} manifests are visible, tags {}",
                    tags.join(", ")
                ));
            }
        }
    }

    /// The figures as JSON.
    pub fn json(&self) -> String {
        let told = self.told.clone();
        told.unwrap_or_else(|| serde_json::to_string(self).unwrap_or_default())
    }

    fn line(&mut self, text: String) {
        if self.lines.len() < LINES {
            self.lines.push(text);
        }
    }

    /// The lines since the last time.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_once() {
        let mut tally = Tally::default();
        let blob = |done| {
            Progress::Mirror(MirrorProgress::Blob {
                digest: "sha256:00".into(),
                size: 10,
                done,
            })
        };
        for done in [3, 7, 10] {
            tally.hear(&blob(done));
        }
        tally.hear(&Progress::Mirror(MirrorProgress::Skipped {
            digest: "sha256:01".into(),
            size: 5,
        }));
        assert_eq!((tally.blobs_done, tally.bytes_done), (2, 15));
    }
}
