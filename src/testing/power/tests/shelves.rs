//! The same for repositories of files and for snapshots.

use super::super::disk::Fault;
use super::super::scenario::{Recording, shelves};
use super::closing;
use super::{base, is_noticed, loses_nothing, runtime, seeds};

fn record(seed: u64, fault: Fault) -> Recording {
    runtime().block_on(shelves::run(base(), seed, fault))
}

#[test]
fn no_file_and_no_snapshot_is_lost_or_half_there_wherever_the_power_goes() {
    for seed in 1..=seeds() {
        loses_nothing(&record(seed, Fault::None), seed);
    }
}

#[test]
fn a_disk_that_ignores_the_sync_of_files_is_noticed() {
    let fault = Fault::NoFileSync;
    is_noticed(&record(79, fault), fault);
}

#[test]
fn a_disk_that_ignores_the_sync_of_the_log_under_files_is_noticed() {
    let fault = Fault::NoLogSync;
    is_noticed(&record(80, fault), fault);
}

#[test]
fn a_file_whose_last_part_is_cut_off_goes_on() {
    let (tried, by_question) = runtime().block_on(closing::cut_last_parts(&base()));
    println!("last part: {tried} cuts, {by_question} files made by the question");
    assert!(tried > 5 && by_question > 0, "{tried}, {by_question}");
}
