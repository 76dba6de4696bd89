//! Repositories that are no registries: which of them a path names.
//!
//! Owns their names in memory and the rules that make a path mean one repository: no name of one is a path prefix of another's.
//! Must not know what they hold. A change decides by rows; what is here only spares a look.

use super::shown::{At, shown};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::{Origin, Repos, any_visible, rows};
use crate::store::{Get, Lane, Need, Store, StoreError, Table, Txn};
use crate::types::{Kind, RepoName, wall_ms};
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Rows of one read.
const PAGE: usize = 1000;

/// What a path below `/r/` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The repository.
    pub name: RepoName,
    /// As of when.
    pub at: At,
    /// The rest of the path: a file, a folder with its last `/`, or empty for the root.
    pub path: String,
    /// Nothing follows the repository's name, not even a `/`.
    pub is_bare: bool,
}

/// The names of all of them.
#[derive(Default)]
pub(in crate::repo) struct Trees(RwLock<BTreeSet<RepoName>>);

impl Trees {
    /// Reads them from the store.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        let mut names = BTreeSet::new();
        let (mut from, to) = keys::trees();
        loop {
            let rows = store.read(|r| r.scan(Table::Meta, &from, &to, PAGE))?;
            names.extend(
                rows.iter()
                    .filter_map(|(key, _)| keys::name_of_tree(key)?.parse().ok()),
            );
            match rows.last().filter(|_| rows.len() == PAGE) {
                Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
                None => return Ok(Self(RwLock::new(names))),
            }
        }
    }

    /// Reads them again, after rows were mended.
    pub fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Read while nobody else writes here: what is taken up last was read last.
        let Self(fresh) = Self::load(store)?;
        *names = fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    /// Takes up what the store says of a name, after a change of it was tried.
    fn settle(&self, store: &Store, name: &RepoName) -> Result<(), StoreError> {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // As there.
        let key = keys::tree(name.as_str());
        if store.read::<_, StoreError>(|r| Ok(r.get(Table::Meta, &key)?.is_some()))? {
            names.insert(name.clone());
        } else {
            names.remove(name);
        }
        Ok(())
    }

    /// The longest one that the path begins with, and what the path says beyond it.
    fn find(&self, path: &str) -> Option<Tree> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        for end in ends.into_iter().rev() {
            let (head, rest) = path.split_at(end);
            if head.len() > RepoName::MAX + At::MAX + 1 {
                continue;
            }
            let component = head.rfind('/').map_or(0, |slash| slash + 1);
            let (name, at) = match head[component..].split_once('@') {
                Some((last, text)) => match At::named(text) {
                    Some(at) => (&head[..component + last.len()], at),
                    None => continue,
                },
                None => (head, At::Head),
            };
            let found = name.parse::<RepoName>().ok();
            if let Some(name) = found.filter(|name| names.contains(name)) {
                return Some(Tree {
                    name,
                    at,
                    path: rest.strip_prefix('/').unwrap_or(rest).to_owned(),
                    is_bare: rest.is_empty(),
                });
            }
        }
        None
    }
}

/// Refuses a name that lies above or below that of another such repository.
fn free(tx: &Txn<'_>, name: &RepoName) -> Result<(), RepoError> {
    let exists = |other: &str, how: &str| {
        Err(RepoError::Exists(format!(
            "{name} would lie {how} the repository {other}, and a path could mean either of them; nothing was made, choose another name"
        )))
    };
    for (at, _) in name.as_str().match_indices('/') {
        let above = &name.as_str()[..at];
        if tx.get(Table::Meta, &keys::tree(above))?.is_some() {
            return exists(above, "below");
        }
    }
    let (from, to) = keys::trees_below(name.as_str());
    let below = tx.scan(Table::Meta, &from, &to, 1)?.pop();
    match below.as_ref().and_then(|(key, _)| keys::name_of_tree(key)) {
        Some(below) => exists(below, "above"),
        None => Ok(()),
    }
}

impl Repos {
    /// The repository that is no registry and that a decoded path below `/r/` names: the longest that exists. `NAME@REF` is
    /// its past.
    pub fn tree(&self, path: &str) -> Option<Tree> {
        self.0.trees.find(path)
    }

    /// The same tree at the revision that it shows at the moment: what is read page by page stays as it is.
    pub async fn fixed(&self, tree: &Tree) -> Result<Tree, RepoError> {
        let tree = tree.clone();
        self.hop(move |_, r| {
            let rev = shown(r, &tree.name, Kind::File, &tree.at)?.rev;
            let at = At::Named(format!("g{}", rev.0).into());
            Ok(Tree { at, ..tree.clone() })
        })
        .await
    }

    /// The repository of another sort that a path would mean if it were a tree, the longest; none for a kind that this version
    /// does not know.
    pub async fn no_tree(&self, path: &str) -> Result<Option<(RepoName, Option<Kind>)>, RepoError> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        let heads = ends
            .chain([path.len()])
            .take_while(|at| *at <= RepoName::MAX);
        let names = heads.filter_map(|at| path[..at].parse::<RepoName>().ok());
        let names: Vec<RepoName> = names.collect();
        self.hop(move |_, r| {
            for name in names.iter().rev() {
                if let Some((_, record)) = any_visible(r, name.as_str())? {
                    return Ok(Some((name.clone(), Kind::of(record.kind))));
                }
            }
            Ok(None)
        })
        .await
    }

    /// To be called after a repository was made or deleted, or that was tried: by the rows alone, whatever became of it.
    pub(in crate::repo) async fn settle_tree(&self, name: &RepoName) {
        let (this, wanted) = (self.clone(), name.clone());
        let settle = move || Ok(this.0.trees.settle(&this.0.store, &wanted)?);
        if let Err(error) = self.block(settle).await {
            tracing::warn!(repo = %name, %error, "whether this name means a repository of files is not known until the next start");
        }
    }

    /// Makes an empty repository.
    ///
    /// # Errors
    /// [`RepoError::Exists`] if there is one of the name, or if a path could mean another as well.
    pub async fn create(&self, name: &RepoName, kind: Kind, who: &str) -> Result<(), RepoError> {
        tracing::info!(target: "audit", action = "repo.create", repo = %name, %kind, who);
        let (wanted, at_ms) = (name.clone(), wall_ms());
        let create = move |tx: &mut Txn<'_>| {
            if let Some((_, record)) = any_visible(tx, wanted.as_str())? {
                let kind = Kind::of(record.kind).map_or("unknown", Kind::word);
                return Err(RepoError::Exists(format!(
                    "{wanted} is there already, of kind {kind}; nothing was changed"
                )));
            }
            if rows::find(tx, wanted.as_str())?.is_some() {
                return Err(RepoError::Exists(format!(
                    "a mirror run into {wanted} has begun and not ended; finish it, or delete what it made"
                )));
            }
            if kind.is_tree() {
                free(tx, &wanted)?;
            }
            rows::create(tx, &wanted, kind, Origin::Local.code(), at_ms).map(drop)
        };
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let store = &repos.0.store;
            let made = store.write(Lane::Request, Need::Grows, "repo.create", create);
            let made = made.await;
            repos.settle_tree(&name).await;
            made
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Trees {
        let names = names.iter().map(|name| name.parse().expect("a name"));
        Trees(RwLock::new(names.collect()))
    }

    #[test]
    fn a_path_names_one_repository() {
        let trees = of(&["files", "team/tools"]);
        let find = |path: &str| {
            let tree = trees.find(path)?;
            Some((tree.name.to_string(), tree.at, tree.path, tree.is_bare))
        };
        let head =
            |name: &str, path: &str, bare| Some((name.to_owned(), At::Head, path.to_owned(), bare));
        assert_eq!(find("files"), head("files", "", true));
        assert_eq!(find("files/"), head("files", "", false));
        assert_eq!(find("files/a/b"), head("files", "a/b", false));
        assert_eq!(
            find("files/@scope/x@1/y"),
            head("files", "@scope/x@1/y", false)
        );
        assert_eq!(find("team/tools/x/"), head("team/tools", "x/", false));
        assert_eq!(find("team/other"), None);
        assert_eq!(find("team"), None);
        assert_eq!(find("filesystem/a"), None);
        let past = |path: &str| find(path).map(|(name, at, path, _)| (name, at, path));
        let at = |text: &str| At::named(text).expect("a reference");
        assert_eq!(
            past("files@june/a"),
            Some(("files".into(), at("june"), "a".into()))
        );
        assert_eq!(
            past("team/tools@g7"),
            Some(("team/tools".into(), at("g7"), String::new()))
        );
        assert_eq!(past("files@/a"), None);
        assert_eq!(past("files@JUNE/a"), None);
    }
}
