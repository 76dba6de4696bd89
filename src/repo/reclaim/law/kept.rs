//! The law of snapshots: one never changes, whatever is pushed, deleted and collected after it; and what only it kept goes
//! when it goes.

use super::*;
use crate::repo::history::items_at::ItemsAt;
use crate::repo::shown::{At, Shown, any_shown};
use crate::repo::snapshots::NewSnapshot;
use crate::repo::{NewFile, When};
use crate::types::{FilePath, Kind, Title};

/// A snapshot, and what it showed when it was made.
pub(super) struct Kept {
    repo: u64,
    title: Title,
    /// Class, name and digest of each item, and what each manifest kept.
    items: Vec<(Class, Vec<u8>, Digest)>,
    children: Vec<(Digest, Digest)>,
}

impl Kept {
    pub fn at(&self) -> (RepoName, At) {
        let at = At::named(self.title.as_str()).expect("a title");
        (name(self.repo), at)
    }
}

/// What a revision shows.
pub(super) fn items(
    r: &crate::store::Read<'_>,
    shown: &Shown,
) -> Result<Vec<(Class, Vec<u8>, Digest)>, RepoError> {
    let mut items = Vec::new();
    for class in Class::of_items() {
        let mut walk = ItemsAt::begin(class);
        let ended = walk.go_on(r, shown, |item, row| {
            let digest = row.digest().expect("a digest");
            items.push((class, item.name.bytes().to_vec(), digest));
        });
        assert!(ended?, "all of it in one hop");
    }
    Ok(items)
}

/// What the manifests of a revision keep: each with a child.
pub(super) fn children(
    r: &crate::store::Read<'_>,
    shown: &Shown,
) -> Result<Vec<(Digest, Digest)>, RepoError> {
    let mut kept = Vec::new();
    for (_, _, digest) in items(r, shown)?
        .iter()
        .filter(|(class, ..)| *class == Class::Manifest)
    {
        let (added, _) = rows::at(r, shown.id, &Name::manifest(digest), shown.rev)?.expect("shown");
        let known = (0..MANIFESTS).map(manifest).find(|b| of(b) == *digest);
        let inspected = Lines.inspect(&known.expect("one of ours"), None);
        for child in inspected.expect("lines").children {
            let key = keys::manifest_ref(&child.digest, shown.id, Class::Manifest, digest, added);
            if r.get(Table::Refs, &key)?.is_some() {
                kept.push((*digest, child.digest));
            }
        }
    }
    Ok(kept)
}

/// The repository of files.
pub(super) const FILES: u64 = REPOS;
pub(super) const PATHS: u64 = 4;

pub(super) fn path(p: u64) -> FilePath {
    let text = ["a", "d/a", "d/b", "e/f/g"][p as usize];
    text.parse().expect("a path")
}

impl World {
    /// Something that a client may do with files.
    pub(super) async fn request_file(&mut self) {
        let (at, n) = (name(FILES), self.dice.below(BLOBS));
        let p = self.dice.below(PATHS);
        if self.is_staged(FILES) {
            return;
        }
        let path = path(p);
        // It is there from the second time on.
        let _ = self.repos.create(&at, Kind::File, "").await;
        if self.dice.below(3) == 0 {
            let done = self.repos.delete_file(&at, &path, When::Always, "").await;
            assert_eq!(done.is_ok(), self.files.remove(&p).is_some());
            return;
        }
        let new = NewFile {
            path,
            when: When::Always,
            digest: None,
            who: String::new(),
            owner: String::new(),
        };
        let body = stream::iter([Ok::<_, Infallible>(blob(n))]);
        let put = self.repos.put_file(&at, new, None, body).await;
        put.expect("taken");
        self.files.insert(p, n);
    }

    /// Makes a snapshot of what a repository shows now, or deletes one.
    pub(super) async fn keep(&mut self) {
        if self.kept.len() >= 3 {
            let at = self.dice.below(self.kept.len() as u64) as usize;
            let kept = self.kept.swap_remove(at);
            self.let_go(&kept).await;
            return;
        }
        let repo = self.dice.below(REPOS + 1);
        self.made += 1;
        let title: Title = format!("s{}", self.made).parse().expect("a title");
        // Of now, or of a revision before.
        let back = self.dice.below(3);
        let Ok(head) = self.repos.view(&name(repo)).await else {
            return;
        };
        let rev = head.rev.0.saturating_sub(back);
        let at = if back == 0 {
            At::Head
        } else {
            At::named(&format!("g{rev}")).expect("a reference")
        };
        let new = NewSnapshot {
            of: name(repo).as_str().parse().expect("a name"),
            at,
            title: Some(title.clone()),
            expires_ms: None,
            held: false,
            who: String::new(),
        };
        if self.repos.create_snapshots(new).await.is_err() {
            // That far back nothing is kept.
            assert!(back > 0);
            return;
        }
        let mut kept = Kept {
            repo,
            title,
            items: Vec::new(),
            children: Vec::new(),
        };
        let (of, at) = kept.at();
        let shown = self.repos.hop(move |_, r| {
            let shown = any_shown(r, &of, &at)?;
            Ok((items(r, &shown)?, children(r, &shown)?))
        });
        (kept.items, kept.children) = shown.await.expect("read");
        self.kept.push(kept);
    }

    pub(super) async fn let_go(&self, kept: &Kept) {
        let of = name(kept.repo);
        let done = self.repos.delete_snapshot(&of, &kept.title, "");
        done.await.expect("deleted");
    }

    /// Each snapshot shows what it showed, and the bytes of that are there; answers all that they need.
    pub(super) async fn check_kept(&self) -> BTreeSet<Digest> {
        let mut needed = BTreeSet::new();
        for kept in &self.kept {
            let (of, at) = kept.at();
            let found = self.repos.hop(move |_, r| {
                let shown = any_shown(r, &of, &at)?;
                let children = children(r, &shown)?;
                for (_, digest) in &children {
                    let row = r.get(Table::Blobs, digest.as_key())?;
                    assert!(
                        row.is_some(),
                        "{digest} is freed though a snapshot needs it"
                    );
                }
                Ok((items(r, &shown)?, children))
            });
            let (items, children) = found.await.expect("read");
            assert_eq!(items, kept.items, "a snapshot changed");
            for one in &kept.children {
                assert!(children.contains(one), "a snapshot let a child go");
            }
            needed.extend(items.iter().map(|(.., digest)| *digest));
            needed.extend(children.iter().map(|(_, child)| *child));
        }
        needed
    }
}

#[tokio::test]
async fn a_snapshot_never_changes_and_what_it_kept_goes_with_it() {
    for seed in 100..108 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            match world.dice.below(8) {
                0..2 => world.request().await,
                2 => world.request_file().await,
                3 => world.keep().await,
                _ => {
                    world.collect().await;
                }
            }
            world.check(false).await;
        }
        world.collect_all(seed).await;
        world.check(true).await;
        for kept in std::mem::take(&mut world.kept) {
            world.let_go(&kept).await;
        }
        world.collect_all(seed).await;
        world.check(true).await;
        let left = world.repos.hop(|_, r| {
            let pins = r.scan(Table::Pins, &[], &[], 1)?.len();
            let past = r.scan(Table::Items, &[], &[], 1000)?;
            let past = past
                .iter()
                .filter(|(key, _)| keys::of_item(key).is_some_and(|i| i.past));
            Ok((pins, past.count()))
        });
        assert_eq!(
            left.await.expect("read"),
            (0, 0),
            "seed {seed}: rows are left"
        );
        world.repos.close().await;
    }
}
