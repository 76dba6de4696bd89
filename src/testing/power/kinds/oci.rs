//! Images in the power-cut tests: pushes, uploads in pieces, manifests, tags, mounts, deletions, fills and a snapshot, by
//! several clients at once.

mod client;

use super::super::Rng;
use super::super::check::{Check, absent};
use super::super::ledger::{Promise, shows};
use super::super::scenario::{Client, Done, SHA256, SHA512, content, repo};
use super::{Contents, Reads, Shown, Writers};
use crate::repo::{At, RepoError};
use crate::types::{Digest, PageRequest, Reference, RepoName, UploadId};
use futures_util::future::LocalBoxFuture;

/// Repositories of images. Their names are `tag TAG`, `manifest DIGEST` and `blob DIGEST`.
pub(super) struct OciContents;

/// An upload that was begun: its number in the ledger, its id and what it is to become.
type Begun = (usize, UploadId, Digest);

impl Contents for OciContents {
    fn writers(&self, seed: u64) -> Box<dyn Writers> {
        let rngs = std::array::from_fn(|n| Rng::new(seed * 31 + n as u64));
        Box::new(Pushers {
            rngs,
            begun: Vec::new(),
        })
    }

    fn name<'a>(
        &'a self,
        check: &'a Check<'_>,
        repo: &'a RepoName,
        at: &'a At,
        name: &'a str,
    ) -> Reads<'a, Digest> {
        Box::pin(async move {
            let (class, name) = name.split_once(' ').expect("a class and a name");
            let reference = match class {
                "tag" => Reference::Tag(name.parse().expect("a tag")),
                "manifest" => Reference::Digest(name.parse().expect("a digest")),
                _ => return blob_at(check, repo, at, &name.parse().expect("a digest")).await,
            };
            match check.service.repos.manifest(repo, at, &reference).await {
                Ok(manifest) => check.verified(&manifest.blob),
                Err(e) => absent(&e),
            }
        })
    }

    fn all<'a>(&'a self, check: &'a Check<'_>, repo: &'a RepoName, at: &'a At) -> Reads<'a, Shown> {
        Box::pin(all(check, repo, at))
    }
}

async fn blob_at(
    check: &Check<'_>,
    repo: &RepoName,
    at: &At,
    digest: &Digest,
) -> Result<Option<Digest>, String> {
    match check.service.repos.blob(repo, at, digest).await {
        Ok(blob) => check.verified(&blob),
        Err(e) => absent(&e),
    }
}

/// Every tag, the manifest that it means and the blobs below it.
async fn all(check: &Check<'_>, name: &RepoName, at: &At) -> Result<Option<Shown>, String> {
    let repos = &check.service.repos;
    let listed = match repos.tags(name, at, &PageRequest::default()).await {
        Ok(listed) => listed,
        Err(e) => return absent(&e),
    };
    let mut found = Shown::new();
    for tag in listed.tags {
        let said = |e: RepoError| format!("{name}:{tag}: {e}");
        let manifest = repos.manifest(name, at, &Reference::Tag(tag.clone())).await;
        let manifest = manifest.map_err(said)?;
        let digest = check.verified(&manifest.blob)?;
        let digest = digest.ok_or_else(|| format!("{name}:{tag} has no bytes"))?;
        for blob in blobs_of(&check.ledger.bytes(&digest)) {
            if blob_at(check, name, at, &blob).await? != Some(blob) {
                return Err(format!("{name}:{tag} lacks {blob}"));
            }
        }
        found.insert(tag.to_string(), digest);
    }
    Ok(Some(found))
}

/// The digests of a manifest's configuration and layers.
fn blobs_of(manifest: &[u8]) -> Vec<Digest> {
    let json: serde_json::Value = serde_json::from_slice(manifest).expect("a manifest");
    let layers = json["layers"].as_array().expect("layers").iter();
    let digests = layers.chain([&json["config"]]).map(|one| &one["digest"]);
    let read = |digest: &serde_json::Value| digest.as_str()?.parse().ok();
    digests.filter_map(read).collect()
}

/// The clients of a run, each with random numbers of its own, and the uploads that they left half done.
struct Pushers {
    rngs: [Rng; 5],
    begun: Vec<Begun>,
}

impl Writers for Pushers {
    fn first_process<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let (first, second) = Box::pin(client.first_process(&mut self.rngs)).await;
            self.begun = vec![first, second];
        })
    }

    fn after_a_kill<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let first = self.begun.remove(0);
            let third = Box::pin(client.after_a_kill(&mut self.rngs, first)).await;
            self.begun.push(third);
        })
    }

    fn after_a_stop<'a>(&'a mut self, client: &'a Client<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let (third, second) = (self.begun.remove(1), self.begun.remove(0));
            Box::pin(client.after_a_stop(second, third)).await;
        })
    }
}

impl Client<'_> {
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
    /// An image that a snapshot alone keeps, and that it brings back.
    async fn kept_image(&self, rng: &mut Rng) -> Done {
        let name = &repo("kept/image");
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
            (client::tag(name, "v1"), Some(first)),
            (client::tag(name, "v2"), None),
            (client::manifest(name, &first), Some(first)),
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

    /// Everything at once; two uploads are left half done.
    async fn first_process(&self, rngs: &mut [Rng; 5]) -> (Begun, Begun) {
        let [r0, r1, r2, r3, r4] = rngs;
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
    async fn after_a_kill(&self, rngs: &mut [Rng; 5], first: Begun) -> Begun {
        let up = &repo("team/a");
        let at = self.service.repos.upload_offset(up, first.1).await;
        assert_eq!(at.expect("an upload survives a kill"), 330_000);
        let [r0, r1, .., r4] = rngs;
        let third = content(r4, 200_000);
        let done = tokio::join!(
            self.resume(up, first),
            self.chunks(up, &third, SHA512, 100_000),
            self.images(r0),
            self.kept_image(r1),
        );
        done.0.expect("resumes");
        done.2.expect("images again");
        done.3.expect("an image that a snapshot keeps");
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
