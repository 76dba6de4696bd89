//! Lists of what refers to a manifest, under the tag `sha256-HEX` that is made of its digest. Clients that do not ask for
//! referrers keep them, or keep them beside: a new index for each change, and the old one deleted.
//!
//! Owns what makes a manifest such a list, and its deletion by those who may push but not delete. When one ends with its
//! manifest, the collector decides.

use crate::repo::bounded::{Asker, left};
use crate::repo::edit::{Context, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::manifest;
use crate::repo::images::read;
use crate::repo::pushes::Pushes;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::{Inner, Repos, rows, visible};
use crate::store::record::Record;
use crate::store::{Get, Need, Read, StoreError, Table, Txn};
use crate::types::{AttachedTag, Digest, Kind, MediaType, Reference, RepoId, RepoName, Tag};

/// Tags of a list that its deletion looks at, live or past: it has one, and had it once or twice.
const TAGS: usize = 64;

/// How far a manifest was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Looked {
    /// It is such a list: nothing is in it that does not refer to the manifest, and may be nothing at all; or it refers to
    /// the manifest itself.
    List,
    /// It may be meant otherwise.
    Other,
    /// So many entries refer to it.
    SoFar(usize),
}

/// Whether the manifest of this item is a list of what refers to the manifest that `tag` is made of; looks on behind `from`
/// entries, at least one, until `is_full`.
pub(in crate::repo) fn look(
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    (tag, item): (&AttachedTag, &ItemRecord),
    from: usize,
    is_full: impl Fn() -> bool,
) -> Result<Looked, RepoError> {
    let Some(digest) = item.digest() else {
        return Ok(Looked::Other);
    };
    let read = read::bytes_if_whole(inner, r, &digest)?;
    let Some(inspected) = read.and_then(|bytes| read::inspect(inner, &bytes, &item.media_type))
    else {
        return Ok(Looked::Other);
    };
    if let Some(subject) = &inspected.subject {
        let is_its = tag.is_of(subject);
        return Ok(if is_its { Looked::List } else { Looked::Other });
    }
    if inspected.media_type.as_str() != MediaType::OCI_INDEX {
        return Ok(Looked::Other);
    }
    for (n, child) in inspected.children.iter().enumerate().skip(from) {
        if n > from && is_full() {
            return Ok(Looked::SoFar(n));
        }
        let own = subject_of(r, id, &child.digest)?;
        if !child.is_listed || own.is_none_or(|own| !tag.is_of(&own)) {
            return Ok(Looked::Other);
        }
    }
    Ok(Looked::List)
}

/// What a manifest of the repository, live or past, refers to.
fn subject_of(get: &impl Get, id: RepoId, digest: &Digest) -> Result<Option<Digest>, StoreError> {
    for past in [false, true] {
        let (from, to) = keys::item_rows(id, &Name::manifest(digest), past).range();
        if let Some((_, row)) = get.scan(Table::Items, &from, &to, 1)?.pop() {
            return Ok(Digest::from_key(&ItemRecord::from_bytes(&row)?.own).ok());
        }
    }
    Ok(None)
}

/// A list that is to be deleted.
#[derive(Clone)]
struct Doomed {
    id: RepoId,
    digest: Digest,
    /// The tag that may mean it; `None`: any of this kind, for it is empty.
    tag: Option<String>,
    seen: usize,
}

impl Repos {
    /// Deletes a list of what refers to a manifest for somebody who may push there: by its tag that tag alone, by its digest
    /// the manifest, too, unless anything else than such a tag means it. `false`: it is no such list, or means more than
    /// that, and nothing was deleted.
    pub async fn delete_list(
        &self,
        name: &RepoName,
        reference: &Reference,
        who: &str,
        asker: Option<&Asker>,
    ) -> Result<bool, RepoError> {
        let (wanted, what) = (name.clone(), reference.clone());
        let step = move |inner: &Inner, r: &Read<'_>, state: &mut Option<Doomed>| {
            Ok(match doom(inner, r, &wanted, &what, state.as_ref())? {
                Judged::List(doomed) => Some(Some(doomed)),
                Judged::Other => Some(None),
                Judged::NotYet(so_far) => {
                    *state = Some(so_far);
                    None
                }
            })
        };
        let found = self
            .long_read(|inner| &inner.searches, asker, None, step)
            .await?;
        let Some(doomed) = found else {
            return Ok(false);
        };
        let (why, by_tag) = match reference {
            Reference::Tag(tag) => ("tag.delete", Some(tag.clone())),
            Reference::Digest(_) => ("manifest.delete", None),
        };
        let (context, wanted) = (self.context(who, why), name.clone());
        let change = self.unless_staged(Need::Removes, why, move |tx| {
            delete(tx, &wanted, &doomed, by_tag.as_ref(), &context)
        });
        let done = change.await?;
        if done {
            self.after_removal(name, None).await;
        }
        Ok(done)
    }
}

/// Deletes a list, or one tag of it alone; `false`: it is no such list any more, and nothing was deleted.
fn delete(
    tx: &mut Txn<'_>,
    name: &RepoName,
    doomed: &Doomed,
    by_tag: Option<&Tag>,
    context: &Context,
) -> Result<bool, RepoError> {
    let (id, record) = manifest::writable(tx, name)?;
    // Who may push nothing there may delete nothing by that right.
    if id != doomed.id || Pushes::of(&record) == Pushes::Nothing {
        return Ok(false);
    }
    let tags = match by_tag {
        Some(tag) => tag_if_it_means(tx, id, tag, &doomed.digest)?,
        None => all_tags(tx, doomed)?,
    };
    let Some(tags) = tags else {
        return Ok(false);
    };
    let mut change = Edit::open(tx, id, record, context)?;
    for tag in &tags {
        change.delete_tag(tag)?;
    }
    if by_tag.is_none() && !change.delete_manifest(&doomed.digest)? {
        return Err(RepoError::ManifestUnknown(doomed.digest.to_string()));
    }
    change.finish()?;
    Ok(true)
}

/// What is known of a manifest after a hop.
enum Judged {
    /// It is a list.
    List(Doomed),
    /// It is none.
    Other,
    /// So far it is one.
    NotYet(Doomed),
}

/// Looks on, one hop long, at what is to be deleted.
fn doom(
    inner: &Inner,
    r: &Read<'_>,
    name: &RepoName,
    reference: &Reference,
    before: Option<&Doomed>,
) -> Result<Judged, RepoError> {
    let Some((id, _)) = visible(r, name.as_str(), Kind::Oci)? else {
        return Ok(Judged::Other);
    };
    let (item, kind) = match reference {
        Reference::Tag(tag) => {
            let kind = AttachedTag::read(tag.as_str()).filter(AttachedTag::is_list);
            (rows::live(r, id, &Name::tag(tag.as_str()))?, kind)
        }
        Reference::Digest(digest) => {
            let item = rows::live(r, id, &Name::manifest(digest))?;
            let subject = first_subject(inner, r, id, item.as_ref().map(|(_, item)| item))?;
            let list = subject.map(|subject| AttachedTag::list_of(&subject));
            // An empty one is made of any manifest.
            let list = list.unwrap_or_else(|| AttachedTag::list_of(digest));
            (item, AttachedTag::read(&list))
        }
    };
    let (Some((_, item)), Some(kind)) = (item, kind) else {
        return Ok(Judged::Other);
    };
    let Some(digest) = item.digest() else {
        return Ok(Judged::Other);
    };
    let seen = before.filter(|s| (s.id, s.digest) == (id, digest));
    let seen = seen.map_or(0, |before| before.seen);
    let looked = look(inner, r, id, (&kind, &item), seen, || left(r) < 10)?;
    let subject = first_subject(inner, r, id, Some(&item))?;
    let doomed = |seen| Doomed {
        id,
        digest,
        tag: subject.map(|subject| AttachedTag::list_of(&subject)),
        seen,
    };
    Ok(match looked {
        Looked::List => Judged::List(doomed(0)),
        Looked::Other => Judged::Other,
        Looked::SoFar(seen) => Judged::NotYet(doomed(seen)),
    })
}

/// What the first entry of an index refers to.
fn first_subject(
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    item: Option<&ItemRecord>,
) -> Result<Option<Digest>, RepoError> {
    let Some((digest, item)) = item.and_then(|item| Some((item.digest()?, item))) else {
        return Ok(None);
    };
    let read = read::bytes_if_whole(inner, r, &digest)?;
    let inspected = read.and_then(|bytes| read::inspect(inner, &bytes, &item.media_type));
    match inspected.and_then(|inspected| Some(inspected.children.first()?.digest)) {
        Some(first) => Ok(subject_of(r, id, &first)?),
        None => Ok(None),
    }
}

/// The tag, if it means this digest.
fn tag_if_it_means(
    get: &impl Get,
    id: RepoId,
    tag: &Tag,
    digest: &Digest,
) -> Result<Option<Vec<String>>, RepoError> {
    let live = rows::live(get, id, &Name::tag(tag.as_str()))?;
    let item = live.ok_or_else(|| RepoError::ManifestUnknown(tag.to_string()))?;
    let is_it = item.1.digest() == Some(*digest);
    Ok(is_it.then(|| vec![tag.as_str().to_owned()]))
}

/// All tags that mean a list; `None` if something else than its own tag does, or a manifest names it.
fn all_tags(tx: &Txn<'_>, doomed: &Doomed) -> Result<Option<Vec<String>>, RepoError> {
    let (id, digest) = (doomed.id, &doomed.digest);
    let (from, to) = keys::refs_in(digest, id, Class::Manifest).range();
    let own = keys::refs_in(digest, id, Class::Manifest).raw(digest.as_key());
    let (own, behind) = own.range();
    for (from, to) in [(from, own), (behind, to)] {
        if from < to && !tx.scan(Table::Refs, &from, &to, 1)?.is_empty() {
            return Ok(None);
        }
    }
    let (from, to) = keys::refs_in(digest, id, Class::Tag).range();
    let refs = tx.scan(Table::Refs, &from, &to, TAGS + 1)?;
    if refs.len() > TAGS {
        return Ok(None);
    }
    let mut tags: Vec<String> = Vec::new();
    for (key, _) in &refs {
        let tag = keys::ref_head(key).and_then(|(_, _, rest)| keys::text_of_ref(rest));
        let Some((tag, _)) = tag else { continue };
        let live = rows::live(tx, id, &Name::tag(tag))?;
        if live.is_none_or(|(_, item)| item.digest() != Some(*digest))
            || tags.iter().any(|known| known == tag)
        {
            continue;
        }
        let is_its = match &doomed.tag {
            Some(its) => its == tag,
            None => AttachedTag::read(tag).is_some_and(|tag| tag.is_list()),
        };
        if !is_its {
            return Ok(None);
        }
        tags.push(tag.to_owned());
    }
    Ok(Some(tags))
}
