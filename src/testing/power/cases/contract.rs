//! The contract of an engine (`store/contract`) on the simulated disk: every promise, and cuts of its runs before every step.

use super::super::cuts::assert_none;
use super::super::disk::{Disk, Fault};
use super::super::state::State;
use super::super::{Rng, store_options};
use crate::store::contract::{Ground, Kept, cuts, promises};
use crate::store::{self, Backend, StoreOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// A simulated disk. What a cut leaves is on the next one.
struct Simulated {
    disk: Mutex<Disk>,
    log_bytes: usize,
    /// The cut is for others to make.
    holds_on: bool,
}

impl Simulated {
    fn new(state: State, fault: Fault, log_bytes: usize) -> Self {
        Self {
            disk: Mutex::new(Disk::start(state, "a boot".into(), fault)),
            log_bytes,
            holds_on: false,
        }
    }

    fn disk(&self) -> Disk {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.clone()
    }
}

impl Ground for Simulated {
    fn options(&self) -> StoreOptions {
        StoreOptions {
            log_bytes: self.log_bytes,
            ..store_options(&self.disk())
        }
    }

    fn opener(&self) -> Arc<dyn store::Disk> {
        Arc::new(self.disk())
    }

    fn cut(&self) {
        if self.holds_on {
            return;
        }
        let mut rng = Rng::new(41);
        let left = self.disk().history().1.after_cut(&mut rng);
        let next = Disk::start(left, "the next boot".into(), Fault::None);
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

/// A disk with an empty data directory: who makes that has synced it.
fn base() -> State {
    let disk = Disk::start(State::new(), "the first boot".into(), Fault::None);
    let made = store::Disk::make_dir(&disk, &disk.dir());
    made.expect("a folder");
    disk.history().1.settled()
}

const LOGS: [usize; 2] = [64 << 10, 0];

#[test]
fn every_promise_is_kept_on_the_simulated_disk() {
    for log_bytes in LOGS {
        for (name, promise) in promises::<Backend>() {
            let kept = promise(&Simulated::new(base(), Fault::None, log_bytes));
            assert!(kept.is_ok(), "{name}, log of {log_bytes} bytes: {kept:?}");
        }
    }
}

type Run = fn(&dyn Ground, cuts::Noted<'_>) -> Kept;
type Check = fn(&dyn Ground, u64) -> Kept;

/// Runs once, cuts the power before every step, and checks what each cut left. Answers what was lost, and how many cuts were
/// made.
fn cut_everywhere(run: Run, check: Check, fault: Fault, log_bytes: usize) -> (Vec<String>, usize) {
    let mut ground = Simulated::new(base(), fault, log_bytes);
    ground.holds_on = true;
    let mut noted = Vec::new();
    let disk = ground.disk();
    run(&ground, &mut |n| noted.push((disk.steps(), n))).expect("runs");
    let ops = disk.history().0;
    let (mut state, mut lost) = (base(), Vec::new());
    for cut in 0..=ops.len() {
        let least = noted.iter().rev().find(|(step, _)| *step <= cut);
        let mut rng = Rng::new(cut as u64);
        let left = Simulated::new(state.after_cut(&mut rng), Fault::None, log_bytes);
        let least = least.map_or(0, |(_, n)| *n);
        // An engine may give up where the disk made nonsense of its file.
        match catch_unwind(AssertUnwindSafe(|| check(&left, least))) {
            Ok(Ok(())) => {}
            Ok(Err(how)) => lost.push(format!("cut {cut}: {how}")),
            Err(_) => lost.push(format!("cut {cut}: a panic")),
        }
        if let Some(op) = ops.get(cut) {
            state.apply(op);
        }
    }
    (lost, ops.len())
}

const RUNS: [(&str, Run, Check); 2] = [
    (
        "engine",
        cuts::run_engine::<Backend>,
        cuts::check_engine::<Backend>,
    ),
    (
        "store",
        cuts::run_store::<Backend>,
        cuts::check_store::<Backend>,
    ),
];

#[test]
fn the_runs_of_the_contract_lose_nothing_wherever_the_power_goes() {
    for log_bytes in LOGS {
        for (name, run, check) in RUNS {
            let (lost, cuts) = cut_everywhere(run, check, Fault::None, log_bytes);
            println!(
                "{name}, log of {log_bytes} bytes: {cuts} cuts, lost {}",
                lost.len()
            );
            assert_none(&lost);
        }
    }
}

#[test]
fn a_disk_that_ignores_syncs_breaks_the_contract() {
    let (engine, store) = (RUNS[0], RUNS[1]);
    for (fault, (name, run, check), log_bytes) in [
        (Fault::NoDatabaseSync, engine, 0),
        (Fault::NoDatabaseSync, store, 0),
        (Fault::NoLogSync, store, 64 << 10),
    ] {
        let (lost, _) = cut_everywhere(run, check, fault, log_bytes);
        assert!(
            !lost.is_empty(),
            "{fault:?} goes unnoticed by the run of the {name}"
        );
    }
}
