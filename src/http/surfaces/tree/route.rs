//! From a raw request path to a path below `/r/`.
//!
//! Owns how it is decoded. Must not look at accounts or repositories.

use percent_encoding::percent_decode_str;

/// A path below `/r/`, decoded once; which repository it names is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRoute {
    /// The path; `None` if it holds bytes that no name can have.
    pub path: Option<String>,
    /// What follows its last `/`, as it came.
    pub last: String,
}

impl TreeRoute {
    /// The route of a raw (still percent-encoded) path; nothing for `/r` alone.
    pub fn parse(raw: &str) -> Option<Self> {
        let rest = raw.strip_prefix("/r/")?;
        let path = percent_decode_str(rest).decode_utf8().ok();
        let path = path.filter(|path| !path.bytes().any(|b| b < 0x20 || b == 0x7f));
        let last = rest.rsplit('/').next().unwrap_or(rest);
        Some(Self {
            path: path.map(Into::into),
            last: last.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_r() {
        let tree = |path: &str| {
            let route = TreeRoute::parse(path).expect(path);
            (route.path, route.last)
        };
        let of = |path: &str, last: &str| (Some(path.to_owned()), last.to_owned());
        assert_eq!(tree("/r/"), of("", ""));
        assert_eq!(tree("/r/files"), of("files", "files"));
        assert_eq!(tree("/r/a%2Fb%20c/d/"), of("a/b c/d/", ""));
        assert_eq!(tree("/r/a/g%2b%2B+x~1"), of("a/g+++x~1", "g%2b%2B+x~1"));
        assert_eq!(tree("/r/a/%252f"), of("a/%2f", "%252f"));
        for odd in ["/r/%ff", "/r/a/%00", "/r/a%0a", "/r/a/%7f"] {
            assert_eq!(tree(odd).0, None, "{odd}");
        }
        assert_eq!(TreeRoute::parse("/r"), None);
    }
}
