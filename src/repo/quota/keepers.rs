//! Who keeps most of what a quota does not show, for the error that says so: looked for in hops, among the first that is
//! kept.

use super::count::{Counts, is_held};
use super::key;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::RepoRecord;
use crate::repo::{Repos, rows};
use crate::store::key::Key;
use crate::store::record::Record;
use crate::store::{Get, Read, Row, Table};
use crate::types::{Digest, RepoId, RepoName};
use std::collections::BTreeMap;

/// Kept digests that are looked at.
const DIGESTS: usize = 500;
/// Digests, kept or shown, that are passed on the way to them.
const PASSED: usize = 250_000;
/// Repositories that are named, and those of one digest that are looked at.
const NAMES: usize = 3;
/// What a kept digest costs beside its row: its size, and for each repository its first reference, whether it keeps the
/// digest, and its name.
const COST: usize = 1 + 3 * NAMES;

/// The search, on its way from hop to hop.
#[derive(Debug, Clone)]
struct Naming {
    rows: Pages,
    kept: usize,
    passed: usize,
    by: BTreeMap<String, u64>,
}

impl Repos {
    /// The repositories below a prefix that keep most bytes of what it does not show, the largest first.
    pub(super) async fn keep_most(&self, prefix: &str) -> Result<Vec<(String, u64)>, RepoError> {
        let naming = Naming {
            rows: Pages::new(Table::QuotaHolders, Key::new().text(prefix).range()),
            kept: 0,
            passed: 0,
            by: BTreeMap::new(),
        };
        let prefix = prefix.to_owned();
        self.long_read(
            |inner| &inner.histories,
            None,
            naming,
            move |_, r, naming| loop {
                match naming.rows.next(r, COST)? {
                    Next::Rows(page) => {
                        if naming.page(r, &prefix, &page)? {
                            return Ok(Some(naming.most()));
                        }
                    }
                    Next::Spent => return Ok(None),
                    Next::End => return Ok(Some(naming.most())),
                }
            },
        )
        .await
    }
}

impl Naming {
    /// Counts what a page of rows says; whether that is enough.
    fn page(&mut self, r: &Read<'_>, prefix: &str, page: &[Row]) -> Result<bool, RepoError> {
        let start = key(prefix).len();
        for (key, row) in page {
            self.passed += 1;
            let digest = key.get(start..).and_then(|key| Digest::from_key(key).ok());
            let Some(digest) = digest.filter(|_| Counts::of_row(row).shown == 0) else {
                continue;
            };
            let size = rows::size(r, &digest)?;
            let ids: Vec<_> = keepers(r, &digest)?.into_iter().map(keys::repo).collect();
            for row in r.get_many(Table::Repos, &ids)? {
                let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
                let name = record.and_then(|record| record.name.parse::<RepoName>().ok());
                if let Some(name) = name.filter(|name| name.is_under(prefix)) {
                    *self.by.entry(name.as_str().to_owned()).or_default() += size;
                }
            }
            self.kept += 1;
            if self.kept == DIGESTS {
                return Ok(true);
            }
        }
        Ok(self.passed >= PASSED)
    }

    fn most(&mut self) -> Vec<(String, u64)> {
        let mut by: Vec<_> = std::mem::take(&mut self.by).into_iter().collect();
        by.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        by.truncate(NAMES);
        by
    }
}

/// Some repositories that keep a digest.
fn keepers(r: &Read<'_>, digest: &Digest) -> Result<Vec<RepoId>, RepoError> {
    let (mut from, to) = keys::refs(digest).range();
    let mut ids = Vec::new();
    for _ in 0..NAMES {
        let Some((key, _)) = r.scan(Table::Refs, &from, &to, 1)?.pop() else {
            break;
        };
        let Some((id, _, _)) = keys::ref_head(&key) else {
            break;
        };
        if is_held(r, id, digest)? {
            ids.push(id);
        }
        from = keys::refs(digest).u64(id.0 + 1).done();
    }
    Ok(ids)
}
