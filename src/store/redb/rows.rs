//! Rows of a redb table, read one by one, in pages and in bulk.

use super::error::redb as redb_error;
use crate::store::engine::KeySpan;
use crate::store::read::{Row, Way, bounds};
use crate::store::{StoreError, Table};
use redb::{ReadableTable, TableDefinition};

/// Keys and values.
pub(super) type Bytes = &'static [u8];

/// redb's handle of a table.
pub(super) const fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// The value at a key.
pub(super) fn value(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let guard = table.get(key).map_err(|e| redb_error("read", e))?;
    Ok(guard.map(|v| v.value().to_vec()))
}

/// One page.
pub(super) fn page(
    table: &impl ReadableTable<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
    limit: usize,
    way: Way,
) -> Result<Vec<Row>, StoreError> {
    let Some(bounds) = bounds(from, to) else {
        return Ok(Vec::new());
    };
    let mut range = table
        .range::<&[u8]>(bounds)
        .map_err(|e| redb_error("read", e))?;
    let mut rows = Vec::new();
    while rows.len() < limit {
        let next = match way {
            Way::Up => range.next(),
            Way::Down => range.next_back(),
        };
        let Some(row) = next else { break };
        let (key, value) = row.map_err(|e| redb_error("read", e))?;
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

/// The values at these keys, read in the order of the keys' bytes: pages are met one after the other.
pub(super) fn values(
    table: &impl ReadableTable<Bytes, Bytes>,
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    in_order(keys, |key| value(table, key))
}

/// The first row of each span, read likewise.
pub(super) fn firsts(
    table: &impl ReadableTable<Bytes, Bytes>,
    spans: &[KeySpan],
) -> Result<Vec<Option<Row>>, StoreError> {
    in_order(spans, |(from, to)| {
        Ok(page(table, from, to, 1, Way::Up)?.pop())
    })
}

/// Asks in the order of what is asked for, and answers in the order of the list.
fn in_order<A: Ord, T: Clone>(
    asked: &[A],
    look: impl Fn(&A) -> Result<Option<T>, StoreError>,
) -> Result<Vec<Option<T>>, StoreError> {
    if asked.is_sorted() {
        return asked.iter().map(look).collect();
    }
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_unstable_by_key(|at| &asked[*at]);
    let mut found = vec![None; asked.len()];
    for at in order {
        found[at] = look(&asked[at])?;
    }
    Ok(found)
}
