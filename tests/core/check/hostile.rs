//! `dryport check` over a directory that somebody arranged, or a broken tool: nothing is followed out of it, nothing
//! outside is touched, nothing waits, and each thing is told of in letters that any terminal shows.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use dryport::repo::rows::record::{BlobRecord, CondemnedRecord};
use dryport::store::Table;
use dryport::store::record::Record;
use serde_json::Value;

use crate::core::owner::directory::{OWNER, as_user, is_root};
use crate::core::owner::files::{pipe, within};
use crate::harness::damage::{Copy, World, kinds, world};
use crate::harness::{dryport, run, text_of};

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const ID: &str = "0123456789abcdef0123456789abcdef";

/// All that lies below a path: names, kinds, modes, lengths and bytes.
fn snapshot(path: &Path, into: &mut Vec<(PathBuf, u32, u64, Vec<u8>)>) {
    let about = path.symlink_metadata().unwrap();
    let bytes = if about.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let len = if about.is_dir() { 0 } else { about.len() };
    into.push((path.to_owned(), about.mode(), len, bytes));
    if about.is_dir() {
        let mut names: Vec<_> = path
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        for name in names {
            snapshot(&name, into);
        }
    }
}

fn outside(copy: &Copy) -> PathBuf {
    copy.dir().with_file_name("outside")
}

fn check(copy: &Copy, more: &[&str]) -> Output {
    let dir = copy.dir();
    let args = [&["check", "--fast", "--data", dir.to_str().unwrap()], more].concat();
    within(dryport(&args), Duration::from_mins(2))
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text_of(output)))
}

/// Puts things into a copy of the world; answers the names by which they are told of.
fn arrange(world: &World, copy: &Copy) -> Vec<String> {
    let (dir, outside) = (copy.dir(), outside(copy));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"theirs").unwrap();
    fs::create_dir(outside.join("folder")).unwrap();
    let mut told = Vec::new();
    let mut tell = |name: String| told.push(name);
    let below = |file: &Path| {
        file.strip_prefix(&dir)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    // In the place of contents: a link to the very bytes, a pipe, and next to nothing of 4 TiB.
    let layer = copy.file(&world.layer);
    fs::rename(&layer, outside.join("layer")).unwrap();
    symlink(outside.join("layer"), &layer).unwrap();
    tell(below(&layer));
    let orphan = copy.file(&world.orphan);
    fs::remove_file(&orphan).unwrap();
    pipe(&orphan, Path::new(""));
    tell(below(&orphan));
    let long = copy.file(&world.long);
    fs::write(&long, b"").unwrap();
    fs::File::options()
        .write(true)
        .open(&long)
        .unwrap()
        .set_len(4 << 40)
        .unwrap();
    tell(below(&long));
    // With names of contents: a folder, a link to itself, and one out of the directory.
    let place = |byte: &str, n: u32| dir.join(format!("blobs/sha256/{byte}/{byte}{n:062x}.{ID}"));
    for (n, make) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let path = place("0a", n);
        match make {
            0 => fs::create_dir_all(path.join("deep/er")).unwrap(),
            1 => symlink(&path, &path).unwrap(),
            2 => symlink(outside.join("folder"), &path).unwrap(),
            _ => pipe(&path, Path::new("")),
        }
        tell(below(&path));
    }
    // With odd names.
    for (name, shown) in [
        (&b"\x1b[31mred"[..], "\\x1b[31mred"),
        (b"line\nfeed", "line\\x0afeed"),
        (b"not\xffutf8", "not\\xffutf8"),
        ("\u{202e}gnp".as_bytes(), "\\xe2\\x80\\xaegnp"),
        (b"back\\slash", "back\\\\slash"),
        (&[0x9b; 255], &"\\x9b".repeat(255)),
    ] {
        fs::write(
            dir.join("blobs/sha512/00").join(OsStr::from_bytes(name)),
            b"x",
        )
        .unwrap();
        tell(format!("blobs/sha512/00/{shown}"));
    }
    // In the place of a folder: a link to one outside that has a content file; and a loop.
    let inner = dir.join("blobs/sha256/00");
    let kept = outside.join(format!("folder/{HEX}.{ID}"));
    fs::write(&kept, b"theirs").unwrap();
    assert!(
        inner.read_dir().unwrap().next().is_none(),
        "no content of the world begins so"
    );
    fs::remove_dir(&inner).unwrap();
    symlink(outside.join("folder"), &inner).unwrap();
    tell("blobs/sha256/00".into());
    symlink("..", dir.join("blobs/loop")).unwrap();
    tell("blobs/loop".into());
    // Among the uploads.
    let uploads = dir.join("uploads");
    let name = |n: u32| format!("{n:032x}.1.sha256");
    pipe(&uploads.join(name(1)), Path::new(""));
    symlink(outside.join("secret"), uploads.join(name(2))).unwrap();
    fs::create_dir(uploads.join(name(3))).unwrap();
    for n in 1..=3 {
        tell(format!("uploads/{}", name(n)));
    }
    let device = uploads.join(name(4));
    let null = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    if rustix::fs::mknodat(rustix::fs::CWD, &device, kind, 0o600.into(), null).is_ok() {
        tell(format!("uploads/{}", name(4)));
    }
    // A second name of a file outside, as the upload of a repository that never was.
    let twin = format!("{:032x}.999999.sha256", 5);
    fs::hard_link(outside.join("secret"), uploads.join(&twin)).unwrap();
    tell(format!("uploads/{twin}"));
    rows(world, copy);
    told
}

/// Rows that name places outside.
fn rows(world: &World, copy: &Copy) {
    let rows = copy.rows();
    let way_out = "sha256/../../../outside/secret";
    rows.edit(
        Table::Blobs,
        world.loose.as_key(),
        |row: &mut BlobRecord| {
            row.place = Some(way_out.into());
        },
    );
    let value = CondemnedRecord {
        digest: world.loose.as_key().to_vec(),
        at_ms: 1,
    };
    let value = value.to_bytes().unwrap();
    rows.put(Table::Condemned, b"../outside/secret", &value);
    rows.put(Table::Condemned, b"\x1b[2Jsha256/../../outside", &value);
}

#[tokio::test]
async fn a_hostile_directory_is_told_of_and_put_in_order() {
    let world = world().await;
    let copy = Copy::of(world);
    let told = arrange(world, &copy);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    snapshot(&outside(&copy), &mut before);

    // For people: letters and line ends, nothing that moves a cursor.
    let output = check(&copy, &["--deep"]);
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.chars().all(|c| c == '\n' || !c.is_control()),
        "{said:?}"
    );
    for name in &told {
        let plain = name.rsplit('/').next().unwrap();
        let digest = plain.split('.').next().unwrap();
        assert!(
            said.contains(name) || said.contains(digest),
            "{name}: {said}"
        );
    }
    let output = check(&copy, &["--deep", "--repair", "--json"]);
    let first = report(&output);
    let problems = first["problems"].as_array().unwrap();
    for name in &told {
        let of_it: Vec<_> = problems.iter().filter(|p| p["file"] == **name).collect();
        assert!(!of_it.is_empty(), "{name}: {first:#}");
        let moved = |p: &&Value| {
            p["how"]
                .as_str()
                .is_some_and(|how| how.contains("quarantine/"))
        };
        assert!(of_it.iter().any(moved), "{name}: {of_it:#?}");
        let gone = copy.dir().join(name).symlink_metadata();
        assert!(
            gone.is_err() || gone.unwrap().is_dir(),
            "{name} is still there"
        );
    }
    snapshot(&outside(&copy), &mut after);
    assert!(before == after, "something outside was touched");
    assert!(
        copy.dir()
            .join("blobs/sha256/00")
            .symlink_metadata()
            .unwrap()
            .is_dir()
    );

    // What is left waits for a push.
    let output = check(&copy, &["--deep", "--repair", "--json"]);
    let second = report(&output);
    let left = kinds(&second);
    assert!(
        left.iter().all(|kind| kind == "blob-awaits-push"),
        "{second:#}"
    );
    assert_eq!(left.len(), 3, "{second:#}");
    let output = run(&["gc", "--data", copy.dir().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text_of(&output));
    after.clear();
    snapshot(&outside(&copy), &mut after);
    assert!(before == after, "something outside was touched");
}

#[tokio::test]
async fn a_folder_that_is_a_link_keeps_a_server_from_starting() {
    let copy = Copy::of(world().await);
    let (dir, outside) = (copy.dir(), outside(&copy));
    fs::create_dir(&outside).unwrap();
    let inner = dir.join("blobs/sha512");
    fs::rename(&inner, outside.join("sha512")).unwrap();
    symlink(outside.join("sha512"), &inner).unwrap();
    let args = ["gc", "--data", dir.to_str().unwrap()];
    let output = run(&args);
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("blobs/sha512 must be a folder: it is a symbolic link"),
        "{said}"
    );
    assert_eq!(check(&copy, &["--repair"]).status.code(), Some(0));
    assert!(run(&args).status.success());
    assert!(outside.join("sha512").is_dir());
}

#[tokio::test]
async fn kept_bytes_are_not_given_up_for_a_file_that_others_made() {
    let world = world().await;
    let copy = Copy::of(world);
    // The bytes of a small blob are others: a repair keeps them in the quarantine before it drops them.
    let rows = copy.rows();
    let key = world.config.as_key().to_vec();
    rows.put(Table::Bytes, &key, b"{\"os\":\"other\"}");
    drop(rows);
    let is = crate::harness::content::sha256(b"{\"os\":\"other\"}");
    let quarantine = copy.dir().join("quarantine");
    fs::create_dir(&quarantine).unwrap();
    fs::set_permissions(&quarantine, Permissions::from_mode(0o700)).unwrap();
    let name = format!(
        "bytes_sha256_{}.{}",
        world.config.hex(),
        is.strip_prefix("sha256:").unwrap()
    );
    let victim = copy.dir().with_file_name("victim");
    fs::write(&victim, b"theirs").unwrap();
    symlink(&victim, quarantine.join(&name)).unwrap();
    check(&copy, &["--repair"]);
    assert_eq!(fs::read(&victim).unwrap(), b"theirs");
    let kept = fs::read(quarantine.join(format!("{name}.1"))).unwrap();
    assert_eq!(kept, b"{\"os\":\"other\"}");
}

#[tokio::test]
async fn contents_that_their_mode_keeps_shut_are_opened_to_their_owner() {
    let world = world().await;
    if !is_root() {
        return;
    }
    let copy = Copy::of(world);
    let home = copy.dir().parent().unwrap().to_owned();
    let all = format!("{OWNER}:{OWNER}");
    let given = std::process::Command::new("chown")
        .args(["-R", &all])
        .arg(copy.dir())
        .status();
    assert!(given.unwrap().success());
    fs::set_permissions(&home, Permissions::from_mode(0o711)).unwrap();
    let shut = |file: &Path| fs::set_permissions(file, Permissions::from_mode(0o000)).unwrap();
    let mode = |file: &Path| file.metadata().unwrap().mode() & 0o777;
    let (layer, long) = (copy.file(&world.layer), copy.file(&world.long));
    shut(&layer);
    shut(&long);
    // A change of the mode would change it under the other name, too.
    fs::hard_link(&long, copy.dir().with_file_name("second")).unwrap();
    let dir = copy.dir();
    let args = [
        "check",
        "--deep",
        "--fast",
        "--json",
        "--data",
        dir.to_str().unwrap(),
    ];
    let limit = Duration::from_mins(2);
    let found = report(&within(as_user(OWNER, &args), limit));
    assert_eq!(
        kinds(&found),
        ["blob-unreadable", "blob-unreadable"],
        "{found:#}"
    );
    let args = [&args[..], &["--repair"]].concat();
    let found = report(&within(as_user(OWNER, &args), limit));
    assert_eq!(
        (&found["repaired"], &found["damage"]),
        (&1.into(), &1.into()),
        "{found:#}"
    );
    assert_eq!((mode(&layer), mode(&long)), (0o600, 0));
}
