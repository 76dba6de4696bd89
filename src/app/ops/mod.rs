//! Operations: everything that a person or a script may ask of an open registry, each declared once.
//!
//! Owns the trait of an operation, the one table of them ([`ALL`]) and how one is performed: who may ask, and what the log
//! keeps of it. A folder here is a noun, a file in it one operation. The control socket, REST and the command line are made
//! from the table; none of them is known here, and no operation names a path of this machine.

mod audit;
mod call;
mod check;
mod ctx;
mod fault;
mod file;
mod gc;
mod input;
mod job;
mod mirror;
mod quota;
mod reply;
mod repo;
mod schedule;
mod server;
mod snapshot;
mod tag;
mod upstream;
mod user;
mod wire;

use crate::auth::Action;
use crate::types::RepoName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use utoipa::ToSchema;

pub use audit::{AuditList, AuditVerify};
pub(super) use call::without_login;
pub use call::{Declared, Schemas, perform};
pub use check::{Check, Refetch, Refetched, RefetchedAll};
pub(super) use ctx::OPERATOR;
pub use ctx::{Ctx, HandedFiles, Requester};
pub(super) use fault::of_store;
pub use fault::{Fault, FaultKind};
pub use file::{FileAt, FilePush, FileShow, Pushed};
pub use gc::{GcSurvey, GcSweep};
pub use input::{PastRef, Prefix, Secret};
pub use job::{AllJobs, JobCancel, JobLines, JobList, JobLog, JobRetry, JobShow};
pub use mirror::MirrorJob;
pub(super) use mirror::run as run_mirror;
pub use quota::{QuotaList, QuotaRemove, QuotaSet, Quotas};
pub use reply::{Done, JobBegun, Line, News, Progress, Slow};
pub use repo::{RepoCreate, RepoDelete, RepoList, RepoPage, RepoSet, RepoShow};
pub use schedule::{ScheduleList, ScheduleMirror, ScheduleRemove, Schedules};
pub(super) use server::trust_view;
pub use server::{DatabaseShow, ServerTrust, TrustView};
pub use snapshot::{
    RestoredAll, SnapshotCreate, SnapshotDelete, SnapshotDiff, SnapshotHold, SnapshotList,
    SnapshotRestore, SnapshotShow, Snapshots,
};
pub use tag::{TagChanges, TagDelete, TagHistory, TagList, TagNames, TagRestore, TagRestored};
pub use upstream::{
    UpstreamAdd, UpstreamList, UpstreamRemove, UpstreamRemoved, UpstreamSet, UpstreamShow,
    UpstreamTry, UpstreamViews,
};
pub use user::{UserAdd, UserGrant, UserList, UserPasswd, UserRemove, UserRevoke, Users};
pub use wire::{ControlRequest, FILES_SOCKET, SOCKET, TAKEN, TOKEN};

/// Who can reach an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The operator by the control socket, and accounts with the right by REST.
    All,
    /// The operator alone: it concerns this machine, or what no account may be trusted with.
    Control,
}

/// What an operation does to what it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Changes nothing.
    Read,
    /// Makes something, or has something done.
    Make,
    /// Gives something another value.
    Set,
    /// Takes something away.
    Remove,
}

/// What an operation is, apart from its input and reply.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name on the control socket, in the log and in `OpenAPI`: noun and verb, for example `snapshot-create`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// What it does to what it concerns.
    pub verb: Verb,
    /// Where it stands among the others: `/snapshot/diff`.
    pub path: &'static str,
    /// The right that it needs on what it concerns.
    pub action: Action,
    /// Who can reach it.
    pub reach: Reach,
    /// It may take long: whoever does not wait gets a job.
    pub slow: bool,
}

impl Spec {
    /// One that every account with the right can reach.
    const fn new(name: &'static str, verb: Verb, path: &'static str, action: Action) -> Self {
        Self {
            name,
            about: "",
            verb,
            path,
            action,
            reach: Reach::All,
            slow: false,
        }
    }

    const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    const fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    const fn control_only(self) -> Self {
        Self {
            reach: Reach::Control,
            ..self
        }
    }
}

/// What an operation concerns; rights are looked up there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerns {
    /// The server as a whole.
    Server,
    /// A repository, whether it is there or not.
    Repo(RepoName),
    /// Every repository below a prefix; empty is all.
    Below(String),
    /// All repositories, of which the caller is shown those that it may see.
    Each,
}

/// One thing that may be asked for: its fields are its input.
pub trait Operation: Serialize + DeserializeOwned + ToSchema + Send + 'static {
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + ToSchema + Send + 'static;

    /// What it is.
    const SPEC: Spec;

    /// What it concerns.
    fn concerns(&self) -> Concerns {
        Concerns::Server
    }

    /// Whether it may change anything: then it has a row in the audit trail, whatever comes of it.
    fn changes(&self) -> bool {
        Self::SPEC.verb != Verb::Read
    }

    /// Does it, for a caller whose right was looked up. Every change is durable when this returns.
    fn run(self, ctx: &Ctx) -> impl Future<Output = Result<Self::Reply, Fault>> + Send;
}

/// Every operation, by name.
pub static ALL: &[Declared] = &[
    Declared::of::<AuditList>(),
    Declared::of::<AuditVerify>(),
    Declared::of::<Check>(),
    Declared::of::<Refetch>(),
    Declared::of::<DatabaseShow>(),
    Declared::of::<FilePush>(),
    Declared::of::<FileShow>(),
    Declared::of::<GcSurvey>(),
    Declared::of::<GcSweep>(),
    Declared::of::<JobCancel>(),
    Declared::of::<JobList>(),
    Declared::of::<JobLog>(),
    Declared::of::<JobRetry>(),
    Declared::of::<JobShow>(),
    Declared::of::<MirrorJob>(),
    Declared::of::<QuotaList>(),
    Declared::of::<QuotaRemove>(),
    Declared::of::<QuotaSet>(),
    Declared::of::<RepoCreate>(),
    Declared::of::<RepoDelete>(),
    Declared::of::<RepoList>(),
    Declared::of::<RepoSet>(),
    Declared::of::<RepoShow>(),
    Declared::of::<ScheduleList>(),
    Declared::of::<ScheduleMirror>(),
    Declared::of::<ScheduleRemove>(),
    Declared::of::<ServerTrust>(),
    Declared::of::<SnapshotCreate>(),
    Declared::of::<SnapshotDelete>(),
    Declared::of::<SnapshotDiff>(),
    Declared::of::<SnapshotHold>(),
    Declared::of::<SnapshotList>(),
    Declared::of::<SnapshotRestore>(),
    Declared::of::<SnapshotShow>(),
    Declared::of::<TagDelete>(),
    Declared::of::<TagHistory>(),
    Declared::of::<TagList>(),
    Declared::of::<TagRestore>(),
    Declared::of::<UpstreamAdd>(),
    Declared::of::<UpstreamList>(),
    Declared::of::<UpstreamRemove>(),
    Declared::of::<UpstreamSet>(),
    Declared::of::<UpstreamShow>(),
    Declared::of::<UpstreamTry>(),
    Declared::of::<UserAdd>(),
    Declared::of::<UserGrant>(),
    Declared::of::<UserList>(),
    Declared::of::<UserPasswd>(),
    Declared::of::<UserRemove>(),
    Declared::of::<UserRevoke>(),
];

/// The operation of this name.
pub fn named(name: &str) -> Option<&'static Declared> {
    ALL.iter().find(|row| row.spec().name == name)
}
