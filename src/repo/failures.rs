//! Failures of work on many things, each of which goes on without the others.

use super::error::RepoError;

/// How many of them failed, and why the first did.
#[derive(Default)]
pub(super) struct Failures {
    count: u64,
    first: Option<RepoError>,
}

impl Failures {
    /// What came of one; `None` if it failed. A failure of the store is everybody's, and is given back.
    pub fn note<T>(&mut self, result: Result<T, RepoError>) -> Result<Option<T>, RepoError> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error @ RepoError::Store(_)) => Err(error),
            Err(error) => {
                self.add(error);
                Ok(None)
            }
        }
    }

    /// One failed.
    pub fn add(&mut self, error: RepoError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Why the first failed, if any did.
    pub fn end(self) -> Result<(), RepoError> {
        self.first.map_or(Ok(()), Err)
    }

    /// Tells of them in one line, if there are any: `what` they are, and what that means.
    pub fn tell(self, what: &'static str) {
        if let Some(error) = self.first {
            tracing::warn!(count = self.count, %error, "{what}");
        }
    }
}
