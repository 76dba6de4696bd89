//! Makes the configuration of entries that are all there and of the right kinds.

use super::layers::{Entries, Entry, at};
use super::value::{Value, listener};
use super::{Config, ConfigError, Http2, Mode, Network, ProxyHeader};
use std::path::PathBuf;

/// Typed look-ups in the finished entries; every key is there, so that fallbacks are never seen.
struct Reader<'a>(&'a Entries);

impl Reader<'_> {
    fn text(&self, key: &str) -> String {
        match self.0.get(key).map(|e| &e.value) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn set_text(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn on(&self, key: &str) -> bool {
        matches!(self.0.get(key).map(|e| &e.value), Some(Value::Switch(true)))
    }

    fn number(&self, key: &str) -> u64 {
        match self.0.get(key).map(|e| &e.value) {
            Some(Value::Number(n)) => *n,
            _ => 0,
        }
    }

    /// Whole seconds; a shorter span that is not zero counts as one.
    fn seconds(&self, key: &str) -> u64 {
        self.number(key).div_ceil(1000)
    }

    fn list<T>(
        &self,
        key: &str,
        each: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(Entry {
            value: Value::List(items),
            origin,
        }) = self.0.get(key)
        else {
            return Ok(Vec::new());
        };
        let items: Result<Vec<T>, String> = items.iter().map(|item| each(item)).collect();
        items.map_err(at(origin))
    }
}

/// The configuration that the finished entries make, checked as a whole.
pub(super) fn build(entries: &Entries, mode: Mode) -> Result<Config, ConfigError> {
    let read = Reader(entries);
    let http2 = match read.text("tls.http2").as_str() {
        "prefer" => Http2::Prefer,
        "off" => Http2::Off,
        _ => Http2::Allow,
    };
    let trusted_proxies: Vec<Network> = read.list("trusted_proxies", str::parse)?;
    let config = Config {
        data: PathBuf::from(read.text("data")),
        mode,
        https: read.list("listen.https", listener)?,
        http: read.list("listen.http", listener)?,
        url: read.set_text("url"),
        metrics_local: match read.text("metrics.local").as_str() {
            "on" => true,
            "off" => false,
            _ => trusted_proxies.is_empty(),
        },
        trusted_proxies,
        proxy_header: match read.text("proxy_header").as_str() {
            "forwarded" => ProxyHeader::Forwarded,
            "none" => ProxyHeader::None,
            _ => ProxyHeader::XForwardedFor,
        },
        anonymous_pull: read.on("access.anonymous_pull"),
        anonymous_push: read.on("access.anonymous_push"),
        tls_names: read.list("tls.names", |name| Ok(name.to_owned()))?,
        tls_cert: read.set_text("tls.cert").map(PathBuf::from),
        tls_key: read.set_text("tls.key").map(PathBuf::from),
        ca_constrained: read.text("tls.ca_constraints") != "none",
        http2,
        lease_seconds: read.seconds("blobs.lease"),
        keep_seconds: read.seconds("history.keep"),
        gc_interval_ms: read.number("gc.interval"),
        gc_files_per_second: read.number("gc.files_per_second"),
        check_every_seconds: read.seconds("check.every"),
        check_rate_bytes: read.number("check.rate"),
        upload_idle_seconds: read.seconds("uploads.idle"),
        mirror_memory_bytes: read.number("mirror.memory"),
        reserve_bytes: read.number("blobs.reserve"),
        cache_bytes: read.number("cache.memory"),
        store_cache_bytes: read.number("store.cache"),
        upgrade_without_copy: read.on("store.upgrade_without_copy"),
        strict: read.on("policy.strict"),
        metrics_open: read.on("metrics.open"),
        log_level: read.text("log.level"),
        slow_ms: read.number("log.slow"),
        drain_seconds: read.seconds("serve.drain"),
        progress_seconds: read.seconds("serve.progress"),
        idle_ms: read.number("serve.idle"),
        sendfile: read.text("serve.sendfile") != "off",
        manifest_max: read.number("limits.manifest"),
        connections_max: read.number("limits.connections"),
        requests_max: read.number("limits.requests"),
        uploads_max: read.number("limits.uploads"),
        upload_memory_bytes: read.number("limits.upload_memory"),
    };
    super::check::check(&config).map_err(ConfigError::Together)?;
    Ok(config)
}
