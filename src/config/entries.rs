//! Values with their origin, as one layer or all of them give them. Knows no setting by name and no rule of one.

use super::value::Value;
use super::{ConfigError, Mode};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// Built in.
    Default,
    /// Preset by the mode.
    Mode(Mode),
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This flag, without dashes.
    Flag(String),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// The error of a value that stands at `place`.
pub(super) fn at(place: impl fmt::Display) -> impl FnOnce(String) -> ConfigError {
    let place = place.to_string();
    move |problem| ConfigError::Value { place, problem }
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub(super) struct SettingEntry {
    pub(super) value: Value,
    pub(super) origin: SettingOrigin,
}

/// A table of a list; only files hold them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) file: PathBuf,
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// By the keys' dotted names.
    pub(super) entries: Entries,
}

/// Values by the dotted names of their keys, and the tables of lists by the lists' names.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    keys: BTreeMap<&'static str, SettingEntry>,
    pub(super) lists: BTreeMap<&'static str, Vec<Table>>,
}

impl Entries {
    pub(super) fn get(&self, name: &str) -> Option<&SettingEntry> {
        self.keys.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut SettingEntry> {
        self.keys.get_mut(name)
    }

    /// Puts a value in the place of an earlier one.
    pub(super) fn set(&mut self, name: &'static str, value: Value, origin: SettingOrigin) {
        self.keys.insert(name, SettingEntry { value, origin });
    }

    /// Lays another layer over this one: what it holds wins, a list as a whole.
    pub(super) fn extend(&mut self, over: Self) {
        self.keys.extend(over.keys);
        self.lists.extend(over.lists);
    }

    /// Where each value came from.
    pub(super) fn origins(&self) -> BTreeMap<&'static str, SettingOrigin> {
        let origin = |(name, entry): (&&'static str, &SettingEntry)| (*name, entry.origin.clone());
        self.keys.iter().map(origin).collect()
    }

    /// The tables of a list, each made a `T` by `read`. An error says where the table begins.
    pub(super) fn tables<T>(
        &self,
        list: &str,
        read: fn(&Self) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let tables = self.lists.get(list).into_iter().flatten();
        let one = |table: &Table| {
            read(&table.entries).map_err(|error| match error {
                ConfigError::Together(problem) => {
                    at(table.file.display())(format!("line {}: {problem}", table.line))
                }
                other => other,
            })
        };
        tables.map(one).collect()
    }
}
