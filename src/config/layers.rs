//! Lays defaults, mode presets, file, environment and flags over one another and notes which won. Checks the result as a whole.

use super::entries::{Entries, SettingOrigin, Table, at};
use super::file::{self, FoundSetting};
use super::key::{self, KeySpec, Schema};
use super::section::Section;
use super::value::{Value, ValueKind};
use super::{Config, ConfigError, Mode};
use crate::datadir;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the layers are made from. The caller reads arguments and environment, so that tests need neither.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `--config FILE`: must exist. Else `DRYPORT_CONFIG`, else DIR/dryport.toml if it is there.
    pub config_file: Option<PathBuf>,
    /// `--data DIR`.
    pub data: Option<PathBuf>,
    /// (key, value) of other flags, such as `("listen.https", "[::]:443")`; a list key given twice adds up.
    pub flags: Vec<(String, String)>,
    /// The whole environment; only `DRYPORT_*`, HOME and `XDG_DATA_HOME` are looked at.
    pub env: Vec<(String, String)>,
}

/// A configuration that was read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Dotted key -> where its value came from; every key is there, but none of a list's tables.
    pub origins: BTreeMap<&'static str, SettingOrigin>,
    /// Things to tell people that are no errors, such as unknown `DRYPORT_` variables.
    pub warnings: Vec<String>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    pub(super) entries: Entries,
}

/// Reads all layers (flags win over environment, file, mode, default), checks them and keeps the origins.
#[expect(
    clippy::needless_pass_by_value,
    reason = "called once with options made for it"
)]
pub fn load(options: LoadOptions) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let environment = environment(&options.env, &mut warnings)?;
    let file = file_text(&options, &environment)?;
    let loaded = lay(&options, environment, warnings, file)?;
    if !is_named(&options) {
        stays_there(&loaded)?;
    }
    Ok(loaded)
}

/// A file that was found in a data directory, which its owner can write, leads to no other one: that other's owner, or
/// root, would go by its settings.
fn stays_there(loaded: &Loaded) -> Result<(), ConfigError> {
    let (Some(file), Some(SettingOrigin::File(_))) = (&loaded.file, loaded.origins.get("data"))
    else {
        return Ok(());
    };
    let whole = |path: &Path| path.canonicalize().ok();
    let here = file.parent().and_then(whole);
    if here.is_some() && here == whole(&loaded.config.data) {
        return Ok(());
    }
    Err(ConfigError::Together(format!(
        "{} was found in a data directory and names another one, {}: take the line `data` out of it, or name the file with --config or the directory with --data",
        file.display(),
        loaded.config.data.display()
    )))
}

/// Whether somebody named the configuration file.
fn is_named(options: &LoadOptions) -> bool {
    options.config_file.is_some() || variable(&options.env, "DRYPORT_CONFIG").is_some()
}

/// The same with `text` in the place of the configuration file at `path`, which is not read and need not be there.
pub fn load_text(
    options: &LoadOptions,
    path: PathBuf,
    text: String,
) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let environment = environment(&options.env, &mut warnings)?;
    lay(options, environment, warnings, Some((path, text)))
}

/// Lays the layers over one another; `file` is the path and text of the configuration file.
fn lay(
    options: &LoadOptions,
    environment: Entries,
    warnings: Vec<String>,
    file: Option<(PathBuf, String)>,
) -> Result<Loaded, ConfigError> {
    let flags = flags(options)?;
    let (from_file, file) = match file {
        Some((path, text)) => (file_layer(Config::SCHEMA, &path, &text)?, Some(path)),
        None => (Entries::default(), None),
    };
    let mut upper = from_file;
    upper.extend(environment);
    upper.extend(flags);
    let mode = upper
        .get("mode")
        .map_or(Ok(Mode::Mirror), |e| mode_of(&e.value))?;
    let mut entries = over_defaults(Config::SCHEMA, mode, upper)?;
    if let Some(data) = entries.get_mut("data")
        && data.value == Value::Text(String::new())
    {
        data.value = Value::Text(default_data(&options.env)?);
        data.origin = SettingOrigin::Default;
    }
    Ok(Loaded {
        config: Config::read(&entries)?,
        origins: entries.origins(),
        warnings,
        file,
        entries,
    })
}

fn mode_of(value: &Value) -> Result<Mode, ConfigError> {
    match value {
        Value::Text(word) if word == "standalone" => Ok(Mode::Standalone),
        Value::Text(word) if word == "full" => Err(ConfigError::Full),
        _ => Ok(Mode::Mirror),
    }
}

/// What was given, laid over the defaults and what the mode presets, in each table of a list too.
pub(super) fn over_defaults(
    schema: Schema,
    mode: Mode,
    mut given: Entries,
) -> Result<Entries, ConfigError> {
    for list in schema.lists() {
        for table in given.lists.entry(list.name).or_default() {
            let mut all = lower(list.keys.iter(), mode)?;
            all.extend(std::mem::take(&mut table.entries));
            table.entries = all;
        }
    }
    let mut all = lower(schema.keys(), mode)?;
    all.extend(given);
    Ok(all)
}

fn lower<'a>(keys: impl Iterator<Item = &'a KeySpec>, mode: Mode) -> Result<Entries, ConfigError> {
    let mut entries = Entries::default();
    for key in keys {
        let (text, origin) = match key.standalone {
            Some(preset) if mode == Mode::Standalone => (preset, SettingOrigin::Mode(mode)),
            _ => (key.default, SettingOrigin::Default),
        };
        let value = key.kind.parse(text).map_err(at(&origin))?;
        entries.set(key.name, value, origin);
    }
    Ok(entries)
}

fn variable<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter()
        .find(|(n, value)| n == name && !value.is_empty())
        .map(|(_, value)| value.as_str())
}

fn environment(
    env: &[(String, String)],
    warnings: &mut Vec<String>,
) -> Result<Entries, ConfigError> {
    let mut entries = Entries::default();
    for (variable, text) in env {
        let Some(name) = variable.strip_prefix("DRYPORT_") else {
            continue;
        };
        let (name, long) = match name {
            "CONFIG" => continue,
            "LOG" => ("log.level".to_owned(), false),
            _ => (name.to_ascii_lowercase().replace("__", "."), true),
        };
        let Some(key) = Config::SCHEMA.find(&name) else {
            let hint = key::hint(&name, Config::SCHEMA.keys().map(|key| key.name));
            warnings.push(format!(
                "environment variable {variable} names no setting and is ignored{hint}"
            ));
            continue;
        };
        // `X= dryport serve` is the usual way to say that X is not set; an empty list is a value.
        if text.is_empty() && !key.kind.is_list() {
            continue;
        }
        let origin = SettingOrigin::Environment(variable.clone());
        let value = key.kind.parse(text).map_err(at(&origin))?;
        // DRYPORT_LOG is the short form: the full name wins, in whatever order they come.
        if long || entries.get(key.name).is_none() {
            entries.set(key.name, value, origin);
        }
    }
    Ok(entries)
}

fn flags(options: &LoadOptions) -> Result<Entries, ConfigError> {
    let mut entries = Entries::default();
    for (name, text) in &options.flags {
        let flag = |key: &KeySpec| {
            key.flag
                .map_or_else(|| format!("set {name}"), str::to_owned)
        };
        let Some(key) = Config::SCHEMA.find(name) else {
            let hint = Config::SCHEMA.hint(name);
            return Err(at(format!("flag --set {name}"))(format!(
                "there is no such setting{hint}"
            )));
        };
        let origin = SettingOrigin::Flag(flag(key));
        let value = key.kind.parse(text).map_err(at(&origin))?;
        let earlier = entries.get(key.name).map(|entry| entry.value.clone());
        let value = match (earlier, value) {
            (Some(Value::List(mut all)), Value::List(more)) => {
                all.extend(more);
                Value::List(all)
            }
            (_, value) => value,
        };
        entries.set(key.name, value, origin);
    }
    if let Some(data) = &options.data {
        let value = Value::Text(data.to_string_lossy().into_owned());
        let origin = SettingOrigin::Flag("data".to_owned());
        entries.set("data", value, origin);
    }
    Ok(entries)
}

/// The file's path and text, if there is one.
fn file_text(
    options: &LoadOptions,
    env: &Entries,
) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let named = options
        .config_file
        .clone()
        .or_else(|| variable(&options.env, "DRYPORT_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        return match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(source) => Err(ConfigError::Read { path, source }),
        };
    }
    let dir = data_before_file(options, env)?;
    let path = dir.join("dryport.toml");
    match datadir::is_there(&path) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        // Settings that this process may not see are not the defaults.
        Err(source) => return Err(ConfigError::Read { path, source }),
    }
    // Who can write there chooses the settings, also those of a command that root runs.
    datadir::judge(&dir)?;
    match datadir::read_text(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// The values of the file at `path`.
pub(super) fn file_layer(schema: Schema, path: &Path, text: &str) -> Result<Entries, ConfigError> {
    let origin = SettingOrigin::File(path.to_owned());
    let layer = |found: Vec<FoundSetting>| {
        let mut entries = Entries::default();
        for FoundSetting { key, value } in found {
            entries.set(key.name, beside(path, key, value), origin.clone());
        }
        entries
    };
    let read = file::read(schema, text).map_err(at(path.display()))?;
    let mut entries = layer(read.keys);
    for table in read.tables {
        let tables = entries.lists.entry(table.list.name).or_default();
        tables.push(Table {
            file: path.to_owned(),
            line: table.line,
            entries: layer(table.keys),
        });
    }
    Ok(entries)
}

/// The data directory as far as it is known before a file is read.
fn data_before_file(options: &LoadOptions, env: &Entries) -> Result<PathBuf, ConfigError> {
    let flag = options.flags.iter().rev().find(|(key, _)| key == "data");
    let flag = flag.map(|(_, value)| PathBuf::from(value));
    if let Some(data) = options.data.clone().or(flag) {
        return Ok(data);
    }
    match env.get("data").map(|entry| &entry.value) {
        Some(Value::Text(data)) if !data.is_empty() => Ok(PathBuf::from(data)),
        _ => default_data(&options.env).map(PathBuf::from),
    }
}

/// Paths in a file count from the file's folder, wherever the server was started.
fn beside(file: &Path, key: &KeySpec, value: Value) -> Value {
    match (value, file.parent()) {
        (Value::Text(path), Some(folder)) if key.kind == ValueKind::Path && !path.is_empty() => {
            Value::Text(folder.join(path).to_string_lossy().into_owned())
        }
        (value, _) => value,
    }
}

fn default_data(env: &[(String, String)]) -> Result<String, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/dryport".to_owned());
    }
    let absolute = |name: &str| variable(env, name).filter(|path| path.starts_with('/'));
    if let Some(base) = absolute("XDG_DATA_HOME") {
        return Ok(format!("{base}/dryport"));
    }
    match absolute("HOME") {
        Some(home) => Ok(format!("{home}/.local/share/dryport")),
        None => Err(ConfigError::Together(
            "no data directory: neither --data nor DRYPORT_DATA is given, and HOME is not set; give --data DIR".to_owned(),
        )),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests;
