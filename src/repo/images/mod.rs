//! What images mean: manifests, tags, referrers, blobs and what holds them together.
//!
//! Owns the items of repositories of kind `oci` and their rules. The rooms beside it (rows, history, uploads, quota, reclaim,
//! check) know items of any class; where they must know what an image needs they ask here.
//!
//! `blobs` has what shows a blob, `attached` what refers to a manifest.

mod attached;
pub(in crate::repo) mod batch;
mod blobs;
pub(in crate::repo) mod closure;
pub(in crate::repo) mod delete;
pub(in crate::repo) mod edit;
pub(in crate::repo) mod manifest;
mod named;
pub(in crate::repo) mod read;
pub(in crate::repo) mod rules;
pub(in crate::repo) mod tags;

pub(in crate::repo) use attached::{lists, parts, referrers};
pub(in crate::repo) use blobs::{blob, past};
