//! What all requests share.
//!
//! Owns the counters and limits of one server. Must not answer anything.

use super::caller::origin::Peer;
use super::log::access::Ids;
use super::log::refusals::Refusals;
use super::metrics::Metrics;
use super::server::connections::Connections;
use super::server::limits::Places;
use super::server::limits::large_documents::Documents;
use super::server::limits::long_lists::Lists;
use super::server::limits::many_ranges::Ranges;
use super::server::limits::open_files::OpenFiles;
use super::surfaces::oci;
use crate::auth::net;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes of long lists of referrers that one client may have on their way; there is always room for two of the longest.
const REFERRERS: usize = 16 << 20;
/// And of long lists of tags or repositories.
const NAMES: usize = 4 << 20;
/// Reads of the past that one client may have under way.
const PAST: usize = 4;

/// What all requests share.
pub struct State {
    /// The server's handles.
    pub app: crate::app::App,
    /// Counters.
    pub metrics: Metrics,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// The log lines of strangers.
    pub refusals: Refusals,
    /// Requests under way.
    pub requests: Places,
    /// Files that may be open beyond one for each connection.
    pub files: OpenFiles,
    /// Reads of the past.
    pub past: Places,
    /// Large documents.
    pub documents: Documents,
    /// Answers of several ranges.
    pub ranges: Ranges,
    /// Long lists of referrers.
    pub lists_of_referrers: Lists,
    /// Long lists of tags and repositories.
    pub lists_of_names: Lists,
    /// Request ids.
    pub ids: Ids,
}

impl State {
    /// The state of a server with at most so many connections, and so many open files beyond one for each; counters start
    /// at zero.
    pub fn new(app: crate::app::App, connections: usize, files: usize) -> Arc<Self> {
        let connections = Connections::new(connections);
        let longest = oci::longest_referrers(&app.repos);
        let requests = usize::try_from(app.config.load().limits.requests).unwrap_or(usize::MAX);
        Arc::new(Self {
            app,
            metrics: Metrics::default(),
            refusals: Refusals::new(Instant::now()),
            // Each may hold a file open.
            requests: Places::new(connections.share(requests)),
            files: OpenFiles::new(files),
            past: Places::new(PAST),
            connections,
            documents: Documents::new(),
            ranges: Ranges::new(),
            lists_of_referrers: Lists::new(REFERRERS.max(2 * longest)),
            lists_of_names: Lists::new(NAMES),
            ids: Ids::default(),
        })
    }
}

impl State {
    /// Whether the trouble of a connection, which no request has come of, is to be logged (at level debug): how many lines
    /// of this address were left out before.
    pub fn trouble(&self, peer: Peer) -> Option<u64> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let line = self.refusals.line(net(peer.addr.ip()), Instant::now());
        if line.is_none() {
            self.metrics.left_out.fetch_add(1, Ordering::Relaxed);
        }
        line
    }
}
