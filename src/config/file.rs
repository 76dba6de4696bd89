//! Reads the TOML file into (key, value); refuses unknown keys and wrong types. Knows nothing of the other layers.

use super::key::{Block, KeySpec, Schema};
use super::value::{Value, ValueKind};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A setting found in the file.
pub(super) struct FoundSetting {
    pub(super) key: &'static KeySpec,
    pub(super) value: Value,
}

/// A table of a list found in the file.
pub(super) struct FoundTable {
    pub(super) list: &'static Block,
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) keys: Vec<FoundSetting>,
}

/// What the file holds.
#[derive(Default)]
pub(super) struct FileSettings {
    pub(super) keys: Vec<FoundSetting>,
    /// In the file's order.
    pub(super) tables: Vec<FoundTable>,
}

/// All settings of the file; an error begins with its line.
pub(super) fn read(schema: Schema, text: &str) -> Result<FileSettings, String> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, &span));
        format!("line {line}: {}", e.message())
    })?;
    let mut read = FileSettings::default();
    walk(schema, text, "", table.get_ref(), &mut read)?;
    Ok(read)
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    1 + before.split(|b| *b == b'\n').skip(1).count()
}

fn walk(
    schema: Schema,
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    read: &mut FileSettings,
) -> Result<(), String> {
    for (name, value) in table {
        let line = line_of(text, &name.span());
        let full = format!("{prefix}{}", name.get_ref());
        if let Some(key) = schema.find(&full) {
            let value = convert(key.kind, value)
                .map_err(|problem| format!("line {line}: `{full}`: {problem}"))?;
            read.keys.push(FoundSetting { key, value });
            continue;
        }
        if let Some(list) = schema.list(&full) {
            let given = value.get_ref();
            let Some(tables) = as_tables(given) else {
                let given = a_kind(given);
                return Err(format!(
                    "line {line}: `{full}`: {given} given, but it takes tables, each with [[{full}]] above it"
                ));
            };
            for (span, table) in tables {
                let found = read_table(schema, text, list, line_of(text, &span), table)?;
                one_of_its_name(&read.tables, &found)?;
                read.tables.push(found);
            }
            continue;
        }
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => {
                walk(schema, text, &format!("{full}."), inner, read)?;
            }
            DeValue::Table(_) if schema.is_section(&full) => {}
            _ => return Err(unknown(schema, line, &full)),
        }
    }
    Ok(())
}

fn unknown(schema: Schema, line: usize, name: &str) -> String {
    let hint = schema.hint(name);
    format!("line {line}: unknown key `{name}`{hint}")
}

/// Each table with where it begins, if the value is a list of nothing else.
fn as_tables<'a>(value: &'a DeValue<'a>) -> Option<Vec<(Range<usize>, &'a DeTable<'a>)>> {
    let DeValue::Array(items) = value else {
        return None;
    };
    let table = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
        DeValue::Table(table) => Some((item.span(), table)),
        _ => None,
    };
    items.iter().map(table).collect()
}

fn read_table(
    schema: Schema,
    text: &str,
    list: &'static Block,
    line: usize,
    table: &DeTable<'_>,
) -> Result<FoundTable, String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        let line = line_of(text, &name.span());
        let full = format!("{}.{}", list.name, name.get_ref());
        let Some(key) = list.keys.iter().find(|key| key.name == full) else {
            return Err(unknown(schema, line, &full));
        };
        let value = convert(key.kind, value)
            .map_err(|problem| format!("line {line}: `{full}`: {problem}"))?;
        keys.push(FoundSetting { key, value });
    }
    Ok(FoundTable { list, line, keys })
}

/// The first key of a table is there, and no earlier table has the same.
fn one_of_its_name(earlier: &[FoundTable], table: &FoundTable) -> Result<(), String> {
    let (list, line) = (table.list.name, table.line);
    let Some(first) = table.list.keys.first() else {
        return Ok(());
    };
    let name = |table: &FoundTable| {
        let found = table.keys.iter().find(|found| found.key.name == first.name);
        found.map(|found| found.value.clone())
    };
    let Some(own) = name(table).filter(|value| *value != Value::Text(String::new())) else {
        return Err(format!(
            "line {line}: this [[{list}]] has no `{}`, which tells one from the other",
            first.short()
        ));
    };
    let same = |other: &&FoundTable| other.list.name == list && name(other).as_ref() == Some(&own);
    match earlier.iter().find(same) {
        Some(other) => Err(format!(
            "line {line}: `{}`: the [[{list}]] of line {} has the same one, {}",
            first.name,
            other.line,
            first.kind.show(&own)
        )),
        None => Ok(()),
    }
}

fn convert(kind: ValueKind, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    let value = value.get_ref();
    let wrong = || {
        Err(format!(
            "{} given, but it takes {}",
            a_kind(value),
            kind.describe()
        ))
    };
    match value {
        DeValue::Array(items) if kind.is_list() => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect();
            match texts {
                Some(texts) => kind.list(texts),
                None => Err(format!(
                    "a member of the list is no text; it takes {}",
                    kind.describe()
                )),
            }
        }
        DeValue::String(_) if kind.is_list() => wrong(),
        DeValue::Boolean(on) if kind == ValueKind::Switch => Ok(Value::Switch(*on)),
        DeValue::String(_) if kind == ValueKind::Switch => wrong(),
        DeValue::Integer(number) if matches!(kind, ValueKind::Size | ValueKind::Count) => {
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(bytes) => Ok(Value::Number(bytes)),
                Err(_) => wrong(),
            }
        }
        DeValue::String(text) => kind.parse(text),
        _ => wrong(),
    }
}

fn a_kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text was",
        DeValue::Integer(_) | DeValue::Float(_) => "a number was",
        DeValue::Boolean(_) => "true or false was",
        DeValue::Datetime(_) => "a date was",
        DeValue::Array(_) => "a list was",
        DeValue::Table(_) => "a section was",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::section::Section;

    fn error(text: &str) -> String {
        read(Config::SCHEMA, text).err().unwrap_or_default()
    }

    #[test]
    fn unknown_keys_name_line_and_neighbour() {
        let text = "mode = \"mirror\"\n\n[access]\nanonymus_pull = true\n";
        assert_eq!(
            error(text),
            "line 4: unknown key `access.anonymus_pull`; did you mean `access.anonymous_pull`?"
        );
        assert!(error("https = []").contains("`listen.https`"));
        assert!(
            error("[lisen]\nhttps = []")
                .starts_with("line 2: unknown key `lisen.https`; did you mean `listen.https`")
        );
        assert!(error("[nothing]").contains("unknown key `nothing`"));
        assert!(error("zzzz = 1").ends_with("`zzzz`"));
        assert!(read(Config::SCHEMA, "[tls]\n").is_ok_and(|read| read.keys.is_empty()));
    }

    #[test]
    fn wrong_types_and_syntax() {
        assert!(
            error("[access]\nanonymous_pull = \"yes\"")
                .starts_with("line 2: `access.anonymous_pull`: text was given")
        );
        assert!(error("listen.https = \":1\"").contains("takes a list of ADDRESS:PORT"));
        assert!(error("listen.https = [1]").contains("no text"));
        assert!(error("blobs.lease = 24").contains("a number was given"));
        assert!(error("blobs.reserve = -1").contains("a number was given"));
        assert!(error("[mode]\na=1").contains("a section was given"));
        assert!(error("mode = \"mirrror\"").contains("did you mean `mirror`"));
        assert!(error("a = \nb = 1").starts_with("line 1: "));
        assert!(error("mode=\"full\"\nmode=\"full\"").starts_with("line 2: "));
    }
}
