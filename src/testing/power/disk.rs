//! The simulated disk: content files lie in a real temporary folder, so that they are read as ever, the database in
//! memory; every step is noted, and from the notes comes what a power cut may leave.

mod content;
mod database;
mod space;

use super::state::{Ino, Op, State};
use space::Space;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// A disk, or a program, that does not do what it says: the checker must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// fsync of a folder does nothing.
    NoDirSync,
    /// fsync of a content file does nothing.
    NoFileSync,
    /// A content file is renamed before it is synced.
    RenameFirst,
    /// The sync of a content file ends long after it was answered.
    LateFileSync,
    /// fsync of the database does nothing.
    NoDatabaseSync,
    /// fsync of the database's log does nothing.
    NoLogSync,
    /// A commit is answered before it is durable: the sync of the log ends long after.
    LateLogSync,
    /// A change is answered before it is made.
    AnswersFirst,
}

/// How late [`Fault::LateFileSync`] and [`Fault::LateLogSync`] are, in steps.
const LATE: usize = 40;

struct Core {
    folder: TempDir,
    state: State,
    ops: Vec<Op>,
    /// The process that may use the disk; earlier ones were killed.
    life: u64,
    /// The process dies before this step.
    killed_at: usize,
    boot: String,
    /// From the real file's inode number to ours.
    real: HashMap<u64, Ino>,
    /// The database's logs.
    logs: HashSet<Ino>,
    fault: Fault,
    held_back: Vec<(usize, Ino)>,
    space: Space,
    /// Whether files can share bytes.
    clones: bool,
}

/// One process's view of the disk.
#[derive(Clone)]
pub(super) struct Disk {
    core: Arc<Mutex<Core>>,
    /// Before each removal of a file.
    pub removals: Arc<Gate>,
    /// Before each sync of a folder.
    pub folder_syncs: Arc<Gate>,
    /// Before each mark on a file.
    pub marks: Arc<Gate>,
    life: u64,
}

/// Where a test can have steps of one sort wait.
#[derive(Default)]
pub(super) struct Gate {
    came: AtomicUsize,
    turn: Mutex<()>,
}

impl Gate {
    /// Makes all who come wait until this is dropped.
    pub fn shut(&self) -> impl Sized + '_ {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have come so far.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
        drop(self.shut());
    }
}

impl Disk {
    /// A machine that starts with this on its disk. `boot` names the start.
    pub fn start(state: State, boot: String, fault: Fault) -> Self {
        let folder = memory_folder();
        let mut real: HashMap<u64, Ino> = HashMap::new();
        let mut paths: HashMap<Ino, PathBuf> = HashMap::new();
        state.walk(|path, ino, is_dir| {
            let path = folder.path().join(path);
            if is_dir {
                make_real_dir(&path);
            } else if !is_database(&path) {
                if let Some(first) = paths.get(&ino) {
                    real_parent(&path);
                    std::fs::hard_link(first, &path).expect("linked");
                    return;
                }
                let file = create_real(&path).expect("made");
                file.write_all_at(&state.file(ino).data, 0)
                    .expect("written");
                real.insert(file.metadata().expect("there").ino(), ino);
                paths.insert(ino, path);
            }
        });
        let core = Core {
            folder,
            state,
            ops: Vec::new(),
            life: 0,
            killed_at: usize::MAX,
            boot,
            real,
            logs: HashSet::new(),
            fault,
            held_back: Vec::new(),
            space: Space::default(),
            clones: false,
        };
        Self {
            core: Arc::new(Mutex::new(core)),
            removals: Arc::default(),
            folder_syncs: Arc::default(),
            marks: Arc::default(),
            life: 0,
        }
    }

    /// Ends the process that used the disk until now, without the machine: its later calls fail and change nothing.
    pub fn kill(&self) -> Self {
        let mut core = self.lock();
        core.life += 1;
        core.killed_at = usize::MAX;
        Self {
            core: Arc::clone(&self.core),
            removals: Arc::clone(&self.removals),
            folder_syncs: Arc::clone(&self.folder_syncs),
            marks: Arc::clone(&self.marks),
            life: core.life,
        }
    }

    /// From now on files can share bytes.
    pub fn know_clones(&self) {
        self.lock().clones = true;
    }

    /// Kills the process before the step of this number.
    pub fn kill_at(&self, step: usize) {
        self.lock().killed_at = step;
    }

    /// The data directory.
    pub fn dir(&self) -> PathBuf {
        self.lock().folder.path().join("data")
    }

    /// What it does wrong.
    pub fn fault(&self) -> Fault {
        self.lock().fault
    }

    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.lock().ops.len()
    }

    /// The steps and what they led to.
    pub fn history(&self) -> (Vec<Op>, State) {
        let core = self.lock();
        (core.ops.clone(), core.state.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everybody who comes to the disk wait until this is dropped.
    pub fn stall(&self) -> impl Sized + '_ {
        self.lock()
    }

    /// The disk, if this process may still use it.
    fn alive(&self) -> io::Result<MutexGuard<'_, Core>> {
        let core = self.lock();
        if core.life == self.life && core.ops.len() < core.killed_at {
            Ok(core)
        } else {
            Err(io::Error::other("this process was killed"))
        }
    }
}

impl Core {
    fn inner<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.folder.path()).unwrap_or(path)
    }

    fn note(&mut self, op: Op) {
        let op = self.distort(op);
        let renamed =
            matches!(op, Op::Rename { .. } | Op::Link { .. }) && self.fault == Fault::RenameFirst;
        self.push(op);
        let due = if renamed { usize::MAX } else { self.ops.len() };
        while self.held_back.first().is_some_and(|(at, _)| *at <= due) {
            let (_, ino) = self.held_back.remove(0);
            self.push(Op::Sync { ino, all: true });
        }
    }

    fn push(&mut self, op: Op) {
        self.state.apply(&op);
        self.ops.push(op);
    }

    fn distort(&mut self, op: Op) -> Op {
        let content = |ino: &Ino| self.real.values().any(|i| i == ino);
        match (&op, self.fault) {
            (Op::SyncDir { .. }, Fault::NoDirSync) => Op::Lie,
            (Op::Sync { ino, .. }, Fault::NoFileSync) if content(ino) => Op::Lie,
            (Op::Sync { ino, .. }, Fault::NoDatabaseSync) if !content(ino) => Op::Lie,
            (Op::Sync { ino, .. }, Fault::NoLogSync) if self.logs.contains(ino) => Op::Lie,
            (Op::Sync { ino, .. }, Fault::LateFileSync) if content(ino) => self.sync_late(*ino),
            (Op::Sync { ino, .. }, Fault::LateLogSync) if self.logs.contains(ino) => {
                self.sync_late(*ino)
            }
            (Op::Sync { ino, all: true }, Fault::RenameFirst) if content(ino) => {
                self.held_back.push((usize::MAX, *ino));
                Op::Lie
            }
            _ => op,
        }
    }

    fn sync_late(&mut self, ino: Ino) -> Op {
        self.held_back.push((self.ops.len() + LATE, ino));
        Op::Lie
    }

    fn ino_of(&self, file: &File) -> io::Result<Ino> {
        let real = file.metadata()?.ino();
        self.real
            .get(&real)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn free_name(&self, path: &Path) -> io::Result<(Ino, String)> {
        let (dir, name) = self.state.split(self.inner(path))?;
        let taken = self
            .state
            .dir(dir)
            .is_some_and(|d| d.now.contains_key(&name));
        if taken {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok((dir, name))
    }

    fn make_dir(&mut self, path: &Path) -> io::Result<bool> {
        let (dir, name) = match self.free_name(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            other => other?,
        };
        make_real_dir(path);
        let ino = self.state.next;
        self.note(Op::Mkdir { dir, name, ino });
        Ok(true)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.state.find(self.inner(path))?;
        self.note(Op::SyncDir { dir });
        Ok(())
    }
}

/// A temporary folder in memory where the machine has one: what these tests sync, they sync in the model.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

fn is_database(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str());
    name.is_some_and(|n| n.starts_with("meta.redb"))
}

/// Folders exist for real when a file comes into them; the 512 of places, which are mostly empty, not before.
fn make_real_dir(path: &Path) {
    if path.file_name().is_some_and(|n| n.len() != 2) {
        std::fs::create_dir_all(path).expect("made");
    }
}

fn real_parent(path: &Path) {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).expect("made");
    }
}

fn create_real(path: &Path) -> io::Result<File> {
    real_parent(path);
    let mut options = File::options();
    options.read(true).write(true).create_new(true).open(path)
}
