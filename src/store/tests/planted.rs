//! What somebody planted where an upgrade writes: it is refused, named, and not followed, and the store stays as it was.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

type Plant = fn(&Path, &Path);

fn link(path: &Path, victim: &Path) {
    symlink(victim, path).unwrap();
}

fn link_to_nothing(path: &Path, victim: &Path) {
    symlink(victim.with_extension("none"), path).unwrap();
}

fn second_name(path: &Path, victim: &Path) {
    fs::hard_link(victim, path).unwrap();
}

fn pipe(path: &Path, _victim: &Path) {
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
}

fn folder(path: &Path, _victim: &Path) {
    fs::create_dir(path).unwrap();
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    names
}

#[test]
fn a_copy_before_an_upgrade_is_written_through_nothing_planted() {
    let (dir, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let opener = disk::machine();
    let older = &steps::STEPS[..2];
    // Refused where it was upgraded.
    let open_older =
        |dir: &Path| drop(super::super::redb::open_as(&options(dir), &opener, older).unwrap());
    open_older(dir.path());
    let victim = beside.path().join("victim");
    let half: [Plant; 5] = [link, link_to_nothing, second_name, pipe, folder];
    // A second name of the whole copy is only taken away by its rename.
    let whole: [Plant; 4] = [link, link_to_nothing, pipe, folder];
    let cases = half.map(|plant| ("meta.redb.copy", plant)).into_iter();
    for (file, plant) in cases.chain(whole.map(|plant| ("meta.redb.schema-3.bak", plant))) {
        fs::write(&victim, b"theirs").unwrap();
        let path = dir.path().join(file);
        plant(&path, &victim);
        let error = Store::open(options(dir.path())).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"theirs", "{file}");
        assert!(names(beside.path()) == [&*victim], "{file}");
        let is = fs::symlink_metadata(&path).unwrap();
        if is.is_dir() {
            fs::remove_dir(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let _ = fs::remove_file(dir.path().join("meta.redb.copy"));
        open_older(dir.path());
    }
    // What an upgrade that was cut off left is written anew, and so is the copy of an earlier one.
    for file in ["meta.redb.copy", "meta.redb.schema-3.bak"] {
        fs::write(dir.path().join(file), vec![b'x'; 10 << 20]).unwrap();
    }
    Store::open(options(dir.path())).unwrap().close();
    assert!(!dir.path().join("meta.redb.copy").exists());
    let copy = dir.path().join("meta.redb.schema-3.bak");
    let mode = fs::metadata(&copy).unwrap().permissions().mode() & 0o777;
    assert!(mode == 0o600, "{mode:o}");
    fs::rename(copy, beside.path().join("meta.redb")).unwrap();
    open_older(beside.path());
}
