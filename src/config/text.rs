//! Texts made from the table: the annotated default file, the file that `init` writes, `config print`.

use super::keys::{KEYS, Key};
use super::{Loaded, Mode};
use serde::Serialize;
use std::fmt::Write as _;

/// The whole configuration file with every key, its meaning and its default, each commented out.
pub fn generate() -> String {
    let mut out = String::from(
        "# Dryport configuration. Every value here is the default; take away the # to change one.\n\
         # The environment (DRYPORT_ and the key in capitals, . as __) and flags win over this file.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (own, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if own != section {
            section = own;
            let _ = write!(out, "\n[{section}]\n");
        } else if own.is_empty() {
            out.push('\n');
        }
        for line in key.doc.lines() {
            let _ = writeln!(out, "# {line}");
        }
        if let Some(preset) = key.standalone {
            let _ = writeln!(out, "# (mode standalone: {preset})");
        }
        let _ = writeln!(out, "# {name} = {}", default_text(key));
    }
    out
}

fn default_text(key: &Key) -> String {
    // The table's own test proves that every default parses.
    key.kind
        .parse(key.default)
        .map(|value| key.kind.show(&value))
        .unwrap_or_default()
}

/// What `init` writes to DIR/dryport.toml: the mode, and where to read on.
pub fn mode_file(mode: Mode) -> String {
    format!(
        "# Written by `dryport init`. `dryport config generate` prints every setting with its meaning.\n\
         mode = \"{mode}\"\n"
    )
}

/// A setting in force, for machines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its dotted name.
    pub key: &'static str,
    /// Its value as in the file: text (empty: not set; sizes and durations as `1GiB` and `24h`), a count, a
    /// switch, a list of texts.
    pub value: serde_json::Value,
    /// `default`, `mode MODE`, `file PATH`, `environment NAME` or `flag --NAME`.
    pub origin: String,
}

impl Loaded {
    /// Every value in force and where it came from, in the order of the generated file. No setting holds a secret: keys
    /// and passwords are in files of their own.
    pub fn settings(&self) -> Vec<Setting> {
        let found = |key: &Key| {
            let entry = self.entries.get(key.name)?;
            Some(Setting {
                key: key.name,
                value: key.kind.json(&entry.value),
                origin: entry.origin.to_string(),
            })
        };
        KEYS.iter().filter_map(found).collect()
    }

    /// Every value in force and where it came from, one a line: `key = value  # from ...`.
    pub fn print(&self) -> String {
        let mut out = String::new();
        for key in KEYS {
            let Some(entry) = self.entries.get(key.name) else {
                continue;
            };
            let value = key.kind.show(&entry.value);
            let _ = writeln!(out, "{} = {value}  # from {}", key.name, entry.origin);
        }
        out
    }
}
