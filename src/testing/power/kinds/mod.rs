//! What each kind of repository contributes: what it writes in a run, and how the check reads it back after a cut.
//!
//! A new kind is one file beside `file.rs` and one line in [`of`].

pub(super) mod file;
mod oci;

use super::check::Check;
use super::scenario::Client;
use crate::repo::At;
use crate::types::{Digest, Kind, RepoName};
use futures_util::future::LocalBoxFuture;
use std::collections::BTreeMap;

/// Names, and what they mean.
pub(super) type Shown = BTreeMap<String, Digest>;

/// What a check reads, or what is wrong with it.
pub(super) type Reads<'a, T> = LocalBoxFuture<'a, Result<Option<T>, String>>;

/// One kind of repository in the power-cut tests. A name is text of the kind's own: a path, say.
pub(super) trait Contents {
    /// Clients that write to repositories of this kind, with random numbers of this seed.
    fn writers(&self, seed: u64) -> Box<dyn Writers>;

    /// What a name means, its bytes read and verified; `None`: nothing.
    fn name<'a>(
        &'a self,
        check: &'a Check<'_>,
        repo: &'a RepoName,
        at: &'a At,
        name: &'a str,
    ) -> Reads<'a, Digest>;

    /// Every name that the repository shows, and all below it, read and verified; `None`: no such repository or snapshot.
    fn all<'a>(&'a self, check: &'a Check<'_>, repo: &'a RepoName, at: &'a At) -> Reads<'a, Shown>;
}

/// What clients do in the three processes of a run. They note in the ledger what they ask for.
pub(super) trait Writers {
    /// Until the process is killed.
    fn first_process<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()>;

    /// In the process after the kill, until it is stopped.
    fn after_a_kill<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()>;

    /// In the process after that.
    fn after_a_stop<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        let _ = client;
        Box::pin(async {})
    }
}

/// What a kind contributes.
pub(super) fn of(kind: Kind) -> &'static dyn Contents {
    match kind {
        Kind::Oci => &oci::OciContents,
        Kind::File => &file::FileContents,
    }
}
