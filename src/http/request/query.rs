//! The parameters of a request, decoded.
//!
//! Owns their number. Must not know what any of them means.

/// More parameters than this are refused: each takes more memory than it has text.
const PARAMETERS: usize = 300;

/// There are too many parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {PARAMETERS} parameters in one request")]
pub struct QueryError;

/// Decoded query parameters, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`, at most 300 of them; also the body of a form. What is not UTF-8 is read with replacement
    /// characters, which no name or digest accepts.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let pairs = || form_urlencoded::parse(text.as_bytes());
        if pairs().nth(PARAMETERS).is_some() {
            return Err(QueryError);
        }
        Ok(Self(pairs().into_owned().collect()))
    }

    /// `?a=b&c=d` again; empty for no parameters.
    pub fn encoded(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut text = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        text.extend_pairs(&self.0).finish()
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Every value of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let q =
            Query::parse("tag=a&tag=b%2Bc&x&scope=repository%3Aa%3Apull+registry").expect("few");
        assert_eq!(q.all("tag").collect::<Vec<_>>(), ["a", "b+c"]);
        assert_eq!(q.get("x"), Some(""));
        assert_eq!(q.get("scope"), Some("repository:a:pull registry"));
        assert_eq!(q.get("none"), None);
        let again = q.encoded();
        let again = again.strip_prefix('?').expect("a query");
        assert_eq!(Query::parse(again), Ok(q));
        assert_eq!(Query::default().encoded(), "");
        assert!(Query::parse(&"=&".repeat(PARAMETERS)).is_ok());
        let many = Query::parse(&"=&".repeat(PARAMETERS + 1));
        assert_eq!(many, Err(QueryError));
    }
}
