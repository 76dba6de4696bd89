//! Files that somebody planted in a data directory where Dryport writes its own: a link, a second name, a pipe. None is
//! followed or written, and the error names it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{SOON, dryport, init, run, text_of};

/// A data directory, and a file beside it that nobody may touch.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        init(&home.path().join("data"), &[]);
        let place = Self { home };
        // Makes the certificates.
        assert!(run(&["trust", "--data", &place.dir()]).status.success());
        place
    }

    fn dir(&self) -> String {
        self.data().to_str().unwrap().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn victim(&self) -> PathBuf {
        self.home.path().join("victim")
    }

    /// Puts something in the place of a file for the time of a command, and looks that it was not followed. The file
    /// beside is a copy of what was there, so that following the link would work.
    fn with_planted(&self, file: &str, plant: Plant, args: &[&str]) -> Output {
        let (path, victim) = (self.data().join(file), self.victim());
        let aside = self.home.path().join("aside");
        let before = if path.exists() {
            fs::rename(&path, &aside).unwrap();
            fs::read(&aside).unwrap()
        } else {
            b"not ours\n".to_vec()
        };
        fs::write(&victim, &before).unwrap();
        plant(&path, &victim);
        let dir = self.dir();
        let args = [args, &["--data", &dir]].concat();
        let output = within(dryport(&args), SOON);
        assert!(fs::read(&victim).unwrap() == before, "{file} was followed");
        fs::remove_file(&path).unwrap();
        fs::remove_file(&victim).unwrap();
        if aside.exists() {
            fs::rename(&aside, &path).unwrap();
        }
        output
    }
}

type Plant = fn(&Path, &Path);

fn link(path: &Path, victim: &Path) {
    symlink(victim, path).unwrap();
}

fn second_name(path: &Path, victim: &Path) {
    fs::hard_link(victim, path).unwrap();
}

pub fn pipe(path: &Path, _victim: &Path) {
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
}

/// A command to its end, which must come in time: opening a pipe can wait for ever.
pub fn within(mut command: Command, limit: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    // Read beside, or a long report would fill the pipe and wait.
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).map(|_| all)
        })
    };
    let (out, err) = (read(Box::new(out)), read(Box::new(err)));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Output {
        status,
        stdout: out.join().unwrap().unwrap(),
        stderr: err.join().unwrap().unwrap(),
    }
}

#[track_caller]
fn named(output: &Output, file: &str) {
    let said = text_of(output);
    assert!(!output.status.success(), "{file}: {said}");
    assert!(said.contains(file), "{file}: {said}");
}

#[test]
fn a_planted_file_of_the_store_is_named_and_never_written() {
    let place = Place::new();
    for file in ["lock", "meta.redb", "meta.redb.log"] {
        let all: [(&str, Plant); 3] = [
            ("a symbolic link", link),
            ("2 names", second_name),
            ("a pipe", pipe),
        ];
        for (what, plant) in all {
            let output = place.with_planted(file, plant, &["user", "list"]);
            named(&output, file);
            assert!(text_of(&output).contains(what), "{}", text_of(&output));
        }
    }
    // Without its reserve a server still starts, for it is needed to delete something; and says why.
    let all: [Plant; 3] = [link, second_name, pipe];
    for plant in all {
        let output = place.with_planted("reserve", plant, &["user", "list"]);
        let said = text_of(&output);
        assert!(
            output.status.success() && said.contains("no reserve"),
            "{said}"
        );
        assert!(said.contains("data/reserve"), "{said}");
    }
    let output = run(&["check", "--data", &place.dir()]);
    assert!(output.status.success(), "{}", text_of(&output));
}

#[test]
fn a_planted_key_certificate_or_setting_is_named_and_never_followed() {
    let place = Place::new();
    let keys = place.data().join("keys");
    let token = fs::read_dir(keys).unwrap().next().unwrap().unwrap();
    let token = format!("keys/{}", token.file_name().to_str().unwrap());
    let all: [Plant; 2] = [link, pipe];
    for plant in all {
        for file in ["tls/ca.pem", "tls/ca.key", "tls/leaf.pem", "tls/leaf.key"] {
            named(&place.with_planted(file, plant, &["trust"]), file);
        }
        named(
            &place.with_planted(&token, plant, &["user", "list"]),
            &token,
        );
        let output = place.with_planted("dryport.toml", plant, &["user", "list"]);
        named(&output, "dryport.toml");
    }
    // What is written anew goes through a file beside it.
    for file in ["tls/leaf.pem", "tls/leaf.key"] {
        let path = place.data().join(file);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let young = format!("{file}.new");
        let all: [Plant; 3] = [link, second_name, pipe];
        for plant in all {
            named(&place.with_planted(&young, plant, &["trust"]), &young);
        }
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn a_first_start_follows_nothing_that_was_there_before() {
    for file in [
        "keys/initial-user.new",
        "dryport.toml",
        "dryport.toml.new",
        "lock",
        "meta.redb.new",
    ] {
        let home = tempfile::tempdir().unwrap();
        let (data, victim) = (home.path().join("data"), home.path().join("victim"));
        fs::create_dir_all(data.join("keys")).unwrap();
        rustix::fs::chmod(&data, 0o700.into()).unwrap();
        rustix::fs::chmod(data.join("keys"), 0o700.into()).unwrap();
        fs::write(&victim, "not ours\n").unwrap();
        symlink(&victim, data.join(file)).unwrap();
        let output = within(dryport(&["init", "--data", data.to_str().unwrap()]), SOON);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "not ours\n", "{file}");
        // A database that was not finished is begun again: the name is taken away, and where it led is not looked at.
        if file != "meta.redb.new" {
            named(&output, file);
        }
    }
}
