//! Reads the TOML file into (key, value); refuses unknown keys and wrong types. Knows nothing of the other layers.

use super::keys::{self, Key};
use super::value::{Kind, Value};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A setting found in the file.
pub(super) struct Found {
    pub(super) key: &'static Key,
    pub(super) value: Value,
}

/// All settings of the file; an error begins with its line.
pub(super) fn read(text: &str) -> Result<Vec<Found>, String> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, &span));
        format!("line {line}: {}", e.message())
    })?;
    let mut found = Vec::new();
    walk(text, "", table.get_ref(), &mut found)?;
    Ok(found)
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    1 + before.split(|b| *b == b'\n').skip(1).count()
}

fn walk(
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    found: &mut Vec<Found>,
) -> Result<(), String> {
    for (name, value) in table {
        let line = line_of(text, &name.span());
        let full = format!("{prefix}{}", name.get_ref());
        if let Some(key) = keys::find(&full) {
            let value = convert(key.kind, value)
                .map_err(|problem| format!("line {line}: `{full}`: {problem}"))?;
            found.push(Found { key, value });
            continue;
        }
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => {
                walk(text, &format!("{full}."), inner, found)?;
            }
            DeValue::Table(_) if is_section(&full) => {}
            _ => {
                let hint = keys::hint_key(&full);
                return Err(format!("line {line}: unknown key `{full}`{hint}"));
            }
        }
    }
    Ok(())
}

fn is_section(name: &str) -> bool {
    let start = format!("{name}.");
    keys::KEYS.iter().any(|key| key.name.starts_with(&start))
}

fn convert(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
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
        DeValue::Boolean(on) if kind == Kind::Switch => Ok(Value::Switch(*on)),
        DeValue::String(_) if kind == Kind::Switch => wrong(),
        DeValue::Integer(number) if matches!(kind, Kind::Size | Kind::Count) => {
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

    fn error(text: &str) -> String {
        read(text).err().unwrap_or_default()
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
        assert!(read("[tls]\n").is_ok_and(|found| found.is_empty()));
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
