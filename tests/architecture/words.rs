//! Rooms whose texts name no command, no switch and no setting: the surface that shows one adds what its own people can do
//! (`types::Remedy`). Reads every literal of them outside tests, whatever it is for: an error, a report, a panic.

use crate::report;
use crate::source::{Source, is_word, literals, sources, without_tests};
use std::collections::BTreeSet;

/// Those rooms.
const ROOMS: &[&str] = &[
    "types", "datadir", "store", "blobs", "cache", "tls", "fetch", "repo", "auth", "jobs", "audit",
    "formats", "gc", "mirror",
];

/// What is a surface by itself, and says so: how each client is told to trust the CA.
const SURFACES: &[&str] = &["tls/ca/trust.rs"];

/// Before a literal: what goes to the log, whose readers run the server. No surface comes between.
const LOGS: &[&str] = &["error!(", "warn!(", "info!(", "debug!(", "trace!("];

/// What a text names that only a surface may name.
fn named(text: &str, keys: &BTreeSet<String>) -> Option<String> {
    // What a change is called, and by whom a row is.
    let is_name = !text.contains(' ') || text.strip_prefix("dryport ").is_some_and(is_one_word);
    if is_name && !text.starts_with('-') {
        return None;
    }
    let switch = starts(text, "--", |after| after.is_ascii_lowercase());
    let command = starts(text, "dryport ", |after| after.is_ascii_lowercase());
    let environment = starts(text, "DRYPORT_", |after| after.is_ascii_uppercase());
    let found = switch.or(command).or(environment);
    found.or_else(|| {
        let whole = |key: &&String| starts(text, key, |after| !is_word(after)).is_some();
        keys.iter().find(whole).cloned()
    })
}

fn is_one_word(text: &str) -> bool {
    text.bytes().all(is_word)
}

/// `sign`, with the word that it begins, where it stands at the start of a word and what follows it is so.
fn starts(text: &str, sign: &str, follows: impl Fn(u8) -> bool) -> Option<String> {
    let bytes = text.as_bytes();
    text.match_indices(sign).find_map(|(at, _)| {
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let begins = before.is_none_or(|b| !is_word(b) && b != b'-' && b != b'.' && b != b'/');
        let after = bytes.get(at + sign.len()).copied().unwrap_or(b' ');
        let rest = &text[at + sign.len()..];
        let word: String = rest.chars().take_while(|c| is_word(*c as u8)).collect();
        (begins && follows(after)).then(|| format!("{sign}{word}"))
    })
}

/// All settings that stand in a section, as `src/config/sections` declares them.
fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for source in sources() {
        if !source.path.starts_with("config/sections/") {
            continue;
        }
        for (at, text) in literals(&source.text) {
            // The first argument of what declares a key.
            let before = source.text[..at].trim_end();
            let declares = before.ends_with('(')
                && before[..before.len() - 1].ends_with(|c: char| is_word(c as u8));
            let dotted = text.split_once('.');
            let is_key = dotted.is_some_and(|(section, key)| {
                [section, key].iter().all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                })
            });
            if declares && is_key {
                keys.insert(text);
            }
        }
    }
    keys
}

/// Whether the literal at `at` goes to the log: it stands in the arguments of one of its macros.
fn is_logged(source: &Source, at: usize) -> bool {
    let statement = source.code[..at]
        .rfind([';', '{', '}'])
        .map_or(0, |p| p + 1);
    let before = &source.code[statement..at];
    LOGS.iter().any(|log| before.contains(log))
}

/// What is wrong with one file.
fn broken(source: &Source, keys: &BTreeSet<String>) -> Vec<String> {
    let code = without_tests(&source.code);
    let mut broken = Vec::new();
    for (at, text) in literals(&source.text) {
        if is_test(source, &code, at) || is_logged(source, at) {
            continue;
        }
        if let Some(name) = named(&text, keys) {
            broken.push(format!(
                "{}:{}: \"{name}\"",
                source.path,
                source.line_of(at)
            ));
        }
    }
    broken
}

/// Whether the literal stands in what was blanked as a test: the code before it on its way to the test's head is gone.
fn is_test(source: &Source, code: &str, at: usize) -> bool {
    let last = source.code[..at].rfind(|c: char| !c.is_whitespace());
    last.is_some_and(|last| code[last..].starts_with(' '))
}

#[test]
fn the_domain_names_no_command_and_no_setting() {
    let keys = keys();
    for key in [
        "mirror.memory",
        "tls.names",
        "blobs.lease",
        "uploads.idle",
        "store.cache",
    ] {
        assert!(keys.contains(key), "{key} is not among {keys:?}");
    }
    let rooms = sources().into_iter().filter(|source| {
        ROOMS.contains(&source.module())
            && !SURFACES.contains(&source.path.as_str())
            && !source.is_test_file()
    });
    let found: Vec<String> = rooms.flat_map(|source| broken(&source, &keys)).collect();
    report("a text names what only a surface may name", &found);
}

#[test]
fn names_are_found_in_texts() {
    let keys: BTreeSet<String> = ["tls.names".to_owned()].into();
    for text in [
        "choose another with --to NAME",
        "--repair mends it",
        "(--creds-file, or another)",
        "run `dryport check`",
        "run it again: dryport user add {name}",
        "tls.names holds {name}",
        "take it out of tls.names.",
        "DRYPORT_TLS__NAMES= for one start",
    ] {
        assert!(named(text, &keys).is_some(), "{text}");
    }
    for text in [
        "dryport mirror",
        "audit.pulls",
        "a block that starts with -----BEGIN CERTIFICATE-----",
        "the tls.namesake is gone -- or is it",
        "Dryport keeps it",
        "dryport/{version}",
    ] {
        assert_eq!(named(text, &keys), None, "{text}");
    }
    let code = "fn f() { tracing::warn!(x, \"run `dryport check`\"); g(format!(\"see --help {x}\")); }\n\
        #[error(\"set tls.names\")]\n#[cfg(test)]\nmod tests { fn t() { g(\"use --test\"); } }\n";
    let found = broken(&Source::of("fetch/x.rs", code), &keys);
    assert_eq!(
        found,
        ["fetch/x.rs:1: \"--help\"", "fetch/x.rs:2: \"tls.names\""]
    );
}
