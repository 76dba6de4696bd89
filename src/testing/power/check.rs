//! Starts the registry on what a power cut left and compares it with the ledger: DESIGN.md section 4's invariants, and
//! nothing acknowledged lost.

mod goes_on;

use super::Service;
use super::disk::{Disk, Fault};
use super::kinds::{self, Shown};
use super::ledger::{Key, Ledger, shows};
use super::state::{Op, State};
use crate::blobs::Place;
use crate::repo::check::{Level, RowsOptions};
use crate::repo::rows::record::{BlobRecord, ItemRecord, RepoRecord};
use crate::repo::{At, Blob, BlobBody, RepoError, RepoErrorKind};
use crate::store::feed::FeedRecord;
use crate::store::key::Parts;
use crate::store::record::Record as _;
use crate::store::{Get as _, Row, StoreError, Table};
use crate::types::{Digest, RepoName, Title};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::time::{Duration, Instant};

/// More rows than any table of a run has.
const ALL: usize = 100_000;

/// What a check saw.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Opening the store, the contents and the repositories.
    pub opened_in: Duration,
    /// Steps of the disk that opening took.
    pub recovery: Vec<Op>,
    /// Content files that no row names: allowed.
    pub garbage: usize,
    /// Uploads that went on.
    pub resumed: usize,
    /// What must not be.
    pub lost: Vec<String>,
}

/// The check of one image.
pub(super) struct Check<'a> {
    pub service: Service,
    pub ledger: &'a Ledger,
    steps: usize,
    report: Report,
}

/// Checks one image against what was acknowledged within `steps` steps. At every other step the first process on it is
/// killed as soon as it has opened everything, and the next one is checked.
pub(super) async fn check(image: &State, boot: String, ledger: &Ledger, steps: usize) -> Report {
    let disk = Disk::start(image.clone(), boot, Fault::None);
    let start = Instant::now();
    let service = match Service::open(&disk) {
        Ok(service) => service,
        Err(e) => {
            let mut report = Report::default();
            report.lost.push(format!("it does not open: {e}"));
            return report;
        }
    };
    let opened_in = start.elapsed();
    let recovery = disk.history().0;
    let (mut disk, mut service) = (disk, service);
    if steps % 2 == 1 {
        disk = disk.kill();
        service.abandon();
        service = Service::open(&disk).expect("opens once more");
    }
    let mut check = Check {
        service,
        ledger,
        steps,
        report: Report {
            opened_in,
            recovery,
            ..Report::default()
        },
    };
    if steps % 4 > 1 {
        check.sweep().await;
    }
    if steps % 8 > 3 {
        check.tidy().await;
    }
    check.acknowledged().await;
    check.rows();
    check.consistent().await;
    check.garbage(image);
    check.fills_are_closed().await;
    check.tidy().await;
    check.uploads().await;
    check.goes_on().await;
    check.consistent().await;
    check.blob_rows();
    check.service.close().await;
    if let Some(place) = used_twice(&disk.history().0) {
        check.lose(format!("place {place} was used twice"));
    }
    check.report
}

/// A place that something was brought to twice.
pub(super) fn used_twice(ops: &[Op]) -> Option<String> {
    let mut used = BTreeSet::new();
    let names = ops.iter().filter_map(|op| match op {
        Op::Rename { to, .. } if to.1.contains('.') && !to.1.starts_with("meta") => Some(&to.1),
        Op::Link { name, .. } => Some(name),
        _ => None,
    });
    names.into_iter().find(|n| !used.insert(*n)).cloned()
}

impl Check<'_> {
    fn lose(&mut self, what: String) {
        self.report.lost.push(what);
    }

    /// What of a big change was cut off is taken back; before that nobody sees it, and the rows of it are no damage.
    async fn tidy(&mut self) {
        if let Err(e) = self.service.repos.tidy_stages(|_| false).await {
            self.lose(format!("a stage cannot be taken back: {e}"));
        }
    }

    /// A check of the rows finds nothing wrong: what is derived from others fits them, and quotas count what these say.
    async fn consistent(&mut self) {
        let options = RowsOptions {
            repair: false,
            online: false,
            unsure: BTreeSet::new(),
        };
        let found = self.service.repos.check_rows(options).await;
        for problem in found.expect("looks at all rows").problems {
            if problem.level == Level::Damage {
                self.lose(format!("{}: {}", problem.kind, problem.what));
            }
        }
    }

    /// Every key means what was acknowledged last, or what was on its way.
    async fn acknowledged(&mut self) {
        for (key, allowed) in self.ledger.allowed(self.steps) {
            match self.read(&key).await {
                Ok(found) if allowed.contains(&found) => {}
                Ok(found) => self.lose(format!("{key:?} is {found:?}, not one of {allowed:?}")),
                Err(what) => self.lose(format!("{key:?}: {what}")),
            }
        }
        for (name, (least, most)) in self.ledger.revs(self.steps) {
            let rev = match self.service.repos.view(&name).await {
                Ok(view) => view.rev.0,
                Err(_) => 0,
            };
            if rev < least || rev > most {
                self.lose(format!("{name} is at {rev}, not in {least}..={most}"));
            }
        }
    }

    /// What a key means, its bytes read and verified.
    async fn read(&self, key: &Key) -> Result<Option<Digest>, String> {
        match key {
            Key::Name(kind, repo, name) => kinds::of(*kind).name(self, repo, &At::Head, name).await,
            Key::All(kind, repo) => {
                let found = kinds::of(*kind).all(self, repo, &At::Head).await?;
                Ok(found.map(|found| digest_of(&found)))
            }
            Key::Cut(names, title) => self.cut(names, title).await,
        }
    }

    /// All that the snapshots of a title show; there is one of each repository, or none.
    async fn cut(&self, names: &[RepoName], title: &Title) -> Result<Option<Digest>, String> {
        let at = At::named(title.as_str()).expect("a title is a reference");
        let (mut all, mut missing) = (Shown::new(), 0);
        for name in names {
            let kind = match self.service.repos.view(name).await {
                Ok(view) => view.kind,
                Err(e) => absent(&e)?,
            };
            let found = match kind {
                None => None,
                Some(kind) => kinds::of(kind).all(self, name, &at).await?,
            };
            let Some(found) = found else {
                missing += 1;
                continue;
            };
            all.extend(found.into_iter().map(|(k, v)| (format!("{name}/{k}"), v)));
        }
        match missing {
            0 => Ok(Some(digest_of(&all))),
            n if n == names.len() => Ok(None),
            _ => Err(format!("{missing} of the snapshots of one cut are missing")),
        }
    }

    /// Whether the repository shows these bytes as a blob, which a way of uploading makes whatever the kind.
    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Option<Digest>, String> {
        match self.service.repos.blob(name, &At::Head, digest).await {
            Ok(blob) => self.verified(&blob),
            Err(e) => absent(&e),
        }
    }

    /// The digest of what is shown, if its bytes are those of the digest.
    pub fn verified(&self, blob: &Blob) -> Result<Option<Digest>, String> {
        let mut bytes = Vec::new();
        match &blob.body {
            BlobBody::Inline(inline) => bytes.extend_from_slice(inline),
            BlobBody::File(file) => {
                let read = (&**file).read_to_end(&mut bytes);
                read.map_err(|e| e.to_string())?;
            }
        }
        if self.is(&blob.digest, &bytes) {
            Ok(Some(blob.digest))
        } else {
            Err(format!("its {} bytes are others", bytes.len()))
        }
    }

    /// Whether these are the bytes of the digest; compared where they are known, which is quicker than to hash them.
    fn is(&self, digest: &Digest, bytes: &[u8]) -> bool {
        match self.ledger.known(digest) {
            Some(known) => known == bytes,
            None => Digest::of(digest.algorithm(), bytes) == *digest,
        }
    }

    fn table(&self, table: Table) -> Vec<Row> {
        let rows: Result<_, StoreError> = self.service.store.read(|r| r.scan(table, &[], &[], ALL));
        rows.expect("reads")
    }

    /// The rows among themselves.
    fn rows(&mut self) {
        self.blob_rows();
        self.items();
        self.feed();
    }

    /// The collector's first sweep takes nothing that somebody was promised, and ends what a cut left half removed.
    async fn sweep(&mut self) {
        if let Err(e) = self.service.sweep().await {
            self.lose(format!("the sweep fails: {e}"));
        }
        if !self.table(Table::Condemned).is_empty() {
            self.lose("places are still condemned after a sweep".into());
        }
    }

    /// Invariant A, and each place in one row only.
    fn blob_rows(&mut self) {
        let mut places = BTreeSet::new();
        let mut bytes: HashMap<Digest, Vec<u8>> = HashMap::new();
        let mut rows = self.table(Table::Bytes);
        rows.extend(self.table(Table::Pages));
        // A second row behind its first.
        rows.sort();
        for (key, part) in rows {
            let (digest, _) = Digest::split_key(&key).expect("a digest");
            bytes.entry(digest).or_default().extend(part);
        }
        for (key, value) in self.table(Table::Blobs) {
            let digest = Digest::from_key(&key).expect("a digest");
            let record = BlobRecord::from_bytes(&value).expect("a record");
            let found = match &record.place {
                None => bytes.remove(&digest),
                Some(place) => {
                    if !places.insert(place.clone()) {
                        self.lose(format!("{place} is in two rows"));
                    }
                    self.content(place, record.size)
                }
            };
            if !found.is_some_and(|bytes| self.is(&digest, &bytes)) {
                self.lose(format!("row {digest} has no bytes, or others: {record:?}"));
            }
        }
        for digest in bytes.keys() {
            self.lose(format!("the bytes of {digest} have no row"));
        }
    }

    fn content(&self, place: &str, size: u64) -> Option<Vec<u8>> {
        let place = Place::parse(place).ok()?;
        let digest = place.digest().ok()?;
        let mut bytes = Vec::new();
        let mut file = self
            .service
            .blobs
            .content
            .open_place(&place, &digest, size)
            .ok()?;
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// No live tag dangles, no live manifest lacks its blobs, and the counts are right.
    fn items(&mut self) {
        let blobs: BTreeSet<_> = self.table(Table::Blobs).into_iter().map(|r| r.0).collect();
        let rows = self.table(Table::Items);
        let mut manifests = BTreeSet::new();
        let mut tags = Vec::new();
        for (key, value) in &rows {
            let mut parts = Parts(key);
            let (id, class, past) = (parts.u64(), parts.u8(), parts.u8());
            if past != Some(0) {
                continue;
            }
            let item = ItemRecord::from_bytes(value).expect("a record");
            if class == Some(1) {
                tags.push((id, item.target));
            } else {
                manifests.insert((id, item.target));
            }
        }
        for (id, target) in tags {
            if !manifests.contains(&(id, target.clone())) {
                self.lose(format!("a tag of repository {id:?} dangles"));
            }
        }
        for (id, target) in manifests {
            if !blobs.contains(&target) {
                self.lose(format!(
                    "a manifest of repository {id:?} has no bytes: {target:02x?}"
                ));
            }
        }
    }

    /// The feed tells each visible revision once, in order.
    fn feed(&mut self) {
        let mut told: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut last = 0;
        for (key, value) in self.table(Table::Feed) {
            let number = Parts(&key).u64().expect("a number");
            if number != last + 1 {
                self.lose(format!("feed row {number} comes after {last}"));
            }
            last = number;
            let row = FeedRecord::from_bytes(&value).expect("a record");
            if row.is_revision_of(row.repo) {
                told.entry(row.repo).or_default().push(row.rev);
            }
        }
        for (key, value) in self.table(Table::Repos) {
            let id = Parts(&key).u64().expect("a number");
            let record = RepoRecord::from_bytes(&value).expect("a record");
            let revs: Vec<_> = (1..=record.head).collect();
            if told.get(&id).map_or(&[][..], Vec::as_slice) != revs {
                self.lose(format!("the feed tells {:?} of {record:?}", told.get(&id)));
            }
        }
    }

    /// Counts places without a row: allowed, to be found by a check of the store.
    fn garbage(&mut self, image: &State) {
        let rows = self.table(Table::Blobs).into_iter();
        let named: BTreeSet<_> = rows
            .filter_map(|(_, value)| BlobRecord::from_bytes(&value).expect("a record").place)
            .collect();
        image.walk(|path, _, is_dir| {
            let place = path.strip_prefix("data/blobs/");
            self.report.garbage +=
                usize::from(!is_dir && place.is_some_and(|place| !named.contains(place)));
        });
    }
}

fn digest_of(shown: &Shown) -> Digest {
    shows(shown.iter().map(|(name, is)| (name.as_str(), is)))
}

/// `None` for an error that says that something is not there; damage is never that.
pub(super) fn absent<T>(error: &RepoError) -> Result<Option<T>, String> {
    match error.kind() {
        RepoErrorKind::NameUnknown
        | RepoErrorKind::ManifestUnknown
        | RepoErrorKind::BlobUnknown
        | RepoErrorKind::PathUnknown
        | RepoErrorKind::SnapshotUnknown
        | RepoErrorKind::UploadUnknown => Ok(None),
        _ => Err(error.to_string()),
    }
}
