//! Repositories of files and snapshots in the scenario: files whole and in parts, replaced and removed; snapshots made,
//! deleted and restored, of one repository and of many in one cut, while the collector takes what nothing keeps.

use super::super::disk::{Disk, Fault};
use super::super::ledger::{Key, Ledger, Promise, shows};
use super::super::state::State;
use super::super::{Rng, Service};
use super::{Client, Done, Recording, SHA256, body, content, repo};
use crate::repo::{At, NewFile, NewSnapshot, PartDone, PartRange, When};
use crate::types::{ContentRange, Digest, FilePath, Kind, RepoName, Title};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What comes of a file in one part.
const PART: u64 = 40_000;

type Files = BTreeMap<FilePath, Digest>;

/// A repository of files that one client alone changes, and what it should show.
struct Shelf {
    name: RepoName,
    files: Files,
    /// What it showed when its snapshots were made.
    kept: BTreeMap<Title, Files>,
}

pub(in super::super) fn path(text: &str) -> FilePath {
    text.parse().expect("a path")
}

fn title(text: &str) -> Title {
    text.parse().expect("a title")
}

/// A file on its way in, whatever is there.
pub(in super::super) fn new_file(path: &FilePath) -> NewFile {
    NewFile {
        path: path.clone(),
        when: When::Always,
        digest: None,
        who: "power".into(),
        owner: "ann".into(),
    }
}

/// Which bytes of a file of this length come.
pub(in super::super) fn range(first: u64, end: u64, total: u64) -> PartRange {
    PartRange {
        range: (first < end).then(|| ContentRange {
            first,
            last: end - 1,
        }),
        total: Some(total),
    }
}

fn all_of(files: &Files) -> Digest {
    shows(files.iter().map(|(path, is)| (path.as_str(), is)))
}

impl Shelf {
    fn new(name: &str) -> Self {
        Self {
            name: repo(name),
            files: Files::new(),
            kept: BTreeMap::new(),
        }
    }

    async fn create(&self, client: &Client<'_>) -> Done {
        let empty = all_of(&self.files);
        let promise = Promise {
            facts: vec![(Key::Shelf(self.name.clone()), Some(empty))],
            revs: Vec::new(),
        };
        let repos = &client.service.repos;
        let work = repos.create(&self.name, Kind::File, "power");
        client.ledger.doing(promise, work).await
    }

    /// What a change to these files promises: all of them at once, in one revision.
    fn promise(&self, after: &Files) -> Promise {
        let paths = self.files.keys().chain(after.keys());
        let changed = paths.filter(|path| self.files.get(path) != after.get(path));
        let mut facts: BTreeMap<_, _> = changed
            .map(|path| {
                let key = Key::File(self.name.clone(), path.clone());
                (key, after.get(path).copied())
            })
            .collect();
        assert!(!facts.is_empty(), "nothing changes");
        facts.insert(Key::Shelf(self.name.clone()), Some(all_of(after)));
        Promise {
            facts: facts.into_iter().collect(),
            revs: vec![self.name.clone()],
        }
    }

    async fn put(&mut self, client: &Client<'_>, at: &str, bytes: &Bytes) -> Done {
        let (path, digest) = (path(at), Digest::of(SHA256, bytes));
        client.ledger.know(digest, bytes.clone());
        let mut after = self.files.clone();
        let is_new = after.insert(path.clone(), digest).is_none();
        let promise = self.promise(&after);
        let (repos, len) = (&client.service.repos, Some(bytes.len() as u64));
        let put = repos.put_file(&self.name, new_file(&path), len, body(bytes));
        let filed = client.ledger.doing(promise, Box::pin(put)).await?;
        assert_eq!((filed.digest, filed.is_new), (digest, is_new));
        self.files = after;
        Ok(())
    }

    async fn delete(&mut self, client: &Client<'_>, at: &str) -> Done {
        let path = path(at);
        let mut after = self.files.clone();
        let is = after.remove(&path).expect("it is there");
        let promise = self.promise(&after);
        let (repos, when) = (&client.service.repos, When::Is(vec![is]));
        let work = repos.delete_file(&self.name, &path, when, "power");
        client.ledger.doing(promise, work).await?;
        self.files = after;
        Ok(())
    }

    async fn snapshot(&mut self, client: &Client<'_>, as_title: &str) -> Done {
        let all = Some(all_of_cut(&[&*self]));
        client.cut(&[&self.name], as_title, all).await?;
        self.kept.insert(title(as_title), self.files.clone());
        Ok(())
    }

    async fn restore(&mut self, client: &Client<'_>, as_title: &str) -> Done {
        let after = self.kept[&title(as_title)].clone();
        let promise = self.promise(&after);
        let at = At::named(as_title).expect("a reference");
        let repos = &client.service.repos;
        let of = self.name.as_str().parse().expect("a name");
        let work = repos.restore_snapshots(&of, &at, "power");
        client.ledger.doing(promise, Box::pin(work)).await?;
        self.files = after;
        Ok(())
    }

    /// Everything of it goes, its snapshots too.
    async fn go(&mut self, client: &Client<'_>) -> Done {
        let promise = client.ledger.all_gone(&self.name);
        let work = client.service.repos.delete(&self.name, "power", true);
        client.ledger.doing(promise, work).await?;
        self.files.clear();
        self.kept.clear();
        Ok(())
    }
}

/// What snapshots of these show together.
fn all_of_cut(shelves: &[&Shelf]) -> Digest {
    let lines = shelves.iter().flat_map(|shelf| {
        let files = shelf.files.iter();
        files.map(|(path, is)| (format!("{}/{}", shelf.name, path.as_str()), *is))
    });
    let lines: BTreeMap<String, Digest> = lines.collect();
    shows(lines.iter().map(|(name, is)| (name.as_str(), is)))
}

/// A file that comes in parts: its number in the ledger, and what it is to become.
struct Parts {
    number: usize,
    path: FilePath,
    bytes: Bytes,
    digest: Digest,
}

impl Client<'_> {
    /// A snapshot of one repository, or of all that have the same first component as the first.
    async fn cut(&self, names: &[&RepoName], as_title: &str, all: Option<Digest>) -> Done {
        let of = match names {
            [one] => one.to_string(),
            more => {
                let first = more[0].as_str().split('/').next();
                format!("{}/**", first.expect("a component"))
            }
        };
        let title = title(as_title);
        let names: Vec<RepoName> = names.iter().map(|name| (*name).clone()).collect();
        let promise = Promise {
            facts: vec![(Key::Cut(names.clone(), title.clone()), all)],
            revs: Vec::new(),
        };
        let new = NewSnapshot {
            of: of.parse().expect("a pattern"),
            at: At::Head,
            title: Some(title),
            expires_ms: None,
            held: false,
            who: "power".into(),
        };
        let work = self.service.repos.create_snapshots(new);
        let made = self.ledger.doing(promise, work).await?;
        assert_eq!(made.len(), names.len());
        Ok(())
    }

    async fn delete_snapshot(&self, name: &RepoName, as_title: &str) -> Done {
        let title = title(as_title);
        let promise = Promise {
            facts: vec![(Key::Cut(vec![name.clone()], title.clone()), None)],
            revs: Vec::new(),
        };
        let work = self.service.repos.delete_snapshot(name, &title, "power");
        self.ledger.doing(promise, work).await
    }

    /// Sends the first parts of a file; all but the last of them are saved.
    async fn parts(&self, on: &Shelf, at: &str, bytes: Bytes) -> Done<Parts> {
        let (path, digest) = (path(at), Digest::of(SHA256, &bytes));
        self.ledger.know(digest, bytes.clone());
        let number = self.ledger.parts(&on.name, &path, digest);
        for first in [0, PART] {
            let (end, total) = (first + PART, bytes.len() as u64);
            self.ledger.sending(number, end);
            let part = bytes.slice(first as usize..end as usize);
            let (repos, range) = (&self.service.repos, range(first, end, total));
            let put =
                repos.put_file_part(&on.name, new_file(&path), range, Some(PART), body(&part));
            assert_eq!(put.await?, PartDone::Arrived(end));
            if first == 0 {
                repos.close().await;
                self.ledger.saved(number, end);
            }
        }
        Ok(Parts {
            number,
            path,
            bytes,
            digest,
        })
    }

    /// Takes a file up where the registry says, and sends the rest.
    async fn rest(&self, on: &mut Shelf, parts: Parts) -> Done {
        let (repos, total) = (&self.service.repos, parts.bytes.len() as u64);
        let ask = PartRange {
            range: None,
            total: Some(total),
        };
        let new = || new_file(&parts.path);
        let asked = repos.put_file_part(&on.name, new(), ask, Some(0), body(&Bytes::new()));
        let PartDone::Arrived(first) = asked.await? else {
            panic!("a file, and not all of it has come");
        };
        assert_eq!(first, 2 * PART, "parts survive a kill");
        self.ledger.sending(parts.number, total);
        self.ledger.ending(parts.number);
        let mut after = on.files.clone();
        after.insert(parts.path.clone(), parts.digest);
        let rest = parts.bytes.slice(first as usize..);
        let range = range(first, total, total);
        let put = repos.put_file_part(&on.name, new(), range, None, body(&rest));
        let promise = on.promise(&after);
        let done = self.ledger.doing(promise, Box::pin(put)).await?;
        assert!(matches!(done, PartDone::Filed(filed) if filed.digest == parts.digest));
        self.ledger.over(parts.number);
        on.files = after;
        Ok(())
    }

    /// Files come, change and go; two snapshots; the repository is made to show the first again.
    async fn files(&self, a: &mut Shelf, rng: &mut Rng) -> Done<Parts> {
        a.create(self).await?;
        let old = content(rng, 20_000);
        a.put(self, "one", &content(rng, 300)).await?;
        a.put(self, "x/two", &old).await?;
        a.put(self, "x/y/large", &content(rng, 90_000)).await?;
        a.snapshot(self, "first").await?;
        a.put(self, "x/two", &content(rng, 5_000)).await?;
        a.delete(self, "one").await?;
        a.delete(self, "x/y/large").await?;
        let (put, swept) = tokio::join!(a.put(self, "z", &old), self.service.sweep());
        put?;
        swept?;
        a.put(self, "one/below", &content(rng, 17_000)).await?;
        a.snapshot(self, "second").await?;
        a.delete(self, "one/below").await?;
        self.service.sweep().await?;
        a.restore(self, "first").await?;
        self.delete_snapshot(&a.name, "second").await?;
        self.service.sweep().await?;
        self.parts(a, "in/parts", content(rng, 100_000)).await
    }

    /// A repository goes with its snapshots, and one of its name is made anew.
    async fn made_anew(&self, b: &mut Shelf, rng: &mut Rng) -> Done {
        b.create(self).await?;
        b.put(self, "one", &content(rng, 18_000)).await?;
        b.snapshot(self, "first").await?;
        b.put(self, "one", &content(rng, 200)).await?;
        b.go(self).await?;
        b.create(self).await?;
        let fresh = content(rng, 17_500);
        let (put, swept) = tokio::join!(b.put(self, "one", &fresh), self.service.sweep());
        put?;
        swept.map(drop)
    }

    /// An image that a snapshot alone keeps, and that it brings back.
    async fn kept_image(&self, rng: &mut Rng) -> Done {
        let name = &repo("team/kept");
        let config = self.push(name, &content(rng, 400), SHA256).await?;
        let layer = self.push(name, &content(rng, 18_000), SHA256).await?;
        let blobs = [config, layer];
        let first = self.manifest(name, &blobs, &["v1"], None, 0).await?;
        let all = shows([(format!("{name}/v1").as_str(), &first)]);
        self.cut(&[name], "first", Some(all)).await?;
        self.delete_manifest(name, first, &["v1"]).await?;
        self.service.sweep().await?;
        self.manifest(name, &[config], &["v2"], None, 1).await?;
        let facts = vec![
            (
                Key::Tag(name.clone(), "v1".parse().expect("a tag")),
                Some(first),
            ),
            (Key::Tag(name.clone(), "v2".parse().expect("a tag")), None),
            (Key::Manifest(name.clone(), first), Some(first)),
        ];
        let promise = Promise {
            facts,
            revs: vec![name.clone()],
        };
        let at = At::named("first").expect("a reference");
        let repos = &self.service.repos;
        let of = name.as_str().parse().expect("a name");
        let work = repos.restore_snapshots(&of, &at, "power");
        self.ledger.doing(promise, Box::pin(work)).await.map(drop)
    }

    /// One cut of both, which changes of both leave as it is.
    async fn cut_of_both(&self, a: &mut Shelf, b: &mut Shelf, rng: &mut Rng) -> Done {
        let all = Some(all_of_cut(&[a, b]));
        self.cut(&[&a.name, &b.name], "both", all).await?;
        let then = (a.files.clone(), b.files.clone());
        a.put(self, "x/two", &content(rng, 16_900)).await?;
        b.delete(self, "one").await?;
        self.delete_snapshot(&a.name, "first").await?;
        self.service.sweep().await?;
        self.restore_both(a, b, then).await
    }

    /// Both show again what one cut of them keeps: a stage, which is all or nothing in both.
    async fn restore_both(&self, a: &mut Shelf, b: &mut Shelf, then: (Files, Files)) -> Done {
        let mut promise = a.promise(&then.0);
        let other = b.promise(&then.1);
        promise.facts.extend(other.facts);
        promise.revs.extend(other.revs);
        let at = At::named("both").expect("a reference");
        let of = "files/**".parse().expect("a pattern");
        let work = self.service.repos.restore_snapshots(&of, &at, "power");
        let done = self.ledger.doing(promise, Box::pin(work)).await?;
        assert_eq!(done.len(), 2);
        (a.files, b.files) = then;
        Ok(())
    }
}

/// Runs files and snapshots once on a disk that begins with `base`, with a kill between.
pub(in super::super) async fn run(base: State, seed: u64, fault: Fault) -> Recording {
    let disk = Disk::start(base.clone(), format!("boot of run {seed}"), fault);
    let ledger = Ledger::new(disk.clone());
    let mut rngs: Vec<_> = (0..3).map(|n| Rng::new(seed * 37 + n)).collect();
    let [r0, r1, r2] = rngs.as_mut_slice() else {
        unreachable!("three");
    };
    let (mut a, mut b) = (Shelf::new("files/a"), Shelf::new("files/b"));

    let service = Service::open(&disk).expect("opens");
    let set = service.repos.set_quota("", 1 << 40, None).await;
    set.expect("a quota");
    let client = Client::new(&service, &ledger);
    let done = Box::pin(async {
        tokio::join!(
            client.files(&mut a, r0),
            client.made_anew(&mut b, r1),
            client.kept_image(r2)
        )
    });
    let done = done.await;
    done.1.expect("made anew");
    done.2.expect("an image");
    let parts = done.0.expect("files");

    let killed = disk.kill();
    service.abandon();
    let service = Service::open(&killed).expect("opens after a kill");
    let client = Client::new(&service, &ledger);
    let rest = Box::pin(client.rest(&mut a, parts));
    rest.await.expect("goes on");
    let cut = Box::pin(client.cut_of_both(&mut a, &mut b, r0));
    cut.await.expect("a cut");
    service.close().await;
    let ops = killed.history().0;
    Recording { base, ops, ledger }
}
