//! Which program may open the database: the schema that it has, and the oldest schemas whose programs may still read it and
//! write it, three numbers in its own rows.
//!
//! Owns those rows and what they say to this program. A schema may keep what older programs rely on: then they go on with the
//! file. Must not change anything else.

use crate::store::engine::{ReadRows, Rows, WriteRows};
use crate::store::table::meta;
use crate::store::{StoreError, Table};
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

    /// Those of a database. One without the two rows is of before they were written: nobody older may open it.
    pub(in crate::store) fn of(rows: &impl ReadRows) -> Result<Self, StoreError> {
        let none = || StoreError::Damaged("the metadata file states no schema".into());
        let schema = number(rows, meta::SCHEMA)?.ok_or_else(none)?;
        let row = |key| number(rows, key).map(|found| found.unwrap_or(schema));
        Ok(Self {
            schema,
            oldest_reader: row(meta::OLDEST_READER)?,
            oldest_writer: row(meta::OLDEST_WRITER)?,
        })
    }

    /// Whether a program that knows the schemas up to `known` may change a database of these.
    pub(in crate::store) fn lets_write(self, known: u32) -> bool {
        self.schema <= known || self.oldest_writer <= known
    }

    /// Writes the three rows.
    pub(in crate::store) fn put(self, rows: &dyn WriteRows) -> Result<(), StoreError> {
        let row = |key: &[u8], number: u32| (key.to_vec(), Some(number.to_be_bytes().to_vec()));
        let own = Rows::from([
            row(meta::SCHEMA, self.schema),
            row(meta::OLDEST_READER, self.oldest_reader),
            row(meta::OLDEST_WRITER, self.oldest_writer),
        ]);
        rows.change(Table::Meta, &own)
    }
}

/// A stored schema: 4 bytes, never 0. `None` if there is no such row.
fn number(rows: &impl ReadRows, key: &'static [u8]) -> Result<Option<u32>, StoreError> {
    let Some(row) = rows.get(Table::Meta, key)? else {
        return Ok(None);
    };
    match row.as_slice().try_into().map(u32::from_be_bytes) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(StoreError::Damaged(format!(
            "{} is no schema",
            String::from_utf8_lossy(key)
        ))),
    }
}
