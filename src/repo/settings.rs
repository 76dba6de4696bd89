//! One repository as people see it, and its settings: both stand in its row.

use super::error::RepoError;
use super::images::manifest;
use super::rows::keys;
use super::{Origin, RepoView, Repos, SettingsChange, rows};
use crate::store::feed::FeedKind;
use crate::store::record::Record;
use crate::store::{Need, Table, Txn};
use crate::types::{Kind, RepoName, Rev, wall_ms};

impl Repos {
    /// A repository in figures.
    pub async fn view(&self, name: &RepoName) -> Result<RepoView, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let (id, record) = crate::repo::any_visible(r, name.as_str())?
                .ok_or(RepoError::NameUnknown(name.clone()))?;
            let usage = rows::usage(r, id)?;
            Ok(RepoView {
                kind: Kind::of(record.kind),
                name: record.name,
                origin: Origin::of(record.origin),
                rev: Rev(record.head),
                tags: usage.tags,
                manifests: usage.manifests,
                files: usage.files,
                bytes: usage.bytes,
                horizon: Rev(record.horizon),
                keep_ms: record.keep_ms,
                attachments: (record.origin != Origin::Local.code()).then_some(record.attachments),
            })
        })
        .await
    }

    /// Changes settings of the repository, all or none of them. How long a history keeps what was closed counts for what is
    /// closed from now on, and for the rest with the next `gc`; what pushes are taken counts from the answer on.
    ///
    /// # Errors
    /// [`RepoError::Refused`] for a setting that this repository cannot have.
    pub async fn set(
        &self,
        name: &RepoName,
        change: SettingsChange,
        who: &str,
    ) -> Result<(), RepoError> {
        tracing::info!(
            target: "audit",
            action = "repo.set",
            repo = %name,
            who,
            history_keep = change.keep.map(|keep| keep.to_string()),
            attachments = change.attachments,
        );
        let (wanted, by, at_ms) = (name.clone(), who.to_owned(), wall_ms());
        let set = move |tx: &mut Txn<'_>| {
            let (id, mut record) = manifest::writable(tx, &wanted)?;
            if let Some(keep) = change.keep {
                record.keep_ms = keep.ms();
            }
            if let Some(attachments) = change.attachments {
                if record.origin == Origin::Local.code() {
                    return Err(RepoError::Refused(format!(
                        "{wanted} is no mirror: it takes every push of those who may write there, and has no setting for attachments; nothing was changed"
                    )));
                }
                record.attachments = attachments;
            }
            tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
            let by = (by.as_str(), "repo.set");
            Ok(rows::tell(tx, FeedKind::RepoSet, (id, &record), at_ms, by)?)
        };
        self.write(Need::Keeps, "repo.set", set).await
    }
}
