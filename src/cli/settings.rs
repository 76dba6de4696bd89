//! The options that name the data directory and the configuration file, and loading with them.

use super::exit::Failure;
use super::server::ServerArgs;
use super::session::CommandSession;
use crate::app::{Entered, Judged};
use crate::config::{LoadOptions, Loaded, SettingOrigin, load};
use clap::Args;
use std::path::{Path, PathBuf};

const DATA_HELP: &str = "Directory with all data [default: $DRYPORT_DATA, else the configuration's, else \
    /var/lib/dryport for root and ~/.local/share/dryport for others]";

/// Where the data and the settings are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct DataLocation {
    /// `--data`.
    #[arg(long, value_name = "DIR", help = DATA_HELP)]
    pub data: Option<PathBuf>,
    /// Configuration file [default: dryport.toml in the data directory, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl DataLocation {
    /// The configuration; warnings go to stderr.
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.load_with(Vec::new())
    }

    /// The configuration with (key, value) pairs of further flags on top.
    pub fn load_with(&self, flags: Vec<(String, String)>) -> Result<Loaded, Failure> {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((
                key.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        };
        let loaded = load(LoadOptions {
            config_file: self.config.clone(),
            data: self.data.clone(),
            flags,
            env: std::env::vars_os().filter_map(text).collect(),
        })?;
        for warning in &loaded.warnings {
            super::output::warning(warning);
        }
        Ok(loaded)
    }

    /// The configuration, and the way into its data directory: from here on this process is the directory's owner where
    /// root runs it, so whatever else is to be read as the caller has been read before.
    pub fn enter(&self) -> Result<Entered, Failure> {
        enter(self.load()?)
    }
}

/// The registry that a command is about: this machine's data directory, or another server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RegistryArgs {
    #[command(flatten)]
    place: DataLocation,
    #[command(flatten)]
    server: ServerArgs,
}

impl RegistryArgs {
    /// Who performs operations on it; `command` names this process to others who find the directory locked.
    pub async fn session(&self, command: &str) -> Result<CommandSession, Failure> {
        match self.server.server().await? {
            Some(server) => Ok(CommandSession::There(Box::new(server))),
            None => CommandSession::open(&self.place.enter()?, command).await,
        }
    }

    /// The way into the data directory, for what no other server can be asked for.
    pub fn enter(&self) -> Result<Entered, Failure> {
        self.place.enter()
    }
}

/// The same with a configuration that was read before.
pub fn enter(loaded: Loaded) -> Result<Entered, Failure> {
    Ok(Judged::new(loaded.config)?.enter(false)?)
}

/// The settings that name one's own certificate.
pub const CERTIFICATE: &[&str] = &["tls.cert", "tls.key"];
/// The settings that name the addresses of one kind of listener.
pub const fn listeners(tls: bool) -> &'static [&'static str] {
    if tls {
        &["listen.https"]
    } else {
        &["listen.http"]
    }
}

/// Whether all these settings come from flags, the environment, a file outside of the data directory, or nowhere: all these
/// are the caller's, while the directory's own file is its owner's.
pub fn are_the_callers(loaded: &Loaded, keys: &[&str]) -> bool {
    let data = loaded.config.data.canonicalize();
    // By what the paths lead to: the same file has many spellings.
    let is_outside = |file: &Path| match (file.canonicalize(), &data) {
        (Ok(file), Ok(data)) => !file.starts_with(data),
        _ => false,
    };
    keys.iter().all(|key| match loaded.origins.get(key) {
        Some(SettingOrigin::File(file)) => is_outside(file),
        _ => true,
    })
}
