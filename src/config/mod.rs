//! Settings: read from file, environment and flags, checked, and kept with their origin (DESIGN.md section 6).
//! Opens nothing but the configuration file; applies no setting itself.
//!
//! One section of the file is one file below [`sections`] and one struct. A setting is one field of it, declared with its name,
//! kind, default, preset, bounds and meaning in one place (`section.rs` says how); layers, generated file, `config print` and
//! reload follow from that.

mod entries;
mod file;
mod key;
mod layers;
mod network;
mod section;
pub mod sections;
mod text;
mod value;

pub use entries::SettingOrigin;
pub use layers::{LoadOptions, Loaded, load, load_text};
pub use network::Network;
pub use sections::{Config, Http2Setting, Mode, ProxyHeader};
pub use text::{Setting, generate, mode_file};
pub use value::{duration as duration_ms, size as size_bytes};

use crate::datadir::{DirError, DirErrorKind};
use std::path::PathBuf;

/// Which kind of mistake it was; the command line takes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// Somebody wrote something wrong (exit code 2).
    Usage,
    /// The directory that holds the file is not to be trusted (exit code 3).
    Refused,
}

/// A configuration that cannot be used. The text says where, what and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag holds something that is not understood.
    #[error("{place}: {problem}")]
    Value {
        /// `/etc/x.toml`, `environment DRYPORT_X` or `flag --x`.
        place: String,
        /// What is wrong, with the line of a file.
        problem: String,
    },
    /// The configuration file is there (or was named) and cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file lies in a directory that others can write.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Each value is right alone, but they do not go together.
    #[error("{0}")]
    Together(String),
    /// Mode `full`.
    #[error(
        "mode `full` needs a PostgreSQL database, an S3 store and an LDAP or OpenID Connect server, and is not in this version; use mode `mirror` or `standalone`"
    )]
    Full,
}

impl ConfigError {
    /// The kind, for the exit code.
    pub fn kind(&self) -> ConfigErrorKind {
        match self {
            Self::Dir(error) if error.kind() == DirErrorKind::Refused => ConfigErrorKind::Refused,
            _ => ConfigErrorKind::Usage,
        }
    }
}
