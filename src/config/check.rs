//! Checks of settings that single values cannot show: whether they go together. Reads nothing.

use super::Config;

/// An error names the settings and what to change.
pub(super) fn check(config: &Config) -> Result<(), String> {
    if config.https.is_empty() && config.http.is_empty() {
        return Err("`listen.https` and `listen.http` are both empty: nothing would be served; set one of them".to_owned());
    }
    if let Some(twice) = config
        .https
        .iter()
        .find(|a| config.http.contains(a) && a.port() != 0)
    {
        return Err(format!(
            "{twice} stands in `listen.https` and in `listen.http`; one port serves one of them"
        ));
    }
    if config.tls_cert.is_some() != config.tls_key.is_some() {
        return Err("`tls.cert` and `tls.key` belong together: set both, or neither to use the certificate that Dryport makes".to_owned());
    }
    if config.anonymous_push && !config.anonymous_pull {
        return Err("`access.anonymous_push` is on and `access.anonymous_pull` is off: who may push must be able to read; turn pull on or push off".to_owned());
    }
    for (key, seconds) in [
        ("blobs.lease", config.lease_seconds),
        ("uploads.idle", config.upload_idle_seconds),
        ("serve.progress", config.progress_seconds),
    ] {
        if seconds == 0 {
            return Err(format!(
                "`{key}` is zero, which would undo every transfer at once; set a time such as \"60s\""
            ));
        }
    }
    for (key, number) in [
        ("limits.connections", config.connections_max),
        ("limits.requests", config.requests_max),
        ("limits.uploads", config.uploads_max),
        ("serve.idle", config.idle_ms),
    ] {
        if number == 0 {
            return Err(format!(
                "`{key}` is zero, which would let nobody in; leave it out for the default"
            ));
        }
    }
    if config.upload_memory_bytes < 4 << 20 {
        return Err("`limits.upload_memory` must be at least 4MiB".to_owned());
    }
    if config.mirror_memory_bytes < 1 << 20 {
        return Err("`mirror.memory` must be at least 1MiB".to_owned());
    }
    if !(1 << 10..=64 << 20).contains(&config.manifest_max) {
        return Err("`limits.manifest` must lie between 1KiB and 64MiB (the registry protocol asks for at least 4MiB)".to_owned());
    }
    Ok(())
}
