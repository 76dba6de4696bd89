//! What the settings of one upstream must be like, whoever wrote them: the command, REST or the configuration.

use super::error::UpstreamError;
use super::settings::{CredentialSource, UpstreamSettings};
use std::path::Path;
use std::time::Duration;

/// Most addresses of one upstream.
const URLS: usize = 16;
/// Most hosts that `ns` may name for one.
const NAMESPACES: usize = 64;
/// Most patterns in each of its lists.
const PATTERNS: usize = 200;
/// Most bytes of its CA: a row has room for 64 KiB in all.
const CA: usize = 40 << 10;
/// Most parts of a command.
const PARTS: usize = 64;
/// Most bytes of any other text.
const TEXT: usize = 1000;
/// The longest wait for a first byte that may be asked for.
const FIRST_BYTE: Duration = Duration::from_mins(10);

/// Brings settings into the form in which they are kept, and refuses what no upstream can have.
///
/// # Errors
/// [`UpstreamError::Setting`], which says what to write instead.
pub(super) fn checked(mut settings: UpstreamSettings) -> Result<UpstreamSettings, UpstreamError> {
    for host in &mut settings.namespaces {
        *host = host.to_ascii_lowercase();
        is_host(host)?;
    }
    addresses(&settings)?;
    prefix(&settings)?;
    within("hosts for ns", settings.namespaces.len(), NAMESPACES)?;
    within("patterns to allow", settings.allow.len(), PATTERNS)?;
    within("patterns to deny", settings.deny.len(), PATTERNS)?;
    credentials(&settings.credentials)?;
    certificates(&settings)?;
    if let Some(proxy) = &settings.proxy {
        is_proxy(proxy)?;
    }
    if settings.first_byte.is_zero() || settings.first_byte > FIRST_BYTE {
        return refuse(
            "the wait for the first byte must lie between 1ms and 10m: with none no answer would ever come",
        );
    }
    Ok(settings)
}

fn refuse<T>(text: impl Into<String>) -> Result<T, UpstreamError> {
    Err(UpstreamError::Setting(text.into()))
}

fn within(what: &str, count: usize, most: usize) -> Result<(), UpstreamError> {
    if count > most {
        return refuse(format!(
            "{count} {what} are more than the {most} that one upstream may have"
        ));
    }
    Ok(())
}

fn addresses(settings: &UpstreamSettings) -> Result<(), UpstreamError> {
    let urls = &settings.urls;
    if urls.is_empty() {
        return refuse("an upstream needs an address, such as https://registry-1.docker.io");
    }
    within("addresses", urls.len(), URLS)?;
    let mut seen = std::collections::BTreeSet::new();
    match urls.iter().find(|url| !seen.insert(url.to_string())) {
        Some(twice) => refuse(format!("the address {twice} is given twice")),
        None => Ok(()),
    }
}

/// Names of the past belong to no upstream: `at/TIME/NAME` and `snap/TITLE/NAME`.
fn prefix(settings: &UpstreamSettings) -> Result<(), UpstreamError> {
    let prefix = settings.prefix.as_str();
    let first = prefix.split('/').next().unwrap_or_default();
    if matches!(first, "at" | "snap") {
        return refuse(format!(
            "no upstream can have the prefix {prefix}: names that begin with at/ and snap/ mean what repositories were in the past"
        ));
    }
    Ok(())
}

/// `HOST` or `HOST:PORT`, as an address has it.
fn is_host(text: &str) -> Result<(), UpstreamError> {
    let read = format!("https://{text}").parse::<super::UpstreamUrl>();
    match read {
        Ok(url) if url.path().is_empty() && !text.contains('/') => Ok(()),
        _ => refuse(format!(
            "\"{}\" is no host that ns could name: write HOST or HOST:PORT, without a scheme and a path",
            shown(text)
        )),
    }
}

fn is_proxy(text: &str) -> Result<(), UpstreamError> {
    let rest = ["http://", "https://", "socks5://", "socks5h://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    // What stands before an @ is a secret, and a row keeps none: it is not repeated either.
    if text.contains('@') {
        return refuse(
            "the address of a proxy may hold no user and password: they would stand in a row and in replies. Give the server the proxy by its environment (HTTPS_PROXY) instead",
        );
    }
    let host = rest.map(|rest| rest.trim_end_matches('/'));
    let is_host = host.is_some_and(|host| is_host(host).is_ok());
    if !is_host || text.len() > TEXT {
        return refuse(format!(
            "\"{}\" is no address of a proxy: write http://, https://, socks5:// or socks5h://, a host and a port",
            shown(text)
        ));
    }
    Ok(())
}

fn credentials(source: &CredentialSource) -> Result<(), UpstreamError> {
    match source {
        CredentialSource::Anonymous => Ok(()),
        CredentialSource::Environment { user, password } => {
            is_variable(user)?;
            is_variable(password)
        }
        CredentialSource::File(path) => is_path("the file of credentials", path),
        CredentialSource::DockerConfig(path) => is_path("docker's file of credentials", path),
        CredentialSource::Command(argv) => {
            let is_short = argv.len() <= PARTS && argv.iter().all(|part| part.len() <= TEXT);
            if argv.first().is_none_or(String::is_empty) || !is_short {
                return refuse(format!(
                    "the command for credentials must be a program and at most {} arguments of up to {TEXT} bytes",
                    PARTS - 1
                ));
            }
            Ok(())
        }
    }
}

fn is_variable(name: &str) -> Result<(), UpstreamError> {
    let is_letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let is_name = name.bytes().next().is_some_and(is_letter)
        && name.len() <= 200
        && name.bytes().all(|b| is_letter(b) || b.is_ascii_digit());
    if is_name {
        return Ok(());
    }
    // Somebody may have given the secret itself.
    refuse(
        "credentials from the environment are given by the names of two variables (letters, digits and underscores), not by what they hold",
    )
}

fn is_path(what: &str, path: &str) -> Result<(), UpstreamError> {
    if Path::new(path).is_absolute() && path.len() <= TEXT && !path.contains('\0') {
        return Ok(());
    }
    refuse(format!(
        "{what} must be given by its whole path, which begins with /: the server does not run where you are"
    ))
}

fn certificates(settings: &UpstreamSettings) -> Result<(), UpstreamError> {
    if let Some(pem) = &settings.ca_pem {
        if pem.len() > CA {
            return refuse(format!(
                "the CA of an upstream may have {CA} bytes, and this one has more"
            ));
        }
        if crate::tls::outward(pem.as_bytes()).is_none() {
            return refuse(
                "the CA holds no certificate that can be used: it must be PEM, with blocks that start with -----BEGIN CERTIFICATE-----",
            );
        }
    }
    if let Some((certificate, key)) = &settings.client_certificate {
        is_path("the client certificate", certificate)?;
        is_path("the key of the client certificate", key)?;
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut UpstreamSettings)) -> Result<UpstreamSettings, String> {
        let mut settings = UpstreamSettings::new(
            "hub".parse().expect("a name"),
            vec!["https://registry-1.docker.io".parse().expect("an address")],
            "docker.io".parse().expect("a name"),
        );
        change(&mut settings);
        checked(settings).map_err(|error| error.to_string())
    }

    fn refused(change: impl FnOnce(&mut UpstreamSettings)) -> String {
        with(change).expect_err("refused")
    }

    #[test]
    fn what_no_upstream_can_have_is_refused() {
        assert!(with(|_| {}).is_ok());
        assert!(refused(|s| s.urls.clear()).contains("needs an address"));
        assert!(refused(|s| s.urls.push(s.urls[0].clone())).contains("twice"));
        for past in ["snap/june", "at/20261101", "snap", "at"] {
            let text = refused(|s| s.prefix = past.parse().expect("a name"));
            assert!(text.contains("in the past"), "{text}");
        }
        assert!(refused(|s| s.first_byte = Duration::ZERO).contains("first byte"));
        assert!(refused(|s| s.ca_pem = Some("x".into())).contains("no certificate"));
        assert!(
            refused(|s| s.client_certificate = Some(("a".into(), "/b".into())))
                .contains("whole path")
        );
        for bad in ["https://quay.io", "quay.io/x", "", "a b"] {
            let text = refused(|s| s.namespaces.push(bad.into()));
            assert!(text.contains("no host"), "{bad}: {text}");
        }
        let lower = with(|s| s.namespaces.push("Quay.IO:443".into())).expect("taken");
        assert_eq!(lower.namespaces, ["quay.io:443"]);
    }

    #[test]
    fn no_secret_is_repeated() {
        let text = refused(|s| s.proxy = Some("http://ann:s3cret@proxy:3128".into()));
        assert!(
            text.contains("HTTPS_PROXY") && !text.contains("s3cret"),
            "{text}"
        );
        let given = CredentialSource::Environment {
            user: "ann".into(),
            password: "s3cret-word".into(),
        };
        let text = refused(|s| s.credentials = given);
        assert!(
            text.contains("names of two variables") && !text.contains("s3cret"),
            "{text}"
        );
    }

    #[test]
    fn proxies_and_sources() {
        for good in [
            "http://proxy:3128",
            "https://10.0.0.1:8080/",
            "socks5h://[::1]:1080",
        ] {
            assert!(with(|s| s.proxy = Some(good.into())).is_ok(), "{good}");
        }
        for bad in ["proxy:3128", "ftp://proxy", "http://"] {
            assert!(
                refused(|s| s.proxy = Some(bad.into())).contains("no address of a proxy"),
                "{bad}"
            );
        }
        let from = |source| move |s: &mut UpstreamSettings| s.credentials = source;
        assert!(refused(from(CredentialSource::File("x".into()))).contains("whole path"));
        assert!(refused(from(CredentialSource::DockerConfig("x".into()))).contains("whole path"));
        assert!(refused(from(CredentialSource::Command(Vec::new()))).contains("program"));
        assert!(with(from(CredentialSource::Command(vec!["pass".into()]))).is_ok());
        assert!(with(from(CredentialSource::File("/run/x".into()))).is_ok());
    }
}
