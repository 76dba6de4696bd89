//! Places: each used once, none that leads out, and opened without a wait where the kernel knows them.

use super::*;

/// Whether this kernel, and this jail, know `RESOLVE_CACHED`.
fn knows_cached(dir: &Path) -> bool {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    openat2(
        CWD,
        dir,
        OFlags::RDONLY,
        Mode::empty(),
        ResolveFlags::CACHED,
    )
    .is_ok()
}

#[test]
fn a_place_is_used_once() {
    let (dir, blobs) = fresh();
    let bytes = content(1000);
    let digest = Digest::of(SHA256, &bytes);
    let seal = |n| ingest(&blobs, n, &bytes).finish(&digest);
    let (first, second) = (
        placed(seal(1).expect("seals")),
        placed(seal(2).expect("seals")),
    );
    assert_ne!(first, second);
    // A mirror's upload has the same id whenever it fetches the same blob: what an earlier run sealed and a kill kept
    // from its row must not be in the way, and a place that is being removed must not come back to life.
    let third = placed(seal(1).expect("an upload id is used again"));
    assert_ne!(first, third);
    blobs
        .content
        .remove(std::slice::from_ref(&first))
        .expect("removed");
    assert_ne!(placed(seal(1).expect("seals")), first);
    blobs
        .content
        .remove(std::slice::from_ref(&first))
        .expect("absent is fine");
    let gone = blobs
        .content
        .open_place(&first, &digest, 1000)
        .expect_err("gone");
    assert_eq!(gone.kind(), BlobErrorKind::Damaged);
    assert_eq!(read(&blobs, &second, 1000), bytes);
    let other = Digest::of(SHA256, b"other");
    for (digest, size) in [(&digest, 999), (&other, 1000)] {
        let wrong = blobs.content.open_place(&second, digest, size);
        let wrong = wrong.expect_err("another length, or another blob's");
        assert_eq!(wrong.kind(), BlobErrorKind::Damaged);
        assert!(
            blobs
                .content
                .open_place_now(&second, digest, size)
                .is_none()
        );
    }
    // What was just made and read is known to the kernel.
    let now = blobs.content.open_place_now(&second, &digest, 1000);
    assert_eq!(now.is_some(), blobs.files.local && knows_cached(dir.path()));
    if let Some(now) = now {
        let mut found = vec![0; 1000];
        now.read_exact_at(&mut found, 0).expect("read");
        assert_eq!(found, bytes);
    }
    assert!(
        blobs
            .content
            .open_place_now(&first, &digest, 1000)
            .is_none()
    );
}

#[test]
fn no_place_leads_out() {
    let (dir, blobs) = fresh();
    let outside = dir.path().join("data/outside");
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&outside)
        .and_then(|f| f.write_all_at(b"x", 0))
        .expect("written");
    for text in [
        "../outside",
        outside.to_str().expect("text"),
        "sha256/../../outside",
    ] {
        let place = Place(text.to_owned());
        let digest = Digest::of(SHA256, b"x");
        let refused = blobs
            .content
            .open_place(&place, &digest, 1)
            .expect_err("refused");
        assert_eq!(refused.kind(), BlobErrorKind::Damaged);
        assert!(blobs.content.open_place_now(&place, &digest, 1).is_none());
        assert!(blobs.content.remove(&[place]).is_err());
    }
    assert!(outside.exists());
}
