//! The options of `upstream add` and `upstream set` that both have, and what they become.

use crate::cli::exit::Failure;
use crate::config::{duration_ms, size_bytes};
use crate::types::RepoPattern;
use crate::upstream::{CertificateFiles, CredentialSource, Library, SettingError, UpstreamChange};
use clap::{ArgAction, ArgGroup, Args};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const PROXY_HELP: &str = "Proxy on the way, for example http://proxy:3128; empty: what the environment of the server says";

/// Switches of a new upstream.
#[derive(Debug, Args)]
pub(super) struct AddSwitches {
    /// Look here for names that no repository has (docker's registry-mirrors ask for such); one upstream can be it
    #[arg(long)]
    pub default: bool,
    /// Do not ask it: what is here is served
    #[arg(long)]
    pub offline: bool,
}

/// The same of one that is there.
#[derive(Debug, Args)]
pub(super) struct SetSwitches {
    /// Whether to look here for names that no repository has
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    pub default: Option<bool>,
    /// Whether it is not asked
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    pub offline: Option<bool>,
}

/// What both may be given.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("credentials").args(["user_env", "creds_from", "docker_config", "creds_command", "anonymous"]))]
pub(super) struct Options {
    /// Another host that containerd may name for it (?ns=HOST); may be given several times
    #[arg(long, value_name = "HOST")]
    ns: Vec<String>,
    /// Trust this certificate (PEM) beside the system's CAs; the file is read now. An empty FILE ends that
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Our certificate (PEM) for an upstream that asks for one: a file on the machine of the server
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<String>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<String>,
    #[arg(long, value_name = "URL", help = PROXY_HELP)]
    proxy: Option<String>,
    /// Whether names of one component get library/ in front there [default: auto, at Docker Hub alone]
    #[arg(long, value_name = "auto|on|off", value_parser = Library::from_str)]
    library_prefix: Option<Library>,
    /// Ask for these names only, for example library/*; may be given several times
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Never ask for these names; may be given several times
    #[arg(long, value_name = "PATTERN")]
    deny: Vec<String>,
    /// For how long the meaning of a tag is believed without asking again [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    freshness: Option<u64>,
    /// Most requests a second; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// Most bytes a second from it, for example 10MiB; 0 is no limit [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    bandwidth: Option<u64>,
    /// The longest wait for the first byte of an answer, once there is a connection [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    first_byte: Option<u64>,
    /// Log in with the user in this variable of the server's environment
    #[arg(long, value_name = "VAR", requires = "password_env")]
    user_env: Option<String>,
    /// and the password in this one
    #[arg(long, value_name = "VAR", requires = "user_env")]
    password_env: Option<String>,
    /// Log in with USER:PASSWORD from the first line of this file on the machine of the server
    #[arg(long, value_name = "FILE")]
    creds_from: Option<PathBuf>,
    /// Log in with what this file of docker's config.json form says, on the machine of the server
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
    /// Log in with what this program prints (USER:PASSWORD, or as docker's credential helpers do); split at spaces, run
    /// by the server without a shell
    #[arg(long, value_name = "PROGRAM ARGUMENTS")]
    creds_command: Option<String>,
    /// Log in with nothing
    #[arg(long)]
    anonymous: bool,
}

impl Options {
    /// What becomes another. The CA's file is read now.
    pub fn change(self) -> Result<UpstreamChange, Failure> {
        let credentials = self.credentials()?;
        let ca_pem = self.ca.as_deref().map(|path| {
            if path.is_empty() {
                return Ok(String::new());
            }
            std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("--ca {path}: {e}")))
        });
        let certificate = self.client_cert.zip(self.client_key).map(|(cert, key)| {
            Ok::<_, Failure>(CertificateFiles {
                certificate: whole(cert.as_ref())?,
                key: whole(key.as_ref())?,
            })
        });
        Ok(UpstreamChange {
            default: None,
            namespaces: given(self.ns),
            credentials,
            ca_pem: ca_pem.transpose()?,
            client_certificate: certificate.transpose()?,
            proxy: self.proxy,
            library_prefix: self.library_prefix,
            allow: patterns(&self.allow)?,
            deny: patterns(&self.deny)?,
            freshness_ms: self.freshness,
            requests_per_second: self.requests_per_second,
            bytes_per_second: self.bandwidth,
            first_byte_ms: self.first_byte,
            offline: None,
        })
    }

    /// The one source that is named.
    fn credentials(&self) -> Result<Option<CredentialSource>, Failure> {
        if self.anonymous {
            return Ok(Some(CredentialSource::Anonymous));
        }
        if let (Some(user), Some(password)) = (&self.user_env, &self.password_env) {
            let (user, password) = (user.clone(), password.clone());
            return Ok(Some(CredentialSource::Environment { user, password }));
        }
        if let Some(path) = &self.creds_from {
            return Ok(Some(CredentialSource::File(whole(path)?)));
        }
        if let Some(path) = &self.docker_config {
            return Ok(Some(CredentialSource::DockerConfig(whole(path)?)));
        }
        let argv = |text: &String| text.split_whitespace().map(str::to_owned).collect();
        Ok(self
            .creds_command
            .as_ref()
            .map(|text| CredentialSource::Command(argv(text))))
    }
}

/// A list that was given; one empty text is an empty list.
fn given(list: Vec<String>) -> Option<Vec<String>> {
    match list.as_slice() {
        [] => None,
        [only] if only.is_empty() => Some(Vec::new()),
        _ => Some(list),
    }
}

fn patterns(list: &[String]) -> Result<Option<Vec<RepoPattern>>, Failure> {
    let Some(list) = given(list.to_vec()) else {
        return Ok(None);
    };
    let read: Result<Vec<RepoPattern>, _> = list.iter().map(|text| text.parse()).collect();
    Ok(Some(read?))
}

/// The whole path: the server runs elsewhere. An empty one stays empty, which ends a setting.
fn whole(path: &Path) -> Result<String, Failure> {
    if path.as_os_str().is_empty() {
        return Ok(String::new());
    }
    let whole = std::path::absolute(path)
        .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let text = whole.into_os_string().into_string();
    text.map_err(|text| Failure::usage(format!("{} is no text", text.display())))
}

/// A text of an upstream's settings.
pub(super) fn read<T: FromStr<Err = SettingError>>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: SettingError| Failure::usage(error.to_string()))
}
