//! One repository of files that one client alone changes, and what the ledger is told of each change.

use super::super::super::ledger::{Key, Promise, shows};
use super::super::super::scenario::{Client, Done, SHA256, body, repo, title};
use crate::repo::{At, NewFile, PartRange, When};
use crate::types::{ContentRange, Digest, FilePath, Kind, RepoName, Title};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) type Files = BTreeMap<FilePath, Digest>;

/// A repository of files that one client alone changes, and what it should show.
pub(super) struct Shelf {
    pub name: RepoName,
    pub files: Files,
    /// What it showed when its snapshots were made.
    kept: BTreeMap<Title, Files>,
}

pub(in super::super::super) fn path(text: &str) -> FilePath {
    text.parse().expect("a path")
}

/// A file on its way in, whatever is there.
pub(in super::super::super) fn new_file(path: &FilePath) -> NewFile {
    NewFile {
        path: path.clone(),
        when: When::Always,
        digest: None,
        who: "power".into(),
        owner: "ann".into(),
    }
}

/// Which bytes of a file of this length come.
pub(in super::super::super) fn range(first: u64, end: u64, total: u64) -> PartRange {
    PartRange {
        range: (first < end).then(|| ContentRange {
            first,
            last: end - 1,
        }),
        total: Some(total),
    }
}

fn all_of(files: &Files) -> Digest {
    shows(files.iter().map(|(path, is)| (path.as_str(), is)))
}

impl Shelf {
    pub fn new(name: &str) -> Self {
        Self {
            name: repo(name),
            files: Files::new(),
            kept: BTreeMap::new(),
        }
    }

    pub async fn create(&self, client: &Client<'_>) -> Done {
        let empty = all_of(&self.files);
        let promise = Promise {
            facts: vec![(Key::All(Kind::File, self.name.clone()), Some(empty))],
            revs: Vec::new(),
        };
        let repos = &client.service.repos;
        let work = repos.create(&self.name, Kind::File, "power");
        client.ledger.doing(promise, work).await
    }

    /// What a change to these files promises: all of them at once, in one revision.
    pub fn promise(&self, after: &Files) -> Promise {
        let paths = self.files.keys().chain(after.keys());
        let changed = paths.filter(|path| self.files.get(path) != after.get(path));
        let mut facts: BTreeMap<_, _> = changed
            .map(|path| {
                let key = Key::Name(Kind::File, self.name.clone(), path.to_string());
                (key, after.get(path).copied())
            })
            .collect();
        assert!(!facts.is_empty(), "nothing changes");
        facts.insert(Key::All(Kind::File, self.name.clone()), Some(all_of(after)));
        Promise {
            facts: facts.into_iter().collect(),
            revs: vec![self.name.clone()],
        }
    }

    pub async fn put(&mut self, client: &Client<'_>, at: &str, bytes: &Bytes) -> Done {
        let (path, digest) = (path(at), Digest::of(SHA256, bytes));
        client.ledger.know(digest, bytes.clone());
        let mut after = self.files.clone();
        let is_new = after.insert(path.clone(), digest).is_none();
        let promise = self.promise(&after);
        let (repos, len) = (&client.service.repos, Some(bytes.len() as u64));
        let put = repos.put_file(&self.name, new_file(&path), len, body(bytes));
        let filed = client.ledger.doing(promise, Box::pin(put)).await?;
        assert_eq!((filed.digest, filed.is_new), (digest, is_new));
        self.files = after;
        Ok(())
    }

    pub async fn delete(&mut self, client: &Client<'_>, at: &str) -> Done {
        let path = path(at);
        let mut after = self.files.clone();
        let is = after.remove(&path).expect("it is there");
        let promise = self.promise(&after);
        let (repos, when) = (&client.service.repos, When::Is(vec![is]));
        let work = repos.delete_file(&self.name, &path, when, "power");
        client.ledger.doing(promise, work).await?;
        self.files = after;
        Ok(())
    }

    pub async fn snapshot(&mut self, client: &Client<'_>, as_title: &str) -> Done {
        let all = Some(all_of_cut(&[&*self]));
        client.cut(&[&self.name], as_title, all).await?;
        self.kept.insert(title(as_title), self.files.clone());
        Ok(())
    }

    pub async fn restore(&mut self, client: &Client<'_>, as_title: &str) -> Done {
        let after = self.kept[&title(as_title)].clone();
        let promise = self.promise(&after);
        let at = At::named(as_title).expect("a reference");
        let repos = &client.service.repos;
        let of = self.name.as_str().parse().expect("a name");
        let work = repos.restore_snapshots(&of, &at, "power");
        client.ledger.doing(promise, Box::pin(work)).await?;
        self.files = after;
        Ok(())
    }

    /// Everything of it goes, its snapshots too.
    pub async fn go(&mut self, client: &Client<'_>) -> Done {
        let promise = client.ledger.all_gone(&self.name);
        let work = client.service.repos.delete(&self.name, "power", true);
        client.ledger.doing(promise, work).await?;
        self.files.clear();
        self.kept.clear();
        Ok(())
    }
}

/// What snapshots of these show together.
pub(super) fn all_of_cut(shelves: &[&Shelf]) -> Digest {
    let lines = shelves.iter().flat_map(|shelf| {
        let files = shelf.files.iter();
        files.map(|(path, is)| (format!("{}/{}", shelf.name, path.as_str()), *is))
    });
    let lines: BTreeMap<String, Digest> = lines.collect();
    shows(lines.iter().map(|(name, is)| (name.as_str(), is)))
}
