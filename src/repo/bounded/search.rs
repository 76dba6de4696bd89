//! A search for what is live and names a digest, before a change that may only be made if nothing does.
//!
//! The rows that name it are looked at in hops; after that in hops, too, the changes that were made meanwhile. The change
//! itself then looks at the few changes since. That is exact, because what becomes live does so in a revision that has a
//! row in `changes` as long as it is live, and what an item names never changes.

use super::{LOOKS, Next, Pages, left};
use crate::repo::error::RepoError;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class, Name};
use crate::store::{Get, Table};
use crate::types::{Digest, ItemName, RepoId, Rev};

/// What names the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum What {
    /// Tags that mean it.
    Tags,
    /// Manifests that need it, also those that named it before it came.
    Manifests,
}

/// A search on its way.
#[derive(Debug, Clone)]
pub(in crate::repo) struct Search {
    id: RepoId,
    digest: Digest,
    what: What,
    /// What names it, the last range first. Manifests that only name it come before those that keep it: what it comes for
    /// goes from the one to the other, and never back.
    named: Vec<Pages>,
    changes: Pages,
    found: Vec<ItemName>,
}

/// What a change finds that makes use of a search.
pub(in crate::repo) enum Rest {
    /// What the changes since have made live.
    Found(Vec<ItemName>),
    /// Too much was changed since: go on with the search.
    TooMuch,
}

impl Search {
    /// Begins; `head` is the newest revision of the repository in this read.
    pub fn begin(id: RepoId, head: Rev, digest: Digest, what: What) -> Self {
        let classes: &[Class] = match what {
            What::Tags => &[Class::Tag],
            What::Manifests => &[Class::Manifest, Class::Wanted],
        };
        let named = classes.iter().map(|class| {
            let range = keys::refs_in(&digest, id, *class).range();
            Pages::new(keys::table(*class), range)
        });
        let (_, end) = keys::of_repo(id).range();
        let changes = (keys::change_head(id, Rev(head.0 + 1)), end);
        Self {
            id,
            digest,
            what,
            named: named.collect(),
            changes: Pages::new(Table::Changes, changes),
            found: Vec::new(),
        }
    }

    /// The repository.
    pub fn id(&self) -> RepoId {
        self.id
    }

    /// Goes on for one hop; whether it has come to its end or has found `enough`.
    pub fn go_on(&mut self, get: &impl Get, enough: usize) -> Result<bool, RepoError> {
        loop {
            if self.found.len() >= enough {
                return Ok(true);
            }
            let Some(mut named) = self.named.pop() else {
                break;
            };
            match named.next(get, 1)? {
                Next::Rows(page) => {
                    for (key, _) in page {
                        if self.found.len() >= enough {
                            named.back_to(key);
                            break;
                        }
                        if let Some((name, added)) = self.namer(&key)
                            && self.is_live(get, &name.as_name(), added)?
                        {
                            self.found.push(name);
                        }
                    }
                    self.named.push(named);
                }
                Next::Spent => {
                    self.named.push(named);
                    return Ok(false);
                }
                Next::End => {}
            }
        }
        loop {
            if self.found.len() >= enough {
                return Ok(true);
            }
            // What is made meanwhile is found by the change.
            let mut ahead = self.changes.clone();
            match ahead.next(get, self.cost())? {
                Next::Rows(page) => {
                    self.found.extend(self.of_changes(get, &page)?);
                    ahead.go_on_after_end();
                    self.changes = ahead;
                }
                Next::Spent => return Ok(false),
                Next::End => return Ok(true),
            }
        }
    }

    /// Takes what was found so far.
    pub fn take(&mut self) -> Vec<ItemName> {
        std::mem::take(&mut self.found)
    }

    /// What was found so far.
    pub fn found(&self) -> &[ItemName] {
        &self.found
    }

    /// In the change: looks at what was changed since.
    pub fn rest(&self, get: &impl Get) -> Result<Rest, RepoError> {
        let mut changes = self.changes.clone();
        let mut found = Vec::new();
        loop {
            // The other half of what it may look at is for the change itself.
            if !changes.ended() && left(get) < LOOKS / 2 {
                return Ok(Rest::TooMuch);
            }
            match changes.next(get, self.cost())? {
                Next::Rows(page) => found.extend(self.of_changes(get, &page)?),
                Next::Spent => return Ok(Rest::TooMuch),
                Next::End => return Ok(Rest::Found(found)),
            }
        }
    }

    /// Looks that a row of `changes` costs beside its own.
    fn cost(&self) -> usize {
        match self.what {
            What::Tags => 1,
            What::Manifests => 3,
        }
    }

    /// Of rows of `changes`, what is live since then and names the digest.
    fn of_changes(
        &self,
        get: &impl Get,
        page: &[crate::store::Row],
    ) -> Result<Vec<ItemName>, RepoError> {
        let mut found = Vec::new();
        for (key, _) in page {
            let (Some(name), Some(rev)) = (keys::name_of_change(key), keys::rev_of_change(key))
            else {
                continue;
            };
            let names = match (self.what, name.as_manifest()) {
                (What::Tags, _) => name.class() == Class::Tag,
                (What::Manifests, None) => false,
                (What::Manifests, Some(parent)) => {
                    let (id, digest) = (self.id, &self.digest);
                    let is_there = |class: Class| {
                        let key = keys::manifest_ref(digest, id, class, &parent, rev);
                        get.get(keys::table(class), &key).map(|row| row.is_some())
                    };
                    is_there(Class::Manifest)? || is_there(Class::Wanted)?
                }
            };
            if names && self.is_live(get, &name, rev)? {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }

    /// Who names the digest in this row of `refs`.
    fn namer(&self, key: &[u8]) -> Option<(ItemName, Rev)> {
        let (_, _, rest) = keys::ref_head(key)?;
        match self.what {
            What::Tags => {
                let (tag, added) = keys::text_of_ref(rest)?;
                Some((Name::tag(tag).to_owned(), added))
            }
            What::Manifests => {
                let (parent, added) = keys::parent_of(rest)?;
                Some((Name::manifest(&parent).to_owned(), added))
            }
        }
    }

    fn is_live(&self, get: &impl Get, name: &Name<'_>, added: Rev) -> Result<bool, RepoError> {
        let live = rows::live(get, self.id, name)?;
        Ok(live.is_some_and(|(rev, item)| {
            let is_it = match self.what {
                What::Tags => item.digest() == Some(self.digest),
                What::Manifests => true,
            };
            rev == added && is_it
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::rows::record::{ItemRecord, SourceRecord};
    use crate::store::record::Record as _;
    use crate::store::{Lane, Need, Store, StoreError, StoreOptions};
    use crate::types::Algorithm;
    use std::time::Duration;

    const ID: RepoId = RepoId(7);

    fn digest(n: u64) -> Digest {
        Digest::of(Algorithm::Sha256, &n.to_be_bytes())
    }

    fn store(dir: &std::path::Path) -> Store {
        Store::open(StoreOptions {
            dir: dir.to_owned(),
            cache_bytes: 8 << 20,
            slow: Duration::from_secs(10),
            holder: "a test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 1 << 20,
            upgrade_without_copy: false,
        })
        .expect("opens")
    }

    fn put(store: &Store, rows: &[(Table, Vec<u8>, Vec<u8>)]) {
        for some in rows.chunks(4000) {
            let some = some.to_vec();
            let write = store.write_blocking(Lane::Request, Need::Grows, "test", move |tx| {
                for (table, key, value) in &some {
                    tx.put(*table, key, value)?;
                }
                Ok::<_, StoreError>(())
            });
            write.expect("written");
        }
    }

    /// Rows of a live manifest that this revision added, and that names the digest.
    fn live(
        manifest: &Digest,
        names: &Digest,
        class: Class,
        rev: u64,
    ) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let item = ItemRecord {
            removed: Rev::NEVER.0,
            target: manifest.as_key().to_vec(),
            size: 1,
            media_type: "a/b".into(),
            source: SourceRecord::Push(String::new()),
            at_ms: 0,
            own: Vec::new(),
            artifact_type: String::new(),
        };
        let (name, rev) = (Name::manifest(manifest), Rev(rev));
        vec![
            (
                Table::Items,
                keys::item(ID, &name, false, rev),
                item.to_bytes().expect("bytes"),
            ),
            (Table::Changes, keys::change(ID, rev, &name), Vec::new()),
            (
                keys::table(class),
                keys::manifest_ref(names, ID, class, manifest, rev),
                Vec::new(),
            ),
        ]
    }

    fn hops(store: &Store, search: &mut Search, enough: usize) -> usize {
        for hop in 1..100 {
            let ended = store.read(|r| {
                let ended = search.go_on(r, enough);
                assert!(r.looked() <= LOOKS, "{} rows", r.looked());
                ended
            });
            if ended.expect("read") {
                return hop;
            }
        }
        panic!("no end");
    }

    fn rest(store: &Store, search: &Search) -> Rest {
        store.read(|r| search.rest(r)).expect("read")
    }

    #[test]
    fn what_comes_meanwhile_is_found_and_a_crowd_of_changes_is_searched_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        let blob = digest(0);
        // Manifests that are not live any more.
        let gone = |n| keys::manifest_ref(&blob, ID, Class::Manifest, &digest(n), Rev(1));
        let rows = (1..5000).map(|n| (Table::Refs, gone(n), Vec::new()));
        put(&store, &rows.collect::<Vec<_>>());
        let mut search = Search::begin(ID, Rev(5), blob, What::Manifests);
        assert!(hops(&store, &mut search, 1) >= 5);
        assert!(search.found().is_empty());
        assert!(matches!(rest(&store, &search), Rest::Found(found) if found.is_empty()));

        // One that does not name it, and one that named it before it came.
        put(&store, &live(&digest(9001), &digest(1), Class::Manifest, 6));
        put(&store, &live(&digest(9002), &blob, Class::Wanted, 7));
        let wanted = Name::manifest(&digest(9002)).to_owned();
        assert!(matches!(rest(&store, &search), Rest::Found(found) if found == [wanted.clone()]));

        // Among changes that are too many for a transaction.
        let change = |n| keys::change(ID, Rev(8), &Name::manifest(&digest(n)));
        let rows = (1..3000).map(|n| (Table::Changes, change(n), Vec::new()));
        put(&store, &rows.collect::<Vec<_>>());
        put(&store, &live(&digest(9003), &blob, Class::Manifest, 9));
        assert!(matches!(rest(&store, &search), Rest::TooMuch));
        hops(&store, &mut search, 9);
        assert_eq!(
            search.take(),
            [wanted, Name::manifest(&digest(9003)).to_owned()]
        );
        assert!(matches!(rest(&store, &search), Rest::Found(found) if found.is_empty()));
    }

    #[test]
    fn no_more_is_found_at_once_than_was_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        let blob = digest(0);
        let rows = (1..900).flat_map(|n| live(&digest(n), &blob, Class::Manifest, 1));
        put(&store, &rows.collect::<Vec<_>>());
        let mut search = Search::begin(ID, Rev(1), blob, What::Manifests);
        let mut all = Vec::new();
        for most in [400, 400, 99, 0] {
            hops(&store, &mut search, 400);
            assert_eq!(search.found().len(), most);
            all.extend(search.take());
        }
        all.sort_by_key(|name| format!("{name:?}"));
        all.dedup();
        assert_eq!(all.len(), 899);
    }
}
