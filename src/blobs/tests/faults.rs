//! A disk that fails, or answers wrongly, at one step; and what is made of that.

use super::*;
use crate::blobs::disk::{Disk, Machine};
use std::fs::File;
use std::io;
use std::sync::Mutex;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    /// A file is not made durable.
    Sync,
    /// There is no room for bytes.
    Write,
    /// A file comes to its place, and the answer is lost.
    AnswerLost,
    /// The same, and the answer is that something is there already.
    AnswerIsThere,
    /// Nothing comes to the place, and the answer says so.
    NotBrought,
    /// Nothing comes to the place, and the answer says that it did.
    Lie,
    /// Another file comes to the place.
    Other,
    /// Nothing; and the file system knows clones, here made by copying.
    Clones,
    /// The same, and the source has grown since it was looked at.
    ClonesMore,
    /// The same, and the source was cut meanwhile.
    ClonesLess,
    /// A clone breaks off in its middle.
    ClonesBadly,
}

/// The machine's own disk, but for one thing.
pub(super) struct Faulty {
    machine: Machine,
    wrong: Mutex<Wrong>,
}

impl Faulty {
    fn wrong(&self) -> Wrong {
        *self.wrong.lock().expect("whole")
    }

    /// From now on.
    pub fn set(&self, wrong: Wrong) {
        *self.wrong.lock().expect("whole") = wrong;
    }

    /// A step to a place, done as `bring` does it.
    fn brought(&self, to: &Path, bring: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.wrong() {
            Wrong::AnswerLost => bring().and(Err(io::ErrorKind::TimedOut.into())),
            Wrong::AnswerIsThere => bring().and(Err(io::ErrorKind::AlreadyExists.into())),
            Wrong::NotBrought => Err(io::ErrorKind::TimedOut.into()),
            Wrong::Lie => Ok(()),
            Wrong::Other => self.machine.create(to)?.write_all_at(b"other", 0),
            _ => bring(),
        }
    }
}

impl Disk for Faulty {
    fn boot_id(&self) -> String {
        self.machine.boot_id()
    }
    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        self.machine.make_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.machine.create(path)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.wrong() == Wrong::Write {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.machine.write_at(file, bytes, offset)
    }
    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.machine.set_len(file, len)
    }
    fn set_mark(&self, file: &File, mark: &[u8]) -> io::Result<()> {
        self.machine.set_mark(file, mark)
    }
    fn mark(&self, file: &File) -> io::Result<Vec<u8>> {
        self.machine.mark(file)
    }
    fn sync(&self, file: &File, all: bool) -> io::Result<()> {
        if self.wrong() == Wrong::Sync {
            return Err(io::Error::other("the disk is broken"));
        }
        self.machine.sync(file, all)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.machine.sync_dir(path)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.brought(to, || self.machine.rename_new(from, to))
    }
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.brought(to, || self.machine.link_new(from, to))
    }
    fn reflink(&self, file: &File, source: &File) -> io::Result<()> {
        let mut bytes = Vec::new();
        (&*source).read_to_end(&mut bytes)?;
        let half = bytes.len() / 2;
        match self.wrong() {
            Wrong::Clones => file.write_all_at(&bytes, 0),
            Wrong::ClonesMore => file.write_all_at(&[&*bytes, b"more"].concat(), 0),
            Wrong::ClonesLess => file.write_all_at(&bytes[..half], 0),
            Wrong::ClonesBadly => {
                file.write_all_at(&bytes[..half], 0)?;
                Err(io::Error::other("no"))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
    fn link_open(&self, file: &File, to: &Path) -> io::Result<()> {
        self.brought(to, || self.machine.link_open(file, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.machine.remove(path)
    }
}

/// Contents on such a disk, on which nothing is wrong yet.
pub(super) fn faulty() -> (TempDir, Arc<Faulty>, Blobs) {
    let dir = TempDir::new().expect("a folder");
    let disk = Arc::new(Faulty {
        machine: Machine::default(),
        wrong: Mutex::new(Wrong::Nothing),
    });
    let options = BlobOptions {
        dir: dir.path().join("data"),
        reserve_bytes: 0,
        owed_bytes: Arc::default(),
        inline_max: 64,
    };
    let blobs = Blobs::open_on(options, Arc::clone(&disk) as Arc<dyn Disk>).expect("opens");
    (dir, disk, blobs)
}

/// What is sealed on a disk that answers so, and whether anybody counts on the upload.
fn sealed(wrong: Wrong, promised: bool) -> (TempDir, Blobs, Result<Sealed, BlobError>) {
    let (dir, disk, blobs) = faulty();
    let bytes = content(BIG);
    let mut upload = ingest(&blobs, 1, &bytes);
    if promised {
        upload.flush().expect("kept");
    }
    disk.set(wrong);
    let sealed = upload.finish(&Digest::of(SHA256, &bytes));
    (dir, blobs, sealed)
}

#[test]
fn a_create_is_believed_only_after_a_look() {
    let (bytes, digest) = (content(BIG), Digest::of(SHA256, &content(BIG)));
    for promised in [false, true] {
        for wrong in [Wrong::AnswerLost, Wrong::AnswerIsThere] {
            let (_dir, blobs, sealed) = sealed(wrong, promised);
            let sealed = sealed.expect("it is there");
            assert_eq!(sealed.upload.is_some(), promised, "{wrong:?}");
            let kept = blobs.uploads.sessions().expect("lists");
            assert_eq!(kept.len(), usize::from(promised), "{wrong:?}");
            assert_eq!(read(&blobs, &placed(sealed), BIG), bytes);
        }
        for wrong in [Wrong::NotBrought, Wrong::Lie, Wrong::Other] {
            let (dir, blobs, sealed) = sealed(wrong, promised);
            let error = sealed.expect_err("it is not there");
            let changed = matches!(error, BlobError::Changed);
            assert_eq!(changed, wrong != Wrong::NotBrought, "{wrong:?}: {error}");
            assert_eq!(blobs.content.places_of(&digest).expect("lists"), []);
            assert_eq!(tree(dir.path()).len(), 1, "{wrong:?}: the upload's file");
        }
    }
}

#[test]
fn no_place_is_another_and_a_slash() {
    let mut places: Vec<Place> = Vec::new();
    for algorithm in Algorithm::ALL {
        for n in 0..4_u8 {
            // Two contents that begin alike, and two ids that do.
            let digest = Digest::of(algorithm, &[n / 2]);
            places.push(Place::of(&digest, id(n)));
        }
        let lens = places.iter().filter(|p| p.0.starts_with(algorithm.name()));
        let lens: std::collections::BTreeSet<_> = lens.map(|p| p.0.len()).collect();
        assert_eq!(lens.len(), 1, "all of one algorithm have one length");
    }
    for one in &places {
        let below = format!("{}/", one.0);
        assert!(Place::parse(&below).is_err());
        assert!(Place::parse(&format!("{below}x")).is_err());
        for other in &places {
            assert!(!other.0.starts_with(&below), "{one} {other}");
            assert!(
                one == other || !other.0.starts_with(&one.0),
                "{one} {other}"
            );
        }
    }
}
