//! `dryport config`.

use super::exit::Failure;
use super::help::flow;
use super::output::{self, OutputFormat};
use super::settings::DataLocation;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Check, write or show the settings
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the settings and say where they come from; exit code 2 if something is wrong
    Validate(Asked),
    /// Print a configuration file with every setting, its default and what it means
    #[command(after_help = flow("Example:\n  dryport config generate > /var/lib/dryport/dryport.toml"))]
    Generate,
    /// Print the settings in force, each with its origin
    Print(Asked),
}

/// Which settings, and in which form.
#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    place: DataLocation,
    #[command(flatten)]
    format: OutputFormat,
}

#[derive(serde::Serialize)]
struct Valid {
    ok: bool,
    file: Option<PathBuf>,
    warnings: Vec<String>,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Validate(asked) => {
                let loaded = asked.place.load()?;
                crate::app::check_settings(&loaded.config)?;
                if asked.format.json {
                    return output::json(&Valid {
                        ok: true,
                        file: loaded.file,
                        warnings: loaded.warnings,
                    });
                }
                let file = loaded.file.as_ref().map_or_else(
                    || "no configuration file; defaults, environment and flags".to_owned(),
                    |f| f.display().to_string(),
                );
                output::print(&format!("ok: {file}"))
            }
            Self::Generate => output::print(&crate::config::generate()),
            Self::Print(asked) => {
                let loaded = asked.place.load()?;
                if asked.format.json {
                    output::json(&loaded.settings())
                } else {
                    output::print(&loaded.print())
                }
            }
        }
    }
}
