//! An upload that rests has its file closed, and goes on only with the bytes that were written.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests change files behind the back of their writer"
)]

use super::*;

fn name(n: u8) -> UploadName {
    UploadName::session(id(n), REPO, SHA256)
}

/// Whether another could write to the file.
fn is_free(path: &Path) -> bool {
    std::fs::File::open(path).expect("there").try_lock().is_ok()
}

#[test]
fn what_rests_is_closed_and_goes_on() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let path = dir.path().join("data/uploads").join(name(1).to_string());
    let mut upload = ingest(&blobs, 1, &bytes[..BIG / 3]);
    assert_eq!(upload.checkpoint().expect("saved").offset, BIG as u64 / 3);
    assert!(upload.is_open() && !is_free(&path));
    for _ in 0..2 {
        upload.rest().expect("rests");
        assert!(!upload.is_open() && is_free(&path));
    }
    // It knows what it has, and what is to be saved of it, without its file.
    assert_eq!(upload.offset(), BIG as u64 / 3);
    assert_eq!(upload.checkpoint().expect("saved").offset, BIG as u64 / 3);
    assert!(!upload.is_open());
    upload
        .write_through(&bytes[BIG / 3..BIG / 2], None)
        .expect("room");
    assert!(upload.is_open() && !is_free(&path));
    upload.rest().expect("rests");
    upload.write(&bytes[BIG / 2..]).expect("room");
    upload.rest().expect("rests");
    let digest = Digest::of(SHA256, &bytes);
    let place = placed(upload.finish(&digest).expect("sealed"));
    let file = blobs
        .content
        .open_place(&place, &digest, BIG as u64)
        .expect("there");
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut &file, &mut got).expect("read");
    assert!(got == bytes);
    // One without a byte has no file, before and after.
    let mut upload = blobs.uploads.begin(name(2));
    upload.rest().expect("rests");
    upload.write(b"few").expect("room");
    let sealed = upload.finish(&Digest::of(SHA256, b"few"));
    assert!(matches!(
        sealed.expect("sealed").body,
        SealedBody::Inline(_)
    ));
}

#[test]
fn a_file_that_another_took_meanwhile_is_not_written_to() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..BIG / 2]);
    upload.rest().expect("rests");
    let other = resume(&blobs, name(1), None).expect("free");
    let refused = upload.write(&bytes[BIG / 2..]).err();
    assert_eq!(refused.map(|e| e.kind()), Some(BlobErrorKind::Locked));
    drop(other);
    upload.write(&bytes[BIG / 2..]).expect("free again");
    upload.finish(&Digest::of(SHA256, &bytes)).expect("sealed");
}

/// What comes of an upload whose file was changed while it rested.
fn changed(change: fn(&Path)) -> Result<(), BlobErrorKind> {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes[..BIG / 2]);
    upload.rest().expect("rests");
    change(&dir.path().join("data/uploads").join(name(1).to_string()));
    let written = upload.write(&bytes[BIG / 2..]);
    if written.is_err() {
        assert!(blobs.uploads.sessions().expect("lists").is_empty());
        assert!(upload.write(b"more").is_err(), "it takes nothing more");
    }
    written.map_err(|e| e.kind())?;
    let sealed = upload.finish(&Digest::of(SHA256, &bytes));
    sealed.map(drop).map_err(|e| e.kind())
}

#[test]
fn a_file_that_was_changed_meanwhile_is_refused() {
    let refused = Err(BlobErrorKind::Digest);
    let grown = changed(|path| {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        std::io::Write::write_all(&mut file.expect("opens"), b"more").expect("written");
    });
    assert_eq!(grown, refused, "grown");
    let cut = changed(|path| {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|f| f.set_len(5)).expect("cut");
    });
    assert_eq!(cut, refused, "cut");
    let removed = changed(|path| std::fs::remove_file(path).expect("gone"));
    assert_eq!(removed, refused, "removed");
    let written = changed(|path| {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|f| f.write_all_at(b"x", 7)).expect("written");
    });
    assert_eq!(written, refused, "as long, with other bytes");
    let replaced = changed(|path| {
        let len = std::fs::metadata(path).expect("there").len();
        std::fs::remove_file(path).expect("gone");
        std::fs::write(path, vec![0; len as usize]).expect("written");
    });
    assert_eq!(replaced, refused, "as long, another file");
    // Nothing but another number: some file systems give a file one each time that it is looked up.
    let copied = changed(|path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).expect("copied");
        std::fs::rename(&copy, path).expect("renamed");
    });
    assert_eq!(copied, Ok(()), "the same bytes");
}

#[test]
fn a_file_with_another_number_is_hashed_in_steps() {
    let (dir, blobs) = fresh();
    let bytes = content(2 * BIG);
    let path = dir.path().join("data/uploads").join(name(1).to_string());
    let mut upload = ingest(&blobs, 1, &bytes[..BIG]);
    assert!(!upload.sleeps());
    upload.rest().expect("rests");
    assert!(upload.sleeps());
    // The same file: nothing is hashed.
    assert!(upload.wake(0).expect("wakes") && !upload.sleeps());
    upload.rest().expect("rests");
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).expect("copied");
    std::fs::rename(&copy, &path).expect("renamed");
    let before = blobs.counters().bytes_rehashed;
    assert!(!upload.wake(0).expect("opened") && upload.is_open());
    let mut steps = 0;
    while upload.sleeps() {
        let done = upload.wake(STEP).expect("the same bytes");
        steps += 1;
        let hashed = blobs.counters().bytes_rehashed - before;
        assert!(hashed <= steps * STEP, "{hashed} bytes in {steps} steps");
        // A request that goes away in between costs none of it.
        if !done {
            upload.rest().expect("rests");
        }
    }
    assert_eq!(blobs.counters().bytes_rehashed - before, BIG as u64);
    upload.write(&bytes[BIG..]).expect("room");
    upload.finish(&Digest::of(SHA256, &bytes)).expect("sealed");
}

#[test]
fn another_algorithm_at_the_end_is_hashed_in_steps() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    let mut upload = ingest(&blobs, 4, &bytes[..BIG - 10]);
    upload.flush().expect("kept");
    assert!(!upload.wants_hashing(SHA256));
    let before = blobs.counters().bytes_rehashed;
    let mut steps = 0;
    while upload.wants_hashing(digest.algorithm()) {
        upload.hash_as(digest.algorithm(), STEP).expect("read");
        steps += 1;
        let hashed = blobs.counters().bytes_rehashed - before;
        assert!(hashed <= steps * STEP, "{hashed} bytes in {steps} steps");
    }
    let hashed = blobs.counters().bytes_rehashed - before;
    upload.write(&bytes[BIG - 10..]).expect("room");
    let place = placed(upload.finish(&digest).expect("seals"));
    assert_eq!(read(&blobs, &place, BIG), bytes);
    assert_eq!(blobs.counters().bytes_rehashed - before, hashed);
}
