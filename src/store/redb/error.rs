//! redb's errors in the store's words; nothing else may look at one.

use crate::store::StoreError;
use crate::store::error::io;

/// Translates any error of redb; `what` is the attempt.
pub(super) fn redb(what: &str, error: impl Into<redb::Error>) -> StoreError {
    use redb::Error;
    match error.into() {
        Error::Io(e) => io(what, &e),
        Error::Corrupted(detail) => StoreError::Damaged(detail),
        Error::UpgradeRequired(version) => StoreError::Damaged(format!(
            "file format {version} of a much older program, which this one cannot convert"
        )),
        Error::DatabaseClosed => StoreError::Closed,
        other => StoreError::Io {
            what: what.into(),
            detail: other.to_string(),
        },
    }
}
