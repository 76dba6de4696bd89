//! Quotas: how often each digest is shown below a prefix, and how many bytes that comes to.

use super::mend::Mend;
use super::report::{Kind, Problem};
use super::walk::{self, PAGE, Walk};
use crate::repo::error::RepoError;
use crate::repo::quota;
use crate::repo::record::{BlobRecord, QuotaRecord};
use crate::repo::rows::number;
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Row, Table};
use crate::types::Digest;

/// All quotas, each in this one read. One whose digests are still being counted is looked at when that is done; with
/// rows that cannot be trusted below them there is nothing to compare with.
pub(super) fn all(walk: &mut Walk, r: &Read<'_>) -> Result<(), RepoError> {
    let sound = walk.unsure.is_empty() && walk.unlinked.is_empty() && walk.rowless.is_empty();
    if !sound || walk.excused_any() {
        return Ok(());
    }
    let quotas = r.scan(Table::Quotas, &[], &[], 10_000)?;
    walk.rows += quotas.len() as u64;
    for (key, value) in &quotas {
        let prefix = Parts(key).text().map(str::to_owned);
        let record = walk::readable(QuotaRecord::from_bytes(value))?;
        let (Some(prefix), Some(record)) = (prefix, record) else {
            let what = format!("the quota with the key {}", walk::hex(key));
            walk.tell(Problem::new(Kind::QuotaUnreadable, what).how("remove it and set it again"));
            continue;
        };
        if record.counted_to.is_none() {
            one(walk, r, &prefix, &record)?;
        }
    }
    strangers(walk, r, &quotas)
}

/// One quota: each digest's holders, and the sum.
fn one(walk: &mut Walk, r: &Read<'_>, prefix: &str, record: &QuotaRecord) -> Result<(), RepoError> {
    let mut used = 0;
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Blobs, &from, &[], PAGE)?;
        walk.rows += rows.len() as u64;
        for (key, row) in &rows {
            let (Ok(digest), Some(row)) = (
                Digest::from_key(key),
                walk::readable(BlobRecord::from_bytes(row))?,
            ) else {
                return Ok(());
            };
            let count = quota::count_holders(r, prefix, &digest)?;
            if count > 0 {
                used += row.size;
            }
            holders(walk, r, prefix, &digest, count)?;
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    if used != record.used {
        let what = format!(
            "the quota {prefix}/ counts {} bytes; {used} are shown",
            record.used
        );
        let bytes = i128::from(used) - i128::from(record.used);
        let mend = Mend::Quota {
            prefix: prefix.to_owned(),
            bytes,
        };
        walk.mend(Problem::new(Kind::QuotaWrong, what), mend);
    }
    Ok(())
}

fn holders(
    walk: &mut Walk,
    r: &Read<'_>,
    prefix: &str,
    digest: &Digest,
    count: u64,
) -> Result<(), RepoError> {
    let key = quota::holders_key(prefix, digest);
    let seen = r.get(Table::QuotaHolders, &key)?;
    if seen.as_deref().map_or(0, number) == count {
        return Ok(());
    }
    let what = format!(
        "the quota {prefix}/ counts {} holders of {digest}; there are {count}",
        seen.as_deref().map_or(0, number)
    );
    let value = (count > 0).then(|| count.to_be_bytes().to_vec());
    let mend = Mend::Rows {
        guard: vec![(Table::QuotaHolders, key.clone(), seen)],
        change: vec![(Table::QuotaHolders, key, value)],
    };
    walk.mend(
        Problem::new(Kind::QuotaHoldersWrong, what).digest(digest),
        mend,
    );
    Ok(())
}

/// Counts of no quota, or of no blob.
fn strangers(walk: &mut Walk, r: &Read<'_>, quotas: &[Row]) -> Result<(), RepoError> {
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::QuotaHolders, &from, &[], PAGE)?;
        for (key, value) in &rows {
            let mut parts = Parts(key);
            let known = parts.text().is_some()
                && quotas.iter().any(|(quota, _)| key.starts_with(quota))
                && r.get(Table::Blobs, parts.rest())?.is_some();
            if !known {
                let what = format!("holders of no quota or no blob: {}", walk::hex(key));
                let mend = Mend::drop(Vec::new(), Table::QuotaHolders, key.clone(), value.clone());
                walk.mend(Problem::new(Kind::QuotaHoldersWrong, what), mend);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
