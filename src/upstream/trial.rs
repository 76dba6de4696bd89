//! Trying an upstream out, step by step, as a person wants to know it: what each address takes and what it says.
//!
//! Must not change anything here, and asks upstreams that are offline as well.

use super::credentials::Found;
use super::one::Upstream;
use super::settings::{CredentialSource, UpstreamName, UpstreamUrl};
use crate::fetch::{FetchClient, FetchError, SmallAnswer};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use utoipa::ToSchema;

/// The longest wait for each step before a request.
const STEP: Duration = Duration::from_secs(10);
/// As much of an answer is read.
const MOST: u64 = 64 << 10;
/// Headers in which registries say how many requests they still answer.
const LIMITS: [&str; 4] = [
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
];

/// What came of trying an upstream out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamTest {
    /// The upstream.
    pub name: UpstreamName,
    /// Every address answered as a registry does.
    pub ok: bool,
    /// It is not asked but by this test: its settings say so, or those of all upstreams.
    pub offline: bool,
    /// Its addresses, in order.
    pub addresses: Vec<AddressTest>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressTest {
    /// It.
    pub url: UpstreamUrl,
    /// It answered as a registry does.
    pub ok: bool,
    /// What was done, as far as it went.
    pub steps: Vec<TestStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestStep {
    /// `credentials`, `name`, `connect`, `tls`, `ask`, `again` or `limits`.
    pub step: String,
    /// It went well.
    pub ok: bool,
    /// How long it took, in microseconds; none where nothing was waited for.
    pub us: Option<u64>,
    /// What was found, for people.
    pub text: String,
}

impl Upstream {
    /// Tries every address out. `offline` says whether no upstream is asked otherwise.
    pub async fn try_out(self: &Arc<Self>, offline: bool) -> UpstreamTest {
        let mut addresses = Vec::new();
        for url in &self.settings.urls {
            let mut trial = Trial::default();
            let ok = self.try_address(url, &mut trial).await.is_some();
            addresses.push(AddressTest {
                url: url.clone(),
                ok,
                steps: trial.steps,
            });
        }
        UpstreamTest {
            name: self.settings.name.clone(),
            ok: addresses.iter().all(|address| address.ok),
            offline: offline || self.settings.offline,
            addresses,
        }
    }

    /// None after the step that failed.
    async fn try_address(self: &Arc<Self>, url: &UpstreamUrl, trial: &mut Trial) -> Option<()> {
        let found = self.try_credentials(url, trial).await?;
        if self.settings.proxy.is_some() || is_proxied(url) {
            trial.told(
                "connect",
                "by way of a proxy, which finds the host itself".to_owned(),
            );
        } else {
            let stream = try_connect(url, trial).await?;
            if !url.is_plain() {
                self.try_tls(url, stream, trial).await?;
            }
        }
        self.try_asking(url, &found, trial).await
    }

    async fn try_credentials(
        self: &Arc<Self>,
        url: &UpstreamUrl,
        trial: &mut Trial,
    ) -> Option<Found> {
        let begun = Instant::now();
        let found = match self.login(url).await {
            Ok(found) => found,
            Err(error) => return trial.failed("credentials", begun, &error),
        };
        let from = match &self.settings.credentials {
            CredentialSource::Anonymous => return Some(found),
            CredentialSource::Environment { .. } => "the environment",
            CredentialSource::File(_) => "their file",
            CredentialSource::DockerConfig(_) => "docker's file",
            CredentialSource::Command(_) => "their command",
        };
        trial.went_well("credentials", begun, format!("credentials from {from}"));
        if let Some(odd) = &found.warning {
            trial.told("credentials", odd.clone());
        }
        Some(found)
    }

    async fn try_tls(&self, url: &UpstreamUrl, stream: TcpStream, trial: &mut Trial) -> Option<()> {
        let (host, _) = parts(url);
        let pem = self.settings.ca_pem.as_ref().map(String::as_bytes);
        let begun = Instant::now();
        let greeted = within(crate::tls::greet(stream, &host, pem)).await;
        match greeted {
            Ok(version) => {
                let text = format!("{version}, with a certificate that is trusted");
                trial.went_well("tls", begun, text);
                Some(())
            }
            Err(why) => trial.failed("tls", begun, &format!("the TLS handshake failed: {why}")),
        }
    }

    /// Asks as the cache would, twice: the first time with the log-in, then with what that gave.
    async fn try_asking(
        self: &Arc<Self>,
        url: &UpstreamUrl,
        found: &Found,
        trial: &mut Trial,
    ) -> Option<()> {
        let has_login = found.credential.is_some();
        let begun = Instant::now();
        let mut options = match self.standing_options(url).await {
            Ok(options) => options,
            Err(error) => return trial.failed("ask", begun, &error),
        };
        options.tries = 1;
        let client = FetchClient::new(Upstream::host_of(url), options);
        let client = client
            .map_err(|error| trial.failed::<()>("ask", begun, &error.reason()))
            .ok()?;
        let answer = match ask(&client).await {
            Ok(answer) => answer,
            Err(error) => return trial.failed("ask", begun, &error.reason()),
        };
        let as_whom = if has_login {
            "logged in with the credentials"
        } else {
            "asked as anybody"
        };
        let text = format!("GET /v2/ answered {}, {as_whom}", answer.status);
        trial.went_well("ask", begun, text);
        let begun = Instant::now();
        match ask(&client).await {
            Ok(_) => trial.went_well("again", begun, "the same once more".to_owned()),
            Err(error) => return trial.failed("again", begun, &error.reason()),
        }
        let limits = LIMITS.iter().filter_map(|name| {
            let value = answer.header(name)?;
            Some(format!(
                "{name}: {}",
                value.chars().take(80).collect::<String>()
            ))
        });
        let limits: Vec<_> = limits.collect();
        trial.told(
            "limits",
            if limits.is_empty() {
                "it says nothing of a limit on requests here".to_owned()
            } else {
                limits.join(", ")
            },
        );
        Some(())
    }
}

/// Whether the environment may name a proxy for an address. Nothing of this machine goes through one.
fn is_proxied(url: &UpstreamUrl) -> bool {
    let own = if url.is_plain() {
        "http_proxy"
    } else {
        "https_proxy"
    };
    let (host, _) = parts(url);
    let address = host.parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_set = |name: &str| {
        [name.to_owned(), name.to_ascii_uppercase()]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    };
    !is_here && (is_set(own) || is_set("all_proxy"))
}

async fn ask(client: &FetchClient) -> Result<SmallAnswer, FetchError> {
    client
        .get("v2/", "application/json", "", MOST)
        .await?
        .check()
}

async fn try_connect(url: &UpstreamUrl, trial: &mut Trial) -> Option<TcpStream> {
    let (host, port) = parts(url);
    let begun = Instant::now();
    let found = within(tokio::net::lookup_host((host.as_str(), port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(why) => {
            return trial.failed("name", begun, &format!("{host} has no address: {why}"));
        }
    };
    let shown: Vec<_> = addresses.iter().map(|at| at.ip().to_string()).collect();
    trial.went_well("name", begun, format!("{host} is {}", shown.join(", ")));
    let begun = Instant::now();
    match within(TcpStream::connect(addresses.as_slice())).await {
        Ok(stream) => {
            let peer = stream
                .peer_addr()
                .map_or_else(|_| host.clone(), |at| at.to_string());
            trial.went_well("connect", begun, format!("connected to {peer}"));
            Some(stream)
        }
        Err(why) => trial.failed(
            "connect",
            begun,
            &format!("no connection to port {port}: {why}"),
        ),
    }
}

/// A step with a limit on its time; the error in words.
async fn within<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(STEP, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing came within {} s", STEP.as_secs())),
    }
}

/// Host and port of an address.
fn parts(url: &UpstreamUrl) -> (String, u16) {
    let implied = if url.is_plain() { 80 } else { 443 };
    let text = Upstream::host_of(url);
    let split = text.rsplit_once(':').filter(|_| !text.ends_with(']'));
    let port = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = port.unwrap_or((text, implied));
    (host.trim_matches(['[', ']']).to_owned(), port)
}

/// The steps so far.
#[derive(Default)]
struct Trial {
    steps: Vec<TestStep>,
}

impl Trial {
    fn went_well(&mut self, step: &str, begun: Instant, text: String) {
        self.add(step, true, Some(begun), text);
    }

    fn told(&mut self, step: &str, text: String) {
        self.add(step, true, None, text);
    }

    fn failed<T>(&mut self, step: &str, begun: Instant, why: &impl ToString) -> Option<T> {
        self.add(step, false, Some(begun), why.to_string());
        None
    }

    fn add(&mut self, step: &str, ok: bool, begun: Option<Instant>, text: String) {
        let us = begun.map(|begun| begun.elapsed().as_micros() as u64);
        let step = step.to_owned();
        self.steps.push(TestStep { step, ok, us, text });
    }
}

impl UpstreamTest {
    /// Why it failed: the step that did, of the first address that did.
    pub fn reason(&self) -> Option<String> {
        let address = self.addresses.iter().find(|address| !address.ok)?;
        let step = address.steps.iter().find(|step| !step.ok)?;
        Some(format!("{}: {}", address.url, step.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (url, host, port) in [
            ("https://docker.io", "registry-1.docker.io", 443),
            ("http://[::1]:5000/x", "::1", 5000),
            ("http://[::1]", "::1", 80),
            ("https://quay.io:8443", "quay.io", 8443),
        ] {
            let url = url.parse().expect("an address");
            assert_eq!(parts(&url), (host.to_owned(), port));
        }
    }
}
