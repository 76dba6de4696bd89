//! The commit of a mirror run: a whole closure becomes visible at once, in one transaction or, where it is too large for that,
//! as a stage.

use crate::blobs::Place;
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::images::batch;
use crate::repo::images::manifest::{Made, Ready, answer, put_body};
use crate::repo::stage::{NewStage, Stage};
use crate::repo::{MovedTag, Origin, Put, PutManifest, Repos, pushes};
use crate::store::{Need, StoreError};
use crate::types::{JobId, RepoId, RepoName};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The action's name in the history.
const WHY: &str = "mirror";

/// For whom a closure was fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchedFor {
    /// What the name meant then ([`Repos::ensure_mirror`]): one that was deleted since, and perhaps made anew, gets nothing.
    pub home: RepoId,
    /// The job, if it is one: after a restart it goes on where its commit was.
    pub job: Option<JobId>,
    /// How the history names it.
    pub who: &'static str,
    /// The commit is refused unless the repository still is of this origin; none is any.
    pub only: Option<Origin>,
}

impl Repos {
    /// Makes a whole closure visible at once, whatever its size. The manifests come children before parents.
    pub async fn commit_closure(
        &self,
        name: &RepoName,
        manifests: Vec<PutManifest>,
        fetched: FetchedFor,
    ) -> Result<Vec<Put>, RepoError> {
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move { repos.commit_whole(&name, manifests, fetched).await })
            .await
    }

    async fn commit_whole(
        &self,
        name: &RepoName,
        manifests: Vec<PutManifest>,
        fetched: FetchedFor,
    ) -> Result<Vec<Put>, RepoError> {
        let quotas = self.quotas_above(name).await?;
        let (mut done, mut all) = (Vec::with_capacity(manifests.len()), Vec::new());
        for put in manifests {
            match self.ready(put).await {
                Ok(ready) => {
                    done.push(answer(&ready.new));
                    all.extend(ready.of_few_tags());
                }
                Err(error) => {
                    self.drop_spare(places(&all)).await;
                    return Err(error);
                }
            }
        }
        let all = Arc::new(all);
        let cost: usize = all.iter().map(|r| batch::cost(&r.new, quotas)).sum();
        let made = if cost <= batch::ROWS {
            match self.commit_at_once(name, &all, fetched).await {
                // More waited for it than the estimate knew of.
                Err(RepoError::Store(StoreError::TooMany(_))) => {
                    self.commit_staged(name, &all, quotas, fetched).await
                }
                made => made,
            }
        } else {
            self.commit_staged(name, &all, quotas, fetched).await
        };
        match made {
            Ok(made) => {
                self.drop_spare(made.spare).await;
                note_kept(&mut done, &made.kept);
                Ok(done)
            }
            Err(error) => {
                if error.stored_nothing() {
                    self.drop_unknown(places(&all)).await?;
                }
                Err(error)
            }
        }
    }

    async fn commit_at_once(
        &self,
        name: &RepoName,
        all: &Arc<Vec<Ready>>,
        fetched: FetchedFor,
    ) -> Result<Made, RepoError> {
        let once = || self.commit_once(name, Arc::clone(all), fetched.who, WHY, Some(fetched));
        self.with_history(name, once).await
    }

    async fn commit_staged(
        &self,
        name: &RepoName,
        all: &Arc<Vec<Ready>>,
        quotas: usize,
        fetched: FetchedFor,
    ) -> Result<Made, RepoError> {
        let sizes = all.iter().map(|r| (r.new.digest, Some(r.new.size)));
        let _room = self.commit_room(name, sizes.collect()).await?;
        let new = NewStage {
            of: vec![(name.clone(), fetched.home)],
            job: fetched.job.map(|job| (job, plan(all))),
            who: fetched.who.to_owned(),
            why: WHY,
            need: Need::Grows,
        };
        let stage = self.begin_stage(new).await?;
        let written = write(&stage, all, quotas).await;
        Ok(stage.end(written).await?.0)
    }

    /// Drops content files that no row names: of a commit that was taken back, some have rows.
    async fn drop_unknown(&self, places: Vec<Place>) -> Result<(), RepoError> {
        let mut spare = Vec::new();
        for place in places {
            if !self.is_known_place(&place).await? {
                spare.push(place);
            }
        }
        self.drop_spare(spare).await;
        Ok(())
    }
}

fn places(all: &[Ready]) -> Vec<Place> {
    all.iter().filter_map(Ready::place).collect()
}

/// A hash of what is committed.
fn plan(all: &[Ready]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for ready in all {
        hash.update(ready.new.digest.as_key());
        hash.update(ready.new.inspected.media_type.as_str());
        for tag in &ready.new.tags {
            hash.update([0]);
            hash.update(tag.as_str());
        }
        hash.update([1]);
    }
    hash.finalize().into()
}

async fn write(stage: &Stage, all: &Arc<Vec<Ready>>, quotas: usize) -> Result<Made, RepoError> {
    let cost = move |ready: &Ready| batch::cost(&ready.new, quotas);
    let put = |edit: &mut Edit<'_, '_>, ready: &Ready| {
        let at_ms = edit.context.at_ms;
        let new = &ready.new;
        let spare = put_body(edit.tx, &new.digest, new.size, &ready.body, at_ms)?;
        let ours = pushes::without_ours(edit.tx, edit.id, new)?;
        edit.put_manifest(ours.as_ref().map_or(new, |(rest, _)| rest))?;
        Ok((spare, ours.map_or_else(Vec::new, |(_, kept)| kept)))
    };
    let mut made = Made::default();
    for (spare, kept) in stage.write_all(0, Arc::clone(all), cost, put).await? {
        made.spare.extend(spare);
        made.kept.extend(kept);
    }
    Ok(made)
}

/// Takes the tags that a site keeps out of the answers, and names them there.
fn note_kept(done: &mut [Put], kept: &[MovedTag]) {
    for kept in kept {
        for put in done.iter_mut().filter(|put| put.digest == kept.brought) {
            put.tags.retain(|tag| *tag != kept.tag);
            put.kept.push(kept.clone());
        }
    }
}
