//! The stages that this process writes, in memory: who holds one, and who waits for the end of one.

use super::rows::StageId;
use crate::repo::state::lock;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// The stages that have a writer here.
#[derive(Default)]
pub(in crate::repo) struct Stages(Arc<Shared>);

#[derive(Default)]
struct Shared {
    held: Mutex<HashSet<StageId>>,
    /// Raised whenever a stage ends.
    ended: watch::Sender<u64>,
    /// One was left before its end.
    left: Notify,
}

impl Stages {
    /// Takes a stage, to write it or to take it back; none if somebody has it.
    pub fn hold(&self, id: StageId) -> Option<StageHold> {
        let is_free = lock(&self.0.held).insert(id);
        is_free.then(|| StageHold {
            id,
            shared: Arc::clone(&self.0),
            is_over: false,
        })
    }

    /// To be asked for before the rows are looked at that may show a stage.
    pub fn waiting(&self, patience: Duration) -> Waiting {
        Waiting {
            ended: self.0.ended.subscribe(),
            until: Instant::now() + patience,
        }
    }

    /// Waits until one was left before its end.
    pub async fn left(&self) {
        self.0.left.notified().await;
    }
}

/// A stage that somebody writes or takes back. Dropped before its end, it is left to who takes such back.
pub(in crate::repo) struct StageHold {
    id: StageId,
    shared: Arc<Shared>,
    is_over: bool,
}

impl StageHold {
    /// Its rows are gone.
    pub fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for StageHold {
    fn drop(&mut self) {
        lock(&self.shared.held).remove(&self.id);
        // Who waits looks again: it may be over although its end was not heard.
        self.shared.ended.send_modify(|ended| *ended += 1);
        if !self.is_over {
            self.shared.left.notify_one();
        }
    }
}

/// Who waits for the stages in its way.
pub(in crate::repo) struct Waiting {
    ended: watch::Receiver<u64>,
    until: Instant,
}

impl Waiting {
    /// Waits until a stage has ended since the last look; `false`: none did for too long.
    pub async fn ended(&mut self) -> bool {
        matches!(
            timeout_at(self.until, self.ended.changed()).await,
            Ok(Ok(()))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_has_one_writer_and_its_end_is_heard() {
        let stages = Stages::default();
        let hold = stages.hold(StageId(7)).expect("free");
        assert!(stages.hold(StageId(7)).is_none());
        let mut waiting = stages.waiting(Duration::from_mins(1));
        hold.end();
        assert!(waiting.ended().await);
        // One that is left is told of, and can be taken.
        drop(stages.hold(StageId(7)).expect("free again"));
        stages.left().await;
        assert!(stages.hold(StageId(7)).is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let stages = Stages::default();
        let _hold = stages.hold(StageId(7)).expect("free");
        assert!(!stages.waiting(Duration::from_millis(5)).ended().await);
    }
}
