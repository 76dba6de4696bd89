//! What the registry does while the disk takes notes: pushes, uploads in pieces, manifests, tags, mounts, deletions,
//! fills, two restarts and a kill; several clients at once.

pub(super) mod shelves;

use super::disk::{Disk, Fault};
use super::ledger::{Key, Ledger, Promise};
use super::state::{Op, State};
use super::{Rng, Service};
use crate::repo::{Body, PutManifest, RepoError, Source};
use crate::types::{Algorithm, Digest, Reference, RepoName, Tag, UploadId};
use bytes::Bytes;
use futures_util::stream;

type Done<T = ()> = Result<T, RepoError>;
const SHA256: Algorithm = Algorithm::Sha256;
const SHA512: Algorithm = Algorithm::Sha512;

/// A finished run.
pub(super) struct Recording {
    pub base: State,
    pub ops: Vec<Op>,
    pub ledger: Ledger,
}

/// One client of the registry.
pub(super) struct Client<'a> {
    pub service: &'a Service,
    pub ledger: &'a Ledger,
}

pub(super) fn repo(name: &str) -> RepoName {
    name.parse().expect("a name")
}

fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub(super) fn content(rng: &mut Rng, len: usize) -> Bytes {
    (0..len).map(|_| rng.below(256) as u8).collect()
}

/// The bytes in frames of 30,000.
pub(super) fn body(bytes: &Bytes) -> impl Body + use<> {
    let frames: Vec<_> = bytes
        .chunks(30_000)
        .map(|c| Ok::<_, String>(Bytes::copy_from_slice(c)))
        .collect();
    stream::iter(frames)
}

/// An upload that was begun: its number in the ledger, its id and what it is to become.
type Begun = (usize, UploadId, Digest);

impl<'a> Client<'a> {
    /// A client of one process.
    pub fn new(service: &'a Service, ledger: &'a Ledger) -> Self {
        Self { service, ledger }
    }
}

impl Client<'_> {
    /// Pushes a blob in one request.
    pub async fn push(&self, repo: &RepoName, bytes: &Bytes, algorithm: Algorithm) -> Done<Digest> {
        let digest = Digest::of(algorithm, bytes);
        self.ledger.know(digest, bytes.clone());
        let repos = &self.service.repos;
        let id = repos.begin_upload(repo, algorithm, "ann").await?;
        let upload = self.ledger.upload(repo, id, digest);
        self.ledger.sending(upload, bytes.len() as u64);
        self.ledger.ending(upload);
        let promise = Promise {
            facts: vec![(Key::Blob(repo.clone(), digest), Some(digest))],
            revs: Vec::new(),
        };
        let len = Some(bytes.len() as u64);
        let finish = repos.finish_upload(repo, id, None, len, body(bytes), &digest);
        self.ledger.doing(promise, Box::pin(finish)).await?;
        Ok(digest)
    }

    /// Sends the first part of a blob in chunks and has the registry save after each; answers what is left to do.
    async fn chunks(
        &self,
        repo: &RepoName,
        bytes: &Bytes,
        algorithm: Algorithm,
        upto: usize,
    ) -> Done<Begun> {
        let digest = Digest::of(algorithm, bytes);
        self.ledger.know(digest, bytes.clone());
        let repos = &self.service.repos;
        let id = repos.begin_upload(repo, algorithm, "ann").await?;
        let upload = self.ledger.upload(repo, id, digest);
        let mut at = 0;
        for (n, chunk) in bytes[..upto].chunks(90_000).enumerate() {
            let to = at + chunk.len() as u64;
            self.ledger.sending(upload, to);
            let chunk = Bytes::copy_from_slice(chunk);
            repos
                .append(repo, id, None, Some(to - at), body(&chunk))
                .await?;
            if n % 3 != 2 {
                repos.close().await;
                self.ledger.saved(upload, to);
            }
            at = to;
        }
        Ok((upload, id, digest))
    }

    /// Takes an upload up where the registry says, and finishes it.
    async fn resume(&self, repo: &RepoName, (upload, id, digest): Begun) -> Done {
        let bytes = self.ledger.bytes(&digest);
        let at = self.service.repos.upload_offset(repo, id).await?;
        let rest = bytes.slice(at as usize..);
        self.ledger.sending(upload, bytes.len() as u64);
        self.ledger.ending(upload);
        let promise = Promise {
            facts: vec![(Key::Blob(repo.clone(), digest), Some(digest))],
            revs: Vec::new(),
        };
        let repos = &self.service.repos;
        let finish = repos.finish_upload(repo, id, None, None, body(&rest), &digest);
        self.ledger.doing(promise, Box::pin(finish)).await?;
        self.ledger.over(upload);
        Ok(())
    }

    /// Pushes a manifest of these blobs under tags; it has at least `len` bytes.
    pub async fn manifest(
        &self,
        repo: &RepoName,
        blobs: &[Digest],
        tags: &[&str],
        subject: Option<Digest>,
        len: usize,
    ) -> Done<Digest> {
        let one = |digest: &Digest, of: &str| serde_json::json!({"mediaType": format!("application/vnd.oci.image.{of}"), "digest": digest.to_string(), "size": self.ledger.bytes(digest).len()});
        let mut json = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": one(&blobs[0], "config.v1+json"),
            "layers": blobs[1..].iter().map(|b| one(b, "layer.v1.tar")).collect::<Vec<_>>(),
            "annotations": {"filler": "x".repeat(len)},
        });
        if let Some(subject) = &subject {
            json["subject"] = one(subject, "manifest.v1+json");
        }
        let bytes = Bytes::from(json.to_string());
        let digest = Digest::of(SHA256, &bytes);
        self.ledger.know(digest, bytes.clone());
        let mut facts = vec![(Key::Manifest(repo.clone(), digest), Some(digest))];
        facts.extend(
            tags.iter()
                .map(|t| (Key::Tag(repo.clone(), tag(t)), Some(digest))),
        );
        let promise = Promise {
            facts,
            revs: vec![repo.clone()],
        };
        let put = PutManifest {
            bytes,
            media_type: None,
            reference: Reference::Digest(digest),
            tags: tags.iter().map(|t| tag(t)).collect(),
            source: Source::Push { by: "power".into() },
        };
        let work = self.service.repos.put_manifest(repo, put, ());
        self.ledger.doing(promise, work).await?;
        Ok(digest)
    }

    pub async fn delete_tag(&self, repo: &RepoName, name: &str) -> Done {
        let promise = Promise {
            facts: vec![(Key::Tag(repo.clone(), tag(name)), None)],
            revs: vec![repo.clone()],
        };
        let name = tag(name);
        let work = self.service.repos.delete_tag(repo, &name, "power");
        self.ledger.doing(promise, work).await
    }

    pub async fn delete_manifest(&self, repo: &RepoName, digest: Digest, tags: &[&str]) -> Done {
        let mut facts = vec![(Key::Manifest(repo.clone(), digest), None)];
        facts.extend(tags.iter().map(|t| (Key::Tag(repo.clone(), tag(t)), None)));
        let promise = Promise {
            facts,
            revs: vec![repo.clone()],
        };
        let work = self
            .service
            .repos
            .delete_manifest(repo, &digest, "power", None);
        self.ledger.doing(promise, work).await
    }

    pub async fn mount(&self, repo: &RepoName, digest: Digest, from: &RepoName) -> Done {
        let promise = Promise {
            facts: vec![(Key::Blob(repo.clone(), digest), Some(digest))],
            revs: Vec::new(),
        };
        let mounted = self.service.repos.mount(repo, &digest, from);
        assert!(self.ledger.doing(promise, mounted).await?, "{digest}");
        Ok(())
    }

    pub async fn delete_blob(&self, repo: &RepoName, digest: Digest) -> Done {
        let promise = Promise {
            facts: vec![(Key::Blob(repo.clone(), digest), None)],
            revs: Vec::new(),
        };
        let work = self.service.repos.delete_blob(repo, &digest, None);
        self.ledger.doing(promise, work).await
    }

    async fn delete_repo(&self, repo: &RepoName) -> Done {
        let promise = self.ledger.all_gone(repo);
        let work = self.service.repos.delete(repo, "power", false);
        self.ledger.doing(promise, work).await.map(drop)
    }

    /// Fills a blob as a mirror does; stops before the end and goes on.
    async fn fill(&self, repo: &RepoName, bytes: &Bytes) -> Done {
        let digest = Digest::of(SHA256, bytes);
        self.ledger.know(digest, bytes.clone());
        let repos = &self.service.repos;
        let upload = self.ledger.fill(repo, digest);
        let half = bytes.len() / 2;
        for (from, to) in [(0, half), (half, bytes.len())] {
            self.ledger.sending(upload, to as u64);
            let mut fill = repos.fill(repo, &digest).await?;
            assert_eq!(fill.offset(), from as u64);
            let other = repos.fill(repo, &digest).await;
            assert!(matches!(other, Err(RepoError::UploadBusy)));
            fill.write(&bytes[from..to])?;
            if to == half {
                repos.pause_fill(repo, fill).await?;
                self.ledger.saved(upload, to as u64);
                continue;
            }
            self.ledger.ending(upload);
            let promise = Promise {
                facts: vec![(Key::Blob(repo.clone(), digest), Some(digest))],
                revs: Vec::new(),
            };
            let finish = repos.finish_fill(repo, fill);
            self.ledger.doing(promise, finish).await?;
            self.ledger.over(upload);
        }
        Ok(())
    }

    /// Images, tags and deletions in one repository, and two that it shares blobs with.
    async fn images(&self, rng: &mut Rng) -> Done {
        let (a, b) = (&repo("team/a"), &repo("team/b"));
        let config = self.push(a, &content(rng, 900), SHA256).await?;
        let layer = self.push(a, &content(rng, 20_000), SHA256).await?;
        let large = self.push(a, &content(rng, 30_000), SHA512).await?;
        let first = self.manifest(a, &[config, layer], &["v1"], None, 0).await?;
        let second = self
            .manifest(a, &[config, layer, large], &["v1", "v2"], None, 9_000)
            .await?;
        self.mount(b, layer, a).await?;
        self.mount(b, config, a).await?;
        self.manifest(b, &[config, layer], &["v1"], None, 0).await?;
        self.manifest(a, &[config], &[], Some(second), 10).await?;
        self.delete_tag(a, "v2").await?;
        self.manifest(a, &[config, large], &["v1", "v3"], None, 1)
            .await?;
        self.delete_manifest(a, second, &[]).await?;
        self.delete_manifest(a, first, &[]).await
    }

    /// Small blobs and retags, as CI does; then the repository goes and one of its name is made anew.
    async fn churn(&self, rng: &mut Rng) -> Done {
        let c = &repo("ci/c");
        for n in 0..2 {
            let config = self.push(c, &content(rng, 300 + n), SHA512).await?;
            let layer = self.push(c, &content(rng, 5_000 + n), SHA256).await?;
            self.manifest(c, &[config, layer], &["latest"], None, n)
                .await?;
        }
        self.delete_repo(c).await?;
        let config = self.push(c, &content(rng, 5_000), SHA256).await?;
        self.manifest(c, &[config], &["latest"], None, 7).await?;
        Ok(())
    }

    /// A blob that goes, and comes back while its old place is removed.
    async fn remove_and_push_again(&self, rng: &mut Rng) -> Done {
        let d = &repo("old/d");
        for len in [20_000, 5_000] {
            let bytes = content(rng, len);
            let digest = self.push(d, &bytes, SHA256).await?;
            self.delete_blob(d, digest).await?;
            let (pushed, swept) = tokio::join!(self.push(d, &bytes, SHA256), self.service.sweep());
            pushed?;
            swept?;
            self.delete_blob(d, digest).await?;
            self.service.sweep().await?;
            self.push(d, &bytes, SHA256).await?;
        }
        Ok(())
    }

    /// A blob that a mirror fetches, loses to the collector, and fetches again.
    async fn mirror(&self, rng: &mut Rng) -> Done {
        let e = &repo("mirror/e");
        let bytes = content(rng, 40_000);
        let digest = Digest::of(SHA256, &bytes);
        let keep = self.push(e, &content(rng, 10), SHA256).await?;
        self.manifest(e, &[keep], &["keep"], None, 3).await?;
        Box::pin(self.fill(e, &bytes)).await?;
        self.delete_blob(e, digest).await?;
        self.service.sweep().await?;
        Box::pin(self.fill(e, &bytes)).await?;
        self.service.sweep().await.map(drop)
    }
}

/// Runs everything once on a disk that begins with `base`.
pub(super) async fn run(base: State, seed: u64, fault: Fault) -> Recording {
    let disk = Disk::start(base.clone(), format!("boot of run {seed}"), fault);
    let ledger = Ledger::new(disk.clone());
    let mut rngs: Vec<_> = (0..5).map(|n| Rng::new(seed * 31 + n)).collect();

    let service = Service::open(&disk).expect("opens");
    // Quotas that refuse nothing: their counts are checked on every image, and of one the oldest history goes.
    for (prefix, history) in [("", None), ("team", Some(2000))] {
        let set = service.repos.set_quota(prefix, 1 << 40, history).await;
        set.expect("a quota");
    }
    let client = Client::new(&service, &ledger);
    let (first, second) = Box::pin(client.first_process(&mut rngs)).await;

    // kill -9: what was acknowledged stands, not the machine's doing but the page cache's.
    let killed = disk.kill();
    service.abandon();
    let service = Service::open(&killed).expect("opens after a kill");
    let client = Client::new(&service, &ledger);
    let third = Box::pin(client.after_a_kill(&mut rngs, first)).await;

    service.close().await;
    // Its uploads have their files locked to the end of the process.
    drop(service);
    let service = Service::open(&killed).expect("opens after a stop");
    let client = Client::new(&service, &ledger);
    Box::pin(client.after_a_stop(second, third)).await;
    service.close().await;
    let ops = killed.history().0;
    Recording { base, ops, ledger }
}

impl Client<'_> {
    /// Everything at once; two uploads are left half done.
    async fn first_process(&self, rngs: &mut [Rng]) -> (Begun, Begun) {
        let [r0, r1, r2, r3, r4] = rngs else {
            unreachable!("five");
        };
        let (long, other) = (content(r4, 400_000), content(r4, 6_000));
        let (up, up2) = (&repo("team/a"), &repo("up/f"));
        let done = tokio::join!(
            self.images(r0),
            self.churn(r1),
            self.remove_and_push_again(r2),
            self.mirror(r3),
            self.chunks(up, &long, SHA256, 330_000),
            self.chunks(up2, &other, SHA512, 5_000),
        );
        done.0.expect("images");
        done.1.expect("churn");
        done.2.expect("removals");
        done.3.expect("mirror");
        (done.4.expect("chunks"), done.5.expect("chunks"))
    }

    /// The first upload is ended, and another one begun beside it.
    async fn after_a_kill(&self, rngs: &mut [Rng], first: Begun) -> Begun {
        let up = &repo("team/a");
        let at = self.service.repos.upload_offset(up, first.1).await;
        assert_eq!(at.expect("an upload survives a kill"), 330_000);
        let third = content(&mut rngs[4], 200_000);
        let done = tokio::join!(
            self.resume(up, first),
            self.chunks(up, &third, SHA512, 100_000),
            self.images(&mut rngs[0]),
        );
        done.0.expect("resumes");
        done.2.expect("images again");
        done.1.expect("chunks")
    }

    /// The two that are left are ended.
    async fn after_a_stop(&self, second: Begun, third: Begun) {
        let (up, up2) = (&repo("team/a"), &repo("up/f"));
        let done = tokio::join!(self.resume(up2, second), self.resume(up, third),);
        done.0.expect("resumes");
        done.1.expect("resumes");
    }
}
