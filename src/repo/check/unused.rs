//! Tables that the store has and that nothing in this version writes: a row in one of them came from nowhere.

use super::walk;
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::store::{Get, Lane, Need, Table};

/// What later versions will write.
const UNUSED: [Table; 7] = [
    Table::Pins,
    Table::Jobs,
    Table::Snapshots,
    Table::Views,
    Table::Tiers,
    Table::Tokens,
    Table::Audit,
];
/// Rows told of at most, of each table.
const MOST: usize = 1000;

/// A row that nothing wrote.
#[derive(Debug, Clone)]
pub struct UnusedRow {
    /// Its table's name.
    pub table: &'static str,
    /// Its value.
    pub value: Vec<u8>,
    place: Table,
    key: Vec<u8>,
}

impl UnusedRow {
    /// Its key, for people.
    pub fn name(&self) -> String {
        walk::hex(&self.key)
    }
}

impl Repos {
    /// Rows of tables that nothing writes, at most 1,000 of each.
    pub async fn unused_rows(&self) -> Result<Vec<UnusedRow>, RepoError> {
        self.hop(move |_, r| {
            let mut found = Vec::new();
            for place in UNUSED {
                for (key, value) in r.scan(place, &[], &[], MOST)? {
                    let table = place.name();
                    found.push(UnusedRow {
                        table,
                        value,
                        place,
                        key,
                    });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Drops such a row, if it is still as it was seen; whether it was.
    pub async fn drop_unused(&self, row: UnusedRow) -> Result<bool, RepoError> {
        let write = self
            .0
            .store
            .write(Lane::Background, Need::Keeps, "check.unused", move |tx| {
                if tx.get(row.place, &row.key)?.as_ref() != Some(&row.value) {
                    return Ok::<_, RepoError>(false);
                }
                tx.delete(row.place, &row.key)?;
                Ok(true)
            });
        write.await
    }
}
