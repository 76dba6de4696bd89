//! The upstreams of the configuration: from its tables to what `upstream` takes. Reads the CA files that they name.

use super::AppError;
use crate::config::Config;
use crate::config::sections::UpstreamTable;
use crate::upstream::{
    CredentialSource, UpstreamError, UpstreamErrorKind, UpstreamOptions, UpstreamSettings,
    Upstreams,
};
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// What the configuration says of upstreams. Blocks.
pub(super) fn upstreams(config: &Config) -> Result<UpstreamOptions, AppError> {
    let configured: Result<Vec<_>, _> = config.upstream.iter().map(settings).collect();
    Ok(UpstreamOptions {
        configured: configured.map_err(AppError::Config)?,
        offline: config.upstreams.offline,
    })
}

/// Refuses a configuration whose upstreams cannot be. Blocks.
pub(super) fn check(config: &Config) -> Result<(), AppError> {
    Ok(Upstreams::check(upstreams(config)?)?)
}

impl From<UpstreamError> for AppError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Store(error) => error.into(),
            // At the start and at a reload nothing else than the configuration can be wrong.
            error if error.kind() == UpstreamErrorKind::Failed => Self::Other(error.to_string()),
            error => Self::Config(error.to_string()),
        }
    }
}

fn settings(table: &UpstreamTable) -> Result<UpstreamSettings, String> {
    let of = format!("[[upstream]] \"{}\"", table.name);
    let urls = read_all(&of, &table.url)?;
    let settings = UpstreamSettings::new(read(&of, &table.name)?, urls, read(&of, &table.prefix)?);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let ca_pem = table.ca.as_deref().map(|path| {
        let pem = std::fs::read_to_string(path);
        pem.map_err(|e| format!("{of}: the CA file {} cannot be read: {e}", path.display()))
    });
    let pair = table
        .client_cert
        .as_deref()
        .zip(table.client_key.as_deref());
    Ok(UpstreamSettings {
        default: table.default,
        namespaces: table.ns.clone(),
        credentials: credentials(table),
        ca_pem: ca_pem.transpose()?,
        client_certificate: pair.map(|(certificate, key)| (text(certificate), text(key))),
        proxy: Some(table.proxy.clone()).filter(|proxy| !proxy.is_empty()),
        library: read(&of, &table.library_prefix)?,
        allow: read_all(&of, &table.allow)?,
        deny: read_all(&of, &table.deny)?,
        freshness: Duration::from_millis(table.freshness_ms),
        requests_per_second: u32::try_from(table.requests_per_second).unwrap_or(u32::MAX),
        bytes_per_second: table.bandwidth_bytes,
        first_byte: Duration::from_millis(table.first_byte_ms),
        offline: table.offline,
        ..settings
    })
}

/// The one source that the table names; it names no two.
fn credentials(table: &UpstreamTable) -> CredentialSource {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    if !table.user_env.is_empty() {
        CredentialSource::Environment {
            user: table.user_env.clone(),
            password: table.password_env.clone(),
        }
    } else if let Some(path) = &table.creds_from {
        CredentialSource::File(text(path))
    } else if let Some(path) = &table.docker_config {
        CredentialSource::DockerConfig(text(path))
    } else if table.creds_command.is_empty() {
        CredentialSource::Anonymous
    } else {
        CredentialSource::Command(table.creds_command.clone())
    }
}

fn read<T: FromStr<Err: Display>>(of: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{of}: {error}"))
}

fn read_all<T: FromStr<Err: Display>>(of: &str, texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(of, text)).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load_text};

    fn taken(text: &str, dir: &Path) -> Result<UpstreamOptions, String> {
        let options = LoadOptions {
            data: Some("/data".into()),
            ..LoadOptions::default()
        };
        let loaded = load_text(&options, dir.join("dryport.toml"), text.to_owned());
        let config = loaded.map_err(|e| e.to_string())?.config;
        let read = upstreams(&config).map_err(|e| e.to_string())?;
        check(&config).map_err(|e| e.to_string())?;
        Ok(read)
    }

    #[test]
    fn every_key_of_a_table_becomes_a_setting() {
        let dir = tempfile::tempdir().expect("a directory");
        let pem = pem_of_a_ca();
        std::fs::write(dir.path().join("ca.pem"), &pem).expect("written");
        let text = r#"
            upstreams.offline = true
            [[upstream]]
            name = "hub"
            url = ["https://registry-1.docker.io", "http://mirror.local:5000/hub"]
            prefix = "docker.io"
            default = true
            ns = ["Mirror.Example"]
            user_env = "HUB_USER"
            password_env = "HUB_PASSWORD"
            ca = "ca.pem"
            client_cert = "own.pem"
            client_key = "/own.key"
            proxy = "http://proxy.local:3128"
            library_prefix = "on"
            allow = ["library/*"]
            deny = ["library/x"]
            freshness = "1m"
            requests_per_second = 7
            bandwidth = "10MiB"
            first_byte = "9s"
            offline = true
            [[upstream]]
            name = "quay"
            url = ["https://quay.io"]
            prefix = "quay.io"
            creds_command = ["pass", "show", "quay"]
        "#;
        let read = taken(text, dir.path()).expect("read");
        assert!(read.offline);
        let [hub, quay] = read.configured.as_slice() else {
            panic!("two upstreams")
        };
        assert_eq!(hub.urls.len(), 2);
        assert!(hub.default && hub.offline);
        assert_eq!(hub.ca_pem.as_deref(), Some(pem.as_str()));
        let own = dir.path().join("own.pem").display().to_string();
        assert_eq!(hub.client_certificate, Some((own, "/own.key".into())));
        assert_eq!(hub.requests_per_second, 7);
        assert_eq!(hub.bytes_per_second, 10 << 20);
        assert_eq!(hub.first_byte, Duration::from_secs(9));
        assert_eq!(hub.freshness, Duration::from_mins(1));
        assert!(
            matches!(&hub.credentials, CredentialSource::Environment { user, .. } if user == "HUB_USER")
        );
        assert!(matches!(&quay.credentials, CredentialSource::Command(argv) if argv.len() == 3));
        assert_eq!(quay.first_byte, UpstreamSettings::FIRST_BYTE);
        assert_eq!(quay.freshness, UpstreamSettings::FRESHNESS);
    }

    fn pem_of_a_ca() -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let tls = crate::tls::Tls::open(crate::tls::TlsOptions {
            dir: dir.path().join("tls"),
            names: Vec::new(),
            constrained: true,
            own: None,
            given: None,
            http2: crate::tls::Http2::Off,
        });
        tls.expect("certificates").ca_pem().expect("a CA")
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = |text: &str| taken(text, dir.path()).expect_err("refused");
        let one = "[[upstream]]\nname = \"a\"\nurl = [\"https://a.example\"]\nprefix = \"a\"\n";
        assert!(taken(one, dir.path()).is_ok());
        for (line, part) in [
            ("url = [\"a.example\"]", "no address of a registry"),
            ("url = []", "has no `upstream.url`"),
            ("prefix = \"\"", "has no `upstream.prefix`"),
            ("prefix = \"snap/x\"", "in the past"),
            ("name = \"A\"", "no name of an upstream"),
        ] {
            let key = line.split(' ').next().expect("a key");
            let lines = one.lines().filter(|own| !own.starts_with(key));
            let text = lines.chain([line]).collect::<Vec<_>>().join("\n");
            let told = refused(&text);
            assert!(told.contains(part), "{line}: {told}");
        }
        for (line, part) in [
            ("user_env = \"X\"", "belong together"),
            ("client_key = \"x\"", "belong together"),
            ("ca = \"missing.pem\"", "cannot be read"),
            (
                "creds_from = \"x\"\ndocker_config = \"y\"",
                "exclude each other",
            ),
            ("first_byte = \"0s\"", "must lie between"),
            ("library_prefix = \"maybe\"", "one of auto, on, off"),
            ("proxy = \"http://u:p@x:1\"", "HTTPS_PROXY"),
            (
                "[[upstream]]\nname = \"b\"\nurl = [\"https://b.example\"]\nprefix = \"a\"",
                "belongs to upstream a",
            ),
        ] {
            let told = refused(&format!("{one}{line}\n"));
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}
