//! Texts made from the declared sections: the annotated default file, the file that `init` writes, `config print`.

use super::entries::{Entries, SettingOrigin};
use super::key::{KeySpec, Schema};
use super::section::Section;
use super::{Config, Loaded, Mode};
use serde::Serialize;
use std::fmt::Write as _;

/// The whole configuration file with every key, its meaning and its default, each commented out.
pub fn generate() -> String {
    generate_all(Config::SCHEMA)
}

pub(super) fn generate_all(schema: Schema) -> String {
    let mut out = String::from(
        "# Dryport configuration. Every value here is the default; take away the # to change one.\n\
         # The environment (DRYPORT_ and the key in capitals, . as __) and flags win over this file.\n",
    );
    for section in schema.sections() {
        if !section.name.is_empty() {
            let _ = write!(out, "\n[{}]\n", section.name);
        }
        for key in section.keys {
            if section.name.is_empty() {
                out.push('\n');
            }
            describe(&mut out, key, "# ");
        }
    }
    for list in schema.lists() {
        // Indented, as no line of it makes sense without its head.
        let _ = write!(out, "\n# [[{}]]\n", list.name);
        for key in list.keys {
            describe(&mut out, key, "#   ");
        }
    }
    out
}

/// The comment lines of one key.
fn describe(out: &mut String, key: &KeySpec, margin: &str) {
    for line in key.doc.lines() {
        let _ = writeln!(out, "{margin}{line}");
    }
    if let Some(preset) = key.standalone {
        let _ = writeln!(out, "{margin}(mode standalone: {preset})");
    }
    let _ = writeln!(out, "{margin}{} = {}", key.short(), default_text(key));
}

fn default_text(key: &KeySpec) -> String {
    // Each load parses every default, and so does a test.
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
    /// switch, a list of texts. A list of tables is an array of objects.
    pub value: serde_json::Value,
    /// `default`, `mode MODE`, `file PATH`, `environment NAME` or `flag --NAME`.
    pub origin: String,
}

impl Loaded {
    /// Every value in force and where it came from, in the order of the generated file. No setting holds a secret: keys
    /// and passwords are in files of their own.
    pub fn settings(&self) -> Vec<Setting> {
        settings(Config::SCHEMA, &self.entries)
    }

    /// Every value in force and where it came from, one a line: `key = value  # from ...`.
    pub fn print(&self) -> String {
        print(Config::SCHEMA, &self.entries)
    }
}

/// All of them, a list of tables as one setting.
pub(super) fn settings(schema: Schema, entries: &Entries) -> Vec<Setting> {
    let found = |key: &KeySpec| {
        let entry = entries.get(key.name)?;
        Some(Setting {
            key: key.name,
            value: key.kind.json(&entry.value),
            origin: entry.origin.to_string(),
        })
    };
    let mut all: Vec<Setting> = schema.keys().filter_map(found).collect();
    for list in schema.lists() {
        let tables = entries.lists.get(list.name).map_or(&[][..], Vec::as_slice);
        let object = |table: &super::entries::Table| {
            let value = |key: &KeySpec| {
                let entry = table.entries.get(key.name)?;
                Some((key.short().to_owned(), key.kind.json(&entry.value)))
            };
            list.keys.iter().filter_map(value).collect()
        };
        let file = tables.first().map(|table| table.file.clone());
        all.push(Setting {
            key: list.name,
            value: tables
                .iter()
                .map(object)
                .collect::<Vec<serde_json::Map<_, _>>>()
                .into(),
            origin: file
                .map_or(SettingOrigin::Default, SettingOrigin::File)
                .to_string(),
        });
    }
    all
}

/// Tables come last, so that the whole is a file that can be read.
pub(super) fn print(schema: Schema, entries: &Entries) -> String {
    let mut out = String::new();
    for key in schema.keys() {
        line(&mut out, key, key.name, entries);
    }
    for list in schema.lists() {
        for table in entries.lists.get(list.name).into_iter().flatten() {
            let _ = writeln!(out, "[[{}]]", list.name);
            for key in list.keys {
                line(&mut out, key, key.short(), &table.entries);
            }
        }
    }
    out
}

fn line(out: &mut String, key: &KeySpec, name: &str, entries: &Entries) {
    if let Some(entry) = entries.get(key.name) {
        let value = key.kind.show(&entry.value);
        let _ = writeln!(out, "{name} = {value}  # from {}", entry.origin);
    }
}
