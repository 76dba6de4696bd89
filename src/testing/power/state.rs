//! What a disk holds and what of it is durable: the model behind the simulated power cut.
//!
//! A file's bytes, its length and its mark are durable by a sync of the file; a name is durable by a sync of its folder,
//! each name for itself. Nothing else makes anything durable.

use super::Rng;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

/// A file or folder, whatever its names.
pub(super) type Ino = usize;
/// The folder that everything is below.
pub(super) const ROOT: Ino = 0;

/// One step that a power cut may come before or after.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Mkdir {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Create {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Write {
        ino: Ino,
        at: usize,
        bytes: Vec<u8>,
    },
    SetLen {
        ino: Ino,
        len: usize,
    },
    Mark {
        ino: Ino,
        mark: Vec<u8>,
    },
    Sync {
        ino: Ino,
        all: bool,
    },
    SyncDir {
        dir: Ino,
    },
    Rename {
        from: (Ino, String),
        to: (Ino, String),
    },
    Link {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Remove {
        dir: Ino,
        name: String,
    },
    /// A sync that the disk only pretends to do.
    Lie,
}

#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// As a reader sees it now.
    pub data: Vec<u8>,
    pub mark: Option<Vec<u8>>,
    durable: Vec<u8>,
    durable_mark: Option<Vec<u8>>,
    /// Writes since the last sync: offset and bytes.
    writes: Vec<(usize, Vec<u8>)>,
    /// Every length since the last sync.
    lens: Vec<usize>,
    marked: bool,
}

/// The names in a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Dir {
    pub now: BTreeMap<String, Ino>,
    /// What each changed name meant at the last sync, and every time since but now.
    before: BTreeMap<String, Vec<Option<Ino>>>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(File),
    Dir(Dir),
}

/// A whole disk.
#[derive(Debug, Clone)]
pub(super) struct State {
    nodes: HashMap<Ino, Node>,
    pub next: Ino,
}

impl State {
    /// An empty disk.
    pub fn new() -> Self {
        let nodes = HashMap::from([(ROOT, Node::Dir(Dir::default()))]);
        Self { nodes, next: 1 }
    }

    /// A file; panics for a folder.
    pub fn file(&self, ino: Ino) -> &File {
        match &self.nodes[&ino] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("{ino} is a folder"),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> &mut File {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => file,
            _ => panic!("{ino} is no file"),
        }
    }

    /// A folder; `None` for a file.
    pub fn dir(&self, ino: Ino) -> Option<&Dir> {
        match &self.nodes[&ino] {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> &mut Dir {
        match self.nodes.get_mut(&ino) {
            Some(Node::Dir(dir)) => dir,
            _ => panic!("{ino} is no folder"),
        }
    }

    /// The file or folder of a path below the root.
    pub fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let dir = self.dir(at).ok_or(ErrorKind::NotADirectory)?;
            let name = name.to_str().ok_or(ErrorKind::InvalidInput)?;
            at = *dir.now.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The folder of a path, and its name there.
    pub fn split(&self, path: &Path) -> io::Result<(Ino, String)> {
        let name = path.file_name().and_then(|n| n.to_str());
        let above = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let dir = self.find(above)?;
        self.dir(dir).ok_or(ErrorKind::NotADirectory)?;
        Ok((dir, name.ok_or(ErrorKind::InvalidInput)?.to_owned()))
    }

    /// Every file and its path, hard links twice; folders by `folder`.
    pub fn walk(&self, mut visit: impl FnMut(&str, Ino, bool)) {
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = todo.pop() {
            for (name, child) in self.dir(ino).iter().flat_map(|d| &d.now) {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}/{name}")
                };
                let is_dir = self.dir(*child).is_some();
                visit(&path, *child, is_dir);
                if is_dir {
                    todo.push((path, *child));
                }
            }
        }
    }

    /// Takes one step.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Mkdir { dir, name, ino } => {
                self.add(*ino, Node::Dir(Dir::default()));
                self.dir_mut(*dir).set(name, Some(*ino));
            }
            Op::Create { dir, name, ino } => {
                self.add(*ino, Node::File(File::default()));
                self.dir_mut(*dir).set(name, Some(*ino));
            }
            Op::Write { ino, at, bytes } => self.file_mut(*ino).write(*at, bytes),
            Op::SetLen { ino, len } => self.file_mut(*ino).set_len(*len),
            Op::Mark { ino, mark } => {
                let file = self.file_mut(*ino);
                file.mark = Some(mark.clone());
                file.marked = true;
            }
            Op::Sync { ino, all } => self.file_mut(*ino).sync(*all),
            Op::SyncDir { dir } => self.dir_mut(*dir).before.clear(),
            Op::Rename { from, to } => {
                let ino = self.dir_mut(from.0).set(&from.1, None);
                self.dir_mut(to.0).set(&to.1, ino);
            }
            Op::Link { dir, name, ino } => {
                self.dir_mut(*dir).set(name, Some(*ino));
            }
            Op::Remove { dir, name } => {
                self.dir_mut(*dir).set(name, None);
            }
            Op::Lie => {}
        }
    }

    fn add(&mut self, ino: Ino, node: Node) {
        self.nodes.insert(ino, node);
        self.next = self.next.max(ino + 1);
    }

    /// One of the disks that the next start may find if the power goes now.
    pub fn after_cut(&self, rng: &mut Rng) -> Self {
        // How much of what was not synced came through: nothing, all, or something between.
        let luck = [0, 10, 50, 50, 90, 100][rng.below(6)];
        let mut image = Self::new();
        image.next = self.next;
        let mut todo = vec![ROOT];
        while let Some(ino) = todo.pop() {
            let node = match &self.nodes[&ino] {
                Node::Dir(dir) => {
                    let dir = dir.after_cut(rng, luck);
                    let new = dir.now.values();
                    todo.extend(new.filter(|child| !image.nodes.contains_key(*child)));
                    Node::Dir(dir)
                }
                Node::File(_) if image.nodes.contains_key(&ino) => continue,
                Node::File(file) => Node::File(file.after_cut(rng, luck)),
            };
            image.nodes.insert(ino, node);
        }
        image
    }

    /// The disk after everything was written back.
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        for node in settled.nodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.before.clear(),
                Node::File(file) => file.sync(true),
            }
        }
        settled
    }
}

impl Dir {
    fn set(&mut self, name: &str, to: Option<Ino>) -> Option<Ino> {
        let old = match to {
            Some(ino) => self.now.insert(name.to_owned(), ino),
            None => self.now.remove(name),
        };
        self.before.entry(name.to_owned()).or_default().push(old);
        old
    }

    fn after_cut(&self, rng: &mut Rng, luck: usize) -> Self {
        let mut now = self.now.clone();
        for (name, before) in &self.before {
            if rng.percent(luck) {
                continue;
            }
            match before[rng.below(before.len())] {
                Some(ino) => now.insert(name.clone(), ino),
                None => now.remove(name),
            };
        }
        Self {
            now,
            before: BTreeMap::new(),
        }
    }
}

impl File {
    /// Whether nothing of its bytes waits for a sync.
    pub fn is_synced(&self) -> bool {
        self.writes.is_empty() && self.lens.is_empty()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.data, at, bytes);
        self.writes.push((at, bytes.to_vec()));
        self.lens.push(self.data.len());
    }

    fn set_len(&mut self, len: usize) {
        self.data.resize(len, 0);
        self.lens.push(len);
    }

    fn sync(&mut self, all: bool) {
        let least = self.lens.iter().min();
        if let Some(least) = least {
            // What was cut off came back as zeros.
            self.durable.truncate(*least);
        }
        self.durable.resize(self.data.len(), 0);
        for (at, bytes) in self.writes.drain(..) {
            let end = (at + bytes.len()).min(self.data.len());
            if at < end {
                self.durable[at..end].copy_from_slice(&self.data[at..end]);
            }
        }
        self.lens.clear();
        if all {
            self.durable_mark.clone_from(&self.mark);
            self.marked = false;
        }
    }

    fn after_cut(&self, rng: &mut Rng, luck: usize) -> Self {
        let mut data = self.durable.clone();
        let mut order: Vec<_> = self.writes.iter().collect();
        if rng.percent(50) {
            rng.shuffle(&mut order);
        }
        for (at, bytes) in order {
            let (whole, torn) = (rng.percent(luck), rng.percent(luck));
            if whole {
                put(&mut data, *at, bytes);
            } else if torn {
                tear(&mut data, *at, bytes, rng);
            }
        }
        // The length is another thing than the bytes: it may stand where they do not.
        let mut len = self.durable.len();
        if !self.lens.is_empty() && rng.percent(luck.max(20)) {
            len = self.lens[rng.below(self.lens.len())];
        }
        data.resize(len, 0);
        let mark = if self.marked && rng.percent(luck) {
            self.mark.clone()
        } else {
            self.durable_mark.clone()
        };
        Self {
            durable: data.clone(),
            data,
            durable_mark: mark.clone(),
            mark,
            ..Self::default()
        }
    }
}

fn put(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at..end].copy_from_slice(bytes);
}

/// Some of a write's sectors or pages, or the first of them.
fn tear(data: &mut Vec<u8>, at: usize, bytes: &[u8], rng: &mut Rng) {
    let unit = if rng.percent(50) { 512 } else { 4096 };
    let first_only = rng.percent(30);
    let mut from = 0;
    while from < bytes.len() {
        let end = ((at + from) / unit + 1) * unit - at;
        let end = end.min(bytes.len());
        if rng.percent(50) {
            put(data, at + from, &bytes[from..end]);
        } else if first_only {
            return;
        }
        from = end;
    }
}
