//! Epochs: the one way to end what memory knows of rows.
//!
//! A cached answer rests on a [`Subject`]. Whoever makes one takes the subject's epoch ([`Epochs::now`]) before the rows are
//! read, keeps it with the answer, and compares it when the answer is used. The writer raises the epochs of what a batch
//! changed once readers see the batch, and before anybody is answered: so an answer that was read before a change never counts
//! after it, however late it is put in. What a batch changed is what its rows of the feed tell of, and what a closure declares
//! where it writes no such row ([`Txn::ends`](super::Txn::ends)). A batch whose outcome is not known ends everything, and so does
//! the file that is opened after it.
//!
//! Subjects share a fixed number of epochs: one that meets another ends too early, never too late. Must not know what is cached,
//! nor hold any of it.

use super::feed::{FeedKind, FeedRecord, Page};
use super::record::Record as _;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Epochs of all subjects.
const SLOTS: usize = 4096;
/// The first belong to one subject each.
const SETTINGS: usize = 0;
const ACCOUNTS: usize = 1;
const QUOTAS: usize = 2;
const OWN: usize = 3;

/// What cached answers rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// What readers see of the repository of this name, and how long its leases hold. It is a part of what is below each
    /// prefix of the name.
    Shown(&'a str),
    /// Which repository the name means, and what that takes.
    Home(&'a str),
    /// What readers see of the repositories whose name is this, or begins with this and a slash; of all, if it is empty.
    Below(&'a str),
    /// The settings of any repository.
    Settings,
    /// The accounts and their roles.
    Accounts,
    /// The quotas.
    Quotas,
}

impl Subject<'_> {
    /// Where its epoch stands. A name is hashed once, eight bytes at a time.
    fn slot(self) -> usize {
        let (salt, name) = match self {
            Self::Settings => return SETTINGS,
            Self::Accounts => return ACCOUNTS,
            Self::Quotas => return QUOTAS,
            Self::Shown(name) => (1, name),
            Self::Home(name) => (2, name),
            Self::Below(prefix) => (3, prefix),
        };
        let many = (SLOTS - OWN) as u64;
        // The high half of the hash, spread over so many places.
        OWN + (((hash(salt, name) >> 32) * many) >> 32) as usize
    }
}

/// A hash for spreading, the same in every process; whoever makes two names meet only has them end together.
fn hash(salt: u64, text: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(ODD);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words
        .iter()
        .fold(mix(salt, text.len() as u64), |hash, word| {
            mix(hash, u64::from_le_bytes(*word))
        });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), salt)
}

/// When something was read: between two changes of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

/// The epochs of all subjects.
pub struct Epochs([AtomicU64; SLOTS]);

impl Default for Epochs {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(1)))
    }
}

impl std::fmt::Debug for Epochs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

impl Epochs {
    /// The subject's epoch: to be taken before rows are read. One atomic load.
    #[must_use]
    pub fn now(&self, subject: Subject<'_>) -> Epoch {
        Epoch(self.0[subject.slot()].load(Ordering::Acquire))
    }

    /// Whether what was read then of the subject still counts.
    #[must_use]
    pub fn is(&self, subject: Subject<'_>, epoch: Epoch) -> bool {
        self.now(subject) == epoch
    }

    /// Ends what rests on a subject, for a change that is in no row, as of the configuration. Rows are the writer's.
    pub fn end(&self, subject: Subject<'_>) {
        self.raise(subject.slot());
    }

    /// Ends what the rows of a page of the feed tell of, for a process that reads what another one writes. A row that this
    /// version does not know, and rows that were trimmed before they were read, end everything.
    ///
    /// What a closure declares beside the feed ([`Txn::ends`](super::Txn::ends)) it does not hear of.
    pub fn follow(&self, page: &Page) {
        let ends = Ends::default();
        if page.behind {
            ends.everything();
        }
        for (_, row) in &page.rows {
            match FeedRecord::from_bytes(row) {
                Ok(row) => ends.told(&row),
                Err(_) => ends.everything(),
            }
        }
        self.end_all(&ends);
    }

    /// Ends what a batch, which readers see by now, has marked.
    pub(super) fn end_all(&self, ends: &Ends) {
        if ends.all.get() {
            return self.end_everything();
        }
        for (at, bits) in ends.marks.iter().enumerate() {
            let mut bits = bits.get();
            while bits != 0 {
                self.raise(64 * at + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// Ends all that memory knows.
    pub(super) fn end_everything(&self) {
        (0..SLOTS).for_each(|slot| self.raise(slot));
    }

    fn raise(&self, slot: usize) {
        self.0[slot].fetch_add(1, Ordering::AcqRel);
    }
}

/// What a batch ends: a bit for each epoch, so that it never grows.
pub(super) struct Ends {
    marks: [Cell<u64>; SLOTS / 64],
    all: Cell<bool>,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            marks: [const { Cell::new(0) }; SLOTS / 64],
            all: Cell::new(false),
        }
    }
}

impl Ends {
    /// Marks a subject; with what is shown of a repository all that is above it.
    pub fn mark(&self, subject: Subject<'_>) {
        self.set(subject);
        if let Subject::Shown(name) = subject {
            let above = name.match_indices('/').map(|(at, _)| &name[..at]);
            let own = Some(name).filter(|name| !name.is_empty());
            for prefix in std::iter::once("").chain(above).chain(own) {
                self.set(Subject::Below(prefix));
            }
        }
    }

    fn set(&self, subject: Subject<'_>) {
        let slot = subject.slot();
        let bits = &self.marks[slot / 64];
        bits.set(bits.get() | 1 << (slot % 64));
    }

    /// Marks all.
    pub fn everything(&self) {
        self.all.set(true);
    }

    /// Marks what a row of the feed tells of.
    pub fn told(&self, row: &FeedRecord) {
        let name = row.name.as_str();
        // `REPOSITORY@WHAT`: no name of a repository has that sign.
        let repo = name.split_once('@').map_or(name, |(repo, _)| repo);
        match FeedKind::of(row.kind) {
            Some(FeedKind::Revision) => self.mark(Subject::Shown(name)),
            Some(FeedKind::RepoMade | FeedKind::RepoDeleted) => {
                self.mark(Subject::Shown(name));
                self.mark(Subject::Home(name));
            }
            Some(FeedKind::RepoSet) => {
                self.mark(Subject::Home(name));
                self.mark(Subject::Settings);
            }
            Some(FeedKind::Snapshot | FeedKind::Blob) => self.mark(Subject::Shown(repo)),
            Some(FeedKind::Account) => self.mark(Subject::Accounts),
            Some(FeedKind::Setting) => self.mark(Subject::Quotas),
            // Nobody keeps answers about these.
            Some(FeedKind::Job | FeedKind::Schedule | FeedKind::Upstream) => {}
            None => self.everything(),
        }
    }
}

/// That something holds, as of an epoch of its subject: an answer without a value. It was never found to hold at first.
#[derive(Debug, Default)]
pub struct Held(AtomicU64);

impl Held {
    /// It was found to hold; the epoch is from before the look.
    pub fn found(&self, epoch: Epoch) {
        self.0.store(epoch.0, Ordering::Release);
    }

    /// Whether it is known to hold in this epoch.
    #[must_use]
    pub fn is(&self, now: Epoch) -> bool {
        self.0.load(Ordering::Acquire) == now.0
    }
}
