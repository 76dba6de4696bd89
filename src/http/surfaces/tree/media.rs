//! The media type that a file's name means.
//!
//! Owns the exceptions to the common list. Looks at no content, and never says that content is coded: a `.gz` is a file as it
//! is, not another one on its way.

/// Of what is not known.
const BYTES: &str = "application/octet-stream";
/// Of text.
const TEXT: &str = "text/plain; charset=utf-8";

/// Names without an ending that are text, in lower case.
const TEXTS: &[&str] = &[
    "sha256sums",
    "sha512sums",
    "md5sums",
    "readme",
    "license",
    "copying",
    "notice",
    "changelog",
    "release",
    "inrelease",
    "packages",
    "sources",
    "makefile",
    "dockerfile",
    "containerfile",
];

/// Endings that the common list does not know, or takes for something else, in lower case.
const ENDINGS: &[(&str, &str)] = &[
    ("apk", "application/octet-stream"),
    ("asc", "text/plain; charset=utf-8"),
    ("bz2", "application/x-bzip2"),
    ("conf", "text/plain; charset=utf-8"),
    ("crate", "application/gzip"),
    ("deb", "application/vnd.debian.binary-package"),
    ("gz", "application/gzip"),
    ("img", "application/octet-stream"),
    ("iso", "application/x-iso9660-image"),
    ("jsonl", "application/x-ndjson"),
    ("key", "application/octet-stream"),
    ("list", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("lz4", "application/x-lz4"),
    ("md", "text/markdown; charset=utf-8"),
    ("qcow2", "application/octet-stream"),
    ("repo", "text/plain; charset=utf-8"),
    ("rpm", "application/x-rpm"),
    ("sh", "text/plain; charset=utf-8"),
    ("sha256", "text/plain; charset=utf-8"),
    ("sha512", "text/plain; charset=utf-8"),
    ("sig", "application/octet-stream"),
    ("sources", "text/plain; charset=utf-8"),
    ("tgz", "application/gzip"),
    ("whl", "application/octet-stream"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// The `Content-Type` of the file at a path.
pub fn of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let Some((_, ending)) = name.rsplit_once('.') else {
        let known = TEXTS.contains(&name.as_str());
        return if known { TEXT } else { BYTES }.to_owned();
    };
    if let Ok(at) = ENDINGS.binary_search_by_key(&ending, |(ending, _)| ending) {
        return ENDINGS[at].1.to_owned();
    }
    match mime_guess::from_ext(ending).first_raw() {
        None => BYTES.to_owned(),
        Some(kind) if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        Some(kind) => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_in_order() {
        assert!(ENDINGS.is_sorted_by_key(|(ending, _)| ending));
    }

    #[test]
    fn names() {
        for (path, kind) in [
            ("a.txt", "text/plain; charset=utf-8"),
            ("a/B.HTML", "text/html; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("x.tar.gz", "application/gzip"),
            ("x.tar.xz", "application/x-xz"),
            ("x.zst", "application/zstd"),
            ("dists/x/InRelease", "text/plain; charset=utf-8"),
            ("a.b/c", "application/octet-stream"),
            (".unknown-to-all", "application/octet-stream"),
            ("a.deb", "application/vnd.debian.binary-package"),
            ("a.pdf", "application/pdf"),
        ] {
            assert_eq!(of(path), kind, "{path}");
        }
    }
}
