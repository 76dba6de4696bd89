//! Why a data directory is refused, in words that say what to do.

use super::identity::name_of;
use std::io;
use std::path::PathBuf;

/// A data directory that is not used as it is.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Others may write it.
    #[error(
        "{path} may be written by {who} (mode {mode:04o}): whoever can write there can take over the registry. See what was changed in it, then: {remedy}",
        path = .path.display()
    )]
    Writable {
        /// The directory.
        path: PathBuf,
        /// `anybody`, or the group.
        who: String,
        /// Its mode, without its type.
        mode: u32,
        /// What to type.
        remedy: String,
    },
    /// It belongs to somebody who is neither its user nor root.
    #[error(
        "{path} belongs to {theirs}, and this process is {ours}. Run this as {theirs} or as root, or give the directory away: chown -R {us} '{path}'",
        path = .path.display(), theirs = name_of(*.owner), ours = name_of(*.us)
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A folder in it belongs to somebody else.
    #[error(
        "{path} belongs to {theirs}, and the data directory to {wanted}. See what was changed in it, then: chown -R {uid} '{path}'",
        path = .path.display(), theirs = name_of(*.owner), wanted = name_of(*.uid)
    )]
    Inside {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        uid: u32,
    },
    /// Others may put something else in its place.
    #[error(
        "{who} can put another directory in the place of {dir}, because {path} {why}. Choose a directory that only its user and root can reach from above, or: {remedy} '{path}'",
        dir = .dir.display(), path = .path.display()
    )]
    Above {
        /// The data directory.
        dir: PathBuf,
        /// The directory, or link, on the way to it.
        path: PathBuf,
        /// Who.
        who: String,
        /// What is wrong with the way.
        why: String,
        /// A command, without the path.
        remedy: String,
    },
    /// Something else has the name of the directory, or of one of its folders.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Strange(PathBuf, #[source] io::Error),
    /// It was writable by others until now, and it is not empty.
    #[error(
        "{path} could be written by others until now, and holds something already. See what it is, then say this again",
        path = .0.display()
    )]
    Planted(PathBuf),
    /// The system does not let us look.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Look(PathBuf, #[source] io::Error),
    /// Root could not become the owner.
    #[error(
        "{path} belongs to {name}, and this process, which is root, cannot become that user ({why}). Start it as user {uid}",
        path = .path.display(), name = name_of(*.uid)
    )]
    Become {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The system's answer.
        why: String,
    },
    /// Its owner cannot reach it.
    #[error(
        "{name}, to whom {path} belongs, cannot reach it: a directory above it lets only others in ({why})",
        path = .path.display(), name = name_of(*.uid)
    )]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The system's answer.
        why: String,
    },
}

/// The kinds of [`DirError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirErrorKind {
    /// Somebody has to change owner, mode or place first.
    Refused,
    /// The system failed.
    Io,
}

impl DirError {
    /// What kind it is.
    pub fn kind(&self) -> DirErrorKind {
        match self {
            Self::Look(..) => DirErrorKind::Io,
            _ => DirErrorKind::Refused,
        }
    }
}
