//! What a data directory's database is, for people: its schema, who may open it, and the copies that upgrades kept of it.
//!
//! Reads only, and upgrades nothing: also of a database that this program may not open for work.

use crate::store::engine::Engine;
use crate::store::error::io;
use crate::store::lock::DirLock;
use crate::store::redb::FILE;
use crate::store::versions::Versions;
use crate::store::{SCHEMA, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// A database and the copies beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatabaseStatus {
    /// Its schema, and who may open it.
    #[serde(flatten)]
    pub versions: Versions,
    /// The newest schema that this program knows.
    pub known: u32,
    /// Whether this program may read it.
    pub readable: bool,
    /// Whether this program may change it. A database of an older schema is upgraded first.
    pub writable: bool,
    /// Its length in bytes.
    pub bytes: u64,
    /// Copies from before upgrades, by schema.
    pub copies: Vec<DatabaseCopy>,
}

/// A copy that an upgrade kept: put in the place of the database it brings back what was there before, for an older program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatabaseCopy {
    /// The file's name in the data directory.
    pub file: String,
    /// The schema of the copy, by its name.
    pub schema: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was made (Unix seconds).
    pub made: u64,
}

impl DatabaseStatus {
    /// Of a directory whose database nobody has open; `holder` is who looks. It is locked as long as this reads.
    pub fn of_closed(dir: &Path, holder: &str) -> Result<Self, StoreError> {
        let _lock = DirLock::take(dir, holder)?;
        Self::of(dir, crate::store::redb::versions_of(dir)?)
    }

    fn of(dir: &Path, versions: Versions) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let about = path.symlink_metadata();
        let about = about.map_err(|e| io(format!("read {}", path.display()), &e))?;
        Ok(Self {
            versions,
            known: SCHEMA,
            readable: versions.schema <= SCHEMA || versions.oldest_reader <= SCHEMA,
            writable: versions.lets_write(SCHEMA),
            bytes: about.len(),
            copies: copies(dir)?,
        })
    }
}

impl<E: Engine> Store<E> {
    /// What the open database is.
    pub fn status(&self) -> Result<DatabaseStatus, StoreError> {
        let shared = &self.inner.shared;
        let (db, _) = shared.file.get(0)?;
        DatabaseStatus::of(&shared.options.dir, Versions::of(&db.begin_read()?)?)
    }
}

/// The copies in a data directory, the oldest schema first.
fn copies(dir: &Path) -> Result<Vec<DatabaseCopy>, StoreError> {
    let failed = |e: &std::io::Error| io(format!("read {}", dir.display()), e);
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let Ok(file) = entry.file_name().into_string() else {
            continue;
        };
        let Some(schema) = schema_of_copy(&file) else {
            continue;
        };
        let about = entry.metadata().map_err(|e| failed(&e))?;
        let made = about
            .modified()
            .ok()
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        found.push(DatabaseCopy {
            file,
            schema,
            bytes: about.len(),
            made: made.map_or(0, |t| t.as_secs()),
        });
    }
    found.sort_by_key(|copy| copy.schema);
    Ok(found)
}

/// The schema in the name of a copy (`redb/copy.rs`).
fn schema_of_copy(file: &str) -> Option<u32> {
    let middle = file.strip_prefix(FILE)?.strip_prefix(".schema-")?;
    middle.strip_suffix(".bak")?.parse().ok()
}
