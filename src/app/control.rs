//! The local control API: what the command line may ask of a running server, or of the data directory when none runs.
//!
//! Owns the types of requests, progress and answers (serde only, one JSON value each) and [`execute`], which does the
//! work. Knows neither sockets nor terminals: `http::control` serves it, `cli` calls it. Who may call it has been settled
//! before: whoever can open the socket, or the data directory itself, is the operator.

mod check;
mod jobs;
mod mirror;
mod push;
mod schedule;
mod snapshot;
mod work;

use crate::auth::{RoleGrant, UserView};
pub use crate::gc::Report;
pub use crate::gc::check::{CheckProgress, CheckReport, CheckRequest};
pub use crate::repo::reclaim::{Survey, Tally as SweepTally};
use crate::repo::{
    QuotaView, RepoView, Restored, SettingsChange, SnapshotDiff, SnapshotPage, SnapshotView,
    TagChange,
};
pub use crate::store::{DatabaseCopy, DatabaseStatus};
use crate::types::{JobId, Kind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

pub use crate::jobs::{JobLine, JobState, JobView, Rhythm, Schedule, ScheduleView};
pub use crate::mirror::{MirrorReport, Progress as MirrorProgress};
pub use check::{RefetchJob, Refetched};
pub use mirror::MirrorJob;
pub(in crate::app) use mirror::run as run_mirror;
pub use push::{Pushed, file_at, push};
pub use schedule::ScheduleRequest;
pub use snapshot::SnapshotRequest;
pub use work::execute;
pub(super) use work::{of_store, trust_view};

/// How far slow work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Progress {
    /// The work is this job.
    Job(JobBegun),
    /// Of a copy from another registry.
    Mirror(MirrorProgress),
    /// Of a check.
    Check(CheckProgress),
    /// Of a sweep: what came of it so far.
    Sweep(SweepTally),
}

/// The job that does what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBegun {
    /// Its number.
    pub job: JobId,
    /// Another command had begun it.
    pub joined: bool,
}

/// Hears how far slow work is. Called from any thread; must not block.
pub type News = Arc<dyn Fn(Progress) + Send + Sync>;

/// The socket's path below the data directory.
pub const SOCKET: &str = "run/control.sock";

/// Where the socket takes files, before the repository and the path, both percent-encoded.
pub const FILES: &str = "/files/";

/// A text that must not reach a log: `Debug` shows none of it. On the socket it travels as a plain string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Which server is this? Answered by [`Reply::Trust`].
    Trust,
    /// What the database is. Answered by [`Reply::Database`].
    DbStatus,
    /// Makes an account.
    UserAdd {
        /// The account's name.
        name: String,
        /// Its password.
        password: Secret,
        /// What it may do, from the start.
        grants: Vec<RoleGrant>,
    },
    /// Every account. Answered by [`Reply::Users`].
    UserList,
    /// Sets a new password.
    UserPasswd {
        /// The account's name.
        name: String,
        /// Its new password.
        password: Secret,
    },
    /// Gives an account a role on a prefix, in place of the role that it had on exactly this prefix.
    UserGrant {
        /// The account's name.
        name: String,
        /// Role and prefix.
        grant: RoleGrant,
    },
    /// Takes away the role on exactly this prefix.
    UserRevoke {
        /// The account's name.
        name: String,
        /// The prefix; empty is everything.
        prefix: String,
    },
    /// Removes an account.
    UserRemove {
        /// The account's name.
        name: String,
    },
    /// One page of the repositories. Answered by [`Reply::Repos`].
    RepoList {
        /// Names strictly after this one.
        after: Option<String>,
    },
    /// One repository. Answered by [`Reply::Repo`].
    RepoShow {
        /// Its name.
        name: String,
    },
    /// Makes an empty repository.
    RepoCreate {
        /// Its name.
        name: String,
        /// What it is to hold.
        kind: Kind,
    },
    /// Deletes a repository with all its tags.
    RepoDelete {
        /// Its name.
        name: String,
        /// Its snapshots go with it.
        #[serde(default)]
        with_snapshots: bool,
    },
    /// One page of a repository's tags. Answered by [`Reply::Tags`].
    TagList {
        /// The repository.
        repo: String,
        /// Tags strictly after this one.
        after: Option<String>,
    },
    /// What a tag has meant, newest first. Answered by [`Reply::History`].
    TagHistory {
        /// The repository.
        repo: String,
        /// The tag.
        tag: String,
    },
    /// Deletes a tag; the manifest stays.
    TagDelete {
        /// The repository.
        repo: String,
        /// The tag.
        tag: String,
    },
    /// Makes a tag mean again what it meant. Answered by [`Reply::Restored`].
    TagRestore {
        /// The repository.
        repo: String,
        /// The tag.
        tag: String,
        /// What it meant when.
        when: When,
    },
    /// The file at a path. Answered by [`Reply::File`].
    FileShow {
        /// Repository and path.
        target: String,
    },
    /// Something about snapshots.
    Snapshot(SnapshotRequest),
    /// Something about schedules of jobs.
    Schedule(ScheduleRequest),
    /// Changes settings of a repository.
    RepoSet {
        /// The repository.
        name: String,
        /// What becomes another.
        change: SettingsChange,
    },
    /// Sets how many bytes the repositories below a prefix may show.
    QuotaSet {
        /// The prefix; empty is the whole box.
        prefix: String,
        /// Bytes.
        limit: u64,
        /// Bytes that only the history may keep; none: as many.
        #[serde(default)]
        history: Option<u64>,
    },
    /// Every quota. Answered by [`Reply::Quotas`].
    QuotaList,
    /// Ends a quota.
    QuotaRemove {
        /// The prefix; empty is the whole box.
        prefix: String,
    },
    /// One whole sweep. Answered by [`Reply::Swept`].
    Gc {
        /// The history keeps nothing this time.
        purge_history: bool,
    },
    /// What a sweep would find. Answered by [`Reply::Survey`].
    GcSurvey,
    /// One check of all data. Answered by [`Reply::Checked`], with [`Progress`] on the way.
    Check(CheckRequest),
    /// Fetches damaged contents again. Answered by [`Reply::Refetched`].
    Refetch(Box<RefetchJob>),
    /// Copies an image from another registry. Answered by [`Reply::Mirrored`], with [`Progress`] on the way; detached, by
    /// [`Reply::Job`] once it has begun.
    Mirror(Box<MirrorJob>),
    /// Every job, the newest first. Answered by [`Reply::Jobs`].
    JobList,
    /// One job. Answered by [`Reply::Job`].
    JobShow {
        /// Its number.
        id: JobId,
    },
    /// A job's log. Answered by [`Reply::JobLog`].
    JobLog {
        /// Its number.
        id: JobId,
    },
    /// Has a job end.
    JobCancel {
        /// Its number.
        id: JobId,
    },
    /// Queues a job again that failed or was cancelled.
    JobRetry {
        /// Its number.
        id: JobId,
    },
}

impl Request {
    /// The request's name for the log, for example `user-add`; nothing of its content.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::DbStatus => "db-status",
            Self::UserAdd { .. } => "user-add",
            Self::UserList => "user-list",
            Self::UserPasswd { .. } => "user-passwd",
            Self::UserGrant { .. } => "user-grant",
            Self::UserRevoke { .. } => "user-revoke",
            Self::UserRemove { .. } => "user-remove",
            Self::RepoList { .. } => "repo-list",
            Self::RepoShow { .. } => "repo-show",
            Self::RepoCreate { .. } => "repo-create",
            Self::RepoDelete { .. } => "repo-delete",
            Self::TagList { .. } => "tag-list",
            Self::TagHistory { .. } => "tag-history",
            Self::TagDelete { .. } => "tag-delete",
            Self::TagRestore { .. } => "tag-restore",
            Self::FileShow { .. } => "file-show",
            Self::Snapshot(request) => request.name(),
            Self::Schedule(request) => request.name(),
            Self::RepoSet { .. } => "repo-set",
            Self::QuotaSet { .. } => "quota-set",
            Self::QuotaList => "quota-list",
            Self::QuotaRemove { .. } => "quota-remove",
            Self::Gc { .. } => "gc",
            Self::GcSurvey => "gc-survey",
            Self::Check(_) => "check",
            Self::Refetch(_) => "refetch",
            Self::Mirror(_) => "mirror",
            Self::JobList => "job-list",
            Self::JobShow { .. } => "job-show",
            Self::JobLog { .. } => "job-log",
            Self::JobCancel { .. } => "job-cancel",
            Self::JobRetry { .. } => "job-retry",
        }
    }
}

/// A point in a repository's history.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// This revision.
    Rev(u64),
    /// The newest revision by this time (wall clock, ms).
    AtMs(u64),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", content = "value", rename_all = "kebab-case")]
pub enum Reply {
    /// Done; there is nothing more to say.
    Done,
    /// How clients come to trust this server.
    Trust(TrustView),
    /// What the database is.
    Database(DatabaseStatus),
    /// The accounts, by name.
    Users(Vec<UserView>),
    /// One page of repositories, by name.
    Repos {
        /// The page.
        repos: Vec<RepoView>,
        /// Whether another page follows.
        more: bool,
    },
    /// One repository.
    Repo(RepoView),
    /// One page of tags, in order.
    Tags {
        /// The page.
        tags: Vec<String>,
        /// Whether another page follows.
        more: bool,
    },
    /// A tag's history, newest first.
    History(Vec<TagChange>),
    /// The digest that the tag means again.
    Restored(String),
    /// One page of snapshots.
    Snapshots(SnapshotPage),
    /// One snapshot, with its root digest.
    SnapshotShown(SnapshotView),
    /// What changed between two.
    SnapshotDiff(SnapshotDiff),
    /// What a restore came to.
    SnapshotRestored(Vec<Restored>),
    /// The quotas, by prefix.
    Quotas(Vec<QuotaView>),
    /// What the sweep did.
    Swept(Report),
    /// What a sweep would find.
    Survey(Survey),
    /// What the check found.
    Checked(Box<CheckReport>),
    /// What came of each digest.
    Refetched(Vec<Refetched>),
    /// The image is there.
    Mirrored(MirrorReport),
    /// A job.
    Job(Box<JobView>),
    /// The jobs, the newest first.
    Jobs {
        /// They.
        jobs: Vec<JobView>,
    },
    /// A schedule.
    Scheduled(Box<ScheduleView>),
    /// The schedules, the oldest first.
    Schedules {
        /// They.
        schedules: Vec<ScheduleView>,
    },
    /// A job's log, the oldest line first.
    JobLog {
        /// Its lines.
        lines: Vec<JobLine>,
    },
    /// The file is there.
    Pushed(Pushed),
    /// The file, if there is one that can be read.
    File(Option<Pushed>),
}

/// Certificate and address of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// The CA certificate in PEM; none where the certificate is the operator's own.
    pub ca_pem: Option<String>,
    /// SHA-256 of the CA certificate, else of the operator's own: `AA:BB:...`.
    pub fingerprint: String,
    /// Names and addresses that the certificate holds for.
    pub names: Vec<String>,
    /// Host names (each with all under it) and networks that the CA may sign for; none: any.
    #[serde(default)]
    pub ca_permits: Option<Vec<String>>,
    /// `HOST:PORT` that clients type.
    pub host: String,
    /// All of this, and what to do with it, for people.
    pub text: String,
}

/// The kinds of failure that a caller may act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// It was tried and did not work; trying again may help.
    Failed,
    /// The request itself is wrong.
    Usage,
    /// What it names is not there.
    NotFound,
    /// The state of things forbids it: exists already, locked, read-only.
    State,
    /// Stored data is damaged.
    Damaged,
    /// The image is here, and of what is attached to it something could not be had.
    Evidence,
}

/// A failure, for people and for exit codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened and what to do.
    pub message: String,
}

impl Fault {
    /// A failure of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }
}

/// One line of an answer: news while the work goes on, then exactly one `ok` or `error`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// How far the work is.
    Progress(Progress),
    /// Done.
    Ok(Reply),
    /// Failed.
    Error(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    #[test]
    fn lines_are_tagged_json() {
        let ok = serde_json::to_string(&Line::Ok(Reply::Done)).expect("json");
        assert_eq!(ok, r#"{"ok":{"what":"done"}}"#);
        let error = Line::Error(Fault::new(FaultKind::NotFound, "no"));
        let error = serde_json::to_string(&error).expect("json");
        assert_eq!(error, r#"{"error":{"kind":"not-found","message":"no"}}"#);
    }

    #[test]
    fn progress_reads_back() {
        let check = Progress::Check(CheckProgress {
            checked_blobs: 3,
            ..CheckProgress::default()
        });
        let mirror = Progress::Mirror(MirrorProgress::Skipped {
            digest: "sha256:00".into(),
            size: 7,
        });
        let job = Progress::Job(JobBegun {
            job: JobId(7),
            joined: true,
        });
        let sweep = Progress::Sweep(SweepTally::default());
        for progress in [check, mirror, job, sweep] {
            let text = serde_json::to_string(&progress).expect("json");
            let back: Progress = serde_json::from_str(&text).expect("same");
            assert_eq!(back, progress);
        }
    }

    #[test]
    fn requests_read_back_and_debug_hides_passwords() {
        let request = Request::UserAdd {
            name: "ann".into(),
            password: Secret("hunter2".into()),
            grants: vec![RoleGrant {
                role: Role::Writer,
                prefix: "team".into(),
            }],
        };
        assert!(!format!("{request:?}").contains("hunter2"));
        let text = serde_json::to_string(&request).expect("json");
        let back: Request = serde_json::from_str(&text).expect("same");
        assert_eq!(back.name(), "user-add");
        assert!(matches!(back, Request::UserAdd { password, .. } if password.0 == "hunter2"));
    }
}
