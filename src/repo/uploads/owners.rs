//! Who began which unfinished uploads: those in memory, and those that are on disk alone until somebody goes on with them.
//! An upload counts for its owner as long as anything of it is there.

use crate::blobs::Hashed;
use crate::types::UploadId;
use std::collections::HashMap;
use std::sync::Arc;

/// The uploads of each owner.
#[derive(Default)]
pub(in crate::repo) struct Owners {
    counts: HashMap<Arc<str>, usize>,
    on_disk: HashMap<UploadId, OnDisk>,
}

/// An upload that is on disk and not in memory.
#[derive(Default)]
struct OnDisk {
    /// `None`: nobody knows.
    owner: Option<Arc<str>>,
    /// How far this process has hashed it.
    hashed: Option<Hashed>,
}

impl Owners {
    /// One more in memory, unless its owner has `most` already.
    pub fn begin(&mut self, owner: &Arc<str>, most: usize) -> bool {
        let count = self.counts.entry(Arc::clone(owner)).or_insert(0);
        let has_room = *count < most;
        *count += usize::from(has_room);
        has_room
    }

    /// One that was in memory is over.
    pub fn end(&mut self, owner: Option<Arc<str>>) {
        if let Some(owner) = owner
            && let Some(count) = self.counts.get_mut(&owner)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owner);
            }
        }
    }

    /// One that was in memory is on disk alone.
    pub fn leave(&mut self, id: UploadId, owner: Option<Arc<str>>) {
        let hashed = None;
        self.on_disk.insert(id, OnDisk { owner, hashed });
    }

    /// One that a process before this one left.
    pub fn found(&mut self, id: UploadId, owner: Arc<str>) {
        *self.counts.entry(Arc::clone(&owner)).or_insert(0) += 1;
        self.leave(id, Some(owner));
    }

    /// One that is on disk is in memory again; answers whose it is.
    pub fn take_up(&mut self, id: UploadId) -> Option<Arc<str>> {
        self.on_disk.remove(&id)?.owner
    }

    /// Nothing of it is on disk any more.
    pub fn gone(&mut self, id: UploadId) {
        let owner = self.take_up(id);
        self.end(owner);
    }

    /// How far this process has hashed one that is on disk.
    pub fn hashed(&self, id: UploadId) -> Option<Hashed> {
        self.on_disk.get(&id)?.hashed.clone()
    }

    /// One that is on disk was hashed so far.
    pub fn note_hashed(&mut self, id: UploadId, hashed: Hashed) {
        self.on_disk.entry(id).or_default().hashed = Some(hashed);
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.on_disk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_counts_until_nothing_of_it_is_there() {
        let (mut owners, ann) = (Owners::default(), Arc::<str>::from("ann"));
        let (one, two) = (UploadId([1; 16]), UploadId([2; 16]));
        owners.found(one, Arc::clone(&ann));
        assert!(owners.begin(&ann, 2) && !owners.begin(&ann, 2));
        owners.leave(two, Some(Arc::clone(&ann)));
        assert!(!owners.begin(&ann, 2));
        let hashed = Hashed {
            offset: 1,
            state: vec![1],
        };
        owners.note_hashed(two, hashed);
        assert_eq!(owners.hashed(two).map(|h| h.offset), Some(1));
        assert_eq!(owners.take_up(two), Some(Arc::clone(&ann)));
        assert!(!owners.begin(&ann, 2) && owners.hashed(two).is_none());
        owners.end(Some(Arc::clone(&ann)));
        owners.gone(one);
        owners.gone(one);
        assert!(owners.is_empty());
        assert!(owners.begin(&ann, 1));
    }
}
