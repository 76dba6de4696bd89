//! `dryport version`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use clap::Args;

/// Print version, commit and the schema that this binary writes
#[derive(Debug, Args)]
pub(super) struct Version {
    #[command(flatten)]
    pub(super) format: OutputFormat,
}

#[derive(serde::Serialize)]
struct About {
    version: &'static str,
    commit: &'static str,
    schema: u32,
}

/// This binary's version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, where the build says so.
pub(super) const COMMIT: &str = match option_env!("DRYPORT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

impl Version {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let about = About {
            version: VERSION,
            commit: COMMIT,
            schema: crate::store::SCHEMA,
        };
        if self.format.json {
            output::json(&about)
        } else {
            output::print(&format!(
                "dryport {} (commit {}, schema {})",
                about.version, about.commit, about.schema
            ))
        }
    }
}
