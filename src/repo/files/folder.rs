//! What lies in a folder: its files, and the folders below it, a page at a time, whatever else the repository holds.
//!
//! Live rows and those of the past are read in one order. A folder is there if any file below it is.

use crate::repo::Repos;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{Shown, shown};
use crate::repo::tree::Tree;
use crate::store::record::Record;
use crate::store::{Read, Row, Table};
use crate::types::{Digest, Kind, PageRequest, Rev};
use std::collections::VecDeque;

/// Hops after which a page ends, whatever it has: each may have to step over files that are not shown.
const HOPS: usize = 32;

/// What a folder has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEntry {
    /// The name within the folder; of a folder with a `/` at its end.
    pub name: String,
    /// Of a file.
    pub file: Option<FileEntry>,
}

/// A file in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    /// Length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// When it came (wall clock, ms).
    pub modified_ms: u64,
}

impl FileEntry {
    fn of(item: &ItemRecord) -> Option<Self> {
        Some(Self {
            size: item.size,
            digest: item.digest()?,
            modified_ms: item.at_ms,
        })
    }
}

/// One page of a folder, in the order of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderPage {
    /// What is in it.
    pub entries: Vec<FolderEntry>,
    /// After which name the next page goes on, if there may be one. It need not be on this page.
    pub next: Option<String>,
}

impl Repos {
    /// One page of the folder that a tree's path names (with its last `/`; empty for the root), after `page.last`. It may be
    /// short, and not the last.
    ///
    /// # Errors
    /// [`RepoError::PathUnknown`] for a folder, other than the root, with nothing in it.
    pub async fn folder(&self, tree: &Tree, page: &PageRequest) -> Result<FolderPage, RepoError> {
        let (name, at, folder) = (tree.name.clone(), tree.at.clone(), tree.path.clone());
        let last = page.last.clone().filter(|last| !last.contains('\0'));
        let walk = Walk::begin(folder, page.limit(), last);
        let step = move |_: &_, r: &Read<'_>, walk: &mut Walk| {
            let shown = shown(r, &name, Kind::File, &at)?;
            walk.go_on(r, &shown)
        };
        self.long_read(|inner| &inner.listings, None, walk, step)
            .await
    }
}

/// A page in the making, between two hops.
#[derive(Clone)]
struct Walk {
    folder: String,
    limit: usize,
    /// Nothing was left out before it: where nothing is found, there is no such folder.
    is_first: bool,
    entries: Vec<FolderEntry>,
    /// The last name that was looked at, within the folder.
    last: Option<String>,
    hops: usize,
}

/// Whether something is left behind what was looked at.
enum Left {
    Maybe,
    Some,
    None,
}

impl Walk {
    fn begin(folder: String, limit: usize, last: Option<String>) -> Self {
        Self {
            folder,
            limit,
            is_first: last.is_none(),
            entries: Vec::new(),
            last,
            hops: 0,
        }
    }

    /// Goes on for one hop; the page, if it is made.
    fn go_on(&mut self, r: &Read<'_>, shown: &Shown) -> Result<Option<FolderPage>, RepoError> {
        self.hops += 1;
        let next = match self.hop(r, shown)? {
            Left::None => None,
            Left::Maybe if self.hops < HOPS => return Ok(None),
            Left::Maybe => self.last.clone(),
            // The page is full, and there is one more.
            Left::Some => self.entries.last().map(|entry| entry.name.clone()),
        };
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() && next.is_none() && self.is_first && !self.folder.is_empty() {
            return Err(RepoError::PathUnknown(self.folder.clone()));
        }
        Ok(Some(FolderPage { entries, next }))
    }

    fn hop(&mut self, r: &Read<'_>, shown: &Shown) -> Result<Left, RepoError> {
        let mut halves = [false, true].map(|past| self.half(shown, past));
        // What is live is all that the head shows.
        let halves = if shown.is_live {
            &mut halves[..1]
        } else {
            &mut halves[..]
        };
        loop {
            for half in &mut *halves {
                if !half.fill(r)? {
                    return Ok(Left::Maybe);
                }
            }
            let firsts = halves.iter().filter_map(|half| half.rows.front());
            let Some(path) = firsts.map(|found| &found.path).min().cloned() else {
                return Ok(Left::None);
            };
            let mut there = None;
            for half in &mut *halves {
                while let Some(found) = half.rows.pop_front_if(|found| found.path == path) {
                    if there.is_none() && found.is_there(shown.rev) {
                        there = found.file;
                    }
                }
            }
            // A path of the past may have more rows than were read: then it is looked up, and they are stepped over.
            if there.is_none() && halves.iter().any(Half::is_cut) {
                there = shown
                    .item(r, &Name::new(Class::Path, path.as_bytes()))?
                    .and_then(|(_, item)| FileEntry::of(&item));
                for half in &mut *halves {
                    half.skip_path(shown, &path);
                }
            }
            let name = path.get(self.folder.len()..).unwrap_or_default();
            let sub = name.find('/').map(|slash| &name[..=slash]);
            if let Some(file) = there {
                if self.entries.len() >= self.limit {
                    return Ok(Left::Some);
                }
                let name = sub.unwrap_or(name).to_owned();
                let file = sub.is_none().then_some(file);
                self.last = Some(name.clone());
                self.entries.push(FolderEntry { name, file });
                if let Some(sub) = sub {
                    let behind = format!("{}{sub}", self.folder);
                    for half in &mut *halves {
                        half.skip_folder(shown, &behind);
                    }
                }
            } else {
                self.last = Some(name.to_owned());
            }
        }
    }

    /// The rows of one half behind what was looked at.
    fn half(&self, shown: &Shown, past: bool) -> Half {
        let all = keys::items(shown.id, Class::Path, past);
        let range = all.raw(self.folder.as_bytes()).range();
        let mut half = Half {
            past,
            pages: Pages::new(Table::Items, range),
            rows: VecDeque::new(),
        };
        if let Some(last) = &self.last {
            let path = format!("{}{last}", self.folder);
            if last.ends_with('/') {
                half.skip_folder(shown, &path);
            } else {
                half.skip_path(shown, &path);
            }
        }
        half
    }
}

/// The live rows of paths, or those of the past, that are still to be looked at.
struct Half {
    past: bool,
    pages: Pages,
    rows: VecDeque<Found>,
}

/// A row.
struct Found {
    path: String,
    added: Rev,
    removed: u64,
    file: Option<FileEntry>,
}

impl Found {
    fn of((key, value): &Row) -> Result<Option<Self>, RepoError> {
        let Some((path, added)) = keys::text_of_item(key) else {
            return Ok(None);
        };
        let item = ItemRecord::from_bytes(value)?;
        Ok(Some(Self {
            path: path.to_owned(),
            added,
            removed: item.removed,
            file: FileEntry::of(&item),
        }))
    }

    fn is_there(&self, rev: Rev) -> bool {
        self.added <= rev && rev.0 < self.removed
    }
}

impl Half {
    /// Reads on if there is nothing left to look at; `false`: not in this hop.
    fn fill(&mut self, r: &Read<'_>) -> Result<bool, RepoError> {
        while self.rows.is_empty() {
            match self.pages.next(r, 1)? {
                Next::Rows(page) => {
                    for row in &page {
                        self.rows.extend(Found::of(row)?);
                    }
                }
                Next::Spent => return Ok(false),
                Next::End => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Whether there may be more rows of the path that was read last.
    fn is_cut(&self) -> bool {
        self.past && self.rows.is_empty() && !self.pages.ended()
    }

    /// Steps over all rows of a path.
    fn skip_path(&mut self, shown: &Shown, path: &str) {
        while self.rows.pop_front_if(|found| found.path == path).is_some() {}
        let all = keys::items(shown.id, Class::Path, self.past);
        // Before every longer path: none has a byte this small.
        self.pages.skip_to(all.raw(path.as_bytes()).u8(1).done());
    }

    /// Steps over everything below a folder (with its last `/`).
    fn skip_folder(&mut self, shown: &Shown, folder: &str) {
        while self
            .rows
            .pop_front_if(|found| found.path.starts_with(folder))
            .is_some()
        {}
        let all = keys::items(shown.id, Class::Path, self.past);
        let (_, behind) = all.raw(folder.as_bytes()).range();
        self.pages.skip_to(behind);
    }
}
