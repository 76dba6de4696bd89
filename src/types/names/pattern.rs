//! Patterns of repository names: `team/*`, `docker.io/**`.

use crate::types::{NameError, RepoName};
use std::fmt;
use std::str::FromStr;

/// A name, or a pattern of names. `*` stands for any run of characters within a component, `**` as a component for any
/// number of components, at the end for at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoPattern(String);

impl RepoPattern {
    /// The name, if it is one and no pattern.
    pub fn as_name(&self) -> Option<RepoName> {
        if self.0.contains('*') {
            return None;
        }
        self.0.parse().ok()
    }

    /// What every name that it stands for begins with, in whole components: the part before the first star.
    pub fn prefix(&self) -> &str {
        let fixed = self.0.split('*').next().unwrap_or_default();
        fixed.rsplit_once('/').map_or("", |(prefix, _)| prefix)
    }

    /// Whether a name is one of those that it stands for.
    pub fn matches(&self, name: &RepoName) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.as_str().split('/').collect();
        components(&pattern, &name)
    }
}

fn components(pattern: &[&str], name: &[&str]) -> bool {
    let is_any = |part: &&str| *part == "**";
    let is_one = |part: &&str, own: &&str| component(part, own);
    match pattern.split_last() {
        // At the end it stands for at least one.
        Some((&"**", before)) => {
            let pattern = [before, &["*", "**"][..]].concat();
            fits(&pattern, name, is_any, is_one)
        }
        _ => fits(pattern, name, is_any, is_one),
    }
}

fn component(pattern: &str, text: &str) -> bool {
    // Names are ASCII, and so is a pattern that reads as one.
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    fits(pattern, text, |c| *c == b'*', |c, own| c == own)
}

/// Whether the pattern stands for the whole text, where a piece of it that is "any" stands for any number of pieces. Takes at
/// most as many steps as the product of both lengths: where a later piece does not fit, only the last "any" takes one more.
fn fits<P, T>(
    pattern: &[P],
    text: &[T],
    is_any: impl Fn(&P) -> bool,
    is_one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut piece, mut at) = (0, 0);
    let mut last_any = None;
    while at < text.len() {
        if pattern.get(piece).is_some_and(&is_any) {
            last_any = Some((piece, at));
            piece += 1;
        } else if pattern.get(piece).is_some_and(|p| is_one(p, &text[at])) {
            piece += 1;
            at += 1;
        } else if let Some((any, taken)) = last_any {
            last_any = Some((any, taken + 1));
            piece = any + 1;
            at = taken + 1;
        } else {
            return false;
        }
    }
    pattern[piece..].iter().all(is_any)
}

impl FromStr for RepoPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // With a letter for each star it must read as a name, so at most as many stars as a name has characters.
        text.replace("**", "a")
            .replace('*', "a")
            .parse::<RepoName>()?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RepoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::types::as_text!(
    RepoPattern,
    "RepoPattern",
    "The name of a repository, or a pattern of names.",
    "team/**"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (pattern, prefix) in [
            ("team/*", "team"),
            ("**", ""),
            ("te*", ""),
            ("a/b/x*/c", "a/b"),
            ("docker.io/**", "docker.io"),
        ] {
            let pattern: RepoPattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.prefix(), prefix);
        }
    }

    #[test]
    fn patterns() {
        let matches = |pattern: &str, name: &str| {
            let pattern: RepoPattern = pattern.parse().expect("a pattern");
            pattern.matches(&name.parse().expect("a name"))
        };
        for (pattern, name) in [
            ("a/b", "a/b"),
            ("docker.io/**", "docker.io/library/alpine"),
            ("docker.io/**", "docker.io/x"),
            ("**", "a/b/c"),
            ("**/app", "app"),
            ("**/app", "x/y/app"),
            ("team/*", "team/app"),
            ("team/a*", "team/app"),
            ("team/*p", "team/app"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a/b", "a/bc"),
            ("docker.io/**", "docker.io"),
            ("team/*", "team/app/x"),
            ("team/*", "teams/app"),
            ("team/a*", "team/b"),
            ("**/app", "x/apps"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // Each star could take any part: a comparison that tried all would not end.
        let (stars, long) = ("a*".repeat(80) + "b", "a".repeat(200));
        assert!(!matches(&stars, &long) && matches(&stars, &format!("{long}b")));
        let stars = "**/a/".repeat(30) + "b";
        assert!(!matches(&stars, &("a/".repeat(100) + "a")));
        for bad in ["", "/a", "A/*", "a b/**", "a//*"] {
            assert!(bad.parse::<RepoPattern>().is_err(), "{bad}");
        }
        let name = |text: &str| text.parse::<RepoPattern>().expect("a pattern").as_name();
        assert_eq!(name("a/b").map(|name| name.to_string()), Some("a/b".into()));
        assert_eq!(name("a/*"), None);
    }
}
