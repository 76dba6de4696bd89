//! References and mentions: each must belong to an item or a lease, and what references keep must have a blob's row.

use super::items::live_manifest;
use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, PAGE, Walk, inspected, repo_name};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, DueKind, Name};
use crate::repo::rows::record::{BlobRecord, ItemRecord};
use crate::repo::{Inner, rows};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId, Rev};

/// One reference or mention as its key says.
struct Ref<'a> {
    table: Table,
    id: RepoId,
    digest: Digest,
    key: &'a [u8],
    value: &'a [u8],
}

/// One page of references.
pub(in crate::repo::check) fn page(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Refs, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    // The blob of the digest that the rows before this one named.
    let mut blob: Option<(Digest, Option<Vec<u8>>)> = None;
    for (key, value) in &rows {
        let Some((one, class, rest)) = Ref::of(Table::Refs, key, value) else {
            unreadable(walk, Table::Refs, key, value);
            continue;
        };
        if blob.as_ref().is_none_or(|(known, _)| *known != one.digest) {
            blob = Some((one.digest, r.get(Table::Blobs, one.digest.as_key())?));
        }
        let row = blob.as_ref().and_then(|(_, row)| row.as_deref());
        let keeps = Class::of(class).is_some_and(|class| class.facts().keeps);
        if keeps && row.is_none() {
            walk.rowless.insert(one.digest, ProblemKind::BlobRowMissing);
        }
        match class {
            c if c == Class::Link as u8 && rest.is_empty() => link(walk, r, &one, row)?,
            c if c == Class::Tag as u8 => named(walk, r, &one, (Class::Tag, rest))?,
            c if c == Class::Path as u8 => named(walk, r, &one, (Class::Path, rest))?,
            c if c == Class::Manifest as u8 => manifest(walk, inner, r, &one, rest)?,
            _ => unreadable(walk, Table::Refs, key, value),
        }
    }
    Ok(walk::next(&rows, PAGE))
}

/// One page of mentions.
pub(in crate::repo::check) fn mentions(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Mentions, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        match Ref::of(Table::Mentions, key, value) {
            Some((one, c, [])) if c == Class::Held as u8 || c == Class::Part as u8 => {
                held(walk, r, &one, c)?;
            }
            Some((one, c, [])) if c == Class::Path as u8 => files(walk, r, &one)?,
            Some((one, c, rest)) if c == Class::Wanted as u8 => {
                manifest(walk, inner, r, &one, rest)?;
            }
            _ => unreadable(walk, Table::Mentions, key, value),
        }
    }
    Ok(walk::next(&rows, PAGE))
}

impl<'a> Ref<'a> {
    /// The row with its class and the rest of its key, if its head can be read.
    fn of(table: Table, key: &'a [u8], value: &'a [u8]) -> Option<(Self, u8, &'a [u8])> {
        let (id, class, rest) = keys::ref_head(key)?;
        let (digest, _) = Digest::split_key(key).ok()?;
        let one = Self {
            table,
            id,
            digest,
            key,
            value,
        };
        Some((one, class, rest))
    }
}

fn unreadable(walk: &mut Walk, table: Table, key: &[u8], value: &[u8]) {
    let what = format!("a reference with the key {}", walk::hex(key));
    let mend = Mend::drop(Vec::new(), table, key.to_vec(), value.to_vec());
    walk.mend(Problem::new(ProblemKind::RefExtra, what), mend);
}

fn link(
    walk: &mut Walk,
    r: &Read<'_>,
    one: &Ref<'_>,
    blob: Option<&[u8]>,
) -> Result<(), RepoError> {
    let size = blob.map(BlobRecord::from_bytes).and_then(Result::ok);
    match size {
        Some(blob) => walk.usage.entry(one.id.0).or_default().bytes += blob.size,
        None => {
            walk.unsure.insert(one.id.0);
        }
    }
    let what = keys::due_link(&one.digest, one.id);
    let named = |text: &str| format!("the lease of {} {text}", one.digest);
    let Ok(end) = one.value.try_into().map(u64::from_be_bytes) else {
        let now = r.running_ms();
        let name = repo_name(r, one.id)?;
        let problem = Problem::new(ProblemKind::LeaseUnreadable, named(&format!("in {name}")));
        let mend = Mend::Rows {
            guard: vec![(Table::Refs, one.key.to_vec(), Some(one.value.to_vec()))],
            change: vec![
                (
                    Table::Refs,
                    one.key.to_vec(),
                    Some(now.to_be_bytes().to_vec()),
                ),
                (
                    Table::Due,
                    keys::due(now, DueKind::Lease, &what),
                    Some(Vec::new()),
                ),
            ],
        };
        walk.mend(problem.repo(name).digest(&one.digest), mend);
        return Ok(());
    };
    let due = keys::due(end, DueKind::Lease, &what);
    let kept = walk.is_excused(one.id, &one.digest) || rows::is_kept(r, one.id, &one.digest)?;
    if !kept && r.get(Table::Due, &due)?.is_none() {
        let name = repo_name(r, one.id)?;
        let problem = Problem::new(
            ProblemKind::LeaseDueMissing,
            named(&format!("in {name} has an end that nobody looks at")),
        );
        let why = (Table::Refs, one.key.to_vec(), Some(one.value.to_vec()));
        let mend = Mend::write(why, Table::Due, due, Vec::new());
        walk.mend(problem.repo(name).digest(&one.digest), mend);
    }
    Ok(())
}

/// How many live files have the content. It is counted again in this one read.
fn files(walk: &mut Walk, r: &Read<'_>, one: &Ref<'_>) -> Result<(), RepoError> {
    if let Some(blob) = r.get(Table::Blobs, one.digest.as_key())? {
        let size = walk::readable(BlobRecord::from_bytes(&blob))?.map(|blob| blob.size);
        walk.usage.entry(one.id.0).or_default().bytes += size.unwrap_or_default();
    }
    let live = live_files(r, one.id, &one.digest)?;
    let counted = one.value.try_into().map(u64::from_be_bytes).ok();
    if counted == Some(live) {
        return Ok(());
    }
    let name = repo_name(r, one.id)?;
    let what = format!(
        "{name} counts {} live files with the content {}; it has {live}",
        counted.map_or("an unreadable number of".to_owned(), |n| n.to_string()),
        one.digest
    );
    tell_files(
        walk,
        one.id,
        (&one.digest, live),
        Some(one.value),
        Problem::new(ProblemKind::FilesWrong, what).repo(name),
    );
    Ok(())
}

/// Notes how many live files have a content, where the row says otherwise or is missing.
pub(in crate::repo::check) fn tell_files(
    walk: &mut Walk,
    id: RepoId,
    (digest, live): (&Digest, u64),
    seen: Option<&[u8]>,
    problem: Problem,
) {
    let key = keys::files(digest, id);
    let right = (live > 0).then(|| live.to_be_bytes().to_vec());
    let mend = Mend::Rows {
        guard: vec![(Table::Mentions, key.clone(), seen.map(<[u8]>::to_vec))],
        change: vec![(Table::Mentions, key, right)],
    };
    walk.mend(problem.digest(digest), mend);
}

/// How many live files of a repository have a content.
fn live_files(r: &Read<'_>, id: RepoId, digest: &Digest) -> Result<u64, RepoError> {
    Ok(files_of(r, id, digest)?.0)
}

/// The same, and the first of them.
pub(in crate::repo::check) fn files_of(
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<(u64, Option<(String, Rev)>), RepoError> {
    let (mut from, to) = keys::refs_in(digest, id, Class::Path).range();
    let (mut live, mut first) = (0, None);
    loop {
        let rows = r.scan(Table::Refs, &from, &to, PAGE)?;
        for (key, _) in &rows {
            let rest = keys::ref_head(key).and_then(|(_, _, rest)| keys::text_of_ref(rest));
            if let Some((path, added)) = rest {
                let name = Name::new(Class::Path, path.as_bytes());
                let row = r.get(Table::Items, &keys::item(id, &name, false, added))?;
                if row.is_some() {
                    live += 1;
                    first.get_or_insert_with(|| (path.to_owned(), added));
                }
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok((live, first)),
        }
    }
}

/// The reference of an item whose class has texts as names.
fn named(
    walk: &mut Walk,
    r: &Read<'_>,
    one: &Ref<'_>,
    (class, rest): (Class, &[u8]),
) -> Result<(), RepoError> {
    let Some((text, added)) = keys::text_of_ref(rest) else {
        unreadable(walk, one.table, one.key, one.value);
        return Ok(());
    };
    let name = Name::new(class, text.as_bytes());
    match item(r, one.id, &name, added)? {
        FoundItem::Unreadable => Ok(()),
        FoundItem::There(row) if row.digest() == Some(one.digest) => Ok(()),
        FoundItem::There(row) if row.digest().is_none() => Ok(()),
        FoundItem::None if lost_item(walk, r, one.id, &name, added)? => Ok(()),
        _ => extra(walk, r, one, &name.to_string()),
    }
}

/// What is only said of a manifest: its lease, or that it came as a part of an index.
fn held(walk: &mut Walk, r: &Read<'_>, one: &Ref<'_>, class: u8) -> Result<(), RepoError> {
    let (from, to) = keys::item_rows(one.id, &Name::manifest(&one.digest), false).range();
    if !r.scan(Table::Items, &from, &to, 1)?.is_empty() {
        return Ok(());
    }
    if live_or_lost(walk, r, one)? {
        return Ok(());
    }
    let name = repo_name(r, one.id)?;
    let which = if class == Class::Held as u8 {
        "a lease"
    } else {
        "a mark"
    };
    let what = format!("{which} of manifest {} in {name}", one.digest);
    let mend = Mend::drop(Vec::new(), one.table, one.key.to_vec(), one.value.to_vec());
    let problem = Problem::new(ProblemKind::HeldExtra, what);
    walk.mend(problem.repo(name).digest(&one.digest), mend);
    Ok(())
}

/// Whether the manifest's row was lost: then its lease stays with what else is left of it.
fn live_or_lost(walk: &mut Walk, r: &Read<'_>, one: &Ref<'_>) -> Result<bool, RepoError> {
    if live_manifest(r, one.id, &one.digest)?.is_some() {
        return Ok(true);
    }
    let (from, to) = keys::refs_in(&one.digest, one.id, Class::Manifest).range();
    for (key, _) in r.scan(Table::Refs, &from, &to, PAGE)? {
        let parent = keys::ref_head(&key).and_then(|(_, _, rest)| keys::parent_of(rest));
        if let Some((parent, added)) = parent.filter(|(parent, _)| *parent == one.digest) {
            let name = Name::manifest(&parent);
            if matches!(item(r, one.id, &name, added)?, FoundItem::None)
                && lost_item(walk, r, one.id, &name, added)?
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn manifest(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    one: &Ref<'_>,
    rest: &[u8],
) -> Result<(), RepoError> {
    if walk.expects_ref(one.key) {
        return Ok(());
    }
    let Some((parent, added)) = keys::parent_of(rest) else {
        unreadable(walk, one.table, one.key, one.value);
        return Ok(());
    };
    let name = Name::manifest(&parent);
    match item(r, one.id, &name, added)? {
        FoundItem::Unreadable => Ok(()),
        FoundItem::None if lost_item(walk, r, one.id, &name, added)? => Ok(()),
        FoundItem::There(_) if parent == one.digest => {
            let own = keys::manifest_ref(&parent, one.id, Class::Manifest, &parent, added);
            if one.table == Table::Refs && own == one.key {
                return Ok(());
            }
            extra(walk, r, one, &format!("manifest {parent}"))
        }
        FoundItem::There(row) => {
            // What a manifest that cannot be read names is not known.
            let Some(inspected) = inspected(walk, inner, r, &parent, &row.media_type) else {
                return Ok(());
            };
            let child = inspected.children.iter().find(|c| c.digest == one.digest);
            let real = keys::manifest_ref(&one.digest, one.id, Class::Manifest, &parent, added);
            let twice = one.table == Table::Mentions && r.get(Table::Refs, &real)?.is_some();
            match child {
                // Came since the items were read.
                Some(_) if !twice => Ok(()),
                _ => extra(walk, r, one, &format!("manifest {parent}")),
            }
        }
        FoundItem::None => extra(walk, r, one, &format!("manifest {parent}")),
    }
}

fn extra(walk: &mut Walk, r: &Read<'_>, one: &Ref<'_>, of: &str) -> Result<(), RepoError> {
    let name = repo_name(r, one.id)?;
    let what = format!(
        "a reference to {} by {of} of {name}, which does not name it",
        one.digest
    );
    // Its bytes may have nothing else: the collector looks.
    let now = r.running_ms();
    let mut change = vec![
        (one.table, one.key.to_vec(), None),
        (
            Table::Due,
            keys::due(now, DueKind::Orphan, one.digest.as_key()),
            Some(Vec::new()),
        ),
    ];
    if let Some(end) = r.get(Table::Refs, &keys::link(&one.digest, one.id))? {
        let what = keys::due_link(&one.digest, one.id);
        let due = keys::due(rows::number(&end), DueKind::Lease, &what);
        change.push((Table::Due, due, Some(Vec::new())));
    }
    if live_manifest(r, one.id, &one.digest)?.is_some() {
        let what = keys::due_in(one.id, &one.digest);
        let due = keys::due(now, DueKind::Untagged, &what);
        change.push((Table::Due, due, Some(now.to_be_bytes().to_vec())));
    }
    let mend = Mend::Rows {
        guard: vec![(one.table, one.key.to_vec(), Some(one.value.to_vec()))],
        change,
    };
    let problem = Problem::new(ProblemKind::RefExtra, what);
    walk.mend(problem.repo(name).digest(&one.digest), mend);
    Ok(())
}

/// What became of an item.
enum FoundItem {
    There(Box<ItemRecord>),
    Unreadable,
    None,
}

fn item(r: &Read<'_>, id: RepoId, name: &Name<'_>, added: Rev) -> Result<FoundItem, RepoError> {
    for past in [false, true] {
        if let Some(row) = r.get(Table::Items, &keys::item(id, name, past, added))? {
            let row = walk::readable(ItemRecord::from_bytes(&row))?;
            return Ok(row.map_or(FoundItem::Unreadable, |row| FoundItem::There(Box::new(row))));
        }
    }
    Ok(FoundItem::None)
}

/// Whether an item without a row was there once, as the history says: then the row is what is missing, and nothing that
/// speaks of it is dropped. Told once.
pub(in crate::repo::check) fn lost_item(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    name: &Name<'_>,
    added: Rev,
) -> Result<bool, RepoError> {
    let change = keys::change(id, added, name);
    if r.get(Table::Changes, &change)?.is_none()
        || !matches!(item(r, id, name, added)?, FoundItem::None)
    {
        return Ok(false);
    }
    if walk.lose(id, name, added) {
        let repo = repo_name(r, id)?;
        let mut problem = Problem::new(
            ProblemKind::ItemMissing,
            format!("the row of {name} of {repo} (revision {})", added.0),
        );
        if let Some(digest) = &name.as_manifest() {
            problem = problem.digest(digest);
            problem.tags = super::tags::touched(r, id, digest)?;
        }
        if let Some(tag) = name.as_tag() {
            problem.tags = vec![format!("{repo}:{tag}")];
        }
        walk.tell(problem.repo(repo).how(
            "push it again, or restore its row from a backup; nothing that speaks of it is dropped",
        ));
    }
    Ok(true)
}
