//! What an operator says about one upstream. The defaults are what docker's own mirror would do.

use crate::types::{RepoName, RepoPattern};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The name of an upstream: 1 to 64 lower-case letters, digits, `.`, `-` and `_`, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamName(String);

impl UpstreamName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text of an upstream's settings does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not a name.
    #[error(
        "\"{0}\" is no name of an upstream: 1 to 64 lower-case letters, digits, dots, dashes and underscores, a letter or digit first"
    )]
    Name(String),
    /// Not an address.
    #[error(
        "\"{0}\" is no address of a registry: http:// or https://, a host, perhaps a port and a path, and no more"
    )]
    Url(String),
    /// Not a way to write the names of docker's own images.
    #[error("\"{0}\" is none of auto, on, off")]
    Library(String),
}

impl FromStr for UpstreamName {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_name = (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(is_plain)
            && text
                .bytes()
                .all(|b| is_plain(b) || matches!(b, b'.' | b'-' | b'_'));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(SettingError::Name(text.chars().take(80).collect()))
        }
    }
}

crate::types::as_text!(
    UpstreamName,
    "UpstreamName",
    "The name of an upstream.",
    "hub"
);

/// The address of an upstream: scheme, host, perhaps a port, and a path below which its `/v2/` names lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    is_plain: bool,
    host: String,
    path: String,
}

impl UpstreamUrl {
    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// `HOST` or `HOST:PORT`, an IPv6 address in brackets, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What comes before each name, with a slash at its end; empty for none. `https://HOST/proxy` asks for `proxy/NAME`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_plain { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.host)?;
        match self.path.trim_end_matches('/') {
            "" => Ok(()),
            path => write!(f, "/{path}"),
        }
    }
}

impl FromStr for UpstreamUrl {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let bad = || SettingError::Url(text.chars().take(200).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let is_plain = match scheme {
            "http" => true,
            "https" => false,
            _ => return Err(bad()),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // People copy the address that docker shows.
        let path = path.trim_end_matches('/');
        let path = path
            .strip_suffix("v2")
            .unwrap_or(path)
            .trim_end_matches('/');
        let path = if path.is_empty() {
            String::new()
        } else {
            let name: RepoName = path.parse().map_err(|_| bad())?;
            format!("{name}/")
        };
        let is_host =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        if host.is_empty() || host.len() > 255 || !host.bytes().all(is_host) {
            return Err(bad());
        }
        Ok(Self {
            is_plain,
            host: host.to_ascii_lowercase(),
            path,
        })
    }
}

crate::types::as_text!(
    UpstreamUrl,
    "UpstreamUrl",
    "The address of a registry.",
    "https://registry-1.docker.io"
);

/// What to log in with there, by reference: the secret itself stands in no row and in no reply.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialSource {
    /// As anybody.
    #[default]
    Anonymous,
    /// User and password from two variables of the server's environment.
    Environment {
        /// The variable with the user's name.
        user: String,
        /// The variable with the password.
        password: String,
    },
    /// `USER:PASSWORD` on the first line of a file that the server may read.
    File(String),
    /// The upstream's entry in docker's `config.json`, or a file like it, at this path.
    DockerConfig(String),
    /// A program and its arguments, which prints `USER:PASSWORD`, or what docker's credential helpers print.
    Command(Vec<String>),
}

/// Whether names of one component get `library/` in front at the upstream, in the path and in the scope of its tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Library {
    /// At Docker Hub alone.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl FromStr for Library {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(SettingError::Library(text.chars().take(80).collect())),
        }
    }
}

crate::types::as_text!(
    Library,
    "LibraryPrefix",
    "Whether names of one component get library/ in front at the upstream.",
    "auto"
);

/// Where the settings of an upstream stand.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamOrigin {
    /// In a row: it can be changed and removed.
    Added,
    /// In the configuration: read-only here.
    Configuration,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: UpstreamName,
    /// Its addresses, at least one: the next is asked where one cannot be reached.
    pub urls: Vec<UpstreamUrl>,
    /// What its repositories' names begin with here. `docker.io` makes `docker.io/library/alpine` of `library/alpine`.
    pub prefix: RepoName,
    /// A bare name that no repository here has is looked for there (docker's `registry-mirrors`).
    pub default: bool,
    /// Hosts beside those of its addresses that `?ns=` may name for it.
    pub namespaces: Vec<String>,
    /// What to log in with.
    pub credentials: CredentialSource,
    /// Certificates (PEM) that are trusted for it beside the system's.
    pub ca_pem: Option<String>,
    /// Our certificate (PEM, the chain) and its key, as the upstream asks for them: paths of files that the server may read.
    pub client_certificate: Option<(String, String)>,
    /// The proxy on the way; none is what the environment says.
    pub proxy: Option<String>,
    /// Names of one component.
    pub library: Library,
    /// Names at the upstream that may be asked for; empty is all.
    pub allow: Vec<RepoPattern>,
    /// Names at the upstream that may not, also where `allow` has them.
    pub deny: Vec<RepoPattern>,
    /// For how long the meaning of a tag is believed without asking again.
    pub freshness: Duration,
    /// Most requests a second; 0 is no limit.
    pub requests_per_second: u32,
    /// Most bytes a second from it; 0 is no limit.
    pub bytes_per_second: u64,
    /// The longest wait for the first byte of an answer once there is a connection.
    pub first_byte: Duration,
    /// It is not asked; what is here is served.
    pub offline: bool,
}

impl UpstreamSettings {
    /// For how long a tag is believed if nothing else is said.
    pub const FRESHNESS: Duration = Duration::from_mins(5);
    /// How long the first byte of an answer may take if nothing else is said.
    pub const FIRST_BYTE: Duration = Duration::from_secs(30);

    /// An upstream with the defaults.
    pub fn new(name: UpstreamName, urls: Vec<UpstreamUrl>, prefix: RepoName) -> Self {
        Self {
            name,
            urls,
            prefix,
            default: false,
            namespaces: Vec::new(),
            credentials: CredentialSource::default(),
            ca_pem: None,
            client_certificate: None,
            proxy: None,
            library: Library::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            freshness: Self::FRESHNESS,
            requests_per_second: 0,
            bytes_per_second: 0,
            first_byte: Self::FIRST_BYTE,
            offline: false,
        }
    }

    /// Whether it is Docker Hub, whatever its name.
    pub fn is_hub(&self) -> bool {
        self.urls.iter().any(|url| is_hub(url.host()))
    }

    /// Whether `?ns=HOST` means it. The names of Docker Hub are one.
    pub fn has_namespace(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        (is_hub(&host) && self.is_hub())
            || self.urls.iter().any(|url| url.host() == host)
            || self
                .namespaces
                .iter()
                .any(|own| *own == host || (is_hub(own) && is_hub(&host)))
    }

    /// The name that a repository here has there, without the path of an address; none if it does not belong here or may
    /// not be asked for.
    pub fn name_there(&self, here: &RepoName) -> Option<RepoName> {
        let rest = here.as_str().strip_prefix(self.prefix.as_str())?;
        let rest = rest.strip_prefix('/')?;
        let there = if self.has_library(rest) {
            format!("library/{rest}")
        } else {
            rest.to_owned()
        };
        let there: RepoName = there.parse().ok()?;
        let is_in = |list: &[RepoPattern]| list.iter().any(|pattern| pattern.matches(&there));
        ((self.allow.is_empty() || is_in(&self.allow)) && !is_in(&self.deny)).then_some(there)
    }

    /// The repository here of a name that a client gave with `?ns=`, or bare: under the name that it has there, so that
    /// `alpine` and `library/alpine` are one.
    pub fn name_here(&self, name: &RepoName) -> Option<RepoName> {
        let library = if self.has_library(name.as_str()) {
            "library/"
        } else {
            ""
        };
        format!("{}/{library}{name}", self.prefix).parse().ok()
    }

    /// Whether a name gets `library/` in front.
    fn has_library(&self, name: &str) -> bool {
        let is_on = match self.library {
            Library::On => true,
            Library::Off => false,
            Library::Auto => self.is_hub(),
        };
        is_on && !name.contains('/')
    }
}

/// The names of Docker Hub are one.
pub(super) fn is_hub(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> UpstreamSettings {
        let url = "https://registry-1.docker.io".parse().expect("an address");
        UpstreamSettings::new(
            "hub".parse().expect("a name"),
            vec![url],
            "docker.io".parse().expect("a name"),
        )
    }

    #[test]
    fn names_there() {
        let name = |text: &str| text.parse::<RepoName>().expect("a name");
        let there =
            |of: &UpstreamSettings, here: &str| of.name_there(&name(here)).map(|n| n.to_string());
        let mut hub = hub();
        assert_eq!(
            there(&hub, "docker.io/alpine").as_deref(),
            Some("library/alpine")
        );
        assert_eq!(
            there(&hub, "docker.io/library/alpine").as_deref(),
            Some("library/alpine")
        );
        assert_eq!(there(&hub, "docker.io/a/b").as_deref(), Some("a/b"));
        assert_eq!(there(&hub, "docker.iox/a"), None);
        assert_eq!(there(&hub, "docker.io"), None);
        hub.library = Library::Off;
        assert_eq!(there(&hub, "docker.io/alpine").as_deref(), Some("alpine"));
        hub.allow = vec!["a/*".parse().expect("a pattern")];
        hub.deny = vec!["a/c".parse().expect("a pattern")];
        assert_eq!(there(&hub, "docker.io/alpine"), None);
        assert_eq!(there(&hub, "docker.io/a/c"), None);
        assert_eq!(there(&hub, "docker.io/a/b").as_deref(), Some("a/b"));
    }

    #[test]
    fn namespaces() {
        let mut hub = hub();
        for host in ["docker.io", "index.docker.io", "Registry-1.docker.io"] {
            assert!(hub.has_namespace(host), "{host}");
        }
        assert!(!hub.has_namespace("quay.io"));
        hub.namespaces.push("mirror.example".into());
        assert!(hub.has_namespace("mirror.example"));
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("https://Quay.IO", Some("https://quay.io")),
            ("https://quay.io/v2/", Some("https://quay.io")),
            ("http://[::1]:5000/proxy/", Some("http://[::1]:5000/proxy")),
            ("quay.io", None),
            ("ftp://quay.io", None),
            ("https://user:secret@quay.io", None),
            ("https://quay.io/a?b=c", None),
            ("https://", None),
        ] {
            let read = text.parse::<UpstreamUrl>().map(|url| url.to_string()).ok();
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }
}
