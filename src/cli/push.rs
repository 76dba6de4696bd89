//! `dryport push`.

use super::exit::Failure;
use super::help::flow;
use super::output::{self, Format};
use super::session::{Session, unexpected};
use super::settings::Place;
use crate::app::control::{FaultKind, Pushed, Reply};
use crate::fetch::{Client, FetchOptions, TlsClient, credentials};
use bytes::Bytes;
use clap::Args;
use futures_util::Stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

const HELP: &str = "\
The destination is a folder if it ends with a slash, else the file itself. Without a server's address the files go into
the data directory: the running server takes them over its control socket, and without one this command does it itself.
With an address they are sent to that server with your login for it, that of `docker login` (or `podman login`).

Examples:
  dryport push tool-1.0.tar.gz tool-1.0.tar.gz.asc team/tools/tool/
  dryport push debian.iso isos/debian-13.iso
  dryport push *.rpm https://registry.local:8443/r/team/rpms/el9/";

const TO_HELP: &str = "Repository and path, for example team/tools/linux/, or https://HOST/r/NAME/PATH of another server";

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// What stays as it is in a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Put files into a file repository
#[derive(Debug, Args)]
#[command(after_help = flow(HELP))]
pub(super) struct Push {
    #[command(flatten)]
    place: Place,
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
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
    format: Format,
}

/// A file that is to be sent.
struct Source {
    file: File,
    len: u64,
    /// Repository and path.
    target: String,
}

impl Push {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let format = self.format;
        let (server, path) = match split(&self.to)? {
            Some((server, path)) => (Some(server), path),
            None => (None, self.to.clone()),
        };
        let sources = sources(&self.files, &path)?;
        let pushed = match server {
            Some(server) => self.over_http(server, sources).await?,
            None => self.here(sources).await?,
        };
        if format.json {
            return output::json(&pushed);
        }
        let line = |one: &Pushed| {
            let size = output::size(one.size);
            format!("Pushed {} ({size}) {}", one.name, one.digest)
        };
        output::print(&pushed.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Into the data directory of this machine.
    async fn here(&self, sources: Vec<Source>) -> Result<Vec<Pushed>, Failure> {
        // The files are open: from here on this process may be another user.
        let session = Session::open(&self.place.enter()?, "push").await?;
        let mut pushed = Vec::new();
        let mut done = Ok(());
        for source in sources {
            let (target, len) = (source.target.clone(), source.len);
            let encoded = utf8_percent_encode(&target, ENCODED).to_string();
            match session.push((&target, &encoded), len, stream(source)).await {
                Ok(Reply::Pushed(one)) => pushed.push(one),
                Ok(_) => done = Err(unexpected()),
                Err(error) => done = Err(error),
            }
            if done.is_err() {
                break;
            }
        }
        session.close().await;
        done.map(|()| pushed)
    }

    /// To another server.
    async fn over_http(
        &self,
        (is_plain, host): Server,
        sources: Vec<Source>,
    ) -> Result<Vec<Pushed>, Failure> {
        let client = self.client(is_plain, host).await?;
        let mut pushed = Vec::new();
        for source in sources {
            let (name, len) = (source.target.clone(), source.len);
            let path = format!("/r/{}", utf8_percent_encode(&name, ENCODED));
            let reply = client.put(&path, len, stream(source)).await;
            let reply = reply.map_err(Failure::failed)?;
            if !matches!(reply.status, 200 | 201) {
                let kind = match reply.status {
                    400 => FaultKind::Usage,
                    401 | 403 | 409 | 412 => FaultKind::State,
                    404 => FaultKind::NotFound,
                    _ => FaultKind::Failed,
                };
                let text = String::from_utf8_lossy(&reply.body);
                let text = format!("{name}: {} {}", reply.status, text.trim());
                return Err(Failure::new(kind, text));
            }
            let digest = reply.header("etag").unwrap_or_default();
            pushed.push(Pushed {
                name,
                digest: digest.trim_matches('"').to_owned(),
                size: len,
                is_new: reply.status == 201,
            });
        }
        Ok(pushed)
    }

    async fn client(&self, is_plain: bool, host: String) -> Result<Client, Failure> {
        let ca_pem = match &self.ca {
            None => None,
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|e| Failure::usage(format!("--ca {}: {e}", path.display())))?,
            ),
        };
        let (file, wanted) = (self.creds_file.clone(), host.clone());
        // Credential helpers are programs: they may take a while.
        let (odd, login) = tokio::task::spawn_blocking(move || {
            let files = credentials::Files::read(file.as_deref());
            (files.warnings(), files.lookup(&wanted, ""))
        })
        .await
        .map_err(Failure::failed)?;
        for text in &odd {
            output::warning(text);
        }
        let tls = ca_pem.as_deref().and_then(crate::tls::outward);
        let options = FetchOptions {
            tls: tls.map(TlsClient::new),
            ca_pem,
            insecure: self.insecure,
            plain_http: is_plain,
            credentials: login.map_err(Failure::failed)?,
            // The answer comes when all is sent; a server that hears nothing ends it sooner.
            read_timeout: Duration::from_hours(24),
            ..FetchOptions::default()
        };
        Client::new(&host, options).map_err(Failure::failed)
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

/// Opens the files, and says where each goes.
fn sources(files: &[PathBuf], to: &str) -> Result<Vec<Source>, Failure> {
    if files.len() > 1 && !to.ends_with('/') {
        let text = format!("several files go into a folder: end {to} with a slash");
        return Err(Failure::usage(text));
    }
    files.iter().map(|path| source(path, to)).collect()
}

fn source(path: &Path, to: &str) -> Result<Source, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|e| wrong(&e))?;
    let about = file.metadata().map_err(|e| wrong(&e))?;
    if !about.is_file() {
        return Err(wrong(&"this is no file; give the files in it"));
    }
    let mut target = to.to_owned();
    if to.ends_with('/') {
        let name = path.file_name().and_then(|name| name.to_str());
        target.push_str(name.ok_or_else(|| wrong(&"its name is no text"))?);
    }
    let len = about.len();
    Ok(Source { file, len, target })
}

/// As many bytes as the file had when it was opened.
fn stream(source: Source) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + Unpin {
    let file = tokio::fs::File::from_std(source.file).take(source.len);
    ReaderStream::with_capacity(file, PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

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
