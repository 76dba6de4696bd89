//! From the one configuration to each module's own options.

use crate::audit::AuditOptions;
use crate::auth::AuthOptions;
use crate::blobs::BlobOptions;
use crate::config::Config;
use crate::gc::GcOptions;
use crate::gc::check::CheckOptions;
use crate::repo::RepoOptions;
use crate::store::StoreOptions;
use crate::tls::{Http2, OwnPem, TlsOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Content of at most this many bytes lies in the database instead of in a file of its own.
const INLINE_MAX: u64 = 64 << 10;
/// Room for what removes content, when the disk is full (decision 0010 says how much that takes).
const STORE_RESERVE: u64 = 32 << 20;
/// Changes that are safe in the log before the database's own file is synced: some hundred small ones.
const STORE_LOG: usize = 2 << 20;
/// Docker's tokens live as long. Rights, removal and a new password count at once: they are looked up at each use.
const TOKEN_SECONDS: u64 = 300;

pub(super) fn store(config: &Config, holder: &str) -> StoreOptions {
    StoreOptions {
        dir: config.data.clone(),
        cache_bytes: config.store.cache_bytes,
        slow: Duration::from_millis(config.log.slow_ms),
        holder: holder.to_owned(),
        reserve_bytes: STORE_RESERVE,
        floor_bytes: config.blobs.reserve_bytes,
        log_bytes: STORE_LOG,
        upgrade_without_copy: config.store.upgrade_without_copy,
    }
}

pub(super) fn blobs(config: &Config, owed_bytes: Arc<AtomicU64>) -> BlobOptions {
    BlobOptions {
        dir: config.data.clone(),
        reserve_bytes: config.blobs.reserve_bytes,
        // The room that the database gave up is for deletes, not for the next push.
        owed_bytes,
        inline_max: INLINE_MAX,
    }
}

pub(super) fn repos(config: &Config) -> RepoOptions {
    RepoOptions {
        lease: Duration::from_secs(config.blobs.lease_seconds),
        keep: Duration::from_secs(config.history.keep_seconds),
        upload_idle: Duration::from_secs(config.uploads.idle_seconds),
        manifest_max: config.limits.manifest_bytes,
        uploads_max: usize::try_from(config.limits.uploads).unwrap_or(usize::MAX),
        upload_memory: config.limits.upload_memory_bytes,
        strict: config.policy.strict,
        cache_bytes: config.cache.memory_bytes,
        format: &crate::formats::oci::Oci,
    }
}

pub(super) fn gc(config: &Config) -> GcOptions {
    GcOptions {
        interval: Duration::from_millis(config.gc.interval_ms),
        files_per_second: config.gc.files_per_second,
    }
}

pub(super) fn check(config: &Config) -> CheckOptions {
    CheckOptions {
        every: Duration::from_secs(config.check.every_seconds),
        rate: config.check.rate_bytes,
    }
}

pub(super) fn audit(config: &Config) -> AuditOptions {
    AuditOptions {
        keep_ms: config.audit.keep_seconds.saturating_mul(1000),
        max_bytes: config.audit.max_size_bytes,
        pulls: config.audit.pulls,
    }
}

pub(super) fn auth(config: &Config, signing_keys: Vec<String>) -> AuthOptions {
    AuthOptions {
        anonymous_pull: config.access.anonymous_pull,
        anonymous_push: config.access.anonymous_push,
        signing_keys,
        token_seconds: TOKEN_SECONDS,
    }
}

/// One's own certificate and key, if both are named.
pub(super) fn own_certificate(config: &Config) -> Option<(PathBuf, PathBuf)> {
    config.tls.cert.clone().zip(config.tls.key.clone())
}

pub(super) fn tls(config: &Config, given: Option<OwnPem>) -> TlsOptions {
    TlsOptions {
        dir: config.data.join("tls"),
        names: config.tls.names.clone(),
        constrained: config.tls.ca_constrained,
        own: own_certificate(config),
        given,
        http2: match config.tls.http2 {
            crate::config::Http2Setting::Prefer => Http2::Prefer,
            crate::config::Http2Setting::Allow => Http2::Allow,
            crate::config::Http2Setting::Off => Http2::Off,
        },
    }
}

/// `new`, with the old values where others look up what is in force: directory and listeners.
pub(super) fn keep_fixed(old: &Config, mut new: Config) -> Config {
    new.data.clone_from(&old.data);
    new.listen.https.clone_from(&old.listen.https);
    new.listen.http.clone_from(&old.listen.http);
    new
}
