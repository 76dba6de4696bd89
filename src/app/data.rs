//! The data directory as a whole: who may look into it, whether it is Dryport's, and the few small files that `app`
//! itself keeps there (`dryport.toml`, `initial-password`, `keys/`).
//!
//! Contents, database and certificates have their own modules; nothing of theirs is touched here.

use super::AppError;
use crate::datadir;
use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// The configuration file below the data directory.
pub const CONFIG: &str = "dryport.toml";
/// Holds a password that nobody typed, until it was used once.
pub const INITIAL_PASSWORD: &str = "initial-password";
/// The database; where it is, the directory is in use.
const DATABASE: &str = "meta.redb";

/// What a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirState {
    /// Nothing there, or an empty directory, or nothing in it but a `dryport.toml`.
    Empty,
    /// Dryport's data.
    Ours,
    /// Something else lives there.
    Foreign,
}

/// Looks at `dir` without changing anything.
pub fn look(dir: &Path) -> Result<DirState, AppError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(DirState::Empty),
        Err(error) => return Err(AppError::file(dir, error)),
    };
    let mut foreign = false;
    for entry in entries {
        let name = entry.map_err(|e| AppError::file(dir, e))?.file_name();
        if name == DATABASE {
            return Ok(DirState::Ours);
        }
        // A fresh file system has lost+found; the rest is made before the database, by a first start that was cut short.
        let expected = [
            "lost+found",
            CONFIG,
            "dryport.toml.new",
            "lock",
            "meta.redb.new",
            "reserve",
            "run",
            "tls",
            "keys",
        ];
        foreign |= !expected.iter().any(|e| name == *e);
    }
    Ok(if foreign {
        DirState::Foreign
    } else {
        DirState::Empty
    })
}

/// Makes `dir` (mode 0700 whatever the umask; parents by the umask) and its folders of our own.
pub fn prepare(dir: &Path) -> Result<(), AppError> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(|e| AppError::file(parent, e))?;
    }
    private_dir(dir)?;
    private_dir(&dir.join("run"))?;
    private_dir(&dir.join("keys"))
}

/// A directory that only its owner may enter.
fn private_dir(dir: &Path) -> Result<(), AppError> {
    let fail = |e| AppError::file(dir, e);
    let new = match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(fail(error)),
    };
    match std::fs::set_permissions(dir, Permissions::from_mode(0o700)) {
        // A directory that was there may belong to root, such as a mounted volume: it keeps its mode, which lets nobody
        // else write.
        Err(error) if !new => {
            tracing::warn!(dir = %dir.display(), %error, "the data directory's mode cannot be set to 0700: others may be able to enter it");
            Ok(())
        }
        set => set.map_err(fail),
    }
}

/// Writes a small file that only its owner may read: whole or not at all, and durable. An existing one is replaced.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), AppError> {
    datadir::replace(path, content, 0o600).map_err(|e| AppError::file(path, e))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn directories_are_private_and_told_apart() {
        let top = tempfile::tempdir().expect("temp");
        let dir = top.path().join("a/b");
        assert_eq!(look(&dir).expect("look"), DirState::Empty);
        prepare(&dir).expect("made");
        prepare(&dir).expect("again");
        assert_eq!((mode(&dir), mode(&dir.join("keys"))), (0o700, 0o700));
        assert_eq!(look(&dir).expect("look"), DirState::Empty);
        write_private(&dir.join(CONFIG), b"mode = \"mirror\"\n").expect("written");
        assert_eq!(mode(&dir.join(CONFIG)), 0o600);
        assert_eq!(look(&dir).expect("look"), DirState::Empty);
        // A first start that was killed while it made the database.
        for name in ["lock", "reserve", "meta.redb.new"] {
            std::fs::write(dir.join(name), b"x").expect("written");
        }
        assert_eq!(look(&dir).expect("look"), DirState::Empty);
        std::fs::write(dir.join("holiday.jpg"), b"x").expect("written");
        assert_eq!(look(&dir).expect("look"), DirState::Foreign);
        std::fs::write(dir.join(DATABASE), b"x").expect("written");
        assert_eq!(look(&dir).expect("look"), DirState::Ours);
    }
}
