//! What the calling user logs in with: docker's `config.json` and its like, and the credential helpers they name.
//!
//! Read by the command, as the user who typed it; handed on for one run, never stored and never printed.

mod helper;

use crate::fetch::error::FetchError;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What to log in with. Its `Debug` shows no secret; it is serialised only to pass it to the server over the control
/// socket.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// A user and a password (or access token in its place).
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A refresh token for the registry's token service.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { .. } => f.write_str("Credential::Basic(hidden)"),
            Self::IdentityToken(_) => f.write_str("Credential::IdentityToken(hidden)"),
        }
    }
}

/// The name by which docker files Docker Hub's credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What docker's `config.json` says about log-ins. Reading it asks no helper and touches no file.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    #[serde(deserialize_with = "or_nothing")]
    auths: BTreeMap<String, Option<Kept<Entry>>>,
    #[serde(deserialize_with = "or_nothing")]
    creds_store: String,
    #[serde(deserialize_with = "or_nothing")]
    cred_helpers: BTreeMap<String, Option<Kept<String>>>,
}

/// What one key says; `None` if it has not the form that it must have, which is no reason not to read the others.
struct Kept<T>(Option<T>);

impl<'de, T: serde::de::DeserializeOwned> serde::Deserialize<'de> for Kept<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw: Box<serde_json::value::RawValue> = serde::Deserialize::deserialize(from)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "or_nothing")]
    auth: String,
    #[serde(deserialize_with = "or_nothing")]
    username: String,
    #[serde(deserialize_with = "or_nothing")]
    password: String,
    #[serde(deserialize_with = "or_nothing")]
    identitytoken: String,
}

/// Null is as good as not there.
fn or_nothing<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    let value: Option<T> = serde::Deserialize::deserialize(from)?;
    Ok(value.unwrap_or_default())
}

/// Programs that write these files differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The files of the user's credentials, as they were read: a command that becomes another user reads them before.
pub struct CredentialFiles {
    files: Vec<(PathBuf, std::io::Result<Vec<u8>>)>,
    /// The only one was named, so it must be there.
    named: bool,
}

impl CredentialFiles {
    /// Reads the file `config`; without it `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` (or
    /// `~/.docker/config.json`) and `$XDG_RUNTIME_DIR/containers/auth.json`.
    pub fn read(config: Option<&Path>) -> Self {
        let files = config.map_or_else(default_files, |path| vec![path.to_owned()]);
        let read = |path: PathBuf| {
            let text = std::fs::read(&path);
            (path, text)
        };
        Self {
            files: files.into_iter().map(read).collect(),
            named: config.is_some(),
        }
    }

    /// Which entries of these files cannot be read, in words, with the names of their hosts alone; at most 20. They hinder
    /// only who asks for those hosts.
    pub fn warnings(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (path, text) in &self.files {
            let config = text
                .as_ref()
                .ok()
                .map(|text| DockerConfig::parse(path, text));
            let Some(Ok(config)) = config else { continue };
            told.extend(config.bad(path).into_iter().map(|host| {
                let path = path.display();
                format!("{path}: the entry of {host} cannot be read; it is passed over")
            }));
        }
        told.truncate(20);
        told
    }

    /// The credential for the repository `name` of `registry` (`docker.io`, `HOST`, `HOST:PORT`), if the user has one: the
    /// first file that knows one decides. Blocks: helpers are programs.
    pub fn lookup(&self, registry: &str, name: &str) -> Result<Option<Credential>, FetchError> {
        for (path, text) in &self.files {
            let text = match text {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && !self.named => continue,
                Err(e) => {
                    return Err(FetchError::Credentials(format!(
                        "{} cannot be read: {e}",
                        path.display()
                    )));
                }
            };
            if let Some(found) = in_file(path, text, registry, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn default_files() -> Vec<PathBuf> {
    let var = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let docker = var("DOCKER_CONFIG").or_else(|| var("HOME").map(|home| home.join(".docker")));
    [
        var("REGISTRY_AUTH_FILE"),
        docker.map(|dir| dir.join("config.json")),
        var("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn in_file(
    path: &Path,
    text: &[u8],
    registry: &str,
    name: &str,
) -> Result<Option<Credential>, FetchError> {
    let config = DockerConfig::parse(path, text)?;
    // What is for a part of a registry comes before what is for all of it, whoever keeps that.
    if let Some(found) = config.of_part(path, registry, name)? {
        return Ok(Some(found));
    }
    if let Some(program) = config.helper(registry)?
        && let Some(found) = helper::ask(&program, &normal(registry))?
    {
        return Ok(Some(found));
    }
    config.credential(path, registry)
}

impl DockerConfig {
    /// Reads the file's text; `path` is for the errors.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, FetchError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        // An empty file is one that nobody logged in with.
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // The parser's own message could quote the secret beside the fault: only the place is told.
        serde_json::from_slice(text).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            FetchError::Credentials(format!(
                "{} is not valid JSON (line {line}, column {column})",
                path.display()
            ))
        })
    }

    /// The program to ask for the log-in of `registry`: `docker-credential-NAME`, never a path.
    pub fn helper(&self, registry: &str) -> Result<Option<String>, FetchError> {
        let named = match entry_of(&self.cred_helpers, registry) {
            Some(Kept(None)) => {
                let text =
                    format!("credHelpers names no helper for {registry}, but something else");
                return Err(FetchError::Credentials(text));
            }
            Some(Kept(Some(name))) => Some(name.as_str()),
            None => None,
        };
        let named = named.filter(|name| !name.is_empty());
        let name = named.or(Some(self.creds_store.as_str()).filter(|name| !name.is_empty()));
        let Some(name) = name else {
            return Ok(None);
        };
        let program = format!("docker-credential-{name}");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !name.bytes().all(plain) {
            return Err(helper::failed(&program, "has a name that is no program's"));
        }
        Ok(Some(program))
    }

    /// The log-in for the repository `name` of `registry`, or for the nearest namespace above it: what podman files under
    /// `HOST/NAMESPACE[/REPO]`; `path` is for the errors.
    pub fn of_part(
        &self,
        path: &Path,
        registry: &str,
        name: &str,
    ) -> Result<Option<Credential>, FetchError> {
        let host = normal(registry);
        let mut part = name;
        while !part.is_empty() {
            let key = format!("{host}/{part}");
            if let Some(entry) = entry_of(&self.auths, &key)
                && let Some(found) = entry.read(path, &key)?.credential(path, &key)?
            {
                return Ok(Some(found));
            }
            part = part.rsplit_once('/').map_or("", |(above, _)| above);
        }
        Ok(None)
    }

    /// The log-in of `registry` that stands in the file itself; `path` is for the errors.
    pub fn credential(
        &self,
        path: &Path,
        registry: &str,
    ) -> Result<Option<Credential>, FetchError> {
        match entry_of(&self.auths, registry) {
            Some(entry) => {
                let host = normal(registry);
                entry.read(path, &host)?.credential(path, &host)
            }
            None => Ok(None),
        }
    }

    /// The hosts (with the part of them, if there is one) whose entries cannot be read.
    fn bad(&self, path: &Path) -> Vec<String> {
        let entries = self.auths.iter().filter(|(key, entry)| {
            let read = entry.as_ref().map(|entry| entry.read(path, key));
            read.is_some_and(|read| read.and_then(|entry| entry.credential(path, key)).is_err())
        });
        let helpers = self.cred_helpers.iter();
        let helpers = helpers.filter(|(_, helper)| matches!(helper, Some(Kept(None))));
        let keys = entries
            .map(|(key, _)| key)
            .chain(helpers.map(|(key, _)| key));
        // Whatever stands before an @ is no part of a host.
        let host = |key: &String| {
            normal(key)
                .rsplit('@')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let shown = |host: String| host.chars().filter(|c| !c.is_control()).take(100).collect();
        keys.map(host).map(shown).collect()
    }
}

/// The entry of a registry. One that is written down in several ways is found by the name that docker uses, else by its
/// own, else by the first in ASCII order: always the same one.
fn entry_of<'a, T>(entries: &'a BTreeMap<String, Option<T>>, registry: &str) -> Option<&'a T> {
    let registry = normal(registry);
    let own = if registry == "docker.io" {
        HUB_KEY
    } else {
        registry.as_str()
    };
    let mut spelled = entries.iter().filter(|(key, _)| normal(key) == registry);
    let own = entries.get(own).and_then(Option::as_ref);
    own.or_else(|| spelled.find_map(|(_, entry)| entry.as_ref()))
}

/// Whether a registry can read the user back: the first colon ends it (RFC 7617).
fn is_user(text: &str) -> bool {
    !text.contains(':')
}

/// `https://HOST/v1/`, `HOST/v2` and `HOST` are one; all names of Docker Hub are `docker.io`, also before a repository.
fn normal(key: &str) -> String {
    let key = key.trim().to_ascii_lowercase();
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(&key);
    let key = key.trim_end_matches('/');
    let (host, part) = match key.split_once('/') {
        None | Some((_, "v1" | "v2")) => (key.split('/').next().unwrap_or(key), ""),
        Some((host, part)) => (host, part),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    if part.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{part}")
    }
}

impl Kept<Entry> {
    fn read(&self, path: &Path, registry: &str) -> Result<&Entry, FetchError> {
        self.0.as_ref().ok_or_else(|| {
            FetchError::Credentials(format!(
                "{}: the entry of {registry} is no object of texts (auth, username, password, identitytoken); log in again",
                path.display()
            ))
        })
    }
}

impl Entry {
    fn credential(&self, path: &Path, registry: &str) -> Result<Option<Credential>, FetchError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identitytoken.clone())));
        }
        let bad = || {
            let text = format!(
                "{}: the auth entry of {registry} is not base64 of USER:PASSWORD",
                path.display()
            );
            FetchError::Credentials(text)
        };
        if self.auth.is_empty() {
            let user = self.username.clone();
            let password = self.password.clone();
            if !is_user(&user) {
                return Err(FetchError::Credentials(format!(
                    "{}: the user name of {registry} holds a colon, so that no registry could tell it from the password; log in again",
                    path.display()
                )));
            }
            return Ok((!user.is_empty()).then_some(Credential::Basic { user, password }));
        }
        let text = BASE64.decode(self.auth.trim()).map_err(|_| bad())?;
        let text = String::from_utf8(text).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        let password = password.trim_end_matches('\0').to_owned();
        Ok(Some(Credential::Basic {
            user: user.to_owned(),
            password,
        }))
    }
}

#[cfg(test)]
mod tests;
