//! The settings of a data directory count as they are or not at all, and lead nowhere else.

use crate::core::owner::directory::{OWNER, as_user, is_root};
use crate::harness::{BINARY, clean, skip, text_of};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

#[test]
fn settings_that_root_may_not_see_are_not_the_defaults() {
    if !is_root() {
        return;
    }
    // Root without the right to see everything, as on NFS and in containers.
    let squashed = |args: &[&str]| {
        let mut command = clean("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", BINARY]);
        command.args(args).output().unwrap()
    };
    if !squashed(&["version"]).status.success() {
        skip("setpriv takes no rights from root here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dryport.toml"), "mode = \"standalone\"\n").unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    for path in [&data, &data.join("dryport.toml")] {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let dir = data.to_str().unwrap();
    for args in [
        &["config", "validate", "--data", dir][..],
        &["gc", "--data", dir],
    ] {
        let output = squashed(args);
        let text = text_of(&output);
        assert!(!output.status.success(), "{args:?}: {text}");
        assert!(
            text.contains("dryport.toml") && text.contains("ermission denied"),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn a_file_that_was_found_in_a_data_directory_names_no_other() {
    if !is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
    let (share, other) = (home.path().join("dryport"), home.path().join("other"));
    for dir in [&share, &other] {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
        chown(dir, Some(OWNER), Some(OWNER)).unwrap();
    }
    let file = share.join("dryport.toml");
    let validate = |more: &[&str]| {
        let mut command = as_user(OWNER, &["config", "validate"]);
        command.args(more).env("XDG_DATA_HOME", home.path());
        command.output().unwrap()
    };
    fs::write(&file, format!("data = \"{}\"\n", other.display())).unwrap();
    chown(&file, Some(OWNER), Some(OWNER)).unwrap();
    let output = validate(&[]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("names another one"), "{text}");
    // Who names the file knows what it says.
    let output = validate(&["--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text_of(&output));
    fs::write(&file, "data = \".\"\n").unwrap();
    let output = validate(&[]);
    assert!(output.status.success(), "{}", text_of(&output));
}
