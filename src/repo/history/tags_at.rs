//! The tags of a revision, a page at a time, among all tags that ever were.
//!
//! Live rows and those of the past are read in one order, page by page; a tag's rows say themselves whether it was there.
//! Of one that was moved often, no more than a page of rows is looked at.

use crate::repo::TagPage;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::Shown;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{RepoId, Rev, Tag};
use std::collections::VecDeque;

/// Hops after which a page ends, whatever it has: each may have to step over tags that were not there yet or any more.
const HOPS: usize = 8;

/// A page in the making, between two hops.
#[derive(Clone)]
pub(in crate::repo) struct TagsAt {
    limit: usize,
    tags: Vec<Tag>,
    /// The last tag that was looked at.
    last: Option<String>,
    hops: usize,
}

/// Whether tags are left behind those that were looked at.
enum Left {
    Maybe,
    Some,
    None,
}

impl TagsAt {
    /// At most `limit` tags after `last`.
    pub fn begin(limit: usize, last: Option<String>) -> Self {
        Self {
            limit,
            tags: Vec::new(),
            last,
            hops: 0,
        }
    }

    /// Goes on for one hop; the page, if it is made.
    pub fn go_on(&mut self, r: &Read<'_>, shown: &Shown) -> Result<Option<TagPage>, RepoError> {
        self.hops += 1;
        let next = match self.hop(r, shown)? {
            Left::None => None,
            Left::Maybe if self.hops < HOPS => return Ok(None),
            Left::Maybe => self.last.clone(),
            // The page is full, and there is one more.
            Left::Some => self.tags.last().map(ToString::to_string),
        };
        let tags = std::mem::take(&mut self.tags);
        Ok(Some(TagPage { tags, next }))
    }

    fn hop(&mut self, r: &Read<'_>, shown: &Shown) -> Result<Left, RepoError> {
        let id = shown.id;
        if self.limit == 0 {
            return Ok(Left::None);
        }
        let mut halves = [false, true].map(|past| Half::new(id, past, self.last.as_deref()));
        loop {
            for half in &mut halves {
                if !half.fill(r)? {
                    return Ok(Left::Maybe);
                }
            }
            let firsts = halves
                .iter()
                .filter_map(|half| Some(&half.rows.front()?.tag));
            let Some(tag) = firsts.min().cloned() else {
                return Ok(Left::None);
            };
            let mut was_there = false;
            for half in &mut halves {
                was_there |= half.had(r, id, &tag, shown.rev)?;
            }
            if was_there && let Ok(tag) = tag.parse() {
                if self.tags.len() == self.limit {
                    return Ok(Left::Some);
                }
                self.tags.push(tag);
            }
            self.last = Some(tag);
        }
    }
}

/// The live rows of tags, or those of the past, that are still to be looked at.
struct Half {
    past: bool,
    pages: Pages,
    rows: VecDeque<Span>,
}

/// A tag, and when it meant something.
struct Span {
    tag: String,
    added: Rev,
    removed: u64,
}

impl Span {
    fn has(&self, rev: Rev) -> bool {
        self.added <= rev && rev.0 < self.removed
    }
}

impl Half {
    fn new(id: RepoId, past: bool, last: Option<&str>) -> Self {
        let mut pages = Pages::new(Table::Items, keys::items(id, Class::Tag, past).range());
        if let Some(last) = last {
            pages.skip_to(behind(id, past, last));
        }
        Self {
            past,
            pages,
            rows: VecDeque::new(),
        }
    }

    /// Reads on if there is nothing left to look at; `false`: not in this hop.
    fn fill(&mut self, r: &Read<'_>) -> Result<bool, RepoError> {
        while self.rows.is_empty() {
            // A tag of the past with more rows than a page costs one seek more.
            match self.pages.next(r, 1)? {
                Next::Rows(page) => {
                    for (key, row) in page {
                        if let Some((tag, added)) = keys::text_of_item(&key) {
                            let removed = ItemRecord::from_bytes(&row)?.removed;
                            let tag = tag.to_owned();
                            self.rows.push_back(Span {
                                tag,
                                added,
                                removed,
                            });
                        }
                    }
                }
                Next::Spent => return Ok(false),
                Next::End => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Whether one of the tag's rows was there at the revision; all of them are done with.
    fn had(&mut self, r: &Read<'_>, id: RepoId, tag: &str, rev: Rev) -> Result<bool, RepoError> {
        // They sort by falling revision: the first that was added by then is the only one that may count.
        let mut known = None;
        while let Some(span) = self.rows.pop_front_if(|span| span.tag == tag) {
            if span.added <= rev {
                known.get_or_insert(span.has(rev));
            }
        }
        if !self.rows.is_empty() || self.pages.ended() {
            return Ok(known.unwrap_or(false));
        }
        self.pages.skip_to(behind(id, self.past, tag));
        if let Some(known) = known {
            return Ok(known);
        }
        let name = Name::tag(tag);
        let from = keys::item(id, &name, self.past, rev);
        let (_, to) = keys::item_rows(id, &name, self.past).range();
        let Some((_, row)) = r.scan(Table::Items, &from, &to, 1)?.pop() else {
            return Ok(false);
        };
        Ok(ItemRecord::from_bytes(&row)?.removed > rev.0)
    }
}

/// Behind every row of a tag, before every longer one: no tag has a byte this small.
fn behind(id: RepoId, past: bool, tag: &str) -> Vec<u8> {
    let key = keys::items(id, Class::Tag, past);
    key.raw(tag.as_bytes()).u8(1).done()
}
