//! Long reads: hop after hop, a few of them at once.
//!
//! Who waits for a turn waits in the order of asking, and after some hops lets the next one go on: a long read takes long
//! for its own client, and not for those who ask for little.

use crate::repo::error::RepoError;
use crate::repo::{Inner, Repos};
use crate::store::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Hops of one turn.
const TURN: usize = 8;
/// How long a long read rests after a hop, which takes about as long: so it leaves half of its processor to others.
const REST: Duration = Duration::from_millis(1);
/// How long somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// A turn among the long reads; over when dropped.
#[derive(Clone)]
pub struct LongRead(#[expect(dead_code, reason = "held, not looked at")] Arc<OwnedSemaphorePermit>);

/// Long reads of one kind, of which few may go on at once: half as many as there are processors.
pub(in crate::repo) struct LongReads(Arc<Semaphore>);

impl LongReads {
    /// All are free.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).clamp(1, 4))))
    }

    async fn take(&self) -> Result<LongRead, RepoError> {
        match timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(LongRead(Arc::new(turn))),
            Ok(Err(_)) | Err(_) => Err(RepoError::Crowded),
        }
    }
}

impl Repos {
    /// A turn for a list of names that goes on and on because its caller may see few of them.
    pub async fn far(&self) -> Result<LongRead, RepoError> {
        self.0.far.take().await
    }

    /// Hops until one answers, in turns. Each gets what the one before left behind, and must end at its bound (see
    /// [`super`]).
    pub(in crate::repo) async fn long_read<S, T>(
        &self,
        turns: impl Fn(&Inner) -> &LongReads,
        mut state: S,
        step: impl Fn(&Inner, &Read<'_>, &mut S) -> Result<Option<T>, RepoError> + Send + Sync + 'static,
    ) -> Result<T, RepoError>
    where
        S: Clone + Send + 'static,
        T: Send + 'static,
    {
        let step = Arc::new(step);
        loop {
            let turn = turns(&self.0).take().await?;
            for _ in 0..TURN {
                match self.one_hop(Some(turn.clone()), state, &step).await? {
                    (_, Some(found)) => return Ok(found),
                    (next, None) => state = next,
                }
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// The same for a caller who sees to it that few are at it.
    pub(in crate::repo) async fn hops<S, T>(
        &self,
        mut state: S,
        step: impl Fn(&Inner, &Read<'_>, &mut S) -> Result<Option<T>, RepoError> + Send + Sync + 'static,
    ) -> Result<T, RepoError>
    where
        S: Clone + Send + 'static,
        T: Send + 'static,
    {
        let step = Arc::new(step);
        loop {
            match self.one_hop(None, state, &step).await? {
                (_, Some(found)) => return Ok(found),
                (next, None) => state = next,
            }
        }
    }

    async fn one_hop<S, T>(
        &self,
        turn: Option<LongRead>,
        before: S,
        step: &Arc<
            impl Fn(&Inner, &Read<'_>, &mut S) -> Result<Option<T>, RepoError> + Send + Sync + 'static,
        >,
    ) -> Result<(S, Option<T>), RepoError>
    where
        S: Clone + Send + 'static,
        T: Send + 'static,
    {
        let step = Arc::clone(step);
        let hop = self.hop(move |inner, r| {
            // It goes on to its end also when its client goes away: until then it has the turn.
            let _held = &turn;
            let mut state = before.clone();
            let found = step(inner, r, &mut state)?;
            Ok((state, found))
        });
        let done = hop.await;
        tokio::task::yield_now().await;
        done
    }
}
