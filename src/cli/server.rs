//! Another server: operations over its REST interface, with the caller's own login.

use super::exit::Failure;
use super::hints;
use super::output;
use crate::app::ops::{Fault, FaultKind, Operation, Reach, Verb};
use crate::fetch::{FetchClient, FetchOptions, TlsClient, credentials};
use clap::Args;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

const SERVER_HELP: &str = "Another server, for example https://registry.local:8443: it is asked with your login for it, that of \
    `docker login` (or `podman login`)";
/// Where the operations begin.
const ROOT: &str = "/api/v1";

/// The options that name another server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ServerArgs {
    #[arg(long, value_name = "URL", help = SERVER_HELP, conflicts_with_all = ["data", "config"])]
    server: Option<String>,
    /// With --server: trust this certificate (PEM) beside the system's CAs: a CA's, or the very one that the server has
    #[arg(long, value_name = "FILE", requires = "server")]
    server_ca: Option<PathBuf>,
}

/// A server that is reached by REST.
pub struct Server {
    client: FetchClient,
    host: String,
}

/// What RFC 9457 says of a failure, and our own kind.
#[derive(Deserialize)]
struct Problem {
    kind: Option<FaultKind>,
    detail: Option<String>,
}

impl ServerArgs {
    /// The server that is named, if one is.
    pub async fn server(&self) -> Result<Option<Server>, Failure> {
        let Some(url) = &self.server else {
            return Ok(None);
        };
        let (is_plain, host) = split(url)?;
        let ca_pem = match &self.server_ca {
            None => None,
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|e| Failure::usage(format!("--server-ca {}: {e}", path.display())))?,
            ),
        };
        let login = login(host.clone(), None).await?;
        let tls = ca_pem.as_deref().and_then(crate::tls::outward);
        let options = FetchOptions {
            tls: tls.map(TlsClient::new),
            ca_pem,
            plain_http: is_plain,
            credentials: login,
            // The answer comes when all is done; a server that is gone ends the connection sooner.
            read_timeout: Duration::from_hours(24),
            ..FetchOptions::default()
        };
        let client = FetchClient::new(&host, options);
        let client = client.map_err(|e| Failure::reaching(&e, hints::SERVER))?;
        Ok(Some(Server { client, host }))
    }
}

/// The caller's own login for a server. Warnings go to stderr.
pub async fn login(
    host: String,
    file: Option<PathBuf>,
) -> Result<Option<credentials::Credential>, Failure> {
    // Credential helpers are programs: they may take a while.
    let (odd, login) = tokio::task::spawn_blocking(move || {
        let files = credentials::CredentialFiles::read(file.as_deref());
        (files.warnings(), files.lookup(&host, ""))
    })
    .await
    .map_err(Failure::failed)?;
    for text in &odd {
        output::warning(text);
    }
    login.map_err(Failure::failed)
}

/// Whether a server is spoken to in plain HTTP, and its host.
fn split(url: &str) -> Result<(bool, String), Failure> {
    let (is_plain, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong(url)),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(wrong(url));
    }
    Ok((is_plain, host.to_owned()))
}

fn wrong(url: &str) -> Failure {
    Failure::usage(format!("{url} is not of the form https://HOST[:PORT]"))
}

impl Server {
    /// Has an operation performed.
    pub async fn ask<O: Operation>(&self, operation: O) -> Result<O::Reply, Failure> {
        let spec = O::SPEC;
        if spec.reach == Reach::Control {
            return Err(Failure::new(
                FaultKind::State,
                "this can be asked of the machine's own server only; leave --server out and run it there",
            ));
        }
        let (method, body) = match spec.verb {
            Verb::Read => ("GET", None),
            Verb::Remove => ("DELETE", None),
            Verb::Make => ("POST", Some(json(&operation)?)),
            Verb::Set => ("PUT", Some(json(&operation)?)),
        };
        let mut target = format!("{ROOT}{}", spec.path);
        if body.is_none() {
            let query = serde_urlencoded::to_string(&operation).map_err(Failure::failed)?;
            if !query.is_empty() {
                target = format!("{target}?{query}");
            }
        }
        let reply = self.client.call(method, &target, body).await;
        let reply = reply.map_err(|e| Failure::reaching(&e, hints::SERVER))?;
        if !(200..300).contains(&reply.status) {
            return Err(self.refused(reply.status, &reply.body));
        }
        serde_json::from_slice(&reply.body).map_err(|e| {
            Failure::failed(format!(
                "{} is another version of Dryport, or no Dryport: its reply cannot be read ({e})",
                self.host
            ))
        })
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let kind = problem.as_ref().and_then(|problem| problem.kind);
        let text = problem.and_then(|problem| problem.detail);
        let kind = kind.unwrap_or(match status {
            400 => FaultKind::Usage,
            401 | 403 => FaultKind::Denied,
            404 => FaultKind::NotFound,
            409 => FaultKind::State,
            _ => FaultKind::Failed,
        });
        let text = text.unwrap_or_else(|| format!("it answered {status}"));
        Fault::new(kind, format!("{}: {text}", self.host)).into()
    }
}

fn json(operation: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(operation).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |url: &str| split(url).map_err(|f| f.kind);
        assert_eq!(
            of("https://a.example:8443"),
            Ok((false, "a.example:8443".into()))
        );
        assert_eq!(of("http://[::1]/"), Ok((true, "[::1]".into())));
        for wrong in [
            "a.example",
            "https://",
            "https://a/b",
            "https://u@a",
            "ftp://a",
        ] {
            assert_eq!(of(wrong), Err(FaultKind::Usage), "{wrong}");
        }
    }
}
