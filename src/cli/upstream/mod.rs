//! `dryport upstream`.

mod options;
mod shown;

use super::exit::Failure;
use super::help::flow;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{
    UpstreamAdd, UpstreamList, UpstreamRemove, UpstreamSet, UpstreamShow, UpstreamTry,
};
use crate::upstream::{UpstreamName, UpstreamUrl, UpstreamView};
use clap::{Args, Subcommand};
use options::{AddSwitches, Options, SetSwitches, read};

const HELP: &str = "\
Examples:
  dryport upstream add hub --url https://registry-1.docker.io --prefix docker.io --default
  dryport upstream add quay --url quay.io --prefix quay.io --creds-from /etc/dryport/quay.login
  dryport upstream add site --url http://registry.site:5000 --prefix site --plain-http
  dryport upstream test hub
  dryport upstream set hub --offline true";

/// Other registries that this one fetches from on demand
///
/// Those of the configuration ([[upstream]]) are listed here, too, and are changed there.
#[derive(Debug, Subcommand)]
#[command(after_help = flow(HELP))]
pub(super) enum UpstreamCommand {
    /// Add an upstream
    #[command(after_help = flow(HELP))]
    Add(Box<Add>),
    /// List all upstreams
    List(List),
    /// Show one upstream: its settings, and what is known of its work
    Show(One),
    /// Change settings of an upstream; what is left out stays as it is
    Set(Box<Set>),
    /// Try an upstream out: find it, connect, log in, ask. Exit code 1 if that fails
    Test(One),
    /// Remove an upstream; the repositories that came from it stay
    Remove(One),
}

/// Arguments of `upstream add`.
#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    registry: RegistryArgs,
    /// A name for it, for example hub
    name: String,
    /// Its address; may be given several times: the next one is asked where one cannot be reached
    #[arg(long, value_name = "URL", required = true)]
    url: Vec<String>,
    /// What the names of its repositories begin with here, for example docker.io
    #[arg(long)]
    prefix: String,
    /// Talk plain HTTP to it
    #[arg(long)]
    plain_http: bool,
    #[command(flatten)]
    switches: AddSwitches,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `upstream set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The upstream's name
    name: String,
    /// Its address, in place of all that it has; may be given several times
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// What the names of its repositories begin with here; those that are here keep their names
    #[arg(long)]
    prefix: Option<String>,
    /// With --url: talk plain HTTP to it
    #[arg(long, requires = "url")]
    plain_http: bool,
    #[command(flatten)]
    switches: SetSwitches,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `upstream list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of the others.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The upstream's name
    name: String,
    #[command(flatten)]
    format: OutputFormat,
}

impl UpstreamCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::Add(add) => &add.registry,
            Self::Set(set) => &set.registry,
            Self::List(list) => &list.registry,
            Self::Show(one) | Self::Test(one) | Self::Remove(one) => &one.registry,
        };
        let registry = registry.clone();
        // Files of the caller's are read as the caller.
        let asked = self.asked()?;
        let session = registry.session("upstream").await?;
        let done = asked.with(&session).await;
        session.close().await;
        done
    }

    fn asked(self) -> Result<Asked, Failure> {
        Ok(match self {
            Self::Add(add) => Asked::Add(add.format, Box::new(add.operation()?)),
            Self::Set(set) => Asked::Set(set.format, Box::new(set.operation()?)),
            Self::List(list) => Asked::List(list.format),
            Self::Show(one) => Asked::Show(one.format, read(&one.name)?),
            Self::Test(one) => Asked::Test(one.format, read(&one.name)?),
            Self::Remove(one) => Asked::Remove(one.format, read(&one.name)?),
        })
    }
}

impl Add {
    fn operation(self) -> Result<UpstreamAdd, Failure> {
        let mut settings = self.options.change()?;
        settings.default = self.switches.default.then_some(true);
        settings.offline = self.switches.offline.then_some(true);
        Ok(UpstreamAdd {
            name: read(&self.name)?,
            urls: urls(&self.url, self.plain_http)?,
            prefix: self.prefix.parse()?,
            settings,
        })
    }
}

impl Set {
    fn operation(self) -> Result<UpstreamSet, Failure> {
        let mut settings = self.options.change()?;
        settings.default = self.switches.default;
        settings.offline = self.switches.offline;
        let urls = match self.url.as_slice() {
            [] => None,
            given => Some(urls(given, self.plain_http)?),
        };
        let prefix = self.prefix.as_deref().map(str::parse).transpose()?;
        if urls.is_none() && prefix.is_none() && settings.is_empty() {
            return Err(Failure::usage(
                "nothing is to be changed: give a setting, such as --offline true (`dryport upstream set --help` lists them)",
            ));
        }
        Ok(UpstreamSet {
            name: read(&self.name)?,
            urls,
            prefix,
            settings,
        })
    }
}

/// What is asked for, read and checked.
enum Asked {
    Add(OutputFormat, Box<UpstreamAdd>),
    Set(OutputFormat, Box<UpstreamSet>),
    List(OutputFormat),
    Show(OutputFormat, UpstreamName),
    Test(OutputFormat, UpstreamName),
    Remove(OutputFormat, UpstreamName),
}

impl Asked {
    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::Add(format, operation) => {
                let view = session.quick(*operation).await?;
                let text = format!(
                    "Added {}: what is asked for below {}/ comes from {}. Try it with: dryport upstream test {}",
                    view.name, view.prefix, view.urls[0], view.name
                );
                changed(&view, &text, format)
            }
            Self::Set(format, operation) => {
                let view = session.quick(*operation).await?;
                let text = format!("Changed {}.\n{}", view.name, shown::one(&view, false));
                changed(&view, &text, format)
            }
            Self::List(format) => {
                let views = session.quick(UpstreamList {}).await?;
                if format.json {
                    return output::json(&views.upstreams);
                }
                output::print(&shown::all(&views.upstreams, views.offline))
            }
            Self::Show(format, name) => {
                let view = session.quick(UpstreamShow { name }).await?;
                changed(&view, &shown::one(&view, true), format)
            }
            Self::Test(format, name) => {
                let test = session.quick(UpstreamTry { name }).await?;
                if format.json {
                    output::json(&test)?;
                } else {
                    output::print(&shown::trial(&test))?;
                }
                match test.reason() {
                    Some(reason) => Err(Failure::failed(format!(
                        "upstream {} does not answer as a registry should: {reason}",
                        test.name
                    ))),
                    None => Ok(()),
                }
            }
            Self::Remove(format, name) => {
                let text = format!("Removed {name}. ");
                let removed = session.quick(UpstreamRemove { name }).await?;
                if format.json {
                    return output::json(&removed);
                }
                let stay = match removed.repositories {
                    0 => format!("No repository is below {}/.", removed.prefix),
                    n => format!(
                        "{} below {}/ stay and can be read; nothing is fetched for them any more.",
                        shown::repositories(n),
                        removed.prefix
                    ),
                };
                output::print(&(text + &stay))
            }
        }
    }
}

fn changed(view: &UpstreamView, text: &str, format: OutputFormat) -> Result<(), Failure> {
    if format.json {
        return output::json(view);
    }
    output::print(text)
}

/// Addresses as they are kept; a host without a scheme is spoken to by TLS unless plain HTTP was asked for.
fn urls(given: &[String], plain: bool) -> Result<Vec<UpstreamUrl>, Failure> {
    let one = |text: &String| {
        let (scheme, rest) = match text.split_once("://") {
            None => (if plain { "http" } else { "https" }, text.as_str()),
            Some(("https", rest)) if plain => {
                return Err(Failure::usage(format!(
                    "--plain-http and {text} contradict each other: write http://{rest} for plain HTTP, or leave --plain-http out"
                )));
            }
            Some((scheme, rest)) => (scheme, rest),
        };
        read(&format!("{scheme}://{rest}"))
    };
    given.iter().map(one).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
