//! That files mean what was acknowledged, and that snapshots show exactly what they showed when they were made.

use super::super::ledger::shows;
use super::{Check, absent};
use crate::repo::{At, RepoError, Tree};
use crate::types::{Digest, Kind, Page, Reference, RepoName, Title};
use std::collections::BTreeMap;

/// Names, and what they mean.
type Shown = BTreeMap<String, Digest>;

impl Check<'_> {
    /// What a path means, its bytes read and hashed.
    pub(super) async fn file(
        &self,
        name: &RepoName,
        at: &At,
        path: &str,
    ) -> Result<Option<Digest>, String> {
        match self.service.repos.file(&tree(name, at, path)).await {
            Ok(file) => self.verified(&file.blob),
            Err(e) => absent(&e),
        }
    }

    /// All files of the head together.
    pub(super) async fn shelf(&self, name: &RepoName) -> Result<Option<Digest>, String> {
        let found = self.files(name, &At::Head).await?;
        Ok(found.map(|found| digest_of(&found)))
    }

    /// All that the snapshots of a title show; there is one of each repository, or none.
    pub(super) async fn cut(
        &self,
        names: &[RepoName],
        title: &Title,
    ) -> Result<Option<Digest>, String> {
        let at = At::named(title.as_str()).expect("a title is a reference");
        let (mut all, mut missing) = (Shown::new(), 0);
        for name in names {
            let kind = match self.service.repos.view(name).await {
                Ok(view) => view.kind,
                Err(e) => absent(&e).map(|_| None)?,
            };
            let found = match kind {
                None => None,
                Some(Kind::File) => self.files(name, &at).await?,
                Some(Kind::Oci) => self.images(name, &at).await?,
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

    /// Every file, found through the folders, its bytes read and hashed; `None`: no such repository or snapshot.
    async fn files(&self, name: &RepoName, at: &At) -> Result<Option<Shown>, String> {
        let (mut found, mut folders) = (Shown::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            let (tree, page) = (tree(name, at, &folder), Page::default());
            let listed = match self.service.repos.folder(&tree, &page).await {
                Ok(listed) => listed,
                Err(e) if folder.is_empty() => return absent(&e).map(|_| None),
                Err(e) => return Err(format!("{folder} is listed above it, and then: {e}")),
            };
            assert_eq!(listed.next, None, "few files");
            for entry in listed.entries {
                let path = format!("{folder}{}", entry.name);
                let Some(file) = entry.file else {
                    folders.push(path);
                    continue;
                };
                if self.file(name, at, &path).await? != Some(file.digest) {
                    return Err(format!("{path} is listed as {}, and is not", file.digest));
                }
                found.insert(path, file.digest);
            }
        }
        Ok(Some(found))
    }

    /// Every tag, the manifest that it means and the blobs below it, read and hashed.
    async fn images(&self, name: &RepoName, at: &At) -> Result<Option<Shown>, String> {
        let repos = &self.service.repos;
        let listed = match repos.tags(name, at, &Page::default()).await {
            Ok(listed) => listed,
            Err(e) => return absent(&e).map(|_| None),
        };
        let mut found = Shown::new();
        for tag in listed.tags {
            let said = |e: RepoError| format!("{name}:{tag}: {e}");
            let manifest = repos.manifest(name, at, &Reference::Tag(tag.clone())).await;
            let manifest = manifest.map_err(said)?;
            let digest = self.verified(&manifest.blob)?;
            let digest = digest.ok_or_else(|| format!("{name}:{tag} has no bytes"))?;
            for blob in blobs_of(&self.ledger.bytes(&digest)) {
                if self.blob_at(name, at, &blob).await? != Some(blob) {
                    return Err(format!("{name}:{tag} lacks {blob}"));
                }
            }
            found.insert(tag.to_string(), digest);
        }
        Ok(Some(found))
    }
}

fn tree(name: &RepoName, at: &At, path: &str) -> Tree {
    Tree {
        name: name.clone(),
        at: at.clone(),
        path: path.to_owned(),
        is_bare: false,
    }
}

fn digest_of(shown: &Shown) -> Digest {
    shows(shown.iter().map(|(name, is)| (name.as_str(), is)))
}

/// The digests of a manifest's configuration and layers.
fn blobs_of(manifest: &[u8]) -> Vec<Digest> {
    let json: serde_json::Value = serde_json::from_slice(manifest).expect("a manifest");
    let layers = json["layers"].as_array().expect("layers").iter();
    let digests = layers.chain([&json["config"]]).map(|one| &one["digest"]);
    let read = |digest: &serde_json::Value| digest.as_str()?.parse().ok();
    digests.filter_map(read).collect()
}
