//! The rows of upstreams, one at a time and all of them; all in the caller's transaction.

use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::key::{Key, Parts};
use crate::store::record::Record as _;
use crate::store::{Get, StoreError, Table, Txn};
use crate::upstream::error::UpstreamError;
use crate::upstream::record::UpstreamRecord;
use crate::upstream::settings::{UpstreamName, UpstreamSettings};

/// Upstreams that are kept at most.
pub(super) const UPSTREAMS: usize = 500;

fn key(name: &UpstreamName) -> Vec<u8> {
    Key::new().text(name.as_str()).done()
}

/// Whether there is a row of this name, readable or not.
pub(super) fn has(get: &impl Get, name: &UpstreamName) -> Result<bool, StoreError> {
    Ok(get.get(Table::Upstreams, &key(name))?.is_some())
}

/// Every upstream, by name. One whose row cannot be read keeps no other from its work.
pub(super) fn all(get: &impl Get) -> Result<Vec<UpstreamSettings>, StoreError> {
    let mut all = Vec::new();
    for (key, row) in get.scan(Table::Upstreams, &[], &[], UPSTREAMS)? {
        let name = Parts(&key).text().unwrap_or_default().to_owned();
        match read(&name, &row) {
            Ok(settings) => all.push(settings),
            Err(error) => {
                tracing::warn!(upstream = name, %error, "the row of an upstream cannot be read");
            }
        }
    }
    Ok(all)
}

fn read(name: &str, row: &[u8]) -> Result<UpstreamSettings, UpstreamError> {
    let name: UpstreamName = name.parse()?;
    UpstreamRecord::from_bytes(row)?.settings(name)
}

pub(super) fn put(tx: &mut Txn<'_>, settings: &UpstreamSettings) -> Result<(), StoreError> {
    let row = UpstreamRecord::of(settings).to_bytes()?;
    tx.put(Table::Upstreams, &key(&settings.name), &row)
}

pub(super) fn erase(tx: &mut Txn<'_>, name: &UpstreamName) -> Result<(), StoreError> {
    tx.delete(Table::Upstreams, &key(name))
}

/// Tells the feed of a change.
pub(super) fn tell(
    tx: &mut Txn<'_>,
    name: &UpstreamName,
    at_ms: u64,
    (who, why): (&str, &str),
) -> Result<(), StoreError> {
    let row = FeedRecord {
        kind: FeedKind::Upstream as u8,
        repo: 0,
        name: name.to_string(),
        rev: 0,
        at_ms,
        who: who.into(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}
