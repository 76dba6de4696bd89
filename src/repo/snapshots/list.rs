//! Lists of snapshots: of one repository, or of all.

use super::SnapshotView;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::{RepoRecord, SnapshotRecord};
use crate::repo::{Repos, any_visible};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{RepoId, RepoName, as_text};
use std::fmt;
use std::str::FromStr;

/// Where a page of snapshots ended: the repository's number and the title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// The repository's number.
    pub repo: u64,
    /// The title.
    pub title: String,
}

impl fmt::Display for SnapshotPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repo, self.title)
    }
}

impl FromStr for SnapshotPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let strange = "this is not where a page of snapshots ended";
        let (repo, title) = text.split_once('/').ok_or(strange)?;
        Ok(Self {
            repo: repo.parse().map_err(|_| strange)?,
            title: title.to_owned(),
        })
    }
}

as_text!(
    SnapshotPlace,
    "SnapshotPlace",
    "Where a page of snapshots ended.",
    "3/june"
);

/// One page of snapshots, by repository and title.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct SnapshotPage {
    /// The page. It may be short, and not the last.
    pub snapshots: Vec<SnapshotView>,
    /// Where the next page goes on, if there may be one.
    pub next: Option<SnapshotPlace>,
}

impl Repos {
    /// One page of the snapshots of a repository, or of all, behind a place.
    pub async fn snapshots(
        &self,
        name: Option<&RepoName>,
        after: Option<SnapshotPlace>,
    ) -> Result<SnapshotPage, RepoError> {
        let name = name.cloned();
        self.hop(move |_, r| page(r, name.as_ref(), after.as_ref()))
            .await
    }
}

fn page(
    r: &Read<'_>,
    name: Option<&RepoName>,
    after: Option<&SnapshotPlace>,
) -> Result<SnapshotPage, RepoError> {
    let range = match name {
        Some(name) => {
            let found = any_visible(r, name.as_str())?;
            let (id, _) = found.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
            keys::snapshots(id).range()
        }
        None => (Vec::new(), Vec::new()),
    };
    let mut rows = Pages::new(Table::Snapshots, range);
    if let Some(after) = after.filter(|after| !after.title.contains('\0')) {
        let mut behind = keys::snapshot(RepoId(after.repo), &after.title);
        behind.push(0);
        rows.skip_to(behind);
    }
    let mut page = SnapshotPage::default();
    let now = r.running_ms();
    // The repository of the rows before.
    let mut of: Option<(RepoId, Option<String>)> = None;
    let Next::Rows(found) = rows.next(r, 1)? else {
        return Ok(page);
    };
    for (key, row) in &found {
        let Some((id, title)) = keys::snapshot_parts(key) else {
            continue;
        };
        if of.as_ref().is_none_or(|(before, _)| *before != id) {
            of = Some((id, name_of(r, id)?));
        }
        if let Some((_, Some(name))) = &of {
            let record = SnapshotRecord::from_bytes(row)?;
            page.snapshots
                .push(SnapshotView::of(name, title, &record, now));
        }
        page.next = Some(SnapshotPlace {
            repo: id.0,
            title: title.to_owned(),
        });
    }
    if rows.ended() {
        page.next = None;
    }
    Ok(page)
}

/// The name of a repository that is not deleted.
fn name_of(r: &Read<'_>, id: RepoId) -> Result<Option<String>, RepoError> {
    let row = r.get(Table::Repos, &keys::repo(id))?;
    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
    let record = record.filter(|record| !record.deleted);
    Ok(record.map(|record| record.name))
}
