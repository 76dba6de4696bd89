//! Rows of repositories, links and usage, and the look-ups that everything else is built from; all in the caller's
//! transaction. The revisions are made in [`crate::repo::edit`], the rows dropped again in [`crate::repo::reclaim`]; nothing else
//! writes these tables.

pub(in crate::repo) mod inline;
pub mod keys;
pub mod record;

use self::keys::{Class, DueKind, Name};
use crate::repo::error::RepoError;
use crate::repo::quota;
use crate::repo::rows::record::{BlobRecord, ItemRecord, RepoRecord, UsageRecord};
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, Kind, Moment, RepoId, RepoName, Rev};

/// How many wanted references one arrival turns into real ones: beside the largest manifest and what most quotas count of
/// it ([`crate::repo::images::batch`]) it stays within a transaction.
pub(in crate::repo) const WANTED_MAX: usize = 100;
/// References of a blob that are looked at for a live manifest.
const PARENTS: usize = 16;
/// How the value of a link's due row begins, if past manifests are no reason to keep the link; the repository's head follows,
/// as it was when the link was found to lapse.
const LAPSES: u8 = 1;

/// The repository's row by name.
pub(in crate::repo) fn find(
    get: &impl Get,
    name: &str,
) -> Result<Option<(RepoId, RepoRecord)>, StoreError> {
    let Some(id) = get.get(Table::Names, &keys::name(name))? else {
        return Ok(None);
    };
    let id = RepoId(number(&id));
    match get.get(Table::Repos, &keys::repo(id))? {
        Some(row) => Ok(Some((id, RepoRecord::from_bytes(&row)?))),
        None => Ok(None),
    }
}

/// A big-endian integer of a row's value; 0 if it is none.
pub(in crate::repo) fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Makes a repository: its number is never used again. A name of the past can never be one: it reads another's history.
pub(in crate::repo) fn create(
    tx: &mut Txn<'_>,
    name: &RepoName,
    kind: Kind,
    origin: u8,
    at_ms: u64,
) -> Result<(RepoId, RepoRecord), RepoError> {
    const NEXT: &[u8] = b"next_repo";
    match name.moment() {
        None => {}
        Some((Moment::Time(_), now)) => {
            return Err(RepoError::Refused(format!(
                "{name} means the past of {now}, which nobody can change"
            )));
        }
        Some((Moment::Snapshot(title), now)) => {
            return Err(RepoError::Refused(format!(
                "{name} would mean the snapshot {title} of {now} as soon as there is one; nothing was made, choose another name"
            )));
        }
    }
    let id = tx.get(Table::Meta, NEXT)?.map_or(1, |n| number(&n));
    tx.put(Table::Meta, NEXT, &(id + 1).to_be_bytes())?;
    let record = RepoRecord {
        name: name.as_str().into(),
        kind: kind.code(),
        origin,
        strict: None,
        head: 0,
        horizon: 0,
        stage: None,
        created_ms: at_ms,
        deleted: false,
        keep_ms: None,
        attachments: true,
    };
    let id = RepoId(id);
    let number = id.0.to_be_bytes();
    tx.put(Table::Names, &keys::name(name.as_str()), &number)?;
    if kind.is_tree() {
        tx.put(Table::Meta, &keys::tree(name.as_str()), &number)?;
    }
    tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
    tell(
        tx,
        FeedKind::RepoMade,
        (id, &record),
        at_ms,
        ("", "repo.create"),
    )?;
    Ok((id, record))
}

/// Tells the feed of something in a repository that makes no revision.
pub(in crate::repo) fn tell_of(
    tx: &mut Txn<'_>,
    kind: FeedKind,
    id: RepoId,
    (name, at_ms): (&str, u64),
    why: &str,
) -> Result<(), StoreError> {
    let row = FeedRecord {
        kind: kind as u8,
        repo: id.0,
        name: name.into(),
        rev: 0,
        at_ms,
        who: String::new(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}

/// Tells the feed of what became of a repository as a whole.
pub(in crate::repo) fn tell(
    tx: &mut Txn<'_>,
    kind: FeedKind,
    (id, record): (RepoId, &RepoRecord),
    at_ms: u64,
    (who, why): (&str, &str),
) -> Result<(), StoreError> {
    let row = FeedRecord {
        kind: kind as u8,
        repo: id.0,
        name: record.name.clone(),
        rev: record.head,
        at_ms,
        who: who.into(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}

/// The live row of a name and the revision that added it.
pub(in crate::repo) fn live(
    get: &impl Get,
    id: RepoId,
    name: &Name<'_>,
) -> Result<Option<(Rev, ItemRecord)>, StoreError> {
    let (from, to) = keys::item_rows(id, name, false).range();
    let Some((key, value)) = get.scan(Table::Items, &from, &to, 1)?.pop() else {
        return Ok(None);
    };
    let added = keys::added_of_item(&key).unwrap_or(Rev(0));
    Ok(Some((added, ItemRecord::from_bytes(&value)?)))
}

/// What a name meant at a revision: the row and the revision that added it. One seek at the head, two before it.
pub(in crate::repo) fn at(
    get: &impl Get,
    id: RepoId,
    name: &Name<'_>,
    rev: Rev,
) -> Result<Option<(Rev, ItemRecord)>, StoreError> {
    if let Some(found) = live(get, id, name)?
        && found.0 <= rev
    {
        return Ok(Some(found));
    }
    // Rows of one name sort by falling revision: the first that was added by then is the only one that may count.
    let from = keys::item(id, name, true, rev);
    let (_, to) = keys::item_rows(id, name, true).range();
    let Some((key, value)) = get.scan(Table::Items, &from, &to, 1)?.pop() else {
        return Ok(None);
    };
    let item = ItemRecord::from_bytes(&value)?;
    let added = keys::added_of_item(&key).unwrap_or(Rev(0));
    Ok((item.removed > rev.0).then_some((added, item)))
}

/// The blob's row, unless it is damaged.
pub(in crate::repo) fn blob(
    get: &impl Get,
    digest: &Digest,
) -> Result<Option<BlobRecord>, StoreError> {
    let row = get.get(Table::Blobs, digest.as_key())?;
    let row = row.map(|row| BlobRecord::from_bytes(&row)).transpose()?;
    Ok(row.filter(|b| !b.damaged))
}

/// The blob's length, damaged or not; 0 if there is no such blob.
pub(in crate::repo) fn size(get: &impl Get, digest: &Digest) -> Result<u64, StoreError> {
    let row = get.get(Table::Blobs, digest.as_key())?;
    let row = row.map(|row| BlobRecord::from_bytes(&row)).transpose()?;
    Ok(row.map_or(0, |row| row.size))
}

/// Writes a link with a fresh lease, and counts the blob for the repository if it is new there.
pub(in crate::repo) fn link(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
    lease_ms: u64,
) -> Result<(), RepoError> {
    if lease(tx, id, digest, lease_ms)?.is_none() {
        quota::gain(tx, id, digest, size, &keys::link(digest, id))?;
        let mut usage = usage(tx, id)?;
        usage.bytes += size;
        tx.put(Table::Usage, &keys::repo(id), &usage.to_bytes()?)?;
        arrive(tx, id, digest)?;
    }
    Ok(())
}

/// Gives a link a new lease, written if it is not there; answers the end of the one before.
pub(in crate::repo) fn lease(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    lease_ms: u64,
) -> Result<Option<u64>, StoreError> {
    let (key, what) = (keys::link(digest, id), keys::due_link(digest, id));
    let end = tx.running_ms() + lease_ms;
    let before = tx.get(Table::Refs, &key)?.map(|end| number(&end));
    let mut lapses = None;
    if let Some(before) = before {
        let due = keys::due(before, DueKind::Lease, &what);
        lapses = tx.get(Table::Due, &due)?;
        tx.delete(Table::Due, &due)?;
    }
    tx.put(Table::Refs, &key, &end.to_be_bytes())?;
    let due = keys::due(end, DueKind::Lease, &what);
    tx.put(Table::Due, &due, &lapses.unwrap_or_default())?;
    Ok(before)
}

/// After a manifest that needed the blob was closed: unless another one needs it, its link ends with a new lease, though
/// the history keeps the bytes. `head` is the repository's.
pub(in crate::repo) fn lapse(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    head: Rev,
    lease_ms: u64,
) -> Result<(), StoreError> {
    let is_linked = tx.get(Table::Refs, &keys::link(digest, id))?.is_some();
    if is_linked && has_live_parent(tx, id, digest)? == Some(false) {
        lease(tx, id, digest, lease_ms)?;
        let end = tx.running_ms() + lease_ms;
        let due = keys::due(end, DueKind::Lease, &keys::due_link(digest, id));
        tx.put(Table::Due, &due, &lapses_at(head))?;
    }
    Ok(())
}

fn lapses_at(head: Rev) -> Vec<u8> {
    [&[LAPSES], head.0.to_be_bytes().as_slice()].concat()
}

/// The head at which a link was found to lapse, by the value of its due row; `None` if it does not lapse. A row of a program
/// that did not write it says revision 0.
pub(in crate::repo) fn lapses_since(value: &[u8]) -> Option<Rev> {
    let (first, head) = value.split_first()?;
    (*first == LAPSES).then(|| Rev(number(head)))
}

/// Whether a manifest at the head needs the blob; `None`: so many of the past do that this is not known.
pub(in crate::repo) fn has_live_parent(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
) -> Result<Option<bool>, StoreError> {
    let parents = parents(get, id, digest)?;
    for (parent, added) in &parents {
        if live(get, id, &Name::manifest(parent))?.is_some_and(|(rev, _)| rev == *added) {
            return Ok(Some(true));
        }
    }
    Ok((parents.len() < PARENTS).then_some(false))
}

/// Whether a manifest needed the blob after this revision was the head, as far as that can be known: then its end, which the
/// collector may still have to look at, gives the link a lease of its own.
pub(in crate::repo) fn was_needed_after(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    head: Rev,
) -> Result<bool, StoreError> {
    if has_live_parent(get, id, digest)? != Some(false) {
        return Ok(true);
    }
    for (parent, added) in parents(get, id, digest)? {
        let past = keys::item(id, &Name::manifest(&parent), true, added);
        if let Some(row) = get.get(Table::Items, &past)?
            && let item = ItemRecord::from_bytes(&row)?
            && (item.removed > head.0 || item.is_hidden(added))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The manifests, live or past, that need a blob, each with the revision that added it: [`PARENTS`] at most.
fn parents(get: &impl Get, id: RepoId, digest: &Digest) -> Result<Vec<(Digest, Rev)>, StoreError> {
    let (from, to) = keys::refs_in(digest, id, Class::Manifest).range();
    let refs = get.scan(Table::Refs, &from, &to, PARENTS)?;
    let parent = |key| keys::ref_head(key).and_then(|(_, _, rest)| keys::parent_of(rest));
    Ok(refs.iter().filter_map(|(key, _)| parent(key)).collect())
}

/// Drops a link; the blob is looked at by the collector.
pub(in crate::repo) fn unlink(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
) -> Result<(), StoreError> {
    tx.delete(Table::Refs, &keys::link(digest, id))?;
    quota::lose(tx, id, digest, size)?;
    let mut usage = usage(tx, id)?;
    usage.bytes = usage.bytes.saturating_sub(size);
    tx.put(Table::Usage, &keys::repo(id), &usage.to_bytes()?)?;
    orphan(tx, digest)
}

/// Asks the collector whether a digest has any reference left.
pub(in crate::repo) fn orphan(tx: &mut Txn<'_>, digest: &Digest) -> Result<(), StoreError> {
    let now = tx.running_ms();
    let key = keys::due(now, DueKind::Orphan, digest.as_key());
    tx.put(Table::Due, &key, &[])
}

/// Keeps a manifest that no tag names for a lease, and asks the collector to look at it after that and after the
/// history's time, counted from now.
pub(in crate::repo) fn hold(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    lease_ms: u64,
    keep_ms: u64,
) -> Result<(), StoreError> {
    let now = tx.running_ms();
    let end = (now + lease_ms).to_be_bytes();
    tx.put(Table::Mentions, &keys::held(digest, id), &end)?;
    let at = now + lease_ms.max(keep_ms);
    let key = keys::due(at, DueKind::Untagged, &keys::due_in(id, digest));
    tx.put(Table::Due, &key, &now.to_be_bytes())
}

/// Whether the repository has what a manifest names: as a blob that it shows, or as a manifest at the head. Which of the two
/// a digest is says what came, not the field that names it.
pub(in crate::repo) fn holds(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
) -> Result<bool, StoreError> {
    Ok(get.get(Table::Refs, &keys::link(digest, id))?.is_some()
        || live(get, id, &Name::manifest(digest))?.is_some())
}

/// The same of many, in their order.
pub(in crate::repo) fn holds_many(
    get: &impl Get,
    id: RepoId,
    digests: &[Digest],
) -> Result<Vec<bool>, StoreError> {
    let links: Vec<_> = digests.iter().map(|d| keys::link(d, id)).collect();
    let links = get.get_many(Table::Refs, &links)?;
    let mut held: Vec<bool> = links.iter().map(Option::is_some).collect();
    let others = || {
        digests
            .iter()
            .zip(&links)
            .filter(|(_, link)| link.is_none())
    };
    let spans: Vec<_> = others()
        .map(|(d, _)| keys::item_rows(id, &Name::manifest(d), false).range())
        .collect();
    let mut items = get.first_many(Table::Items, &spans)?.into_iter();
    for held in held.iter_mut().filter(|held| !**held) {
        if let Some((_, row)) = items.next().flatten() {
            ItemRecord::from_bytes(&row)?;
            *held = true;
        }
    }
    Ok(held)
}

/// Whether a tag or manifest of the repository, live or past, keeps the digest.
pub(in crate::repo) fn is_kept(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
) -> Result<bool, StoreError> {
    let (from, to) = keys::keepers(digest, id);
    Ok(!get.scan(Table::Refs, &from, &to, 1)?.is_empty())
}

/// Whether anything keeps the digest, live or past, beside itself: a tag or manifest, or with [`Class::Manifest`] a manifest.
pub(in crate::repo) fn is_kept_by_another(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    least: Class,
) -> Result<bool, StoreError> {
    let (_, to) = keys::keepers(digest, id);
    let (from, _) = keys::refs_in(digest, id, least).range();
    // Its own rows stand among them, one for each time that it came and is not forgotten yet: they are stepped over.
    let own = keys::refs_in(digest, id, Class::Manifest).raw(digest.as_key());
    let (own, behind) = own.range();
    for (from, to) in [(from, own), (behind, to)] {
        if from < to && !get.scan(Table::Refs, &from, &to, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether any repository keeps or shows the digest: one seek, however many name it.
pub(in crate::repo) fn is_referenced(get: &impl Get, digest: &Digest) -> Result<bool, StoreError> {
    let (from, to) = keys::refs(digest).range();
    Ok(!get.scan(Table::Refs, &from, &to, 1)?.is_empty())
}

/// What was wanted has come: those who named it before now hold it, the first of them at once, the others when none of those
/// does any more ([`kept_by_next`]) or the link's lease ends. Answers whether there were any.
pub(in crate::repo) fn arrive(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<bool, StoreError> {
    hold_wanted(tx, id, digest, WANTED_MAX)
}

/// A manifest let go what is here: if no other one keeps it, the next of those who named it before it came does.
pub(in crate::repo) fn kept_by_next(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<(), StoreError> {
    let (from, to) = keys::refs_in(digest, id, Class::Wanted).range();
    if tx.scan(Table::Mentions, &from, &to, 1)?.is_empty()
        || is_kept_by_another(tx, id, digest, Class::Manifest)?
        || !holds(tx, id, digest)?
    {
        return Ok(());
    }
    hold_wanted(tx, id, digest, 1).map(|_| ())
}

/// Turns the first wanted references, at most so many, into real ones; answers whether there were any.
fn hold_wanted(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    most: usize,
) -> Result<bool, StoreError> {
    let (from, to) = keys::refs_in(digest, id, Class::Wanted).range();
    let wanted = tx.scan(Table::Mentions, &from, &to, most)?;
    for (key, _) in &wanted {
        let parent = keys::ref_head(key).and_then(|(_, _, rest)| keys::parent_of(rest));
        if let Some((parent, rev)) = parent {
            tx.put(
                Table::Refs,
                &keys::manifest_ref(digest, id, Class::Manifest, &parent, rev),
                &[],
            )?;
        }
        tx.delete(Table::Mentions, key)?;
    }
    Ok(!wanted.is_empty())
}

/// The repository's usage row.
pub(in crate::repo) fn usage(get: &impl Get, id: RepoId) -> Result<UsageRecord, StoreError> {
    match get.get(Table::Usage, &keys::repo(id))? {
        Some(row) => UsageRecord::from_bytes(&row),
        None => Ok(UsageRecord::default()),
    }
}
