//! Content from files that others opened.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make files of others, and change them"
)]

use super::faults::{Wrong, faulty};
use super::*;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

fn name() -> UploadName {
    UploadName::session(id(1), REPO, SHA256)
}

/// A file of somebody's, beside the data directory, with mode 0600.
fn source(dir: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join("theirs");
    std::fs::write(&path, bytes).expect("written");
    mode(&path, 0o600);
    path
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

fn open_file(path: &Path) -> File {
    File::open(path).expect("there")
}

/// What must stay as it is of a source: bytes, owner, mode, time of writing.
fn state(path: &Path) -> (Vec<u8>, u32, u32, i64, i64) {
    let about = path.metadata().expect("there");
    let bytes = std::fs::read(path).expect("read");
    let (time, ns) = (about.mtime(), about.mtime_nsec());
    (bytes, about.uid(), about.mode(), time, ns)
}

#[test]
fn a_file_is_taken_over_and_stays_as_it_is() {
    // In a folder of the disk, and where there is one on a file system that knows clones: DRYPORT_CLONES names it.
    let clones = std::env::var_os("DRYPORT_CLONES").map(PathBuf::from);
    for folder in [Some(std::env::temp_dir()), clones.clone()] {
        let Some(folder) = folder else { continue };
        let dir = TempDir::new_in(&folder).expect("a folder");
        let blobs = open(dir.path());
        for len in [0, 1, 64, 65, BLOCK, BIG, 2 << 20, (5 << 20) + 3] {
            let bytes = content(len);
            let path = source(&dir, &bytes);
            let before = state(&path);
            for digest_of in Algorithm::ALL {
                let digest = Digest::of(digest_of, &bytes);
                let sealed = blobs
                    .uploads
                    .adopt(name(), open_file(&path), &digest, HardLink::Never)
                    .expect("taken");
                assert_eq!((sealed.digest, sealed.size), (digest, len as u64));
                assert!(sealed.upload.is_none());
                match sealed.body {
                    SealedBody::Inline(inline) => assert!(len <= 64 && inline == bytes),
                    SealedBody::Placed(place) => {
                        assert!(len > 64 && read(&blobs, &place, len) == bytes);
                        let ours = blobs.files.place_path(&place);
                        let ours = ours.metadata().expect("there");
                        assert_eq!((ours.nlink(), ours.mode() & 0o777), (1, 0o600));
                    }
                }
            }
            let source = Arc::new(open_file(&path));
            let adopting = blobs.uploads.adopting(name(), None, source, len as u64);
            let shared = adopting.expect("begun").is_cloned();
            blobs.uploads.discard(name()).expect("gone");
            let can = len > 64 && clones.as_ref() == Some(&folder);
            assert!(shared || !can, "{len} bytes in {}", folder.display());
            assert_eq!(state(&path), before);
        }
        assert!(blobs.uploads.sessions().expect("lists").is_empty());
    }
}

#[test]
fn other_bytes_than_were_promised_leave_nothing() {
    for (link, wrong) in [
        (HardLink::Never, Wrong::Nothing),
        (HardLink::Never, Wrong::Clones),
        (HardLink::IfSafe, Wrong::Nothing),
    ] {
        for len in [10, BIG] {
            let (dir, disk, blobs) = faulty();
            let path = source(&dir, &content(len));
            disk.set(wrong);
            let digest = Digest::of(SHA256, b"else");
            let refused = blobs.uploads.adopt(name(), open_file(&path), &digest, link);
            assert!(matches!(refused, Err(BlobError::Digest { .. })));
            assert_eq!(tree(dir.path()), [path]);
        }
    }
}

#[test]
fn clones_are_cut_and_those_that_break_off_are_copied() {
    let bytes = content(BIG);
    let digest = Digest::of(SHA256, &bytes);
    for wrong in [Wrong::Clones, Wrong::ClonesMore, Wrong::ClonesBadly] {
        let (dir, disk, blobs) = faulty();
        let path = source(&dir, &bytes);
        disk.set(wrong);
        let adopting = blobs
            .uploads
            .adopting(name(), None, Arc::new(open_file(&path)), BIG as u64)
            .expect("begun");
        assert_eq!(adopting.is_cloned(), wrong != Wrong::ClonesBadly);
        let (mut adopting, mut before) = (adopting, 0);
        let ingest = loop {
            let stepped = adopting.step(STEP).expect("steps");
            let now = stepped.bytes();
            assert!(now > before && now - before <= STEP);
            before = now;
            match stepped {
                Adopted::Whole(ingest) => break ingest,
                Adopted::Part(rest) => adopting = *rest,
            }
        };
        assert_eq!(blobs.counters().bytes_rehashed, 0, "hashed once");
        assert_eq!(blobs.counters().bytes_in, BIG as u64);
        // What is done to the source from now on is its owner's alone.
        std::fs::write(&path, b"others").expect("written");
        let place = placed(ingest.finish(&digest).expect("right"));
        assert_eq!(read(&blobs, &place, BIG), bytes, "{wrong:?}");
    }
    let (dir, disk, blobs) = faulty();
    let path = source(&dir, &bytes);
    disk.set(Wrong::ClonesLess);
    let refused = blobs
        .uploads
        .adopt(name(), open_file(&path), &digest, HardLink::Never);
    assert!(matches!(refused, Err(BlobError::Source(_))), "{refused:?}");
    assert_eq!(tree(dir.path()), [path]);
}

#[test]
fn a_file_that_gets_shorter_leaves_nothing_and_one_that_grows_is_cut() {
    let bytes = content(3 * BIG);
    let (dir, blobs) = fresh();
    let path = source(&dir, &bytes);
    for change in ["shorter", "longer"] {
        let file = Arc::new(open_file(&path));
        let adopting = blobs
            .uploads
            .adopting(name(), None, file, bytes.len() as u64)
            .expect("begun");
        let Adopted::Part(rest) = adopting.step(STEP).expect("a step") else {
            panic!("{change}: a part")
        };
        if change == "longer" {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .expect("opens");
            std::io::Write::write_all(&mut file, b"more").expect("written");
            let Adopted::Whole(ingest) = rest.step(u64::MAX).expect("taken") else {
                panic!("whole")
            };
            ingest
                .finish(&Digest::of(SHA256, &bytes))
                .expect("as far as was said");
        } else {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("opens");
            file.set_len(BIG as u64).expect("cut");
            let error = rest.step(u64::MAX).err().expect("refused");
            assert_eq!(error.kind(), BlobErrorKind::Source);
            assert!(error.to_string().contains("shorter"), "{error}");
            assert_eq!(tree(dir.path()), std::slice::from_ref(&path));
            std::fs::write(&path, &bytes).expect("whole again");
        }
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let (dir, blobs) = fresh();
    let path = source(&dir, b"some bytes of content");
    let holes = dir.path().join("holes");
    File::create(&holes)
        .and_then(|f| f.set_len(1 << 30))
        .expect("made");
    let (pipe, _end) = std::io::pipe().expect("a pipe");
    let fifo = File::from(OwnedFd::from(pipe));
    let folder = open_file(dir.path());
    let write_only = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opens");
    let sources = [
        (fifo, 0, "a pipe"),
        (folder, 4096, "a folder"),
        (open_file(Path::new("/dev/zero")), 10, "a device"),
        (open_file(&path), 20, "it has 21 bytes, and was to have 20"),
        (open_file(&path), 22, "it has 21 bytes, and was to have 22"),
        (open_file(&holes), 1 << 30, "holes"),
    ];
    for (source, len, why) in sources {
        assert!(!can_adopt(&source, len), "{why}");
        let begun = blobs.uploads.adopting(name(), None, Arc::new(source), len);
        let error = begun.err().expect("refused");
        assert_eq!(
            (error.kind(), error.outage()),
            (BlobErrorKind::Source, None)
        );
        assert!(error.to_string().contains(why), "{error}");
    }
    let digest = Digest::of(SHA256, b"some bytes of content");
    for link in [HardLink::Never, HardLink::IfSafe] {
        let unread = write_only.try_clone().expect("copied");
        let refused = blobs.uploads.adopt(name(), unread, &digest, link);
        assert!(matches!(refused, Err(BlobError::Source(_))), "{refused:?}");
    }
    assert_eq!(tree(dir.path()).len(), 2);
}

#[test]
fn a_disk_without_room_takes_nothing_over() {
    let (dir, disk, blobs) = faulty();
    let path = source(&dir, &content(BIG));
    disk.set(Wrong::Write);
    let digest = Digest::of(SHA256, &content(BIG));
    let refused = blobs
        .uploads
        .adopt(name(), open_file(&path), &digest, HardLink::Never);
    let refused = refused.expect_err("full");
    assert_eq!(refused.kind(), BlobErrorKind::NoSpace);
    assert_eq!(tree(dir.path()), std::slice::from_ref(&path));
    let options = BlobOptions {
        dir: dir.path().join("other"),
        reserve_bytes: u64::MAX,
        owed_bytes: Arc::default(),
        inline_max: 64,
    };
    let full = Blobs::open(options).expect("opens");
    let begun = full
        .uploads
        .adopting(name(), None, Arc::new(open_file(&path)), BIG as u64);
    assert_eq!(begun.err().map(|e| e.kind()), Some(BlobErrorKind::NoSpace));
}

#[test]
fn only_a_file_that_nobody_else_may_write_to_is_linked() {
    let bytes = content(BIG);
    let digest = Digest::of(SHA256, &bytes);
    let (dir, blobs) = fresh();
    let path = source(&dir, &bytes);
    let adopt = |link| {
        let file = open_file(&path);
        let sealed = blobs.uploads.adopt(name(), file, &digest, link);
        let place = placed(sealed.expect("taken"));
        assert_eq!(read(&blobs, &place, BIG), bytes);
        let linked = path.metadata().expect("there").nlink() == 2;
        blobs.content.remove(&[place]).expect("removed");
        assert_eq!(path.metadata().expect("it stays").nlink(), 1);
        linked
    };
    for (bits, safe) in [(0o600, true), (0o444, true), (0o620, false), (0o602, false)] {
        mode(&path, bits);
        let before = state(&path);
        assert!(!adopt(HardLink::Never));
        assert_eq!(adopt(HardLink::IfSafe), safe, "{bits:o}");
        assert_eq!(state(&path), before);
    }
    mode(&path, 0o644);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12_345), None).expect("given away");
        assert!(!adopt(HardLink::IfSafe), "its owner may write to it");
        std::os::unix::fs::chown(&path, Some(0), None).expect("taken back");
    }
    assert!(tree(&dir.path().join("data")).is_empty());
    // Few bytes lie in the database.
    std::fs::write(&path, b"few").expect("written");
    let few = Digest::of(SHA256, b"few");
    let sealed = blobs
        .uploads
        .adopt(name(), open_file(&path), &few, HardLink::IfSafe);
    assert!(matches!(sealed.expect("taken").body, SealedBody::Inline(_)));
}
