//! What can be done about a failure, told apart from how it is asked for: one surface names a command, another a page.

/// What whoever runs this server can do. A surface says it in the words of its own people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Let this mirror take what is attached to its images.
    TakeAttachments(String),
    /// Give a quota more room.
    RaiseQuota,
    /// Let a quota keep more history.
    RaiseHistory,
    /// Keep the history of this repository longer.
    KeepHistory(String),
    /// Let one client have more unfinished uploads.
    AllowUploads,
    /// Delete the snapshots as well.
    WithSnapshots,
    /// See which quotas there are.
    ListQuotas,
    /// See which users there are.
    ListUsers,
    /// Have the data checked.
    Check,
}
