//! Placed content: files that are whole, and never change until they go.
//!
//! Owns what is done at places. Three promises hold here, and everything that reads content relies on them:
//!
//! - **A place is used once, by its random id.** Nothing but 128 fresh random bits keeps two contents apart: no look, no lock and no
//!   condition of the system that keeps the files. So who knows an old place gets the old bytes or none, and a removal
//!   that a crash cut short takes nothing else along.
//! - **No place is another place and `/`.** Places are keys as well as paths: each is `<algorithm>/<2 hex>/<hex>.<id>`, all of one
//!   algorithm have one length, and none begins with all of another. A system that knows keys and no folders keeps them, too.
//! - **No create is believed without a look.** That a file came to its place is true once the file there is found to be the one
//!   that was written, with as many bytes, whatever the call that brought it said. A call whose answer is lost, or says that
//!   something is there already, is looked at in the same way, and never tried again at the same place.
//!
//! Must not know what lies in DIR/uploads, nor which places are in use. Everything blocks, but for what says otherwise.

use super::files::Files;
use super::{BlobError, Place, Removed};
use crate::types::Digest;
use std::fs::File;
use std::sync::Arc;

/// Content at places; cheap to clone. `survey` has what looks at all of it.
#[derive(Clone)]
pub struct Content {
    pub(super) files: Arc<Files>,
}

impl Content {
    /// Opens a placed blob for reading; `Damaged` if it is not there or not `size` bytes long, or the place is that of
    /// another digest.
    pub fn open_place(&self, place: &Place, digest: &Digest, size: u64) -> Result<File, BlobError> {
        self.files.open_place(place, digest, size)
    }

    /// The same without a wait for the disk, also from async threads: `None` where it would need one, or anything is wrong.
    pub fn open_place_now(&self, place: &Place, digest: &Digest, size: u64) -> Option<File> {
        self.files.open_place_now(place, digest, size)
    }

    /// Whether the file of a place is gone, or has another length, though the folder that it belongs to is there.
    pub fn is_lost(&self, place: &Place, size: u64) -> bool {
        self.files.is_lost(place, size)
    }

    /// Removes places and makes that durable (absent is fine). An error means that some may still be there, or come
    /// back after a power cut: call again.
    pub fn remove(&self, places: &[Place]) -> Result<(), BlobError> {
        self.files.remove(places).result
    }

    /// The same; says of each whether it is gone for good.
    pub fn remove_each(&self, places: &[Place]) -> Removed {
        self.files.remove(places)
    }

    /// Whether `bytes` more fit above the reserve; `NoSpace` if not. Promises nothing: others write, too, and each
    /// write looks again.
    pub fn room_for(&self, bytes: u64) -> Result<(), BlobError> {
        self.files.room_for(bytes)
    }
}
