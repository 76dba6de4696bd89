//! Files in the power-cut tests: whole and in parts, replaced and removed; snapshots made, deleted and restored, of one
//! repository and of many in one cut, while the collector takes what nothing keeps.

mod shelf;

use super::super::Rng;
use super::super::check::{Check, absent};
use super::super::scenario::{Client, Done, SHA256, body, content};
use super::{Contents, Reads, Shown, Writers};
use crate::repo::{At, PartDone, PartRange, Tree};
use crate::types::{Digest, FilePath, PageRequest, RepoName};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use shelf::{Files, Shelf, all_of_cut};
pub(in super::super) use shelf::{new_file, path, range};

/// Repositories of files; their names are paths.
pub(super) struct FileContents;

impl Contents for FileContents {
    fn writers(&self, seed: u64) -> Box<dyn Writers> {
        Box::new(Shelves {
            rngs: std::array::from_fn(|n| Rng::new(seed * 37 + n as u64)),
            a: Shelf::new("files/a"),
            b: Shelf::new("files/b"),
            parts: None,
        })
    }

    fn name<'a>(
        &'a self,
        check: &'a Check<'_>,
        repo: &'a RepoName,
        at: &'a At,
        name: &'a str,
    ) -> Reads<'a, Digest> {
        Box::pin(file_at(check, repo, at, name))
    }

    fn all<'a>(&'a self, check: &'a Check<'_>, repo: &'a RepoName, at: &'a At) -> Reads<'a, Shown> {
        Box::pin(all(check, repo, at))
    }
}

async fn file_at(
    check: &Check<'_>,
    repo: &RepoName,
    at: &At,
    path: &str,
) -> Result<Option<Digest>, String> {
    match check.service.repos.file(&tree(repo, at, path)).await {
        Ok(file) => check.verified(&file.blob),
        Err(e) => absent(&e),
    }
}

/// Every file, found through the folders, its bytes read and hashed; `None`: no such repository or snapshot.
async fn all(check: &Check<'_>, name: &RepoName, at: &At) -> Result<Option<Shown>, String> {
    let (mut found, mut folders) = (Shown::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let (tree, page) = (tree(name, at, &folder), PageRequest::default());
        let listed = match check.service.repos.folder(&tree, &page).await {
            Ok(listed) => listed,
            Err(e) if folder.is_empty() => return absent(&e),
            Err(e) => return Err(format!("{folder} is listed above it, and then: {e}")),
        };
        assert_eq!(listed.next, None, "few files");
        for entry in listed.entries {
            let path = format!("{folder}{}", entry.name);
            let Some(file) = entry.file else {
                folders.push(path);
                continue;
            };
            if file_at(check, name, at, &path).await? != Some(file.digest) {
                return Err(format!("{path} is listed as {}, and is not", file.digest));
            }
            found.insert(path, file.digest);
        }
    }
    Ok(Some(found))
}

fn tree(name: &RepoName, at: &At, path: &str) -> Tree {
    Tree {
        name: name.clone(),
        at: at.clone(),
        path: path.to_owned(),
        is_bare: false,
    }
}

/// What comes of a file in one part.
const PART: u64 = 40_000;

/// A file that comes in parts: its number in the ledger, and what it is to become.
struct Parts {
    number: usize,
    path: FilePath,
    bytes: Bytes,
    digest: Digest,
}

/// The clients of a run, and what they left half done.
struct Shelves {
    rngs: [Rng; 2],
    a: Shelf,
    b: Shelf,
    parts: Option<Parts>,
}

impl Writers for Shelves {
    fn first_process<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let [r0, r1] = &mut self.rngs;
            let a = client.files(&mut self.a, r0);
            let b = client.made_anew(&mut self.b, r1);
            let done = Box::pin(async { tokio::join!(a, b) }).await;
            done.1.expect("made anew");
            self.parts = Some(done.0.expect("files"));
        })
    }

    fn after_a_kill<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let parts = self.parts.take().expect("left by the first process");
            let rest = Box::pin(client.rest(&mut self.a, parts));
            rest.await.expect("goes on");
            let cut = Box::pin(client.cut_of_both(&mut self.a, &mut self.b, &mut self.rngs[0]));
            cut.await.expect("a cut");
        })
    }
}

impl Client<'_> {
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
