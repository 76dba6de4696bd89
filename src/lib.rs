//! Dryport: the registry for places without a network.

pub mod app;
pub mod audit;
pub mod auth;
pub mod blobs;
pub mod cache;
pub mod cli;
pub mod config;
pub mod datadir;
pub mod fetch;
pub mod formats;
pub mod gc;
pub mod http;
pub mod jobs;
pub mod mirror;
pub mod repo;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod types;
pub mod upstream;
