mod adopting;
mod faults;
mod growing;
mod places;
mod rests;
mod writers;

use super::*;
use crate::types::{Algorithm, Hasher, RepoId, UploadId};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

const REPO: RepoId = RepoId(7);
const SHA256: Algorithm = Algorithm::Sha256;
/// More than one piece, so that some bytes are in the file and some in memory.
const BIG: usize = 700_000;
/// Bytes that are hashed again in one step: one piece.
const STEP: u64 = 256 * 1024;

fn open(dir: &Path) -> Blobs {
    let options = BlobOptions {
        dir: dir.join("data"),
        reserve_bytes: 0,
        owed_bytes: std::sync::Arc::default(),
        inline_max: 64,
    };
    Blobs::open(options).expect("opens")
}

fn fresh() -> (TempDir, Blobs) {
    let dir = TempDir::new().expect("a folder");
    let blobs = open(dir.path());
    (dir, blobs)
}

/// Takes an upload up, in small steps.
fn resume(blobs: &Blobs, name: UploadName, saved: Option<&Saved>) -> Result<Ingest, BlobError> {
    let mut resuming = blobs.uploads.resume(name, saved, None)?;
    loop {
        match resuming.step(100_000)? {
            Resumed::Whole(ingest) => return Ok(*ingest),
            Resumed::Part(rest) => {
                // Who gives up in between goes on from there.
                let hashed = rest.pause()?;
                resuming = blobs.uploads.resume(name, saved, Some(&hashed))?;
            }
        }
    }
}

fn id(n: u8) -> UploadId {
    UploadId([n; 16])
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn ingest(blobs: &Blobs, n: u8, bytes: &[u8]) -> Ingest {
    let mut ingest = blobs
        .uploads
        .begin(UploadName::session(id(n), REPO, SHA256));
    for piece in bytes.chunks(100_000) {
        ingest.write(piece).expect("room");
    }
    ingest
}

/// The other name of an upload's file, looked for in small steps.
fn twin(blobs: &Blobs, n: u8) -> Option<Place> {
    let name = UploadName::session(id(n), REPO, SHA256);
    let mut search = blobs.uploads.twin(name).expect("looked at")?;
    loop {
        let before = blobs.counters().bytes_rehashed;
        let step = search.step(STEP).expect("read");
        let hashed = blobs.counters().bytes_rehashed - before;
        assert!(hashed <= STEP, "{hashed} bytes in one step");
        match step {
            TwinStep::Found(place) => return place,
            TwinStep::Part(rest) => search = *rest,
        }
    }
}

fn placed(sealed: Sealed) -> Place {
    match sealed.body {
        SealedBody::Placed(place) => place,
        SealedBody::Inline(_) => panic!("inline"),
    }
}

fn read(blobs: &Blobs, place: &Place, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let digest = place.digest().expect("a place");
    let mut file = blobs
        .content
        .open_place(place, &digest, size as u64)
        .expect("opens");
    file.read_to_end(&mut bytes).expect("reads");
    bytes
}

fn upload_file(dir: &Path, n: u8) -> PathBuf {
    dir.join(format!("data/uploads/{}.7.sha256", id(n)))
}

/// Takes away the mark of this boot: the state after a reboot.
fn unmark(dir: &Path, n: u8) {
    let _ = rustix::fs::removexattr(upload_file(dir, n), "user.dryport.boot");
}

/// Every file below DIR.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn few_bytes_stay_inline_and_many_are_placed() {
    let (dir, blobs) = fresh();
    for len in [0, 1, 64] {
        let bytes = content(len);
        let sealed = ingest(&blobs, 1, &bytes)
            .finish(&Digest::of(SHA256, &bytes))
            .expect("seals");
        assert_eq!(sealed.size, len as u64);
        assert!(matches!(sealed.body, SealedBody::Inline(b) if b == bytes));
        assert!(tree(dir.path()).is_empty());
    }
    for (n, len) in [(2, 65), (3, BIG)] {
        let bytes = content(len);
        let digest = Digest::of(SHA256, &bytes);
        let sealed = ingest(&blobs, n, &bytes).finish(&digest).expect("seals");
        assert_eq!((sealed.digest, sealed.size), (digest, len as u64));
        let place = placed(sealed);
        let hex = digest.hex();
        let named = format!("sha256/{}/{hex}.", &hex[..2]);
        assert!(place.0.starts_with(&named), "{place}");
        assert_eq!(read(&blobs, &place, len), bytes);
    }
    assert_eq!(blobs.counters().blobs_sealed, 5);
    assert_eq!(blobs.counters().bytes_in, (65 + 65 + BIG) as u64);
    assert!(blobs.uploads.sessions().expect("lists").is_empty());
}

#[test]
fn a_hash_that_is_ahead_is_taken_over_if_it_is_of_these_bytes() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..300_000]);
    let mut ahead = upload.ahead();
    ahead.update(&bytes[300_000..400_000]);
    let first = ahead.clone();
    ahead.update(&bytes[400_000..]);
    // Refused: it knows more than is written, or less, or is of another kind. Then the bytes are hashed as ever.
    upload
        .write_hashed(&bytes[300_000..400_000], Some(ahead.clone()))
        .expect("room");
    upload
        .write_through(&bytes[400_000..500_000], Some(first))
        .expect("room");
    let other = Ahead::new(Algorithm::Sha512);
    upload
        .write_hashed(&bytes[500_000..600_000], Some(other))
        .expect("room");
    assert_eq!(upload.ahead().bytes(), 600_000);
    upload
        .write_through(&bytes[600_000..], Some(ahead))
        .expect("room");
    upload.finish(&Digest::of(SHA256, &bytes)).expect("seals");

    // Taken: nothing else hashes, so what it was given decides.
    let mut upload = ingest(&blobs, 2, &bytes[..10]);
    let mut ahead = upload.ahead();
    ahead.update(b"others");
    upload
        .write_hashed(&bytes[10..16], Some(ahead))
        .expect("room");
    let mixed = [&bytes[..10], b"others"].concat();
    upload.finish(&Digest::of(SHA256, &mixed)).expect("seals");
}

#[test]
fn few_bytes_of_a_saved_upload_come_back_inline() {
    let (dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, b"few");
    assert!(tree(dir.path()).is_empty());
    upload.checkpoint().expect("durable");
    assert_eq!(blobs.uploads.sessions().expect("lists")[0].len, 3);
    upload.write(b" more").expect("room");
    let sealed = upload
        .finish(&Digest::of(SHA256, b"few more"))
        .expect("seals");
    assert!(matches!(sealed.body, SealedBody::Inline(b) if *b == *b"few more"));
    assert!(sealed.upload.is_some_and(|name| name.id == id(1)));
    assert_eq!(blobs.uploads.sessions().expect("lists")[0].len, 3);
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let (dir, blobs) = fresh();
    for len in [10, BIG] {
        let error = ingest(&blobs, 1, &content(len)).finish(&Digest::of(SHA256, b"else"));
        assert_eq!(error.expect_err("refused").kind(), BlobErrorKind::Digest);
        assert!(tree(dir.path()).is_empty());
    }
    assert_eq!(blobs.counters().blobs_sealed, 0);
}

#[test]
fn verified_bytes_can_be_dropped() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let verified = ingest(&blobs, 1, &bytes)
        .verify(&Digest::of(SHA256, &bytes))
        .expect("right");
    assert_eq!(verified.size(), BIG as u64);
    assert_eq!(tree(dir.path()).len(), 1);
    verified.discard().expect("removed");
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn both_algorithms_from_the_start_or_at_the_end() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    for (n, begun) in [(1, Algorithm::Sha512), (2, SHA256)] {
        let digest = Digest::of(Algorithm::Sha512, &bytes);
        let mut upload = blobs.uploads.begin(UploadName::session(id(n), REPO, begun));
        upload.write(&bytes[..BIG - 10]).expect("room");
        upload.write(&bytes[BIG - 10..]).expect("room");
        let place = placed(upload.finish(&digest).expect("seals"));
        assert!(place.0.starts_with("sha512/"));
        assert_eq!(read(&blobs, &place, BIG), bytes);
    }
    let few = Digest::of(Algorithm::Sha512, b"few");
    assert!(ingest(&blobs, 3, b"few").finish(&few).is_ok());
}

#[test]
fn the_same_boot_keeps_the_tail() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..300_000]);
    let saved = upload.checkpoint().expect("durable");
    assert_eq!(saved.offset, 300_000);
    upload.write(&bytes[300_000..600_000]).expect("room");
    upload.flush().expect("flushes");
    drop(upload);
    // The file's own mark knows the boot without a row, too, where the file system keeps attributes.
    let mut value = [0; 64];
    let marks = rustix::fs::getxattr(
        upload_file(dir.path(), 1),
        "user.dryport.boot",
        &mut value[..],
    );
    if marks.is_ok() {
        let strange = Saved {
            boot_id: "another".into(),
            ..saved.clone()
        };
        for row in [Some(&strange), None] {
            let upload = resume(
                &open(dir.path()),
                UploadName::session(id(1), REPO, SHA256),
                row,
            )
            .expect("resumes");
            assert_eq!(upload.offset(), 600_000);
        }
    }
    unmark(dir.path(), 1);
    let mut upload = resume(
        &open(dir.path()),
        UploadName::session(id(1), REPO, SHA256),
        Some(&saved),
    )
    .expect("resumes");
    assert_eq!((upload.name().id, upload.algorithm()), (id(1), SHA256));
    assert_eq!(upload.offset(), 600_000);
    upload.write(&bytes[600_000..]).expect("room");
    let place = placed(upload.finish(&Digest::of(SHA256, &bytes)).expect("seals"));
    assert_eq!(read(&blobs, &place, BIG), bytes);
}

#[test]
fn another_boot_cuts_back_to_what_was_saved() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..300_000]);
    let saved = Saved {
        boot_id: "another".into(),
        ..upload.checkpoint().expect("durable")
    };
    upload.write(&vec![0xff; 300_000]).expect("room");
    upload.flush().expect("flushes");
    drop(upload);
    unmark(dir.path(), 1);
    let mut upload = resume(
        &blobs,
        UploadName::session(id(1), REPO, SHA256),
        Some(&saved),
    )
    .expect("resumes");
    assert_eq!(upload.offset(), 300_000);
    assert_eq!(blobs.uploads.sessions().expect("lists")[0].len, 300_000);
    upload.write(&bytes[300_000..]).expect("room");
    assert!(upload.finish(&Digest::of(SHA256, &bytes)).is_ok());
}

#[test]
fn an_unsaved_file_of_an_unknown_boot_counts_for_nothing() {
    let (dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, &content(BIG));
    upload.flush().expect("flushes");
    drop(upload);
    unmark(dir.path(), 1);
    let upload = resume(&blobs, UploadName::session(id(1), REPO, SHA256), None).expect("resumes");
    assert_eq!(upload.offset(), 0);
    assert_eq!(blobs.uploads.sessions().expect("lists")[0].len, 0);
}

#[test]
fn an_unreadable_state_is_hashed_anew() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..300_000]);
    let mut saved = upload.checkpoint().expect("durable");
    drop(upload);
    saved.hash_state.truncate(20);
    let mut upload = resume(
        &blobs,
        UploadName::session(id(1), REPO, SHA256),
        Some(&saved),
    )
    .expect("resumes");
    assert_eq!(upload.offset(), 300_000);
    upload.write(&bytes[300_000..]).expect("room");
    assert!(upload.finish(&Digest::of(SHA256, &bytes)).is_ok());
}

#[test]
fn a_short_or_lost_file_is_damage() {
    let (dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, &content(BIG));
    let saved = upload.checkpoint().expect("durable");
    drop(upload);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(upload_file(dir.path(), 1))
        .expect("opens");
    file.set_len(BIG as u64 - 1).expect("cut");
    let kind = |row| {
        resume(&blobs, UploadName::session(id(1), REPO, SHA256), row)
            .err()
            .map(|e| e.kind())
    };
    assert_eq!(kind(Some(&saved)), Some(BlobErrorKind::Damaged));
    blobs
        .uploads
        .discard(UploadName::session(id(1), REPO, SHA256))
        .expect("gone");
    blobs
        .uploads
        .discard(UploadName::session(id(1), REPO, SHA256))
        .expect("still gone");
    assert_eq!(kind(Some(&saved)), Some(BlobErrorKind::Damaged));
    assert_eq!(kind(None), None);
}

#[test]
fn an_upload_that_is_a_blob_by_now_is_left_alone() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes);
    let saved = upload.checkpoint().expect("durable");
    let sealed = upload.finish(&Digest::of(SHA256, &bytes)).expect("seals");
    // The process is killed before the commit, or before the upload's name goes.
    assert!(sealed.upload.is_some_and(|name| name.id == id(1)));
    let place = placed(sealed);
    let file = upload_file(dir.path(), 1);
    let saved = Saved {
        offset: 10,
        boot_id: "another".into(),
        ..saved
    };
    let error = resume(
        &blobs,
        UploadName::session(id(1), REPO, SHA256),
        Some(&saved),
    )
    .err();
    assert_eq!(error.map(|e| e.kind()), Some(BlobErrorKind::Damaged));
    assert_eq!(twin(&blobs, 1), Some(place.clone()));
    assert_eq!(read(&blobs, &place, BIG), bytes);
    blobs
        .uploads
        .discard(UploadName::session(id(1), REPO, SHA256))
        .expect("goes");
    assert!(!file.exists());
    assert_eq!(read(&blobs, &place, BIG), bytes);
}

#[test]
fn an_upload_whose_closing_was_cut_off_goes_on() {
    for digest_of in Algorithm::ALL {
        let (dir, blobs) = fresh();
        let bytes = content(BIG);
        let mut upload = ingest(&blobs, 1, &bytes);
        upload.flush().expect("kept");
        let digest = Digest::of(digest_of, &bytes);
        let place = placed(upload.finish(&digest).expect("seals"));
        assert_eq!(twin(&blobs, 1), Some(place.clone()));
        blobs.content.remove(&[place]).expect("removed");
        assert_eq!(twin(&blobs, 1), None);
        let upload =
            resume(&blobs, UploadName::session(id(1), REPO, SHA256), None).expect("goes on");
        assert_eq!(upload.offset(), BIG as u64);
        assert!(upload.finish(&digest).is_ok());
        assert!(upload_file(dir.path(), 1).exists());
    }
}

#[test]
fn an_upload_that_nobody_counts_on_leaves_no_name() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let sealed = ingest(&blobs, 1, &bytes).finish(&Digest::of(SHA256, &bytes));
    assert!(sealed.is_ok_and(|sealed| sealed.upload.is_none()));
    assert!(!upload_file(dir.path(), 1).exists());
}

#[test]
fn what_is_saved_is_never_ahead_of_the_file() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = blobs
        .uploads
        .begin(UploadName::session(id(1), REPO, SHA256));
    assert_eq!(upload.checkpoint().expect("nothing yet").offset, 0);
    assert!(tree(dir.path()).is_empty());
    for (i, piece) in bytes.chunks(90_001).enumerate() {
        upload.write(piece).expect("room");
        if i % 2 == 1 {
            continue;
        }
        let saved = upload.checkpoint().expect("durable");
        assert_eq!(saved.offset, upload.offset());
        let on_disk = std::fs::read(upload_file(dir.path(), 1)).expect("reads");
        assert_eq!(on_disk.len() as u64, saved.offset);
        let hasher = Hasher::restore(SHA256, &saved.hash_state, saved.offset).expect("own state");
        assert_eq!(hasher.finish(), Digest::of(SHA256, &on_disk));
    }
    let fsyncs = blobs.counters().fsyncs;
    upload.checkpoint().expect("durable");
    assert_eq!(
        blobs.counters().fsyncs,
        fsyncs + 1,
        "the folder is synced once an upload"
    );
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let old = rustix::process::umask(rustix::fs::Mode::empty());
    let (dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, &content(BIG));
    upload.checkpoint().expect("durable");
    let bytes = content(BIG);
    ingest(&blobs, 2, &bytes)
        .finish(&Digest::of(SHA256, &bytes))
        .expect("seals");
    rustix::process::umask(old);
    let data = dir.path().join("data");
    let mode = |p: &Path| p.metadata().expect("there").permissions().mode() & 0o7777;
    for folder in [
        "",
        "blobs",
        "uploads",
        "blobs/sha256",
        "blobs/sha256/00",
        "blobs/sha512/ff",
    ] {
        assert_eq!(mode(&data.join(folder)), 0o700, "{folder}");
    }
    let files = tree(&data);
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn many_seal_at_once() {
    let (_dir, blobs) = fresh();
    let before = blobs.counters().fsyncs;
    std::thread::scope(|s| {
        for n in 0..32 {
            let blobs = &blobs;
            s.spawn(move || {
                let bytes = vec![n % 4; 1000 + usize::from(n)];
                let digest = Digest::of(SHA256, &bytes);
                let place = placed(ingest(blobs, n, &bytes).finish(&digest).expect("seals"));
                assert_eq!(read(blobs, &place, bytes.len()), bytes);
            });
        }
    });
    assert_eq!(blobs.counters().blobs_sealed, 32);
    assert!(blobs.counters().fsyncs - before <= 64);
}

#[test]
fn the_reserve_is_kept() {
    let dir = TempDir::new().expect("a folder");
    let options = BlobOptions {
        dir: dir.path().join("data"),
        reserve_bytes: u64::MAX,
        owed_bytes: std::sync::Arc::default(),
        inline_max: 64,
    };
    let full = Blobs::open(options).expect("opens");
    assert!(full.content.room_for(0).is_ok());
    let error = full.content.room_for(5).expect_err("full");
    assert!(matches!(error, BlobError::NoSpace { needed: 5, free: 0 }));
    let mut upload = full.uploads.begin(UploadName::session(id(1), REPO, SHA256));
    let error = upload.write(&content(BIG)).expect_err("full");
    assert_eq!(error.kind(), BlobErrorKind::NoSpace);
    assert_eq!(
        upload.write(b"x").expect_err("failed").kind(),
        BlobErrorKind::Io
    );
    drop(upload);
    let upload =
        resume(&full, UploadName::session(id(1), REPO, SHA256), None).expect("from the start");
    assert_eq!(upload.offset(), 0);
    assert!(fresh().1.content.room_for(1).is_ok());
}

#[test]
fn uploads_are_listed_and_strangers_left_alone() {
    let (dir, blobs) = fresh();
    ingest(&blobs, 9, &content(10))
        .checkpoint()
        .expect("durable");
    let stranger = dir.path().join("data/uploads/notes.txt");
    drop(
        std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(&stranger),
    );
    let listed = open(dir.path()).uploads.sessions().expect("lists");
    assert_eq!(listed.len(), 1);
    let found = &listed[0];
    assert_eq!(
        (found.name, found.len),
        (UploadName::session(id(9), REPO, SHA256), 10)
    );
    assert!(found.idle < Duration::from_mins(1));
    assert!(stranger.exists());
}

/// What lies on disks out there: file names, and hash states in upload rows. A line that changes needs a new version.
#[test]
fn golden() {
    let mut lines = Vec::new();
    for algorithm in Algorithm::ALL {
        let name = UploadName::session(id(0xab), RepoId(42), algorithm);
        let place = Place::of(&Digest::of(algorithm, b"abc"), id(0xab));
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&content(1000));
        lines.push(format!("upload {name}"));
        lines.push(format!("place {place}"));
        let state = hasher
            .save()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>();
        lines.push(format!("state {}", state.concat()));
    }
    let golden: Vec<_> = include_str!("../../tests/golden/blobs.txt")
        .lines()
        .collect();
    assert_eq!(lines, golden);
}
