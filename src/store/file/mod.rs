//! The open database: shared by readers and the writer, replaced in place after a failure.

pub(super) mod compact;
pub(super) mod status;
pub(super) mod steps;
pub(super) mod versions;

use super::{StoreError, lock_of};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a reader waits for a file that is being opened again.
const READER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a closing store waits for readers that are still at work.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

enum State<E> {
    /// With the number of its opening.
    Open(Arc<E>, u64),
    Reopening,
    Closed,
}

pub(super) struct OpenFile<E> {
    state: Mutex<State<E>>,
    changed: Condvar,
    openings: AtomicU64,
}

impl<E> OpenFile<E> {
    /// A file that was opened for the first time.
    pub fn new(db: E) -> Self {
        Self {
            state: Mutex::new(State::Open(Arc::new(db), 0)),
            changed: Condvar::new(),
            openings: AtomicU64::new(0),
        }
    }

    /// The open file and the number of its opening, which is at least `since`; waits a little while it is being reopened.
    pub fn get(&self, since: u64) -> Result<(Arc<E>, u64), StoreError> {
        self.get_within(READER_PATIENCE, since)
    }

    /// The open file, for the thread that reopens it: it would wait for itself.
    pub fn get_now(&self) -> Result<Arc<E>, StoreError> {
        self.get_within(Duration::ZERO, 0).map(|(db, _)| db)
    }

    fn get_within(&self, patience: Duration, since: u64) -> Result<(Arc<E>, u64), StoreError> {
        let end = Instant::now() + patience;
        let mut state = lock_of(&self.state);
        loop {
            match &*state {
                State::Open(db, opening) if *opening >= since => {
                    return Ok((Arc::clone(db), *opening));
                }
                State::Closed => return Err(StoreError::Closed),
                State::Open(..) | State::Reopening => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Reopening);
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether the open file is the one of this opening.
    pub fn is_at(&self, wanted: u64) -> bool {
        matches!(&*lock_of(&self.state), State::Open(_, opening) if *opening == wanted)
    }

    /// Takes the broken file away and closes it once its last reader is done. Readers that come meanwhile wait.
    pub fn take_for_reopen(&self) {
        let old = std::mem::replace(&mut *lock_of(&self.state), State::Reopening);
        if let State::Open(db, _) = old {
            while Arc::strong_count(&db) > 1 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Puts the reopened file in place.
    pub fn put(&self, db: E) {
        let opening = self.openings.fetch_add(1, Relaxed) + 1;
        *lock_of(&self.state) = State::Open(Arc::new(db), opening);
        self.changed.notify_all();
    }

    /// Closes the file: new readers are refused, those at work may finish.
    pub fn close(&self) {
        let old = std::mem::replace(&mut *lock_of(&self.state), State::Closed);
        self.changed.notify_all();
        let end = Instant::now() + CLOSE_PATIENCE;
        if let State::Open(db, _) = old {
            while Arc::strong_count(&db) > 1 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
