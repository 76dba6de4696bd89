//! The house rules as a test: who may import whom, which crate has which one owner, and how large a file or a
//! function may be. It reads the sources as text, so it needs no compiler and names the line that breaks a rule.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    &["repo", "auth", "jobs"],
    &["formats"],
    &["snapshot"],
    &["mirror", "bundle", "search", "gc"],
    &["app"],
    &["http"],
    &["cli"],
    // For tests alone: see `testing_is_compiled_for_tests_alone`.
    &["testing"],
];

/// What `formats` may not see although it stands above it: formats know no engine and no wire.
const HIDDEN_FROM_FORMATS: &[&str] = &["store", "blobs", "fetch", "http"];

/// Crate -> the only path prefix (below `src/`) that may name it.
const OWNERS: &[(&str, &str)] = &[
    ("redb", "store/"),
    ("bincode", "store/record"),
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

struct Source {
    /// Path below `src/`, with forward slashes.
    path: String,
    text: String,
    /// The text with comments and literals blanked; the lines are the same.
    code: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.module() == "testing"
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 10, "no sources below {}", root.display());
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
            Source {
                path: path.replace('\\', "/"),
                code: blank(&text),
                text,
            }
        })
        .collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Replaces comments, strings and character literals by spaces, so that braces and paths left are code.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at).unwrap_or(at);
        if end > at {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|b| if *b == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        } else {
            // Letters outside ASCII stand only in literals and comments; a space keeps offsets and lines.
            out.push(if bytes[at].is_ascii() {
                bytes[at]
            } else {
                b' '
            });
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

/// The end of the comment or literal that starts at `at`, if one does.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if !word_before && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let start = if rest[0] == b'b' { 2 } else { 1 };
        let hashes = rest[start..].iter().take_while(|b| **b == b'#').count();
        if rest.get(start + hashes) == Some(&b'"') {
            let mut close = vec![b'"'];
            close.resize(1 + hashes, b'#');
            let body = at + start + hashes + 1;
            let found = bytes[body..].windows(close.len()).position(|w| w == close);
            return Some(found.map_or(bytes.len(), |p| body + p + close.len()));
        }
    }
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at, b'"')),
        // A lifetime is not a character: that one closes after one (escaped) character.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(quoted_end(bytes, at, b'\'')),
        b'\'' => {
            let width = rest.get(1).map_or(1, |b| utf8_width(*b));
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

fn utf8_width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|set| set.contains(&module))
}

/// Every `crate::X` of the code as (offset, path), groups spelled out one level deep.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            for item in group_items(group) {
                found.push((at, path_head(&item)));
            }
        } else {
            found.push((at, path_head(rest)));
        }
    }
    found
}

/// The items of a use group up to its closing brace; inner groups stay with their item.
fn group_items(group: &str) -> Vec<String> {
    let (mut items, mut item, mut depth) = (Vec::new(), String::new(), 0);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                item.push(c);
            }
        }
    }
    items.push(item);
    items
        .into_iter()
        .map(|i| i.trim().to_string())
        .filter(|i| !i.is_empty())
        .collect()
}

/// The leading `a::b` of a path.
fn path_head(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':')
        .collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The code with `#[cfg(test)]` modules blanked.
fn without_tests(code: &str) -> String {
    let mut out = code.to_string();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        let open = out[start..].find('{').map(|p| start + p);
        let stop = out[start..].find(';').map(|p| start + p);
        from = start + 1;
        if let Some(open) = open.filter(|o| stop.is_none_or(|s| *o < s)) {
            let end = closing_brace(&out, open);
            let blanked: String = out[start..end]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' })
                .collect();
            out.replace_range(start..end, &blanked);
            from = end;
        }
    }
    out
}

/// The offset after the brace that closes the one at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, b) in code.bytes().enumerate().skip(open) {
        depth += i32::from(b == b'{') - i32::from(b == b'}');
        if depth == 0 {
            return i + 1;
        }
    }
    code.len()
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
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
                && !(own == "formats" && HIDDEN_FROM_FORMATS.contains(&other));
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

/// Functions with a body: offset, name, lines from `fn` to the closing brace.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let name = path_head(&code[at + 3..]);
        // The body opens at the first brace outside brackets; a semicolon there means that there is none.
        let mut depth = 0;
        let mut open = None;
        for (i, b) in code.bytes().enumerate().skip(at) {
            match b {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                b'{' if depth == 0 => {
                    open = Some(i);
                    break;
                }
                b';' if depth == 0 => break,
                _ => {}
            }
        }
        if let Some(open) = open.filter(|_| !name.is_empty()) {
            let end = closing_brace(code, open);
            found.push((at, name, code[at..end].matches('\n').count() + 1));
        }
    }
    found
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

#[test]
fn the_reader_understands_rust() {
    let code = blank(
        "let a = \"crate::http\"; // crate::cli\nlet b = r#\"{\"#; let c = '{'; fn f<'a>() {}\n",
    );
    assert_eq!(crate_paths(&code).len(), 0);
    assert_eq!(functions(&code).len(), 1);
    let code = blank("use crate::{types::{A, B}, store};\nfn long(\n) -> [u8; 3] {\n}\n");
    let heads: Vec<_> = crate_paths(&code).into_iter().map(|p| p.1).collect();
    assert_eq!(heads, ["types::", "store"]);
    assert_eq!(functions(&code)[0].2, 3);
    assert!(!without_tests("a\n#[cfg(test)]\nmod tests { fn x() {} }\nb").contains("fn x"));
}
