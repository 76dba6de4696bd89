//! One request's use of an upload, from when it takes it until the last piece of work on it has ended.
//!
//! Owns what the upload is given back with. Who may take it is decided in [`super`].

use super::{Open, Session, Slot};
use crate::blobs::Ingest;
use crate::repo::quota::Uploads;
use crate::repo::state::lock;
use crate::types::UploadId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Notify;

/// One request's exclusive use of an upload.
pub(in crate::repo) struct Turn {
    pub id: UploadId,
    pub session: Session,
    pub(super) hold: Arc<Hold>,
}

impl Turn {
    /// For work on the upload that goes on if the request is dropped.
    pub fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }

    /// The upload is over.
    pub fn end(self) {
        let mut open = lock(&self.hold.open);
        if let Some(session) = open.remove(self.id) {
            open.owners.end(session.owner);
        }
    }

    /// The upload is on disk alone from now on, until somebody takes it up.
    pub fn leave(self) {
        let mut open = lock(&self.hold.open);
        if let Some(session) = open.remove(self.id) {
            open.owners.leave(self.id, session.owner);
        }
    }
}

/// Keeps an upload from other requests while it lives.
pub(in crate::repo) struct Hold {
    pub(super) open: Arc<Mutex<Open>>,
    pub(super) bytes: Arc<Uploads>,
    pub(super) given_back: Arc<Notify>,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) id: UploadId,
    pub(super) slot: Slot,
    /// Nobody writes to it meanwhile.
    pub(super) is_unused: AtomicBool,
    pub(super) offset: AtomicU64,
}

impl Hold {
    /// Nothing is done but to sync it, until this is dropped: requests wait for that.
    pub fn rests(&self) {
        let mut open = lock(&self.open);
        let session = open.all.get_mut(&self.id);
        if let Some(session) = session.filter(|s| Arc::ptr_eq(&s.ingest, &self.slot)) {
            session.resting = true;
        }
    }

    /// So many bytes have arrived in all.
    pub fn reached(&self, offset: u64) {
        self.offset.fetch_max(offset, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let is_parked = has_open(&self.slot);
        let mut guard = lock(&self.open);
        let open = &mut *guard;
        // Not one that was taken up from disk since.
        let session = open.all.get_mut(&self.id);
        let mut has_rested = false;
        if let Some(session) = session.filter(|s| Arc::ptr_eq(&s.ingest, &self.slot)) {
            session.busy = false;
            has_rested = std::mem::take(&mut session.resting);
            session.parked = is_parked;
            open.parked += usize::from(is_parked);
            if !*self.is_unused.get_mut() {
                session.used = Instant::now();
            }
            session.offset = *self.offset.get_mut();
            self.bytes.settle(self.id, session.offset);
        }
        drop(guard);
        // Whoever closed it later sees that it is free.
        if has_rested || self.closed.load(Ordering::Acquire) {
            self.given_back.notify_waiters();
        }
    }
}

/// Whether an upload has its file open.
pub(super) fn has_open(slot: &Slot) -> bool {
    let is_open = |ingest: &Option<Ingest>| ingest.as_ref().is_some_and(Ingest::is_open);
    // Only the stop of the server looks at it beside the one who has it.
    slot.try_lock().is_ok_and(|ingest| is_open(&ingest))
}
