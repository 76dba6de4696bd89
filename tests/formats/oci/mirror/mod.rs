//! `dryport mirror`, and upstreams with manners of their own.

pub mod fills;
pub mod foreign_text;
pub mod outbound;
pub mod quirks;
pub mod quirks_attached;
pub mod quirks_documents;
pub mod quirks_lists;
pub mod quirks_named;
pub mod quirks_nothing;
pub mod quirks_tls;
pub mod quirks_wrong;
pub mod runs;
