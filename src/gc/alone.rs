//! What the server does by itself, as others see it: whether it is done now, how far it is, how it ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Work that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone<P> {
    /// Which one; another number is another piece of work.
    pub number: u64,
    /// How far it is.
    pub far: P,
    /// How it ended; none while it is done.
    pub ended: Option<Result<(), String>>,
}

/// The piece of work that is done now, or was done last.
#[derive(Debug)]
pub(super) struct Last<P>(Mutex<Option<Alone<P>>>);

impl<P> Default for Last<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P: Clone + Default> Last<P> {
    /// A piece of work begins.
    pub fn begin(&self, number: u64) {
        *self.lock() = Some(Alone {
            number,
            far: P::default(),
            ended: None,
        });
    }

    /// How far it is.
    pub fn far(&self, far: P) {
        if let Some(now) = &mut *self.lock() {
            now.far = far;
        }
    }

    /// It has ended.
    pub fn end(&self, how: Result<(), String>) {
        if let Some(now) = &mut *self.lock() {
            now.ended = Some(how);
        }
    }

    /// It, if there was any.
    pub fn get(&self) -> Option<Alone<P>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Alone<P>>> {
        // Valid after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
