//! The contract on the machine's own disk: redb keeps each promise, and of each mutant the suite says which it breaks.

use super::mutants::mutants;
use super::*;
use crate::store::{Backend, disk};
use std::cell::RefCell;
use std::time::Duration;
use tempfile::TempDir;

/// A folder of the machine, where a cut is the end of the program alone: the kernel keeps what was written.
struct Machine {
    /// The last one is in use.
    folders: RefCell<Vec<TempDir>>,
    log_bytes: usize,
}

impl Machine {
    fn new(log_bytes: usize) -> Self {
        let folders = RefCell::new(vec![tempfile::tempdir().unwrap()]);
        Self { folders, log_bytes }
    }
}

impl Ground for Machine {
    fn options(&self) -> StoreOptions {
        StoreOptions {
            dir: self.folders.borrow().last().unwrap().path().to_owned(),
            cache_bytes: 8 << 20,
            slow: Duration::from_secs(10),
            holder: "the contract".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: self.log_bytes,
            upgrade_without_copy: false,
        }
    }

    fn opener(&self) -> Opener {
        disk::machine()
    }

    fn cut(&self) {
        let left = tempfile::tempdir().unwrap();
        for file in ["meta.redb", "meta.redb.log"] {
            let path = self.options().dir.join(file);
            if path.exists() {
                std::fs::copy(path, left.path().join(file)).unwrap();
            }
        }
        self.folders.borrow_mut().push(left);
    }
}

/// Each promise is tried with the log and without it: what goes to the log alone leaves less to the engine.
const LOGS: [usize; 2] = [64 << 10, 0];

#[test]
fn redb_keeps_every_promise() {
    for log_bytes in LOGS {
        for (name, promise) in promises::<Backend>() {
            let kept = promise(&Machine::new(log_bytes));
            assert!(
                kept.is_ok(),
                "{name}, log of {log_bytes} bytes: {}",
                kept.unwrap_err()
            );
        }
    }
}

#[test]
fn every_mutant_is_seen_to_break_its_promise() {
    let mut seen = Vec::new();
    for (is, name, promises) in mutants() {
        let promise = promises.into_iter().find(|(other, _)| *other == name);
        let (_, promise) = promise.expect("a promise of that name");
        let mut tried = LOGS.iter().map(|log| promise(&Machine::new(*log)));
        let broken = tried.find_map(Result::err);
        let Some(how) = broken else {
            panic!("{is:?} passes for an engine that keeps {name}");
        };
        println!("{is:?}: {name}: {how}");
        seen.push(name);
    }
    for (name, _) in promises::<Backend>() {
        assert!(seen.contains(&name), "no mutant breaks {name}");
    }
}
