//! `dryport config`.

use super::exit::Failure;
use super::output;
use super::settings::Place;
use clap::Subcommand;

/// Check, write or show the settings
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the settings and say where they come from; exit code 2 if something is wrong
    Validate(Place),
    /// Print a configuration file with every setting, its default and what it means
    #[command(after_help = "Example:\n  dryport config generate > /var/lib/dryport/dryport.toml")]
    Generate,
    /// Print the settings in force, each with its origin
    Print(Place),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Validate(place) => {
                let loaded = place.load()?;
                let file = loaded.file.as_ref().map_or_else(
                    || "no configuration file; defaults, environment and flags".to_owned(),
                    |f| f.display().to_string(),
                );
                output::print(&format!("ok: {file}"))
            }
            Self::Generate => output::print(&crate::config::generate()),
            Self::Print(place) => output::print(&place.load()?.print()),
        }
    }
}
