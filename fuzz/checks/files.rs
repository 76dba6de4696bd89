//! Files over HTTP: their paths, which repository a path names, the headers that travel with them.

use super::text;
use super::wire::lines;
use dryport::blobs::{BlobOptions, Blobs};
use dryport::formats::oci::Oci;
use dryport::http::{ClaimedDigests, PageForm, TreeRoute, part_range, repr_digest, unchanged};
use dryport::repo::{At, RepoOptions, Repos};
use dryport::store::{Store, StoreOptions};
use dryport::types::{Algorithm, Digest, FilePath, Folder, Kind};
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderValue};
use std::sync::OnceLock;
use std::time::Duration;
use unicode_normalization::UnicodeNormalization as _;

/// Paths of files and folders: what is accepted leads nowhere else, has one spelling, and reads back.
pub fn path(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let path = text.parse::<FilePath>();
    assert_eq!(path.is_ok(), is_path(text), "{text:?}");
    let folder = format!("{text}/").parse::<Folder>();
    assert_eq!(folder.is_ok(), path.is_ok(), "{text:?}");
    let Ok(path) = path else { return };
    assert_eq!(path.as_str(), text);
    assert!(text.ends_with(path.name()) && !path.name().contains('/'));
    let folders: Vec<&str> = path.folders().collect();
    assert_eq!(folders.len(), text.matches('/').count());
    for folder in folders {
        assert!(text[folder.len()..].starts_with('/'), "{text:?}");
        assert!(folder.parse::<FilePath>().is_ok(), "{text:?}");
    }
}

/// The grammar of paths, written down a second time and differently: a machine that walks the characters.
fn is_path(text: &str) -> bool {
    let mut component = String::new();
    for c in text.chars().chain(['/']) {
        let steers = matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\\');
        if steers || (c == '/' && matches!(component.as_str(), "" | "." | "..")) {
            return false;
        }
        if c == '/' {
            component.clear();
        } else {
            component.push(c);
        }
    }
    text.len() <= 1024 && text.nfc().eq(text.chars())
}

/// What a path as it comes, percent-encoded, means below `/r/`: one repository, the longest, and the rest of the path.
pub fn tree(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(route) = TreeRoute::parse(&format!("/r/{text}")) else {
        panic!("{text:?} is below /r/");
    };
    assert!(text.ends_with(&route.last) && !route.last.contains('/'));
    let Some(path) = route.path else { return };
    assert!(path.len() <= text.len());
    assert!(!path.bytes().any(|b| b < 0x20 || b == 0x7f), "{path:?}");
    let names = |name: &&str| {
        let rest = path.strip_prefix(*name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let longest = NAMES
        .iter()
        .filter(|name| names(name))
        .max_by_key(|n| n.len());
    let Some(tree) = repositories().tree(&path) else {
        return assert_eq!(longest, None, "{path:?}");
    };
    let name = tree.name.as_str();
    assert!(
        longest.is_none_or(|longest| longest.len() <= name.len()),
        "{path:?}"
    );
    let at = match &tree.at {
        At::Head => String::new(),
        At::Named(text) => format!("@{text}"),
        At::Time(_) => panic!("no path means a time by itself"),
    };
    let slash = if tree.is_bare { "" } else { "/" };
    assert_eq!(format!("{name}{at}{slash}{}", tree.path), path);
}

/// The repositories of files that there are.
const NAMES: [&str; 4] = ["a", "files", "team/tools", "x.y/z-1/0"];

fn repositories() -> &'static Repos {
    static REPOS: OnceLock<Repos> = OnceLock::new();
    REPOS.get_or_init(|| {
        // The folder goes at once: nothing is written later, and no process can leave it behind.
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 1 << 20,
            slow: Duration::from_mins(1),
            holder: "checks".to_owned(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 0,
            upgrade_without_copy: false,
        });
        let blobs = Blobs::open(BlobOptions {
            dir: dir.path().to_owned(),
            reserve_bytes: 0,
            owed_bytes: std::sync::Arc::default(),
            inline_max: 1 << 10,
        });
        let options = RepoOptions {
            lease: Duration::from_hours(1),
            keep: Duration::from_hours(1),
            upload_idle: Duration::from_hours(1),
            manifest_max: 4 << 20,
            uploads_max: 10,
            upload_memory: 1 << 20,
            strict: true,
            cache_bytes: 0,
            format: &Oci,
        };
        let repos = Repos::open(store.expect("a store"), blobs.expect("blobs"), options);
        let repos = repos.expect("repositories");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        for name in NAMES {
            let name = name.parse().expect("a name");
            let made = runtime.block_on(repos.create(&name, Kind::File, "checks"));
            made.expect("a repository");
        }
        repos
    })
}

/// `Content-Range` of a part of a file: read strictly, and spelled again the same.
pub fn part(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let found = part_range(text).ok().map(|part| {
        let range = part.range.map(|range| (range.first, range.last));
        (range, part.total)
    });
    let spelled = spelled(text.trim());
    assert_eq!(found, spelled, "{text:?}");
    if let Some((range, total)) = found {
        let range = range.map_or("*".to_owned(), |(first, last)| format!("{first}-{last}"));
        let total = total.map_or("*".to_owned(), |total| total.to_string());
        let again = part_range(&format!("bytes {range}/{total}")).ok();
        let again = again.map(|part| (part.range.map(|r| (r.first, r.last)), part.total));
        assert_eq!(again, found, "{text:?}");
    }
}

type Part = (Option<(u64, u64)>, Option<u64>);

/// The same grammar, read from its end: total, range, unit.
fn spelled(text: &str) -> Option<Part> {
    let number = |digits: &str| {
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let wide = digits.parse::<u128>().ok().filter(|_| all)?;
        u64::try_from(wide).ok()
    };
    let slash = text.rfind('/')?;
    let total = match &text[slash + 1..] {
        "*" => None,
        digits => Some(number(digits)?),
    };
    let range = text[..slash].strip_prefix("bytes ")?.trim_start();
    if range == "*" {
        return Some((None, total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let fits = first <= last && last < total.unwrap_or(u64::MAX);
    fits.then_some((Some((first, last)), total))
}

/// Header lines of a request for a file or a folder: digests that are claimed are those that are written, conditions hold for
/// the very file, and whoever names JSON first gets it.
pub fn file_headers(data: &[u8]) {
    let headers = lines(data);
    if let Some(accept) = headers.get("accept").and_then(|v| v.to_str().ok()) {
        let named = |kind| accept.to_ascii_lowercase().contains(kind);
        let form = PageForm::wanted(Some(accept));
        assert!(
            form == PageForm::Html || named("application/json"),
            "{accept:?}"
        );
        let first = format!("application/json, {accept}");
        assert_eq!(PageForm::wanted(Some(&first)), PageForm::Json, "{accept:?}");
        let first = format!("text/html;q=0.1,{accept}");
        assert_eq!(PageForm::wanted(Some(&first)), PageForm::Html, "{accept:?}");
    }
    if let Ok(claimed) = ClaimedDigests::of(&headers) {
        let mut again = HeaderMap::new();
        for digest in [claimed.sha256, claimed.sha512].into_iter().flatten() {
            append(
                &mut again,
                HeaderName::from_static("repr-digest"),
                &repr_digest(&digest),
            );
        }
        assert_eq!(ClaimedDigests::of(&again).ok(), Some(claimed));
    }
    let digest = Digest::of(Algorithm::Sha256, b"a file");
    let when = 784_111_777_500;
    // The file's own tag beside the others, if those can be read at all: the file is what is wanted, and is known.
    let Ok(_) = unchanged(&headers, &digest, when).or_else(|fail| match fail.status.as_u16() {
        412 => Ok(false),
        _ => Err(fail),
    }) else {
        return;
    };
    let mut own = headers.clone();
    let tag = format!("\"{digest}\"");
    append(&mut own, IF_MATCH, &tag);
    match unchanged(&own, &digest, when) {
        Ok(_) => {}
        Err(fail) => assert_eq!(
            fail.status.as_u16(),
            400,
            "more tags than are taken: {own:?}"
        ),
    }
    own.remove(IF_MATCH);
    own.remove(IF_UNMODIFIED_SINCE);
    append(&mut own, IF_NONE_MATCH, &tag);
    assert_eq!(unchanged(&own, &digest, when).ok(), Some(true), "{own:?}");
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    headers.append(name, HeaderValue::from_str(value).expect("a value"));
}
