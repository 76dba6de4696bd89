//! Lists of tables, by sections that exist for these tests alone.

use super::*;
use crate::config::key::{count, millis, names, path, switch, url};
use crate::config::{Mode, file, layers, text};
use std::path::{Path, PathBuf};

section! {
    /// A top level with one list.
    pub struct Top {
        /// An ordinary key beside it.
        pub depth: u64 = count("depth", "3").doc("How deep.").restart(),
    }
    lists {
        /// Where things come from.
        pub source: Source,
    }
}

section! {
    /// One of the places where things come from.
    pub struct Source checked by together {
        /// What tells one from the other.
        pub url: Option<String> = url("source.url").doc("Where it is."),
        /// A file beside the settings.
        pub ca: Option<PathBuf> = path("source.ca").doc("Its CA."),
        /// In ms; never 0.
        pub patience_ms: u64 = millis("source.patience", "30s")
            .doc("How long to wait.\nNot longer.")
            .not_zero("which waits for nothing")
            .restart(),
        /// Other names.
        pub names: Vec<String> = names("source.names").doc("Its other names."),
        /// Only when it is asked for.
        pub lazy: bool = switch("source.lazy", false).doc("May it wait?").standalone("true"),
    }
}

fn together(source: &Source) -> Result<(), String> {
    if source.lazy && source.ca.is_some() {
        return Err("`source.lazy` and `source.ca` exclude each other".to_owned());
    }
    Ok(())
}

const TWO: &str = r#"depth = 5

[[source]]
url = "https://a.test"
ca = "a.pem"

[[source]]
url = "https://b.test/"
patience = "1m"
names = ["b", "c"]
"#;

fn entries(text: &str, mode: Mode) -> Result<Entries, ConfigError> {
    let given = layers::file_layer(Top::SCHEMA, Path::new("/etc/x.toml"), text)?;
    layers::over_defaults(Top::SCHEMA, mode, given)
}

fn top(text: &str) -> Result<Top, ConfigError> {
    Top::read(&entries(text, Mode::Mirror)?)
}

fn error(text: &str) -> String {
    top(text).unwrap_err().to_string()
}

#[test]
fn each_table_is_read_over_its_own_defaults() {
    let read = top(TWO).unwrap();
    assert_eq!(read.depth, 5);
    let a = Source {
        url: Some("https://a.test".to_owned()),
        ca: Some("/etc/a.pem".into()),
        patience_ms: 30_000,
        names: Vec::new(),
        lazy: false,
    };
    let b = Source {
        url: Some("https://b.test".to_owned()),
        ca: None,
        patience_ms: 60_000,
        names: vec!["b".to_owned(), "c".to_owned()],
        lazy: false,
    };
    assert_eq!(read.source, [a.clone(), b]);
    assert_eq!(top("").unwrap().source, []);
    assert_eq!(top("source = []").unwrap().source, []);
    let inline = "source = [{ url = \"https://a.test\", ca = \"a.pem\" }]";
    assert_eq!(top(inline).unwrap().source, [a]);
    // What the mode presets counts in tables too.
    let preset = entries("[[source]]\nurl = \"https://a.test\"", Mode::Standalone).unwrap();
    assert!(Top::read(&preset).unwrap().source[0].lazy);
}

#[test]
fn errors_name_the_line() {
    let second = |line: &str| error(&TWO.replace("patience = \"1m\"", line));
    assert_eq!(
        second("patienc = \"1m\""),
        "/etc/x.toml: line 9: unknown key `source.patienc`; did you mean `source.patience`?"
    );
    assert_eq!(
        second("patience = 1"),
        "/etc/x.toml: line 9: `source.patience`: a number was given, but it takes a duration such as \"24h\""
    );
    assert!(second("url = \"https://c.test\"").starts_with("/etc/x.toml: line 9: "));
    // What is found only when the table is whole stands at its head.
    assert_eq!(
        second("patience = \"0s\""),
        "/etc/x.toml: line 7: `source.patience` is zero, which waits for nothing"
    );
    assert_eq!(
        second("ca = \"b.pem\"\nlazy = true"),
        "/etc/x.toml: line 7: `source.lazy` and `source.ca` exclude each other"
    );
}

#[test]
fn tables_need_names_of_their_own() {
    assert_eq!(
        error("[[source]]\nlazy = true\n"),
        "/etc/x.toml: line 1: this [[source]] has no `url`, which tells one from the other"
    );
    assert_eq!(
        error("\n[[source]]\nurl = \"\"\n"),
        "/etc/x.toml: line 2: this [[source]] has no `url`, which tells one from the other"
    );
    assert_eq!(
        error(&TWO.replace("b.test/", "a.test")),
        "/etc/x.toml: line 7: `source.url`: the [[source]] of line 3 has the same one, \"https://a.test\""
    );
}

#[test]
fn a_list_is_a_list_of_tables_only() {
    let takes = "but it takes tables, each with [[source]] above it";
    for (text, given) in [
        ("[source]\nurl = \"https://a.test\"", "a section was given"),
        ("source = 1", "a number was given"),
        ("source = [1]", "a list was given"),
    ] {
        let told = error(text);
        assert_eq!(
            told,
            format!("/etc/x.toml: line 1: `source`: {given}, {takes}")
        );
    }
    // No setting outside of a table has a table's name.
    assert!(Top::SCHEMA.find("source.url").is_none());
    assert_eq!(
        error("depht = 1"),
        "/etc/x.toml: line 1: unknown key `depht`; did you mean `depth`?"
    );
    assert!(error("patience = 1").ends_with("did you mean `source.patience`?"));
}

#[test]
fn what_is_printed_reads_back() {
    let all = entries(TWO, Mode::Mirror).unwrap();
    let printed = text::print(Top::SCHEMA, &all);
    let want = r#"depth = 5  # from file /etc/x.toml
[[source]]
url = "https://a.test"  # from file /etc/x.toml
ca = "/etc/a.pem"  # from file /etc/x.toml
patience = "30s"  # from default
names = []  # from default
lazy = false  # from default
[[source]]
url = "https://b.test"  # from file /etc/x.toml
ca = ""  # from default
patience = "1m"  # from file /etc/x.toml
names = ["b", "c"]  # from file /etc/x.toml
lazy = false  # from default
"#;
    assert_eq!(printed, want);
    assert_eq!(top(&printed).unwrap(), top(TWO).unwrap());
    let settings = text::settings(Top::SCHEMA, &all);
    assert_eq!(
        serde_json::to_value(&settings).unwrap(),
        serde_json::json!([
            { "key": "depth", "value": 5, "origin": "file /etc/x.toml" },
            { "key": "source", "value": [
                { "url": "https://a.test", "ca": "/etc/a.pem", "patience": "30s", "names": [], "lazy": false },
                { "url": "https://b.test", "ca": "", "patience": "1m", "names": ["b", "c"], "lazy": false },
            ], "origin": "file /etc/x.toml" },
        ])
    );
    let none = text::settings(Top::SCHEMA, &entries("", Mode::Mirror).unwrap());
    assert_eq!(none[1].value, serde_json::json!([]));
    assert_eq!(none[1].origin, "default");
}

#[test]
fn the_generated_file_shows_one_table_and_sets_none() {
    let generated = text::generate_all(Top::SCHEMA);
    let shown = r#"
# How deep.
# depth = 3

# [[source]]
#   Where it is.
#   url = ""
#   Its CA.
#   ca = ""
#   How long to wait.
#   Not longer.
#   patience = "30s"
#   Its other names.
#   names = []
#   May it wait?
#   (mode standalone: true)
#   lazy = false
"#;
    assert!(generated.ends_with(shown), "{generated}");
    assert!(file::read(Top::SCHEMA, &generated).is_ok_and(|read| read.tables.is_empty()));
}

#[test]
fn a_changed_list_is_named_as_a_whole() {
    let (old, new) = (top(TWO).unwrap(), top(&TWO.replace("1m", "2m")).unwrap());
    let changed = |new: &Top| {
        let mut keys = Vec::new();
        old.add_restart_needed(new, &mut keys);
        keys
    };
    assert!(changed(&old).is_empty());
    assert_eq!(changed(&new), ["source"]);
    assert_eq!(changed(&top("").unwrap()), ["depth", "source"]);
}
