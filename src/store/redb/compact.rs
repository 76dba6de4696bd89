//! A shorter file.
//!
//! redb keeps the pages of rows that went for those to come. Here its last pages move to free places before them, and the
//! file ends sooner. Each step is a durable commit: a crash leaves all rows. redb does not keep its allocator's state in
//! these commits, so the first start after one that was cut off reads the whole file.

use super::error::redb as redb_error;
use super::upgrade;
use crate::store::disk::Opener;
use crate::store::{StoreError, StoreOptions};

/// Opens the database, shortens it and closes it.
pub(in crate::store) fn compact(options: &StoreOptions, opener: &Opener) -> Result<(), StoreError> {
    // What only the log holds is in the file once both are open.
    let (mut open, _log) = upgrade::open(options, opener)?;
    let failed = |e| redb_error("compact its file", e);
    open.db.compact().map_err(failed)?;
    open.db
        .close()
        .map_err(|e| redb_error("compact its file", e))
}
