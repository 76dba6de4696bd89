//! Upstreams: other registries that this one fetches from on demand, and the cache that they fill (repositories of origin
//! *cache*).
//!
//! Owns the settings of each upstream and their rows, which name belongs to which upstream, and what comes of a request for
//! something that is not here. Must not know HTTP of our own side; it speaks to the other side through `fetch` and keeps
//! what comes through `repo`.

mod settings;

pub use settings::{
    CredentialSource, Library, UpstreamName, UpstreamOrigin, UpstreamSettings, UpstreamUrl,
};
