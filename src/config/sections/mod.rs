//! Every setting: the top-level ones here, each section in a file of its own. Owns names, defaults, presets and meanings of all
//! keys, and what values a section refuses. Reads no file and applies nothing.

mod clients;
mod content;
mod process;

pub use clients::{
    AccessSettings, Http2Setting, LimitSettings, ListenSettings, LocalMetrics, MetricsSettings,
    ServeSettings, TlsSettings,
};
pub use content::{
    AuditSettings, BlobSettings, CheckSettings, GcSettings, HistorySettings, MirrorSettings,
    PolicySettings, UploadSettings, UpstreamTable, UpstreamsSettings,
};
pub use process::{CacheSettings, LogSettings, StoreSettings};

use super::key::{choice, folder, networks, url};
use super::network::Network;
use super::section::{Section, section};
use std::fmt;
use std::path::PathBuf;

/// What 0 would do in a setting that ends what takes longer.
const UNDOES: &str = "which would undo every transfer at once; set a time such as \"60s\"";

section! {
    /// Every setting, checked. `app` fills the small option structs of the other modules from it.
    pub struct Config {
        /// What is preset; never [`Mode::Full`] after [`super::load`].
        pub mode: Mode = choice("mode", &["mirror", "standalone", "full"], "mirror", str::parse)
            .doc("Presets for the other settings.\nmirror: anybody may pull, accounts may push. standalone: accounts for everything.")
            .flag("mode"),
        /// The folder that holds everything.
        pub data: PathBuf = folder("data")
            .doc("Folder that holds everything. Not set: /var/lib/dryport as root, else $XDG_DATA_HOME/dryport.")
            .flag("data")
            .restart(),
        /// Scheme, host, port; no trailing slash.
        pub url: Option<String> = url("url")
            .doc("Address by which clients reach this server, for links and the token service.\nNot set: the scheme of the listener and the host that the client asked for.")
            .flag("url"),
        /// Whose word counts of who called.
        pub trusted_proxies: Vec<Network> = networks("trusted_proxies")
            .doc("Proxies in front of this server. What they say of who called them counts (proxy_header); from others it does not."),
        /// The header that they write.
        pub proxy_header: ProxyHeader = choice(
            "proxy_header",
            &["x-forwarded-for", "forwarded", "none"],
            "x-forwarded-for",
            ProxyHeader::of,
        )
            .doc("The one header in which trusted_proxies say who called them; all others are a client's own and ignored.\nx-forwarded-for (with X-Forwarded-Proto and X-Forwarded-Host), forwarded (RFC 7239), or none: they pass TCP on."),
    }
    sections {
        /// Where it serves.
        pub listen: ListenSettings,
        /// What people without an account may do.
        pub access: AccessSettings,
        /// Certificates and HTTP/2.
        pub tls: TlsSettings,
        /// Content.
        pub blobs: BlobSettings,
        /// What was removed.
        pub history: HistorySettings,
        /// Collection of what nothing needs any more.
        pub gc: GcSettings,
        /// Reading all content again.
        pub check: CheckSettings,
        /// Unfinished uploads.
        pub uploads: UploadSettings,
        /// Runs of mirrors.
        pub mirror: MirrorSettings,
        /// What holds for all upstreams.
        pub upstreams: UpstreamsSettings,
        /// Memory for answers.
        pub cache: CacheSettings,
        /// The metadata store.
        pub store: StoreSettings,
        /// What pushes may leave out.
        pub policy: PolicySettings,
        /// How much of the audit trail is kept.
        pub audit: AuditSettings,
        /// Who may read /metrics.
        pub metrics: MetricsSettings,
        /// What the log shows.
        pub log: LogSettings,
        /// Connections.
        pub serve: ServeSettings,
        /// What one client may take.
        pub limits: LimitSettings,
    }
    lists {
        /// Other registries that this one fetches from on demand.
        pub upstream: UpstreamTable,
    }
}

impl Config {
    /// Keys that differ and that only a restart applies; the rest takes effect at SIGHUP.
    pub fn restart_needed(old: &Self, new: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        old.add_restart_needed(new, &mut keys);
        keys
    }

    /// Whether who connects from this machine itself may read /metrics (`metrics.local`, worked out).
    pub fn local_metrics(&self) -> bool {
        match self.metrics.local {
            LocalMetrics::On => true,
            LocalMetrics::Off => false,
            LocalMetrics::Auto => self.trusted_proxies.is_empty(),
        }
    }
}

/// What the presets are for (DESIGN.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Anybody pulls, accounts push.
    Mirror,
    /// Accounts for everything.
    Standalone,
    /// Several servers over `PostgreSQL` and S3: not in this version, [`super::load`] refuses it.
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

/// Which header of a trusted proxy says who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, and for scheme and host `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: the proxies pass connections on and read no requests.
    None,
}

impl ProxyHeader {
    fn of(word: &str) -> Result<Self, String> {
        match word {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            "none" => Ok(Self::None),
            _ => Err(format!("\"{word}\" is no header of proxies")),
        }
    }
}
