//! One address of an upstream as its requests see it: what holds them back, and what their answers say of the address. Sends
//! nothing itself.

use super::PeerUrl;
use super::breaker::Breaker;
use super::budget::{Bucket, Quota};
use super::hedge::{Hedges, Trace};
use super::standing::{AddressCounters, AddressStanding};
use crate::fetch::client::Asking;
use crate::fetch::error::FetchError;
use crate::fetch::wire::shown;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// No request is held back longer; it fails at once where it would be.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of one address.
pub struct PeerLine {
    pub(super) url: PeerUrl,
    pub(super) breaker: Breaker,
    pub(super) quota: Quota,
    hedges: Hedges,
    hedge: bool,
    /// The operator's, for all addresses of the upstream.
    requests: Arc<Bucket>,
    sent: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    hedged: AtomicU64,
    succeeded: Mutex<Option<Instant>>,
}

impl PeerLine {
    pub(super) fn new(url: PeerUrl, requests: Arc<Bucket>, hedge: bool) -> Self {
        Self {
            url,
            breaker: Breaker::new(Instant::now()),
            quota: Quota::default(),
            hedges: Hedges::default(),
            hedge,
            requests,
            sent: AtomicU64::default(),
            bytes: AtomicU64::default(),
            errors: AtomicU64::default(),
            hedged: AtomicU64::default(),
            succeeded: Mutex::default(),
        }
    }

    /// Lets a request through when it may go; [`FetchError::Wait`] if that is too late.
    pub async fn admit(&self, asking: &Asking) -> Result<(), FetchError> {
        let began = Instant::now();
        let until = asking.trace.as_ref().map(|trace| trace.until());
        let until = until.unwrap_or(began + PATIENCE);
        let too_long = |wait: Duration, why: &str| FetchError::Wait {
            url: shown(&asking.url),
            seconds: wait.as_secs().max(1),
            detail: format!(" ({why})"),
        };
        // What Docker Hub counts: manifests, and nothing else.
        let counts = asking.is_small && asking.method == Method::GET && !asking.beside;
        loop {
            let now = Instant::now();
            match self.quota.held_until(counts, now) {
                Some(free) if free > until => {
                    return Err(too_long(free - now, "its budget is spent"));
                }
                Some(free) => sleep_until(free).await,
                None => break,
            }
        }
        let now = Instant::now();
        let most = until.saturating_duration_since(now);
        let many = |wait| too_long(wait, "more requests a second are not allowed to it");
        let wait = self.requests.take(1, now, most).map_err(many)?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        if asking.is_small {
            self.hedges.sent();
        }
        Ok(())
    }

    /// Judges an answer to a request that was sent at `sent`.
    pub fn answered(
        &self,
        asking: &Asking,
        status: StatusCode,
        headers: &HeaderMap,
        sent: Instant,
    ) {
        let now = Instant::now();
        self.quota.answered(status, headers, sent, now);
        if asking.is_small {
            self.hedges.answered(now - sent);
        }
        let is_busy = status == StatusCode::TOO_MANY_REQUESTS;
        if status.is_server_error() || is_busy {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if status.is_server_error() {
            self.breaker.failed(false, now);
        } else if status != StatusCode::UNAUTHORIZED {
            // Of a 401 the log-in decides: its service may be what is gone.
            self.breaker.succeeded(now);
            if !is_busy {
                *self
                    .succeeded
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(now);
            }
        }
    }

    /// No answer came.
    pub fn failed(&self, error: &FetchError) {
        let is_silent = match error {
            FetchError::Connect { is_silent, .. } => *is_silent,
            FetchError::Certificate { .. } | FetchError::NoTls { .. } => false,
            _ => return,
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.breaker.failed(is_silent, Instant::now());
    }

    /// It answered and refused.
    pub(super) fn refused(&self) {
        self.breaker.succeeded(Instant::now());
    }

    /// So many bytes of bodies came.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns when the request is late and another may go out beside it, which is counted; else never.
    pub async fn is_late(&self, trace: &Trace) {
        let limit = self.hedges.late_after().filter(|_| self.hedge);
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            // It may be held back yet, or log in first.
            match trace.since() {
                Some(since) if since + limit <= Instant::now() => break,
                Some(since) => sleep_until(since + limit).await,
                None => sleep(limit).await,
            }
        }
        if !self.is_free(Instant::now()) || !self.hedges.take() {
            return std::future::pending().await;
        }
        self.hedged.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing is known that would hold a request back.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.breaker.away_until(now).is_none()
            && !self.breaker.is_doubtful()
            && self.quota.held_until(true, now).is_none()
    }

    /// How it fares.
    pub(super) fn standing(&self, now: Instant) -> AddressStanding {
        let succeeded = *self
            .succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = self.breaker.away_until(now) {
            AddressStanding::Away(until)
        } else if self.breaker.is_doubtful() {
            AddressStanding::Doubtful
        } else if succeeded.is_some() {
            AddressStanding::Up
        } else {
            AddressStanding::Unknown
        }
    }

    /// What was counted.
    pub(super) fn counters(&self, now: Instant) -> AddressCounters {
        let (breaker, since) = self.breaker.state(now);
        let (budget, budget_left) = self.quota.budget();
        let held_until = self.quota.held_until(true, now);
        let succeeded = *self
            .succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        AddressCounters {
            address: self.url.to_string(),
            requests: self.sent.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            hedged: self.hedged.load(Ordering::Relaxed),
            breaker,
            breaker_for: now.saturating_duration_since(since),
            budget,
            budget_left,
            held_for: held_until.map(|until| until.saturating_duration_since(now)),
            last_success: succeeded.map(|at| now.saturating_duration_since(at)),
        }
    }
}
