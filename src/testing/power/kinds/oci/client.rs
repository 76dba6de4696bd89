//! What a client of the registry protocol does, and what it notes in the ledger of it.

use super::super::super::ledger::{Key, Promise};
use super::super::super::scenario::{Client, Done, SHA256, body};
use super::Begun;
use crate::repo::{PutManifest, RepoError, Source};
use crate::types::{Algorithm, Digest, Kind, Reference, RepoName, Tag};
use bytes::Bytes;

pub(super) fn tag(repo: &RepoName, tag: &str) -> Key {
    Key::Name(Kind::Oci, repo.clone(), format!("tag {tag}"))
}

pub(super) fn manifest(repo: &RepoName, digest: &Digest) -> Key {
    Key::Name(Kind::Oci, repo.clone(), format!("manifest {digest}"))
}

fn blob(repo: &RepoName, digest: &Digest) -> Key {
    Key::Name(Kind::Oci, repo.clone(), format!("blob {digest}"))
}

fn name_of(tag: &str) -> Tag {
    tag.parse().expect("a tag")
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
            facts: vec![(blob(repo, &digest), Some(digest))],
            revs: Vec::new(),
        };
        let len = Some(bytes.len() as u64);
        let finish = repos.finish_upload(repo, id, None, len, body(bytes), &digest);
        self.ledger.doing(promise, Box::pin(finish)).await?;
        Ok(digest)
    }

    /// Sends the first part of a blob in chunks and has the registry save after each; answers what is left to do.
    pub(in super::super) async fn chunks(
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
    pub(in super::super) async fn resume(
        &self,
        repo: &RepoName,
        (upload, id, digest): Begun,
    ) -> Done {
        let bytes = self.ledger.bytes(&digest);
        let at = self.service.repos.upload_offset(repo, id).await?;
        let rest = bytes.slice(at as usize..);
        self.ledger.sending(upload, bytes.len() as u64);
        self.ledger.ending(upload);
        let promise = Promise {
            facts: vec![(blob(repo, &digest), Some(digest))],
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
        let mut facts = vec![(manifest(repo, &digest), Some(digest))];
        facts.extend(tags.iter().map(|t| (tag(repo, t), Some(digest))));
        let promise = Promise {
            facts,
            revs: vec![repo.clone()],
        };
        let put = PutManifest {
            bytes,
            media_type: None,
            reference: Reference::Digest(digest),
            tags: tags.iter().map(|t| name_of(t)).collect(),
            source: Source::Push { by: "power".into() },
        };
        let work = self.service.repos.put_manifest(repo, put, ());
        self.ledger.doing(promise, work).await?;
        Ok(digest)
    }

    pub async fn delete_tag(&self, repo: &RepoName, name: &str) -> Done {
        let promise = Promise {
            facts: vec![(tag(repo, name), None)],
            revs: vec![repo.clone()],
        };
        let name = name_of(name);
        let work = self.service.repos.delete_tag(repo, &name, "power");
        self.ledger.doing(promise, work).await
    }

    pub async fn delete_manifest(&self, repo: &RepoName, digest: Digest, tags: &[&str]) -> Done {
        let mut facts = vec![(manifest(repo, &digest), None)];
        facts.extend(tags.iter().map(|t| (tag(repo, t), None)));
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
            facts: vec![(blob(repo, &digest), Some(digest))],
            revs: Vec::new(),
        };
        let mounted = self.service.repos.mount(repo, &digest, from);
        assert!(self.ledger.doing(promise, mounted).await?, "{digest}");
        Ok(())
    }

    pub async fn delete_blob(&self, repo: &RepoName, digest: Digest) -> Done {
        let promise = Promise {
            facts: vec![(blob(repo, &digest), None)],
            revs: Vec::new(),
        };
        let work = self.service.repos.delete_blob(repo, &digest, None);
        self.ledger.doing(promise, work).await
    }

    pub(in super::super) async fn delete_repo(&self, repo: &RepoName) -> Done {
        let promise = self.ledger.all_gone(repo);
        let work = self.service.repos.delete(repo, "power", false);
        self.ledger.doing(promise, work).await.map(drop)
    }

    /// Fills a blob as a mirror does; stops before the end and goes on.
    pub(in super::super) async fn fill(&self, repo: &RepoName, bytes: &Bytes) -> Done {
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
                facts: vec![(blob(repo, &digest), Some(digest))],
                revs: Vec::new(),
            };
            let finish = repos.finish_fill(repo, fill);
            self.ledger.doing(promise, finish).await?;
            self.ledger.over(upload);
        }
        Ok(())
    }
}
