//! The copy of the database that is kept before an upgrade, `DIR/meta.redb.schema-N.bak`.
//!
//! Owns whether there is room for it, and whether the one of an earlier try will do. It is made under another name and
//! renamed when it is durable: a copy that has its name is whole. Must not change the database itself.

use super::Redb;
use super::upgrade::{FILE, frozen, last_batch, log_key};
use crate::datadir;
use crate::store::disk::Opener;
use crate::store::engine::Engine as _;
use crate::store::error::io;
use crate::store::lock::sync_dir;
use crate::store::versions::Versions;
use crate::store::{StoreError, StoreOptions, log, reserve};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a copy is made under.
const HALF: &str = "meta.redb.copy";

/// What tells one state of a database from every other: each batch counts, and each upgrade makes a new key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    schema: u32,
    key: Option<log::LogKey>,
    batch: u64,
}

impl State {
    /// That of an open database whose log has been repeated.
    pub fn of(db: &Redb) -> Result<Self, StoreError> {
        Ok(Self {
            schema: Versions::of(&db.begin_read()?)?.schema,
            key: log_key(db)?,
            batch: last_batch(db)?,
        })
    }
}

/// Keeps a copy of the database, which is closed and in this state. Where there is no room for it and for the `rewritten`
/// bytes of the upgrade itself, that is an error before anything is written; or there is no copy, if the operator said so.
pub(super) fn keep(
    options: &StoreOptions,
    opener: &Opener,
    state: &State,
    rewritten: u64,
) -> Result<(), StoreError> {
    let (dir, path) = (&options.dir, options.dir.join(FILE));
    let copy = dir.join(format!("{FILE}.schema-{}.bak", state.schema));
    datadir::may_replace(&copy).map_err(|e| io(format!("write {}", copy.display()), &e))?;
    let half = dir.join(HALF);
    // Left by a start that was ended half way.
    datadir::remove_own(&half).map_err(|e| io(format!("write {}", half.display()), &e))?;
    let is_kept = is_of(opener, &copy, state);
    let what = || format!("copy {} before its upgrade", path.display());
    let copied = if is_kept {
        0
    } else {
        path.symlink_metadata().map_err(|e| io(what(), &e))?.len()
    };
    let (needed, free) = (
        copied.saturating_add(rewritten.saturating_sub(lent(options))),
        opener.free(dir).unwrap_or(u64::MAX),
    );
    if needed > free && !options.upgrade_without_copy {
        return Err(StoreError::NoRoomForCopy {
            found: state.schema,
            needed,
            free,
        });
    }
    if is_kept {
        tracing::info!(file = %copy.display(), "the copy of an earlier try of this upgrade is kept");
        return Ok(());
    }
    if needed <= free {
        write(&path, &half, &copy)?;
        tracing::info!(file = %copy.display(), schema = state.schema, "a copy of the database is kept before it is upgraded");
        return Ok(());
    }
    tracing::warn!(
        needed,
        free,
        schema = state.schema,
        "the database is upgraded without a copy of it, as store.upgrade_without_copy says: there is no room for one, and there will be no way back to the older version"
    );
    Ok(())
}

/// Bytes of the reserve that are there: the upgrade may take them, the copy may not.
fn lent(options: &StoreOptions) -> u64 {
    let held = options.dir.join(reserve::FILE).symlink_metadata();
    held.map_or(0, |held| options.reserve_bytes.min(held.blocks() * 512))
}

/// Whether there is a copy of this state. One that cannot be read is none.
fn is_of(opener: &Opener, copy: &Path, state: &State) -> bool {
    // Without a key there is no telling.
    if state.key.is_none() || !opener.exists(copy) {
        return false;
    }
    let found = opener
        .open_frozen(copy)
        .and_then(frozen)
        .and_then(|db| State::of(&db));
    found.is_ok_and(|found| found == *state)
}

fn write(path: &Path, half: &Path, copy: &Path) -> Result<(), StoreError> {
    write_durably(path, half, copy)
        .inspect_err(|_| {
            // What was written of it would keep the room from others.
            if let Err(error) = datadir::remove_own(half) {
                tracing::error!(%error, file = %half.display(), "half a copy of the database cannot be removed");
            }
        })
        .map_err(|e| io(format!("copy {} before its upgrade", path.display()), &e))?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the database and its copies are the store's own files, not content"
)]
fn write_durably(path: &Path, half: &Path, copy: &Path) -> std::io::Result<()> {
    let mut from = datadir::read(path)?;
    let mut to = datadir::open_own(half)?;
    std::io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    std::fs::rename(half, copy)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests {
    use super::super::open_as;
    use super::*;
    use crate::store::disk::{Disk, DiskFile, machine};
    use crate::store::engine::WriteRows;
    use crate::store::steps::Step;
    use crate::store::{Lane, Need, SCHEMA, Store, StoreErrorKind, Table};
    use std::sync::Arc;
    use std::time::Duration;

    /// A disk with so many bytes free.
    struct Free(u64);

    impl Disk for Free {
        fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
            machine().open(path)
        }
        fn free(&self, _dir: &Path) -> Option<u64> {
            Some(self.0)
        }
    }

    fn options(dir: &Path) -> StoreOptions {
        StoreOptions {
            dir: dir.to_owned(),
            cache_bytes: 8 << 20,
            slow: Duration::from_secs(10),
            holder: "a test".into(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 64 << 10,
            upgrade_without_copy: false,
        }
    }

    /// Writes a row, as the program of this schema does; answers the length of the database.
    fn put(dir: &Path, key: &'static [u8]) -> u64 {
        let store = Store::open(options(dir)).expect("opens");
        let put = store.write_blocking(Lane::Request, Need::Grows, "put", move |tx| {
            tx.put(Table::Names, key, b"value")
        });
        put.expect("put");
        store.close();
        dir.join(FILE).metadata().expect("a file").len()
    }

    type Run = fn(&dyn WriteRows) -> Result<(), StoreError>;

    /// The next version, whose step does this.
    fn next(options: &StoreOptions, free: u64, run: Run) -> Result<(), StoreError> {
        next_rewriting(&[], options, free, run)
    }

    fn next_rewriting(
        rewrites: &'static [Table],
        options: &StoreOptions,
        free: u64,
        run: Run,
    ) -> Result<(), StoreError> {
        let (opener, step): (Opener, _) = (Arc::new(Free(free)), Step { run, rewrites });
        open_as(options, &opener, &[step; SCHEMA as usize]).map(drop)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a step of an upgrade may fail")]
    fn works(_: &dyn WriteRows) -> Result<(), StoreError> {
        Ok(())
    }

    fn fails(_: &dyn WriteRows) -> Result<(), StoreError> {
        Err(StoreError::NoSpace("while the rows were moved".into()))
    }

    fn files(dir: &Path) -> Vec<String> {
        let files = dir.read_dir().expect("a folder");
        let name = |file: std::io::Result<std::fs::DirEntry>| {
            let name = file.expect("a file").file_name();
            name.into_string().expect("text")
        };
        let mut names: Vec<String> = files.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn without_room_for_a_copy_nothing_is_written_unless_the_operator_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        put(dir, b"a");
        let before = files(dir);
        let error = next(&options(dir), 5000, works).expect_err("no room");
        let length = dir.join(FILE).metadata().expect("a file").len();
        let told = StoreError::NoRoomForCopy {
            found: SCHEMA,
            needed: length,
            free: 5000,
        };
        assert_eq!((&error, error.kind()), (&told, StoreErrorKind::NoSpace));
        assert_eq!(files(dir), before);
        // The version before goes on with it.
        put(dir, b"b");
        let without = StoreOptions {
            upgrade_without_copy: true,
            ..options(dir)
        };
        next(&without, 5000, works).expect("upgraded");
        assert_eq!(files(dir), before);
    }

    #[test]
    fn what_the_upgrade_writes_again_wants_room_beside_the_copy() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let store = Store::open(options(dir)).expect("opens");
        let put = store.write_blocking(Lane::Request, Need::Grows, "put", |tx| {
            (0..1000_u32).try_for_each(|n| tx.put(Table::Names, &n.to_be_bytes(), &[7; 100]))
        });
        put.expect("put");
        store.close();
        let next = |options: &StoreOptions, free, run: Run| {
            next_rewriting(&[Table::Names], options, free, run)
        };
        let length = dir.join(FILE).metadata().expect("a file").len();
        let before = files(dir);
        let error = next(&options(dir), length + 100_000, works).expect_err("no room");
        let StoreError::NoRoomForCopy { needed, .. } = error else {
            panic!("{error}");
        };
        // Every row twice.
        assert!(needed > length + 200_000, "{needed}");
        assert_eq!(files(dir), before);
        // The copy of an earlier try wants none, and the rest does.
        next(&options(dir), needed, fails).expect_err("ended behind the copy");
        let rewritten = needed - length;
        let error = next(&options(dir), rewritten - 1, works).expect_err("no room");
        assert!(matches!(error, StoreError::NoRoomForCopy { .. }), "{error}");
        next(&options(dir), rewritten, works).expect("upgraded");
    }

    #[test]
    fn who_may_go_on_without_a_copy_has_one_where_there_is_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let needed = put(dir.path(), b"a");
        let without = StoreOptions {
            upgrade_without_copy: true,
            ..options(dir.path())
        };
        next(&without, needed, works).expect("upgraded");
        assert!(files(dir.path()).contains(&format!("{FILE}.schema-{SCHEMA}.bak")));
    }

    #[test]
    fn a_copy_of_the_same_state_is_kept_and_one_of_another_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let copy = dir.join(format!("{FILE}.schema-{SCHEMA}.bak"));
        let inode = || copy.metadata().expect("a copy").ino();
        put(dir, b"a");
        next(&options(dir), u64::MAX, fails).expect_err("ended behind the copy");
        // It is kept open, so that no other file gets its number.
        let first = (std::fs::File::open(&copy).expect("a copy"), inode());
        next(&options(dir), u64::MAX, fails).expect_err("ended behind the copy");
        // It needs no room either.
        next(&options(dir), 0, fails).expect_err("ended behind the copy");
        assert_eq!(inode(), first.1);
        // That of a state before is another one, and one that cannot be read is none.
        put(dir, b"b");
        next(&options(dir), u64::MAX, fails).expect_err("ended behind the copy");
        let second = (std::fs::File::open(&copy).expect("a copy"), inode());
        assert_ne!(second.1, first.1);
        // Nor is one that was cut after it was whole, at any page.
        next(&options(dir), u64::MAX, fails).expect_err("ended behind the copy");
        let whole = copy.metadata().expect("a copy").len();
        for len in [whole / 2, whole - 4096, whole - 1] {
            let file = std::fs::OpenOptions::new().write(true).open(&copy);
            file.and_then(|file| file.set_len(len)).expect("cut");
            let error = next(&options(dir), 0, fails).expect_err("no room for another copy");
            assert!(matches!(error, StoreError::NoRoomForCopy { .. }), "{error}");
        }
        std::fs::write(&copy, b"torn").expect("written");
        next(&options(dir), u64::MAX, works).expect("upgraded");
        std::fs::rename(&copy, dir.join(FILE)).expect("back");
        put(dir, b"c");
    }

    #[test]
    fn half_a_copy_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("from"), b"bytes").expect("written");
        let done = write(&path("from"), &path(HALF), &path("missing/copy"));
        done.expect_err("no such folder");
        assert_eq!(files(dir.path()), ["from"]);
    }
}
