//! Upstreams: other registries that this one fetches from on demand, and the cache that they fill (repositories of origin
//! *cache*).
//!
//! Owns the settings of each upstream and their rows, which name belongs to which upstream, and what comes of a request for
//! something that is not here. Must not know HTTP of our own side; it speaks to the other side through `fetch` and keeps
//! what comes through `repo`.

mod credentials;
mod error;
mod one;
pub mod pull;
mod record;
mod remote;
mod rules;
mod settings;
mod table;
mod tally;
mod trial;
mod view;

pub use error::{UpstreamError, UpstreamErrorKind};
pub use one::Upstream;
pub use record::UpstreamRecord;
pub use settings::{
    CredentialSource, Library, SettingError, UpstreamName, UpstreamOrigin, UpstreamSettings,
    UpstreamUrl,
};
pub use table::{ListedUpstream, UpstreamOptions, Upstreams};
pub use trial::{AddressTest, TestStep, UpstreamTest};
pub use view::{CertificateFiles, UpstreamBreaker, UpstreamChange, UpstreamCounters, UpstreamView};
