//! `[policy]`: what a push may leave out.

use crate::config::key::switch;
use crate::config::section::section;

section! {
    /// What a push may leave out.
    pub struct PolicySettings {
        /// Manifests whose children are missing are refused.
        pub strict: bool = switch("policy.strict", false)
            .doc("Refuse a manifest whose layers or images are missing here? Not set: sparse indexes and images are accepted."),
    }
}
