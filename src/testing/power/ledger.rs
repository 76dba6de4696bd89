//! What was asked of the registry and what it acknowledged, each with the step of the disk at which that was.

use super::disk::{Disk, Fault};
use crate::repo::RepoError;
use crate::types::{Algorithm, Digest, FilePath, Hasher, Kind, RepoName, Title, UploadId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that a client can ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A name of a repository's head, in the words of its kind.
    Name(Kind, RepoName, String),
    /// All that a repository's head shows together, by the digest of [`shows`].
    All(Kind, RepoName),
    /// All that snapshots of one cut show, likewise: of each of these repositories there is one, or of none.
    Cut(Vec<RepoName>, Title),
}

/// One digest for names and what they mean, in this order.
pub(super) fn shows<'a>(lines: impl IntoIterator<Item = (&'a str, &'a Digest)>) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for (name, is) in lines {
        hasher.update(format!("{name} {is}\n").as_bytes());
    }
    hasher.finish()
}

impl Key {
    /// The repository that it is about.
    pub fn repo(&self) -> &RepoName {
        match self {
            Self::Name(_, repo, _) | Self::All(_, repo) => repo,
            Self::Cut(repos, _) => &repos[0],
        }
    }
}

/// One change of one key: to a digest, or to nothing.
#[derive(Debug, Clone)]
struct Fact {
    key: Key,
    value: Option<Digest>,
    begun: usize,
    acked: Option<usize>,
    /// It was refused because the disk was full: nothing of it may show.
    refused: bool,
}

/// An upload that may be taken up again.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub repo: RepoName,
    /// Of a client; a mirror's fill and the parts of a file have none that anybody knows.
    pub id: Option<UploadId>,
    /// The file that its parts are of.
    pub path: Option<FilePath>,
    pub digest: Digest,
    /// When each length was on its way.
    pub sent: Vec<(usize, u64)>,
    /// When each length was saved for good.
    pub saved: Vec<(usize, u64)>,
    /// When its last request began.
    pub ended: Option<usize>,
    /// When that was acknowledged.
    pub over: Option<usize>,
}

#[derive(Default)]
struct Pages {
    facts: Vec<Fact>,
    bytes: HashMap<Digest, Bytes>,
    /// Revisions of a repository: begun, acknowledged.
    revs: Vec<(RepoName, usize, Option<usize>)>,
    uploads: Vec<Upload>,
    deleted: Vec<RepoName>,
}

/// The ledger of one run.
pub(super) struct Ledger {
    disk: Disk,
    pages: Mutex<Pages>,
}

/// What a change promises once it is acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct Promise {
    pub facts: Vec<(Key, Option<Digest>)>,
    /// The repository gets a new revision.
    pub revs: Vec<RepoName>,
}

impl Ledger {
    /// Of a run on this disk, which begins.
    pub fn new(disk: Disk) -> Self {
        Self {
            disk,
            pages: Mutex::default(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes content; answers its digest.
    pub fn know(&self, digest: Digest, bytes: Bytes) {
        self.pages().bytes.insert(digest, bytes);
    }

    /// Content that the run has made; panics for other digests.
    pub fn bytes(&self, digest: &Digest) -> Bytes {
        self.pages().bytes[digest].clone()
    }

    /// Content, if the run has made it.
    pub fn known(&self, digest: &Digest) -> Option<Bytes> {
        self.pages().bytes.get(digest).cloned()
    }

    /// Does something, and notes when it was begun and acknowledged.
    pub async fn doing<T>(
        &self,
        promise: Promise,
        work: impl Future<Output = Result<T, RepoError>>,
    ) -> Result<T, RepoError> {
        let begun = self.disk.steps();
        let (facts, revs) = {
            let mut pages = self.pages();
            let from = pages.facts.len();
            for (key, value) in promise.facts {
                pages.facts.push(Fact {
                    key,
                    value,
                    begun,
                    acked: None,
                    refused: false,
                });
            }
            let revs = pages.revs.len();
            pages
                .revs
                .extend(promise.revs.into_iter().map(|repo| (repo, begun, None)));
            (from..pages.facts.len(), revs..pages.revs.len())
        };
        let done = work.await;
        let acked = match self.disk.fault() {
            Fault::AnswersFirst => Some(begun),
            _ => Some(self.disk.steps()),
        };
        let mut pages = self.pages();
        if done.as_ref().is_err_and(RepoError::stored_nothing) {
            pages.facts[facts].iter_mut().for_each(|f| f.refused = true);
            pages.revs[revs].iter_mut().for_each(|r| r.1 = usize::MAX);
        } else if done.is_ok() {
            pages.facts[facts].iter_mut().for_each(|f| f.acked = acked);
            pages.revs[revs].iter_mut().for_each(|r| r.2 = acked);
        }
        done
    }

    /// What the deletion of a repository promises.
    pub fn all_gone(&self, repo: &RepoName) -> Promise {
        let mut pages = self.pages();
        pages.deleted.push(repo.clone());
        let mut keys: Vec<_> = pages.facts.iter().map(|f| f.key.clone()).collect();
        keys.retain(|key| key.repo() == repo);
        keys.sort();
        keys.dedup();
        Promise {
            facts: keys.into_iter().map(|key| (key, None)).collect(),
            revs: Vec::new(),
        }
    }

    /// Notes a new upload; answers its number here.
    pub fn upload(&self, repo: &RepoName, id: UploadId, digest: Digest) -> usize {
        self.begun(repo, Some(id), None, digest)
    }

    /// Notes a new fill; answers its number among the uploads.
    pub fn fill(&self, repo: &RepoName, digest: Digest) -> usize {
        self.begun(repo, None, None, digest)
    }

    /// Notes a file that comes in parts; answers its number among the uploads.
    pub fn parts(&self, repo: &RepoName, path: &FilePath, digest: Digest) -> usize {
        self.begun(repo, None, Some(path.clone()), digest)
    }

    fn begun(
        &self,
        repo: &RepoName,
        id: Option<UploadId>,
        path: Option<FilePath>,
        digest: Digest,
    ) -> usize {
        let mut pages = self.pages();
        pages.uploads.push(Upload {
            repo: repo.clone(),
            id,
            path,
            digest,
            sent: Vec::new(),
            saved: Vec::new(),
            ended: None,
            over: None,
        });
        pages.uploads.len() - 1
    }

    /// Bytes up to here are on their way.
    pub fn sending(&self, upload: usize, to: u64) {
        let now = self.disk.steps();
        self.pages().uploads[upload].sent.push((now, to));
    }

    /// Bytes up to here were acknowledged.
    pub fn saved(&self, upload: usize, to: u64) {
        let now = self.disk.steps();
        self.pages().uploads[upload].saved.push((now, to));
    }

    /// Its last request is on its way.
    pub fn ending(&self, upload: usize) {
        let now = self.disk.steps();
        self.pages().uploads[upload].ended = Some(now);
    }

    /// Its end was acknowledged, or it was given up.
    pub fn over(&self, upload: usize) {
        let now = self.disk.steps();
        self.pages().uploads[upload].over = Some(now);
    }

    /// Uploads and fills that had begun when `steps` were done; of those under one id, and of fills of one digest, the
    /// last.
    pub fn uploads(&self, steps: usize) -> Vec<Upload> {
        let pages = self.pages();
        let begun = |u: &&Upload| u.sent.first().is_some_and(|(at, _)| *at <= steps);
        let begun = pages.uploads.iter().filter(begun);
        let last: BTreeMap<_, _> = begun.map(|u| ((u.id, u.digest), u.clone())).collect();
        last.into_values().collect()
    }

    /// For each key, what it may mean after a cut when `steps` were done: what was acknowledged last, or what was on
    /// its way then.
    pub fn allowed(&self, steps: usize) -> BTreeMap<Key, Vec<Option<Digest>>> {
        let pages = self.pages();
        let mut allowed: BTreeMap<Key, Vec<Option<Digest>>> = BTreeMap::new();
        for fact in pages
            .facts
            .iter()
            .filter(|f| f.begun <= steps && !f.refused)
        {
            let values = allowed.entry(fact.key.clone()).or_insert(vec![None]);
            if fact.acked.is_some_and(|at| at <= steps) {
                values.clear();
            }
            values.push(fact.value);
        }
        allowed
    }

    /// For each repository that was never deleted, the least and the highest revision that it may have.
    pub fn revs(&self, steps: usize) -> BTreeMap<RepoName, (u64, u64)> {
        let pages = self.pages();
        let mut revs: BTreeMap<RepoName, (u64, u64)> = BTreeMap::new();
        for (repo, begun, acked) in &pages.revs {
            if *begun > steps || pages.deleted.contains(repo) {
                continue;
            }
            let range = revs.entry(repo.clone()).or_default();
            range.0 += u64::from(acked.is_some_and(|at| at <= steps));
            range.1 += 1;
        }
        revs
    }

    /// How many changes were acknowledged when `steps` were done.
    pub fn acknowledged(&self, steps: usize) -> usize {
        let pages = self.pages();
        let facts = pages.facts.iter();
        facts
            .filter(|f| f.acked.is_some_and(|at| at <= steps))
            .count()
    }
}
