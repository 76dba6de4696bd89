//! The counting of what was there below a new quota, or of the history below one of before it counted: place by place, a
//! place being a digest and a repository. What changes at a place behind it is counted by the change ([`super::count`]),
//! what changes before it by this.

use super::count::{Counts, counts, name_of, set_counts};
use super::remove::drop_counts;
use super::{key, quota};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::{BlobRecord, QuotaRecord};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, StoreError, Table, Txn};
use crate::types::{Digest, RepoId, RepoName};

/// Digests that one transaction counts.
const DIGESTS: usize = 100;
/// Repositories that it looks at, of however many digests: one that many have takes several transactions.
const VISITS: usize = 400;

/// Whether the counting of what was there has not come to this place: it will find it as it is then.
pub(super) fn is_ahead(counted_to: Option<&[u8]>, digest: &Digest, id: RepoId) -> bool {
    counted_to.is_some_and(|to| place(digest, id.0).as_slice() > to)
}

fn place(digest: &Digest, id: u64) -> Vec<u8> {
    [digest.as_key(), &id.to_be_bytes()].concat()
}

/// One repository that references name, after the first of its rows.
struct Visit {
    id: RepoId,
    counts: Counts,
}

/// How the first repository from number `from` on that references of the digest name has it: as nothing where it is not
/// below the prefix.
fn visit(
    get: &impl Get,
    prefix: &str,
    digest: &Digest,
    from: u64,
) -> Result<Option<Visit>, StoreError> {
    let (_, to) = keys::refs(digest).range();
    let from = keys::refs(digest).u64(from).done();
    let first = get.scan(Table::Refs, &from, &to, 1)?.pop();
    let Some((id, class, _)) = first.as_ref().and_then(|(key, _)| keys::ref_head(key)) else {
        return Ok(None);
    };
    let mut counts = Counts::default();
    // A row of another class is damage, and keeps nothing.
    if Class::of(class).is_some_and(|class| class.facts().keeps) {
        let name = name_of(get, id)?.and_then(|name| name.parse::<RepoName>().ok());
        if name.is_some_and(|name| name.is_under(prefix)) {
            let is_manifest = rows::live(get, id, &Name::manifest(digest))?.is_some();
            let is_file = get
                .get(Table::Mentions, &keys::files(digest, id))?
                .is_some();
            counts.held = 1;
            counts.shown =
                u64::from(class == Class::Link as u8) + u64::from(is_manifest) + u64::from(is_file);
        }
    }
    Ok(Some(Visit { id, counts }))
}

/// How all repositories below the prefix have the digest, for a read that can take its time.
pub(in crate::repo) fn held_and_shown(
    get: &impl Get,
    prefix: &str,
    digest: &Digest,
) -> Result<Counts, StoreError> {
    let mut all = Counts::default();
    let mut next = 0;
    while let Some(visit) = visit(get, prefix, digest, next)? {
        all.shown += visit.counts.shown;
        all.held += visit.counts.held;
        next = visit.id.0 + 1;
    }
    Ok(all)
}

impl Repos {
    /// Counts what is there below a new quota, or the history below one of before it counted.
    pub(super) async fn count_quota(&self, prefix: &str) -> Result<(), RepoError> {
        loop {
            let wanted = prefix.to_owned();
            let write =
                self.0
                    .store
                    .write(Lane::Background, Need::Grows, "quota.count", move |tx| {
                        count_page(tx, &wanted)
                    });
            if write.await? {
                return Ok(());
            }
        }
    }
}

/// Counts at the next places of a quota; whether it is complete.
fn count_page(tx: &mut Txn<'_>, prefix: &str) -> Result<bool, RepoError> {
    let Some(mut record) = quota(tx, prefix)? else {
        return Ok(true);
    };
    let Some(mut at) = record.held_to.clone() else {
        return Ok(true);
    };
    // What the removal of a quota before this one left behind: nothing of this one is counted yet.
    let is_new = at.is_empty() && record.counted_to.as_ref() == Some(&at);
    if is_new && drop_counts(tx, prefix)? > 0 {
        return Ok(false);
    }
    let mut visits = 0;
    for _ in 0..DIGESTS {
        let (from, repo) = next_place(&at);
        let Some((blob, row)) = tx.scan(Table::Blobs, &from, &[], 1)?.pop() else {
            (record.counted_to, record.held_to) = (None, None);
            break;
        };
        let Ok(digest) = Digest::from_key(&blob) else {
            at = [blob.as_slice(), &u64::MAX.to_be_bytes()].concat();
            continue;
        };
        let next = if blob == from { repo } else { 0 };
        let size = BlobRecord::from_bytes(&row)?.size;
        at = count_digest(tx, prefix, (&digest, size), next, &mut record, &mut visits)?;
        if visits >= VISITS {
            break;
        }
    }
    if record.held_to.is_some() {
        if record.counted_to.as_ref().is_some_and(|to| *to < at) {
            record.counted_to = Some(at.clone());
        }
        record.held_to = Some(at);
    }
    let done = record.held_to.is_none();
    tx.put(Table::Quotas, &key(prefix), &record.to_bytes()?)?;
    Ok(done)
}

/// Where the blob and the repository after a place may stand.
fn next_place(at: &[u8]) -> (Vec<u8>, u64) {
    match at.split_last_chunk::<8>() {
        None => (Vec::new(), 0),
        Some((digest, id)) => match u64::from_be_bytes(*id) {
            u64::MAX => ([digest, &[0]].concat(), 0),
            id => (digest.to_vec(), id + 1),
        },
    }
}

/// Counts one digest from repository number `next` on, as far as `visits` go; answers the place that it came to.
fn count_digest(
    tx: &mut Txn<'_>,
    prefix: &str,
    (digest, size): (&Digest, u64),
    mut next: u64,
    record: &mut QuotaRecord,
    visits: &mut usize,
) -> Result<Vec<u8>, RepoError> {
    let mut before = counts(tx, prefix, digest)?;
    if next == 0 {
        // A quota of before the history counted has a row that says how often it is shown.
        let is_new = is_ahead(record.counted_to.as_deref(), digest, RepoId(0));
        before = Counts {
            shown: if is_new { 0 } else { before.shown },
            held: 0,
        };
    }
    let mut after = before;
    let mut came_to = u64::MAX;
    while let Some(visit) = visit(tx, prefix, digest, next)? {
        if *visits >= VISITS {
            came_to = next.saturating_sub(1);
            break;
        }
        *visits += 1;
        after.held += visit.counts.held;
        if is_ahead(record.counted_to.as_deref(), digest, visit.id) {
            after.shown += visit.counts.shown;
        }
        next = visit.id.0 + 1;
    }
    set_counts(tx, prefix, digest, after)?;
    record.count(before, after, size);
    Ok(place(digest, came_to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn places_follow_each_other() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        assert_eq!(next_place(&[]), (Vec::new(), 0));
        let key = digest.as_key().to_vec();
        assert_eq!(next_place(&place(&digest, 4)), (key.clone(), 5));
        let behind = [key.as_slice(), &[0]].concat();
        assert_eq!(next_place(&place(&digest, u64::MAX)), (behind, 0));
        let to = place(&digest, 4);
        let ahead = |id| is_ahead(Some(&to), &digest, RepoId(id));
        assert!(!ahead(4) && ahead(5));
        assert!(is_ahead(Some(&[]), &digest, RepoId(0)));
        assert!(!is_ahead(None, &digest, RepoId(9)));
    }
}
