//! What a collection would find, without changing anything: one pass over all references, page by page.

use super::apply::is_needed;
use crate::repo::bounded::{LOOKS, Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::images::parts;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::{BlobRecord, RepoRecord};
use crate::repo::rows::{self, number};
use crate::repo::{Inner, Repos};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId};
use std::collections::{BTreeMap, VecDeque};

/// Rows that are looked at for one part.
const PART_LOOKS: usize = 5;

/// What only one repository holds.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
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
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
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
    /// Manifests that came as parts of an index, as attestations do, and that no index lists any more: they end with their
    /// leases though their subjects are here.
    pub unlisted: u64,
    /// By repository, what only it holds.
    pub only_here: Vec<Holding>,
}

/// What keeps one digest.
#[derive(Default, Clone)]
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
        let mut place = SurveyPosition::begin();
        while !place.ended() {
            let step = |_: &Inner, r: &Read<'_>, place: &mut SurveyPosition| {
                let found = place.go_on(r)?;
                Ok(Some((found, place.clone())))
            };
            let (found, next) = self.hops(place, step).await?;
            place = next;
            for (size, keep) in found {
                count(&mut survey, &mut held, size, &keep);
            }
        }
        survey.unlisted = self.unlisted().await?;
        survey.only_here = self.named(held).await?;
        Ok(survey)
    }

    /// How many parts no index lists any more.
    async fn unlisted(&self) -> Result<u64, RepoError> {
        let mut mentions = Pages::new(Table::Mentions, (Vec::new(), Vec::new()));
        let mut found = 0;
        while !mentions.ended() {
            let step = |_: &Inner, r: &Read<'_>, mentions: &mut Pages| {
                let more = unlisted(r, mentions)?;
                Ok(Some((more, mentions.clone())))
            };
            let (more, next) = self.hops(mentions, step).await?;
            mentions = next;
            found += more;
        }
        Ok(found)
    }

    async fn named(&self, held: BTreeMap<u64, Holding>) -> Result<Vec<Holding>, RepoError> {
        let held: Vec<_> = held.into_iter().collect();
        let mut all = Vec::with_capacity(held.len());
        for some in held.chunks(LOOKS) {
            let some = some.to_vec();
            let named = self.hop(move |_, r| {
                let mut named = some.clone();
                for (id, holding) in &mut named {
                    let row = r.get(Table::Repos, &keys::repo(RepoId(*id)))?;
                    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
                    holding.name = record.map_or_else(String::new, |record| record.name);
                }
                Ok(named)
            });
            all.extend(named.await?.into_iter().map(|(_, holding)| holding));
        }
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        Ok(all)
    }
}

/// Looks on for one hop.
fn unlisted(r: &Read<'_>, mentions: &mut Pages) -> Result<u64, RepoError> {
    let mut found = 0;
    while let Next::Rows(rows) = mentions.next(r, PART_LOOKS)? {
        for (key, value) in &rows {
            let part = keys::ref_head(key).filter(|(_, class, _)| *class == Class::Part as u8);
            let part = part.filter(|_| parts::is_part(value));
            let (Some((id, _, _)), Ok((digest, _))) = (part, Digest::split_key(key)) else {
                continue;
            };
            if let Some((_, item)) = rows::live(r, id, &Name::manifest(&digest))?
                && !is_needed(r, id, &digest, &item)?
            {
                found += 1;
            }
        }
    }
    Ok(found)
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

/// Where a survey is, between two hops.
#[derive(Clone)]
struct SurveyPosition {
    blobs: Pages,
    rows: VecDeque<(Digest, u64)>,
    /// A blob with its size, whose references are being looked at.
    open: Option<(u64, Keep, Pages)>,
}

impl SurveyPosition {
    fn begin() -> Self {
        Self {
            blobs: Pages::new(Table::Blobs, (Vec::new(), Vec::new())),
            rows: VecDeque::new(),
            open: None,
        }
    }

    fn ended(&self) -> bool {
        self.blobs.ended() && self.rows.is_empty() && self.open.is_none()
    }

    /// Looks on for one hop; the blobs that were looked at whole, with their sizes.
    fn go_on(&mut self, r: &Read<'_>) -> Result<Vec<(u64, Keep)>, RepoError> {
        let mut found = Vec::new();
        loop {
            if let Some((size, mut keep, mut refs)) = self.open.take() {
                match refs.next(r, 1)? {
                    Next::Rows(rows) => {
                        for (key, value) in &rows {
                            keep.add(r, key, value)?;
                        }
                        self.open = Some((size, keep, refs));
                    }
                    Next::Spent => {
                        self.open = Some((size, keep, refs));
                        return Ok(found);
                    }
                    Next::End => found.push((size, keep)),
                }
            } else if let Some((digest, size)) = self.rows.pop_front() {
                let refs = Pages::new(Table::Refs, keys::refs(&digest).range());
                self.open = Some((size, Keep::default(), refs));
            } else {
                match self.blobs.next(r, 2)? {
                    Next::Rows(rows) => {
                        for (key, row) in &rows {
                            if let Ok(digest) = Digest::from_key(key) {
                                let size = BlobRecord::from_bytes(row)?.size;
                                self.rows.push_back((digest, size));
                            }
                        }
                    }
                    Next::Spent | Next::End => return Ok(found),
                }
            }
        }
    }
}

impl Keep {
    /// Takes a reference into account.
    fn add(&mut self, r: &Read<'_>, key: &[u8], value: &[u8]) -> Result<(), RepoError> {
        let Some((id, class, rest)) = keys::ref_head(key) else {
            return Ok(());
        };
        self.holder = self.holder.and(id);
        if class == Class::Link as u8 {
            self.leased |= number(value) > r.running_ms();
        } else if self.live {
            // More than that is not asked.
        } else if class == Class::Tag as u8 {
            // What a tag means is itself an item, which says whether it is live.
            self.past = true;
        } else if let Some((parent, added)) = keys::parent_of(rest) {
            let live = rows::live(r, id, &Name::manifest(&parent))?;
            let is_live = live.is_some_and(|(rev, _)| rev == added);
            self.live |= is_live;
            self.past |= !is_live;
        }
        Ok(())
    }
}
