//! The law of the collector: whatever clients do between any two of its transactions, and however little each of these
//! does, what a tag needs stays, and in the end everything else is gone.

mod kept;
mod staged;

use super::plan::StepPlan;
use super::*;
use crate::blobs::{BlobOptions, Blobs};
use crate::repo::format::{Child, Format, FormatError, Inspected, Said};
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::BlobRecord;
use crate::repo::{PutManifest, RepoOptions, Source, rows};
use crate::store::record::Record as _;
use crate::store::{Store, StoreOptions};
use crate::types::{Algorithm, Digest, MediaType, Reference, RepoName, Tag};
use bytes::Bytes;
use futures_util::stream;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

const REPOS: u64 = 3;
const BLOBS: u64 = 4;
const MANIFESTS: u64 = 5;
const TAGS: u64 = 2;

/// Manifests of lines: a digest each, behind `m` for a manifest or `b` for a blob.
struct Lines;

impl Format for Lines {
    fn inspect(&self, bytes: &[u8], _: Option<&MediaType>) -> Result<Inspected, FormatError> {
        let text = str::from_utf8(bytes).map_err(|e| FormatError::new(e.to_string()))?;
        let child = |line: &str| {
            let (kind, digest) = line.split_at_checked(1)?;
            Some(Child {
                digest: digest.parse().ok()?,
                size: 1,
                is_listed: kind == "m",
                said: if kind == "m" {
                    Said::Manifest
                } else {
                    Said::Blob
                },
                optional: false,
                media_type: "a/b".into(),
            })
        };
        Ok(Inspected {
            media_type: MediaType::OCI_MANIFEST.parse().expect("a media type"),
            children: text.lines().filter_map(child).collect(),
            subject: None,
            artifact_type: String::new(),
            annotations: None,
        })
    }

    fn annotations(&self, _: &[u8]) -> Option<Box<RawValue>> {
        None
    }
}

/// Numbers that the same seed gives again (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn blob(n: u64) -> Bytes {
    Bytes::from(format!("blob {n}"))
}

fn of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// A manifest that names two blobs and those of the manifests before it that its number says.
fn manifest(n: u64) -> Bytes {
    let blobs = [n % BLOBS, (n + 1) % BLOBS].map(|b| format!("b{}", of(&blob(b))));
    let below = (0..n).filter(|m| (n - m) % 2 == 1);
    let mut lines = vec![format!("manifest {n}")];
    lines.extend(blobs);
    lines.extend(below.map(|m| format!("m{}", of(&manifest(m)))));
    Bytes::from(lines.join("\n"))
}

fn name(n: u64) -> RepoName {
    format!("r{n}").parse().expect("a name")
}

fn tag(n: u64) -> Tag {
    format!("t{n}").parse().expect("a tag")
}

struct World {
    _dir: tempfile::TempDir,
    repos: Repos,
    dice: Dice,
    /// Which manifest a tag means.
    tags: BTreeMap<(u64, u64), u64>,
    /// Which blob a file is.
    files: BTreeMap<u64, u64>,
    /// Steps that were planned and not carried out yet, of two collections at once: a sweep, and a quota's.
    planned: [VecDeque<Step>; 2],
    /// Snapshots, and how many there ever were.
    kept: Vec<kept::Kept>,
    made: u64,
    /// A big change under way.
    staged: Option<staged::Staged>,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 8 << 20,
            slow: Duration::from_secs(10),
            holder: "a test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 1 << 20,
            upgrade_without_copy: false,
        });
        let blobs = Blobs::open(BlobOptions {
            dir: dir.path().to_owned(),
            reserve_bytes: 0,
            owed_bytes: Arc::default(),
            inline_max: 1 << 10,
        });
        let options = RepoOptions {
            lease: Duration::ZERO,
            keep: Duration::ZERO,
            upload_idle: Duration::from_hours(1),
            manifest_max: 1 << 20,
            uploads_max: 10,
            upload_memory: 8 << 20,
            strict: false,
            cache_bytes: 0,
            format: &Lines,
        };
        let repos = Repos::open(store.expect("opens"), blobs.expect("opens"), options);
        Self {
            _dir: dir,
            repos: repos.expect("opens"),
            dice: Dice(seed),
            tags: BTreeMap::new(),
            files: BTreeMap::new(),
            planned: <[VecDeque<Step>; 2]>::default(),
            kept: Vec::new(),
            made: 0,
            staged: None,
        }
    }

    /// Something that a client may do. What is refused changes nothing.
    async fn request(&mut self) {
        let (r, n) = (self.dice.below(REPOS), self.dice.below(100));
        let (b, at) = (of(&blob(n % BLOBS)), name(r));
        if self.is_staged(r) {
            return;
        }
        match self.dice.below(10) {
            0..3 => {
                let body = stream::iter([Ok::<_, Infallible>(blob(n % BLOBS))]);
                let push = self.repos.push_blob(&at, "", None, body, &b);
                push.await.expect("pushed");
            }
            3 => {
                let from = name((r + 1) % REPOS);
                let _ = self.repos.mount(&name(r), &b, &from).await.expect("asked");
            }
            4 => {
                let _ = self.repos.delete_blob(&name(r), &b, None).await;
            }
            5..8 => self.push_manifest(r, n % MANIFESTS).await,
            8 => {
                let t = n % TAGS;
                let deleted = self.repos.delete_tag(&name(r), &tag(t), "").await;
                assert_eq!(deleted.is_ok(), self.tags.remove(&(r, t)).is_some());
            }
            _ => {
                let m = n % MANIFESTS;
                let digest = of(&manifest(m));
                if self
                    .repos
                    .delete_manifest(&name(r), &digest, "", None)
                    .await
                    .is_ok()
                {
                    self.tags.retain(|(at, _), meant| (*at, *meant) != (r, m));
                }
            }
        }
    }

    async fn push_manifest(&mut self, r: u64, m: u64) {
        let t = self.dice.below(2 * TAGS);
        let bytes = manifest(m);
        let digest = of(&bytes);
        let put = PutManifest {
            bytes,
            media_type: None,
            reference: Reference::Digest(digest),
            tags: (t < TAGS).then(|| tag(t)).into_iter().collect(),
            source: Source::Push { by: String::new() },
        };
        let put = self.repos.put_manifest(&name(r), put, ()).await;
        put.expect("pushed");
        if t < TAGS {
            self.tags.insert((r, t), m);
        }
    }

    /// Plans a due row, or carries out as little of what is planned as a transaction may.
    async fn collect(&mut self) -> bool {
        let at = self.dice.below(2) as usize;
        let Some(step) = self.planned[at].front_mut() else {
            let due = self.repos.due(Vec::new(), false, 50).await.expect("read");
            if due.is_empty() {
                return self.planned.iter().any(|planned| !planned.is_empty());
            }
            let row = due[self.dice.below(due.len() as u64) as usize].clone();
            let steps = self.repos.hop(move |inner, r| {
                let mut plan = StepPlan::new(inner, r, true);
                plan.row(&row.key, &row.value, None)?;
                Ok(plan.finish().0)
            });
            self.planned[at].extend(steps.await.expect("planned"));
            return true;
        };
        let (mut one, more) = (step.clone(), parts(step) > 1);
        keep_first(&mut one);
        let done = self.repos.carry_out(vec![one]).await.expect("done");
        assert_eq!((done.0, done.1), (1, 0));
        if more {
            step.forget(1);
        } else {
            self.planned[at].pop_front();
        }
        true
    }

    /// Collects until there is nothing more to do. Running time must pass the last leases, which are of nothing.
    async fn collect_all(&mut self, seed: u64) {
        let end = std::time::Instant::now() + Duration::from_mins(2);
        let mut quiet = 0;
        while quiet < 3 {
            assert!(std::time::Instant::now() < end, "seed {seed}: no end");
            if self.collect().await {
                quiet = 0;
            } else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                quiet += 1;
            }
        }
    }

    /// What the tags need, as far as it is there, and whether it is all there.
    async fn check(&self, at_end: bool) {
        let mut kept = self.check_kept().await;
        kept.extend(self.check_staged().await);
        let live: Vec<_> = self.files.values().map(|n| of(&blob(*n))).collect();
        let tagged = self.tags.iter().filter(|((r, _), _)| !self.is_staged(*r));
        let tagged: Vec<(u64, u64)> = tagged.map(|((r, _), m)| (*r, *m)).collect();
        let check = self.repos.hop(move |_, r| {
            let mut needed = BTreeSet::new();
            let mut open = Vec::new();
            for (repo, m) in &tagged {
                let (id, _) = rows::find(r, name(*repo).as_str())?.expect("a repository");
                open.push((id, of(&manifest(*m))));
            }
            let roots = open.clone();
            while let Some((id, digest)) = open.pop() {
                needed.insert(digest);
                let Some((added, _)) = rows::live(r, id, &Name::manifest(&digest))? else {
                    // Removed by hand below an index that is live: its bytes stay with that.
                    assert!(!roots.contains(&(id, digest)), "a tag means what is gone");
                    continue;
                };
                let known = (0..MANIFESTS)
                    .map(manifest)
                    .find(|bytes| of(bytes) == digest);
                let inspected = Lines.inspect(&known.expect("one of ours"), None);
                for child in inspected.expect("lines").children {
                    let key = |class| keys::manifest_ref(&child.digest, id, class, &digest, added);
                    let wanted = r.get(Table::Mentions, &key(Class::Wanted))?.is_some();
                    let keeps = r.get(Table::Refs, &key(Class::Manifest))?.is_some();
                    assert!(wanted != keeps, "{} of {digest}", child.digest);
                    if keeps {
                        needed.insert(child.digest);
                        if child.is_listed {
                            open.push((id, child.digest));
                        }
                    } else if !child.is_listed {
                        let link = r.get(Table::Refs, &keys::link(&child.digest, id))?;
                        assert!(link.is_none(), "wanted, and here");
                    }
                }
            }
            let mut there = BTreeSet::new();
            for (key, row) in r.scan(Table::Blobs, &[], &[], 100)? {
                BlobRecord::from_bytes(&row)?;
                there.insert(Digest::from_key(&key).expect("a digest"));
            }
            needed.extend(&kept);
            needed.extend(&live);
            assert!(there.is_superset(&needed), "freed though it is needed");
            for (key, _) in r.scan(Table::Refs, &[], &[], 10_000)? {
                let (digest, _) = Digest::split_key(&key).expect("a digest");
                assert!(there.contains(&digest), "freed though it is referenced");
            }
            if at_end {
                assert_eq!(there, needed, "kept though nothing needs it");
            }
            Ok(())
        });
        check.await.expect("read");
    }
}

/// The parts of a step that are carried out one by one.
fn parts(step: &Step) -> usize {
    match step {
        Step::Release { children, .. } | Step::Lapse { children, .. } => children.len(),
        Step::Suspect { digests, .. } => digests.len(),
        Step::Tidy { names, .. } => names.len(),
        _ => 1,
    }
}

fn keep_first(step: &mut Step) {
    match step {
        Step::Release { children, .. } | Step::Lapse { children, .. } => children.truncate(1),
        Step::Suspect { digests, .. } => digests.truncate(1),
        Step::Tidy { names, .. } => names.truncate(1),
        _ => {}
    }
}

#[tokio::test]
async fn what_a_tag_needs_stays_and_in_the_end_all_else_is_gone() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        for _ in 0..100 {
            if world.dice.below(3) == 0 {
                world.request().await;
            } else {
                world.collect().await;
            }
            world.check(false).await;
        }
        world.collect_all(seed).await;
        world.check(true).await;
        world.repos.close().await;
    }
}
