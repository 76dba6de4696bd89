//! The referrers of a manifest: one range of one table, whatever else the repository holds.
//!
//! A list is short, as nearly every one is, or it is made in full by who has asked for leave: what it takes in memory is
//! known before.

use super::error::RepoError;
use super::keys::{self, Name};
use super::moment::repo_at;
use super::record::ReferrerRecord;
use super::state::lock;
use super::{Inner, ReferrerPage, Repos, read, rows, visible};
use crate::store::record::Record;
use crate::store::{Get as _, Read, Table};
use crate::types::{Digest, RepoId, RepoName, Rev};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// A page ends with the descriptor that makes it longer than this (the spec's limit for an index is 4 MiB; one descriptor
/// with long annotations may still be longer).
const PAGE_BYTES: usize = 3 << 20;
/// A page that is no longer is short.
const SHORT_BYTES: usize = 32 << 10;
/// No page is looked for in more rows: most of the past may be none of the revision's.
const PAGE_LOOKS: usize = 4000;
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
    pub after: Option<String>,
    /// Those of this revision; `None`: of now.
    pub rev: Option<Rev>,
}

impl Repos {
    /// One page of the manifests whose subject is `digest`, if it is short and the only or the last one. An unknown
    /// repository or subject has none; of a revision, the repository must be known and the revision kept.
    pub async fn short_referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        query: &ReferrerQuery,
    ) -> Result<Option<ReferrerPage>, RepoError> {
        let page = self.page_of_referrers(name, digest, query, true).await?;
        Ok(Some(page).filter(|page| page.next.is_none()))
    }

    /// One page of the manifests whose subject is `digest`, as [`Repos::short_referrers`]; its descriptors are at most
    /// [`Repos::referrers_max`] bytes long together.
    pub async fn referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        query: &ReferrerQuery,
    ) -> Result<ReferrerPage, RepoError> {
        self.page_of_referrers(name, digest, query, false).await
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
    ) -> Result<ReferrerPage, RepoError> {
        let (name, subject, query) = (name.clone(), *digest, query.clone());
        self.hop(move |inner, r| {
            let id = match query.rev {
                Some(rev) => Some(repo_at(r, &name, rev)?),
                None => visible(r, name.as_str())?.map(|(id, _)| id),
            };
            let walk = Walk {
                inner,
                r,
                subject,
                query: &query,
                short,
            };
            id.map_or(Ok(ReferrerPage::default()), |id| walk.page(id))
        })
        .await
    }
}

/// Where a page ended: `DIGEST,ARTIFACT-TYPE`, and `past,` before it among the rows of the past.
struct End<'a> {
    past: bool,
    digest: Digest,
    artifact_type: &'a str,
}

impl<'a> End<'a> {
    /// `None` for what no page ever ended with.
    fn parse(text: &'a str) -> Option<Self> {
        let (past, text) = match text.strip_prefix("past,") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digest, artifact_type) = text.split_once(',').unwrap_or((text, ""));
        let digest = digest.parse().ok()?;
        (!artifact_type.contains('\0')).then_some(Self {
            past,
            digest,
            artifact_type,
        })
    }
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let past = if self.past { "past," } else { "" };
        write!(f, "{past}{},{}", self.digest, self.artifact_type)
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

impl Walk<'_> {
    fn page(&self, id: RepoId) -> Result<ReferrerPage, RepoError> {
        let after = self.query.after.as_deref().and_then(End::parse);
        let mut page = Page::default();
        let from_past = after.as_ref().is_some_and(|a| a.past);
        for past in [false, true] {
            if (from_past && !past) || (past && self.query.rev.is_none()) {
                continue;
            }
            let after = after.as_ref().filter(|a| a.past == past);
            let Some((mut from, to)) = self.range(id, past, after) else {
                continue;
            };
            while from < to {
                let rows = self.r.scan(Table::Referrers, &from, &to, BATCH)?;
                for (key, value) in &rows {
                    if !self.add(&mut page, id, past, key, value)? {
                        return Ok(page.cut());
                    }
                }
                match rows.last().filter(|_| rows.len() == BATCH) {
                    Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
                    None => break,
                }
            }
        }
        Ok(page.shown)
    }

    /// The rows that are asked for; `None` if there can be none.
    fn range(&self, id: RepoId, past: bool, after: Option<&End<'_>>) -> Option<(Vec<u8>, Vec<u8>)> {
        let all = || keys::referrers(id, past, &self.subject);
        let mut key = all();
        if let Some(wanted) = self.query.artifact_type.as_deref() {
            if wanted.contains('\0') {
                return None;
            }
            key = key.text(wanted);
        }
        let (mut from, to) = key.range();
        if let Some(after) = after {
            let last = all().text(after.artifact_type).raw(after.digest.as_key());
            let mut start = last.done();
            // Behind every revision that the referrer was added at.
            start.extend([0xff; 9]);
            from = from.max(start);
        }
        Some((from, to))
    }

    /// Puts a row on the page, if it is to be shown; `false` if the page is full.
    fn add(
        &self,
        page: &mut Page,
        id: RepoId,
        past: bool,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, RepoError> {
        let Some((artifact_type, digest)) = keys::referrer_parts(key) else {
            return Ok(true);
        };
        let most = if self.short { SHORT_BYTES } else { PAGE_BYTES };
        if page.is_full(most) {
            return Ok(false);
        }
        if self.is_shown(id, key, &digest)? {
            let row = ReferrerRecord::from_bytes(value)?;
            if self.short && row.long {
                return Ok(false);
            }
            let shown = descriptor(self.inner, self.r, artifact_type, &digest, &row)?;
            page.bytes += shown.get().len();
            page.shown.descriptors.push(shown);
        }
        page.looks += 1;
        let end = End {
            past,
            digest,
            artifact_type,
        };
        page.end = end.to_string();
        Ok(true)
    }

    fn is_shown(&self, id: RepoId, key: &[u8], referrer: &Digest) -> Result<bool, RepoError> {
        let Some(rev) = self.query.rev else {
            return Ok(true);
        };
        let there = rows::at(self.r, id, &Name::Manifest(referrer), rev)?;
        let added = keys::added_of_referrer(key);
        Ok(there.is_some_and(|(rev, _)| Some(rev) == added))
    }
}

#[derive(Default)]
struct Page {
    shown: ReferrerPage,
    bytes: usize,
    looks: usize,
    end: String,
}

impl Page {
    fn is_full(&self, most: usize) -> bool {
        self.bytes > most
            || self.shown.descriptors.len() == ReferrerPage::ROWS
            || self.looks == PAGE_LOOKS
    }

    /// What there is of it, and that there is more.
    fn cut(self) -> ReferrerPage {
        ReferrerPage {
            next: Some(self.end),
            ..self.shown
        }
    }
}

/// A descriptor, in the order in which clients are used to see its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
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
    raw(&Shown {
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
