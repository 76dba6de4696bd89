//! The reserve: preallocated room, `DIR/reserve`, given up when the disk is full so that deletes can still commit.
//!
//! It is made again when there is clearly room for it. Bytes 0 means no reserve.

use super::error::io;
use super::lock::open_private;
use super::{StoreError, StoreErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The file's name in the data directory.
pub(super) const FILE: &str = "reserve";
/// How long a full disk is left alone before the reserve is made again.
const REST: Duration = Duration::from_mins(1);

pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// When it was given up or could not be made; `None` while it is held.
    missing_since: Mutex<Option<Instant>>,
}

impl Reserve {
    /// The reserve of a data directory, made if it is not there. A disk too full for it is logged, not an error: the
    /// server is needed to delete something.
    pub fn open(dir: &Path, bytes: u64) -> Self {
        let reserve = Self {
            path: dir.join(FILE),
            bytes,
            missing_since: Mutex::new(None),
        };
        if let Err(error) = reserve.make() {
            tracing::warn!(%error, "no reserve could be set aside: a full disk will leave no room for deletes");
            *super::lock_of(&reserve.missing_since) = Some(Instant::now());
        }
        reserve
    }

    /// Whether the room is set aside (true if none is wanted).
    pub fn is_held(&self) -> bool {
        super::lock_of(&self.missing_since).is_none()
    }

    /// Does something, and once more with the room that this gives up if the disk was too full for it.
    pub fn lent_to<T>(
        &self,
        mut work: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match work() {
            Err(e) if e.kind() == StoreErrorKind::NoSpace && self.release() => work(),
            other => other,
        }
    }

    /// Gives the room up. Says whether there was any to give.
    pub fn release(&self) -> bool {
        let mut missing = super::lock_of(&self.missing_since);
        let held = missing.is_none() && self.bytes > 0;
        if held {
            match open_private(&self.path)
                .and_then(|f| f.set_len(0).map_err(|e| io("truncate", &e)))
            {
                Ok(()) => tracing::warn!(
                    bytes = self.bytes,
                    "the disk is full: the reserve was given up"
                ),
                Err(error) => {
                    tracing::error!(%error, "the disk is full and the reserve cannot be given up");
                }
            }
        }
        if self.bytes > 0 {
            *missing = Some(Instant::now());
        }
        held
    }

    /// Makes a missing reserve again, once it has rested and the disk has twice the room to spare.
    pub fn restore(&self) {
        let mut missing = super::lock_of(&self.missing_since);
        if missing.is_none_or(|since| since.elapsed() < REST) {
            return;
        }
        *missing = match self.has_room().then(|| self.make()) {
            Some(Ok(())) => {
                tracing::info!(bytes = self.bytes, "the reserve is set aside again");
                None
            }
            _ => Some(Instant::now()),
        };
    }

    fn has_room(&self) -> bool {
        let free = self
            .path
            .parent()
            .and_then(|dir| rustix::fs::statvfs(dir).ok())
            .map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
        free / 2 >= self.bytes
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the reserve is the store's own file, not content"
    )]
    fn make(&self) -> Result<(), StoreError> {
        if self.bytes == 0 {
            // An earlier run may have wanted one.
            return match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(io("remove the reserve", &e))
                }
                _ => Ok(()),
            };
        }
        let file = open_private(&self.path)?;
        let made = file.set_len(self.bytes).and_then(|()| {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes)
                .map_err(std::io::Error::from)
        });
        if made.is_err() {
            // Half a reserve is none; what it took goes back.
            let _ = file.set_len(0);
        }
        made.map_err(|e| io("set aside the reserve", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn room_is_taken_given_up_and_not_taken_back_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let reserve = Reserve::open(dir.path(), 1 << 20);
        assert!(reserve.is_held());
        assert!(path.metadata().unwrap().blocks() * 512 >= 1 << 20);
        assert!(reserve.release());
        assert!(!reserve.release());
        reserve.restore();
        assert_eq!(path.metadata().unwrap().len(), 0);
        *super::super::lock_of(&reserve.missing_since) = Instant::now().checked_sub(REST);
        reserve.restore();
        assert!(reserve.is_held());
        assert_eq!(path.metadata().unwrap().len(), 1 << 20);
        let none = Reserve::open(dir.path(), 0);
        assert!(none.is_held() && !none.release() && !path.exists());
    }
}
