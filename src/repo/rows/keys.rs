//! The key shapes of the repository tables (DESIGN.md section 3), on one page.

use crate::store::Table;
use crate::store::key::{Key, Parts};
pub use crate::types::{Class, Name};
use crate::types::{Digest, Form, RepoId, Rev, UploadId};

/// The table of a class's rows by digest: what keeps the bytes stands apart from what only names them, so that one seek says
/// whether anything keeps a digest, however many repositories name it.
pub fn table(class: Class) -> Table {
    if class.facts().keeps {
        Table::Refs
    } else {
        Table::Mentions
    }
}

/// A pin's owner is a snapshot; its title follows.
const SNAPSHOT: u8 = 1;

/// How the rows of `meta` begin that name repositories which are no registries.
const TREES: &[u8] = b"tree ";

/// What a `due` row asks to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueKind {
    /// A link's lease ends: digest, repository id.
    Lease = 1,
    /// A digest may have no reference left: digest.
    Orphan = 2,
    /// A manifest may have no tag left: repository id, digest. The value is the running time since when (ms), 0 for
    /// one whose history is over.
    Untagged = 3,
    /// A revision closed rows, which the history need not keep any longer: repository id, revision. The value is the
    /// running time when it did (ms).
    History = 4,
    /// A manifest was closed: those that refer to it may have nothing left to stand for. Repository id, digest, and
    /// where in its referrers to go on.
    Subject = 5,
    /// The collector closed a manifest: its past row goes without waiting for the history. Repository id, digest,
    /// added revision.
    Past = 6,
    /// A repository was deleted, its rows are to go: repository id.
    Repo = 7,
    /// A manifest was closed: links to blobs that only the history needs now are to end. Repository id, digest.
    Closed = 8,
    /// A manifest was closed a lease ago: the list of what refers to it, under the tag made of its digest, is to go with it.
    /// Repository id, digest.
    List = 9,
    /// A revision is kept no longer by something: rows that only it kept are to go. Repository id, revision.
    Unpinned = 10,
    /// A snapshot's time ends: repository id, title.
    Snapshot = 11,
}

impl DueKind {
    /// The kind of a stored code.
    pub fn of(code: u8) -> Option<Self> {
        [
            Self::Lease,
            Self::Orphan,
            Self::Untagged,
            Self::History,
            Self::Subject,
            Self::Past,
            Self::Repo,
            Self::Closed,
            Self::List,
            Self::Unpinned,
            Self::Snapshot,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == code)
    }
}

/// Adds a name to a key, as its class writes it.
fn add(key: Key, name: &Name<'_>) -> Key {
    match name.as_text() {
        Some(text) => key.text(text),
        None => key.raw(name.bytes()),
    }
}

/// The name of this class that a piece of a key begins with, and what follows it.
fn name_in(class: Class, key: &[u8]) -> Option<(Name<'_>, &[u8])> {
    match class.facts().name? {
        Form::Text => {
            let mut parts = Parts(key);
            let text = parts.text()?;
            Some((Name::new(class, text.as_bytes()), parts.rest()))
        }
        Form::Digest => {
            let (_, rest) = Digest::split_key(key).ok()?;
            let (name, rest) = key.split_at(key.len() - rest.len());
            Some((Name::new(class, name), rest))
        }
    }
}

/// `names`: name.
pub fn name(name: &str) -> Vec<u8> {
    Key::new().text(name).done()
}

/// `meta`: the name of a repository that is no registry; the value is its number.
pub fn tree(name: &str) -> Vec<u8> {
    Key::new().raw(TREES).text(name).done()
}

/// `meta` from and to: all repositories that are no registries.
pub fn trees() -> (Vec<u8>, Vec<u8>) {
    Key::new().raw(TREES).range()
}

/// The name in such a row's key.
pub fn name_of_tree(key: &[u8]) -> Option<&str> {
    Parts(key.strip_prefix(TREES)?).text()
}

/// `meta` from and to: the repositories that are no registries and whose names begin with `name/`.
pub fn trees_below(name: &str) -> (Vec<u8>, Vec<u8>) {
    Key::new().raw(TREES).raw(name.as_bytes()).raw(b"/").range()
}

/// `repos`, `usage`: id.
pub fn repo(id: RepoId) -> Vec<u8> {
    Key::new().u64(id.0).done()
}

/// `items`: all rows of a class, live or past.
pub fn items(id: RepoId, class: Class, past: bool) -> Key {
    Key::new().u64(id.0).u8(class.code()).u8(u8::from(past))
}

/// `items`: all rows of one name.
pub fn item_rows(id: RepoId, name: &Name<'_>, past: bool) -> Key {
    add(items(id, name.class(), past), name)
}

/// `items`: one row.
pub fn item(id: RepoId, name: &Name<'_>, past: bool, added: Rev) -> Vec<u8> {
    item_rows(id, name, past).not_u64(added.0).done()
}

/// The name and added revision of the key of an item whose class has texts as names.
pub fn text_of_item(key: &[u8]) -> Option<(&str, Rev)> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u8()?;
    parts.u8()?;
    Some((parts.text()?, Rev(parts.not_u64()?)))
}

/// The digest and added revision of a manifest's item key.
pub fn manifest_of_item(key: &[u8]) -> Option<(Digest, Rev)> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u8()?;
    parts.u8()?;
    Some((parts.digest()?, Rev(parts.not_u64()?)))
}

/// What an item's key says.
#[derive(Debug, Clone, Copy)]
pub struct ItemKey<'a> {
    /// Its repository.
    pub id: RepoId,
    /// Whether it is in the past.
    pub past: bool,
    /// Its name.
    pub name: Name<'a>,
    /// The revision that added it.
    pub added: Rev,
}

/// An item's key, taken apart; none for one that no item of this version has.
pub fn of_item(key: &[u8]) -> Option<ItemKey<'_>> {
    let mut parts = Parts(key);
    let id = RepoId(parts.u64()?);
    let class = Class::of(parts.u8()?)?;
    let past = match parts.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let (name, rest) = name_in(class, parts.rest())?;
    let mut parts = Parts(rest);
    let added = Rev(parts.not_u64()?);
    parts.rest().is_empty().then_some(ItemKey {
        id,
        past,
        name,
        added,
    })
}

/// The added revision of an item key.
pub fn added_of_item(key: &[u8]) -> Option<Rev> {
    of_item(key).map(|item| item.added)
}

/// `changes`: the head row of a revision.
pub fn change_head(id: RepoId, rev: Rev) -> Vec<u8> {
    Key::new().u64(id.0).u64(rev.0).u8(0).done()
}

/// The name in a key of `changes`; none in the head row of its revision.
pub fn name_of_change(key: &[u8]) -> Option<Name<'_>> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u64()?;
    let class = Class::of(parts.u8()?)?;
    name_in(class, parts.rest()).map(|(name, _)| name)
}

/// The revision of a key of `changes`.
pub fn rev_of_change(key: &[u8]) -> Option<Rev> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u64().map(Rev)
}

/// `changes` from and to: the changed names of a revision.
pub fn change_names(id: RepoId, rev: Rev) -> (Vec<u8>, Vec<u8>) {
    let (_, to) = Key::new().u64(id.0).u64(rev.0).range();
    (Key::new().u64(id.0).u64(rev.0).u8(1).done(), to)
}

/// `items`, `changes`, `referrers`, `fills`: all rows of a repository.
pub fn of_repo(id: RepoId) -> Key {
    Key::new().u64(id.0)
}

/// `changes`: one changed name.
pub fn change(id: RepoId, rev: Rev, name: &Name<'_>) -> Vec<u8> {
    let key = Key::new().u64(id.0).u64(rev.0).u8(name.class().code());
    add(key, name).done()
}

/// `refs`, `mentions`: all of a digest.
pub fn refs(digest: &Digest) -> Key {
    Key::new().raw(digest.as_key())
}

/// `refs`, `mentions` ([`table`]): all of a digest in one repository and class.
pub fn refs_in(digest: &Digest, id: RepoId, class: Class) -> Key {
    refs(digest).u64(id.0).u8(class.code())
}

/// `refs`: the link.
pub fn link(digest: &Digest, id: RepoId) -> Vec<u8> {
    refs_in(digest, id, Class::Link).done()
}

/// `mentions`: the lease of a manifest.
pub fn held(digest: &Digest, id: RepoId) -> Vec<u8> {
    refs_in(digest, id, Class::Held).done()
}

/// `mentions`: how a manifest with a subject came.
pub fn part(digest: &Digest, id: RepoId) -> Vec<u8> {
    refs_in(digest, id, Class::Part).done()
}

/// `mentions`: how many live files of one repository have this content.
pub fn files(digest: &Digest, id: RepoId) -> Vec<u8> {
    refs_in(digest, id, Class::Path).done()
}

/// `pins`: all of a repository.
pub fn pins(id: RepoId) -> Key {
    Key::new().u64(id.0)
}

/// `pins`: a snapshot keeps a revision.
pub fn pin(id: RepoId, rev: Rev, title: &str) -> Vec<u8> {
    pins(id).u64(rev.0).u8(SNAPSHOT).text(title).done()
}

/// The revision of a pin's key.
pub fn rev_of_pin(key: &[u8]) -> Option<Rev> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u64().map(Rev)
}

/// Repository, revision and title of a snapshot's pin; none for the key of another.
pub fn pin_of_snapshot(key: &[u8]) -> Option<(RepoId, Rev, &str)> {
    let mut parts = Parts(key);
    let (id, rev) = (RepoId(parts.u64()?), Rev(parts.u64()?));
    let title = (parts.u8()? == SNAPSHOT).then(|| parts.text())??;
    parts.rest().is_empty().then_some((id, rev, title))
}

/// `snapshots`: all of a repository.
pub fn snapshots(id: RepoId) -> Key {
    Key::new().u64(id.0)
}

/// `snapshots`: one.
pub fn snapshot(id: RepoId, title: &str) -> Vec<u8> {
    snapshots(id).text(title).done()
}

/// Repository and title of a snapshot's key.
pub fn snapshot_parts(key: &[u8]) -> Option<(RepoId, &str)> {
    let mut parts = Parts(key);
    let found = (RepoId(parts.u64()?), parts.text()?);
    parts.rest().is_empty().then_some(found)
}

/// What a `due` row of a snapshot names.
pub fn due_snapshot(id: RepoId, title: &str) -> Vec<u8> {
    Key::new().u64(id.0).text(title).done()
}

/// `refs` from and to: what keeps a digest in one repository beside its link: its items, live or past.
pub fn keepers(digest: &Digest, id: RepoId) -> (Vec<u8>, Vec<u8>) {
    // The link's class is the first.
    let from = refs(digest).u64(id.0).u8(Class::Link.code() + 1).done();
    let (_, to) = refs(digest).u64(id.0).range();
    (from, to)
}

/// `refs`: an item's own reference to what it means.
pub fn item_ref(target: &Digest, id: RepoId, name: &Name<'_>, added: Rev) -> Vec<u8> {
    let key = refs_in(target, id, name.class());
    add(key, name).u64(added.0).done()
}

/// `refs`: a manifest needs the digest; `mentions`: it wants it ([`table`]).
pub fn manifest_ref(
    digest: &Digest,
    id: RepoId,
    class: Class,
    parent: &Digest,
    added: Rev,
) -> Vec<u8> {
    refs_in(digest, id, class)
        .raw(parent.as_key())
        .u64(added.0)
        .done()
}

/// Repository id and class of a reference's key.
pub fn ref_head(key: &[u8]) -> Option<(RepoId, u8, &[u8])> {
    let mut parts = Parts(key);
    parts.digest()?;
    let id = RepoId(parts.u64()?);
    let class = parts.u8()?;
    Some((id, class, parts.rest()))
}

/// Parent and added revision of the rest of a manifest reference's key.
pub fn parent_of(rest: &[u8]) -> Option<(Digest, Rev)> {
    let mut parts = Parts(rest);
    Some((parts.digest()?, Rev(parts.u64()?)))
}

/// Name and added revision of the rest of the key of a reference whose class has texts as names.
pub fn text_of_ref(rest: &[u8]) -> Option<(&str, Rev)> {
    let mut parts = Parts(rest);
    Some((parts.text()?, Rev(parts.u64()?)))
}

/// `referrers`: all of a subject, live or past.
pub fn referrers(id: RepoId, past: bool, subject: &Digest) -> Key {
    Key::new()
        .u64(id.0)
        .u8(u8::from(past))
        .raw(subject.as_key())
}

/// `referrers`: one row.
pub fn referrer(
    id: RepoId,
    past: bool,
    subject: &Digest,
    artifact_type: &str,
    digest: &Digest,
    added: Rev,
) -> Vec<u8> {
    referrers(id, past, subject)
        .text(artifact_type)
        .raw(digest.as_key())
        .not_u64(added.0)
        .done()
}

/// Artifact type and digest of a referrer row's key.
pub fn referrer_parts(key: &[u8]) -> Option<(&str, Digest)> {
    let mut parts = Parts(key);
    parts.u64()?;
    parts.u8()?;
    parts.digest()?;
    Some((parts.text()?, parts.digest()?))
}

/// The added revision of a referrer row's key.
pub fn added_of_referrer(key: &[u8]) -> Option<Rev> {
    let (_, end) = key.split_at_checked(key.len().checked_sub(8)?)?;
    Parts(end).not_u64().map(Rev)
}

/// `due`: when (running ms), what to look at.
pub fn due(at: u64, kind: DueKind, what: &[u8]) -> Vec<u8> {
    Key::new().u64(at).u8(kind as u8).raw(what).done()
}

/// What a `due` row of a repository and digest names.
pub fn due_in(id: RepoId, digest: &Digest) -> Vec<u8> {
    Key::new().u64(id.0).raw(digest.as_key()).done()
}

/// What a `due` row of a link names.
pub fn due_link(digest: &Digest, id: RepoId) -> Vec<u8> {
    Key::new().raw(digest.as_key()).u64(id.0).done()
}

/// What a `due` row of a revision names.
pub fn due_rev(id: RepoId, rev: Rev) -> Vec<u8> {
    Key::new().u64(id.0).u64(rev.0).done()
}

/// Time, kind and what of a `due` row's key.
pub fn due_parts(key: &[u8]) -> Option<(u64, DueKind, &[u8])> {
    let mut parts = Parts(key);
    Some((parts.u64()?, DueKind::of(parts.u8()?)?, parts.rest()))
}

/// `uploads`: id.
pub fn upload(id: UploadId) -> Vec<u8> {
    id.0.to_vec()
}

/// `fills`: repository, digest.
pub fn fill(id: RepoId, digest: &Digest) -> Vec<u8> {
    Key::new().u64(id.0).raw(digest.as_key()).done()
}

/// Repository and digest of a fill's key.
pub fn fill_parts(key: &[u8]) -> Option<(RepoId, Digest)> {
    let mut parts = Parts(key);
    let found = (RepoId(parts.u64()?), parts.digest()?);
    parts.rest().is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KEY_LIMIT;
    use crate::types::{Algorithm, FilePath, RepoName, Tag, Title};

    #[test]
    fn the_longest_key_of_every_table_is_within_the_limit_of_every_engine() {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        let (id, rev) = (RepoId(u64::MAX - 1), Rev(u64::MAX - 1));
        let (repo, title) = ("r".repeat(RepoName::MAX), "t".repeat(Title::MAX));
        let mut keys = vec![
            name(&repo),
            tree(&repo),
            pin(id, rev, &title),
            snapshot(id, &title),
            due(u64::MAX, DueKind::Lease, &due_snapshot(id, &title)),
            due(u64::MAX, DueKind::Lease, &due_link(&digest, id)),
            // Artifact types are at most as long.
            referrer(id, true, &digest, &"a".repeat(255), &digest, rev),
            manifest_ref(&digest, id, Class::Manifest, &digest, rev),
            fill(id, &digest),
        ];
        let (tag, path) = ("x".repeat(Tag::MAX), "x".repeat(FilePath::MAX));
        let (tag, path): (Tag, FilePath) =
            (tag.parse().expect("a tag"), path.parse().expect("a path"));
        for name in [
            Name::tag(tag.as_str()),
            Name::manifest(&digest),
            Name::path(&path),
        ] {
            keys.push(item(id, &name, true, rev));
            keys.push(change(id, rev, &name));
            keys.push(item_ref(&digest, id, &name, rev));
        }
        let longest = keys.iter().map(Vec::len).max();
        assert_eq!(longest, Some(65 + 8 + 1 + FilePath::MAX + 1 + 8));
        assert!(longest <= Some(KEY_LIMIT));
    }
}
