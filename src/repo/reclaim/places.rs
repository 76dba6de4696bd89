//! Places: which of them a row names, and which are condemned.

use crate::blobs::Place;
use crate::repo::error::RepoError;
use crate::repo::rows::record::{BlobRecord, CondemnedRecord};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::Digest;

/// The place's file is to be removed; no row may name it any more.
pub(super) fn condemn(
    tx: &mut Txn<'_>,
    digest: &Digest,
    place: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    let row = CondemnedRecord {
        digest: digest.as_key().to_vec(),
        at_ms,
    };
    tx.put(Table::Condemned, place.as_bytes(), &row.to_bytes()?)
}

/// Whether a blob's row names the place, or a condemned row does.
pub(super) fn is_known_place(
    get: &impl Get,
    digest: &Digest,
    place: &Place,
) -> Result<bool, RepoError> {
    Ok(get.get(Table::Condemned, place.0.as_bytes())?.is_some() || is_named(get, digest, place)?)
}

/// Whether the blob's row names the place.
pub(in crate::repo) fn is_named(
    get: &impl Get,
    digest: &Digest,
    place: &Place,
) -> Result<bool, RepoError> {
    let row = get.get(Table::Blobs, digest.as_key())?;
    let row = row.map(|row| BlobRecord::from_bytes(&row)).transpose()?;
    Ok(row.is_some_and(|row| row.place.as_deref() == Some(place.0.as_str())))
}

/// Condemns a place unless the blob's row names it; whether it is condemned now.
pub(in crate::repo) fn condemn_stray(
    tx: &mut Txn<'_>,
    digest: &Digest,
    place: &Place,
    at_ms: u64,
) -> Result<bool, RepoError> {
    if is_named(tx, digest, place)? {
        return Ok(false);
    }
    if tx.get(Table::Condemned, place.0.as_bytes())?.is_none() {
        condemn(tx, digest, &place.0, at_ms)?;
    }
    Ok(true)
}
