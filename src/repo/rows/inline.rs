//! The bytes of blobs that lie in the store, in one row or in two.
//!
//! redb gives a value of about a page and more a page of its own, as large as the next power of two: 64 KiB would take
//! 128. So what is a little longer than fills such a page has the rest in a second row, and costs a few bytes more than
//! it has. Where small values lie between large ones redb puts some of them together, into a page twice as large: those
//! that have their own are in a table of their own.

use crate::store::{Get, StoreError, Table, Txn};
use crate::types::Digest;

/// redb's page.
const PAGE: usize = 4096;
/// What redb needs of a page beside a value, its key included; and some more, which costs little.
const HEAD: usize = 128;
/// Follows a digest in the key of a second row.
const REST: u8 = 0;

/// How many of so many bytes go to the first row; the others, if there are some, to the second.
const fn first(len: usize) -> usize {
    if len + HEAD < PAGE {
        return len;
    }
    let page = 1 << (len + HEAD).ilog2();
    let (filled, rest) = (page - HEAD, len + HEAD - page);
    // A rest that needs a page as large as one for all would have been brings nothing.
    if rest + HEAD <= page / 2 { filled } else { len }
}

/// Whether a first row of this length may have a second.
const fn may_go_on(len: usize) -> bool {
    len + HEAD >= PAGE && (len + HEAD).is_power_of_two()
}

/// Where a row of this length is.
const fn table(len: usize) -> Table {
    if len + HEAD < PAGE {
        Table::Bytes
    } else {
        Table::Pages
    }
}

fn rest_key(digest: &Digest) -> Vec<u8> {
    [digest.as_key(), &[REST]].concat()
}

/// The digest that a row belongs to, and whether it is its first.
pub(in crate::repo) fn owner(key: &[u8]) -> Option<(Digest, bool)> {
    match Digest::split_key(key).ok()? {
        (digest, []) => Some((digest, true)),
        (digest, [REST]) => Some((digest, false)),
        _ => None,
    }
}

/// What the store has of a digest's bytes; without its first row that is nothing.
pub(in crate::repo) fn get(get: &impl Get, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut bytes) = row(get, digest.as_key())? else {
        return Ok(None);
    };
    if may_go_on(bytes.len())
        && let Some(rest) = row(get, &rest_key(digest))?
    {
        // Else the memory doubles, and stays so as long as somebody holds the bytes.
        bytes.reserve_exact(rest.len());
        bytes.extend(rest);
    }
    Ok(Some(bytes))
}

fn row(get: &impl Get, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match get.get(Table::Bytes, key)? {
        None => get.get(Table::Pages, key),
        found => Ok(found),
    }
}

/// Writes the bytes, whatever was there.
pub(in crate::repo) fn put(
    tx: &mut Txn<'_>,
    digest: &Digest,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let (filled, rest) = bytes.split_at(first(bytes.len()));
    if table(filled.len()) == Table::Pages {
        // A row that was left in the other table, or a rest, would be read with these.
        delete(tx, digest)?;
    }
    tx.put(table(filled.len()), digest.as_key(), filled)?;
    if rest.is_empty() {
        return Ok(());
    }
    tx.put(table(rest.len()), &rest_key(digest), rest)
}

/// Removes the bytes; fine if there are none.
pub(in crate::repo) fn delete(tx: &mut Txn<'_>, digest: &Digest) -> Result<(), StoreError> {
    for key in [digest.as_key(), &rest_key(digest)] {
        for table in [Table::Bytes, Table::Pages] {
            if tx.get(table, key)?.is_some() {
                tx.delete(table, key)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redb takes for a value, by its leaf's layout: a head of four bytes, two offsets, key and value.
    fn page(len: usize) -> usize {
        let digest = Digest::of(crate::types::Algorithm::Sha512, b"");
        (4 + 8 + digest.as_key().len() + 1 + len)
            .next_power_of_two()
            .max(PAGE)
    }

    #[test]
    fn two_rows_where_they_take_less() {
        for len in (0..200_000).chain([(256 << 10) - 1, 256 << 10]) {
            let filled = first(len);
            let rest = len - filled;
            if rest == 0 {
                continue;
            }
            assert!(may_go_on(filled), "{len}");
            assert_eq!(table(filled), Table::Pages);
            // Short ones share a page. Within HEAD of a whole page one row would do; two cost a few bytes there.
            let second = if rest + HEAD < PAGE {
                rest + HEAD
            } else {
                page(rest)
            };
            assert!(rest <= HEAD || page(filled) + second < page(len), "{len}");
            assert!(filled + HEAD == page(filled), "{len}");
        }
        assert_eq!((first(0), first(3967), first(3968)), (0, 3967, 3968));
        assert_eq!((first(4096), first(64 << 10)), (3968, (64 << 10) - 128));
        assert_eq!((first(7_000), first(60_000)), (7_000, 60_000));
        assert!(!may_go_on(128) && !may_go_on(4096));
        // Two values of that table do not fit into one page, so each has its own.
        let least = (0..PAGE).find(|len| table(*len) == Table::Pages);
        assert!(least.is_some_and(|least| 2 * least > PAGE));
    }

    #[test]
    fn rows_know_whose_they_are() {
        let digest = Digest::of(crate::types::Algorithm::Sha256, b"x");
        assert_eq!(owner(digest.as_key()), Some((digest, true)));
        assert_eq!(owner(&rest_key(&digest)), Some((digest, false)));
        assert_eq!(owner(&[digest.as_key(), b"\x01"].concat()), None);
        assert_eq!(owner(&digest.as_key()[1..]), None);
    }
}
