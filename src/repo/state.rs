//! What the repositories keep in memory: cache generations and upload sessions.

use super::error::RepoError;
use super::memory::Share;
use crate::blobs::Ingest;
use crate::types::{Algorithm, RepoName, UploadId};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SHARDS: usize = 1024;

/// A number per group of repositories that every visible change raises. A cached answer carries the number that stood
/// before its read began, so an answer read before a change can never be served after it.
pub(super) struct Generations {
    hasher: RandomState,
    shards: Vec<AtomicU64>,
}

impl Generations {
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn shard(&self, name: &RepoName) -> &AtomicU64 {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    pub fn now(&self, name: &RepoName) -> u64 {
        self.shard(name).load(Ordering::Acquire)
    }

    pub fn bump(&self, name: &RepoName) {
        self.shard(name).fetch_add(1, Ordering::AcqRel);
    }
}

/// A lock that outlives a panic of its holder: what it guards is valid after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of an upload; `None` before the first and after the last request.
pub(super) type Slot = Arc<Mutex<Option<Ingest>>>;

/// One upload in memory.
#[derive(Clone)]
pub(super) struct Session {
    pub name: RepoName,
    pub algorithm: Algorithm,
    pub ingest: Slot,
    pub offset: u64,
    /// Who began it; `None` for one of before a restart.
    owner: Option<Arc<str>>,
    busy: bool,
    used: Instant,
}

impl Session {
    fn new(
        name: RepoName,
        algorithm: Algorithm,
        ingest: Option<Ingest>,
        owner: Option<Arc<str>>,
    ) -> Self {
        Self {
            name,
            algorithm,
            offset: ingest.as_ref().map_or(0, Ingest::offset),
            ingest: Arc::new(Mutex::new(ingest)),
            owner,
            busy: false,
            used: Instant::now(),
        }
    }
}

/// The uploads in memory.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Open>);

#[derive(Default)]
struct Open {
    all: HashMap<UploadId, Session>,
    /// How many of them each owner began.
    owned: HashMap<Arc<str>, usize>,
}

impl Sessions {
    /// A new upload, unless its owner has `most` already.
    pub fn begin(
        &self,
        id: UploadId,
        name: RepoName,
        algorithm: Algorithm,
        owner: &Arc<str>,
        most: usize,
    ) -> Result<(), RepoError> {
        let mut open = lock(&self.0);
        let count = open.owned.entry(Arc::clone(owner)).or_insert(0);
        if *count >= most {
            return Err(RepoError::TooManyUploads {
                owner: Arc::clone(owner),
                most,
            });
        }
        *count += 1;
        let session = Session::new(name, algorithm, None, Some(Arc::clone(owner)));
        open.all.insert(id, session);
        Ok(())
    }

    /// An upload of before a restart.
    pub fn insert(&self, id: UploadId, name: RepoName, algorithm: Algorithm, ingest: Ingest) {
        let session = Session::new(name, algorithm, Some(ingest), None);
        lock(&self.0).all.entry(id).or_insert(session);
    }

    pub fn get(&self, id: UploadId) -> Option<Session> {
        lock(&self.0).all.get(&id).cloned()
    }

    fn remove(&self, id: UploadId) {
        let mut open = lock(&self.0);
        let removed = open.all.remove(&id);
        if let Some(owner) = removed.and_then(|session| session.owner)
            && let Some(count) = open.owned.get_mut(&owner)
        {
            *count -= 1;
            if *count == 0 {
                open.owned.remove(&owner);
            }
        }
    }

    pub fn ids(&self) -> Vec<UploadId> {
        lock(&self.0).all.keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        lock(&self.0).all.len()
    }

    /// Uploads that nobody has written to for `idle`.
    pub fn idle(&self, idle: Duration) -> Vec<UploadId> {
        let open = lock(&self.0);
        let idle = open
            .all
            .iter()
            .filter(|(_, s)| !s.busy && s.used.elapsed() > idle);
        idle.map(|(id, _)| *id).collect()
    }

    /// Takes the upload for one request; given back when the turn is dropped, also if the client went away.
    pub fn take(&self, id: UploadId, name: &RepoName) -> Result<Turn<'_>, RepoError> {
        let mut open = lock(&self.0);
        let session = open
            .all
            .get_mut(&id)
            .filter(|s| s.name == *name)
            .ok_or(RepoError::UploadUnknown)?;
        if session.busy {
            return Err(RepoError::UploadBusy);
        }
        session.busy = true;
        Ok(Turn {
            sessions: self,
            id,
            session: session.clone(),
            held: Share::default(),
        })
    }
}

/// One request's exclusive use of an upload.
pub(super) struct Turn<'a> {
    sessions: &'a Sessions,
    pub id: UploadId,
    pub session: Session,
    /// What its bytes in memory cost.
    pub held: Share,
}

impl Turn<'_> {
    /// The upload is over.
    pub fn end(self) {
        self.sessions.remove(self.id);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(session) = lock(&self.sessions.0).all.get_mut(&self.id) {
            session.busy = false;
            session.used = Instant::now();
            session.offset = session.offset.max(self.session.offset);
        }
    }
}
