//! The referrers of a manifest: one range of one table, whatever else the repository holds.
//!
//! A list is short, as nearly every one is, or it is made in full by who has asked for leave: what it takes in memory is
//! known before.

use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::images::read;
use crate::repo::rows::keys;
use crate::repo::rows::record::ReferrerRecord;
use crate::repo::shown::{At, shown};
use crate::repo::state::lock;
use crate::repo::{Inner, ReferrerPage, Repos};
use crate::store::record::Record;
use crate::store::{Read, Row, Table};
use crate::types::{Digest, Kind, RepoId, RepoName, Rev};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

/// A page ends with the descriptor that makes it longer than this (the spec's limit for an index is 4 MiB; one descriptor
/// with long annotations may still be longer).
const PAGE_BYTES: usize = 3 << 20;
/// A page that is no longer is short.
const SHORT_BYTES: usize = 32 << 10;
/// Hops after which a page of the past ends, though it is empty: most of the past may be none of the revision's.
const HOPS: usize = 8;
/// Rows that are in memory at once; each may have 8 KiB of annotations.
const BATCH: usize = 64;
/// More than a descriptor has beside its annotations.
const DESCRIPTOR_BYTES: usize = 64 << 10;

/// Which referrers of a manifest are asked for.
#[derive(Debug, Clone, Default)]
pub struct ReferrerQuery {
    /// Only those of this artifact type.
    pub artifact_type: Option<String>,
    /// The `next` of the page before.
    pub after: Option<ReferrerEnd>,
    /// As of when.
    pub at: At,
}

impl Repos {
    /// One page of the manifests whose subject is `digest`, if it is short without being cut. An unknown
    /// repository or subject has none; of a revision, the repository must be known and the revision kept.
    pub async fn short_referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        query: &ReferrerQuery,
    ) -> Result<Option<ReferrerPage>, RepoError> {
        let (page, cut) = self.page_of_referrers(name, digest, query, true).await?;
        Ok(Some(page).filter(|_| !cut))
    }

    /// One page of the manifests whose subject is `digest`, as [`Repos::short_referrers`]; its descriptors are at most
    /// [`Repos::referrers_max`] bytes long together.
    pub async fn referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        query: &ReferrerQuery,
    ) -> Result<ReferrerPage, RepoError> {
        Ok(self.page_of_referrers(name, digest, query, false).await?.0)
    }

    /// Most bytes of the descriptors of one page.
    pub fn referrers_max(&self) -> usize {
        PAGE_BYTES + self.0.options.manifest_max as usize + DESCRIPTOR_BYTES
    }

    async fn page_of_referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        query: &ReferrerQuery,
        short: bool,
    ) -> Result<(ReferrerPage, bool), RepoError> {
        let (name, subject) = (name.clone(), *digest);
        if query.at != At::Head {
            let begun = (query.clone(), 0);
            let step = move |inner: &Inner, r: &Read<'_>, state: &mut (ReferrerQuery, usize)| {
                let (query, hops) = state;
                let shown = shown(r, &name, Kind::Oci, &query.at)?;
                let (page, cut) = Walk::of(inner, r, subject, query, short).page(&shown)?;
                *hops += 1;
                let goes_on = page.descriptors.is_empty() && page.next.is_some() && !cut;
                if goes_on && *hops < HOPS {
                    query.after = page.next;
                    return Ok(None);
                }
                Ok(Some((page, cut)))
            };
            // Long ones are made by two at once.
            return if short {
                self.long_read(|inner| &inner.past, None, begun, step).await
            } else {
                self.hops(begun, step).await
            };
        }
        let query = query.clone();
        self.hop(move |inner, r| {
            let shown = match shown(r, &name, Kind::Oci, &At::Head) {
                Err(RepoError::NameUnknown(_)) => return Ok(Default::default()),
                shown => shown?,
            };
            Walk::of(inner, r, subject, &query, short).page(&shown)
        })
        .await
    }
}

/// Where a page ended, a row's own place; as text `DIGEST,REVISION,ARTIFACT-TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerEnd {
    digest: Digest,
    added: Rev,
    artifact_type: String,
}

/// No page ever ended with this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("after= is not what a Link of this list named; begin again without it")]
pub struct ReferrerEndError;

impl ReferrerEnd {
    fn of(key: &[u8]) -> Option<Self> {
        let (artifact_type, digest) = keys::referrer_parts(key)?;
        Some(Self {
            digest,
            added: keys::added_of_referrer(key)?,
            artifact_type: artifact_type.to_owned(),
        })
    }
}

impl FromStr for ReferrerEnd {
    type Err = ReferrerEndError;

    fn from_str(text: &str) -> Result<Self, ReferrerEndError> {
        let read = || {
            let mut parts = text.splitn(3, ',');
            let digest = parts.next()?.parse().ok()?;
            let added = Rev(parts.next()?.parse().ok()?);
            let artifact_type = parts.next().filter(|t| !t.contains('\0'))?.to_owned();
            Some(Self {
                digest,
                added,
                artifact_type,
            })
        };
        read().ok_or(ReferrerEndError)
    }
}

impl fmt::Display for ReferrerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.digest, self.added.0, self.artifact_type)
    }
}

/// The live rows of a subject, or those of the past, that are still to be looked at.
struct Half {
    rows: VecDeque<Row>,
    pages: Pages,
}

impl Half {
    /// Reads on if there is nothing left to look at; `false`: not in this hop.
    fn fill(&mut self, r: &Read<'_>) -> Result<bool, RepoError> {
        while self.rows.is_empty() {
            match self.pages.some(r, BATCH)? {
                Next::Rows(rows) => self.rows = rows.into(),
                Next::Spent => return Ok(false),
                Next::End => break,
            }
        }
        Ok(true)
    }
}

/// One page in the making.
struct Walk<'a> {
    inner: &'a Inner,
    r: &'a Read<'a>,
    subject: Digest,
    query: &'a ReferrerQuery,
    /// Short, or as long as a page may be.
    short: bool,
}

impl<'a> Walk<'a> {
    fn of(
        inner: &'a Inner,
        r: &'a Read<'a>,
        subject: Digest,
        query: &'a ReferrerQuery,
        short: bool,
    ) -> Self {
        Self {
            inner,
            r,
            subject,
            query,
            short,
        }
    }

    /// The page, and whether it was cut because it is to be short. Live rows and those of the past come in one order: one that changes sides
    /// between two pages is neither lost nor shown twice.
    fn page(&self, shown: &crate::repo::shown::Shown) -> Result<(ReferrerPage, bool), RepoError> {
        let id = shown.id;
        let mut page = Page::default();
        let mut halves: Vec<_> = [false, true]
            .into_iter()
            .filter(|past| !past || !shown.is_live)
            .filter_map(|past| self.half(id, past))
            .collect();
        let side = keys::referrers(id, false, &self.subject).done().len();
        loop {
            for half in &mut halves {
                if !half.fill(self.r)? {
                    let next = page.end;
                    return Ok((ReferrerPage { next, ..page.shown }, false));
                }
            }
            let first = halves.iter_mut().filter(|half| !half.rows.is_empty());
            let first = first.min_by(|a, b| a.rows[0].0[side..].cmp(&b.rows[0].0[side..]));
            let Some((key, value)) = first.and_then(|half| half.rows.pop_front()) else {
                return Ok((page.shown, false));
            };
            if !self.add(&mut page, shown.rev, &key, &value)? {
                let next = page.end;
                return Ok((ReferrerPage { next, ..page.shown }, self.short));
            }
        }
    }

    /// The rows of one side that are asked for; `None` if there can be none.
    fn half(&self, id: RepoId, past: bool) -> Option<Half> {
        let mut key = keys::referrers(id, past, &self.subject);
        if let Some(wanted) = self.query.artifact_type.as_deref() {
            if wanted.contains('\0') {
                return None;
            }
            key = key.text(wanted);
        }
        let (mut from, to) = key.range();
        if let Some(last) = &self.query.after {
            let (kind, digest) = (last.artifact_type.as_str(), &last.digest);
            let mut behind = keys::referrer(id, past, &self.subject, kind, digest, last.added);
            behind.push(0);
            from = from.max(behind);
        }
        Some(Half {
            rows: VecDeque::new(),
            pages: Pages::new(Table::Referrers, (from, to)),
        })
    }

    /// Puts a row on the page, if it is to be shown; `false` if the page is full.
    fn add(&self, page: &mut Page, rev: Rev, key: &[u8], value: &[u8]) -> Result<bool, RepoError> {
        let Some(end) = ReferrerEnd::of(key) else {
            return Ok(true);
        };
        if page.is_full() {
            return Ok(false);
        }
        let row = ReferrerRecord::from_bytes(value)?;
        if end.added <= rev && rev.0 < row.removed {
            if self.short && row.long {
                return Ok(false);
            }
            let shown = descriptor(self.inner, self.r, &end.artifact_type, &end.digest, &row)?;
            page.bytes += shown.get().len();
            if self.short && page.bytes > SHORT_BYTES {
                return Ok(false);
            }
            page.shown.descriptors.push(shown);
        }
        page.end = Some(end);
        Ok(true)
    }
}

#[derive(Default)]
struct Page {
    shown: ReferrerPage,
    bytes: usize,
    end: Option<ReferrerEnd>,
}

impl Page {
    fn is_full(&self) -> bool {
        self.bytes > PAGE_BYTES || self.shown.descriptors.len() == ReferrerPage::ROWS
    }
}

/// A descriptor, in the order in which clients are used to see its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownReferrer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    artifact_type: &'a str,
    digest: &'a Digest,
    media_type: &'a str,
    size: u64,
}

/// One referrer as the list shows it. Long annotations stay the text that they are in the manifest: unfolded they may have
/// many times its length. They are read by one request at a time.
fn descriptor(
    inner: &Inner,
    r: &Read<'_>,
    artifact_type: &str,
    digest: &Digest,
    row: &ReferrerRecord,
) -> Result<Box<RawValue>, RepoError> {
    let annotations = if row.long {
        let _turn = lock(&inner.inspecting);
        let bytes = read::read_bytes(inner, r, digest)?;
        inner.options.format.annotations(&bytes)
    } else if row.annotations.is_empty() {
        None
    } else {
        let texts = row.annotations.iter().map(|(k, v)| (k, v));
        Some(raw(&texts.collect::<BTreeMap<_, _>>())?)
    };
    raw(&ShownReferrer {
        annotations,
        artifact_type,
        digest,
        media_type: &row.media_type,
        size: row.size,
    })
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, RepoError> {
    serde_json::value::to_raw_value(value).map_err(|e| RepoError::Task(e.to_string()))
}
