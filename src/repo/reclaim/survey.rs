//! What a collection would find, without changing anything: one pass over all references, page by page.

use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::keys::{self, Class, Name};
use crate::repo::record::{BlobRecord, RepoRecord};
use crate::repo::rows::{self, number};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId};
use std::collections::BTreeMap;

/// References read in one hop.
const PAGE: usize = 2000;

/// What only one repository holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holding {
    /// The repository; empty for what none holds.
    pub name: String,
    /// Blobs and manifests that no other repository holds.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, bytes that only its history or a lease keeps.
    pub past_bytes: u64,
}

/// What a collection would find.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Survey {
    /// Blobs looked at.
    pub examined: u64,
    /// Blobs that nothing keeps.
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Blobs that only leases keep.
    pub kept_by_lease: u64,
    /// Blobs that only the history keeps.
    pub kept_by_history: u64,
    /// By repository, what only it holds.
    pub only_here: Vec<Holding>,
}

/// What keeps one digest.
#[derive(Default)]
struct Keep {
    live: bool,
    past: bool,
    leased: bool,
    holder: Holder,
}

/// Who holds it, in whatever way.
#[derive(Default, Clone, Copy)]
enum Holder {
    #[default]
    None,
    One(RepoId),
    Many,
}

impl Holder {
    fn and(self, id: RepoId) -> Self {
        match self {
            Self::None => Self::One(id),
            Self::One(one) if one == id => self,
            _ => Self::Many,
        }
    }
}

impl Repos {
    /// Looks at every blob and every reference once.
    pub async fn survey(&self) -> Result<Survey, RepoError> {
        let mut survey = Survey::default();
        let mut held: BTreeMap<u64, Holding> = BTreeMap::new();
        let mut from = Vec::new();
        loop {
            let start = std::mem::take(&mut from);
            let page = self
                .hop(move |_, r| {
                    let rows = r.scan(Table::Blobs, &start, &[], PAGE)?;
                    let mut found = Vec::with_capacity(rows.len());
                    for (key, row) in &rows {
                        if let Ok(digest) = Digest::from_key(key) {
                            let size = BlobRecord::from_bytes(row)?.size;
                            found.push((size, keep(r, &digest)?));
                        }
                    }
                    let next = rows.last().filter(|_| rows.len() == PAGE);
                    Ok((found, next.map(|(key, _)| [key.as_slice(), &[0]].concat())))
                })
                .await?;
            for (size, keep) in page.0 {
                count(&mut survey, &mut held, size, &keep);
            }
            match page.1 {
                Some(next) => from = next,
                None => break,
            }
        }
        survey.only_here = self.named(held).await?;
        Ok(survey)
    }

    async fn named(&self, held: BTreeMap<u64, Holding>) -> Result<Vec<Holding>, RepoError> {
        self.hop(move |_, r| {
            let mut all = Vec::with_capacity(held.len());
            for (id, holding) in &held {
                let mut holding = holding.clone();
                let row = r.get(Table::Repos, &keys::repo(RepoId(*id)))?;
                let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
                holding.name = record.map_or_else(String::new, |record| record.name);
                all.push(holding);
            }
            all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
            Ok(all)
        })
        .await
    }
}

fn count(survey: &mut Survey, held: &mut BTreeMap<u64, Holding>, size: u64, keep: &Keep) {
    survey.examined += 1;
    if !keep.live && keep.past {
        survey.kept_by_history += 1;
    } else if !keep.live && keep.leased {
        survey.kept_by_lease += 1;
    } else if !keep.live {
        survey.freed_blobs += 1;
        survey.freed_bytes += size;
    }
    if let Holder::One(id) = keep.holder {
        let holding = held.entry(id.0).or_default();
        holding.blobs += 1;
        holding.bytes += size;
        if !keep.live {
            holding.past_bytes += size;
        }
    }
}

fn keep(r: &Read<'_>, digest: &Digest) -> Result<Keep, RepoError> {
    let mut keep = Keep::default();
    let (mut from, to) = keys::refs(digest).range();
    loop {
        let rows = r.scan(Table::Refs, &from, &to, PAGE)?;
        for (key, value) in &rows {
            let Some((id, class, rest)) = keys::ref_head(key) else {
                continue;
            };
            if class > Class::Manifest as u8 {
                continue;
            }
            keep.holder = keep.holder.and(id);
            if class == Class::Link as u8 {
                keep.leased |= number(value) > r.running_ms();
            } else if keep.live {
                // More than that is not asked.
            } else if class == Class::Tag as u8 {
                // What a tag means is itself an item, which says whether it is live.
                keep.past = true;
            } else if let Some((parent, added)) = keys::parent_of(rest) {
                let live = rows::live(r, id, &Name::Manifest(&parent))?;
                let is_live = live.is_some_and(|(rev, _)| rev == added);
                keep.live |= is_live;
                keep.past |= !is_live;
            }
        }
        match rows.last().filter(|_| rows.len() == PAGE) {
            Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
            None => return Ok(keep),
        }
    }
}
