//! One page of a list: how many, and after which entry (distribution-spec, "Listing tags").

/// A request for one page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// At most this many entries; `None` is the server's own limit.
    pub n: Option<usize>,
    /// Entries strictly after this one; it need not exist.
    pub last: Option<String>,
}

/// `n` is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("n={0} is not a whole number of entries, zero or more")]
pub struct PageError(String);

impl PageRequest {
    /// The most entries one answer holds, whatever was asked for.
    pub const MAX: usize = 1000;

    /// A page from the query's `n` and `last`.
    pub fn parse(n: Option<&str>, last: Option<&str>) -> Result<Self, PageError> {
        let n = match n {
            None | Some("") => None,
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(text.parse().unwrap_or(usize::MAX))
            }
            Some(text) => return Err(PageError(text.chars().take(40).collect())),
        };
        let last = last.filter(|l| !l.is_empty()).map(str::to_owned);
        Ok(Self { n, last })
    }

    /// How many entries to answer with.
    pub fn limit(&self) -> usize {
        self.n.unwrap_or(Self::MAX).min(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        assert_eq!(PageRequest::parse(None, None).map(|p| p.limit()), Ok(1000));
        assert_eq!(
            PageRequest::parse(Some("0"), None).map(|p| p.limit()),
            Ok(0)
        );
        assert_eq!(
            PageRequest::parse(Some("99999999999999999999999"), None).map(|p| p.limit()),
            Ok(1000)
        );
        assert!(PageRequest::parse(Some("-1"), None).is_err());
        assert!(PageRequest::parse(Some("x"), None).is_err());
    }
}
