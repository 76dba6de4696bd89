//! A folder's page as a text: HTML that any browser shows and any program reads links from, or JSON.
//!
//! Owns how names are written in both. Must not read anything.

use crate::http::server::limits::long_lists::SHORT;
use crate::repo::{At, FolderEntry, FolderPage, Tree};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use std::fmt::Write as _;

/// The most bytes of a page: it ends early where names are long.
const LONGEST: usize = 4 << 20;
/// What one entry and what follows the last may take at most, with the longest name.
const ENTRY: usize = 16 << 10;
/// Bytes of one entry with a name of a usual length.
const USUAL: usize = 400;

/// What stays as it is in a link: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Text for a piece of a URL.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Text for HTML, also within quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For whom a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageForm {
    /// People, and programs that follow links.
    Html,
    /// Programs.
    Json,
}

impl PageForm {
    /// By the `Accept` of a request.
    pub fn wanted(accept: Option<&str>) -> Self {
        let mut kinds = accept.unwrap_or_default().split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next()?.to_ascii_lowercase();
            let refused = parts.any(|p| {
                p.strip_prefix("q=")
                    .is_some_and(|q| q.parse().is_ok_and(|q: f32| q <= 0.0))
            });
            (!refused).then_some(kind)
        });
        // Whoever names both gets what is named first.
        match kinds.find(|kind| matches!(kind.as_str(), "application/json" | "text/html")) {
            Some(kind) if kind == "application/json" => Self::Json,
            _ => Self::Html,
        }
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// A page in the making.
pub struct FolderListing {
    form: PageForm,
    text: String,
    /// With so many bytes nothing more is taken.
    full: usize,
    entries: usize,
    next: Option<String>,
}

impl FolderListing {
    /// Most bytes of a page of so many entries.
    pub fn most(entries: usize) -> usize {
        (entries * USUAL).clamp(2 * SHORT, LONGEST)
    }

    /// A page of the folder that the tree's path names.
    pub fn begin(form: PageForm, tree: &Tree) -> Self {
        let text = match form {
            PageForm::Json => "{\"entries\":[".to_owned(),
            PageForm::Html => head(tree),
        };
        Self {
            form,
            text,
            full: LONGEST - 2 * ENTRY,
            entries: 0,
            next: None,
        }
    }

    /// A page for people that is taken away piece by piece, each a short list: see [`FolderListing::piece`].
    pub fn in_pieces(tree: &Tree) -> Self {
        Self {
            full: SHORT - ENTRY,
            ..Self::begin(PageForm::Html, tree)
        }
    }

    /// What is there of it; what follows comes behind that. `None`: nothing new.
    pub fn piece(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.text)).filter(|text| !text.is_empty())
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// After which name the next page goes on, if there may be one.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Takes as much of what was read as there is room for; `false`: not all of it.
    pub fn add(&mut self, part: &FolderPage) -> bool {
        for entry in &part.entries {
            if self.text.len() > self.full {
                return false;
            }
            match self.form {
                PageForm::Json => self.json(entry),
                PageForm::Html => self.html(entry),
            }
            self.entries += 1;
            self.next = Some(entry.name.clone());
        }
        self.next.clone_from(&part.next);
        true
    }

    fn json(&mut self, entry: &FolderEntry) {
        let file = entry.file.as_ref();
        let value = json!({
            "name": entry.name,
            "size": file.map(|file| file.size),
            "digest": file.map(|file| file.digest.to_string()),
            "modified": file.and_then(|file| time(file.modified_ms)).map(|time| time.to_string()),
        });
        let comma = if self.entries == 0 { "" } else { "," };
        let _ = write!(self.text, "{comma}{value}");
    }

    fn html(&mut self, entry: &FolderEntry) {
        let (name, slash) = match entry.name.strip_suffix('/') {
            Some(name) => (name, "/"),
            None => (entry.name.as_str(), ""),
        };
        let _ = write!(
            self.text,
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td>",
            encode(name),
            escape(name)
        );
        if let Some(file) = &entry.file {
            let time = time(file.modified_ms).map(|t| t.strftime("%Y-%m-%d %H:%M:%S").to_string());
            let time = time.unwrap_or_default();
            let _ = write!(self.text, "<td>{}</td><td>{time}</td>", file.size);
        }
        self.text.push_str("</tr>\n");
    }

    /// The whole page; `next`: the query of the one that follows.
    pub fn done(mut self, next: Option<&str>) -> String {
        match self.form {
            PageForm::Json => {
                let _ = write!(self.text, "],\"next\":{}}}", json!(self.next));
            }
            PageForm::Html => {
                self.text.push_str("</table>\n");
                if let Some(next) = next {
                    let next = escape(next);
                    let _ = writeln!(
                        self.text,
                        "<p><a rel=\"next\" href=\"{next}\">Next page</a></p>"
                    );
                }
                self.text.push_str("</body>\n</html>\n");
            }
        }
        self.text
    }
}

fn time(ms: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}

fn head(tree: &Tree) -> String {
    let at = match &tree.at {
        At::Named(text) => format!("@{text}"),
        At::Head | At::Time(_) => String::new(),
    };
    let title = escape(&format!("{}{at}/{}", tree.name, tree.path));
    let up = if tree.path.is_empty() {
        ""
    } else {
        "<tr><td><a href=\"../\">../</a></td></tr>\n"
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<table>\n\
         <tr><th>Name</th><th>Bytes</th><th>Changed (UTC)</th></tr>\n{up}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (accept, form) in [
            (None, PageForm::Html),
            (Some("*/*"), PageForm::Html),
            (Some("application/json"), PageForm::Json),
            (Some("application/json, text/plain, */*"), PageForm::Json),
            (
                Some("text/html,application/xhtml+xml,application/json"),
                PageForm::Html,
            ),
            (Some("application/json;q=0"), PageForm::Html),
            (Some("Application/JSON; q=0.5"), PageForm::Json),
        ] {
            assert_eq!(PageForm::wanted(accept), form, "{accept:?}");
        }
    }

    #[test]
    fn names_are_written_so_that_nothing_breaks_out() {
        let tree = Tree {
            name: "files".parse().expect("a name"),
            at: At::Head,
            path: "a&b/".into(),
            is_bare: false,
        };
        let name = "x\"><script>'&:%2f \u{e4}";
        let entry = FolderEntry {
            name: name.into(),
            file: None,
        };
        let page = FolderPage {
            entries: vec![entry],
            next: Some("last&".into()),
        };
        let mut listing = FolderListing::begin(PageForm::Html, &tree);
        assert!(listing.add(&page));
        let text = listing.done(Some("?n=1&last=last%26"));
        assert!(
            !text.contains("<script") && text.contains("a&amp;b/"),
            "{text}"
        );
        let href = "./x%22%3E%3Cscript%3E%27%26%3A%252f%20%C3%A4";
        assert!(text.contains(&format!("href=\"{href}\"")), "{text}");
        assert!(text.contains("href=\"?n=1&amp;last=last%26\""), "{text}");
        let mut listing = FolderListing::begin(PageForm::Json, &tree);
        assert!(listing.add(&page));
        let value: serde_json::Value = serde_json::from_str(&listing.done(None)).expect("JSON");
        assert_eq!(value["entries"][0]["name"], name);
        assert_eq!(value["next"], "last&");
    }
}
