//! The items of a class that a revision shows, in the order of their names, from hop to hop: live rows and those of the past
//! are read in one order, so that one that changes sides between two hops is neither lost nor shown twice.

use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, ItemKey};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::Shown;
use crate::store::record::Record;
use crate::store::{Read, Row, Table};
use crate::types::RepoId;
use std::collections::VecDeque;

/// How far a walk over them has come.
#[derive(Debug, Clone)]
pub(in crate::repo) struct ItemsAt {
    class: Class,
    /// What follows the side in the key of the last row that was looked at.
    behind: Option<Vec<u8>>,
}

impl ItemsAt {
    /// Before the first one.
    pub fn begin(class: Class) -> Self {
        Self {
            class,
            behind: None,
        }
    }

    /// Goes on for one hop, and gives each item that the revision shows to `each`; whether that was all.
    pub fn go_on(
        &mut self,
        r: &Read<'_>,
        shown: &Shown,
        mut each: impl FnMut(&ItemKey<'_>, ItemRecord),
    ) -> Result<bool, RepoError> {
        let side = keys::items(shown.id, self.class, false).done().len();
        let sides: &[bool] = if shown.is_live {
            &[false]
        } else {
            &[false, true]
        };
        let mut halves: Vec<_> = sides
            .iter()
            .map(|past| self.half(shown.id, *past))
            .collect();
        loop {
            for half in &mut halves {
                if !half.fill(r)? {
                    return Ok(false);
                }
            }
            let first = halves.iter_mut().filter(|half| !half.rows.is_empty());
            let first = first.min_by(|a, b| a.rows[0].0[side..].cmp(&b.rows[0].0[side..]));
            let Some((key, row)) = first.and_then(|half| half.rows.pop_front()) else {
                return Ok(true);
            };
            if let Some(item) = keys::of_item(&key).filter(|item| item.added <= shown.rev) {
                let row = ItemRecord::from_bytes(&row)?;
                if shown.rev.0 < row.removed {
                    each(&item, row);
                }
            }
            self.behind = key.get(side..).map(<[u8]>::to_vec);
        }
    }

    fn half(&self, id: RepoId, past: bool) -> Half {
        let side = keys::items(id, self.class, past);
        let mut pages = Pages::new(Table::Items, side.range());
        if let Some(behind) = &self.behind {
            let side = keys::items(id, self.class, past);
            pages.skip_to(side.raw(behind).raw(&[0]).done());
        }
        Half {
            pages,
            rows: VecDeque::new(),
        }
    }
}

/// The live rows, or those of the past, that are still to be looked at.
struct Half {
    pages: Pages,
    rows: VecDeque<Row>,
}

impl Half {
    /// Reads on if there is nothing left to look at; `false`: not in this hop.
    fn fill(&mut self, r: &Read<'_>) -> Result<bool, RepoError> {
        while self.rows.is_empty() {
            match self.pages.next(r, 0)? {
                Next::Rows(rows) => self.rows = rows.into(),
                Next::Spent => return Ok(false),
                Next::End => break,
            }
        }
        Ok(true)
    }
}
