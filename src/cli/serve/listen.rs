//! The sockets of a server, and the files that it may have open.

use super::super::exit::Failure;
use crate::config::Config;
use crate::http::{self, Listener};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

/// Each open connection and blob takes a file; the soft limit is often 1,024.
pub(super) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// All listeners of the configuration.
pub(super) fn listen_all(config: &Config) -> Result<Vec<Listener>, Failure> {
    let mut listeners = listen(config, true, None)?;
    listeners.extend(listen(config, false, None)?);
    Ok(listeners)
}

/// The configuration's sockets of one kind, bound. `theirs`: the data directory's own file asks for them, and this process
/// is no longer root.
pub(super) fn listen(
    config: &Config,
    tls: bool,
    theirs: Option<&Path>,
) -> Result<Vec<Listener>, Failure> {
    let flag = if tls { "--https" } else { "--http" };
    let bind = |addr: &SocketAddr| match (http::bind(*addr), theirs) {
        (Ok(tcp), _) => Ok(Listener { tcp, tls }),
        (Err(error), Some(file)) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Failure::failed(format!(
                "cannot listen on {addr}: {error}. {} asks for this address, and the directory's owner may not use the port; root may name it with {flag} ADDR:PORT, or in a file elsewhere (--config FILE)",
                file.display()
            )))
        }
        (Err(error), _) => Err(Failure::failed(format!(
            "cannot listen on {addr}: {error}. Choose another address with {flag} ADDR:PORT"
        ))),
    };
    let all = if tls {
        &config.listen.https
    } else {
        &config.listen.http
    };
    all.iter().map(bind).collect()
}

/// Where the listeners of one kind really are: port 0 has become a number.
pub(super) fn bound(listeners: &[Listener], tls: bool) -> Vec<SocketAddr> {
    let of_kind = listeners.iter().filter(|l| l.tls == tls);
    of_kind.filter_map(|l| l.tcp.local_addr().ok()).collect()
}
