//! The coarse kinds of requests that are counted apart.

/// The coarse kind of a route, for metrics: few values, whatever clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestClass {
    /// `/v2/`, discovery.
    Base,
    /// The token service.
    Token,
    /// Manifests.
    Manifest,
    /// Blobs.
    Blob,
    /// Upload sessions.
    Upload,
    /// Tags, referrers, catalog.
    List,
    /// Repositories that are no registries.
    Tree,
    /// Operations by REST.
    Api,
    /// Health, metrics and everything else.
    Other,
}

impl RequestClass {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Base,
        Self::Token,
        Self::Manifest,
        Self::Blob,
        Self::Upload,
        Self::List,
        Self::Tree,
        Self::Api,
        Self::Other,
    ];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Token => "token",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Upload => "upload",
            Self::List => "list",
            Self::Tree => "tree",
            Self::Api => "api",
            Self::Other => "other",
        }
    }
}
