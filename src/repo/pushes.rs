//! What pushes a repository takes: the one place that every method of an upload, a mount and a pushed manifest ask,
//! before bytes come and again inside the transaction that decides.
//!
//! A mirror takes what is attached to its manifests, and nothing that could stand for an image: its other tags mean what
//! the other registry says. What was attached here is not the other registry's, so its runs leave it ([`without_ours`]).

use super::error::RepoError;
use super::home::Home;
use super::images::edit::NewManifest;
use super::rows::keys::{self, Class, Name};
use super::rows::record::{RepoRecord, SourceRecord};
use super::{MovedTag, Origin, Repos, is_unborn, rows};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{AttachedTag, Digest, Kind, MediaType, Reference, RepoId, RepoName, Tag};

/// What of a push a repository takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushes {
    /// Everything.
    All,
    /// Blobs, and manifests that are attached to one that is here.
    Attachments,
    /// Nothing: its content comes from elsewhere.
    Nothing,
}

impl Pushes {
    /// By the repository's row. A mirror whose first run never ended is nobody's yet: a push takes its name.
    pub fn of(record: &RepoRecord) -> Self {
        if record.origin == Origin::Local.code() || is_unborn(record) {
            Self::All
        } else if record.attachments {
            Self::Attachments
        } else {
            Self::Nothing
        }
    }

    /// Refuses every push where nothing is taken; `name` is for the error.
    fn admit(self, name: &RepoName) -> Result<(), RepoError> {
        match self {
            Self::All | Self::Attachments => Ok(()),
            Self::Nothing => Err(RepoError::ReadOnly(name.clone())),
        }
    }
}

/// The repository that a name means to pushes; `None` if the first push makes it. One that takes none refuses. Of a
/// manifest it is to be asked as well whether just this one is taken.
pub(super) fn home(
    get: &impl Get,
    name: &RepoName,
    kind: Kind,
) -> Result<Option<(RepoId, RepoRecord)>, RepoError> {
    let Some((id, record)) = rows::find(get, name.as_str())? else {
        return Ok(None);
    };
    is_of(name, &record, kind)?;
    Pushes::of(&record).admit(name)?;
    Ok((!is_unborn(&record)).then_some((id, record)))
}

/// Refuses a repository that is of another kind.
pub(super) fn is_of(name: &RepoName, record: &RepoRecord, kind: Kind) -> Result<(), RepoError> {
    if record.kind == kind.code() {
        return Ok(());
    }
    Err(RepoError::OtherKind {
        name: name.clone(),
        is: Kind::of(record.kind),
        wanted: kind,
    })
}

/// The repository of images of a push, made if it is not there, as [`home`] has it. One whose first mirror run never ended becomes
/// local.
pub(super) fn home_or_new(
    tx: &mut Txn<'_>,
    name: &RepoName,
    at_ms: u64,
) -> Result<(RepoId, RepoRecord), RepoError> {
    if let Some(found) = home(tx, name, Kind::Oci)? {
        return Ok(found);
    }
    let local = Origin::Local.code();
    let Some((id, mut record)) = rows::find(tx, name.as_str())? else {
        return rows::create(tx, name, Kind::Oci, local, at_ms);
    };
    record.origin = local;
    tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
    Ok((id, record))
}

/// Refuses the bytes of an upload that was begun for `repo`, unless the name still means just that repository and it
/// takes pushes: one that was deleted meanwhile, and perhaps made anew, has nothing of it.
pub(super) fn same_home(
    get: &impl Get,
    name: &RepoName,
    kind: Kind,
    repo: RepoId,
) -> Result<(), RepoError> {
    match home(get, name, kind)? {
        Some((id, _)) if id == repo => Ok(()),
        _ => Err(RepoError::UploadUnknown),
    }
}

/// Refuses a pushed manifest that its repository (of this row) does not take. Looks at two rows for each of its tags, and at
/// one for each manifest that it lists, which are as many as its references.
pub(super) fn take_manifest(
    get: &impl Get,
    name: &RepoName,
    (id, record): (RepoId, &RepoRecord),
    new: &NewManifest,
) -> Result<(), RepoError> {
    match Pushes::of(record) {
        Pushes::All => return Ok(()),
        Pushes::Nothing => return Err(RepoError::ReadOnly(name.clone())),
        Pushes::Attachments => {}
    }
    let refuse = |why: String| {
        let name = name.clone();
        Err(RepoError::NotAttached { name, why })
    };
    // As another type the same bytes would be another manifest to clients, whoever brought it.
    if let Some((_, item)) = rows::live(get, id, &Name::manifest(&new.digest))?
        && item.media_type != new.inspected.media_type.as_str()
    {
        return refuse(format!(
            "manifest {} is here as {}",
            new.digest, item.media_type
        ));
    }
    if new.tags.is_empty() {
        return match &new.inspected.subject {
            None => refuse(format!("manifest {} has no subject", new.digest)),
            Some(subject) if rows::live(get, id, &Name::manifest(subject))?.is_none() => {
                refuse(format!("the subject {subject} is not here"))
            }
            Some(_) => Ok(()),
        };
    }
    for tag in &new.tags {
        let (attached, subject) = match tag_of(get, id, tag)? {
            Ok(found) => found,
            Err(why) => return refuse(why),
        };
        if attached.is_list()
            && let Some(why) = no_list(get, id, new, &subject)?
        {
            return refuse(why);
        }
    }
    Ok(())
}

/// Such a tag, with the live manifest that it is made of; else why it is not taken.
fn tag_of(
    get: &impl Get,
    id: RepoId,
    tag: &Tag,
) -> Result<Result<(AttachedTag, Digest), String>, StoreError> {
    let Some(attached) = AttachedTag::read(tag.as_str()) else {
        return Ok(Err(format!("{tag} is no such tag")));
    };
    let rows = keys::items(id, Class::Manifest, false).raw(attached.start());
    let (from, to) = rows.range();
    let found = get.scan(Table::Items, &from, &to, 1)?.pop();
    let found = found.and_then(|(key, _)| keys::manifest_of_item(&key));
    Ok(match found {
        Some((subject, _)) => Ok((attached, subject)),
        None => Err(format!("the manifest that {tag} is made of is not here")),
    })
}

/// Why a manifest cannot lie under the tag that lists what refers to `subject`: it neither lists only such nor is one.
fn no_list(
    get: &impl Get,
    id: RepoId,
    new: &NewManifest,
    subject: &Digest,
) -> Result<Option<String>, StoreError> {
    let inspected = &new.inspected;
    if inspected.subject == Some(*subject) {
        return Ok(None);
    }
    if inspected.media_type.as_str() != MediaType::OCI_INDEX {
        return Ok(Some(format!(
            "what lies under {} must be an index of what refers to {subject}",
            AttachedTag::list_of(subject)
        )));
    }
    for child in &inspected.children {
        let entry = rows::live(get, id, &Name::manifest(&child.digest))?;
        let refers = entry.is_some_and(|(_, item)| item.own == subject.as_key());
        if !refers {
            return Ok(Some(format!(
                "{} lists {}, which does not refer to {subject}",
                new.digest, child.digest
            )));
        }
    }
    Ok(None)
}

/// What a mirror run brings, without the tags that were moved here, and those; `None` if it brings all as it is.
pub(super) fn without_ours(
    get: &impl Get,
    id: RepoId,
    new: &NewManifest,
) -> Result<Option<(NewManifest, Vec<MovedTag>)>, StoreError> {
    let mut kept = Vec::new();
    for tag in &new.tags {
        if let Some(here) = stays(get, id, tag, &new.digest)? {
            kept.push(MovedTag {
                tag: tag.clone(),
                here,
                brought: new.digest,
            });
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let mut rest = new.clone();
    rest.tags
        .retain(|tag| kept.iter().all(|kept| kept.tag != *tag));
    Ok(Some((rest, kept)))
}

/// What a tag means that a mirror run would move to `digest`, if it stays: it was moved here, and it is one of those under
/// which something is attached. Other tags mean what the last run found.
fn stays(
    get: &impl Get,
    id: RepoId,
    tag: &Tag,
    digest: &Digest,
) -> Result<Option<Digest>, StoreError> {
    if AttachedTag::read(tag.as_str()).is_none() {
        return Ok(None);
    }
    let live = rows::live(get, id, &Name::tag(tag.as_str()))?;
    let ours = live.filter(|(_, item)| matches!(item.source, SourceRecord::Push(_)));
    let means = ours.and_then(|(_, item)| item.digest());
    Ok(means.filter(|means| means != digest))
}

impl Repos {
    /// Refuses a push into a repository that takes none, before its bytes come.
    pub async fn check_pushes(&self, name: &RepoName) -> Result<(), RepoError> {
        self.home_of(name, Kind::Oci).await.map(drop)
    }

    /// The same of a manifest: what of it is known before its bytes.
    pub async fn check_manifest(
        &self,
        name: &RepoName,
        reference: &Reference,
        tags: &[Tag],
    ) -> Result<(), RepoError> {
        let found = self.home_of(name, Kind::Oci).await?;
        if found.is_none_or(|home| home.pushes == Pushes::All) {
            return Ok(());
        }
        let mut tags = tags.to_vec();
        if let Reference::Tag(tag) = reference {
            tags.push(tag.clone());
        }
        let name = name.clone();
        self.hop(move |_, r| {
            // It may be another one by now: then the commit says so.
            let Some((id, record)) = home(r, &name, Kind::Oci)? else {
                return Ok(());
            };
            if record.stage.is_some() {
                // The commit waits for what is about to change.
                return Ok(());
            }
            let tags = tags
                .iter()
                .filter(|_| Pushes::of(&record) == Pushes::Attachments);
            for tag in tags {
                if let Err(why) = tag_of(r, id, tag)? {
                    let name = name.clone();
                    return Err(RepoError::NotAttached { name, why });
                }
            }
            Ok(())
        })
        .await
    }

    /// As [`home`], from memory where the name is known there.
    pub(super) async fn home_of(
        &self,
        name: &RepoName,
        kind: Kind,
    ) -> Result<Option<Home>, RepoError> {
        let homes = &self.0.homes;
        let epoch = homes.epoch(name);
        if let Some(home) = homes.get(name, epoch).filter(|home| home.kind == kind) {
            return Ok(Some(home));
        }
        let wanted = name.clone();
        let found = self.hop(move |_, r| home(r, &wanted, kind)).await?;
        Ok(found.map(|(id, record)| {
            let pushes = Pushes::of(&record);
            let home = Home { id, kind, pushes };
            homes.found(name, home, epoch);
            home
        }))
    }
}
