//! The command line: one file a subcommand; each parses its arguments, has the work done and prints what came of it.
//!
//! Does no work of its own on data: that is [`crate::app`]'s, reached through [`session`]. What fails how is decided in
//! [`exit`].

mod audit;
mod check;
mod completions;
mod config;
mod db;
mod exit;
mod gc;
mod help;
mod hints;
mod init;
mod job;
mod mirror;
mod output;
mod password;
mod progress;
mod push;
mod quota;
mod repo;
mod serve;
mod server;
mod session;
mod settings;
mod snapshot;
mod tag;
mod terminal;
mod timing;
mod trust;
mod upstream;
mod user;
mod version;

use clap::{Parser, Subcommand};
use help::flow;
use output::note;
use std::process::ExitCode;

pub use exit::Exit;

/// Threads for what blocks (disk, hashes, passwords): each keeps a heap and a stack, and more make no disk faster.
const BLOCKING: usize = 64;

const EXAMPLES: &str = "\
First steps:
  dryport serve                                  start; the first start makes what is missing
  dryport mirror docker://docker.io/library/alpine:3.22
                                                 bring in an image from another registry
  dryport trust                                  how docker, podman and others trust this server
  dryport user add ann --password-stdin --role writer --on team

Exit codes: 0 done, 1 failed, 2 wrong use, 3 refused by the state of things, 4 damaged data,
6 mirrored without all that may be attached to the image.
`dryport COMMAND --help` explains each command.";

/// The registry for places without a network: mirror container images where there is one, serve them where there is none.
#[derive(Debug, Parser)]
#[command(name = "dryport", version, after_help = flow(EXAMPLES), max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Init(init::Init),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    User(user::UserCommand),
    Trust(trust::Trust),
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    #[command(subcommand)]
    Tag(tag::TagCommand),
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    Mirror(mirror::Mirror),
    #[command(subcommand)]
    Upstream(upstream::UpstreamCommand),
    Push(push::Push),
    #[command(subcommand)]
    Job(job::JobCommand),
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    Gc(gc::Gc),
    Check(check::Check),
    #[command(subcommand)]
    Db(db::DbCommand),
    Completions(completions::Completions),
    Version(version::Version),
}

/// Parses the arguments of this process and runs the command. Prints what is to say; the result is the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way, too.
        Err(text) if !text.use_stderr() => {
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if output::json_wanted() => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            return ended(Err(exit::Failure::usage(text.trim_end())));
        }
        Err(error) => {
            output::usage(&error);
            return ExitCode::from(Exit::Usage.code());
        }
    };
    if matches!(cli.command, Command::Serve(_)) {
        // Before there are threads, for it holds for one and those that it starts. Where the kernel has no such thing the
        // server runs no program all the same.
        let _ = rustix::thread::set_no_new_privs(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(cli.command));
            // A blocking read of a terminal or a name look-up must not hold up the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            done
        }
        Err(error) => Err(exit::Failure::failed(format!(
            "cannot start threads: {error}"
        ))),
    };
    ended(done)
}

/// Says what went wrong, if something did, and gives the exit code.
fn ended(done: Result<(), exit::Failure>) -> ExitCode {
    let exit = match done {
        Ok(()) => Exit::Done,
        Err(failure) => {
            output::error(&failure);
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

async fn run(command: Command) -> Result<(), exit::Failure> {
    if !matches!(command, Command::Serve(_)) {
        // A command that does the work itself tells people what is odd; without a log it still works.
        let _ = crate::telemetry::init("warn", output::json_wanted());
    }
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Init(init) => init.run().await,
        Command::Config(config) => config.run(),
        Command::User(user) => user.run().await,
        Command::Trust(trust) => trust.run().await,
        Command::Repo(repo) => repo.run().await,
        Command::Tag(tag) => tag.run().await,
        Command::Snapshot(snapshot) => snapshot.run().await,
        Command::Mirror(mirror) => mirror.run().await,
        Command::Upstream(upstream) => upstream.run().await,
        Command::Job(job) => job.run().await,
        Command::Push(push) => push.run().await,
        Command::Quota(quota) => quota.run().await,
        Command::Audit(audit) => audit.run().await,
        Command::Gc(gc) => gc.run().await,
        Command::Check(check) => check.run().await,
        Command::Db(db) => db.run().await,
        Command::Completions(completions) => completions.run(),
        Command::Version(version) => version.run(),
    }
}

#[cfg(test)]
mod tests;
