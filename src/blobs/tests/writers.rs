//! One file has one writer, and only what that one wrote becomes a blob.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests change files behind the back of their writer"
)]

use super::*;

fn name(n: u8) -> UploadName {
    UploadName::session(id(n), REPO, SHA256)
}

#[test]
fn a_file_has_one_writer() {
    let (dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, &content(BIG));
    upload.flush().expect("written");
    // In this process, and as another process would see it, by an opening of its own.
    for blobs in [&blobs, &open(dir.path())] {
        let second = resume(blobs, name(1), None).err();
        assert_eq!(second.map(|e| e.kind()), Some(BlobErrorKind::Locked));
    }
    drop(upload);
    let upload = resume(&blobs, name(1), None).expect("free");
    assert_eq!(upload.offset(), BIG as u64);
    // A place is closed to writers before its row can be.
    let sealed = upload.finish(&Digest::of(SHA256, &content(BIG)));
    let place = dir
        .path()
        .join("data/blobs")
        .join(placed(sealed.expect("sealed")).0);
    std::fs::File::open(place)
        .expect("there")
        .try_lock()
        .expect("no writer");
}

#[test]
fn a_fill_is_no_session() {
    let (_dir, blobs) = fresh();
    let fill = UploadName::fill(id(1), REPO, SHA256);
    let mut ingest = blobs.uploads.begin(fill);
    ingest.write(&content(BIG)).expect("room");
    ingest.checkpoint().expect("saved");
    drop(ingest);
    assert!(blobs.uploads.sessions().expect("lists").is_empty());
    let files = blobs.uploads.fills().expect("lists");
    assert_eq!((files.len(), files[0].name), (1, fill));
    assert_eq!(resume(&blobs, name(1), None).expect("another").offset(), 0);
    assert_eq!(
        resume(&blobs, fill, None).expect("the fill").offset(),
        BIG as u64
    );
    assert!(blobs.content.strangers().expect("lists").is_empty());
}

/// Refused with nothing left, although the digest that was computed on the way is right.
fn assert_changed(what: &str, len: usize, change: fn(&Path)) {
    let (dir, blobs) = fresh();
    let bytes = content(len);
    let mut upload = ingest(&blobs, 1, &bytes);
    upload.flush().expect("written");
    change(&dir.path().join("data/uploads").join(name(1).to_string()));
    let sealed = upload.finish(&Digest::of(SHA256, &bytes));
    assert!(
        matches!(sealed, Err(BlobError::Changed)),
        "{what}: {sealed:?}"
    );
    assert!(
        blobs.uploads.sessions().expect("lists").is_empty(),
        "{what}"
    );
    let places = blobs.content.places_of(&Digest::of(SHA256, &bytes));
    assert_eq!(places.expect("lists"), [], "{what}");
}

#[test]
fn a_file_that_another_changed_is_refused() {
    assert_changed("grown", BIG, |path| {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        std::io::Write::write_all(&mut file.expect("opens"), b"more").expect("written");
    });
    assert_changed("cut", BIG, |path| {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|f| f.set_len(5)).expect("cut");
    });
    assert_changed("replaced", BIG, |path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).expect("copied");
        std::fs::rename(&copy, path).expect("renamed");
    });
    assert_changed("removed", BIG, |path| {
        std::fs::remove_file(path).expect("gone");
    });
    assert_changed("with a second name", BIG, |path| {
        std::fs::hard_link(path, path.with_extension("twin")).expect("linked");
    });
    assert_changed("few bytes, others", 50, |path| {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|f| f.write_all_at(b"x", 0)).expect("written");
    });
}
