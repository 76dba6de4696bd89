//! `dryport completions`.

use super::exit::Failure;
use super::help::flow;
use super::output;
use clap::{Args, CommandFactory as _};

/// Print the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = flow("Example:\n  dryport completions bash > /etc/bash_completion.d/dryport"))]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::Cli::command(),
            "dryport",
            &mut script,
        );
        output::print(&String::from_utf8_lossy(&script))
    }
}
