//! The repositories that names mean, remembered for pushes: most go where others went before. Those that take none are not
//! among them.
//!
//! A repository keeps its name until it is deleted, and its origin with it, so a deletion ends what is known here, a change
//! of its settings, and what `check` mends; nothing else does. It spares a look into the store before bytes come; a commit looks the name up itself and never
//! relies on it.

use crate::cache::Cache;
use crate::repo::pushes::Pushes;
use crate::repo::state::Generations;
use crate::types::{Kind, RepoId, RepoName};

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
    generation: u64,
}

/// What is remembered.
pub(in crate::repo) struct Homes {
    known: Cache<RepoName, Home>,
    /// Raised by each deletion, so that what was read before one never counts after it.
    ended: Generations,
}

impl Homes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            known: Cache::new(BYTES, None, |name, _| {
                size_of::<Home>() + name.as_str().len()
            }),
            ended: Generations::new(),
        }
    }

    /// To be asked before the store is; goes with what is found there to [`Homes::found`].
    pub fn generation(&self, name: &RepoName) -> u64 {
        self.ended.now(name)
    }

    /// The name's repository, if that is known and still so.
    pub fn get(&self, name: &RepoName) -> Option<Home> {
        self.known.get(name).filter(|home| self.is(name, *home))
    }

    /// The store has this repository for the name.
    pub fn found(
        &self,
        name: &RepoName,
        (id, kind): (RepoId, Kind),
        pushes: Pushes,
        generation: u64,
    ) -> Home {
        let home = Home {
            id,
            kind,
            pushes,
            generation,
        };
        self.known.insert(name.clone(), home);
        home
    }

    /// Whether the name still means this repository.
    pub fn is(&self, name: &RepoName, home: Home) -> bool {
        home.generation == self.ended.now(name)
    }

    /// The name means nothing any more, or another setting counts; after the commit and before its answer.
    pub fn end(&self, name: &RepoName) {
        self.ended.bump(name);
        self.known.remove(name);
    }

    /// Any name may mean something else now.
    pub fn end_all(&self) {
        self.ended.bump_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_ends_what_was_read_before_it() {
        let homes = Homes::new();
        let name: RepoName = "a/b".parse().expect("a name");
        assert!(homes.get(&name).is_none());
        let before = homes.generation(&name);
        let home = homes.found(&name, (RepoId(1), Kind::Oci), Pushes::All, before);
        assert!(homes.is(&name, home));
        assert_eq!(homes.get(&name).map(|home| home.id), Some(RepoId(1)));
        homes.end(&name);
        assert!(!homes.is(&name, home) && homes.get(&name).is_none());
        // Read before, put in after.
        homes.found(&name, (RepoId(1), Kind::Oci), Pushes::All, before);
        assert!(homes.get(&name).is_none());
        homes.found(
            &name,
            (RepoId(2), Kind::Oci),
            Pushes::All,
            homes.generation(&name),
        );
        assert_eq!(homes.get(&name).map(|home| home.id), Some(RepoId(2)));
        homes.end_all();
        assert!(homes.get(&name).is_none());
    }
}
