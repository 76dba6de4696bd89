//! The configuration file.

use super::text;
use dryport::config::{ConfigError, LoadOptions, Loaded, load_text};

/// A file that is taken reads the same once `config print` has written it down, as text and as JSON.
pub fn config(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let loaded = match read(text) {
        Ok(loaded) => loaded,
        Err(error) => {
            // People are told where: the file's line, or the settings that do not go together.
            let shown = error.to_string();
            let placed = matches!(error, ConfigError::Value { .. });
            assert!(
                !placed || shown.starts_with("/data/dryport.toml: line "),
                "{shown}"
            );
            return;
        }
    };
    let printed = loaded.print();
    let again = read(&printed);
    assert_eq!(
        again.map(|l| l.config).ok().as_ref(),
        Some(&loaded.config),
        "{printed}"
    );
    let mut lines = String::new();
    for setting in loaded.settings() {
        let value = written(&setting.value);
        lines = format!("{lines}{} = {value}\n", setting.key);
    }
    let again = read(&lines);
    assert_eq!(
        again.map(|l| l.config).ok().as_ref(),
        Some(&loaded.config),
        "{lines}"
    );
}

fn read(text: &str) -> Result<Loaded, ConfigError> {
    let options = LoadOptions {
        data: Some("/data".into()),
        ..LoadOptions::default()
    };
    load_text(&options, "/data/dryport.toml".into(), text.to_owned())
}

/// A JSON value as TOML.
fn written(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => toml::Value::String(text.clone()).to_string(),
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        serde_json::Value::Object(table) => {
            let pairs: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", written(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
