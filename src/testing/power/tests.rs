//! What must hold wherever the power goes, for every kind of repository; the parts of one kind stand in `kinds`.

use super::cases::growing::{self, Way};
use super::cases::{closing, compacting, full};
use super::check::check;
use super::cuts::{
    Plan, assert_none, broken_order, cut_everywhere, is_noticed, loses_nothing, runtime,
};
use super::disk::{Disk, Fault};
use super::ledger::Ledger;
use super::scenario::{self, Client, Recording};
use super::state::{Op, State};
use super::{Rng, Service};
use crate::types::{Algorithm, Kind};

/// A disk on which the registry was started once and stopped, everything written back.
fn base() -> State {
    let disk = Disk::start(State::new(), "the first boot".into(), Fault::None);
    let service = Service::open(&disk).expect("opens");
    runtime().block_on(service.close());
    disk.history().1.settled()
}

fn record(kind: Kind, base: &State, seed: u64, fault: Fault) -> Recording {
    runtime().block_on(scenario::run(kind, base.clone(), seed, fault))
}

/// How many runs of each kind are wanted.
fn seeds() -> u64 {
    let seeds = std::env::var("DRYPORT_POWER_SEEDS").ok();
    seeds.and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The checker sees that a disk or a program does not keep its word, whatever the kind.
fn bites(fault: Fault) {
    let base = base();
    for kind in Kind::ALL {
        is_noticed(&record(kind, &base, 77, fault), fault);
    }
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    let base = base();
    for kind in Kind::ALL {
        for seed in 1..=seeds() {
            loses_nothing(&record(kind, &base, seed, Fault::None), seed);
        }
    }
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
fn a_commit_that_is_answered_before_it_is_durable_is_noticed() {
    bites(Fault::LateLogSync);
}

#[test]
fn a_change_that_is_answered_before_it_is_made_is_noticed() {
    bites(Fault::AnswersFirst);
}

#[test]
fn a_rename_before_the_sync_is_noticed() {
    for kind in Kind::ALL {
        let run = record(kind, &base(), 78, Fault::RenameFirst);
        assert!(!broken_order(&run).is_empty(), "{kind}");
    }
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
    let (tried, lost) =
        runtime().block_on(closing::cut_everywhere(&base(), closing::Wrong::Nothing));
    assert_eq!(lost, Vec::<String>::new());
    assert!(tried > 25, "{tried}");
}

/// The law of uploads that are cut off sees a program that does not keep it, and by what.
#[test]
fn a_program_that_loses_an_upload_whose_end_is_cut_off_is_noticed() {
    for (wrong, sign) in [
        (closing::Wrong::AnswersFromMemory, "(Ok(0), Ok(0))"),
        (closing::Wrong::Forgets, "neither upload nor blob"),
        (closing::Wrong::KeepsOthers, "cannot be finished"),
    ] {
        let (_, lost) = runtime().block_on(closing::cut_everywhere(&base(), wrong));
        println!("{wrong:?}: {} lost, {:?}", lost.len(), lost.first());
        assert!(
            lost.iter().any(|l| l.contains(sign)),
            "{wrong:?}: {lost:#?}"
        );
    }
}

#[test]
fn a_file_whose_last_part_is_cut_off_goes_on() {
    let (tried, by_question) = runtime().block_on(closing::cut_last_parts(&base()));
    println!("last part: {tried} cuts, {by_question} files made by the question");
    assert!(tried > 5 && by_question > 0, "{tried}, {by_question}");
}

#[test]
fn content_that_is_read_or_handed_over_meanwhile_is_whole_or_not_there() {
    for way in [Way::Fill, Way::Copy, Way::Clone] {
        let (cuts, there) = runtime().block_on(growing::cut_everywhere(&base(), way));
        println!("{way:?}: {cuts} cuts, whole after {there}");
        assert!(cuts > 8 && there > 0 && there < cuts, "{cuts}, {there}");
    }
}
