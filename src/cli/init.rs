//! `dryport init`.

use super::exit::Failure;
use super::help::flow;
use super::settings::{self, DataLocation};
use super::{output, password};
use crate::app::ops::FaultKind;
use crate::app::{self, Entered, FirstPassword};
use crate::config::{Config, Mode, mode_file};
use clap::{Args, ValueEnum};

/// Make a new data directory with one administrator
#[derive(Debug, Args)]
#[command(
    after_help = flow("Not needed before `dryport serve`, which does the same on an empty directory with an administrator\nnamed admin. Use it to choose name and password yourself.\n\nExample:\n  printf %s \"$PASSWORD\" | dryport init --data /srv/dryport --admin ann --password-stdin")
)]
pub(super) struct Init {
    #[command(flatten)]
    pub(super) place: DataLocation,
    /// The administrator's name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub(super) admin: String,
    /// Read the administrator's password from standard input (one newline at its end is dropped). Without this one is
    /// made up and shown on the terminal, or written to DIR/initial-password where there is none
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// What the server is for; written to DIR/dryport.toml, so that it stays so
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeFlag>,
}

/// The presets of `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeFlag {
    /// Anybody may pull, accounts push
    Mirror,
    /// Accounts for everything
    Standalone,
    /// Several servers with a shared database (not in this version)
    Full,
}

impl ModeFlag {
    /// As a flag for the configuration.
    pub(super) fn flag(self) -> (String, String) {
        let value = match self {
            Self::Mirror => Mode::Mirror,
            Self::Standalone => Mode::Standalone,
            Self::Full => Mode::Full,
        };
        ("mode".to_owned(), value.to_string())
    }
}

impl Init {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // Refused before a password is asked for.
        let loaded = self
            .place
            .load_with(self.mode.map(ModeFlag::flag).into_iter().collect())?;
        let config = loaded.config.clone();
        self.admin
            .parse::<crate::auth::UserName>()
            .map_err(|e| Failure::usage(e.to_string()))?;
        self.keeps_mode(&config)?;
        let typed = if self.password_stdin {
            Some(password::from_stdin()?)
        } else {
            None
        };
        let dir = settings::enter(loaded)?;
        let became = dir.became();
        let app = create(dir.without_listeners(), "dryport init").await?;
        let first = app
            .first_account(&self.admin, typed, output::to_terminal())
            .await;
        app.close().await;
        let first = first?;
        output::print(&format!(
            "Made {} (mode {}).",
            config.data.display(),
            config.mode
        ))?;
        if let Some(name) = became {
            output::print(&format!("It belongs to {name}, and so does all in it."))?;
        }
        if let Some(first) = first {
            output::print(&told(&self.admin, &first))?;
        }
        output::print(&format!(
            "Start it with: dryport serve --data {}",
            config.data.display()
        ))
    }

    /// A `dryport.toml` that is there already is kept; it must not say another mode than asked for.
    fn keeps_mode(&self, config: &Config) -> Result<(), Failure> {
        let there = config.data.join(app::CONFIG).symlink_metadata();
        if self.mode.is_none() || !there.is_ok_and(|about| about.is_file()) {
            return Ok(());
        }
        let written = DataLocation {
            data: Some(config.data.clone()),
            config: Some(config.data.join(app::CONFIG)),
        };
        let written = written.load()?.config.mode;
        if written == config.mode {
            return Ok(());
        }
        let file = config.data.join(app::CONFIG);
        Err(Failure::new(
            FaultKind::State,
            format!(
                "{} says mode {written}, the command line {}. Change one of them",
                file.display(),
                config.mode
            ),
        ))
    }
}

/// Makes the data directory, with its mode written down.
pub(super) async fn create(dir: Entered, holder: &'static str) -> Result<app::App, Failure> {
    let file = mode_file(dir.config.mode);
    let made = tokio::task::spawn_blocking(move || app::init(dir, &file, holder));
    Ok(made.await.map_err(Failure::failed)??)
}

/// Who may log in, and with what.
pub(super) fn told(name: &str, first: &FirstPassword) -> String {
    match first {
        FirstPassword::Typed => format!("Administrator: {name}"),
        FirstPassword::Show(password) => {
            format!(
                "Administrator: {name}\nPassword:      {password}\nIt is shown this once; change it with: dryport user passwd {name}"
            )
        }
        FirstPassword::File(path) => {
            format!(
                "Administrator: {name}\nPassword:      in {} (removed after the first login)",
                path.display()
            )
        }
    }
}
