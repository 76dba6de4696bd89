//! The repositories that names mean, remembered for pushes: most go where others went before. Those that take none are not
//! among them.
//!
//! A repository keeps its name until it is deleted, and its origin with it, so a deletion ends what is known here, a change
//! of its settings, and what `check` mends; nothing else does. It spares a look into the store before bytes come; a commit looks the name up itself and never
//! relies on it.

use crate::cache::Cache;
use crate::repo::pushes::Pushes;
use crate::store::epochs::{Epoch, Epochs, Subject};
use crate::types::{Kind, RepoId, RepoName};
use std::sync::Arc;

/// Memory for it: some ten thousand names.
const BYTES: u64 = 1 << 20;

/// A repository, as it was found.
#[derive(Debug, Clone, Copy)]
pub(in crate::repo) struct Home {
    /// The repository.
    pub id: RepoId,
    /// Its kind.
    pub kind: Kind,
    /// What it takes.
    pub pushes: Pushes,
}

/// What is remembered.
pub(in crate::repo) struct Homes {
    known: Cache<RepoName, (Epoch, Home)>,
    epochs: Arc<Epochs>,
}

impl Homes {
    /// Nothing yet.
    pub fn new(epochs: Arc<Epochs>) -> Self {
        Self {
            known: Cache::new(BYTES, None, |name, _| {
                size_of::<(Epoch, Home)>() + name.as_str().len()
            }),
            epochs,
        }
    }

    /// To be taken before the store is read; goes with what is found there to [`Homes::found`].
    pub fn epoch(&self, name: &RepoName) -> Epoch {
        self.epochs.now(Subject::Home(name.as_str()))
    }

    /// The name's repository, if that is known and still so in this epoch.
    pub fn get(&self, name: &RepoName, epoch: Epoch) -> Option<Home> {
        let (found, home) = self.known.get(name)?;
        (found == epoch).then_some(home)
    }

    /// The store had this repository for the name.
    pub fn found(&self, name: &RepoName, home: Home, epoch: Epoch) {
        self.known.insert(name.clone(), (epoch, home));
    }
}
