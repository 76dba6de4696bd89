//! After a batch that could not be committed: the file is opened again, and everybody hears what became of theirs.

use super::{Own, Shared};
use crate::store::engine::Engine;
use crate::store::lanes::Job;
use crate::store::{Need, StoreError, StoreErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// First and longest pause between attempts to open the file again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl<E: Engine> Shared<E> {
    /// A failed merge or commit: the file is opened again, and the batch learns that the outcome is unknown. Where the disk was
    /// full, and the open file shows that nothing of the batch was stored, what grows hears that, and the rest is run again.
    pub(super) fn fail(&self, error: StoreError, mut jobs: Vec<Box<dyn Job>>, own: &mut Own) {
        tracing::error!(%error, closures = jobs.len(), "the metadata store could not commit");
        self.stats.failed_commits.fetch_add(1, Relaxed);
        let full = error.kind() == StoreErrorKind::NoSpace;
        let (detail, number) = (error.clone(), own.number);
        let unknown = error.into_unknown();
        // Whatever became of it: nobody is answered while memory may know better.
        self.epochs.end_everything();
        let give_up = |jobs: &mut Vec<Box<dyn Job>>| {
            let answer = |job: Box<dyn Job>| job.answer(Err(unknown.clone()));
            jobs.drain(..).for_each(answer);
        };
        if !full {
            give_up(&mut jobs);
        }
        // Nobody waits longer than for one attempt.
        self.reopen(own, || give_up(&mut jobs));
        // Whoever read meanwhile read what was before; now the batch may be there.
        self.epochs.end_everything();
        if own.log.as_ref().is_none_or(|log| log.next() > number) {
            give_up(&mut jobs);
        }
        if own.log.is_none() {
            // Closed, and not to be opened again.
            give_up(&mut own.again.drain(..).collect());
        }
        for mut job in jobs {
            if job.need() == Need::Grows || own.is_again {
                self.stats.refused_full.fetch_add(1, Relaxed);
                job.refuse(detail.clone());
                job.answer(Ok(()));
            } else {
                own.again.push_back(job);
            }
        }
    }

    /// Opens the file again, however long that takes. After the first failure nobody may queue up, and readers get what
    /// was committed before.
    /// `down` is called when the first attempt has failed.
    pub(super) fn reopen(&self, own: &mut Own, mut down: impl FnMut()) {
        let (mut pause, longest) = BACKOFF;
        let durable = own.log.take().map_or(0, |log| log.next() - 1);
        loop {
            // Closing the broken file has the engine look at it once more.
            let taken = catch_unwind(AssertUnwindSafe(|| self.file.take_for_reopen()));
            if taken.is_err() {
                tracing::error!("a defect while closing the metadata file");
            }
            let opened = self.reserve.lent_to(|| {
                catch_unwind(AssertUnwindSafe(|| E::open(&self.options, &self.opener)))
                    .unwrap_or_else(|_| Err(StoreError::Damaged("a defect while opening".into())))
            });
            match opened {
                Ok((db, log)) => {
                    own.log = Some(log);
                    self.file.put(db);
                    self.lanes.set_down(None);
                    self.stats.reopened.fetch_add(1, Relaxed);
                    tracing::warn!(
                        "the metadata store is open again; nothing acknowledged was lost"
                    );
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, retry_ms = pause.as_millis(), "the metadata store cannot be reopened: no change is taken until it can");
                    self.lanes.set_down(Some(error.while_down()));
                    down();
                    self.read_on(durable);
                }
            }
            if self.lanes.sleep_unless_closed(pause) {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Serves readers from the file as it is and its log up to the batch of this number, in a way that needs no writing. A
    /// later batch may be in the log as the kernel shows it, and not on the disk.
    fn read_on(&self, durable: u64) {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            E::open_frozen(&self.options, &self.opener, durable)
        }))
        .unwrap_or_else(|_| Err(StoreError::Damaged("a defect while opening".into())));
        match opened {
            Ok(db) => self.file.put(db),
            Err(error) => tracing::error!(%error, "the metadata store cannot even be read"),
        }
    }
}
