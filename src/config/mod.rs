//! Configuration. STUB: helper refines; fields that others use:
use std::net::SocketAddr;
use std::path::PathBuf;
#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub mode: Mode,
    pub https: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    pub url: Option<String>,
    pub trusted_proxies: Vec<String>,
    pub anonymous_pull: bool,
    pub anonymous_push: bool,
    pub tls_names: Vec<String>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub http2: String,
    pub lease_seconds: u64,
    pub upload_idle_seconds: u64,
    pub reserve_bytes: u64,
    pub cache_bytes: u64,
    pub store_cache_bytes: u64,
    pub strict: bool,
    pub metrics_open: bool,
    pub slow_ms: u64,
    pub drain_seconds: u64,
    pub progress_seconds: u64,
    pub manifest_max: u64,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Mirror,
    Standalone,
    Full,
}
