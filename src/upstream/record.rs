//! The rows of upstreams that were added; the golden file pins their bytes. They hold no secret: what to log in with stands
//! there by reference.

use super::error::UpstreamError;
use super::settings::{CredentialSource, Library, UpstreamName, UpstreamSettings};
use crate::store::record::{Decode, Encode, Record};
use crate::types::{NameError, RepoPattern};
use std::time::Duration;

/// An upstream. Its name is the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UpstreamRecord {
    /// Addresses.
    pub urls: Vec<String>,
    /// What the names of its repositories begin with here.
    pub prefix: String,
    /// Bare names are looked for there.
    pub default: bool,
    /// Hosts beside those of its addresses that `ns` may name for it.
    pub namespaces: Vec<String>,
    /// What to log in with, by reference.
    pub credentials: CredentialRecord,
    /// Certificates (PEM) trusted for it beside the system's.
    pub ca_pem: Option<String>,
    /// Paths of our certificate and its key.
    pub client_certificate: Option<(String, String)>,
    /// The proxy on the way.
    pub proxy: Option<String>,
    /// A code of [`Library`]: 0 auto, 1 on, 2 off.
    pub library: u8,
    /// Patterns of the only names that may be asked for; empty is all.
    pub allow: Vec<String>,
    /// Patterns of names that may not.
    pub deny: Vec<String>,
    /// For how long a tag is believed (ms).
    pub freshness_ms: u64,
    /// Most requests a second; 0 is no limit.
    pub requests_per_second: u32,
    /// Most bytes a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// The longest wait for the first byte of an answer (ms).
    pub first_byte_ms: u64,
    /// It is not asked.
    pub offline: bool,
}

/// Where to look for what to log in with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CredentialRecord {
    /// Nowhere.
    Anonymous,
    /// Two variables of the environment: user, password.
    Environment(String, String),
    /// A file.
    File(String),
    /// A file like docker's `config.json`.
    DockerConfig(String),
    /// A program and its arguments.
    Command(Vec<String>),
}

impl Record for UpstreamRecord {
    const NAME: &'static str = "upstream";
    const VERSION: u8 = 1;
}

impl UpstreamRecord {
    /// The row of these settings.
    pub fn of(settings: &UpstreamSettings) -> Self {
        let texts = |list: &[RepoPattern]| list.iter().map(ToString::to_string).collect();
        Self {
            urls: settings.urls.iter().map(ToString::to_string).collect(),
            prefix: settings.prefix.to_string(),
            default: settings.default,
            namespaces: settings.namespaces.clone(),
            credentials: (&settings.credentials).into(),
            ca_pem: settings.ca_pem.clone(),
            client_certificate: settings.client_certificate.clone(),
            proxy: settings.proxy.clone(),
            library: match settings.library {
                Library::Auto => 0,
                Library::On => 1,
                Library::Off => 2,
            },
            allow: texts(&settings.allow),
            deny: texts(&settings.deny),
            freshness_ms: millis(settings.freshness),
            requests_per_second: settings.requests_per_second,
            bytes_per_second: settings.bytes_per_second,
            first_byte_ms: millis(settings.first_byte),
            offline: settings.offline,
        }
    }

    /// The settings of this row.
    ///
    /// # Errors
    /// [`UpstreamError::Setting`] where a text of it does not read.
    pub fn settings(self, name: UpstreamName) -> Result<UpstreamSettings, UpstreamError> {
        let urls: Result<Vec<_>, _> = self.urls.iter().map(|url| url.parse()).collect();
        let prefix = self.prefix.parse().map_err(|e| unreadable(&e))?;
        Ok(UpstreamSettings {
            default: self.default,
            namespaces: self.namespaces,
            credentials: self.credentials.into(),
            ca_pem: self.ca_pem,
            client_certificate: self.client_certificate,
            proxy: self.proxy,
            library: match self.library {
                1 => Library::On,
                2 => Library::Off,
                _ => Library::Auto,
            },
            allow: patterns(&self.allow)?,
            deny: patterns(&self.deny)?,
            freshness: Duration::from_millis(self.freshness_ms),
            requests_per_second: self.requests_per_second,
            bytes_per_second: self.bytes_per_second,
            first_byte: Duration::from_millis(self.first_byte_ms),
            offline: self.offline,
            ..UpstreamSettings::new(name, urls?, prefix)
        })
    }
}

fn patterns(texts: &[String]) -> Result<Vec<RepoPattern>, UpstreamError> {
    let read = texts
        .iter()
        .map(|text| text.parse().map_err(|e| unreadable(&e)));
    read.collect()
}

fn unreadable(error: &NameError) -> UpstreamError {
    UpstreamError::Setting(error.to_string())
}

/// A span in whole milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<&CredentialSource> for CredentialRecord {
    fn from(source: &CredentialSource) -> Self {
        match source.clone() {
            CredentialSource::Anonymous => Self::Anonymous,
            CredentialSource::Environment { user, password } => Self::Environment(user, password),
            CredentialSource::File(path) => Self::File(path),
            CredentialSource::DockerConfig(path) => Self::DockerConfig(path),
            CredentialSource::Command(argv) => Self::Command(argv),
        }
    }
}

impl From<CredentialRecord> for CredentialSource {
    fn from(record: CredentialRecord) -> Self {
        match record {
            CredentialRecord::Anonymous => Self::Anonymous,
            CredentialRecord::Environment(user, password) => Self::Environment { user, password },
            CredentialRecord::File(path) => Self::File(path),
            CredentialRecord::DockerConfig(path) => Self::DockerConfig(path),
            CredentialRecord::Command(argv) => Self::Command(argv),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::golden;

    fn full() -> UpstreamSettings {
        let url = |text: &str| text.parse().expect("an address");
        let pattern = |text: &str| text.parse().expect("a pattern");
        UpstreamSettings {
            default: true,
            namespaces: vec!["mirror.example:5000".into()],
            credentials: CredentialSource::Environment {
                user: "HUB_USER".into(),
                password: "HUB_PASSWORD".into(),
            },
            ca_pem: Some("-----BEGIN CERTIFICATE-----".into()),
            client_certificate: Some(("/etc/hub.pem".into(), "/etc/hub.key".into())),
            proxy: Some("http://proxy.example:3128".into()),
            library: Library::On,
            allow: vec![pattern("library/*")],
            deny: vec![pattern("library/b*")],
            freshness: Duration::from_mins(7),
            requests_per_second: 9,
            bytes_per_second: 10 << 20,
            first_byte: Duration::from_secs(11),
            offline: true,
            ..UpstreamSettings::new(
                "hub".parse().expect("a name"),
                vec![
                    url("https://registry-1.docker.io"),
                    url("http://[::1]:5000/x"),
                ],
                "docker.io".parse().expect("a name"),
            )
        }
    }

    #[test]
    fn golden_upstreams() {
        golden::check(&UpstreamRecord::of(&full()));
    }

    #[test]
    fn a_row_keeps_every_setting() {
        let sources = [
            CredentialSource::Anonymous,
            CredentialSource::File("/run/secret".into()),
            CredentialSource::DockerConfig("/etc/config.json".into()),
            CredentialSource::Command(vec!["pass".into(), "show".into()]),
        ];
        for credentials in sources {
            for library in [Library::Auto, Library::On, Library::Off] {
                let settings = UpstreamSettings {
                    library,
                    credentials: credentials.clone(),
                    ..full()
                };
                let row = UpstreamRecord::of(&settings).to_bytes().expect("a row");
                let read = UpstreamRecord::from_bytes(&row).expect("the row");
                assert_eq!(
                    read.settings(settings.name.clone()).expect("read"),
                    settings
                );
            }
        }
    }
}
