//! Readers of content that comes.

use super::faults::{Wrong, faulty};
use super::*;
use std::sync::atomic::AtomicUsize;

fn fill_name(n: u8) -> UploadName {
    UploadName::fill(id(n), REPO, SHA256)
}

/// Numbers that the same seed gives again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        // The low bits of this generator repeat soon.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    async fn wait(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms + 1))).await;
    }
}

/// All bytes of a range, by either way of reading, and what ended it.
async fn all_of(
    reader: &mut GrowingReader,
    numbers: &mut Numbers,
) -> (Vec<u8>, Result<(), GrowingError>) {
    let mut got = Vec::new();
    let (by_parts, slow) = (numbers.below(2) == 0, numbers.below(3) == 0);
    loop {
        let max = 1 + numbers.below(700_000);
        let next = if by_parts {
            let part = reader.next_part(max).await;
            part.map(|part| part.map(|part| bytes_of(&part)))
        } else {
            reader.next(max as usize).await
        };
        match next {
            Ok(Some(bytes)) => {
                assert!(!bytes.is_empty() && bytes.len() as u64 <= max);
                got.extend_from_slice(&bytes);
            }
            Ok(None) => return (got, Ok(())),
            Err(error) => return (got, Err(error)),
        }
        if slow {
            numbers.wait(3).await;
        }
    }
}

fn bytes_of(part: &GrowingPart) -> Bytes {
    match part {
        GrowingPart::Memory(bytes) => bytes.clone(),
        GrowingPart::File { file, from, len } => {
            let mut bytes = vec![0; *len as usize];
            file.read_exact_at(&mut bytes, *from).expect("written");
            bytes.into()
        }
    }
}

/// Everything, from the start.
async fn read_all(growing: &Growing) -> (Vec<u8>, Result<(), GrowingError>) {
    all_of(&mut growing.reader_of_all(), &mut Numbers(7)).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Writes in pieces of any length, some of which go past the page cache, at any speed.
fn write_at_random(mut ingest: Ingest, bytes: &[u8], mut numbers: Numbers) -> Ingest {
    let mut at = ingest.offset() as usize;
    while at < bytes.len() {
        let len = match numbers.below(3) {
            0 => 1 + numbers.below(5_000) as usize,
            1 => 1 + numbers.below(400_000) as usize,
            // To the next block, so that what follows may go past the page cache.
            _ => (1 << 20) - at % BLOCK,
        };
        let mut piece = Buffer::with_capacity(len);
        at += piece.fill(&bytes[at..]);
        ingest.write(&piece).expect("room");
        if numbers.below(2) == 0 {
            std::thread::sleep(Duration::from_micros(numbers.below(4_000)));
        }
    }
    ingest
}

#[test]
fn fifty_readers_of_one_fill_get_each_byte() {
    const LEN: usize = 12_000_001;
    let bytes: Arc<[u8]> = {
        let mut numbers = Numbers(1);
        (0..LEN).map(|_| numbers.below(256) as u8).collect()
    };
    let digest = Digest::of(SHA256, &bytes);
    for known in [None, Some(LEN as u64)] {
        let (_dir, blobs) = fresh();
        let mut ingest = blobs.uploads.begin(fill_name(1));
        let growing = ingest.grow(known).expect("grows");
        let late = Arc::new(AtomicUsize::new(0));
        runtime().block_on(async {
            let mut readers = Vec::new();
            for n in 0..50 {
                let (growing, bytes, late) = (growing.clone(), bytes.clone(), late.clone());
                readers.push(tokio::spawn(async move {
                    let mut numbers = Numbers(n);
                    if n % 3 > 0 {
                        numbers.wait(120).await;
                        late.fetch_add(usize::from(growing.readable() > 0), Ordering::Relaxed);
                    }
                    let (from, len) = (numbers.below(LEN as u64), numbers.below(LEN as u64));
                    let range = match n % 5 {
                        0..3 => from..from + len,
                        _ => 0..u64::MAX,
                    };
                    let mut reader = growing.reader(range.clone());
                    let (got, end) = all_of(&mut reader, &mut numbers).await;
                    end.expect("right to the end");
                    let wanted = &bytes[range.start as usize..LEN.min(range.end as usize)];
                    assert_eq!(Digest::of(SHA256, &got), Digest::of(SHA256, wanted));
                    assert_eq!(reader.at(), range.start + got.len() as u64);
                }));
            }
            let all = bytes.clone();
            let writer = tokio::task::spawn_blocking(move || {
                let ingest = write_at_random(ingest, &all, Numbers(99));
                ingest.finish(&digest).expect("sealed")
            });
            for reader in readers {
                reader.await.expect("no panic");
            }
            let sealed = writer.await.expect("no panic");
            assert_eq!(growing.wait_end().await, Ok(sealed.size));
            assert_eq!(growing.len_known(), Some(LEN as u64));
        });
        assert!(late.load(Ordering::Relaxed) > 5, "{late:?}");
    }
}

#[tokio::test]
async fn wrong_content_is_never_whole_for_anybody() {
    for len in [1, 50, 65, 100_000, BIG, 3 << 20] {
        for known in [None, Some(len as u64)] {
            let (dir, blobs) = fresh();
            let mut upload = blobs.uploads.begin(fill_name(1));
            let growing = upload.grow(known).expect("grows");
            let readers: Vec<_> = (0..8)
                .map(|_| {
                    let growing = growing.clone();
                    tokio::spawn(async move { read_all(&growing).await })
                })
                .collect();
            upload.write(&content(len)).expect("room");
            upload.flush().expect("written");
            while growing.readable() < len as u64 - 1 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let refused = upload.finish(&Digest::of(SHA256, b"else"));
            assert!(matches!(refused, Err(BlobError::Digest { .. })));
            for reader in readers {
                let (got, end) = reader.await.expect("no panic");
                assert_eq!(end, Err(GrowingError::Wrong));
                assert!(got.len() < len, "{} of {len}", got.len());
                assert_eq!(got, content(len)[..got.len()]);
            }
            let late = growing.reader(0..1).next(1).await;
            assert_eq!(late, Err(GrowingError::Wrong));
            assert_eq!(growing.wait_end().await, Err(GrowingError::Wrong));
            assert!(tree(dir.path()).is_empty());
        }
    }
}

#[tokio::test]
async fn only_what_the_file_has_is_read_and_the_last_byte_is_held_back() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = blobs.uploads.begin(fill_name(1));
    let growing = upload.grow(None).expect("grows");
    upload.write(&bytes[..1000]).expect("room");
    assert_eq!(growing.readable(), 0, "it is in memory");
    upload.flush().expect("written");
    assert_eq!(growing.readable(), 999);
    upload.write(&bytes[1000..1001]).expect("room");
    upload.flush().expect("written");
    assert_eq!((growing.readable(), growing.len_known()), (1000, None));
    let mut reader = growing.reader(990..1000);
    assert_eq!(
        reader.next(99).await,
        Ok(Some(bytes[990..1000].to_vec().into()))
    );
    assert_eq!(reader.next(99).await, Ok(None), "the range is at its end");
    // A call that is dropped takes nothing along.
    let mut reader = growing.reader(1000..u64::MAX);
    let waits = tokio::time::timeout(Duration::from_millis(20), reader.next(9)).await;
    assert!(waits.is_err() && reader.at() == 1000);
    let verified = upload
        .verify(&Digest::of(SHA256, &bytes[..1001]))
        .expect("right");
    let waits = tokio::time::timeout(Duration::from_millis(20), reader.next(9)).await;
    assert!(waits.is_err(), "not before it is sealed");
    verified.seal().expect("sealed");
    assert_eq!(
        reader.next(9).await,
        Ok(Some(bytes[1000..1001].to_vec().into()))
    );
    assert_eq!(reader.next(9).await, Ok(None));
    assert_eq!(growing.reader(1001..u64::MAX).next(9).await, Ok(None));
    assert_eq!(growing.reader(5000..6000).next(9).await, Ok(None));
    assert_eq!(growing.wait_len().await, Ok(1001));
}

#[tokio::test]
async fn a_writer_that_goes_away_fails_its_readers() {
    let (_dir, blobs) = fresh();
    let bytes = content(BIG);
    let cut_off = Err(GrowingError::CutOff);
    for written in [0, 10, BIG] {
        let mut upload = ingest(&blobs, 1, &bytes[..written]);
        let growing = upload.grow(None).expect("grows");
        let reader = {
            let growing = growing.clone();
            tokio::spawn(async move { read_all(&growing).await.1 })
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(upload);
        assert_eq!(reader.await.expect("no panic"), cut_off);
        assert_eq!(read_all(&growing).await.1, cut_off, "also late ones");
        assert_eq!(growing.wait_len().await, Err(GrowingError::CutOff));
    }
    let mut upload = ingest(&blobs, 2, &bytes);
    let growing = upload.grow(Some(BIG as u64)).expect("grows");
    let verified = upload.verify(&Digest::of(SHA256, &bytes)).expect("right");
    assert_eq!(growing.wait_len().await, Ok(BIG as u64), "it was said");
    drop(verified);
    assert_eq!(growing.wait_end().await, Err(GrowingError::CutOff));
}

#[tokio::test]
async fn readers_read_on_whatever_becomes_of_the_file() {
    let bytes = content(BIG);
    let digest = Digest::of(SHA256, &bytes);
    for spare in [false, true] {
        for begun in [false, true] {
            let (dir, blobs) = fresh();
            let mut upload = ingest(&blobs, 1, &bytes[..600_000]);
            let growing = upload.grow(None).expect("grows");
            let mut reader = growing.reader_of_all();
            let mut got = Vec::new();
            if begun {
                let first = reader.next(1000).await.expect("there").expect("bytes");
                got.extend_from_slice(&first);
            }
            upload.write(&bytes[600_000..]).expect("room");
            let verified = upload.verify(&digest).expect("right");
            if spare {
                // The store has the blob, and the last bytes never come to the file.
                verified.discard().expect("gone");
            } else {
                let place = placed(verified.seal().expect("sealed"));
                blobs.content.remove(&[place]).expect("gone");
            }
            assert!(tree(dir.path()).is_empty());
            let (rest, end) = all_of(&mut reader, &mut Numbers(3)).await;
            got.extend_from_slice(&rest);
            assert_eq!(end, Ok(()));
            assert!(got == bytes, "spare {spare}, begun {begun}");
            assert!(read_all(&growing).await.0 == bytes, "late");
        }
    }
}

#[tokio::test]
async fn few_bytes_are_read_from_memory_or_from_their_file() {
    for len in [0, 1, 64] {
        for flushed in [false, true] {
            for spare in [false, true] {
                let (_dir, blobs) = fresh();
                let bytes = content(len);
                let mut upload = blobs.uploads.begin(fill_name(1));
                let growing = upload.grow(Some(len as u64)).expect("grows");
                upload.write(&bytes).expect("room");
                if flushed {
                    upload.flush().expect("written");
                }
                let reader = {
                    let growing = growing.clone();
                    tokio::spawn(async move { read_all(&growing).await })
                };
                tokio::task::yield_now().await;
                let verified = upload.verify(&Digest::of(SHA256, &bytes)).expect("right");
                if spare {
                    verified.discard().expect("gone");
                } else {
                    let sealed = verified.seal().expect("sealed");
                    assert!(matches!(sealed.body, SealedBody::Inline(_)));
                }
                let got = reader.await.expect("no panic");
                assert_eq!(got, (bytes.clone(), Ok(())));
                assert_eq!(read_all(&growing).await, (bytes, Ok(())));
            }
        }
    }
    // Too many for the database, and one piece: the file is made at the end.
    let (_dir, blobs) = fresh();
    let mut upload = ingest(&blobs, 1, &content(1000));
    let growing = upload.grow(None).expect("grows");
    upload
        .finish(&Digest::of(SHA256, &content(1000)))
        .expect("sealed");
    assert_eq!(read_all(&growing).await, (content(1000), Ok(())));
}

#[tokio::test]
async fn a_fill_that_goes_on_is_read_from_its_start() {
    let (dir, blobs) = fresh();
    let bytes = content(BIG);
    let mut upload = blobs.uploads.begin(fill_name(1));
    let before = upload.grow(None).expect("grows");
    upload.write(&bytes[..600_000]).expect("room");
    let saved = upload.checkpoint().expect("saved");
    drop(upload);
    let mut upload = resume(&open(dir.path()), fill_name(1), Some(&saved)).expect("goes on");
    let growing = upload.grow(Some(BIG as u64)).expect("grows");
    assert_eq!(growing.readable(), 599_999);
    let again = upload.grow(None).expect("the same");
    assert_eq!(again.len_known(), Some(BIG as u64));
    let reader = tokio::spawn(async move { read_all(&growing).await });
    upload.write(&bytes[600_000..]).expect("room");
    upload.finish(&Digest::of(SHA256, &bytes)).expect("sealed");
    let (got, end) = reader.await.expect("no panic");
    assert!(got == bytes && end.is_ok());
    assert_eq!(read_all(&before).await.1, Err(GrowingError::CutOff));
}

#[tokio::test]
async fn content_of_another_length_than_was_said_comes_to_no_end() {
    for said in [BIG as u64 - 5, BIG as u64 + 5] {
        let (_dir, blobs) = fresh();
        let bytes = content(BIG);
        let mut upload = blobs.uploads.begin(fill_name(1));
        let growing = upload.grow(Some(said)).expect("grows");
        upload.write(&bytes).expect("room");
        upload.flush().expect("written");
        assert!(growing.readable() < said);
        upload
            .finish(&Digest::of(SHA256, &bytes))
            .expect("it is right all the same");
        let (got, end) = read_all(&growing).await;
        let (wanted, size) = (said, BIG as u64);
        assert_eq!(end, Err(GrowingError::Length { wanted, got: size }));
        assert!((got.len() as u64) < said.min(size));
    }
}

#[tokio::test]
async fn a_disk_that_fails_the_writer_fails_the_readers() {
    let bytes = content(BIG);
    let (_dir, disk, blobs) = faulty();
    let mut upload = ingest(&blobs, 1, &bytes);
    let growing = upload.grow(None).expect("grows");
    disk.set(Wrong::Write);
    assert!(upload.write(&bytes).is_err());
    assert_eq!(read_all(&growing).await.1, Err(GrowingError::NoSpace));
    assert!(upload.grow(None).is_err(), "it takes nothing more");
    disk.set(Wrong::Nothing);
    let mut upload = ingest(&blobs, 2, &bytes);
    let growing = upload.grow(None).expect("grows");
    let mut reader = growing.reader_of_all();
    reader.next(10).await.expect("there");
    disk.set(Wrong::Sync);
    assert!(upload.finish(&Digest::of(SHA256, &bytes)).is_err());
    let end = all_of(&mut reader, &mut Numbers(1)).await.1;
    assert!(matches!(end, Err(GrowingError::Disk(_))), "{end:?}");
}
