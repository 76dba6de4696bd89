//! That a registry goes on after a power cut: it takes up the uploads that were under way, and new content.

use super::super::Rng;
use super::super::kinds::file::{new_file, range};
use super::super::ledger::{Key, Upload};
use super::super::scenario::{Client, repo};
use super::{Check, absent, kinds};
use crate::repo::{At, PartDone, PartRange, RepoError};
use crate::types::{Algorithm, Digest, FilePath, Kind, RepoName};
use bytes::Bytes;
use futures_util::stream;
use std::collections::BTreeSet;

/// Where an upload may stand after a cut.
struct Stands {
    sent: u64,
    saved: u64,
    ended: bool,
    over: bool,
}

impl Check<'_> {
    /// Every upload goes on from where the registry says it stands, or is refused; a client that did not hear the answer
    /// to its last request sends that again.
    pub(super) async fn uploads(&mut self) {
        for upload in self.ledger.uploads(self.steps) {
            match self.take_up(&upload).await {
                Ok(true) => self.report.resumed += 1,
                Ok(false) => {}
                Err(what) => self.lose(format!(
                    "upload {:?} of {} in {}: {what}",
                    upload.id, upload.digest, upload.repo
                )),
            }
        }
    }

    /// The upload API finds no file of a fill, whatever is left of it.
    pub(super) async fn fills_are_closed(&mut self) {
        let uploads = self.ledger.uploads(self.steps).into_iter();
        let names: BTreeSet<RepoName> = uploads.map(|upload| upload.repo).collect();
        for file in self.service.blobs.uploads.fills().expect("lists") {
            for name in &names {
                let repos = &self.service.repos;
                let found = repos.upload_offset(name, file.name.id).await;
                if !matches!(found, Err(RepoError::UploadUnknown)) {
                    self.lose(format!("{} of a fill is an upload: {found:?}", file.path()));
                }
            }
        }
    }

    /// A fill goes on from what was saved, or is a blob.
    async fn fill(&self, fill: &Upload, from: Stands) -> Result<bool, String> {
        let (repos, name) = (&self.service.repos, &fill.repo);
        let there = self.blob(name, &fill.digest).await?.is_some();
        let mut ingest = match repos.fill(name, &fill.digest).await {
            Ok(ingest) => ingest,
            Err(e) if from.saved == 0 => return absent::<()>(&e).map(|_| false),
            Err(e) => return Err(e.to_string()),
        };
        let at = ingest.offset();
        if at > from.sent || (at < from.saved && !from.over && !(from.ended && there)) {
            let Stands { saved, sent, .. } = from;
            return Err(format!("it stands at {at}, not in {saved}..={sent}"));
        }
        let rest = self.ledger.bytes(&fill.digest).slice(at as usize..);
        ingest.write(&rest).map_err(|e| e.to_string())?;
        let done = repos.finish_fill(name, ingest).await;
        done.map_err(|e| format!("taken up at {at}: {e}"))?;
        match self.blob(name, &fill.digest).await? {
            Some(_) => Ok(at > 0),
            None => Err("filled, and not there".into()),
        }
    }

    /// A file of which parts came goes on from what was saved, or is there.
    async fn parts(&self, file: &Upload, path: &FilePath, from: Stands) -> Result<bool, String> {
        let (repos, name) = (&self.service.repos, &file.repo);
        let bytes = self.ledger.bytes(&file.digest);
        let total = bytes.len() as u64;
        let is_there = kinds::of(Kind::File)
            .name(self, name, &At::Head, path.as_str())
            .await?
            == Some(file.digest);
        let send = |first| {
            let rest = stream::iter([Ok::<_, String>(bytes.slice(first as usize..))]);
            repos.put_file_part(name, new_file(path), range(first, total, total), None, rest)
        };
        let ask = PartRange {
            range: None,
            total: Some(total),
        };
        let nothing = stream::iter([Ok::<_, String>(Bytes::new())]);
        let asked = repos.put_file_part(name, new_file(path), ask, Some(0), nothing);
        let at = match asked.await {
            Ok(PartDone::Arrived(at)) => at,
            // All of it had come: the question made the file.
            Ok(PartDone::Filed(filed)) if from.ended && filed.digest == file.digest => {
                return Ok(true);
            }
            Ok(other) => return Err(format!("asked how much has come: {other:?}")),
            Err(e) if from.saved == 0 => return absent::<()>(&e).map(|_| false),
            Err(e) => return Err(e.to_string()),
        };
        if at > from.sent || (at < from.saved && !from.over && !(from.ended && is_there)) {
            let Stands { saved, sent, .. } = from;
            return Err(format!("it stands at {at}, not in {saved}..={sent}"));
        }
        let done = Box::pin(send(at)).await;
        match done.map_err(|e| format!("taken up at {at}: {e}"))? {
            PartDone::Filed(filed) if filed.digest == file.digest => Ok(at > 0),
            other => Err(format!("its last part: {other:?}")),
        }
    }

    async fn take_up(&self, upload: &Upload) -> Result<bool, String> {
        let name = &upload.repo;
        let until = |times: &[(usize, u64)]| {
            let past = times.iter().filter(|(at, _)| *at <= self.steps);
            past.map(|(_, len)| *len).max().unwrap_or(0)
        };
        let (sent, saved) = (until(&upload.sent), until(&upload.saved));
        let ended = upload.ended.is_some_and(|at| at <= self.steps);
        let over = upload.over.is_some_and(|at| at <= self.steps);
        let Some(id) = upload.id else {
            let from = Stands {
                sent,
                saved,
                ended,
                over,
            };
            return match &upload.path {
                Some(path) => self.parts(upload, path, from).await,
                None => self.fill(upload, from).await,
            };
        };
        let repos = &self.service.repos;
        let at = match repos.upload_offset(name, id).await {
            Ok(at) => at,
            // It is over: acknowledged, or committed on the way there.
            Err(e) if ended && self.blob(name, &upload.digest).await?.is_some() => {
                return absent::<()>(&e).map(|_| false);
            }
            Err(e) if saved == 0 || over => return absent::<()>(&e).map(|_| false),
            Err(e) => return Err(format!("{saved} bytes were saved, and then: {e}")),
        };
        if at > sent || (at < saved && !over) {
            return Err(format!("it stands at {at}, not in {saved}..={sent}"));
        }
        let rest = self.ledger.bytes(&upload.digest).slice(at as usize..);
        let body = stream::iter([Ok::<_, String>(rest)]);
        repos
            .finish_upload(name, id, None, None, body, &upload.digest)
            .await
            .map_err(|e| format!("taken up at {at}: {e}"))?;
        match self.blob(name, &upload.digest).await? {
            Some(_) => Ok(true),
            None => Err("finished, and not there".into()),
        }
    }

    /// The registry takes new content, and what it has already.
    pub(super) async fn goes_on(&mut self) {
        let client = Client::new(&self.service, self.ledger);
        let name = &repo("after/cut");
        let held = self.ledger.allowed(self.steps).into_iter();
        let again = held.rev().find_map(|(key, values)| match key {
            Key::Name(..) => values
                .first()
                .copied()
                .flatten()
                .filter(|_| values.len() == 1),
            _ => None,
        });
        let mut rng = Rng::new(self.steps as u64);
        let bytes: Bytes = (0..5_000).map(|_| rng.below(256) as u8).collect();
        let done: Result<(), RepoError> = async {
            let new = push(&client, name, &bytes, Algorithm::Sha256).await?;
            if let Some(digest) = again {
                let bytes = self.ledger.bytes(&digest);
                push(&client, name, &bytes, digest.algorithm()).await?;
                self.service.repos.has_blob(name, &digest).await?;
            }
            self.service.repos.has_blob(name, &new).await.map(drop)
        }
        .await;
        if let Err(e) = done {
            self.lose(format!("it takes nothing new: {e}"));
        }
    }
}

async fn push(
    client: &Client<'_>,
    name: &RepoName,
    bytes: &Bytes,
    algorithm: Algorithm,
) -> Result<Digest, RepoError> {
    let digest = Digest::of(algorithm, bytes);
    let repos = &client.service.repos;
    let id = repos.begin_upload(name, algorithm, "ann").await?;
    let body = stream::iter([Ok::<_, String>(bytes.clone())]);
    repos
        .finish_upload(name, id, None, None, body, &digest)
        .await?;
    Ok(digest)
}
