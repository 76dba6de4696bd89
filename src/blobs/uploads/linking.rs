//! A file that somebody handed over becomes content by one more name, and nothing is copied: only on request, on a closed
//! store, and where nobody can write to it but us and root.

use super::adopting::check;
use crate::blobs::files::Files;
use crate::blobs::{BlobError, Sealed, SealedBody};
use crate::types::{Digest, Hasher};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::Ordering;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
/// Others than a file's owner may write to it. Where a file has an access list, the group's bit is the most that any entry of
/// that list gives (acl(5)).
const OTHERS_WRITE: u32 = 0o022;

/// Whether content may be the very file that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HardLink {
    /// Never: our own file shares its bytes, or has a copy of them.
    #[default]
    Never,
    /// If it is on the same file system, belongs to us or to root, and nobody else has the right to write to it; else as
    /// [`HardLink::Never`]. For commands that have the store to themselves.
    ///
    /// What this cannot rule out: somebody who opened it for writing, or mapped it, while that was allowed, and still has it;
    /// another program of our own user, or root, who writes to it by its other name; another machine, where the file system is
    /// shared. Then the blob is damaged, which a deep check finds. Other names do not matter otherwise: rights belong to the
    /// file, not to a name. Its owner, rights and times stay as they are, so who may read it there may read it here.
    IfSafe,
}

/// Makes the file itself content of this digest: hashed, synced, and at a place. `None` where that cannot be, or is not safe.
pub(in crate::blobs) fn linked(
    files: &Files,
    source: &File,
    digest: &Digest,
) -> Result<Option<Sealed>, BlobError> {
    let fault = |e| BlobError::Source(format!("it cannot be read: {e}"));
    let before = source.metadata().map_err(fault)?;
    let len = before.len();
    check(source, len)?;
    if len <= files.options.inline_max || !is_safe(&before) || !files.is_beside(&before) {
        return Ok(None);
    }
    let (wanted, got) = (*digest, hashed(source, len, digest).map_err(fault)?);
    if got != wanted {
        return Err(BlobError::Digest { wanted, got });
    }
    files.sync_source(source)?;
    let Some(place) = files.place_open(source, len, digest)? else {
        return Ok(None);
    };
    let after = source.metadata().map_err(fault)?;
    if !is_safe(&after) || !is_same(&before, &after) {
        let path = files.place_path(&place);
        files.remove(&[place]).result?;
        return Err(BlobError::changed(&path));
    }
    let counts = &files.counts;
    counts.bytes_in.fetch_add(len, Ordering::Relaxed);
    counts.blobs_sealed.fetch_add(1, Ordering::Relaxed);
    Ok(Some(Sealed {
        digest: *digest,
        size: len,
        body: SealedBody::Placed(place),
        upload: None,
    }))
}

/// Whether nobody has the right to write to the file but its owner, who is us or root.
fn is_safe(about: &Metadata) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    about.is_file() && [ours, 0].contains(&about.uid()) && about.mode() & OTHERS_WRITE == 0
}

/// Whether it was not written to meanwhile, as far as its times tell.
fn is_same(before: &Metadata, after: &Metadata) -> bool {
    let of = |about: &Metadata| (about.len(), about.mtime(), about.mtime_nsec());
    of(before) == of(after)
}

fn hashed(source: &File, len: u64, digest: &Digest) -> io::Result<Digest> {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let piece = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut buffer[..piece];
        source.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(hasher.finish())
}
