mod shelves;

use super::check::{Report, check, used_twice};
use super::disk::{Disk, Fault};
use super::ledger::Ledger;
use super::scenario::{self, Client, Recording};
use super::state::{Op, State};
use super::{Rng, Service, closing, compacting, full};
use crate::types::Algorithm;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A disk on which the registry was started once and stopped, everything written back.
fn base() -> State {
    let disk = Disk::start(State::new(), "the first boot".into(), Fault::None);
    let service = Service::open(&disk).expect("opens");
    runtime().block_on(service.close());
    disk.history().1.settled()
}

fn record(base: &State, seed: u64, fault: Fault) -> Recording {
    runtime().block_on(scenario::run(base.clone(), seed, fault))
}

/// What all cuts of a run came to.
#[derive(Debug, Default)]
struct Sum {
    cuts: usize,
    images: usize,
    resumed: usize,
    garbage: usize,
    slowest: Duration,
    lost: Vec<String>,
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
fn assert_none(lost: &[String]) {
    let some = &lost[..lost.len().min(10)];
    assert!(some.is_empty(), "{some:#?}");
}

/// How the cuts of a run are chosen.
#[derive(Clone, Copy)]
struct Plan {
    /// Images of each cut.
    images: u64,
    /// Every how many cuts each step of the recovery is cut, too; of the others every eighth at one step; 0: none.
    recoveries: usize,
    /// Stop at the first loss.
    stop: bool,
}

/// Cuts before every step from `from` on, each checked by one of two threads.
fn cut_everywhere(run: &Recording, from: usize, seed: u64, plan: Plan) -> Sum {
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
fn broken_order(run: &Recording) -> Vec<String> {
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

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    let base = base();
    for seed in 1..=seeds() {
        loses_nothing(&record(&base, seed, Fault::None), seed);
    }
}

/// How many runs are wanted.
fn seeds() -> u64 {
    let seeds = std::env::var("DRYPORT_POWER_SEEDS").ok();
    seeds.and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Cuts a run before each of its steps, and now and then again while the registry starts.
fn loses_nothing(run: &Recording, seed: u64) {
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
fn bites(fault: Fault) {
    is_noticed(&record(&base(), 77, fault), fault);
}

fn is_noticed(run: &Recording, fault: Fault) {
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

#[test]
fn a_disk_that_ignores_the_sync_of_folders_is_noticed() {
    bites(Fault::NoDirSync);
}

#[test]
fn a_disk_that_ignores_the_sync_of_content_is_noticed() {
    bites(Fault::NoFileSync);
}

#[test]
fn a_disk_that_syncs_content_too_late_is_noticed() {
    bites(Fault::LateFileSync);
}

#[test]
fn a_disk_that_ignores_the_sync_of_the_database_is_noticed() {
    bites(Fault::NoDatabaseSync);
}

#[test]
fn a_disk_that_ignores_the_sync_of_the_log_is_noticed() {
    bites(Fault::NoLogSync);
}

#[test]
fn a_rename_before_the_sync_is_noticed() {
    let run = record(&base(), 78, Fault::RenameFirst);
    assert!(!broken_order(&run).is_empty());
}

/// The very first start, with its 512 folders: every cut, then every kill that a power cut follows.
#[test]
fn the_first_start_loses_nothing() {
    let disk = Disk::start(State::new(), "the first boot".into(), Fault::None);
    let ledger = Ledger::new(disk.clone());
    runtime().block_on(first_push(&disk, &ledger));
    let run = Recording {
        base: State::new(),
        ops: disk.history().0,
        ledger,
    };
    let plan = Plan {
        images: 1,
        recoveries: 0,
        stop: false,
    };
    let sum = cut_everywhere(&run, 0, 5, plan);
    println!(
        "first start: {} cuts, {} images checked, lost {}",
        sum.cuts,
        sum.images,
        sum.lost.len()
    );
    assert_none(&sum.lost);
    let mut lost = Vec::new();
    // The folders of places are alike: some of each algorithm stand for all.
    let folders = |op: &Op| matches!(op, Op::Mkdir { name, .. } if name.len() == 2);
    let opened = run.ops.iter().rposition(folders).unwrap_or(0) + 20;
    let some = |n: &usize| {
        let every = if folders(&run.ops[*n]) { 64 } else { 1 };
        n.is_multiple_of(if *n > opened { 8 } else { every })
    };
    for step in (0..run.ops.len()).filter(some) {
        lost.extend(killed_then_cut(step));
    }
    println!("killed, then cut: lost {}", lost.len());
    assert_none(&lost);
}

async fn first_push(disk: &Disk, ledger: &Ledger) {
    let service = Service::open(disk).expect("opens");
    let client = Client::new(&service, ledger);
    let name = scenario::repo("first/push");
    let mut rng = Rng::new(3);
    for len in [10, 5_000, 6_000] {
        let bytes = (0..len).map(|_| rng.below(256) as u8).collect();
        let digest = client.push(&name, &bytes, Algorithm::Sha256).await;
        let digest = digest.expect("pushed");
        let put = client
            .manifest(&name, &[digest], &["latest"], None, 10)
            .await;
        put.expect("put");
    }
    service.close().await;
}

/// Kills the first start before a step, starts again, pushes, and cuts the power.
fn killed_then_cut(step: usize) -> Vec<String> {
    let disk = Disk::start(State::new(), "the first boot".into(), Fault::None);
    disk.kill_at(step);
    if let Ok(service) = Service::open(&disk) {
        service.abandon();
    }
    let next = disk.kill();
    let ledger = Ledger::new(next.clone());
    let runtime = runtime();
    runtime.block_on(first_push(&next, &ledger));
    let (ops, state) = next.history();
    let mut lost = Vec::new();
    for image in 0..2 {
        let mut rng = Rng::new((step as u64) << 8 | image);
        let boot = format!("boot after {step}.{image}");
        let left = state.after_cut(&mut rng);
        let report = runtime.block_on(check(&left, boot, &ledger, ops.len()));
        let what = |l| format!("killed before step {step}, image {image}: {l}");
        lost.extend(report.lost.into_iter().map(what));
    }
    lost
}

#[test]
fn a_compaction_that_is_cut_off_loses_nothing() {
    let (run, from) = runtime().block_on(compacting::record(&base()));
    let plan = Plan {
        images: 2,
        recoveries: 50,
        stop: false,
    };
    let sum = cut_everywhere(&run, from, 9, plan);
    println!(
        "compaction: {} cuts, {} images checked, slowest start {} ms, lost {}",
        sum.cuts,
        sum.images,
        sum.slowest.as_millis(),
        sum.lost.len()
    );
    assert_none(&sum.lost);
}

#[test]
fn a_full_disk_keeps_what_was_acknowledged_and_nothing_of_what_was_refused() {
    let (run, from) = runtime().block_on(full::record(&base()));
    let plan = Plan {
        images: 1,
        recoveries: 100,
        stop: false,
    };
    let sum = cut_everywhere(&run, from, 12, plan);
    println!(
        "full disk: {} cuts, {} images checked, slowest start {} ms, lost {}",
        sum.cuts,
        sum.images,
        sum.slowest.as_millis(),
        sum.lost.len()
    );
    assert!(sum.cuts > 100, "{}", sum.cuts);
    assert_none(&sum.lost);
}

#[test]
fn an_upload_whose_end_is_cut_off_goes_on() {
    let (tried, lost) = runtime().block_on(closing::cut_everywhere(&base()));
    assert_eq!(lost, Vec::<String>::new());
    assert!(tried > 25, "{tried}");
}
