//! `dryport push`.

mod sources;
mod target;

use super::exit::Failure;
use super::help::flow;
use super::hints;
use super::output::{self, OutputFormat};
use super::server;
use super::session::CommandSession;
use super::settings::DataLocation;
use crate::app::ops::Pushed;
use crate::fetch::{FetchClient, FetchOptions, TlsClient};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use percent_encoding::percent_decode_str;
use sources::FoundEntry;
use std::path::PathBuf;
use std::time::Duration;
use target::Target;

const HELP: &str = "\
The destination is a folder if it ends with a slash, else the file itself. Without a server's address the files go into
the data directory: the running server takes them over its control socket, and without one this command does it itself.
With an address they are sent to that server with your login for it, that of `docker login` (or `podman login`).

With -r a folder stands for all files below it, in the order of their names; they keep their paths within it. What is
there already with the same bytes is not sent again, so the same command goes on where it was stopped. Symbolic links
are not followed; each is named on stderr.

Examples:
  dryport push tool-1.0.tar.gz tool-1.0.tar.gz.asc team/tools/tool/
  dryport push debian.iso isos/debian-13.iso
  dryport push *.rpm https://registry.local:8443/r/team/rpms/el9/
  dryport push -r ./installers team/tools/installers/";

const TO_HELP: &str = "Repository and path, for example team/tools/linux/, or https://HOST/r/NAME/PATH of another server";

/// Files of a folder that are on their way at once: the server makes them durable together.
const AT_ONCE: usize = 8;

/// Put files into a file repository
#[derive(Debug, Args)]
#[command(after_help = flow(HELP))]
pub(super) struct Push {
    #[command(flatten)]
    place: DataLocation,
    /// The files, or with -r folders, too
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Push all files below a folder, but those that are there already
    #[arg(short, long)]
    recursive: bool,
    #[arg(value_name = "NAME/PATH", help = TO_HELP)]
    to: String,
    /// Trust this certificate (PEM) beside the system's CAs: a CA's, or the very one that the server has
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Do not check the other server's certificate
    #[arg(long)]
    insecure: bool,
    /// Read credentials from this file of docker's config.json form instead of your own
    #[arg(long, value_name = "FILE")]
    creds_file: Option<PathBuf>,
    #[command(flatten)]
    format: OutputFormat,
}

/// What became of a file.
#[derive(serde::Serialize)]
struct Done {
    #[serde(flatten)]
    file: Pushed,
    /// It was not there already.
    sent: bool,
}

impl Push {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (server, path) = match split(&self.to)? {
            Some((server, path)) => (Some(server), path),
            None => (None, self.to.clone()),
        };
        let entries = if self.recursive {
            sources::below(&self.files, &path)?
        } else {
            sources::opened(&self.files, &path)?
        };
        let target = match server {
            Some((is_plain, host)) => Target::There(self.client(is_plain, host).await?),
            // Files that were named are open: from here on this process may be another user.
            None => Target::Here(CommandSession::open(&self.place.enter()?, "push").await?),
        };
        let done = self.push(&target, entries).await;
        target.close().await;
        let done = done.map_err(|failure| self.stopped(failure))?;
        if self.format.json {
            return output::json(&done);
        }
        if self.recursive {
            return output::print(&summary(&done));
        }
        Ok(())
    }

    /// Sends one after the other, of folders several at once; each is told of in the order of the files.
    async fn push(
        &self,
        target: &Target,
        entries: Box<dyn Iterator<Item = Result<FoundEntry, Failure>> + Send>,
    ) -> Result<Vec<Done>, Failure> {
        let at_once = if self.recursive { AT_ONCE } else { 1 };
        let pushes = stream::iter(entries).map(|entry| self.one(target, entry));
        let mut pushes = std::pin::pin!(pushes.buffered(at_once));
        let mut all = Vec::new();
        while let Some(done) = pushes.next().await {
            let Some(done) = done? else { continue };
            if !self.format.json {
                output::print(&line(&done))?;
            }
            all.push(done);
        }
        Ok(all)
    }

    /// Sends a file, unless it is looked for and found.
    async fn one(
        &self,
        target: &Target,
        entry: Result<FoundEntry, Failure>,
    ) -> Result<Option<Done>, Failure> {
        let source = match entry? {
            FoundEntry::Source(source) => source,
            FoundEntry::File { path, target } => sources::open(&path, target)?,
            FoundEntry::Odd(text) => {
                output::warning(&text);
                return Ok(None);
            }
        };
        if self.recursive
            && let Some(file) = target.same(&source).await?
        {
            return Ok(Some(Done { file, sent: false }));
        }
        let file = target.send(source).await?;
        Ok(Some(Done { file, sent: true }))
    }

    /// A failure among many files.
    fn stopped(&self, mut failure: Failure) -> Failure {
        if self.recursive {
            failure.message.push_str(
                ". What was sent until then is there; the same command goes on from there",
            );
        }
        failure
    }

    async fn client(&self, is_plain: bool, host: String) -> Result<FetchClient, Failure> {
        let ca_pem = match &self.ca {
            None => None,
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|e| Failure::usage(format!("--ca {}: {e}", path.display())))?,
            ),
        };
        let credentials = server::login(host.clone(), self.creds_file.clone()).await?;
        let tls = ca_pem.as_deref().and_then(crate::tls::outward);
        let options = FetchOptions {
            tls: tls.map(TlsClient::new),
            ca_pem,
            insecure: self.insecure,
            plain_http: is_plain,
            credentials,
            // The answer comes when all is sent; a server that hears nothing ends it sooner.
            read_timeout: Duration::from_hours(24),
            ..FetchOptions::default()
        };
        FetchClient::new(&host, options).map_err(|e| Failure::reaching(&e, hints::PUSH))
    }
}

/// Another server: whether it is spoken to in plain HTTP, and its host.
type Server = (bool, String);

/// Server, and repository and path, of an address; `None` for no address.
fn split(to: &str) -> Result<Option<(Server, String)>, Failure> {
    let (is_plain, rest) = match (to.strip_prefix("https://"), to.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Ok(None),
    };
    let wrong = || Failure::usage(format!("{to} is not of the form https://HOST/r/NAME/PATH"));
    let (host, path) = rest.split_once("/r/").ok_or_else(wrong)?;
    if host.is_empty() || host.contains(['/', '@', '?']) || path.contains(['?', '#']) {
        return Err(wrong());
    }
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong())?;
    Ok(Some(((is_plain, host.to_owned()), path.into_owned())))
}

fn line(done: &Done) -> String {
    let (Pushed { name, digest, .. }, size) = (&done.file, output::size(done.file.size));
    let did = if done.sent {
        "Pushed"
    } else {
        "There already:"
    };
    format!("{did} {name} ({size}) {digest}")
}

fn summary(done: &[Done]) -> String {
    let sent: Vec<u64> = done
        .iter()
        .filter(|d| d.sent)
        .map(|d| d.file.size)
        .collect();
    let (bytes, there) = (output::size(sent.iter().sum()), done.len() - sent.len());
    format!(
        "{} files pushed ({bytes}), {there} were there already",
        sent.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ops::FaultKind;

    #[test]
    fn destinations() {
        let of = |to: &str| split(to).map_err(|f| f.kind);
        assert_eq!(of("team/tools/x/"), Ok(None));
        let there = |plain, host: &str, path: &str| Ok(Some(((plain, host.into()), path.into())));
        assert_eq!(
            of("https://a.example:8443/r/team/x%20y"),
            there(false, "a.example:8443", "team/x y")
        );
        assert_eq!(of("http://[::1]/r/a/"), there(true, "[::1]", "a/"));
        for wrong in [
            "https://a/b",
            "https:///r/a",
            "http://a@b/r/c",
            "http://a/r/b?c",
        ] {
            assert_eq!(of(wrong), Err(FaultKind::Usage), "{wrong}");
        }
    }
}
