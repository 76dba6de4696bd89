//! The house rules as a test: who may import whom, which crate has which one owner, and how large a file or a
//! function may be. It reads the sources as text, so it needs no compiler and names the line that breaks a rule.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/words.rs"]
mod words;

use source::{crate_paths, functions, is_word, sources, without_tests};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Module sets in order: a module may import every set before its own, and itself.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["datadir"],
    &[
        "config",
        "store",
        "blobs",
        "cache",
        "sign",
        "tls",
        "telemetry",
        "fetch",
    ],
    &["repo", "auth", "jobs", "audit"],
    &["formats"],
    &["snapshot"],
    &["mirror", "bundle", "search", "gc"],
    &["upstream"],
    &["app"],
    &["http"],
    &["cli"],
    // For tests alone: see `testing_is_compiled_for_tests_alone`.
    &["testing"],
];

/// What `formats` may not see although it stands above it: formats know no engine and no wire.
const HIDDEN_FROM_FORMATS: &[&str] = &["store", "blobs", "fetch", "http"];

/// What `http` may not see but for its metrics and its control socket: below the surfaces, `repo` and `app` answer.
const HIDDEN_FROM_SURFACES: &[&str] = &["store", "blobs", "fetch"];

/// Crate -> the only path prefix (below `src/`) that may name it.
const OWNERS: &[(&str, &str)] = &[
    ("redb", "store/redb/"),
    ("bincode", "store/rows/record"),
    ("axum", "http/"),
    ("rustls", "tls/"),
    ("rustls_platform_verifier", "tls/"),
    ("tokio_rustls", "tls/"),
    ("rcgen", "tls/"),
    ("argon2", "auth/"),
    ("jsonwebtoken", "auth/"),
    ("moka", "cache/"),
    ("tikv_jemallocator", "main.rs"),
    ("reqwest", "fetch/"),
    ("flate2", "fetch/"),
    ("nix", "datadir/"),
    ("croner", "jobs/schedule.rs"),
];

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|set| set.contains(&module))
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Whether a file of `http` answers requests, or helps to.
fn is_surface(path: &str) -> bool {
    path.starts_with("http/") && !path.starts_with("http/metrics/") && path != "http/control.rs"
}

#[test]
fn imports_follow_the_layers() {
    let mut broken = Vec::new();
    for source in sources() {
        if matches!(source.path.as_str(), "main.rs" | "lib.rs") {
            continue;
        }
        let own = source.module();
        let Some(own_layer) = layer(own) else {
            broken.push(format!("{}: module {own} stands in no layer", source.path));
            continue;
        };
        for (at, path) in crate_paths(&source.code) {
            let other = path.split("::").next().unwrap_or_default();
            if other == own || other.is_empty() {
                continue;
            }
            let allowed = layer(other).is_some_and(|l| l < own_layer)
                && !(own == "formats" && HIDDEN_FROM_FORMATS.contains(&other))
                && !(is_surface(&source.path) && HIDDEN_FROM_SURFACES.contains(&other));
            if !allowed {
                broken.push(format!(
                    "{}:{}: {own} imports {other}",
                    source.path,
                    source.line_of(at)
                ));
            }
        }
    }
    report("a module imports only the layers before its own", &broken);
}

#[test]
fn testing_is_compiled_for_tests_alone() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    assert!(
        lib.contains("#[cfg(test)]\nmod testing;\n"),
        "lib.rs: `mod testing` needs #[cfg(test)]"
    );
}

#[test]
fn formats_do_not_know_each_other() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(own) = source
            .path
            .strip_prefix("formats/")
            .and_then(|p| p.split_once('/'))
        else {
            continue;
        };
        for (at, path) in crate_paths(&source.code) {
            let mut parts = path.split("::");
            let (Some("formats"), Some(other)) = (parts.next(), parts.next()) else {
                continue;
            };
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src/formats")
                .join(other);
            if other != own.0 && folder.is_dir() {
                broken.push(format!(
                    "{}:{}: imports format {other}",
                    source.path,
                    source.line_of(at)
                ));
            }
        }
    }
    report("formats never import each other", &broken);
}

#[test]
fn each_third_party_crate_has_one_owner() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, owner) in OWNERS {
            if source.path.starts_with(owner) {
                continue;
            }
            for (at, _) in source.code.match_indices(&format!("{name}::")) {
                // `crate::rustls::` or `my_redb::` is another thing than the crate.
                let before = source.code[..at].trim_end();
                let starts_word = at == 0 || !is_word(source.code.as_bytes()[at - 1]);
                if starts_word && !before.ends_with("::") {
                    let line = source.line_of(at);
                    broken.push(format!("{}:{line}: {name} belongs to {owner}", source.path));
                }
            }
        }
    }
    report("one third-party crate has one owner", &broken);
}

#[test]
fn files_and_functions_stay_small() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            broken.push(format!(
                "{}: {lines} lines, at most {MAX_FILE_LINES}",
                source.path
            ));
        }
        if source.is_test_file() {
            continue;
        }
        let code = without_tests(&source.code);
        for (at, name, lines) in functions(&code) {
            if lines > MAX_FUNCTION_LINES {
                let line = source.line_of(at);
                broken.push(format!(
                    "{}:{line}: fn {name} has {lines} lines, at most {MAX_FUNCTION_LINES}",
                    source.path
                ));
            }
        }
    }
    report("files and functions stay small", &broken);
}

#[test]
fn every_module_says_what_it_owns() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|s| !s.is_test_file() && !s.text.starts_with("//!"))
        .map(|s| format!("{}: does not start with //!", s.path))
        .collect();
    report("every module says at its head what it owns", &broken);
}

#[test]
fn nothing_is_left_open() {
    let mut broken = Vec::new();
    for source in sources() {
        for word in ["todo!(", "unimplemented!(", "unsafe ", "dbg!("] {
            for (at, _) in without_tests(&source.code).match_indices(word) {
                if at == 0 || !is_word(source.code.as_bytes()[at - 1]) {
                    broken.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
                }
            }
        }
    }
    report("no stub and no unsafe code stays", &broken);
}

/// The only places that write to the process's streams: there, foreign text loses what a terminal would obey.
const PRINTERS: &[&str] = &["cli/output.rs", "telemetry/"];

#[test]
fn everything_printed_goes_one_way() {
    let mut broken = Vec::new();
    for source in sources() {
        if source.is_test_file() || PRINTERS.iter().any(|own| source.path.starts_with(own)) {
            continue;
        }
        let code = without_tests(&source.code);
        for word in [
            "println!",
            "print!",
            "stdout()",
            "stderr()",
            "Stdout",
            "Stderr",
            ".println(",
            ".set_message(",
            ".with_message(",
            ".set_prefix(",
            ".with_prefix(",
        ] {
            for (at, _) in code.match_indices(word) {
                // To ask what a stream is prints nothing.
                let asks = code[at + word.len()..].starts_with(".is_terminal()");
                let starts_word = at == 0 || !is_word(code.as_bytes()[at - 1]);
                if starts_word && !asks {
                    broken.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
                }
            }
        }
    }
    report(
        "everything printed goes through cli/output.rs, each log line through telemetry",
        &broken,
    );
}

/// Dependants of each package in Cargo.lock.
fn lock_dependants(lock: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut dependants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut package = "";
    for line in lock.lines() {
        if let Some(name) = line
            .strip_prefix("name = \"")
            .and_then(|l| l.strip_suffix('"'))
        {
            package = name;
            dependants.entry(name).or_default();
        } else if let Some(used) = line.strip_prefix(" \"").and_then(|l| l.strip_suffix("\",")) {
            let used = used.split(' ').next().unwrap();
            dependants.entry(used).or_default().push(package);
        }
    }
    dependants
}

#[test]
fn the_lock_file_holds_one_crypto_library() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let dependants = lock_dependants(&lock);
    assert!(
        dependants.contains_key("rustls"),
        "Cargo.lock was not understood"
    );
    for banned in ["openssl-sys", "native-tls"] {
        assert!(
            !dependants.contains_key(banned),
            "Cargo.lock holds {banned}"
        );
    }
    // Cargo locks an optional crate that is only named weakly (`ring?/alloc`), although nothing builds it; these two
    // name it so. Any other dependant is a real one.
    let real: Vec<_> = dependants
        .get("ring")
        .into_iter()
        .flatten()
        .filter(|name| !["rustls-webpki", "quinn-proto"].contains(name))
        .collect();
    assert!(real.is_empty(), "ring is wanted by {real:?}");
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let built = String::from_utf8_lossy(&tree.stdout);
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    assert!(
        built.contains("aws-lc-rs v"),
        "cargo tree was not understood"
    );
    assert!(
        !built.lines().any(|l| l.starts_with("ring v")),
        "ring is built"
    );
}
