//! What of a list of manifests goes into one transaction.
//!
//! The row changes of a manifest are estimated beforehand; what that leaves out (others that waited for it, above all) is
//! found by the transaction itself, which stores nothing then, and the list becomes a stage. One manifest alone always fits:
//! see [`MANIFEST_ROWS`].

use crate::repo::images::edit::NewManifest;
use crate::repo::images::parts;

/// Row changes of one transaction, about: the rest of what it may have is for what the estimate leaves out.
pub(in crate::repo) const ROWS: usize = 3500;
/// Row changes for what a manifest names: a reference for each digest, a mark for each part of an index. With
/// [`TAGS`], the two for each quota of the longest name, and those who waited for it
/// ([`WANTED_MAX`](crate::repo::rows::WANTED_MAX)), they stay within a transaction.
pub(in crate::repo) const MANIFEST_ROWS: usize = 4000;
/// Tags that one manifest gets in one transaction.
pub(in crate::repo) const TAGS: usize = 64;
/// Row changes of one tag that moves: its rows, and what asks the collector to look at what it meant.
const TAG_ROWS: usize = 7;
/// Row changes of any manifest: its own, and those of the revision.
const OWN_ROWS: usize = 30;

/// Row changes that a manifest comes to where so many quotas hold its repository.
pub(in crate::repo) fn cost(new: &NewManifest, quotas: usize) -> usize {
    let inspected = &new.inspected;
    inspected.children.len()
        + parts::rows(inspected)
        + TAG_ROWS * new.tags.len()
        + 2 * quotas
        + OWN_ROWS
}
