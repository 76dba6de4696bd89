//! Makes directory entries durable, one fsync for all who wait for the same directory.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The fsyncs of one directory, numbered from 1.
///
/// An fsync only covers what was renamed before it began, so whoever comes while one is running waits for the next.
#[derive(Debug, Default)]
pub(super) struct DirSync {
    turns: Mutex<Turns>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    begun: u64,
    ended: u64,
    /// Every turn that failed: a waiter that wakes late must not take the next turn's success for its own.
    failed: Vec<(u64, i32)>,
}

impl DirSync {
    /// Returns when an fsync that began after this call began has ended, with that one's result. `fsync` does the work
    /// if nobody else does.
    pub fn sync(&self, fsync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut turns = self.lock();
        let mine = turns.begun + 1;
        while turns.ended < mine {
            if turns.begun == turns.ended {
                turns.begun = mine;
                drop(turns);
                let turn = SyncTurn {
                    dir: self,
                    number: mine,
                    code: eio(),
                };
                return turn.run(fsync);
            }
            turns = self
                .ended
                .wait(turns)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match turns.failed.iter().find(|(number, _)| *number == mine) {
            Some((_, code)) => Err(io::Error::from_raw_os_error(*code)),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        // Nothing under this lock can panic half way; a poisoned one is as good as new.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

/// A running turn; ends as failed unless `run` saw a success, even by a panic, so that nobody waits for ever.
struct SyncTurn<'a> {
    dir: &'a DirSync,
    number: u64,
    /// The answer for those who wait; 0 is success.
    code: i32,
}

impl SyncTurn<'_> {
    fn run(mut self, fsync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let result = fsync();
        self.code = match &result {
            Ok(()) => 0,
            Err(e) => e.raw_os_error().unwrap_or_else(eio),
        };
        result
    }
}

impl Drop for SyncTurn<'_> {
    fn drop(&mut self) {
        let mut turns = self.dir.lock();
        turns.ended = self.number;
        if self.code != 0 {
            turns.failed.push((self.number, self.code));
        }
        self.dir.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    /// How many turns eight callers take who come while another's is running.
    fn turns_of_late_comers() -> usize {
        let dir = DirSync::default();
        let runs = AtomicUsize::new(0);
        let (began, first_began) = mpsc::channel();
        let (let_go, wait) = mpsc::channel::<()>();
        std::thread::scope(|s| {
            s.spawn(|| {
                dir.sync(move || {
                    began.send(()).expect("test waits");
                    wait.recv().map_err(io::Error::other)
                })
            });
            first_began.recv().expect("first turn");
            let later: Vec<_> = (0..8)
                .map(|_| {
                    s.spawn(|| {
                        dir.sync(|| {
                            runs.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(runs.load(Ordering::SeqCst), 0);
            let_go.send(()).expect("first turn");
            for waiter in later {
                waiter.join().expect("no panic").expect("synced");
            }
        });
        runs.into_inner()
    }

    #[test]
    fn late_comers_share_the_next_turn_and_never_the_running_one() {
        // On a busy machine one of them may come too late for it.
        assert!((0..100).any(|_| turns_of_late_comers() == 1));
    }

    #[test]
    fn a_failure_is_its_own_turns_only() {
        let dir = DirSync::default();
        let failed = dir.sync(|| Err(io::Error::from_raw_os_error(28)));
        assert_eq!(failed.expect_err("failed").raw_os_error(), Some(28));
        dir.sync(|| Ok(())).expect("the next one");
    }
}
