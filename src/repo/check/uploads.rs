//! Rows about files that are no blob's: condemned places, and uploads.

use super::mend::Mend;
use super::report::{Kind, Problem};
use super::walk::{self, PAGE, Walk};
use crate::blobs::{Place, UploadFile};
use crate::repo::error::RepoError;
use crate::repo::keys;
use crate::repo::record::{BlobRecord, CondemnedRecord, UploadRecord};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Algorithm, Hasher, RepoId, UploadId};
use std::collections::HashMap;

/// One page of condemned places. With `online` what is only left behind is the running collector's business.
pub(super) fn condemned(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
    online: bool,
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Condemned, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let place = Place(String::from_utf8_lossy(key).into_owned());
        let drop = || Mend::drop(Vec::new(), Table::Condemned, key.clone(), value.clone());
        let file = format!("blobs/{place}");
        let readable = walk::readable(CondemnedRecord::from_bytes(value))?.is_some();
        let (Ok(digest), true) = (place.digest(), readable) else {
            let what = format!("the condemned row of {}", place.0.escape_debug());
            walk.mend(Problem::new(Kind::CondemnedUnreadable, what), drop());
            continue;
        };
        let row = r.get(Table::Blobs, digest.as_key())?;
        let row = row.map(|row| walk::readable(BlobRecord::from_bytes(&row)));
        let row = row.transpose()?.flatten();
        if row.is_some_and(|row| row.place.as_deref() == Some(place.0.as_str())) {
            let what = format!("{place} is condemned, but blob {digest} needs it");
            let problem = Problem::new(Kind::CondemnedInUse, what);
            walk.mend(problem.digest(&digest).file(file), drop());
        } else if !online {
            let what = format!("{place} was about to be removed");
            let problem = Problem::new(Kind::CondemnedLeft, what);
            walk.tell(problem.digest(&digest).file(file));
        }
    }
    Ok(walk::next(&rows, PAGE))
}

/// Uploads' rows against the files that are there; sessions in memory are left alone.
pub(super) fn uploads(
    walk: &mut Walk,
    r: &Read<'_>,
    files: &HashMap<UploadId, UploadFile>,
    is_open: &dyn Fn(UploadId) -> bool,
) -> Result<(), RepoError> {
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Uploads, &from, &[], PAGE)?;
        walk.rows += rows.len() as u64;
        for (key, value) in &rows {
            let id: Option<[u8; 16]> = key.as_slice().try_into().ok();
            if let Some(id) = id.map(UploadId)
                && is_open(id)
            {
                continue;
            }
            let id = id.map(UploadId);
            if let Some(problem) = upload(r, id, value, files)? {
                let file = id.and_then(|id| files.get(&id));
                let problem = match file {
                    Some(file) => problem.file(file.path()),
                    None => problem,
                };
                let mend = Mend::drop(Vec::new(), Table::Uploads, key.clone(), value.clone());
                walk.mend(problem, mend);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

fn upload(
    r: &Read<'_>,
    id: Option<UploadId>,
    value: &[u8],
    files: &HashMap<UploadId, UploadFile>,
) -> Result<Option<Problem>, RepoError> {
    let (Some(id), Some(row)) = (id, walk::readable(UploadRecord::from_bytes(value))?) else {
        let name = id.map_or_else(|| "of no id".to_owned(), |id| id.to_string());
        let what = format!("the row of upload {name}");
        return Ok(Some(Problem::new(Kind::UploadUnreadable, what)));
    };
    if r.get(Table::Repos, &keys::repo(RepoId(row.repo)))?
        .is_none()
    {
        let what = format!(
            "upload {id} into repository number {}, which is not there",
            row.repo
        );
        return Ok(Some(Problem::new(Kind::UploadWithoutRepo, what)));
    }
    let algorithm = Algorithm::from_code(row.algorithm);
    let state = algorithm.and_then(|a| Hasher::restore(a, &row.hash_state, row.offset));
    if state.is_none() {
        let what = format!("the hash state of upload {id}");
        return Ok(Some(Problem::new(Kind::UploadStateUnreadable, what)));
    }
    Ok(match files.get(&id) {
        None if row.offset > 0 => {
            let what = format!(
                "upload {id} has {} bytes by its row, and no file",
                row.offset
            );
            Some(Problem::new(Kind::UploadWithoutFile, what))
        }
        Some(file) if file.len < row.offset => {
            let what = format!(
                "upload {id} has {} bytes by its row, its file {}",
                row.offset, file.len
            );
            Some(Problem::new(Kind::UploadTorn, what))
        }
        _ => None,
    })
}
