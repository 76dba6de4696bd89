//! Why something of an upstream cannot be had.

use super::AGAIN;
use crate::blobs::GrowingError;
use crate::fetch::{FetchError, FetchErrorKind};
use crate::repo::RepoError;
use crate::types::Digest;
use crate::upstream::UpstreamName;
use std::sync::Arc;
use std::time::Duration;

/// Why something of an upstream cannot be had. Whoever waits for the same gets the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The upstream does not have it.
    #[error("{what} is not here, and upstream {upstream} does not have it")]
    NotThere {
        /// Whom was asked.
        upstream: UpstreamName,
        /// What was asked for, as `manifest 1.0`.
        what: String,
    },
    /// It is not here, and nobody else is asked: what has this name here is no cache.
    #[error("{0} is not known in this repository")]
    NotHere(String),
    /// The settings of the upstream do not let it be asked for.
    #[error("upstream {0} may not be asked for this name")]
    NotAllowed(UpstreamName),
    /// The upstream does not give it to this server.
    #[error("upstream {upstream} refuses: {why}")]
    Denied {
        /// Whom was asked.
        upstream: UpstreamName,
        /// What it said.
        why: String,
    },
    /// The upstream is not to be asked.
    #[error("{what} is not here, and upstream {upstream} is switched off")]
    Offline {
        /// Whom was not asked.
        upstream: UpstreamName,
        /// What was asked for.
        what: String,
    },
    /// The upstream cannot be reached, or is overloaded.
    #[error("upstream {upstream} does not answer: {why}")]
    Away {
        /// Whom was asked.
        upstream: UpstreamName,
        /// What happened.
        why: String,
        /// When to ask again.
        again: Duration,
    },
    /// This server has nothing to ask it with; its log says why.
    #[error(
        "upstream {0} cannot be asked: something that its settings name is not there; the log of this server says what"
    )]
    NotReady(UpstreamName),
    /// What came is not what it should be.
    #[error("upstream {upstream} sent something wrong: {why}")]
    Wrong {
        /// Whom was asked.
        upstream: UpstreamName,
        /// What is wrong.
        why: String,
    },
    /// What came has another digest.
    #[error("upstream {upstream} sent something wrong: {what} has the digest {got}, not {wanted}")]
    WrongDigest {
        /// Whom was asked.
        upstream: UpstreamName,
        /// What was asked for.
        what: String,
        /// Its digest.
        wanted: Digest,
        /// That of what came.
        got: Digest,
    },
    /// Our own side failed.
    #[error("{0}")]
    Repo(Arc<RepoError>),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

/// Kinds of [`PullError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullErrorKind {
    /// Nobody has it.
    NotThere,
    /// It may not be had.
    Denied,
    /// It may be had later.
    Away,
    /// The upstream is defective.
    Wrong,
    /// This registry failed.
    Internal,
}

impl PullError {
    /// It took longer than anybody waits.
    pub(super) fn late(upstream: &UpstreamName) -> Self {
        Self::Away {
            upstream: upstream.clone(),
            why: "it takes its time".to_owned(),
            again: AGAIN,
        }
    }

    /// Why something that is here was not compared with the upstream's.
    pub(super) fn why_stale(&self) -> String {
        match self {
            Self::Offline { upstream, .. } => format!("upstream {upstream} is switched off"),
            Self::NotThere { upstream, .. } => format!("upstream {upstream} does not have it"),
            error => error.to_string(),
        }
    }

    /// The kind.
    pub fn kind(&self) -> PullErrorKind {
        match self {
            Self::NotThere { .. } | Self::NotHere(_) => PullErrorKind::NotThere,
            Self::NotAllowed(_) | Self::Denied { .. } => PullErrorKind::Denied,
            Self::Offline { .. } | Self::Away { .. } | Self::NotReady(_) => PullErrorKind::Away,
            Self::Wrong { .. } | Self::WrongDigest { .. } => PullErrorKind::Wrong,
            Self::Repo(_) | Self::Internal(_) => PullErrorKind::Internal,
        }
    }

    /// Of a failed request to this upstream for this.
    pub(in crate::upstream) fn of(upstream: &UpstreamName, what: &str, error: &FetchError) -> Self {
        let upstream = upstream.clone();
        let why = error.reason();
        if let FetchError::Status { status, .. } = error {
            return match status {
                404 | 410 => Self::NotThere {
                    upstream,
                    what: what.to_owned(),
                },
                401 | 403 => Self::Denied { upstream, why },
                429 | 500.. => Self::Away {
                    upstream,
                    why,
                    again: AGAIN,
                },
                _ => Self::Wrong { upstream, why },
            };
        }
        let again = match error {
            FetchError::Wait { seconds, .. } => Duration::from_secs(*seconds),
            FetchError::Away { retry_after, .. } => *retry_after,
            _ => AGAIN,
        };
        match error {
            FetchError::Redirect { .. } => return Self::Wrong { upstream, why },
            FetchError::Body { .. } => {
                return Self::Away {
                    upstream,
                    why,
                    again,
                };
            }
            _ => {}
        }
        match error.kind() {
            FetchErrorKind::Refused => Self::Denied { upstream, why },
            FetchErrorKind::Unreachable => Self::Away {
                upstream,
                why,
                again,
            },
            _ => Self::Wrong { upstream, why },
        }
    }
}

impl From<RepoError> for PullError {
    fn from(error: RepoError) -> Self {
        Self::Repo(Arc::new(error))
    }
}

impl From<GrowingError> for PullError {
    fn from(error: GrowingError) -> Self {
        Self::Internal(error.to_string())
    }
}
