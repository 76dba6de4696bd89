//! Uploads in memory, each used by one request at a time.
//!
//! A request may be dropped at any moment, because its client went away, while a piece of it is still being written. Until
//! that has ended, too, the upload is not given to the next request. One that was closed is given to none: who has it ends
//! at its next piece, and who closed it comes last.

mod turn;

use turn::has_open;
pub(in crate::repo) use turn::{Hold, Turn};

use crate::blobs::{Hashed, Ingest};
use crate::repo::error::RepoError;
use crate::repo::home::Home;
use crate::repo::quota::Uploads;
use crate::repo::state::lock;
use crate::repo::uploads::owners::Owners;
use crate::repo::uploads::saving::SavedRow;
use crate::types::{Algorithm, Kind, RepoId, RepoName, UploadId};
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many uploads can be taken up at once, if chance puts them apart.
const LANES: usize = 64;

/// Files that uploads may have open between two requests, all together. One upload more syncs and closes its file at the end
/// of its request.
const OPEN_FILES: usize = 64;

/// How long a request waits for an upload that is just being synced.
const REST: Duration = Duration::from_secs(10);

/// The bytes of an upload; `None` before the first and after the last request.
pub(in crate::repo) type Slot = Arc<Mutex<Option<Ingest>>>;

/// One upload in memory.
#[derive(Clone)]
pub(in crate::repo) struct Session {
    pub name: RepoName,
    /// The kind of repository that it is for.
    pub kind: Kind,
    pub algorithm: Algorithm,
    pub ingest: Slot,
    pub offset: u64,
    /// The repository that its bytes are for: set when it begins, or with its first byte where a push makes the
    /// repository, and never another after that.
    pub repo: Arc<OnceLock<RepoId>>,
    /// What the store knows of it.
    pub row: Arc<SavedRow>,
    /// Nobody may go on with it.
    closed: Arc<AtomicBool>,
    /// Told when it is given back after it was closed, or synced.
    given_back: Arc<Notify>,
    /// Who began it; `None` if that is not known.
    pub owner: Option<Arc<str>>,
    busy: bool,
    /// It is busy with nothing but being synced.
    resting: bool,
    /// Its file is open, and no request has it.
    parked: bool,
    used: Instant,
}

impl Session {
    /// One of `owner`, without a byte.
    pub fn new(
        name: RepoName,
        kind: Kind,
        home: Option<Home>,
        algorithm: Algorithm,
        owner: Arc<str>,
    ) -> Self {
        let repo = home.map_or_else(OnceLock::new, |home| home.id.into());
        Self {
            name,
            kind,
            algorithm,
            offset: 0,
            ingest: Arc::default(),
            repo: Arc::new(repo),
            row: Arc::new(SavedRow::new(false)),
            closed: Arc::default(),
            given_back: Arc::default(),
            owner: Some(owner),
            busy: false,
            resting: false,
            parked: false,
            used: Instant::now(),
        }
    }

    /// One that is on disk.
    fn taken_up(name: RepoName, kind: Kind, algorithm: Algorithm, ingest: Ingest) -> Self {
        Self {
            name,
            kind,
            algorithm,
            offset: ingest.offset(),
            repo: Arc::new(ingest.repo().into()),
            ingest: Arc::new(Mutex::new(Some(ingest))),
            row: Arc::new(SavedRow::new(true)),
            closed: Arc::default(),
            given_back: Arc::default(),
            owner: None,
            busy: false,
            resting: false,
            parked: false,
            used: Instant::now(),
        }
    }

    /// Whether somebody may go on with it.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Whether its bytes are for what the name means now: a repository that is there, or none yet.
    pub fn is_of(&self, home: Option<Home>) -> bool {
        match self.repo.get() {
            Some(repo) => home.is_some_and(|home| home.id == *repo),
            None => true,
        }
    }
}

/// The uploads in memory.
pub(in crate::repo) struct Sessions {
    open: Arc<Mutex<Open>>,
    bytes: Arc<Uploads>,
    taking_up: [tokio::sync::Mutex<()>; LANES],
}

#[derive(Default)]
struct Open {
    all: HashMap<UploadId, Session>,
    /// Who began them, and those that are on disk alone.
    owners: Owners,
    /// How many have their file open and are in no request's use.
    parked: usize,
}

impl Open {
    fn remove(&mut self, id: UploadId) -> Option<Session> {
        let removed = self.all.remove(&id)?;
        self.parked -= usize::from(removed.parked);
        Some(removed)
    }
}

impl Sessions {
    /// No uploads; what they have is told to `bytes`.
    pub fn new(bytes: Arc<Uploads>) -> Self {
        Self {
            open: Arc::default(),
            bytes,
            taking_up: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    /// To be held while an upload that is not in memory is taken up or given up: two at once would write to one file.
    pub async fn alone(&self, id: UploadId) -> tokio::sync::MutexGuard<'_, ()> {
        let lane = usize::from(id.0[0]) % LANES;
        self.taking_up[lane].lock().await
    }

    /// The same for who comes again; `None` if it would have to be waited for, which may take as long as hashing a file.
    pub fn alone_now(&self, id: UploadId) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let lane = usize::from(id.0[0]) % LANES;
        self.taking_up[lane].try_lock().ok()
    }

    /// A new upload, unless its owner has `most` already.
    pub fn begin(&self, id: UploadId, session: Session, most: usize) -> Result<(), RepoError> {
        let mut open = lock(&self.open);
        if let Some(owner) = &session.owner
            && !open.owners.begin(owner, most)
        {
            let owner = Arc::clone(owner);
            return Err(RepoError::TooManyUploads { owner, most });
        }
        open.all.insert(id, session);
        Ok(())
    }

    /// An upload that is on disk is taken up.
    pub fn insert(
        &self,
        id: UploadId,
        (name, kind): (RepoName, Kind),
        algorithm: Algorithm,
        ingest: Ingest,
    ) {
        let mut session = Session::taken_up(name, kind, algorithm, ingest);
        session.parked = has_open(&session.ingest);
        let mut open = lock(&self.open);
        if !open.all.contains_key(&id) {
            session.owner = open.owners.take_up(id);
            open.parked += usize::from(session.parked);
            open.all.insert(id, session);
        }
    }

    /// An upload of before a restart is on disk, and this is whose it is.
    pub fn found(&self, id: UploadId, owner: Arc<str>) {
        lock(&self.open).owners.found(id, owner);
    }

    /// Nothing is on disk any more of an upload that is not in memory.
    pub fn gone(&self, id: UploadId) {
        lock(&self.open).owners.gone(id);
    }

    /// How far this process has hashed an upload that is on disk.
    pub fn hashed(&self, id: UploadId) -> Option<Hashed> {
        lock(&self.open).owners.hashed(id)
    }

    /// An upload that is on disk was hashed so far, for who takes it up next.
    pub fn note_hashed(&self, id: UploadId, hashed: Hashed) {
        lock(&self.open).owners.note_hashed(id, hashed);
    }

    /// Whether so many uploads have their file open between two requests that one more should close its own.
    pub fn is_crowded(&self) -> bool {
        lock(&self.open).parked >= OPEN_FILES
    }

    /// Of many whose files are open between two requests, those that nobody has written to for `idle`.
    pub fn parked(&self, idle: Duration) -> Vec<UploadId> {
        let open = lock(&self.open);
        if open.parked < OPEN_FILES / 2 {
            return Vec::new();
        }
        let is_old = |s: &Session| s.parked && s.used.elapsed() > idle;
        let old = open.all.iter().filter(|(_, s)| is_old(s));
        old.map(|(id, _)| *id).collect()
    }

    /// The upload, if it is in memory.
    pub fn get(&self, id: UploadId) -> Option<Session> {
        lock(&self.open).all.get(&id).cloned()
    }

    /// All of them, in no order.
    pub fn ids(&self) -> Vec<UploadId> {
        lock(&self.open).all.keys().copied().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.open).all.len()
    }

    /// Uploads that nobody has written to for `idle`, and those that were closed and could not be given up.
    pub fn idle(&self, idle: Duration) -> Vec<UploadId> {
        let open = lock(&self.open);
        let is_idle = |s: &Session| !s.busy && (s.used.elapsed() > idle || !s.is_open());
        let idle = open.all.iter().filter(|(_, s)| is_idle(s));
        idle.map(|(id, _)| *id).collect()
    }

    /// Repositories that uploads in memory are for, each once.
    pub fn repos(&self) -> HashSet<RepoId> {
        let open = lock(&self.open);
        let repos = open.all.values().filter_map(|s| s.repo.get().copied());
        repos.collect()
    }

    /// From now on no request gets these uploads, and one that has one of them ends at its next piece. Answers which they
    /// are: [`Sessions::last`] has them then.
    pub fn close(&self, which: impl Fn(&UploadId, &Session) -> bool) -> Vec<UploadId> {
        let open = lock(&self.open);
        let mut ids = Vec::new();
        for (id, session) in open.all.iter().filter(|(id, session)| which(id, session)) {
            session.closed.store(true, Ordering::Release);
            ids.push(*id);
        }
        ids
    }

    /// As [`Sessions::close`], for one upload; `false` if it is not in memory.
    pub fn close_one(&self, id: UploadId) -> bool {
        let open = lock(&self.open);
        let found = open.all.get(&id);
        if let Some(session) = found {
            session.closed.store(true, Ordering::Release);
        }
        found.is_some()
    }

    /// The last turn of an upload that was closed, once no request has it any more; `None` if it is over.
    pub async fn last(&self, id: UploadId) -> Option<Turn> {
        let given_back = Arc::clone(&lock(&self.open).all.get(&id)?.given_back);
        loop {
            let mut given_back = pin!(given_back.notified());
            given_back.as_mut().enable();
            match self.take_any(id, |_| true) {
                Ok(turn) => return Some(turn),
                Err(RepoError::UploadBusy) => given_back.await,
                Err(_) => return None,
            }
        }
    }

    /// Takes the upload for one request; given back when the turn and all its holds are dropped.
    pub fn take(&self, id: UploadId, name: &RepoName) -> Result<Turn, RepoError> {
        self.take_any(id, |session| session.name == *name && session.is_open())
    }

    /// As [`Sessions::take`]; one that is just being synced is waited for, for a while.
    pub async fn take_soon(&self, id: UploadId, name: &RepoName) -> Result<Turn, RepoError> {
        self.take_within(REST, id, name).await
    }

    async fn take_within(
        &self,
        patience: Duration,
        id: UploadId,
        name: &RepoName,
    ) -> Result<Turn, RepoError> {
        let rested = async {
            while let Some(given_back) = self.resting(id) {
                let mut given_back = pin!(given_back.notified());
                given_back.as_mut().enable();
                // Else it was given back just before.
                if self.resting(id).is_some() {
                    given_back.await;
                }
            }
        };
        // Who waited in vain hears that it is busy.
        let _ = tokio::time::timeout(patience, rested).await;
        self.take(id, name)
    }

    /// What tells that an upload is synced, if it is just being.
    fn resting(&self, id: UploadId) -> Option<Arc<Notify>> {
        let open = lock(&self.open);
        let session = open.all.get(&id).filter(|session| session.resting)?;
        Some(Arc::clone(&session.given_back))
    }

    /// Takes the upload to sync and close its file, which is no use of it: requests wait until it is given back.
    pub fn take_to_rest(&self, id: UploadId) -> Result<Turn, RepoError> {
        let turn = self.take_any(id, Session::is_open)?;
        turn.hold.is_unused.store(true, Ordering::Relaxed);
        turn.hold.rests();
        Ok(turn)
    }

    /// The same of one that was closed, too.
    pub fn take_any(
        &self,
        id: UploadId,
        is_it: impl Fn(&Session) -> bool,
    ) -> Result<Turn, RepoError> {
        let mut open = lock(&self.open);
        let open = &mut *open;
        let session = open
            .all
            .get_mut(&id)
            .filter(|session| is_it(session))
            .ok_or(RepoError::UploadUnknown)?;
        if session.busy {
            return Err(RepoError::UploadBusy);
        }
        session.busy = true;
        open.parked -= usize::from(std::mem::take(&mut session.parked));
        let hold = Hold {
            open: Arc::clone(&self.open),
            bytes: Arc::clone(&self.bytes),
            given_back: Arc::clone(&session.given_back),
            closed: Arc::clone(&session.closed),
            id,
            slot: Arc::clone(&session.ingest),
            is_unused: AtomicBool::new(false),
            offset: AtomicU64::new(session.offset),
        };
        Ok(Turn {
            id,
            session: session.clone(),
            hold: Arc::new(hold),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    fn one() -> (Sessions, UploadId, RepoName) {
        let sessions = Sessions::new(Arc::default());
        let (id, name) = (
            UploadId([1; 16]),
            "a/b".parse::<RepoName>().expect("a name"),
        );
        let session = Session::new(
            name.clone(),
            Kind::Oci,
            None,
            Algorithm::Sha256,
            "owner".into(),
        );
        sessions.begin(id, session, 1).expect("begun");
        (sessions, id, name)
    }

    #[tokio::test]
    async fn a_closed_upload_is_given_to_nobody_but_who_comes_last() {
        let (sessions, id, name) = one();
        let sessions = Arc::new(sessions);
        let turn = sessions.take(id, &name).expect("free");
        let written = turn.hold();
        assert!(matches!(
            sessions.take(id, &name),
            Err(RepoError::UploadBusy)
        ));
        assert!(sessions.close_one(id));
        assert!(!turn.session.is_open(), "who has it hears of it");
        let again = Arc::clone(&sessions);
        let last = tokio::spawn(async move {
            let turn = again.last(id).await.expect("still there");
            turn.end();
        });
        let gone = |when: &str| {
            let taken = sessions.take(id, &name);
            assert!(matches!(taken, Err(RepoError::UploadUnknown)), "{when}");
        };
        gone("while it is written");
        drop(turn);
        tokio::task::yield_now().await;
        gone("while a piece of it is on its way");
        assert!(!last.is_finished());
        drop(written);
        last.await.expect("ends");
        gone("after its end");
        assert!(!sessions.close_one(id) && sessions.last(id).await.is_none());
        assert_eq!(sessions.len(), 0);
        assert!(lock(&sessions.open).owners.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_the_last_turn_hears_of_the_end() {
        let (sessions, id, name) = one();
        let turn = sessions.take(id, &name).expect("free");
        assert_eq!(sessions.close(|_, _| true), [id]);
        let mut last = pin!(sessions.last(id));
        let waits = std::future::poll_fn(|cx| Poll::Ready(last.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        turn.end();
        assert!(last.await.is_none());
    }

    #[tokio::test]
    async fn a_request_waits_while_an_upload_is_synced_and_that_is_no_use_of_it() {
        let (sessions, id, name) = one();
        drop(sessions.take(id, &name).expect("free"));
        let used = sessions.get(id).expect("there").used;
        let turn = sessions.take_to_rest(id).expect("free");
        let synced = turn.hold();
        drop(turn);
        let mut soon = pin!(sessions.take_soon(id, &name));
        let waits = std::future::poll_fn(|cx| Poll::Ready(soon.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(synced);
        assert_eq!(sessions.get(id).expect("there").used, used);
        let turn = soon.await.expect("free again");
        // Another request is not waited for.
        let busy = sessions.take_soon(id, &name).await;
        assert!(matches!(busy, Err(RepoError::UploadBusy)));
        drop(turn);
        assert!(sessions.get(id).expect("there").used > used);
    }

    #[tokio::test]
    async fn a_sync_that_takes_too_long_is_not_waited_for() {
        let (sessions, id, name) = one();
        let _synced = sessions.take_to_rest(id).expect("free");
        let patience = Duration::from_millis(20);
        let busy = sessions.take_within(patience, id, &name).await;
        assert!(matches!(busy, Err(RepoError::UploadBusy)));
    }
}
