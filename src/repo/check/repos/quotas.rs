//! Quotas: how often each digest is shown and kept below a prefix, and how many bytes that comes to.

use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, PAGE, Walk};
use crate::repo::error::RepoError;
use crate::repo::quota::{self, Counts};
use crate::repo::rows::record::{BlobRecord, QuotaRecord};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Row, Table};
use crate::types::Digest;

/// All quotas, each in this one read. One whose digests are still being counted is looked at when that is done; with
/// rows that cannot be trusted below them there is nothing to compare with.
pub(in crate::repo::check) fn all(walk: &mut Walk, r: &Read<'_>) -> Result<(), RepoError> {
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
            walk.tell(
                Problem::new(ProblemKind::QuotaUnreadable, what).how("remove it and set it again"),
            );
            continue;
        };
        if record.counted_to.is_none() && record.held_to.is_none() {
            one(walk, r, &prefix, &record)?;
        }
    }
    strangers(walk, r, &quotas)
}

/// One quota: each digest's holders, and the sum.
fn one(walk: &mut Walk, r: &Read<'_>, prefix: &str, record: &QuotaRecord) -> Result<(), RepoError> {
    let (mut used, mut history) = (0, 0);
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
            let counts = quota::held_and_shown(r, prefix, &digest)?;
            let (shown, kept) = counts.bytes(row.size);
            used += shown;
            history += kept;
            holders(walk, r, prefix, &digest, counts)?;
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    if (used, history) != (record.used, record.history) {
        let what = format!(
            "the quota {prefix}/ counts {} bytes shown and {} of history; {used} are shown and {history} are kept beside",
            record.used, record.history
        );
        let lacks = |is: u64, counted: u64| i128::from(is) - i128::from(counted);
        let mend = Mend::Quota {
            prefix: prefix.to_owned(),
            shown: lacks(used, record.used),
            history: lacks(history, record.history),
        };
        walk.mend(Problem::new(ProblemKind::QuotaWrong, what), mend);
    }
    Ok(())
}

fn holders(
    walk: &mut Walk,
    r: &Read<'_>,
    prefix: &str,
    digest: &Digest,
    counts: Counts,
) -> Result<(), RepoError> {
    let key = quota::holders_key(prefix, digest);
    let seen = r.get(Table::QuotaHolders, &key)?;
    let counted = seen.as_deref().map_or_else(Counts::default, Counts::of_row);
    if counted == counts {
        return Ok(());
    }
    let what = format!(
        "the quota {prefix}/ counts {digest} as shown {} times and kept by {}; it is shown {} times and kept by {}",
        counted.shown, counted.held, counts.shown, counts.held
    );
    let value = counts.to_row();
    let mend = Mend::Rows {
        guard: vec![(Table::QuotaHolders, key.clone(), seen)],
        change: vec![(Table::QuotaHolders, key, value)],
    };
    walk.mend(
        Problem::new(ProblemKind::QuotaHoldersWrong, what).digest(digest),
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
                walk.mend(Problem::new(ProblemKind::QuotaHoldersWrong, what), mend);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
