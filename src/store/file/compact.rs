//! Giving back to the file system what the database has free.
//!
//! Owns the lock, the reserve and the second try; how the file becomes shorter is the engine's.

use crate::store::disk::{self, Opener};
use crate::store::lock::DirLock;
use crate::store::reserve::Reserve;
use crate::store::{Store, StoreError, StoreErrorKind, StoreOptions, lend};
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
        let file = options.dir.join(crate::store::redb::FILE);
        let length = || match file.symlink_metadata() {
            Ok(about) => Ok(about.len()),
            Err(e) => Err(crate::store::error::io(
                format!("look at {}", file.display()),
                &e,
            )),
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
    // The engine is trusted not to panic; what it had not committed by then is as if it had not begun.
    let once = || {
        catch_unwind(AssertUnwindSafe(|| {
            crate::store::redb::compact(options, opener)
        }))
        .unwrap_or_else(|_| {
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
