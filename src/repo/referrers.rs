//! The referrers of a manifest: one range of one table, whatever else the repository holds.

use super::error::RepoError;
use super::record::ReferrerRecord;
use super::state::lock;
use super::{Inner, ReferrerPage, Repos, keys, read};
use crate::store::record::Record;
use crate::store::{Read, Table};
use crate::types::{Digest, RepoName};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A page ends with the descriptor that makes it longer than this (the spec's limit for an index is 4 MiB; one descriptor
/// with long annotations may still be longer).
pub(super) const PAGE_BYTES: usize = 3 << 20;
/// And never holds more than this many.
const PAGE_ROWS: usize = 1000;

impl Repos {
    /// One page of the manifests whose subject is `digest`; an unknown repository or subject has none. `after` is the
    /// `next` of the page before.
    pub async fn referrers(
        &self,
        name: &RepoName,
        digest: &Digest,
        artifact_type: Option<&str>,
        after: Option<&str>,
    ) -> Result<ReferrerPage, RepoError> {
        let (name, digest) = (name.clone(), *digest);
        let artifact_type = artifact_type.map(str::to_owned);
        let after = after.map(str::to_owned);
        self.hop(move |inner, r| {
            let Some((id, _)) = super::visible(r, name.as_str())? else {
                return Ok(ReferrerPage {
                    descriptors: Vec::new(),
                    next: None,
                });
            };
            let mut key = keys::referrers(id, false, &digest);
            if let Some(wanted) = artifact_type.as_deref().filter(|t| !t.contains('\0')) {
                key = key.text(wanted);
            }
            let (mut from, to) = key.range();
            if let Some((artifact_type, last)) = after.as_deref().and_then(parse_next) {
                let mut start = keys::referrers(id, false, &digest)
                    .text(artifact_type)
                    .raw(last.as_key())
                    .done();
                start.extend([0xff; 9]);
                from = from.max(start);
            }
            if from >= to {
                return Ok(ReferrerPage {
                    descriptors: Vec::new(),
                    next: None,
                });
            }
            page(inner, r, &from, &to)
        })
        .await
    }
}

/// `DIGEST` or `DIGEST,ARTIFACT-TYPE`: where a page ended.
fn parse_next(text: &str) -> Option<(&str, Digest)> {
    let (digest, artifact_type) = text.split_once(',').unwrap_or((text, ""));
    let clean = !artifact_type.contains('\0');
    digest
        .parse()
        .ok()
        .filter(|_| clean)
        .map(|digest| (artifact_type, digest))
}

fn page(inner: &Inner, r: &Read<'_>, from: &[u8], to: &[u8]) -> Result<ReferrerPage, RepoError> {
    use crate::store::Get;
    let rows = r.scan(Table::Referrers, from, to, PAGE_ROWS + 1)?;
    let mut descriptors = Vec::new();
    let (mut bytes, mut end) = (0, None);
    for (key, value) in &rows {
        if descriptors.len() == PAGE_ROWS || bytes > PAGE_BYTES {
            return Ok(ReferrerPage {
                descriptors,
                next: end,
            });
        }
        let Some((artifact_type, digest)) = keys::referrer_parts(key) else {
            continue;
        };
        let row = ReferrerRecord::from_bytes(value)?;
        let descriptor = descriptor(inner, r, artifact_type, &digest, &row)?;
        bytes += descriptor.get().len();
        descriptors.push(descriptor);
        end = Some(format!("{digest},{artifact_type}"));
    }
    Ok(ReferrerPage {
        descriptors,
        next: None,
    })
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
pub(super) fn descriptor(
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
