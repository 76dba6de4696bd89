//! A setting: what is known of it without its type ([`KeySpec`]) and with it ([`Key`]); how sections declare one, and how one is
//! found by its name. Knows no setting itself, no file and no environment.

use super::ConfigError;
use super::entries::{Entries, SettingOrigin, at};
use super::network::Network;
use super::value::{Value, ValueKind, listener};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is known of a setting: all that reading, printing and the generated file need.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeySpec {
    /// Dotted name.
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    /// Default, in the form of the environment (lists with commas); empty = not set or no members.
    pub(super) default: &'static str,
    /// What standalone mode presets instead.
    pub(super) standalone: Option<&'static str>,
    /// Name of its own command line flag, without dashes.
    pub(super) flag: Option<&'static str>,
    /// A running server does not take a new value.
    pub(super) restart: bool,
    bounds: Bounds,
    /// One to three lines for people.
    pub(super) doc: &'static str,
}

/// Numbers that a setting refuses.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    None,
    /// 0; the text says what it would do and what to write instead.
    NotZero(&'static str),
    Least(u64),
    /// What lies outside of both; the text says more.
    Between(u64, u64, &'static str),
}

impl KeySpec {
    /// The last part of the name, as it stands below its section's head.
    pub(super) fn short(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, s)| s)
    }

    fn within_bounds(&self, value: &Value) -> Result<(), String> {
        let Value::Number(number) = value else {
            return Ok(());
        };
        let name = self.name;
        let show = |number| {
            let shown = self.kind.show(&Value::Number(number));
            shown.trim_matches('"').to_owned()
        };
        match self.bounds {
            Bounds::NotZero(why) if *number == 0 => Err(format!("`{name}` is zero, {why}")),
            Bounds::Least(least) if *number < least => {
                Err(format!("`{name}` must be at least {}", show(least)))
            }
            Bounds::Between(least, most, why) if !(least..=most).contains(number) => {
                let (least, most) = (show(least), show(most));
                Err(format!(
                    "`{name}` must lie between {least} and {most} ({why})"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A setting whose value becomes a `T`: a field of its section's struct.
pub(super) struct Key<T> {
    pub(super) spec: KeySpec,
    make: Make<T>,
}

/// From the value to the field.
enum Make<T> {
    Text(fn(&str) -> Result<T, String>),
    Switch(fn(bool) -> T),
    Number(fn(u64) -> T),
    List(fn(&[String]) -> Result<T, String>),
}

impl<T> Key<T> {
    /// The field, from the entries that are in force; its default where they hold none.
    pub(super) fn read(&self, entries: &Entries) -> Result<T, ConfigError> {
        let spec = &self.spec;
        let (value, origin) = if let Some(entry) = entries.get(spec.name) {
            (entry.value.clone(), entry.origin.clone())
        } else {
            let value = spec.kind.parse(spec.default);
            (
                value.map_err(at(&SettingOrigin::Default))?,
                SettingOrigin::Default,
            )
        };
        spec.within_bounds(&value).map_err(ConfigError::Together)?;
        self.make(&value).map_err(at(&origin))
    }

    fn make(&self, value: &Value) -> Result<T, String> {
        match (&self.make, value) {
            (Make::Text(of), Value::Text(text)) => of(text),
            (Make::Switch(of), Value::Switch(on)) => Ok(of(*on)),
            (Make::Number(of), Value::Number(number)) => Ok(of(*number)),
            (Make::List(of), Value::List(items)) => of(items),
            _ => Err(format!("it takes {}", self.spec.kind.describe())),
        }
    }

    /// Its meaning, in one to three lines of the generated file.
    pub(super) const fn doc(mut self, doc: &'static str) -> Self {
        self.spec.doc = doc;
        self
    }

    /// It has a command line flag of its own, named here without dashes.
    pub(super) const fn flag(mut self, flag: &'static str) -> Self {
        self.spec.flag = Some(flag);
        self
    }

    /// What mode standalone presets, in the form of the environment.
    pub(super) const fn standalone(mut self, preset: &'static str) -> Self {
        self.spec.standalone = Some(preset);
        self
    }

    /// It is read at the start alone: a reload says that it counts after a restart.
    pub(super) const fn restart(mut self) -> Self {
        self.spec.restart = true;
        self
    }

    const fn new(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        make: Make<T>,
    ) -> Self {
        let spec = KeySpec {
            name,
            kind,
            default,
            standalone: None,
            flag: None,
            restart: false,
            bounds: Bounds::None,
            doc: "",
        };
        Self { spec, make }
    }
}

impl Key<u64> {
    /// 0 is refused; `why` goes on after "is zero, ".
    pub(super) const fn not_zero(mut self, why: &'static str) -> Self {
        self.spec.bounds = Bounds::NotZero(why);
        self
    }

    /// Less is refused, in bytes, ms or pieces.
    pub(super) const fn at_least(mut self, least: u64) -> Self {
        self.spec.bounds = Bounds::Least(least);
        self
    }

    /// Less and more is refused, in bytes, ms or pieces; `why` follows in parentheses.
    pub(super) const fn between(mut self, least: u64, most: u64, why: &'static str) -> Self {
        self.spec.bounds = Bounds::Between(least, most, why);
        self
    }
}

/// One of a few words.
pub(super) const fn choice<T>(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    of: fn(&str) -> Result<T, String>,
) -> Key<T> {
    Key::new(name, ValueKind::Choice(words), default, Make::Text(of))
}

/// true or false.
pub(super) const fn switch(name: &'static str, default: bool) -> Key<bool> {
    let default = if default { "true" } else { "false" };
    Key::new(name, ValueKind::Switch, default, Make::Switch(|on| on))
}

/// Bytes.
pub(super) const fn size(name: &'static str, default: &'static str) -> Key<u64> {
    Key::new(name, ValueKind::Size, default, Make::Number(|bytes| bytes))
}

/// A whole number.
pub(super) const fn count(name: &'static str, default: &'static str) -> Key<u64> {
    Key::new(name, ValueKind::Count, default, Make::Number(|count| count))
}

/// A span of time in ms.
pub(super) const fn millis(name: &'static str, default: &'static str) -> Key<u64> {
    Key::new(
        name,
        ValueKind::Duration,
        default,
        Make::Number(|millis| millis),
    )
}

/// A span of time in whole seconds; a shorter span that is not zero counts as one.
pub(super) const fn seconds(name: &'static str, default: &'static str) -> Key<u64> {
    let of = |millis: u64| millis.div_ceil(1000);
    Key::new(name, ValueKind::Duration, default, Make::Number(of))
}

/// What the log shows: a level, also for single modules.
pub(super) const fn filter(name: &'static str, default: &'static str) -> Key<String> {
    let of = |text: &str| Ok(text.to_owned());
    Key::new(name, ValueKind::Filter, default, Make::Text(of))
}

/// Any text; empty where it is not set.
pub(super) const fn text(name: &'static str) -> Key<String> {
    let of = |text: &str| Ok(text.to_owned());
    Key::new(name, ValueKind::Text, "", Make::Text(of))
}

/// Texts, none by default. Those of the environment would be separated by commas.
pub(super) const fn texts(name: &'static str) -> Key<Vec<String>> {
    let of = |items: &[String]| Ok(items.to_vec());
    Key::new(name, ValueKind::Texts, "", Make::List(of))
}

fn unless_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A path that need not be set.
pub(super) const fn path(name: &'static str) -> Key<Option<PathBuf>> {
    let of = |text: &str| Ok(unless_empty(text).map(PathBuf::from));
    Key::new(name, ValueKind::Path, "", Make::Text(of))
}

/// A folder that the layers fill in where it is not set.
pub(super) const fn folder(name: &'static str) -> Key<PathBuf> {
    let of = |text: &str| Ok(PathBuf::from(text));
    Key::new(name, ValueKind::Path, "", Make::Text(of))
}

/// Scheme, host and perhaps port, without a trailing slash; it need not be set.
pub(super) const fn url(name: &'static str) -> Key<Option<String>> {
    let of = |text: &str| Ok(unless_empty(text).map(str::to_owned));
    Key::new(name, ValueKind::Url, "", Make::Text(of))
}

/// Host names and addresses, none by default.
pub(super) const fn names(name: &'static str) -> Key<Vec<String>> {
    let of = |items: &[String]| Ok(items.to_vec());
    Key::new(name, ValueKind::Names, "", Make::List(of))
}

/// Addresses with a port, to listen on.
pub(super) const fn listeners(name: &'static str, default: &'static str) -> Key<Vec<SocketAddr>> {
    let of = |items: &[String]| items.iter().map(|item| listener(item)).collect();
    Key::new(name, ValueKind::Listeners, default, Make::List(of))
}

/// Addresses and networks, none by default.
pub(super) const fn networks(name: &'static str) -> Key<Vec<Network>> {
    let of = |items: &[String]| items.iter().map(|item| item.parse()).collect();
    Key::new(name, ValueKind::Networks, "", Make::List(of))
}

/// A section of the file, or a list of tables (`[[name]]`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Empty for the top-level keys.
    pub(super) name: &'static str,
    pub(super) keys: &'static [KeySpec],
    /// Each table of a list has these keys. The first one tells one table from the other: each has it, no two alike.
    pub(super) is_list: bool,
}

/// All that may stand in a file, in the order of the generated one: top-level keys, sections, lists of tables.
#[derive(Clone, Copy)]
pub(super) struct Schema(pub(super) &'static [Block]);

impl Schema {
    /// What there is once: the top level, and each section.
    pub(super) fn sections(self) -> impl Iterator<Item = &'static Block> {
        self.0.iter().filter(|block| !block.is_list)
    }

    /// Lists of tables.
    pub(super) fn lists(self) -> impl Iterator<Item = &'static Block> {
        self.0.iter().filter(|block| block.is_list)
    }

    /// Every setting that there is once.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static KeySpec> {
        self.sections().flat_map(|section| section.keys)
    }

    /// The setting of this name; keys of tables are none.
    pub(super) fn find(self, name: &str) -> Option<&'static KeySpec> {
        self.keys().find(|key| key.name == name)
    }

    /// The list of this name.
    pub(super) fn list(self, name: &str) -> Option<&'static Block> {
        self.lists().find(|list| list.name == name)
    }

    /// Whether a section has this name.
    pub(super) fn is_section(self, name: &str) -> bool {
        !name.is_empty() && self.sections().any(|section| section.name == name)
    }

    /// The hint for an unknown key. The last part of the name alone counts too, so that a key in the wrong section is found.
    pub(super) fn hint(self, word: &str) -> String {
        let known: Vec<&KeySpec> = self.0.iter().flat_map(|block| block.keys).collect();
        let last = word.rsplit('.').next().unwrap_or_default();
        let moved = known.iter().find(|key| key.short() == last);
        let whole = hint(word, known.iter().map(|key| key.name));
        match moved {
            Some(key) if strsim::jaro_winkler(word, key.name) < 0.85 => {
                format!("; did you mean `{}`?", key.name)
            }
            _ => whole,
        }
    }
}

/// `; did you mean x?` with the nearest of some words, or nothing where none is near.
pub(super) fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((score, name)) if score > 0.7 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}
