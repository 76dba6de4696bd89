//! Rows about files that are no blob's: condemned places, uploads, and fills.

use super::mend::Mend;
use super::report::{Problem, ProblemKind};
use super::walk::{self, PAGE, Walk};
use crate::blobs::{Place, UploadFile};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::{BlobRecord, CondemnedRecord, FillRecord, UploadRecord};
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Algorithm, Hasher, Remedy, RepoId, UploadId};
use std::collections::{BTreeMap, HashMap};

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
            walk.mend(Problem::new(ProblemKind::CondemnedUnreadable, what), drop());
            continue;
        };
        let row = r.get(Table::Blobs, digest.as_key())?;
        let row = row.map(|row| walk::readable(BlobRecord::from_bytes(&row)));
        let row = row.transpose()?.flatten();
        if row.is_some_and(|row| row.place.as_deref() == Some(place.0.as_str())) {
            let what = format!("{place} is condemned, but blob {digest} needs it");
            let problem = Problem::new(ProblemKind::CondemnedInUse, what);
            walk.mend(problem.digest(&digest).file(file), drop());
        } else if !online {
            let what = format!("{place} was about to be removed");
            let problem = Problem::new(ProblemKind::CondemnedLeft, what);
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
        return Ok(Some(Problem::new(ProblemKind::UploadUnreadable, what)));
    };
    let half = Half {
        kinds: &UPLOAD,
        what: format!("upload {id}"),
        repo: RepoId(row.repo),
        algorithm: Algorithm::from_code(row.algorithm),
        hash_state: &row.hash_state,
        offset: row.offset,
    };
    half.problem(r, files.get(&id))
}

/// Fills' rows against the files that are there, and the files that no row names; with `online` those are the running
/// server's business. Fills under way are left alone.
pub(super) fn fills(
    walk: &mut Walk,
    r: &Read<'_>,
    files: &HashMap<UploadId, UploadFile>,
    online: bool,
    is_open: &dyn Fn(UploadId) -> bool,
) -> Result<(), RepoError> {
    let mut left: BTreeMap<String, &UploadFile> = files.values().map(|f| (f.path(), f)).collect();
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Fills, &from, &[], PAGE)?;
        walk.rows += rows.len() as u64;
        for (key, value) in &rows {
            let row = walk::readable(FillRecord::from_bytes(value))?;
            let id = row.as_ref().map(|row| UploadId(row.id));
            let file = id.and_then(|id| files.get(&id));
            if let Some(file) = file {
                left.remove(&file.path());
            }
            if id.is_some_and(is_open) {
                continue;
            }
            if let Some(problem) = fill(r, key, row.as_ref(), file)? {
                let problem = match file {
                    Some(file) => problem.file(file.path()),
                    None => problem,
                };
                let mend = Mend::drop(Vec::new(), Table::Fills, key.clone(), value.clone());
                walk.mend(problem, mend);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    for (path, file) in left {
        if !online && !is_open(file.name.id) {
            let what = format!("{path} belongs to no half-fetched blob");
            let how = "the server removes it when it runs; a repair moves it to quarantine/";
            walk.tell(
                Problem::new(ProblemKind::FillFileLeft, what)
                    .file(path)
                    .how(how)
                    .mended_by(Remedy::Repair),
            );
        }
    }
    Ok(())
}

fn fill(
    r: &Read<'_>,
    key: &[u8],
    row: Option<&FillRecord>,
    file: Option<&UploadFile>,
) -> Result<Option<Problem>, RepoError> {
    let (Some((repo, digest)), Some(row)) = (keys::fill_parts(key), row) else {
        let what = format!(
            "the row of a half-fetched blob with the key {}",
            walk::hex(key)
        );
        return Ok(Some(Problem::new(ProblemKind::FillUnreadable, what)));
    };
    let half = Half {
        kinds: &FILL,
        what: format!("half-fetched blob {digest}"),
        repo,
        algorithm: Some(digest.algorithm()),
        hash_state: &row.hash_state,
        offset: row.offset,
    };
    Ok(half
        .problem(r, file)?
        .map(|problem| problem.digest(&digest)))
}

/// How the same problems are called.
struct Kinds {
    without_repo: ProblemKind,
    state_unreadable: ProblemKind,
    without_file: ProblemKind,
    torn: ProblemKind,
}

const UPLOAD: Kinds = Kinds {
    without_repo: ProblemKind::UploadWithoutRepo,
    state_unreadable: ProblemKind::UploadStateUnreadable,
    without_file: ProblemKind::UploadWithoutFile,
    torn: ProblemKind::UploadTorn,
};

const FILL: Kinds = Kinds {
    without_repo: ProblemKind::FillWithoutRepo,
    state_unreadable: ProblemKind::FillStateUnreadable,
    without_file: ProblemKind::FillWithoutFile,
    torn: ProblemKind::FillTorn,
};

/// Content of which some has arrived, as its row says.
struct Half<'a> {
    kinds: &'a Kinds,
    what: String,
    repo: RepoId,
    algorithm: Option<Algorithm>,
    hash_state: &'a [u8],
    offset: u64,
}

impl Half<'_> {
    fn problem(
        &self,
        r: &Read<'_>,
        file: Option<&UploadFile>,
    ) -> Result<Option<Problem>, RepoError> {
        let (kinds, what, offset) = (self.kinds, &self.what, self.offset);
        if r.get(Table::Repos, &keys::repo(self.repo))?.is_none() {
            let number = self.repo.0;
            let what = format!("{what} into repository number {number}, which is not there");
            return Ok(Some(Problem::new(kinds.without_repo, what)));
        }
        let restored = self
            .algorithm
            .and_then(|a| Hasher::restore(a, self.hash_state, offset));
        if restored.is_none() {
            let what = format!("the hash state of {what}");
            return Ok(Some(Problem::new(kinds.state_unreadable, what)));
        }
        Ok(match file {
            None if offset > 0 => {
                let what = format!("{what} has {offset} bytes by its row, and no file");
                Some(Problem::new(kinds.without_file, what))
            }
            Some(file) if file.len < offset => {
                let what = format!(
                    "{what} has {offset} bytes by its row, its file {}",
                    file.len
                );
                Some(Problem::new(kinds.torn, what))
            }
            _ => None,
        })
    }
}
