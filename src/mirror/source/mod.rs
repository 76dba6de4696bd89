//! The other registry: how people name an image there, its protocol, and its documents as far as copying needs them.

pub mod document;
pub mod link;
pub(super) mod oci;
pub(super) mod reference;
