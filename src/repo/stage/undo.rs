//! Taking a stage back: what it added goes, what it closed is live again, and nothing tells of it.

use super::StageHold;
use super::rows::{self, StageId};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::store::record::Record;
use crate::store::{Need, Table, Txn};
use crate::types::RepoId;

impl Repos {
    /// Takes back a stage, whose rows are found by its changes: each transaction drops the changes that it dealt with, so it
    /// goes on from there after a crash.
    pub(super) async fn undo_stage(&self, id: StageId, hold: StageHold) -> Result<(), RepoError> {
        let mark = move |tx: &mut Txn<'_>| {
            let Some(mut stage) = rows::find(tx, id)? else {
                return Ok(None);
            };
            stage.undone = true;
            rows::put(tx, id, &stage)?;
            Ok::<_, RepoError>(Some(stage))
        };
        let Some(stage) = self.write(Need::Keeps, "stage.undo", mark).await? else {
            hold.end();
            return Ok(());
        };
        tracing::info!(
            stage = format!("{:016x}", id.0),
            why = stage.why,
            who = stage.who,
            repositories = stage.repos.len(),
            "a big change that was not finished is taken back"
        );
        for repo in &stage.repos {
            while self.unstage(RepoId(*repo), id).await? {}
        }
        let end = move |tx: &mut Txn<'_>| {
            for repo in &stage.repos {
                if let Some(mut record) = rows::held_by(tx, RepoId(*repo), id)? {
                    record.stage = None;
                    let key = keys::repo(RepoId(*repo));
                    tx.put(Table::Repos, &key, &record.to_bytes()?)?;
                }
            }
            // What is remembered of leases may rest on what was taken back.
            tx.ends_everything();
            Ok(rows::delete(tx, id)?)
        };
        self.write(Need::Keeps, "stage.undone", end).await?;
        hold.end();
        Ok(())
    }
}
