//! Long reads: hop after hop, a few of them at once.
//!
//! Who waits for a turn waits in the order of asking, and after some hops lets the next one go on; of one asker only one
//! waits. So a long read takes long for its own client, and not for others, however many it asks for.

use crate::repo::error::RepoError;
use crate::repo::{Inner, Repos};
use crate::store::Read;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Hops of one turn.
const TURN: usize = 8;
/// How long a long read rests after a hop, which takes about as long: so it leaves half of its processor to others.
const REST: Duration = Duration::from_millis(1);
/// How long somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a long read counts for: an account or, without one, an address, by any name that no other has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asker(Arc<str>);

impl Asker {
    /// The one of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

/// Long reads of one kind, of which few may go on at once: half as many as there are processors, and one of each asker.
/// As an asker waits for one turn at a time, turns go round by asker.
pub(in crate::repo) struct LongReads {
    turns: Arc<Semaphore>,
    askers: Mutex<HashMap<Asker, Weak<Semaphore>>>,
    /// What ends within one hop needs no turn.
    first_is_free: bool,
}

/// A long read that goes on, until dropped: the place of its asker, and at times a turn.
pub struct LongRead {
    turns: Arc<Semaphore>,
    turn: Option<LongTurn>,
    _place: Option<OwnedSemaphorePermit>,
}

type LongTurn = Arc<OwnedSemaphorePermit>;

impl LongReads {
    /// All turns are free.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of((processors / 2).clamp(1, 4), false)
    }

    /// The same where a first hop needs no turn: for what nearly always ends with it.
    pub fn after_a_hop() -> Self {
        Self {
            first_is_free: true,
            ..Self::new()
        }
    }

    fn of(turns: usize, first_is_free: bool) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            askers: Mutex::default(),
            first_is_free,
        }
    }

    /// A long read of this asker, once its last one is over; of nobody in particular, at once.
    async fn begin(&self, asker: Option<&Asker>) -> Result<LongRead, RepoError> {
        let place = match asker.map(|asker| self.place(asker)) {
            None => None,
            Some(place) => match timeout(PATIENCE, place.acquire_owned()).await {
                Ok(Ok(place)) => Some(place),
                Ok(Err(_)) | Err(_) => return Err(RepoError::OneAtATime),
            },
        };
        Ok(LongRead {
            turns: Arc::clone(&self.turns),
            turn: None,
            _place: place,
        })
    }

    fn place(&self, asker: &Asker) -> Arc<Semaphore> {
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = askers.get(asker).and_then(Weak::upgrade) {
            return place;
        }
        // Each that is kept has a request waiting or under way.
        askers.retain(|_, place| place.strong_count() > 0);
        let place = Arc::new(Semaphore::new(1));
        askers.insert(asker.clone(), Arc::downgrade(&place));
        place
    }
}

impl LongRead {
    /// Gives its turn up and waits for another, behind those who wait already.
    pub async fn next_turn(&mut self) -> Result<(), RepoError> {
        self.give_up_turn();
        match timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => self.turn = Some(Arc::new(turn)),
            Ok(Err(_)) | Err(_) => return Err(RepoError::Crowded),
        }
        Ok(())
    }

    /// Lets the next one go on.
    pub fn give_up_turn(&mut self) {
        self.turn = None;
    }
}

impl Repos {
    /// A list of names that goes on and on because its caller may see few of them; it has no turn yet.
    pub async fn far(&self, asker: Option<&Asker>) -> Result<LongRead, RepoError> {
        self.0.far.begin(asker).await
    }

    /// Hops until one answers, in turns. Each gets what the one before left behind, and must end at its bound (see
    /// [`super`]).
    pub(in crate::repo) async fn long_read<S, T>(
        &self,
        kind: impl Fn(&Inner) -> &LongReads,
        asker: Option<&Asker>,
        mut state: S,
        step: impl Fn(&Inner, &Read<'_>, &mut S) -> Result<Option<T>, RepoError> + Send + Sync + 'static,
    ) -> Result<T, RepoError>
    where
        S: Clone + Send + 'static,
        T: Send + 'static,
    {
        let step = Arc::new(step);
        let reads = kind(&self.0);
        if reads.first_is_free {
            match self.one_hop(None, state, &step).await? {
                (_, Some(found)) => return Ok(found),
                (next, None) => state = next,
            }
        }
        let mut read = reads.begin(asker).await?;
        loop {
            read.next_turn().await?;
            for _ in 0..TURN {
                match self.one_hop(read.turn.clone(), state, &step).await? {
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
        turn: Option<LongTurn>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn asker(name: &str) -> Asker {
        Asker::new(name)
    }

    /// What is there without waiting.
    fn at_once<T>(wait: impl Future<Output = Result<T, RepoError>>) -> Option<T> {
        wait.now_or_never()
            .map(|done| done.expect("none is closed"))
    }

    #[tokio::test]
    async fn each_asker_has_one_long_read() {
        let reads = LongReads::of(1, false);
        let first = at_once(reads.begin(Some(&asker("a")))).expect("a place");
        assert!(at_once(reads.begin(Some(&asker("a")))).is_none());
        let _other = at_once(reads.begin(Some(&asker("b")))).expect("its own");
        for _ in 0..3 {
            assert!(at_once(reads.begin(None)).is_some());
        }
        drop(first);
        assert!(at_once(reads.begin(Some(&asker("a")))).is_some());
    }

    #[tokio::test]
    async fn turns_go_round_by_asker() {
        let reads = LongReads::of(1, false);
        let mut of_a = at_once(reads.begin(Some(&asker("a")))).expect("a place");
        let mut of_b = at_once(reads.begin(Some(&asker("b")))).expect("a place");
        at_once(of_a.next_turn()).expect("the only turn");
        let a = asker("a");
        let mut second_of_a = Box::pin(reads.begin(Some(&a)));
        assert!(second_of_a.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(of_b.next_turn());
        assert!(waits.as_mut().now_or_never().is_none());
        // Who has had a turn comes behind who waits.
        let mut again = Box::pin(of_a.next_turn());
        assert!(again.as_mut().now_or_never().is_none());
        assert!(waits.as_mut().now_or_never().is_some());
        drop(waits);
        of_b.give_up_turn();
        assert!(again.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_has_nothing_under_way_is_forgotten() {
        let reads = LongReads::of(1, false);
        let _kept = at_once(reads.begin(Some(&asker("kept"))));
        for n in 0..100 {
            assert!(at_once(reads.begin(Some(&asker(&n.to_string())))).is_some());
        }
        assert!(reads.askers.lock().expect("lock").len() <= 2);
        assert!(at_once(reads.begin(Some(&asker("kept")))).is_none());
    }
}
