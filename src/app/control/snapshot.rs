//! Requests about snapshots, and what does them.

use super::work::{OPERATOR, repo};
use super::{Fault, FaultKind, Reply};
use crate::app::App;
use crate::repo::{At, NewSnapshot, SnapshotPage, SnapshotPlace};
use crate::types::{RepoPattern, Title, TitleError};
use serde::{Deserialize, Serialize};

/// One thing to do about snapshots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "snapshot", rename_all = "kebab-case")]
pub enum SnapshotRequest {
    /// Makes some. Answered by [`Reply::Snapshots`].
    Create {
        /// A repository, or a pattern of names.
        of: String,
        /// As of when: a time, a revision or another title; none: now.
        at: Option<String>,
        /// The title; none: the day.
        title: Option<String>,
        /// After how much running time it ends (ms).
        expires_ms: Option<u64>,
        /// It cannot be deleted until that is taken back.
        held: bool,
    },
    /// One page. Answered by [`Reply::Snapshots`].
    List {
        /// The repository; none: all.
        name: Option<String>,
        /// Behind this one.
        after: Option<SnapshotPlace>,
    },
    /// One, with its root digest. Answered by [`Reply::SnapshotShown`].
    Show {
        /// The repository.
        name: String,
        /// A title, a revision or a time.
        reference: String,
    },
    /// What one shows otherwise than another. Answered by [`Reply::SnapshotDiff`].
    Diff {
        /// The repository.
        name: String,
        /// The first one.
        from: String,
        /// The second one; none: what it shows now.
        to: Option<String>,
    },
    /// Deletes one.
    Delete {
        /// The repository.
        name: String,
        /// The title.
        title: String,
    },
    /// Holds one, or takes that back.
    Hold {
        /// The repository.
        name: String,
        /// The title.
        title: String,
        /// Whether it is to be held.
        held: bool,
    },
    /// Makes repositories show it again, all at once. Answered by [`Reply::SnapshotRestored`].
    Restore {
        /// A repository, or a pattern of names.
        of: String,
        /// A title, a revision or a time.
        reference: String,
    },
}

impl SnapshotRequest {
    /// The request's name for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "snapshot-create",
            Self::List { .. } => "snapshot-list",
            Self::Show { .. } => "snapshot-show",
            Self::Diff { .. } => "snapshot-diff",
            Self::Delete { .. } => "snapshot-delete",
            Self::Hold { .. } => "snapshot-hold",
            Self::Restore { .. } => "snapshot-restore",
        }
    }
}

/// Does one of them.
pub(super) async fn run(app: &App, request: SnapshotRequest) -> Result<Reply, Fault> {
    let repos = &app.repos;
    match request {
        SnapshotRequest::Create {
            of,
            at,
            title,
            expires_ms,
            held,
        } => {
            let new = NewSnapshot {
                of: of.parse::<RepoPattern>()?,
                at: at.as_deref().map_or(Ok(At::Head), when)?,
                title: title.as_deref().map(titled).transpose()?,
                expires_ms,
                held,
                who: OPERATOR.to_owned(),
            };
            let snapshots = repos.create_snapshots(new).await?;
            Ok(Reply::Snapshots(SnapshotPage {
                snapshots,
                next: None,
            }))
        }
        SnapshotRequest::List { name, after } => {
            let name = name.as_deref().map(repo).transpose()?;
            let page = repos.snapshots(name.as_ref(), after).await?;
            Ok(Reply::Snapshots(page))
        }
        SnapshotRequest::Show { name, reference } => {
            let view = repos
                .show_snapshot(&repo(&name)?, &when(&reference)?)
                .await?;
            Ok(Reply::SnapshotShown(view))
        }
        SnapshotRequest::Diff { name, from, to } => {
            let to = to.as_deref().map_or(Ok(At::Head), when)?;
            let (name, from) = (repo(&name)?, when(&from)?);
            let diff = repos.diff_snapshots(&name, &from, &to).await?;
            Ok(Reply::SnapshotDiff(diff))
        }
        SnapshotRequest::Delete { name, title } => {
            let (name, title) = (repo(&name)?, titled(&title)?);
            repos.delete_snapshot(&name, &title, OPERATOR).await?;
            Ok(Reply::Done)
        }
        SnapshotRequest::Hold { name, title, held } => {
            let (name, title) = (repo(&name)?, titled(&title)?);
            repos.hold_snapshot(&name, &title, held, OPERATOR).await?;
            Ok(Reply::Done)
        }
        SnapshotRequest::Restore { of, reference } => {
            let (of, at) = (of.parse::<RepoPattern>()?, when(&reference)?);
            let done = repos.restore_snapshots(&of, &at, OPERATOR).await?;
            Ok(Reply::SnapshotRestored(done))
        }
    }
}

fn titled(text: &str) -> Result<Title, Fault> {
    let title = text.parse::<Title>();
    title.map_err(|error: TitleError| Fault::new(FaultKind::Usage, error.to_string()))
}

/// What a reference to the past means: a time as people write it, else what stands where a title does.
fn when(text: &str) -> Result<At, Fault> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(At::Time(time.as_millisecond().max(0).unsigned_abs()));
    }
    At::named(text).ok_or_else(|| {
        let text: String = text.chars().take(100).collect();
        Fault::new(
            FaultKind::Usage,
            format!("\"{text}\" is neither the title of a snapshot nor a revision (g12) nor a time (2026-11-01T12:00:00Z, 20261101t120000z)"),
        )
    })
}
