//! Restoring a tag: with everything below it.

use super::ROWS;
use super::back::{self, Back};
use super::closure::Closure;
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::images::manifest;
use crate::repo::rows::keys::Name;
use crate::repo::shown::readable;
use crate::repo::stage::NewStage;
use crate::repo::{Inner, Repos, rows, visible};
use crate::store::{Need, Read, StoreError};
use crate::types::{Digest, Kind, RepoName, Rev, Tag};
use std::sync::Arc;

/// The action's name in the history.
const WHY: &str = "tag.restore";

impl Repos {
    /// Makes a tag mean again what it meant at a revision, in a new revision; answers the digest. Manifests below it that were
    /// removed since come back with it.
    pub async fn restore_tag(
        &self,
        name: &RepoName,
        tag: &Tag,
        rev: Rev,
        who: &str,
    ) -> Result<Digest, RepoError> {
        let (wanted, what) = (name.clone(), tag.clone());
        let step = move |inner: &Inner, r: &Read<'_>, state: &mut Option<Closure>| {
            let (id, record) = visible(r, wanted.as_str(), Kind::Oci)?
                .ok_or(RepoError::NameUnknown(wanted.clone()))?;
            readable(r, id, &record, rev)?;
            let mut closure = if let Some(closure) = state.take() {
                closure
            } else {
                let item = rows::at(r, id, &Name::tag(what.as_str()), rev)?;
                let digest = item.and_then(|(_, item)| item.digest());
                let digest = digest.ok_or_else(|| {
                    RepoError::ManifestUnknown(format!("{what} at revision {}", rev.0))
                })?;
                Closure::of(vec![(digest, vec![what.clone()])])
            };
            if closure.go_on(inner, r, (id, rev))? {
                return Ok(Some(closure));
            }
            *state = Some(closure);
            Ok(None)
        };
        let closure = self
            .long_read(|inner| &inner.searches, None, None, step)
            .await?;
        // The tag's own manifest comes last.
        let digest = closure.found.last().map(|new| new.digest);
        let digest = digest.ok_or_else(|| RepoError::ManifestUnknown(tag.to_string()))?;
        let quotas = self.quotas_above(name).await?;
        let steps = Arc::new(back::of_manifests(closure.found, quotas));
        let is_small = back::cost(&steps, quotas) <= ROWS;
        if is_small {
            match self.put_back_at_once(name, &steps, rev, who).await {
                // More waited for it than the estimate knew of.
                Err(RepoError::Store(StoreError::TooMany(_))) => {}
                done => return done.map(|()| digest),
            }
        }
        self.put_back_staged(name, steps, (rev, quotas), who)
            .await?;
        Ok(digest)
    }

    async fn put_back_at_once(
        &self,
        name: &RepoName,
        steps: &Arc<Vec<Back>>,
        rev: Rev,
        who: &str,
    ) -> Result<(), RepoError> {
        let context = self.context(who, WHY);
        let (wanted, steps) = (name.clone(), Arc::clone(steps));
        let change = self.unless_staged(Need::Grows, WHY, move |tx| {
            let (id, record) = manifest::writable(tx, &wanted)?;
            readable(tx, id, &record, rev)?;
            let mut edit = Edit::open(tx, id, record, &context)?;
            for step in &*steps {
                step.put(&mut edit)?;
            }
            edit.finish()?;
            Ok(())
        });
        change.await
    }

    /// To its end, whether or not the caller waits for it.
    async fn put_back_staged(
        &self,
        name: &RepoName,
        steps: Arc<Vec<Back>>,
        (rev, quotas): (Rev, usize),
        who: &str,
    ) -> Result<(), RepoError> {
        let wanted = name.clone();
        let id = self.hop(move |_, r| {
            let found = visible(r, wanted.as_str(), Kind::Oci)?;
            let (id, _) = found.ok_or(RepoError::NameUnknown(wanted.clone()))?;
            Ok(id)
        });
        let new = NewStage {
            of: vec![(name.clone(), id.await?)],
            job: None,
            who: who.to_owned(),
            why: WHY,
            need: Need::Grows,
        };
        let (this, wanted) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let stage = this.begin_stage(new).await?;
            let cost = move |step: &Back| step.cost(quotas);
            let put = |edit: &mut Edit<'_, '_>, step: &Back| step.put(edit);
            let written = stage.write_all(0, steps, cost, put).await;
            // What it meant is kept still, so nothing of it was dropped meanwhile.
            let is_kept = this.hop(move |_, r| {
                let (id, record) = visible(r, wanted.as_str(), Kind::Oci)?
                    .ok_or(RepoError::NameUnknown(wanted.clone()))?;
                readable(r, id, &record, rev)
            });
            stage.end(written.and(is_kept.await)).await.map(drop)
        })
        .await
    }
}
