//! The law of stages: while one is written everybody sees what was there before it, whatever is pushed elsewhere and collected;
//! then all of it or nothing.

use super::kept::{FILES, PATHS, children, items, path};
use super::*;
use crate::blobs::{Sealed, SealedBody};
use crate::repo::check::RowsOptions;
use crate::repo::edit::Edit;
use crate::repo::images::edit::NewManifest;
use crate::repo::images::manifest::put_blob;
use crate::repo::rows::record::{RepoRecord, SourceRecord};
use crate::repo::shown::{At, any_shown};
use crate::repo::stage::{NewStage, Stage};
use crate::repo::{NewFile, When};
use crate::types::{Kind, RepoId, RepoPattern};

/// What a repository shows: class, name and digest of each item, and what each manifest keeps.
type Seen = (Vec<(Class, Vec<u8>, Digest)>, Vec<(Digest, Digest)>);

/// A big change under way.
pub(super) struct Staged {
    stage: Stage,
    /// The repositories, in the order of the stage, with what each showed when it began.
    of: Vec<(u64, Seen)>,
}

impl World {
    pub(super) fn is_staged(&self, repo: u64) -> bool {
        let staged = self.staged.as_ref();
        staged.is_some_and(|staged| staged.of.iter().any(|(r, _)| *r == repo))
    }

    /// Begins a big change, does a part of it, or ends it.
    async fn stage(&mut self) {
        let Some(staged) = &self.staged else {
            self.begin().await;
            return;
        };
        match self.dice.below(10) {
            0 => self.end(true).await,
            1 => self.end(false).await,
            _ => {
                let at = self.dice.below(staged.of.len() as u64) as usize;
                self.write(at).await;
            }
        }
    }

    async fn begin(&mut self) {
        let (mut names, mut of) = (Vec::new(), Vec::new());
        for r in 0..=REPOS {
            if self.dice.below(2) == 0 {
                continue;
            }
            let found = self.repos.hop(move |_, r2| {
                let found = rows::find(r2, name(r).as_str())?;
                Ok(found
                    .filter(|(_, record)| record.head > 0)
                    .map(|(id, _)| id))
            });
            if let Some(id) = found.await.expect("read") {
                names.push((name(r), id));
                of.push((r, self.seen(r).await));
            }
        }
        if of.is_empty() {
            return;
        }
        let new = NewStage {
            of: names,
            job: None,
            who: String::new(),
            why: "test",
            need: Need::Grows,
        };
        let stage = self.repos.begin_stage(new).await.expect("begins");
        self.staged = Some(Staged { stage, of });
    }

    async fn seen(&self, repo: u64) -> Seen {
        let seen = self.repos.hop(move |_, r| {
            let shown = any_shown(r, &name(repo), &At::Head)?;
            Ok((items(r, &shown)?, children(r, &shown)?))
        });
        seen.await.expect("read")
    }

    async fn write(&mut self, at: usize) {
        let staged = self.staged.as_ref().expect("a stage");
        let repo = staged.of[at].0;
        let (n, t) = (self.dice.below(100), self.dice.below(2 * TAGS));
        let what = self.dice.below(6);
        let write = staged.stage.write(at, move |edit| {
            match (repo, what) {
                (FILES, 0..2) => {
                    let done = edit.delete_file(&path(n % PATHS), &When::Always);
                    assert!(matches!(done, Ok(()) | Err(RepoError::PathUnknown(_))));
                }
                (FILES, _) => put_file(edit, n),
                (_, 0) => drop(edit.delete_tag(tag(n % TAGS).as_str())?),
                (_, 1) => {
                    let digest = of(&manifest(n % MANIFESTS));
                    for t in 0..TAGS {
                        let name = Name::tag(tag(t).as_str()).to_owned();
                        edit.delete_tag_of(&name, &digest)?;
                    }
                    edit.delete_manifest(&digest)?;
                }
                _ => put_manifest(edit, n % MANIFESTS, t),
            }
            Ok(())
        });
        write.await.expect("written");
    }

    /// Shows it, or takes it back.
    async fn end(&mut self, shown: bool) {
        let Some(Staged { stage, of }) = self.staged.take() else {
            return;
        };
        if shown {
            stage.end(Ok(())).await.expect("shown");
        } else if self.dice.below(2) == 0 {
            let undone = stage.end::<()>(Err(RepoError::Restless)).await;
            assert!(matches!(undone, Err(RepoError::Restless)), "{undone:?}");
        } else {
            // Its writer is gone.
            drop(stage);
            self.repos.stage_left().await;
            let undone = self.repos.tidy_stages(|_| false).await;
            assert_eq!(undone.expect("tidied"), 1);
        }
        for (repo, before) in of {
            let now = self.seen(repo).await;
            if !shown {
                assert_eq!(now.0, before.0, "what was taken back is not as it was");
                let lacks = before.1.iter().find(|one| !now.1.contains(one));
                assert_eq!(lacks, None, "a manifest keeps less than before");
            }
            self.learn(repo, &now.0);
        }
        self.check_rows().await;
    }

    /// What the repository shows is what is expected from now on.
    fn learn(&mut self, repo: u64, items: &[(Class, Vec<u8>, Digest)]) {
        self.tags.retain(|(r, _), _| *r != repo);
        if repo == FILES {
            self.files.clear();
        }
        for (class, found, digest) in items {
            match class {
                Class::Tag => {
                    let t = (0..TAGS).find(|t| tag(*t).as_str().as_bytes() == found);
                    let m = (0..MANIFESTS).find(|m| of(&manifest(*m)) == *digest);
                    self.tags.insert((repo, t.expect("ours")), m.expect("ours"));
                }
                Class::Path => {
                    let p = (0..PATHS).find(|p| path(*p).as_str().as_bytes() == found);
                    let n = (0..BLOBS).find(|n| of(&blob(*n)) == *digest);
                    self.files.insert(p.expect("ours"), n.expect("ours"));
                }
                _ => {}
            }
        }
    }

    /// Whatever was written, the head shows what it showed; answers the bytes that it needs.
    pub(super) async fn check_staged(&self) -> BTreeSet<Digest> {
        let mut needed = BTreeSet::new();
        let Some(staged) = &self.staged else {
            return needed;
        };
        for (repo, before) in &staged.of {
            let now = self.seen(*repo).await;
            assert_eq!(now.0, before.0, "the head changed before the flip");
            for one in &before.1 {
                assert!(now.1.contains(one), "the head let a child go");
                needed.insert(one.1);
            }
            needed.extend(before.0.iter().map(|(.., digest)| *digest));
        }
        needed
    }

    async fn check_rows(&self) {
        let options = RowsOptions {
            repair: false,
            online: true,
            unsure: BTreeSet::default(),
        };
        let rows = self.repos.check_rows(options).await.expect("checked");
        assert!(rows.problems.is_empty(), "{:#?}", rows.problems);
    }
}

fn put_bytes(edit: &mut Edit<'_, '_>, bytes: Bytes) -> Digest {
    let sealed = Sealed {
        digest: of(&bytes),
        size: bytes.len() as u64,
        body: SealedBody::Inline(bytes),
        upload: None,
    };
    put_blob(edit.tx, &sealed, 1).expect("put");
    sealed.digest
}

fn put_manifest(edit: &mut Edit<'_, '_>, m: u64, t: u64) {
    let bytes = manifest(m);
    let new = NewManifest {
        digest: put_bytes(edit, bytes.clone()),
        size: bytes.len() as u64,
        inspected: Lines.inspect(&bytes, None).expect("lines"),
        source: SourceRecord::Push(String::new()),
        tags: (t < TAGS).then(|| tag(t)).into_iter().collect(),
    };
    edit.put_manifest(&new).expect("put");
}

fn put_file(edit: &mut Edit<'_, '_>, n: u64) {
    let bytes = blob(n / PATHS % BLOBS);
    let digest = put_bytes(edit, bytes.clone());
    let new = NewFile {
        path: path(n % PATHS),
        when: When::Always,
        digest: None,
        who: String::new(),
        owner: String::new(),
    };
    let put = edit.put_file(&new, &digest, bytes.len() as u64);
    put.expect("put");
}

#[tokio::test]
async fn a_stage_is_all_or_nothing_and_leaves_nothing_behind() {
    for seed in 200..212 {
        let mut world = World::new(seed);
        let repos = world.repos.clone();
        repos
            .create(&name(FILES), Kind::File, "")
            .await
            .expect("made");
        let quota = repos.set_quota("", 1 << 40, Some(1 << 40));
        quota.await.expect("set");
        for _ in 0..150 {
            match world.dice.below(9) {
                0..2 => world.request().await,
                2 => world.request_file().await,
                3 => world.keep().await,
                4..6 => world.stage().await,
                _ => {
                    world.collect().await;
                }
            }
            world.check(false).await;
        }
        world.end(seed % 2 == 0).await;
        for kept in std::mem::take(&mut world.kept) {
            world.let_go(&kept).await;
        }
        world.collect_all(seed).await;
        world.check(true).await;
        world.check_rows().await;
        world.repos.close().await;
    }
}

/// A repository of a stage is left alone by everybody else, and by a check.
#[tokio::test]
async fn others_wait_for_a_stage_and_a_check_finds_nothing_wrong_with_it() {
    let mut world = World::new(1);
    world.push_manifest(0, 1).await;
    let id: RepoId = world
        .repos
        .hop(|_, r| Ok(rows::find(r, name(0).as_str())?.expect("there").0))
        .await
        .expect("read");
    let new = NewStage {
        of: vec![(name(0), id)],
        job: None,
        who: String::new(),
        why: "test",
        need: Need::Grows,
    };
    let stage = world.repos.begin_stage(new).await.expect("begins");
    let wrote = stage.write(0, |edit| {
        put_manifest(edit, 2, 0);
        Ok(())
    });
    wrote.await.expect("written");
    world.check_rows().await;
    let (repos, waits) = (world.repos.clone(), manifest(3));
    let push = tokio::spawn(async move {
        let put = PutManifest {
            reference: Reference::Digest(of(&waits)),
            bytes: waits,
            media_type: None,
            tags: vec![tag(1)],
            source: Source::Push { by: String::new() },
        };
        repos.put_manifest(&name(0), put, ()).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!push.is_finished(), "a push went into a stage");
    stage.end(Ok(())).await.expect("shown");
    push.await.expect("ran").expect("pushed once it has ended");
    world.check_rows().await;
    let shown = world.seen(0).await;
    let tags = shown.0.iter().filter(|(class, ..)| *class == Class::Tag);
    assert_eq!(tags.count(), 2);
}

/// What a stage has closed is no answer to who asks what needs a blob: the deletion waits, and finds what is live then.
#[tokio::test]
async fn a_deletion_does_not_trust_what_a_stage_wrote() {
    let mut world = World::new(2);
    let bytes = blob(1);
    let digest = of(&bytes);
    let body = stream::iter([Ok::<_, Infallible>(bytes)]);
    let at = name(0);
    let push = world.repos.push_blob(&at, "", None, body, &digest);
    push.await.expect("pushed");
    // The manifest names it.
    world.push_manifest(0, 1).await;
    let before = world.seen(0).await;
    let found = world.repos.hop(|_, r| Ok(rows::find(r, name(0).as_str())?));
    let (id, _) = found.await.expect("read").expect("there");
    let new = NewStage {
        of: vec![(name(0), id)],
        job: None,
        who: String::new(),
        why: "test",
        need: Need::Grows,
    };
    let stage = world.repos.begin_stage(new).await.expect("begins");
    let close = stage.write(0, |edit| {
        for t in 0..TAGS {
            edit.delete_tag(tag(t).as_str())?;
        }
        edit.delete_manifest(&of(&manifest(1)))?;
        Ok(())
    });
    close.await.expect("written");
    let repos = world.repos.clone();
    let delete = tokio::spawn(async move { repos.delete_blob(&at, &digest, None).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!delete.is_finished(), "it did not wait");
    let undone = stage.end::<()>(Err(RepoError::Restless)).await;
    assert!(undone.is_err(), "it was shown");
    let done = delete.await.expect("ran");
    assert!(matches!(done, Err(RepoError::Refused(_))), "{done:?}");
    assert_eq!(world.seen(0).await, before, "not as it was");
    world.check_rows().await;
}

/// A restore reads first and writes later: what was pruned between the two is not restored from what was read.
#[tokio::test]
async fn a_restore_refuses_a_revision_that_was_pruned_meanwhile() {
    let mut world = World::new(3);
    for repo in [0, 1] {
        world.push_manifest(repo, 1).await;
        world.push_manifest(repo, 2).await;
    }
    let then = At::named("g1").expect("a revision");
    let both: RepoPattern = "*".parse().expect("a pattern");
    for of in [name(0).to_string().parse().expect("a name"), both] {
        let (id, stage) = world.holds(0).await;
        let before = [world.seen(0).await, world.seen(1).await];
        let (repos, wanted, at) = (world.repos.clone(), of.clone(), then.clone());
        let restore =
            tokio::spawn(async move { repos.restore_snapshots(&wanted, &at, "test").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!restore.is_finished(), "it did not wait");
        let was = world.set_horizon(id, u64::MAX).await;
        stage.end(Ok(())).await.expect("nothing to show");
        let done = restore.await.expect("ran");
        assert!(
            matches!(done, Err(RepoError::Mendable(..))),
            "{of}: {done:?}"
        );
        assert_eq!([world.seen(0).await, world.seen(1).await], before, "{of}");
        world.set_horizon(id, was).await;
    }
    let both: RepoPattern = "*".parse().expect("a pattern");
    let done = world.repos.restore_snapshots(&both, &then, "test");
    assert_eq!(done.await.expect("kept again").len(), 2);
    world.check_rows().await;
}

impl World {
    /// A stage of one repository that writes nothing.
    async fn holds(&self, repo: u64) -> (RepoId, Stage) {
        let found = self
            .repos
            .hop(move |_, r| Ok(rows::find(r, name(repo).as_str())?));
        let (id, _) = found.await.expect("read").expect("there");
        let new = NewStage {
            of: vec![(name(repo), id)],
            job: None,
            who: String::new(),
            why: "test",
            need: Need::Grows,
        };
        (id, self.repos.begin_stage(new).await.expect("begins"))
    }

    /// Sets the oldest revision that a repository keeps; answers which it was.
    async fn set_horizon(&self, id: RepoId, horizon: u64) -> u64 {
        let store = &self.repos.0.store;
        let set = store.write(Lane::Request, Need::Grows, "test", move |tx| {
            let key = keys::repo(id);
            let row = tx.get(Table::Repos, &key)?.expect("there");
            let mut record = RepoRecord::from_bytes(&row)?;
            let was = std::mem::replace(&mut record.horizon, horizon);
            tx.put(Table::Repos, &key, &record.to_bytes()?)?;
            Ok::<_, RepoError>(was)
        });
        set.await.expect("written")
    }
}
