//! Which program may open the database: the schema that it has, and the oldest schemas whose programs may still read it and
//! write it, three numbers in its own rows.
//!
//! Owns those rows and what they say to this program. A schema may keep what older programs rely on: then they go on with the
//! file. Must not change anything else.

use super::error::redb as redb_error;
use super::table::meta;
use super::{StoreError, Table};
use redb::{Database, ReadableDatabase as _, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

/// The schema of a database and who may open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Versions {
    /// The schema of its rows.
    pub schema: u32,
    /// The oldest schema whose programs understand what they read of it.
    pub oldest_reader: u32,
    /// The oldest schema whose programs may change it.
    pub oldest_writer: u32,
}

impl Versions {
    /// A database that nobody older than its schema may open.
    pub fn alone(schema: u32) -> Self {
        Self {
            schema,
            oldest_reader: schema,
            oldest_writer: schema,
        }
    }

    /// Those of an open database. One without the two rows is of before they were written: nobody older may open it.
    pub(super) fn of(db: &Database) -> Result<Self, StoreError> {
        let none = || StoreError::Damaged("the metadata file states no schema".into());
        let txn = db.begin_read().map_err(|e| redb_error("read", e))?;
        let table = match txn.open_table(Table::Meta.definition()) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Err(none()),
            other => other.map_err(|e| redb_error("read", e))?,
        };
        let schema = number(&table, meta::SCHEMA)?.ok_or_else(none)?;
        let row = |key| number(&table, key).map(|found| found.unwrap_or(schema));
        Ok(Self {
            schema,
            oldest_reader: row(meta::OLDEST_READER)?,
            oldest_writer: row(meta::OLDEST_WRITER)?,
        })
    }

    /// Whether a program that knows the schemas up to `known` may change a database of these.
    pub(super) fn lets_write(self, known: u32) -> bool {
        self.schema <= known || self.oldest_writer <= known
    }

    /// Writes the three rows.
    pub(super) fn put(self, txn: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = txn
            .open_table(Table::Meta.definition())
            .map_err(|e| redb_error("write the schema", e))?;
        let rows = [
            (meta::SCHEMA, self.schema),
            (meta::OLDEST_READER, self.oldest_reader),
            (meta::OLDEST_WRITER, self.oldest_writer),
        ];
        for (key, number) in rows {
            table
                .insert(key, number.to_be_bytes().as_slice())
                .map_err(|e| redb_error("write the schema", e))?;
        }
        Ok(())
    }
}

/// A stored schema: 4 bytes, never 0. `None` if there is no such row.
fn number(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &'static [u8],
) -> Result<Option<u32>, StoreError> {
    let Some(row) = table.get(key).map_err(|e| redb_error("read", e))? else {
        return Ok(None);
    };
    match row.value().try_into().map(u32::from_be_bytes) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(StoreError::Damaged(format!(
            "{} is no schema",
            String::from_utf8_lossy(key)
        ))),
    }
}
