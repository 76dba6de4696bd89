//! Upstreams as they are shown and as they are changed. What to log in with is shown by reference: these values never hold it.

use super::ListedUpstream;
use super::record::millis;
use super::settings::{
    CredentialSource, Library, UpstreamName, UpstreamOrigin, UpstreamSettings, UpstreamUrl,
};
use crate::fetch::peer::BreakerState;
use crate::types::{RepoName, RepoPattern};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Our certificate for an upstream, as two files that the server may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The path of the certificate and its chain (PEM).
    pub certificate: String,
    /// The path of its key (PEM).
    pub key: String,
}

/// Whether an upstream is asked at all.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamBreaker {
    /// It is asked.
    #[default]
    Closed,
    /// One request tries whether it answers again.
    HalfOpen,
    /// It failed too often: it is not asked for a while.
    Open,
}

impl From<BreakerState> for UpstreamBreaker {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::HalfOpen => Self::HalfOpen,
            BreakerState::Open => Self::Open,
        }
    }
}

/// What is known of an upstream's work since the server began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamCounters {
    /// Requests that it was sent.
    pub requests: u64,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Requests of clients that were answered from here.
    pub hits: u64,
    /// Requests of clients for which it was asked.
    pub misses: u64,
    /// Requests of clients that got what was here, since it could not be asked.
    pub stale: u64,
    /// Requests that it failed.
    pub errors: u64,
    /// Whether it is asked.
    pub breaker: UpstreamBreaker,
    /// Requests that it says it still answers; none if it says nothing.
    pub budget_left: Option<u64>,
    /// Time since it answered rightly last, in ms; none if it has not.
    pub last_success_ms: Option<u64>,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamView {
    /// Its name.
    pub name: UpstreamName,
    /// Its addresses: the next is asked where one cannot be reached.
    pub urls: Vec<UpstreamUrl>,
    /// What the names of its repositories begin with here.
    pub prefix: RepoName,
    /// Where its settings stand.
    pub origin: UpstreamOrigin,
    /// Another one counts in its place.
    pub hidden: bool,
    /// What is odd about it, for people.
    #[serde(default)]
    pub note: Option<String>,
    /// A bare name that no repository here has is looked for there.
    pub default: bool,
    /// Hosts beside those of its addresses that `ns` may name for it.
    pub namespaces: Vec<String>,
    /// Where to look for what to log in with.
    pub credentials: CredentialSource,
    /// Certificates (PEM) that are trusted for it beside the system's.
    pub ca_pem: Option<String>,
    /// Our certificate.
    pub client_certificate: Option<CertificateFiles>,
    /// The proxy on the way; none is what the environment says.
    pub proxy: Option<String>,
    /// Whether names of one component get `library/` in front there.
    pub library_prefix: Library,
    /// Names there that may be asked for; empty is all.
    pub allow: Vec<RepoPattern>,
    /// Names there that may not.
    pub deny: Vec<RepoPattern>,
    /// For how long a tag is believed without asking again, in ms.
    pub freshness_ms: u64,
    /// Most requests a second; 0 is no limit.
    pub requests_per_second: u32,
    /// Most bytes a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// The longest wait for the first byte of an answer, in ms.
    pub first_byte_ms: u64,
    /// It is not asked; what is here is served.
    pub offline: bool,
    /// What is known of its work.
    pub counters: UpstreamCounters,
}

impl From<&ListedUpstream> for UpstreamView {
    fn from(listed: &ListedUpstream) -> Self {
        let settings = listed.upstream.settings.clone();
        let certificate = settings.client_certificate;
        Self {
            name: settings.name,
            urls: settings.urls,
            prefix: settings.prefix,
            origin: listed.upstream.origin,
            hidden: listed.hidden,
            note: listed.note.clone(),
            default: settings.default,
            namespaces: settings.namespaces,
            credentials: settings.credentials,
            ca_pem: settings.ca_pem,
            client_certificate: certificate
                .map(|(certificate, key)| CertificateFiles { certificate, key }),
            proxy: settings.proxy,
            library_prefix: settings.library,
            allow: settings.allow,
            deny: settings.deny,
            freshness_ms: millis(settings.freshness),
            requests_per_second: settings.requests_per_second,
            bytes_per_second: settings.bytes_per_second,
            first_byte_ms: millis(settings.first_byte),
            offline: settings.offline,
            counters: listed.upstream.counters(),
        }
    }
}

/// What becomes another; what is left out stays as it is, and is the default of a new upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamChange {
    /// A bare name that no repository here has is looked for there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Hosts beside those of its addresses that `ns` may name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Where to look for what to log in with. A command and docker's file cannot be given by REST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
    /// Certificates (PEM) that are trusted for it beside the system's; empty is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Our certificate; two empty paths are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateFiles>,
    /// The proxy on the way; empty is what the environment says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Whether names of one component get `library/` in front there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library_prefix: Option<Library>,
    /// Names there that may be asked for; empty is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<RepoPattern>>,
    /// Names there that may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<RepoPattern>>,
    /// For how long a tag is believed without asking again, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness_ms: Option<u64>,
    /// Most requests a second; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Most bytes a second; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// The longest wait for the first byte of an answer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// It is not asked; what is here is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<bool>,
}

impl UpstreamChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The settings with this change.
    #[must_use]
    pub fn of(self, mut settings: UpstreamSettings) -> UpstreamSettings {
        put(&mut settings.default, self.default);
        put(&mut settings.namespaces, self.namespaces);
        put(&mut settings.credentials, self.credentials);
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        put(&mut settings.ca_pem, self.ca_pem.map(text));
        let pair = |own: CertificateFiles| {
            let pair = (own.certificate, own.key);
            Some(pair).filter(|(certificate, key)| !(certificate.is_empty() && key.is_empty()))
        };
        put(
            &mut settings.client_certificate,
            self.client_certificate.map(pair),
        );
        put(&mut settings.proxy, self.proxy.map(text));
        put(&mut settings.library, self.library_prefix);
        put(&mut settings.allow, self.allow);
        put(&mut settings.deny, self.deny);
        put(
            &mut settings.freshness,
            self.freshness_ms.map(Duration::from_millis),
        );
        put(&mut settings.requests_per_second, self.requests_per_second);
        put(&mut settings.bytes_per_second, self.bytes_per_second);
        put(
            &mut settings.first_byte,
            self.first_byte_ms.map(Duration::from_millis),
        );
        put(&mut settings.offline, self.offline);
        settings
    }
}

fn put<T>(field: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *field = new;
    }
}
