//! Exit codes, and the one place that decides which failure gets which.

use super::hints::{self, Switches};
use crate::app::AppError;
use crate::app::ops::{Fault, FaultKind};
use crate::auth::AuthError;
use crate::config::{ConfigError, ConfigErrorKind};
use crate::fetch::FetchError;
use crate::types::{NameError, TitleError};
use std::fmt;

/// How a command ends. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: tried, and it did not work.
    Failed,
    /// 2: the command line, a name or the configuration is wrong.
    Usage,
    /// 3: the state of things forbids it.
    State,
    /// 4: stored data is damaged.
    Damaged,
    /// 6: done, but signatures or other documents that may be attached to the image are missing.
    Evidence,
}

impl Exit {
    /// The number for the shell.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::State => 3,
            Self::Damaged => 4,
            Self::Evidence => 6,
        }
    }
}

impl From<FaultKind> for Exit {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Failed | FaultKind::NotFound | FaultKind::Denied => Self::Failed,
            FaultKind::Usage => Self::Usage,
            FaultKind::State => Self::State,
            FaultKind::Damaged => Self::Damaged,
            FaultKind::Evidence => Self::Evidence,
        }
    }
}

/// Why a command ended otherwise than done. As JSON `{"kind": "usage", "message": "..."}`.
#[derive(Debug, serde::Serialize)]
pub struct Failure {
    /// What kind; the exit code follows from it.
    pub kind: FaultKind,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of this kind with this text.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Wrong use.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Usage, message)
    }

    /// It did not work.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(FaultKind::Failed, message.to_string())
    }

    /// Another server cannot be asked, by a command with these switches.
    pub fn reaching(error: &FetchError, switches: Switches) -> Self {
        let remedy = error.remedy();
        let text = hints::with_switches(error.to_string(), remedy.as_ref(), switches);
        Self::new(FaultKind::Failed, text)
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.kind.into()
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = hints::with(fault.message, fault.remedy.as_ref());
        Self::new(fault.kind, message)
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Fault::from(error).into()
    }
}

impl From<TitleError> for Failure {
    fn from(error: TitleError) -> Self {
        Fault::from(error).into()
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Fault::from(error).into()
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Fault::from(error).into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let kind = match error.kind() {
            ConfigErrorKind::Usage => FaultKind::Usage,
            ConfigErrorKind::Refused => FaultKind::State,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn every_kind_has_its_code() {
        let code = |kind: FaultKind| Failure::from(Fault::new(kind, "x")).exit().code();
        assert_eq!(code(FaultKind::Failed), 1);
        assert_eq!(code(FaultKind::NotFound), 1);
        assert_eq!(code(FaultKind::Denied), 1);
        assert_eq!(code(FaultKind::Usage), 2);
        assert_eq!(code(FaultKind::State), 3);
        assert_eq!(code(FaultKind::Damaged), 4);
        assert_eq!(code(FaultKind::Evidence), 6);
        assert_eq!(Exit::Done.code(), 0);
    }

    #[test]
    fn a_directory_in_the_way_is_a_refusal() {
        for error in [
            AppError::Foreign(PathBuf::from("/x")),
            AppError::Already(PathBuf::from("/x")),
            AppError::Missing(PathBuf::from("/x")),
        ] {
            assert_eq!(Failure::from(error).exit(), Exit::State);
        }
        assert_eq!(
            Failure::from(ConfigError::Together("x".into())).exit(),
            Exit::Usage
        );
    }
}
