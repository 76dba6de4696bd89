//! Items, and the rows that each of them must have: references, changes, referrer.

use super::children;
use super::refs;
use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Suspect, Walk, has_manifest, inspected};
use crate::repo::error::RepoError;
use crate::repo::format::Inspected;
use crate::repo::rows::keys::{self, Class, DueKind, ItemKey, Name};
use crate::repo::rows::record::{ItemRecord, RepoRecord};
use crate::repo::shown::is_pinned_within;
use crate::repo::{Inner, reclaim, rows};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId, Rev};

/// Items of one page: each may need a manifest read.
const ITEMS: usize = PAGE / 5;

/// One item as its key says.
pub(in crate::repo::check) struct Item<'a> {
    pub id: RepoId,
    pub name: Name<'a>,
    pub past: bool,
    pub added: Rev,
    key: &'a [u8],
    value: &'a [u8],
    pub repo: String,
}

impl Item<'_> {
    /// The item in words.
    pub fn text(&self) -> String {
        let state = if self.past { "past " } else { "" };
        let (name, added) = (self.name, self.added.0);
        format!("{state}{name} of {} (revision {added})", self.repo)
    }

    /// A problem of this item, with the tag or digest that it touches.
    pub fn problem(&self, kind: ProblemKind, what: String) -> Problem {
        let mut problem = Problem::new(kind, what).repo(&self.repo);
        if let Some(digest) = self.name.as_manifest() {
            problem = problem.digest(&digest);
        }
        if let Some(tag) = self.name.as_tag().filter(|_| !self.past) {
            problem.tags = vec![format!("{}:{tag}", self.repo)];
        }
        problem
    }

    /// The item's row as a condition.
    pub fn why(&self) -> crate::repo::check::mend::Cell {
        (Table::Items, self.key.to_vec(), Some(self.value.to_vec()))
    }
}

/// One page of items.
pub(in crate::repo::check) fn page(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Items, from, &[], ITEMS)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        match keys::of_item(key) {
            Some(item) => one(walk, inner, r, item, (key, value))?,
            None => walk.tell(
                Problem::new(
                    ProblemKind::ItemUnreadable,
                    format!("an item's row with the key {}", walk::hex(key)),
                )
                .how("items are never dropped by guess; restore it from a backup"),
            ),
        }
    }
    Ok(walk::next(&rows, ITEMS))
}

fn one(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    item: ItemKey<'_>,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    let id = item.id;
    let record = record(walk, r, id)?;
    let item = Item {
        id,
        name: item.name,
        past: item.past,
        added: item.added,
        key,
        value,
        repo: match &record {
            Some(record) => record.name.clone(),
            None => format!("(repository number {})", id.0),
        },
    };
    let Ok(row) = ItemRecord::from_bytes(value) else {
        walk.unsure.insert(id.0);
        let problem = item.problem(ProblemKind::ItemUnreadable, item.text());
        walk.tell(problem.how("push it again; its row is never dropped by guess"));
        return Ok(());
    };
    count(walk, &item, &row);
    if let Some(why) = contradiction(&item, &row) {
        walk.unsure.insert(id.0);
        let problem = item.problem(
            ProblemKind::ItemInconsistent,
            format!("{}: {why}", item.text()),
        );
        walk.tell(problem.how("push it again, or restore its row from a backup"));
        return Ok(());
    }
    let Some(record) = record else {
        expected_only(walk, inner, r, &item, &row);
        return Ok(());
    };
    if is_going(walk, r, &record, &item, &row)? {
        expected_only(walk, inner, r, &item, &row);
        return Ok(());
    }
    changes(walk, r, &record, &item, &row)?;
    match &item.name.as_manifest() {
        None if item.name.class() == Class::Path => file_rows(walk, r, &item, &row),
        None => tag_rows(walk, r, &item, &row),
        Some(digest) => {
            let inspected = inspected(walk, inner, r, digest, &row.media_type);
            manifest_rows(walk, r, &item, digest, &row, inspected.as_ref())
        }
    }
}

/// The row of an item's repository, if it is there and can be read.
fn record(walk: &mut Walk, r: &Read<'_>, id: RepoId) -> Result<Option<RepoRecord>, RepoError> {
    Ok(match walk::owner(r, id)? {
        Owner::There(record) => Some(record),
        Owner::Unreadable => None,
        Owner::Gone => {
            walk.repo_missing(id);
            None
        }
    })
}

/// Takes the row into what the repository has seen and shows.
fn count(walk: &mut Walk, item: &Item<'_>, row: &ItemRecord) {
    walk.saw_rev(item.id, item.added.0);
    if item.past {
        if row.removed != Rev::NEVER.0 {
            walk.saw_rev(item.id, row.removed);
        }
        return;
    }
    let usage = walk.usage.entry(item.id.0).or_default();
    usage.add(item.name.class(), row.size);
}

fn contradiction(item: &Item<'_>, row: &ItemRecord) -> Option<&'static str> {
    if item.past == (row.removed == Rev::NEVER.0) {
        return Some("live and removed at once");
    }
    // One that is hidden is about to go.
    let is_hidden = item.past && row.is_hidden(item.added);
    if row.removed <= item.added.0 && !is_hidden {
        return Some("removed before it was added");
    }
    let Some(target) = row.digest() else {
        return Some("its digest cannot be read");
    };
    let is_another = item.name.as_manifest().is_some_and(|own| own != target);
    is_another.then_some("it names another manifest than its own")
}

/// Whether the collector is about to drop the item, and may have dropped some of its rows.
fn is_going(
    walk: &Walk,
    r: &Read<'_>,
    record: &RepoRecord,
    item: &Item<'_>,
    row: &ItemRecord,
) -> Result<bool, RepoError> {
    if record.deleted || (item.past && row.is_hidden(item.added)) {
        return Ok(true);
    }
    if item.past && row.removed <= record.horizon {
        // Unless a revision that shows it is kept.
        return Ok(!is_pinned_within(r, item.id, item.added, Rev(row.removed))?);
    }
    let manifest = item.name.as_manifest().filter(|_| item.past);
    Ok(manifest.is_some_and(|digest| {
        let added = item.added.0.to_be_bytes();
        let what = [keys::due_in(item.id, &digest).as_slice(), &added].concat();
        walk.has_due(DueKind::Past as u8, &what)
    }))
}

/// Notes what an item's references are, without asking whether they are there.
fn expected_only(walk: &mut Walk, inner: &Inner, r: &Read<'_>, item: &Item<'_>, row: &ItemRecord) {
    if let Some(digest) = &item.name.as_manifest()
        && let Some(inspected) = inspected(walk, inner, r, digest, &row.media_type)
    {
        for child in &inspected.children {
            for class in [Class::Manifest, Class::Wanted] {
                let key = keys::manifest_ref(&child.digest, item.id, class, digest, item.added);
                walk.expect_ref(&key);
            }
        }
    }
}

fn changes(
    walk: &mut Walk,
    r: &Read<'_>,
    record: &RepoRecord,
    item: &Item<'_>,
    row: &ItemRecord,
) -> Result<(), RepoError> {
    let mut revs = vec![item.added];
    if item.past {
        revs.push(Rev(row.removed));
        let what = keys::due_rev(item.id, Rev(row.removed));
        // Behind the horizon only a pin keeps it, and it is looked at when that goes.
        if row.removed > record.horizon && !walk.has_due(DueKind::History as u8, &what) {
            let suspect = Suspect::History(item.id, Rev(row.removed));
            walk.suspects.push(suspect);
        }
    }
    for rev in revs {
        let key = keys::change(item.id, rev, &item.name);
        if r.get(Table::Changes, &key)?.is_none() {
            let what = format!("the change at revision {} of {}", rev.0, item.text());
            let problem = item.problem(ProblemKind::ChangeMissing, what);
            let mend = Mend::write(item.why(), Table::Changes, key, Vec::new());
            walk.mend(problem, mend);
        }
        super::history::head_of(walk, r, item.id, rev, &item.repo)?;
    }
    Ok(())
}

/// A reference of an item that must be there.
pub(in crate::repo::check) fn expect(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    (table, key): (Table, Vec<u8>),
    digest: &Digest,
) -> Result<(), RepoError> {
    walk.expect_ref(&key);
    if r.get(table, &key)?.is_none() {
        walk.excuse(item.id, digest);
        let what = format!("the reference of {} to {digest}", item.text());
        let problem = item.problem(ProblemKind::RefMissing, what).digest(digest);
        let mend = Mend::write(item.why(), table, key, Vec::new());
        walk.mend(problem, mend);
    }
    Ok(())
}

/// A file's reference, and that its content is counted among the live ones.
fn file_rows(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    row: &ItemRecord,
) -> Result<(), RepoError> {
    let Some(target) = row.digest() else {
        return Ok(());
    };
    let key = keys::item_ref(&target, item.id, &item.name, item.added);
    expect(walk, r, item, (Table::Refs, key), &target)?;
    let counted = keys::files(&target, item.id);
    if !item.past && r.get(Table::Mentions, &counted)?.is_none() {
        let (live, first) = refs::files_of(r, item.id, &target)?;
        // Once for the content, however many files have it.
        if first.is_none_or(|(path, added)| {
            (Name::new(Class::Path, path.as_bytes()), added) != (item.name, item.added)
        }) {
            return Ok(());
        }
        let what = format!(
            "{} counts no live files with the content {target}; it has {live}",
            item.repo
        );
        let problem = item.problem(ProblemKind::FilesWrong, what);
        refs::tell_files(walk, item.id, (&target, live), None, problem);
    }
    Ok(())
}

fn tag_rows(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    row: &ItemRecord,
) -> Result<(), RepoError> {
    let Some(target) = row.digest() else {
        return Ok(());
    };
    let key = keys::item_ref(&target, item.id, &item.name, item.added);
    expect(walk, r, item, (Table::Refs, key), &target)?;
    if item.past || has_manifest(r, item.id, &target)? {
        return Ok(());
    }
    let mut lost = false;
    let (from, to) = keys::refs_in(&target, item.id, Class::Manifest).range();
    for (key, _) in r.scan(Table::Refs, &from, &to, PAGE)? {
        let parent = keys::ref_head(&key).and_then(|(_, _, rest)| keys::parent_of(rest));
        if let Some((parent, added)) = parent.filter(|(parent, _)| *parent == target) {
            lost |= super::refs::lost_item(walk, r, item.id, &Name::manifest(&parent), added)?;
        }
    }
    if !lost {
        let what = format!("{} means {target}, which is not there", item.text());
        let problem = item.problem(ProblemKind::TagDangling, what).digest(&target);
        walk.tell(problem.how("push the manifest again, restore the tag, or delete it"));
    }
    Ok(())
}

fn manifest_rows(
    walk: &mut Walk,
    r: &Read<'_>,
    item: &Item<'_>,
    digest: &Digest,
    row: &ItemRecord,
    inspected: Option<&Inspected>,
) -> Result<(), RepoError> {
    let own = keys::manifest_ref(digest, item.id, Class::Manifest, digest, item.added);
    expect(walk, r, item, (Table::Refs, own), digest)?;
    for child in inspected.iter().flat_map(|i| &i.children) {
        children::child_rows(walk, r, item, digest, child)?;
    }
    children::referrer(walk, r, item, digest, row, inspected)?;
    if !item.past && !is_needed(r, item.id, digest, row)? {
        let mut noted = walk.has_due(DueKind::Untagged as u8, &keys::due_in(item.id, digest));
        if let Ok(subject) = Digest::from_key(&row.own) {
            noted |= walk.has_due(DueKind::Subject as u8, &keys::due_in(item.id, &subject));
        }
        if !noted {
            walk.suspects.push(Suspect::Untagged(item.id, *digest));
        }
    }
    Ok(())
}

/// A manifest whose surroundings cannot be read counts as needed: those rows are told of by their own page.
pub(in crate::repo::check) fn is_needed(
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
    row: &ItemRecord,
) -> Result<bool, RepoError> {
    Ok(walk::readable(reclaim::is_needed(r, id, digest, row))?.unwrap_or(true))
}

/// The live row of a manifest, if it can be read.
pub(in crate::repo::check) fn live_manifest(
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<Option<(Rev, ItemRecord)>, RepoError> {
    Ok(walk::readable(rows::live(r, id, &Name::manifest(digest)))?.flatten())
}
