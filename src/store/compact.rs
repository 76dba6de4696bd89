//! Giving back to the file system what the database has free.
//!
//! redb keeps the pages of rows that went for those to come. Here its last pages move to free places before them, and the
//! file ends sooner. Each step is a durable commit: a crash leaves all rows. redb does not keep its allocator's state in
//! these commits, so the first start after one that was cut off reads the whole file.

use super::disk::{self, Opener};
use super::error::redb as redb_error;
use super::lock::DirLock;
use super::reserve::Reserve;
use super::{Store, StoreError, StoreErrorKind, StoreOptions, lend, upgrade};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What [`Store::compact`] came to: lengths of `DIR/meta.redb` in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// Now.
    pub after: u64,
}

impl Store {
    /// Shortens the database of a data directory that nobody has open, as far as its last pages find places before them;
    /// takes the lock meanwhile. Blocks, for the time that it takes to read all pages and write those that move. The file
    /// may be longer meanwhile.
    pub fn compact(options: &StoreOptions) -> Result<Compacted, StoreError> {
        let file = options.dir.join(upgrade::FILE);
        let length = || match file.symlink_metadata() {
            Ok(about) => Ok(about.len()),
            Err(e) => Err(super::error::io(format!("look at {}", file.display()), &e)),
        };
        let before = length()?;
        compact_on(options, &disk::machine())?;
        let after = length()?;
        Ok(Compacted { before, after })
    }
}

/// The same on a disk of the caller's.
pub(crate) fn compact_on(options: &StoreOptions, opener: &Opener) -> Result<(), StoreError> {
    let _lock = DirLock::take(&options.dir, &options.holder)?;
    let reserve = Arc::new(Reserve::of(options, opener));
    let opener = &lend::over(Arc::clone(opener), Arc::clone(&reserve));
    // redb is trusted not to panic; what it had not committed by then is as if it had not begun.
    let once = || {
        catch_unwind(AssertUnwindSafe(|| once(options, opener))).unwrap_or_else(|_| {
            Err(StoreError::Io {
                what: "compact its file".into(),
                detail: "a defect, see above; nothing is lost".into(),
            })
        })
    };
    let done = reserve.lent_to(|| match once() {
        // A sync found no room and has given the reserve up.
        Err(e) if e.kind() == StoreErrorKind::NoSpace => once(),
        done => done,
    });
    reserve.restore();
    done
}

fn once(options: &StoreOptions, opener: &Opener) -> Result<(), StoreError> {
    // What only the log holds is in the file once both are open.
    let (mut db, _log) = upgrade::open(options, opener)?;
    db.compact()
        .map_err(|e| redb_error("compact its file", e))?;
    db.close().map_err(|e| redb_error("compact its file", e))
}
