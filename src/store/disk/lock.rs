//! The exclusive lock on a data directory, and the creation of the store's files.
//!
//! `DIR/lock` is locked (flock) for as long as the store is open and says who holds it: "pid NNN, HOLDER". The lock
//! dies with its process; a file left behind is harmless.

use crate::datadir;
use crate::store::StoreError;
use crate::store::error::io;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// A held lock; dropping it lets the next process in.
pub(in crate::store) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock of `dir` at once or says who has it.
    pub fn take(dir: &Path, holder: &str) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let what = || format!("lock {}", path.display());
        let mut file = open_private(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    dir: dir.display().to_string(),
                    holder: held_by(&mut file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(io(what(), &e)),
        }
        // Nobody needs this text to survive: a full disk must not keep the server from starting.
        let told = file
            .set_len(0)
            .and_then(|()| writeln!(file, "pid {}, {holder}", std::process::id()));
        if let Err(e) = told {
            tracing::warn!(error = %e, path = %path.display(), "the lock file does not name its holder");
        }
        Ok(Self { file })
    }
}

impl Drop for DirLock {
    /// Gives the lock back at once: closing alone would leave it with a child that is between fork and exec, which has
    /// the same open file (flock(2)).
    fn drop(&mut self) {
        // What cannot be unlocked goes when the file is closed.
        let _ = self.file.unlock();
    }
}

/// The holder's own words, cut to one short printable line.
fn held_by(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // An unreadable text leaves the answer vague, not wrong.
    let _ = file.take(200).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let line: String = text.chars().take_while(|c| !c.is_control()).collect();
    if line.is_empty() {
        "another process".into()
    } else {
        line
    }
}

/// Opens a file of the store's own for reading and writing; a new one gets mode 0600, whatever the umask. A link, or a
/// file that has other names, is an error.
pub(in crate::store) fn open_private(path: &Path) -> Result<File, StoreError> {
    datadir::open_own(path).map_err(|e| io(format!("open {}", path.display()), &e))
}

/// Creates the data directory (mode 0700) unless it is there.
pub(in crate::store) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| io(format!("create {}", dir.display()), &e))
}

/// Makes created and renamed files of `dir` survive a power cut.
pub(in crate::store) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| io(format!("sync {}", dir.display()), &e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::DirLock;

    #[test]
    fn a_lock_that_is_given_back_is_free_though_a_child_has_the_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path(), "one").unwrap();
        let forked = lock.file.try_clone().unwrap();
        drop(lock);
        DirLock::take(dir.path(), "two").unwrap();
        drop(forked);
    }
}
