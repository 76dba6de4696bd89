//! Reads the sources as text: what of it is code, whom it imports, and where its functions are.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Source {
    /// Path below `src/`, with forward slashes.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked; the lines are the same.
    pub code: String,
}

impl Source {
    /// One file of this text.
    pub fn of(path: &str, text: &str) -> Self {
        Self {
            path: path.replace('\\', "/"),
            code: blank(text),
            text: text.to_owned(),
        }
    }

    /// The top-level module that the file belongs to.
    pub fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    pub fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    pub fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.module() == "testing"
    }
}

pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 10, "no sources below {}", root.display());
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
            Source::of(path, &text)
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

/// Every string literal outside comments, with the offset of its start; escapes stay as they are written.
pub fn literals(text: &str) -> Vec<(usize, String)> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let Some(end) = skip(bytes, at) else {
            at += 1;
            continue;
        };
        let whole = text.get(at..end).unwrap_or_default();
        let opened = whole.trim_start_matches(['b', 'r', '#']);
        if !whole.starts_with('/') && opened.starts_with('"') {
            found.push((
                at,
                opened.trim_end_matches('#').trim_matches('"').to_owned(),
            ));
        }
        at = end;
    }
    found
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

/// Every `crate::X` of the code as (offset, path), groups spelled out one level deep.
pub fn crate_paths(code: &str) -> Vec<(usize, String)> {
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
pub fn path_head(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':')
        .collect()
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The code with `#[cfg(test)]` modules blanked.
pub fn without_tests(code: &str) -> String {
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

/// Functions with a body: offset, name, lines from `fn` to the closing brace.
pub fn functions(code: &str) -> Vec<(usize, String, usize)> {
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
