//! Owns the long-lived handles; start and stop order. STUB.
use crate::{auth::Auth, blobs::Blobs, repo::Repos, store::Store, tls::Tls};
use std::sync::Arc;
pub mod control;
/// The running server's handles; cheap to clone.
#[derive(Clone)]
pub struct App {
    pub store: Store,
    pub blobs: Blobs,
    pub repos: Repos,
    pub auth: Auth,
    pub tls: Option<Tls>,
    pub config: Arc<arc_swap::ArcSwap<crate::config::Config>>,
}
