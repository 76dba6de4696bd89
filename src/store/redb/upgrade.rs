//! Opening `DIR/meta.redb` and its log: creation, schema check, repeating what only the log holds, upgrade.
//!
//! A new file is made under another name and renamed when its tables and schema are durable, so a crash leaves no
//! half-made store. A schema newer than [`SCHEMA`](crate::store::SCHEMA) is refused untouched, unless it says that this program may write
//! it ([`Versions`]); before an older one is upgraded, a copy is kept as `DIR/meta.redb.schema-N.bak` ([`super::copy`]).

use super::error::redb as redb_error;
use super::file::Backend;
use super::rows::definition;
use super::{Redb, copy};
use crate::store::disk::{self, DiskFile, Opener};
use crate::store::engine::{End, Engine as _, ReadRows as _, Rows, WriteRows};
use crate::store::log::{self, ChangeLog};
use crate::store::steps::{STEPS, Step};
use crate::store::table::{as_u64, meta};
use crate::store::versions::Versions;
use crate::store::{StoreError, StoreOptions, Table};
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};
use std::path::Path;

/// The file's name in the data directory.
pub(in crate::store) const FILE: &str = "meta.redb";

/// redb's builder, with our cache and a log of repairs.
fn builder(cache_bytes: u64) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes as usize);
    builder.set_repair_callback(|session| {
        let percent = (session.progress() * 100.0).round();
        tracing::info!(percent, "repairing the metadata file after a crash");
    });
    builder
}

/// redb's cache over a file that is only read: the page cache does the rest.
const FROZEN_CACHE: u64 = 8 << 20;

/// The database in an open file.
pub(in crate::store) fn database(
    file: Box<dyn DiskFile>,
    cache_bytes: u64,
) -> Result<Redb, StoreError> {
    builder(cache_bytes)
        .create_with_backend(Backend::of(file)?)
        .map(Redb::new)
        .map_err(|e| redb_error("open the metadata file", e))
}

/// The database in a file that is only read.
pub(super) fn frozen(file: Box<dyn DiskFile>) -> Result<Redb, StoreError> {
    database(file, FROZEN_CACHE)
}

/// Who may open the database of a directory, which is only looked at.
pub(in crate::store) fn versions_of(dir: &Path) -> Result<Versions, StoreError> {
    let file = disk::machine().open_frozen(&dir.join(FILE))?;
    Versions::of(&frozen(file)?.begin_read()?)
}

/// Opens the store's files, creating or upgrading them as needed. redb holds everything when this returns.
pub(super) fn open(
    options: &StoreOptions,
    opener: &Opener,
) -> Result<(Redb, ChangeLog), StoreError> {
    open_as(options, opener, &STEPS)
}

/// The same for reading alone: what only the log holds, up to the batch `upto`, is repeated in memory. The file was opened
/// by this program before, so its schema is known.
pub(super) fn open_frozen(
    options: &StoreOptions,
    opener: &Opener,
    upto: u64,
) -> Result<Redb, StoreError> {
    let db = frozen(opener.open_frozen(&options.dir.join(FILE))?)?;
    let path = options.dir.join(log::FILE);
    if let Some(key) = log_key(&db)?
        && opener.exists(&path)
    {
        repeat(&db, opener.open_log_frozen(&path)?, key, 0, upto)?;
    }
    Ok(db)
}

/// [`open`] for a program whose schema is one more than the number of `steps`.
pub(in crate::store) fn open_as(
    options: &StoreOptions,
    opener: &Opener,
    steps: &[Step],
) -> Result<(Redb, ChangeLog), StoreError> {
    let dir = &options.dir;
    let path = dir.join(FILE);
    let known = steps.len() as u32 + 1;
    if !opener.exists(&path) {
        create(options, opener, known)?;
    }
    // A database that is not ours to write is left as it is to the byte: to open it for writing changes it.
    if let Ok(file) = opener.open_frozen(&path) {
        permitted(&frozen(file)?, known)?;
    }
    let mut db = database(opener.open(&path)?, options.cache_bytes)?;
    let found = permitted(&db, known)?;
    // What a log holds is of the schema of its file: it goes into it first, and a new key tells the next log from it.
    let mut log = match log_key(&db)? {
        Some(key) => Some(open_log(&db, key, options, opener)?),
        None => None,
    };
    if found < known {
        log = None;
        let steps = steps.get(found as usize - 1..).unwrap_or_default();
        let (state, rewritten) = (copy::State::of(&db)?, rewritten(&db, steps)?);
        // The copy is taken of a closed file, which is complete.
        drop(db);
        copy::keep(options, opener, &state, rewritten)?;
        db = database(opener.open(&path)?, options.cache_bytes)?;
        tracing::info!(from = found, to = known, "upgrading the metadata file");
        db.write(|rows| {
            steps.iter().try_for_each(|step| (step.run)(rows))?;
            state_itself(rows, known)?;
            Ok(((), End::Durable))
        })?;
    }
    add_tables(&db)?;
    let log = match (log, log_key(&db)?) {
        (Some(log), _) => log,
        (None, Some(key)) => open_log(&db, key, options, opener)?,
        (None, None) => return Err(StoreError::Damaged("the key of its log is missing".into())),
    };
    Ok((db, log))
}

/// Bytes that these steps may add to the file before their commit frees any: pages that lose rows are copied, and there are
/// as many that get them.
fn rewritten(db: &Redb, steps: &[Step]) -> Result<u64, StoreError> {
    let txn = db.db.begin_read().map_err(|e| redb_error("read", e))?;
    let mut bytes = 0_u64;
    for table in steps.iter().flat_map(|step| step.rewrites) {
        let table = match txn.open_untyped_table(definition(*table)) {
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            other => other.map_err(|e| redb_error("read", e))?,
        };
        let stats = table.stats().map_err(|e| redb_error("read", e))?;
        let pages = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        bytes = bytes.saturating_add(2 * pages);
    }
    Ok(bytes)
}

/// The schema of a database that a program which knows those up to `known` may write.
fn permitted(db: &Redb, known: u32) -> Result<u32, StoreError> {
    let versions = Versions::of(&db.begin_read()?)?;
    let found = versions.schema;
    if versions.lets_write(known) {
        Ok(found)
    } else {
        Err(StoreError::TooNew { found, known })
    }
}

/// Writes the schema, and a new key for the log.
fn state_itself(rows: &dyn WriteRows, known: u32) -> Result<(), StoreError> {
    let mut key = log::LogKey::default();
    getrandom::fill(&mut key).map_err(|e| StoreError::Io {
        what: "make a key for its log".into(),
        detail: e.to_string(),
    })?;
    Versions::alone(known).put(rows)?;
    let key = Rows::from([(meta::LOG_KEY.to_vec(), Some(key.to_vec()))]);
    rows.change(Table::Meta, &key)
}

/// The key of the log; `None` in a file of before there was one.
pub(super) fn log_key(db: &Redb) -> Result<Option<log::LogKey>, StoreError> {
    let key = db.begin_read()?.get(Table::Meta, meta::LOG_KEY)?;
    let key = key.map(log::LogKey::try_from).transpose();
    key.map_err(|_| StoreError::Damaged("the key of its log is none".into()))
}

/// Opens the log beside an open file, and has the file hold what was in it.
fn open_log(
    db: &Redb,
    key: log::LogKey,
    options: &StoreOptions,
    opener: &Opener,
) -> Result<ChangeLog, StoreError> {
    let path = options.dir.join(log::FILE);
    if !opener.exists(&path) && last_batch(db)? > 0 {
        tracing::error!(path = %path.display(), "the log of the metadata file is missing: if the program before was killed, its last changes are lost");
    }
    let mut log = repeat(
        db,
        opener.open_log(&path)?,
        key,
        options.log_bytes,
        u64::MAX,
    )?;
    log.clear()?;
    // Also of a log that was there: who made it may have gone no further.
    opener.sync_dir(&options.dir)?;
    Ok(log)
}

/// Commits what a log holds beyond the file, up to the batch `upto`.
fn repeat(
    db: &Redb,
    file: Box<dyn DiskFile>,
    key: log::LogKey,
    room: usize,
    upto: u64,
) -> Result<ChangeLog, StoreError> {
    let last = last_batch(db)?;
    let (log, count) = db.write(|rows| {
        let mut count = 0;
        let log = ChangeLog::open(file, key, room, last, upto, |changes| {
            changes.each(|table, changed| {
                count += changed.len();
                rows.change(table, &changed)
            })
        })?;
        let is_none = log.next() - 1 == last;
        let end = if is_none { End::Abort } else { End::Durable };
        Ok(((log, count), end))
    })?;
    let batches = log.next() - 1 - last;
    if batches > 0 {
        tracing::info!(
            batches,
            rows = count,
            "repeated the last changes before the program was ended, from the log"
        );
    }
    Ok(log)
}

/// The number of the last batch that the file holds.
pub(super) fn last_batch(db: &Redb) -> Result<u64, StoreError> {
    match db.begin_read()?.get(Table::Meta, meta::BATCH)? {
        Some(bytes) => as_u64(&bytes)
            .ok_or_else(|| StoreError::Damaged("the number of the last change is none".into())),
        None => Ok(0),
    }
}

fn create(options: &StoreOptions, opener: &Opener, known: u32) -> Result<(), StoreError> {
    let dir = &options.dir;
    let young = dir.join("meta.redb.new");
    opener.remove(&young)?;
    let db = database(opener.open(&young)?, options.cache_bytes)?;
    db.write(|rows| {
        make_tables(rows)?;
        state_itself(rows, known)?;
        // Nothing of the feed is gone.
        let whole = Rows::from([(meta::FEED_TRIMMED.to_vec(), Some(Vec::new()))]);
        rows.change(Table::Meta, &whole)?;
        Ok(((), End::Durable))
    })?;
    db.db
        .close()
        .map_err(|e| redb_error("create the metadata file", e))?;
    opener.rename(&young, &dir.join(FILE))?;
    opener.sync_dir(dir)
}

/// Tables may be added within a schema, and are there from then on, with or without rows.
fn add_tables(db: &Redb) -> Result<(), StoreError> {
    let txn = db.db.begin_read().map_err(|e| redb_error("read", e))?;
    let have = txn
        .list_tables()
        .map_err(|e| redb_error("read", e))?
        .count();
    drop(txn);
    if have >= Table::ALL.len() {
        return Ok(());
    }
    db.write(|rows| Ok((make_tables(rows)?, End::Durable)))
}

/// To change no row of a table makes it.
fn make_tables(rows: &dyn WriteRows) -> Result<(), StoreError> {
    let mut all = Table::ALL.into_iter();
    all.try_for_each(|table| rows.change(table, &Rows::new()))
}
