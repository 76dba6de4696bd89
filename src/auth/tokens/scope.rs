//! Docker's token scope grammar: `TYPE[(CLASS)]:NAME:ACTION[,ACTION]`, several separated by spaces.
//!
//! The name may hold a host with a port, so the type ends at the first colon and the actions begin after the last.

use crate::auth::AuthError;

/// The most scopes of one request. The token is bounded by its length, too ([`AuthError::TokenTooLong`]).
const MOST: usize = 256;

/// The longest name: a repository name with a host and port before it.
const LONGEST: usize = 512;

/// One access of docker's token scope grammar: `repository:NAME:pull,push,delete` or `registry:catalog:*`.
/// Written to tokens with the member names of docker's token specification (`type`, `name`, `actions`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scope {
    /// `repository` or `registry`; a class in parentheses is dropped.
    #[serde(rename = "type")]
    pub kind: String,
    /// A repository name, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete` or `*`.
    pub actions: Vec<String>,
}

impl Scope {
    /// Reads scopes separated by white space. Unknown types and bad names are dropped, as docker's token service
    /// does; scopes on the same name are joined. More than 256 are an error: a token that lacks what was asked for would have
    /// its client ask again for ever.
    pub fn parse(text: &str) -> Result<Vec<Scope>, AuthError> {
        let mut scopes: Vec<Scope> = Vec::new();
        for one in text.split_ascii_whitespace().filter_map(Self::parse_one) {
            let same = |s: &Scope| s.kind == one.kind && s.name == one.name;
            match scopes.iter().position(same) {
                Some(at) => scopes[at].join(one.actions),
                None if scopes.len() < MOST => scopes.push(one),
                None => return Err(AuthError::Scopes(MOST)),
            }
        }
        Ok(scopes)
    }

    fn parse_one(text: &str) -> Option<Scope> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = match kind.split_once('(') {
            Some((kind, class)) => class.ends_with(')').then_some(kind)?,
            None => kind,
        };
        let known = match kind {
            "repository" => is_name(name),
            "registry" => name == "catalog",
            _ => false,
        };
        if !known {
            return None;
        }
        let mut scope = Scope {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: Vec::new(),
        };
        let word = |a: &&str| matches!(*a, "pull" | "push" | "delete" | "*");
        scope.join(actions.split(',').filter(word).map(str::to_owned).collect());
        Some(scope)
    }

    fn join(&mut self, actions: Vec<String>) {
        for action in actions {
            if !self.actions.contains(&action) {
                self.actions.push(action);
            }
        }
    }

    /// Whether this access holds `action` (or `*`).
    pub(in crate::auth) fn holds(&self, action: &str) -> bool {
        self.actions.iter().any(|a| a == action || a == "*")
    }
}

/// A repository name, or HOST[:PORT]/NAME.
fn is_name(text: &str) -> bool {
    if text.parse::<crate::types::RepoName>().is_ok() {
        return true;
    }
    let Some((host, name)) = text.split_once('/') else {
        return false;
    };
    let (host, port) = host.split_once(':').unwrap_or((host, "0"));
    text.len() <= LONGEST
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        && port.len() <= 5
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok()
        && name.parse::<crate::types::RepoName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |s: &Scope| format!("{}|{}|{}", s.kind, s.name, s.actions.join("+"));
        let scopes = Scope::parse(text).expect("few");
        scopes.iter().map(show).collect()
    }

    #[test]
    fn one_scope() {
        for (text, want) in [
            ("repository:a/b:pull,push", "repository|a/b|pull+push"),
            (
                "repository:a:pull,pull,fly,delete",
                "repository|a|pull+delete",
            ),
            (
                "repository:host.example:5000/a/b:pull",
                "repository|host.example:5000/a/b|pull",
            ),
            ("repository(plugin):a:pull", "repository|a|pull"),
            ("registry:catalog:*", "registry|catalog|*"),
            ("repository:a:", "repository|a|"),
        ] {
            assert_eq!(shown(text), [want], "{text}");
        }
    }

    #[test]
    fn bad_scopes_are_dropped() {
        for text in [
            "",
            " ",
            "repository",
            "repository:a",
            "repository::pull",
            "repository:A B:pull",
            "repository:A:pull",
            "repository:h:000100/a:pull",
            "repository:../x:pull",
            "repository:h:99999/a:pull",
            "repository:h:+80/a:pull",
            "registry:other:*",
            "thing:a:pull",
            "repository(x:a:pull",
        ] {
            let found: Vec<_> = shown(text);
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn several_are_joined_by_name() {
        assert_eq!(
            shown("repository:a:pull  repository:b:pull repository:a:push,pull bad"),
            ["repository|a|pull+push", "repository|b|pull"]
        );
        let many = |count: usize| {
            let names = (0..count).map(|n| format!("repository:r{n}:pull "));
            names.collect::<Vec<_>>().concat()
        };
        let all = many(MOST);
        for text in [&all, &format!("{all}{all} thing:a:pull")] {
            assert_eq!(shown(text).len(), MOST);
        }
        let refused = Scope::parse(&many(MOST + 1));
        assert!(matches!(refused, Err(AuthError::Scopes(MOST))));
    }

    #[test]
    fn json_is_dockers() {
        let scope = &Scope::parse("repository:a:pull").expect("few")[0];
        let json = serde_json::to_string(scope).expect("json");
        assert_eq!(
            json,
            r#"{"type":"repository","name":"a","actions":["pull"]}"#
        );
    }
}
