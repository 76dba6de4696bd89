//! Tells the crate which commit it is built from (`dryport version`): `DRYPORT_COMMIT` of whoever packages it, else what
//! git says of this folder; a build from neither says "unknown".

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rerun-if-env-changed=DRYPORT_COMMIT");
    let given = std::env::var("DRYPORT_COMMIT").ok();
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        // Grows with every commit and checkout. A file that is not there would mean a new build each time.
        println!("cargo::rerun-if-changed={log}");
    }
    // An archive unpacked inside somebody else's repository must not name that one's commit.
    let ours = || git(&["ls-files", "--error-unmatch", "packaging/build.rs"]);
    let commit = given.or_else(|| ours().and_then(|_| git(&["rev-parse", "HEAD"])));
    if let Some(commit) = commit {
        println!("cargo::rustc-env=DRYPORT_COMMIT={commit}");
    }
}

/// What git answers, if it does.
fn git(words: &[&str]) -> Option<String> {
    let done = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    let text = text.trim();
    (done.status.success() && !text.is_empty()).then(|| text.to_owned())
}
