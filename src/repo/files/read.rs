//! Reading files: from memory where it can be, else in one hop.

use crate::blobs::Place;
use crate::cache::Cache;
use crate::repo::error::RepoError;
use crate::repo::images::read;
use crate::repo::rows::keys::{Class, Name};
use crate::repo::shown::{At, shown};
use crate::repo::tree::Tree;
use crate::repo::{Blob, BlobBody, Inner, Repos, rows};
use crate::store::Read;
use crate::store::epochs::Epoch;
use crate::types::{Digest, Kind, RepoName};
use bytes::Bytes;
use std::sync::Arc;

/// Memory for files that were lately asked for.
const BYTES: u64 = 16 << 20;

/// A file, ready to be read.
#[derive(Debug, Clone)]
pub struct FileView {
    /// Its content.
    pub blob: Blob,
    /// When it came (wall clock, ms).
    pub modified_ms: u64,
}

/// The files that were lately asked for: repository, as of when, path.
pub(in crate::repo) type KnownFiles = Cache<FileKey, KnownFile>;
type FileKey = (RepoName, At, Arc<str>);

/// What is known of a file.
#[derive(Debug, Clone)]
pub(in crate::repo) struct KnownFile {
    epoch: Epoch,
    digest: Digest,
    size: u64,
    modified_ms: u64,
    body: KnownBody,
}

#[derive(Debug, Clone)]
enum KnownBody {
    Inline(Bytes),
    Placed(Place),
}

/// Nothing yet.
pub(in crate::repo) fn known() -> KnownFiles {
    Cache::new(BYTES, None, |(name, _, path), file: &KnownFile| {
        let body = match &file.body {
            KnownBody::Inline(bytes) => bytes.len(),
            KnownBody::Placed(place) => place.0.len(),
        };
        name.as_str().len() + path.len() + size_of::<KnownFile>() + body
    })
}

impl Repos {
    /// The file at a path of a tree, opened.
    ///
    /// # Errors
    /// [`RepoError::PathUnknown`] if there is none, also where a folder is.
    pub async fn file(&self, tree: &Tree) -> Result<FileView, RepoError> {
        let epoch = self.0.epoch(&tree.name);
        let key: FileKey = (
            tree.name.clone(),
            tree.at.clone(),
            tree.path.as_str().into(),
        );
        let known = self.0.files.get(&key);
        if let Some(known) = known.filter(|known| known.epoch == epoch)
            && let Some(view) = self.0.view_now(&known)
        {
            return Ok(view);
        }
        let (digest, opened) = self
            .hop(move |inner, r| {
                let file = look_up(r, &key, epoch)?;
                let digest = file.digest;
                let opened = open(inner, &file);
                if opened.is_ok() {
                    inner.files.insert(key.clone(), file);
                }
                Ok((digest, opened))
            })
            .await?;
        match self.unless_lost(&digest, opened).await {
            Err(RepoError::BlobUnknown(_)) => Err(RepoError::FileDamaged(tree.path.clone())),
            read => read,
        }
    }
}

impl Inner {
    /// The file, if that needs neither the store nor the disk.
    fn view_now(&self, file: &KnownFile) -> Option<FileView> {
        let body = match &file.body {
            KnownBody::Inline(bytes) => BlobBody::Inline(bytes.clone()),
            KnownBody::Placed(place) => {
                let opened = self
                    .blobs
                    .content
                    .open_place_now(place, &file.digest, file.size)?;
                BlobBody::File(Arc::new(opened))
            }
        };
        Some(view(file, body))
    }
}

fn view(file: &KnownFile, body: BlobBody) -> FileView {
    let (digest, size) = (file.digest, file.size);
    FileView {
        blob: Blob { digest, size, body },
        modified_ms: file.modified_ms,
    }
}

fn look_up(r: &Read<'_>, (name, at, path): &FileKey, epoch: Epoch) -> Result<KnownFile, RepoError> {
    let shown = shown(r, name, Kind::File, at)?;
    let unknown = || RepoError::PathUnknown(path.to_string());
    let item = shown.item(r, &Name::new(Class::Path, path.as_bytes()))?;
    let (_, item) = item.ok_or_else(unknown)?;
    let digest = item.digest().ok_or_else(unknown)?;
    let row = rows::blob(r, &digest)?.ok_or_else(|| RepoError::FileDamaged(path.to_string()))?;
    let body = match row.place {
        Some(place) => KnownBody::Placed(Place(place)),
        None => KnownBody::Inline(read::inline(r, &digest, row.size)?),
    };
    Ok(KnownFile {
        epoch,
        digest,
        size: row.size,
        modified_ms: item.at_ms,
        body,
    })
}

fn open(inner: &Inner, file: &KnownFile) -> Result<FileView, RepoError> {
    let body = match &file.body {
        KnownBody::Inline(bytes) => BlobBody::Inline(bytes.clone()),
        KnownBody::Placed(place) => {
            let opened = inner.open_place(&file.digest, place, file.size)?;
            BlobBody::File(Arc::new(opened))
        }
    };
    Ok(view(file, body))
}
