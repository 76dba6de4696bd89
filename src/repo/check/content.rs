//! Rows about content: blobs and bytes in the database. The files themselves are looked at by
//! `gc`, which asks here what they should be and says here what they are.

use super::mend::Mend;
use super::report::{Problem, ProblemKind};
use super::walk::{self, PAGE, Suspect, Walk};
use crate::blobs::{Ingest, Place, UploadName};
use crate::repo::error::RepoError;
use crate::repo::images::manifest;
use crate::repo::rows::inline;
use crate::repo::rows::keys;
use crate::repo::rows::record::BlobRecord;
use crate::repo::{Repos, new_upload_id, rows, wall_ms};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Read, Table, Txn};
use crate::types::{Algorithm, Digest, RepoId};
use bytes::Bytes;

/// Rows of bytes in one read: each may have many.
const BYTES: usize = 50;
/// Begins a position in the table of that name.
const PAGES: u8 = 1;

/// A blob as its row says.
#[derive(Debug, Clone)]
pub struct CheckedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its content file; `None`: its bytes are in the database.
    pub place: Option<Place>,
    /// Marked as damaged.
    pub damaged: bool,
    row: Vec<u8>,
}

/// One page of blobs, and where the next one starts.
pub type Contents = (Vec<CheckedBlob>, Option<Vec<u8>>);

/// What to write about a blob whose bytes have been looked at.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Not to be served until it is pushed again. What is there stays.
    Damaged,
    /// The same, and what is there in the database goes: a copy of it is kept elsewhere.
    PutAside,
    /// Whole.
    Whole,
    /// Whole, and of this length.
    Size(u64),
}

impl Repos {
    /// Blobs by digest from `from` on. Rows that cannot be read, or that name a place that is not theirs, are left out:
    /// the pass over the rows tells of them.
    pub async fn contents(&self, from: Vec<u8>, limit: usize) -> Result<Contents, RepoError> {
        self.hop(move |_, r| {
            let rows = r.scan(Table::Blobs, &from, &[], limit)?;
            let mut page = Vec::with_capacity(rows.len());
            for (key, row) in &rows {
                if let Some(content) = content(key, row)? {
                    page.push(content);
                }
            }
            Ok((page, walk::next(&rows, limit)))
        })
        .await
    }

    /// One blob, if its row is there and can be read.
    pub async fn content(&self, digest: &Digest) -> Result<Option<CheckedBlob>, RepoError> {
        let digest = *digest;
        self.hop(move |_, r| content_of(r, &digest)).await
    }

    /// Sum of the sizes of all blobs by digest from `from` on, and their number.
    pub async fn contents_size(&self, mut from: Vec<u8>) -> Result<(u64, u64), RepoError> {
        let (mut bytes, mut count) = (0_u64, 0_u64);
        loop {
            let start = std::mem::take(&mut from);
            let (sum, rows, next) = self
                .hop(move |_, r| {
                    let rows = r.scan(Table::Blobs, &start, &[], 10 * PAGE)?;
                    let mut sum = 0_u64;
                    for (_, row) in &rows {
                        let row = walk::readable(BlobRecord::from_bytes(row))?;
                        sum = sum.saturating_add(row.map_or(0, |row| row.size));
                    }
                    Ok((sum, rows.len() as u64, walk::next(&rows, 10 * PAGE)))
                })
                .await?;
            bytes = bytes.saturating_add(sum);
            count += rows;
            match next {
                Some(next) => from = next,
                None => return Ok((bytes, count)),
            }
        }
    }

    /// Writes what was found about a blob, if its row is still the one that was looked at; whether it was. Answers from
    /// memory end in all repositories that refer to it.
    pub async fn judge(&self, content: &CheckedBlob, verdict: Verdict) -> Result<bool, RepoError> {
        let Ok(mut record) = BlobRecord::from_bytes(&content.row) else {
            return Ok(false);
        };
        match verdict {
            Verdict::Damaged | Verdict::PutAside => record.damaged = true,
            Verdict::Whole => record.damaged = false,
            Verdict::Size(size) => {
                record.damaged = false;
                record.size = size;
            }
        }
        let (digest, seen, row) = (content.digest, content.row.clone(), record.to_bytes()?);
        let drop_bytes = matches!(verdict, Verdict::PutAside) && record.place.is_none();
        self.change_any(Lane::Background, Need::Keeps, "check.judge", move |tx| {
            if tx.get(Table::Blobs, digest.as_key())?.as_ref() != Some(&seen) {
                return Ok(false);
            }
            if drop_bytes {
                inline::delete(tx, &digest)?;
            }
            tx.put(Table::Blobs, digest.as_key(), &row)?;
            Ok(true)
        })
        .await
    }

    /// Writes the row of a blob that references name and whose bytes were found to be whole: at `place`, or in the
    /// database. `false`: it has a row by now that can be read, or its file has gone.
    pub async fn adopt(
        &self,
        digest: &Digest,
        size: u64,
        place: Option<Place>,
    ) -> Result<bool, RepoError> {
        let (repos, digest) = (self.clone(), *digest);
        // The file must stay until the commit, whoever waits for it.
        self.to_its_end(async move {
            let _file_stays = repos.without_removals().await;
            if let Some(place) = place.clone() {
                let blobs = repos.0.blobs.clone();
                let len = repos
                    .block(move || Ok(blobs.content.len_of(&place)?))
                    .await?;
                if len != Some(size) {
                    return Ok(false);
                }
            }
            repos.write_found(digest, size, place).await
        })
        .await
    }

    async fn write_found(
        &self,
        digest: Digest,
        size: u64,
        place: Option<Place>,
    ) -> Result<bool, RepoError> {
        let at_ms = wall_ms();
        self.change_any(Lane::Background, Need::Keeps, "check.adopt", move |tx| {
            let key = digest.as_key();
            if let Some(row) = tx.get(Table::Blobs, key)?
                && is_sound(&digest, &row)
            {
                return Ok(false);
            }
            if let Some(place) = &place {
                // It is used from now on.
                tx.delete(Table::Condemned, place.0.as_bytes())?;
            }
            let row = BlobRecord {
                size,
                first_seen_ms: at_ms,
                place: place.as_ref().map(|place| place.0.clone()),
                damaged: false,
            };
            tx.put(Table::Blobs, key, &row.to_bytes()?)?;
            Ok(true)
        })
        .await
    }

    /// An ingest for bytes that are to replace damaged or missing ones; see [`Repos::heal`]. All its methods block.
    pub fn begin_heal(&self, algorithm: Algorithm) -> Result<Ingest, RepoError> {
        let id = new_upload_id()?;
        let name = UploadName::session(id, RepoId(0), algorithm);
        Ok(self.0.blobs.uploads.begin(name))
    }

    /// Checks the bytes and gives them to a blob that is damaged or has no row but references; no repository shows more
    /// than before. `false`: it is whole by now, or nothing needs it.
    pub async fn heal(&self, ingest: Ingest, digest: &Digest) -> Result<bool, RepoError> {
        let digest = *digest;
        let sealed = self.block(move || Ok(ingest.finish(&digest)?)).await?;
        let place = sealed.body.place().cloned();
        let at_ms = wall_ms();
        let heal = move |tx: &mut Txn<'_>| {
            if !rows::is_referenced(tx, &digest)? {
                return Ok((place.clone(), false));
            }
            if let Some(row) = tx.get(Table::Blobs, digest.as_key())?
                && !is_sound(&digest, &row)
            {
                tx.delete(Table::Blobs, digest.as_key())?;
            }
            let spare = manifest::put_blob(tx, &sealed, at_ms)?;
            let healed = spare.is_none() || spare != place;
            Ok((spare, healed))
        };
        let repos = self.clone();
        self.to_its_end(async move {
            let change = repos.change_any(Lane::Request, Need::Grows, "check.heal", heal);
            let (spare, healed) = change.await?;
            repos.drop_spare(spare.into_iter().collect()).await;
            Ok(healed)
        })
        .await
    }

    /// Of these content files, those that neither a blob's row nor a condemned row names.
    pub async fn unknown_places(&self, places: Vec<Place>) -> Result<Vec<Place>, RepoError> {
        self.hop(move |_, r| {
            let mut unknown = Vec::new();
            for place in &places {
                let digest = place.digest()?;
                if r.get(Table::Condemned, place.0.as_bytes())?.is_some() {
                    continue;
                }
                let row = r.get(Table::Blobs, digest.as_key())?;
                let row = row.map(|row| walk::readable(BlobRecord::from_bytes(&row)));
                let row = row.transpose()?.flatten();
                if row.is_none_or(|row| row.place.as_deref() != Some(place.0.as_str())) {
                    unknown.push(place.clone());
                }
            }
            Ok(unknown)
        })
        .await
    }

    /// Drops bytes in the database that no blob's row needs, if that is still so.
    pub async fn drop_bytes(&self, digest: &Digest) -> Result<bool, RepoError> {
        let digest = *digest;
        let write = self
            .0
            .store
            .write(Lane::Background, Need::Keeps, "check.bytes", move |tx| {
                if let Some(row) = tx.get(Table::Blobs, digest.as_key())?
                    && BlobRecord::from_bytes(&row).map_or(true, |row| row.place.is_none())
                {
                    return Ok::<_, RepoError>(false);
                }
                inline::delete(tx, &digest)?;
                Ok(true)
            });
        write.await
    }

    /// Bytes in the database that no blob's row needs, with the bytes: a page of digests from `from` on.
    pub async fn spare_bytes(
        &self,
        from: Vec<u8>,
    ) -> Result<(Vec<(Digest, Bytes)>, Option<Vec<u8>>), RepoError> {
        self.hop(move |_, r| {
            // One table after the other; the first byte says which.
            let (table, start) = match from.split_first() {
                Some((&PAGES, start)) => (Table::Pages, start),
                Some((_, start)) => (Table::Bytes, start),
                None => (Table::Bytes, from.as_slice()),
            };
            let rows = r.scan(table, start, &[], BYTES)?;
            let mut spare = Vec::new();
            for (key, bytes) in &rows {
                let Some((digest, is_first)) = inline::owner(key) else {
                    continue;
                };
                // The first row stands for both.
                let bytes = match inline::get(r, &digest)? {
                    Some(_) if !is_first => continue,
                    whole => whole.unwrap_or_else(|| bytes.clone()),
                };
                let row = r.get(Table::Blobs, digest.as_key())?;
                let needed = match &row {
                    None => false,
                    Some(row) => walk::readable(BlobRecord::from_bytes(row))?
                        .is_none_or(|row| row.place.is_none()),
                };
                if !needed {
                    spare.push((digest, Bytes::from(bytes)));
                }
            }
            let next = match (walk::next(&rows, BYTES), table) {
                (Some(key), Table::Pages) => Some([&[PAGES], key.as_slice()].concat()),
                (Some(key), _) => Some([&[!PAGES], key.as_slice()].concat()),
                (None, Table::Pages) => None,
                (None, _) => Some(vec![PAGES]),
            };
            Ok((spare, next))
        })
        .await
    }

    /// How many bytes of a digest are in the database, and whether they are its own.
    pub async fn inline_state(&self, digest: &Digest) -> Result<Option<(u64, bool)>, RepoError> {
        let digest = *digest;
        self.hop(move |_, r| {
            let bytes = inline::get(r, &digest)?;
            Ok(bytes.map(|b| (b.len() as u64, Digest::of(digest.algorithm(), &b) == digest)))
        })
        .await
    }

    /// The bytes of a digest in the database.
    pub async fn inline_bytes(&self, digest: &Digest) -> Result<Option<Bytes>, RepoError> {
        let digest = *digest;
        self.hop(move |_, r| Ok(inline::get(r, &digest)?.map(Bytes::from)))
            .await
    }
}

/// One blob, if its row is there and can be read.
pub(in crate::repo) fn content_of(
    get: &impl Get,
    digest: &Digest,
) -> Result<Option<CheckedBlob>, RepoError> {
    match get.get(Table::Blobs, digest.as_key())? {
        Some(row) => content(digest.as_key(), &row),
        None => Ok(None),
    }
}

fn content(key: &[u8], row: &[u8]) -> Result<Option<CheckedBlob>, RepoError> {
    let (Ok(digest), Some(record)) = (
        Digest::from_key(key),
        walk::readable(BlobRecord::from_bytes(row))?,
    ) else {
        return Ok(None);
    };
    if !is_sound(&digest, row) {
        return Ok(None);
    }
    Ok(Some(CheckedBlob {
        digest,
        size: record.size,
        place: record.place.map(Place),
        damaged: record.damaged,
        row: row.to_vec(),
    }))
}

/// Whether a blob's row can be read and names no other digest's place.
fn is_sound(digest: &Digest, row: &[u8]) -> bool {
    BlobRecord::from_bytes(row).is_ok_and(|row| match row.place {
        None => true,
        Some(place) => Place(place)
            .digest()
            .is_ok_and(|promised| promised == *digest),
    })
}

/// One page of blobs' rows.
pub(super) fn blobs(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Blobs, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let Ok(digest) = Digest::from_key(key) else {
            let what = format!("a blob's row with the key {}", walk::hex(key));
            let mend = Mend::drop(Vec::new(), Table::Blobs, key.clone(), value.clone());
            walk.mend(Problem::new(ProblemKind::BlobRowUnreadable, what), mend);
            continue;
        };
        if walk::readable(BlobRecord::from_bytes(value))?.is_none() {
            walk.rowless.insert(digest, ProblemKind::BlobRowUnreadable);
        } else if !is_sound(&digest, value) {
            walk.rowless.insert(digest, ProblemKind::BlobPlaceWrong);
        }
        if !walk.has_due(keys::DueKind::Orphan as u8, key) && !rows::is_referenced(r, &digest)? {
            walk.suspects.push(Suspect::Orphan(digest));
        }
    }
    Ok(walk::next(&rows, PAGE))
}
