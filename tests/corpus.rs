//! Replays `fuzz/corpus` through the checks of the fuzz targets: the seeds, and every input that once broke a parser.
//!
//! `fuzz/run` looks for new ones; what it finds goes into the corpus under a name that says what it shows.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/checks/mod.rs"]
mod checks;

/// Files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_input_of_the_corpus_holds() {
    let mut broken = Vec::new();
    for (target, check) in checks::ALL {
        let inputs = files(&fuzz().join("corpus").join(target));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            if catch_unwind(AssertUnwindSafe(|| check(&data))).is_err() {
                broken.push(format!("{target}/{}", name(&input)));
            }
        }
    }
    assert!(broken.is_empty(), "broken by: {}", broken.join(", "));
}

#[test]
fn stored_records_are_inputs_too() {
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/record")) {
        checks::run("record", &fs::read(file).unwrap());
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let mut names: Vec<String> = checks::ALL.iter().map(|(n, _)| (*n).to_owned()).collect();
    names.sort();
    let folders: Vec<String> = files(&fuzz().join("corpus"))
        .iter()
        .map(|p| name(p))
        .collect();
    assert_eq!(folders, names);
    let programs: Vec<String> = files(&fuzz().join("fuzz_targets"))
        .iter()
        .map(|p| name(p).trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(programs, names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in names {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
    }
}

#[test]
fn the_corpus_stays_small() {
    for (target, _) in checks::ALL {
        for input in files(&fuzz().join("corpus").join(target)) {
            let len = fs::metadata(&input).unwrap().len();
            assert!(len <= 64 << 10, "{}: {len} bytes", input.display());
        }
    }
}
