//! The cuts of a run: before each step of the disk, and now and then again while the registry starts.

use super::Rng;
use super::check::{Report, check, used_twice};
use super::disk::Fault;
use super::ledger::Ledger;
use super::scenario::Recording;
use super::state::{Op, State};
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// What all cuts of a run came to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub cuts: usize,
    pub images: usize,
    resumed: usize,
    garbage: usize,
    pub slowest: Duration,
    pub lost: Vec<String>,
}

impl Sum {
    fn add(&mut self, report: Report, what: &str) {
        self.images += 1;
        self.resumed += report.resumed;
        self.garbage += report.garbage;
        self.slowest = self.slowest.max(report.opened_in);
        let lost = report.lost.into_iter();
        self.lost.extend(lost.map(|l| format!("{what}: {l}")));
    }

    fn join(mut self, other: Self) -> Self {
        self.cuts += other.cuts;
        self.images += other.images;
        self.resumed += other.resumed;
        self.garbage += other.garbage;
        self.slowest = self.slowest.max(other.slowest);
        self.lost.extend(other.lost);
        self
    }
}

/// Fails with some of what was lost, if anything was.
pub(super) fn assert_none(lost: &[String]) {
    let some = &lost[..lost.len().min(10)];
    assert!(some.is_empty(), "{some:#?}");
}

/// How the cuts of a run are chosen.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Images of each cut.
    pub images: u64,
    /// Every how many cuts each step of the recovery is cut, too; of the others every eighth at one step; 0: none.
    pub recoveries: usize,
    /// Stop at the first loss.
    pub stop: bool,
}

/// Cuts before every step from `from` on, each checked by one of two threads.
pub(super) fn cut_everywhere(run: &Recording, from: usize, seed: u64, plan: Plan) -> Sum {
    let next = AtomicUsize::new(from);
    let sums: Vec<Sum> = std::thread::scope(|s| {
        let work = || cut_some(run, &next, seed, plan);
        let threads = [s.spawn(work), s.spawn(work)];
        threads.map(|t| t.join().expect("no panic")).into()
    });
    sums.into_iter().fold(Sum::default(), Sum::join)
}

fn cut_some(run: &Recording, next: &AtomicUsize, seed: u64, plan: Plan) -> Sum {
    let runtime = runtime();
    let (mut state, mut done) = (run.base.clone(), 0);
    let mut sum = Sum::default();
    loop {
        let cut = next.fetch_add(1, Relaxed);
        if cut > run.ops.len() || (plan.stop && !sum.lost.is_empty()) {
            return sum;
        }
        for op in &run.ops[done..cut] {
            state.apply(op);
        }
        done = cut;
        sum.cuts += 1;
        for image in 0..plan.images {
            let mut rng = Rng::new(seed << 40 | (cut as u64) << 8 | image);
            let disk = state.after_cut(&mut rng);
            let what = format!("seed {seed} cut {cut} image {image}");
            let boot = format!("boot of {what}");
            let report = runtime.block_on(checked(&disk, boot, &run.ledger, cut));
            let recovery = report.recovery.clone();
            sum.add(report, &what);
            let steps: Vec<_> = if image > 0 || plan.recoveries == 0 {
                Vec::new()
            } else if cut.is_multiple_of(plan.recoveries) {
                (0..=recovery.len()).collect()
            } else if cut.is_multiple_of(8) {
                vec![rng.below(recovery.len() + 1)]
            } else {
                Vec::new()
            };
            let again = Again {
                run,
                disk: &disk,
                recovery: &recovery,
                cut,
            };
            for step in steps {
                let what = format!("{what}, then step {step} of the recovery");
                sum.add(again.check(&runtime, step, &mut rng, &what), &what);
            }
        }
    }
}

/// [`check`], where a panic is a loss.
async fn checked(image: &State, boot: String, ledger: &Ledger, steps: usize) -> Report {
    let check = AssertUnwindSafe(check(image, boot, ledger, steps));
    check.catch_unwind().await.unwrap_or_else(|_| Report {
        lost: vec!["a panic".into()],
        ..Report::default()
    })
}

/// A second power cut, while the registry starts after the first.
struct Again<'a> {
    run: &'a Recording,
    disk: &'a State,
    recovery: &'a [Op],
    cut: usize,
}

impl Again<'_> {
    fn check(
        &self,
        runtime: &tokio::runtime::Runtime,
        step: usize,
        rng: &mut Rng,
        what: &str,
    ) -> Report {
        let mut state = self.disk.clone();
        self.recovery[..step].iter().for_each(|op| state.apply(op));
        let boot = format!("second boot of {what}");
        runtime.block_on(checked(
            &state.after_cut(rng),
            boot,
            &self.run.ledger,
            self.cut,
        ))
    }
}

/// DESIGN.md section 4: a content file is synced before it comes to its place, and each place is used once.
pub(super) fn broken_order(run: &Recording) -> Vec<String> {
    let mut broken: Vec<_> = used_twice(&run.ops).into_iter().collect();
    let mut state = run.base.clone();
    for op in &run.ops {
        let brought = match op {
            Op::Rename { from, to } => {
                let ino = state.dir(from.0).and_then(|d| d.now.get(&from.1));
                ino.map(|ino| (*ino, &to.1))
            }
            Op::Link { name, ino, .. } => Some((*ino, name)),
            _ => None,
        };
        if let Some((ino, name)) = brought.filter(|(ino, _)| !state.file(*ino).is_synced()) {
            broken.push(format!("{name}: {ino} came there before it was synced"));
        }
        state.apply(op);
    }
    broken
}

/// Cuts a run before each of its steps, and now and then again while the registry starts.
pub(super) fn loses_nothing(run: &Recording, seed: u64) {
    let plan = Plan {
        images: 1,
        recoveries: 100,
        stop: false,
    };
    assert_eq!(broken_order(run), Vec::<String>::new());
    let sum = cut_everywhere(run, 0, seed, plan);
    println!(
        "seed {seed}: {} steps of the disk, {} changes acknowledged, {} cuts, {} images checked, {} uploads resumed, {} files of garbage, slowest start {} ms, lost {}",
        run.ops.len(),
        run.ledger.acknowledged(run.ops.len()),
        sum.cuts,
        sum.images,
        sum.resumed,
        sum.garbage,
        sum.slowest.as_millis(),
        sum.lost.len()
    );
    assert_none(&sum.lost);
}

/// A disk or a program that does not keep its word loses something, and the checker sees it.
pub(super) fn is_noticed(run: &Recording, fault: Fault) {
    let plan = Plan {
        images: 1,
        recoveries: 0,
        stop: true,
    };
    let sum = cut_everywhere(run, 0, 77, plan);
    println!(
        "{fault:?}: noticed after {} cuts: {:?}",
        sum.cuts,
        sum.lost.first()
    );
    assert!(!sum.lost.is_empty(), "{fault:?} went unnoticed");
}
