//! What a server says when it is ready, and what systemd hears of it.

use super::super::exit::Failure;
use super::super::{init, output, version};
use crate::app::{App, FirstPassword};
use crate::config::Config;
use sd_notify::NotifyState;
use std::net::SocketAddr;

/// Ready: to the log, to systemd, and in a friendly way to a person at a terminal.
pub(super) fn announce(
    app: &App,
    https: &[SocketAddr],
    plain: &[SocketAddr],
    first: Option<&FirstPassword>,
) -> Result<(), Failure> {
    let config = app.config.load();
    let list = |all: &[SocketAddr]| {
        all.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let url = address(&config, https, plain);
    tracing::info!(
        version = version::VERSION,
        mode = %config.mode,
        https = list(https),
        http = list(plain),
        data = %config.data.display(),
        %url,
        "ready"
    );
    for warning in app.tls.iter().flat_map(crate::tls::Tls::warnings) {
        tracing::warn!("{warning}");
    }
    if let Some(FirstPassword::File(path)) = first {
        tracing::warn!(user = "admin", file = %path.display(), "the first administrator's password is in this file until the first login");
    }
    notify(&[NotifyState::Ready]);
    if output::to_terminal() {
        output::print(&first_steps(&config, &url, first))?;
    }
    Ok(())
}

/// Where clients on this machine find the server.
fn address(config: &Config, https: &[SocketAddr], plain: &[SocketAddr]) -> String {
    if let Some(url) = &config.url {
        return url.clone();
    }
    let (scheme, all) = if https.is_empty() {
        ("http", plain)
    } else {
        ("https", https)
    };
    let Some(first) = all.first() else {
        return format!("{scheme}://localhost");
    };
    if first.ip().is_unspecified() || first.ip().is_loopback() {
        format!("{scheme}://localhost:{}", first.port())
    } else {
        format!("{scheme}://{first}")
    }
}

fn first_steps(config: &Config, url: &str, first: Option<&FirstPassword>) -> String {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    let data = config.data.display();
    let login = first
        .map(|f| format!("\n{}\n", init::told("admin", f)))
        .unwrap_or_default();
    format!(
        "\nDryport serves {url} (data in {data}).\n{login}
In another terminal:
  dryport trust --data {data}
      how docker, podman and others come to trust this server
  dryport mirror --data {data} docker://docker.io/library/alpine:3.22
      bring in an image; then: docker pull {host}/docker.io/library/alpine:3.22
Stop with Ctrl-C.\n"
    )
}

/// Tells systemd, if it started us.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
