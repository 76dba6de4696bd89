//! One piece of work for any number of those who wait for it, which goes on when they go.

use super::PullError;
use crate::store::cause;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Answer<V> = Result<V, PullError>;
type Open<K, V> = Mutex<HashMap<K, Shared<BoxFuture<'static, Answer<V>>>>>;

/// The work under way, by what it is for.
pub(super) struct Flights<K, V>(Arc<Open<K, V>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// While it is held, whoever asks for the same joins this work.
pub(super) struct Ticket<K: Eq + Hash, V> {
    open: Arc<Open<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Ticket<K, V> {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the work for `key`, or begins it. It runs on its own: the answer may be waited for or not. The ticket is the
    /// work's: it may outlive the answer, and new work for the same begins when it is dropped.
    pub fn join<F>(
        &self,
        key: &K,
        work: impl FnOnce(Ticket<K, V>) -> F,
    ) -> Shared<BoxFuture<'static, Answer<V>>>
    where
        F: Future<Output = Answer<V>> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let shared = {
            let mut open = lock(&self.0);
            if let Some(running) = open.get(key) {
                return running.clone();
            }
            let answer = answer.map(|answer| {
                answer.unwrap_or_else(|_| {
                    Err(PullError::Internal("the work for it ended early".into()))
                })
            });
            let shared = answer.boxed().shared();
            open.insert(key.clone(), shared.clone());
            shared
        };
        // The lock is free by now: a runtime that ends drops the work, and with it the ticket, at once.
        let ticket = Ticket {
            open: Arc::clone(&self.0),
            key: key.clone(),
        };
        let work = work(ticket);
        tokio::spawn(cause::carried(async move {
            let _ = done.send(work.await);
        }));
        shared
    }

    /// How much is under way.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn all_wait_for_one() {
        let flights = Flights::<u8, u64>::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let begun = Arc::clone(&begun);
                flights.join(&1, |ticket| async move {
                    let _ticket = ticket;
                    begun.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Ok(7)
                })
            })
            .collect();
        for one in waiting {
            assert_eq!(one.await.expect("done"), 7);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn work_goes_on_without_its_waiters_and_a_panic_is_an_error() {
        let flights = Flights::<u8, u64>::default();
        let (told, tell) = tokio::sync::oneshot::channel();
        drop(flights.join(&1, |ticket| async move {
            let _ticket = ticket;
            tokio::task::yield_now().await;
            told.send(()).ok();
            Ok(1)
        }));
        tell.await.expect("it went on");
        let died = flights.join(&2, |ticket| async move {
            let _ticket = ticket;
            panic!("a defect")
        });
        assert!(matches!(died.await, Err(PullError::Internal(_))));
        assert!(!lock(&flights.0).contains_key(&2));
    }
}
