//! Opening `DIR/meta.redb`: creation, schema check, upgrade.
//!
//! A new file is made under another name and renamed when its tables and schema are durable, so a crash leaves no
//! half-made store. A schema newer than [`SCHEMA`] is refused untouched; before an older one is upgraded, a copy is
//! kept as `DIR/meta.redb.schema-N.bak`.

use super::disk::Opener;
use super::error::{io, redb as redb_error};
use super::lock::{open_private, sync_dir};
use super::table::meta;
use super::{SCHEMA, StoreError, Table};
use redb::{Database, ReadableDatabase as _, WriteTransaction};
use std::fs::File;
use std::path::Path;

/// The file's name in the data directory.
pub(super) const FILE: &str = "meta.redb";

/// Turns schema N into N + 1, inside one transaction. Step 0 of the list starts from schema 1.
pub(super) type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// The upgrades of this program: one fewer than [`SCHEMA`].
pub(super) const STEPS: [Step; SCHEMA as usize - 1] = [];

/// redb's builder, with our cache and a log of repairs.
pub(super) fn builder(cache_bytes: u64) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes as usize);
    builder.set_repair_callback(|session| {
        let percent = (session.progress() * 100.0).round();
        tracing::info!(percent, "repairing the metadata file after a crash");
    });
    builder
}

/// A durable write transaction that makes the next start quick.
pub(super) fn begin_write(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut txn = db
        .begin_write()
        .map_err(|e| redb_error("begin a change", e))?;
    txn.set_durability(redb::Durability::Immediate)
        .map_err(|e| redb_error("begin a change", e))?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Opens the store's file in `dir`, creating or upgrading it as needed.
pub(super) fn open(dir: &Path, opener: &Opener) -> Result<Database, StoreError> {
    open_as(dir, opener, &STEPS)
}

/// The same file for reading alone. It was opened by this program before, so its schema is known.
pub(super) fn open_frozen(dir: &Path, opener: &Opener) -> Result<Database, StoreError> {
    opener.open_frozen(&dir.join(FILE))
}

/// [`open`] for a program whose schema is one more than the number of `steps`.
pub(super) fn open_as(dir: &Path, opener: &Opener, steps: &[Step]) -> Result<Database, StoreError> {
    let path = dir.join(FILE);
    let known = steps.len() as u32 + 1;
    if !opener.exists(&path) {
        create(dir, &path, opener, known)?;
    }
    let mut db = opener.open(&path)?;
    let found = schema(&db)?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    if found < known {
        // The copy is taken of a closed file, which is complete.
        drop(db);
        keep_copy(dir, &path, found)?;
        db = opener.open(&path)?;
        tracing::info!(from = found, to = known, "upgrading the metadata file");
        let txn = begin_write(&db)?;
        for step in steps.iter().skip(found as usize - 1) {
            step(&txn)?;
        }
        set_schema(&txn, known)?;
        txn.commit().map_err(|e| redb_error("upgrade", e))?;
    }
    add_tables(&db)?;
    Ok(db)
}

fn create(dir: &Path, path: &Path, opener: &Opener, known: u32) -> Result<(), StoreError> {
    let young = dir.join("meta.redb.new");
    opener.remove(&young)?;
    let db = opener.open(&young)?;
    let txn = begin_write(&db)?;
    for table in Table::ALL {
        txn.open_table(table.definition())
            .map_err(|e| redb_error("create a table", e))?;
    }
    set_schema(&txn, known)?;
    txn.commit()
        .map_err(|e| redb_error("create the metadata file", e))?;
    db.close()
        .map_err(|e| redb_error("create the metadata file", e))?;
    opener.rename(&young, path)?;
    opener.sync_dir(dir)
}

/// The schema of an open file.
fn schema(db: &Database) -> Result<u32, StoreError> {
    let no_schema = || StoreError::Damaged("the metadata file states no schema".into());
    let txn = db.begin_read().map_err(|e| redb_error("read", e))?;
    let table = match txn.open_table(Table::Meta.definition()) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Err(no_schema()),
        other => other.map_err(|e| redb_error("read", e))?,
    };
    let row = table.get(meta::SCHEMA).map_err(|e| redb_error("read", e))?;
    let bytes: [u8; 4] = row
        .and_then(|v| v.value().try_into().ok())
        .ok_or_else(no_schema)?;
    match u32::from_be_bytes(bytes) {
        0 => Err(no_schema()),
        n => Ok(n),
    }
}

fn set_schema(txn: &WriteTransaction, schema: u32) -> Result<(), StoreError> {
    let mut table = txn
        .open_table(Table::Meta.definition())
        .map_err(|e| redb_error("write the schema", e))?;
    table
        .insert(meta::SCHEMA, schema.to_be_bytes().as_slice())
        .map_err(|e| redb_error("write the schema", e))?;
    Ok(())
}

/// Tables may be added within a schema: readers rely on every one being there.
fn add_tables(db: &Database) -> Result<(), StoreError> {
    let txn = db.begin_read().map_err(|e| redb_error("read", e))?;
    let have = txn
        .list_tables()
        .map_err(|e| redb_error("read", e))?
        .count();
    drop(txn);
    if have >= Table::ALL.len() {
        return Ok(());
    }
    let txn = begin_write(db)?;
    for table in Table::ALL {
        txn.open_table(table.definition())
            .map_err(|e| redb_error("create a table", e))?;
    }
    txn.commit().map_err(|e| redb_error("create a table", e))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the database and its copies are the store's own files, not content"
)]
fn keep_copy(dir: &Path, path: &Path, schema: u32) -> Result<(), StoreError> {
    let copy = dir.join(format!("{FILE}.schema-{schema}.bak"));
    let what = || format!("copy {} before its upgrade", path.display());
    let half = dir.join("meta.redb.copy");
    let mut from = File::open(path).map_err(|e| io(what(), &e))?;
    let mut to = open_private(&half)?;
    to.set_len(0)
        .and_then(|()| std::io::copy(&mut from, &mut to))
        .and_then(|_| to.sync_all())
        .and_then(|()| std::fs::rename(&half, &copy))
        .map_err(|e| io(what(), &e))?;
    sync_dir(dir)
}
