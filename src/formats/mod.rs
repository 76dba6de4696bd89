//! One folder a format: what bytes mean. No HTTP, no storage engine, no network; formats never import each other.

pub mod oci;
