//! Settings: read from file, environment and flags, checked, and kept with their origin (DESIGN.md section 6).
//! Owns every key, its default and its meaning. Opens nothing but the configuration file; applies no setting itself.

mod build;
mod check;
mod file;
mod keys;
mod layers;
mod network;
mod text;
mod value;

pub use layers::{LoadOptions, Loaded, Origin, load, load_text};
pub use network::Network;
pub use text::{Setting, generate, mode_file};
pub use value::{duration as duration_ms, size as size_bytes};

use crate::datadir::{DirError, DirErrorKind};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Every setting, checked. `app` fills the small option structs of the other modules from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that people set on its own"
)]
pub struct Config {
    /// `data`: the folder that holds everything.
    pub data: PathBuf,
    /// `mode`: never [`Mode::Full`] after [`load`].
    pub mode: Mode,
    /// `listen.https`.
    pub https: Vec<SocketAddr>,
    /// `listen.http`; never empty together with `https`.
    pub http: Vec<SocketAddr>,
    /// `url`: scheme, host, port; no trailing slash.
    pub url: Option<String>,
    /// `trusted_proxies`.
    pub trusted_proxies: Vec<Network>,
    /// `proxy_header`: the one that they write.
    pub proxy_header: ProxyHeader,
    /// `access.anonymous_pull`.
    pub anonymous_pull: bool,
    /// `access.anonymous_push`.
    pub anonymous_push: bool,
    /// `tls.names`: host names and addresses as text.
    pub tls_names: Vec<String>,
    /// `tls.cert`; set exactly if `tls_key` is.
    pub tls_cert: Option<PathBuf>,
    /// `tls.key`.
    pub tls_key: Option<PathBuf>,
    /// `tls.ca_constraints`: a new CA is limited to names and addresses of this machine.
    pub ca_constrained: bool,
    /// `tls.http2`.
    pub http2: Http2,
    /// `blobs.lease` in seconds.
    pub lease_seconds: u64,
    /// `history.keep` in seconds.
    pub keep_seconds: u64,
    /// `gc.interval` in ms; 0 is never.
    pub gc_interval_ms: u64,
    /// `gc.files_per_second`; 0 is no limit.
    pub gc_files_per_second: u64,
    /// `check.every` in seconds; 0 is never.
    pub check_every_seconds: u64,
    /// `check.rate` in bytes a second.
    pub check_rate_bytes: u64,
    /// `uploads.idle` in seconds.
    pub upload_idle_seconds: u64,
    /// `mirror.memory` in bytes: of one run.
    pub mirror_memory_bytes: u64,
    /// `blobs.reserve` in bytes.
    pub reserve_bytes: u64,
    /// `cache.memory` in bytes.
    pub cache_bytes: u64,
    /// `store.cache` in bytes.
    pub store_cache_bytes: u64,
    /// `store.upgrade_without_copy`: where the disk has no room for one.
    pub upgrade_without_copy: bool,
    /// `policy.strict`: refuse manifests whose children are missing.
    pub strict: bool,
    /// `metrics.open`: anybody may read /metrics.
    pub metrics_open: bool,
    /// `metrics.local`, worked out: who connects from this machine itself may read /metrics.
    pub metrics_local: bool,
    /// `log.level`: a tracing filter, such as `info` or `info,dryport::http=debug`.
    pub log_level: String,
    /// `log.slow` in milliseconds; 0 logs none.
    pub slow_ms: u64,
    /// `serve.drain` in seconds.
    pub drain_seconds: u64,
    /// `serve.progress` in seconds.
    pub progress_seconds: u64,
    /// `serve.idle` in milliseconds; never 0.
    pub idle_ms: u64,
    /// `serve.sendfile`: the kernel sends files by itself where it can.
    pub sendfile: bool,
    /// `limits.manifest` in bytes.
    pub manifest_max: u64,
    /// `limits.connections`: of one address; never 0.
    pub connections_max: u64,
    /// `limits.requests`: of one account or address at once; never 0.
    pub requests_max: u64,
    /// `limits.uploads`: unfinished ones of one account or address; never 0.
    pub uploads_max: u64,
    /// `limits.upload_memory` in bytes.
    pub upload_memory_bytes: u64,
}

/// What the presets are for (DESIGN.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Anybody pulls, accounts push.
    Mirror,
    /// Accounts for everything.
    Standalone,
    /// Several servers over `PostgreSQL` and S3: not in this version, [`load`] refuses it.
    Full,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mirror => "mirror",
            Self::Standalone => "standalone",
            Self::Full => "full",
        })
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mirror" => Ok(Self::Mirror),
            "standalone" => Ok(Self::Standalone),
            "full" => Ok(Self::Full),
            _ => Err(format!("\"{text}\" is no mode: write mirror or standalone")),
        }
    }
}

/// How HTTP/2 is offered; `app` turns it into the type of `tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Http2 {
    /// HTTP/2 where the client can.
    Prefer,
    /// HTTP/1.1 where the client can both.
    Allow,
    /// HTTP/1.1 only.
    Off,
}

/// Which header of a trusted proxy says who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, and for scheme and host `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: the proxies pass connections on and read no requests.
    None,
}

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

/// A key that a running server cannot change, and how to see that it would.
type Fixed = (&'static str, fn(&Config, &Config) -> bool);

const FIXED: &[Fixed] = &[
    ("data", |a, b| a.data == b.data),
    ("listen.https", |a, b| a.https == b.https),
    ("listen.http", |a, b| a.http == b.http),
    ("blobs.lease", |a, b| a.lease_seconds == b.lease_seconds),
    ("history.keep", |a, b| a.keep_seconds == b.keep_seconds),
    ("gc.interval", |a, b| a.gc_interval_ms == b.gc_interval_ms),
    ("gc.files_per_second", |a, b| {
        a.gc_files_per_second == b.gc_files_per_second
    }),
    ("check.every", |a, b| {
        a.check_every_seconds == b.check_every_seconds
    }),
    ("check.rate", |a, b| {
        a.check_rate_bytes == b.check_rate_bytes
    }),
    ("blobs.reserve", |a, b| a.reserve_bytes == b.reserve_bytes),
    ("uploads.idle", |a, b| {
        a.upload_idle_seconds == b.upload_idle_seconds
    }),
    ("cache.memory", |a, b| a.cache_bytes == b.cache_bytes),
    ("store.upgrade_without_copy", |a, b| {
        a.upgrade_without_copy == b.upgrade_without_copy
    }),
    ("store.cache", |a, b| {
        a.store_cache_bytes == b.store_cache_bytes
    }),
    ("log.level", |a, b| a.log_level == b.log_level),
    ("serve.idle", |a, b| a.idle_ms == b.idle_ms),
    ("limits.connections", |a, b| {
        a.connections_max == b.connections_max
    }),
    ("limits.requests", |a, b| a.requests_max == b.requests_max),
    ("limits.uploads", |a, b| a.uploads_max == b.uploads_max),
    ("limits.upload_memory", |a, b| {
        a.upload_memory_bytes == b.upload_memory_bytes
    }),
];

impl Config {
    /// Keys that differ and that only a restart applies; the rest takes effect at SIGHUP.
    pub fn restart_needed(old: &Self, new: &Self) -> Vec<&'static str> {
        FIXED
            .iter()
            .filter(|(_, same)| !same(old, new))
            .map(|(key, _)| *key)
            .collect()
    }
}
