//! What a revision shows in one digest: SHA-256 over a line an item, sorted. Two repositories with the same content have the
//! same, whenever and in whatever order it came.
//!
//! A line is `CLASS 0x00 NAME 0x00 DIGEST 0x00 SIZE 0x00 MEDIA-TYPE 0x0a`: the class by its word, digests as
//! `ALGORITHM:HEX`, the size in decimal. Lines are sorted by class (tags, manifests, files), then by the bytes of the name.

use super::{SnapshotView, root_of};
use crate::repo::error::RepoError;
use crate::repo::history::items_at::ItemsAt;
use crate::repo::rows::keys::{self, ItemKey};
use crate::repo::rows::record::{ItemRecord, SnapshotRecord};
use crate::repo::shown::{At, any_shown};
use crate::repo::{Inner, Repos};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Read, StoreError, Table, Txn};
use crate::types::{Algorithm, Class, Digest, Hasher, RepoId, RepoName, Rev};

impl Repos {
    /// A snapshot, or any other revision that a reference means, with its root digest. That of a snapshot is computed once.
    ///
    /// # Errors
    /// [`RepoError::SnapshotUnknown`] for a reference that means nothing; [`RepoError::Refused`] for a revision that is not
    /// kept.
    pub async fn show_snapshot(&self, name: &RepoName, at: &At) -> Result<SnapshotView, RepoError> {
        let (wanted, when) = (name.clone(), at.clone());
        let found = self.hop(move |_, r| view(r, &wanted, &when));
        let (id, mut view) = found.await?;
        if view.root.is_some() {
            return Ok(view);
        }
        let root = self.root(name, at).await?;
        view.root = Some(root);
        if let Some(title) = view.title.clone() {
            let rev = view.rev;
            let keep = move |tx: &mut Txn<'_>| keep(tx, id, &title, rev, &root);
            let store = &self.0.store;
            let kept = store.write(Lane::Background, Need::Keeps, "snapshot.root", keep);
            if let Err(error) = kept.await {
                tracing::warn!(repo = %name, %error, "a root digest was not kept; it is computed again when it is asked for");
            }
        }
        Ok(view)
    }

    /// The root digest of what a repository shows.
    async fn root(&self, name: &RepoName, at: &At) -> Result<Digest, RepoError> {
        let (name, at) = (name.clone(), at.clone());
        let step = move |_: &Inner, r: &Read<'_>, root: &mut Root| {
            let shown = any_shown(r, &name, &at)?;
            // The head may have moved between two hops: it is begun again.
            if root.rev.is_some_and(|rev| rev != shown.rev) {
                *root = Root::begin();
            }
            root.rev = Some(shown.rev);
            while let Some(items) = root.classes.last_mut() {
                let hasher = &mut root.hasher;
                if !items.go_on(r, &shown, |item, row| line(hasher, item, &row))? {
                    return Ok(None);
                }
                root.classes.pop();
            }
            Ok(Some(root.hasher.clone().finish()))
        };
        self.long_read(|inner| &inner.listings, None, Root::begin(), step)
            .await
    }
}

/// A root digest in the making.
#[derive(Clone)]
struct Root {
    rev: Option<Rev>,
    /// Those that are left, the next one last.
    classes: Vec<ItemsAt>,
    hasher: Hasher,
}

impl Root {
    fn begin() -> Self {
        let mut classes: Vec<_> = Class::of_items().map(ItemsAt::begin).collect();
        classes.reverse();
        Self {
            rev: None,
            classes,
            hasher: Hasher::new(Algorithm::Sha256),
        }
    }
}

fn line(hasher: &mut Hasher, item: &ItemKey<'_>, row: &ItemRecord) {
    let name = match item.name.as_manifest() {
        Some(digest) => digest.to_string().into_bytes(),
        None => item.name.bytes().to_vec(),
    };
    let digest = row.digest().map(|digest| digest.to_string());
    let size = row.size.to_string();
    let parts: [&[u8]; 5] = [
        item.name.class().facts().word.as_bytes(),
        &name,
        digest.as_deref().unwrap_or_default().as_bytes(),
        size.as_bytes(),
        row.media_type.as_bytes(),
    ];
    hasher.update(&parts.join(&0));
    hasher.update(b"\n");
}

/// What is known of the revision that a reference means.
fn view(r: &Read<'_>, name: &RepoName, at: &At) -> Result<(RepoId, SnapshotView), RepoError> {
    let shown = any_shown(r, name, at)?;
    if let At::Named(title) = at
        && let Some(row) = r.get(Table::Snapshots, &keys::snapshot(shown.id, title))?
    {
        let record = SnapshotRecord::from_bytes(&row)?;
        let view = SnapshotView::of(name.as_str(), title, &record, r.running_ms());
        return Ok((shown.id, view));
    }
    let view = SnapshotView {
        name: name.to_string(),
        title: None,
        rev: shown.rev.0,
        created_ms: 0,
        created_by: String::new(),
        ends_in_ms: None,
        held: false,
        root: None,
    };
    Ok((shown.id, view))
}

/// Keeps a root digest with its snapshot, if that is still the one.
fn keep(
    tx: &mut Txn<'_>,
    id: RepoId,
    title: &str,
    rev: u64,
    root: &Digest,
) -> Result<(), StoreError> {
    let key = keys::snapshot(id, title);
    let Some(row) = tx.get(Table::Snapshots, &key)? else {
        return Ok(());
    };
    let mut record = SnapshotRecord::from_bytes(&row)?;
    if record.rev != rev || root_of(&record).is_some() {
        return Ok(());
    }
    record.root = Some(root.as_key().to_vec());
    tx.put(Table::Snapshots, &key, &record.to_bytes()?)
}
