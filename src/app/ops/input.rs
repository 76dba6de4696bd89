//! Inputs that several operations share: secrets, prefixes, references to the past.

use super::fault::Fault;
use crate::repo::At;
use crate::types::{RepoName, as_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A text that must not reach a log: `Debug` shows none of it. It travels as a plain string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A prefix of repository names, without a slash at its end; empty is every repository. `*`, `team/` and `team/*` are
/// read as what they mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = crate::types::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text
            .strip_suffix("/*")
            .or_else(|| text.strip_suffix('/'))
            .unwrap_or(text);
        if text.is_empty() || text == "*" {
            return Ok(Self::default());
        }
        Ok(Self(text.parse::<RepoName>()?.to_string()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(
    Prefix,
    "Prefix",
    "A prefix of repository names; empty is every repository.",
    "team"
);

/// A reference to what a repository showed: the title of a snapshot, a revision (`g12`) or a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRef {
    text: String,
    at: At,
}

impl PastRef {
    /// What it means.
    pub fn at(&self) -> &At {
        &self.at
    }
}

impl FromStr for PastRef {
    type Err = Fault;

    /// A time as people write it, else what stands where a title does.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let at = match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(At::Time(time.as_millisecond().max(0).unsigned_abs())),
            Err(_) => At::named(text),
        };
        let at = at.ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            Fault::usage(format!("\"{text}\" is neither the title of a snapshot nor a revision (g12) nor a time (2026-11-01T12:00:00Z, 20261101t120000z)"))
        })?;
        Ok(Self {
            text: text.to_owned(),
            at,
        })
    }
}

impl fmt::Display for PastRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

as_text!(
    PastRef,
    "PastRef",
    "The title of a snapshot, a revision (g12) or a time (2026-11-01T12:00:00Z, 20261101t120000z).",
    "june"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let clean = |text: &str| text.parse::<Prefix>().map(|p| p.0);
        for all in ["", "*", "/", "/*"] {
            assert_eq!(clean(all).expect("everything"), "", "{all}");
        }
        for team in ["team", "team/", "team/*"] {
            assert_eq!(clean(team).expect("a prefix"), "team", "{team}");
        }
        assert!(clean("Team").is_err());
    }

    #[test]
    fn debug_hides_a_secret() {
        let secret = Secret("hunter2".into());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
