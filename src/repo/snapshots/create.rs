//! Making snapshots: of one repository, or of all that a pattern names, in one transaction.

use super::{NewSnapshot, SnapshotView};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::rows::record::SnapshotRecord;
use crate::repo::shown::{At, readable, resolve};
use crate::repo::{Repos, any_visible};
use crate::store::record::Record;
use crate::store::{Get, Need, StoreError, Table, Txn};
use crate::types::{PageRequest, RepoId, RepoName, RepoPattern, Rev, Title, wall_ms};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Repositories in one cut, at most: each takes up to four rows of one transaction.
const MOST: usize = 1_200;
/// Snapshots of one day without a title, at most.
const A_DAY: usize = 1_000;

impl Repos {
    /// Makes a snapshot of each repository that `new.of` names, all as of the same moment, in one transaction.
    ///
    /// # Errors
    /// [`RepoError::NameUnknown`] or [`RepoError::NothingMatches`] where there is none; [`RepoError::Exists`] if one of them
    /// has a snapshot of that title; [`RepoError::Refused`] for a revision that is not kept, or for too many repositories.
    pub async fn create_snapshots(&self, new: NewSnapshot) -> Result<Vec<SnapshotView>, RepoError> {
        tracing::info!(
            target: "audit",
            action = "snapshot.create",
            repo = %new.of,
            title = new.title.as_ref().map(Title::as_str),
            who = new.who,
        );
        let names = self.named_by(&new.of).await?;
        let mut cut = Vec::with_capacity(names.len());
        for name in names {
            let then = self.then(&name, &new.at).await?;
            cut.push((name, then));
        }
        let at_ms = wall_ms();
        let make = move |tx: &mut Txn<'_>| make(tx, &new, &cut, at_ms);
        self.write(Need::Grows, "snapshot.create", make).await
    }

    /// The repositories that a pattern names.
    pub(in crate::repo) async fn named_by(
        &self,
        of: &RepoPattern,
    ) -> Result<Vec<RepoName>, RepoError> {
        if let Some(name) = of.as_name() {
            return Ok(vec![name]);
        }
        let (mut names, mut last) = (Vec::new(), None);
        loop {
            let page = self.names(None, last.as_deref(), PageRequest::MAX).await?;
            names.extend(page.names.into_iter().filter(|name| of.matches(name)));
            if names.len() > MOST {
                return Err(RepoError::Refused(format!(
                    "more than {MOST} repositories match {of}, the most at once; nothing was done, narrow the pattern"
                )));
            }
            match page.next {
                Some(next) => last = Some(next),
                None => break,
            }
        }
        if names.is_empty() {
            return Err(RepoError::NothingMatches(of.to_string()));
        }
        Ok(names)
    }

    /// Number and revision that a reference to the past means; nothing for the head, which the transaction looks up.
    async fn then(&self, name: &RepoName, at: &At) -> Result<Option<(RepoId, Rev)>, RepoError> {
        if *at == At::Head {
            return Ok(None);
        }
        let (name, at) = (name.clone(), at.clone());
        self.hop(move |_, r| {
            let (id, record) = any_visible(r, name.as_str())?
                .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
            Ok(Some((id, resolve(r, id, &record, &at)?)))
        })
        .await
    }
}

fn make(
    tx: &mut Txn<'_>,
    new: &NewSnapshot,
    cut: &[(RepoName, Option<(RepoId, Rev)>)],
    at_ms: u64,
) -> Result<Vec<SnapshotView>, RepoError> {
    let mut of = Vec::with_capacity(cut.len());
    for (name, then) in cut {
        let found = any_visible(tx, name.as_str())?;
        let found = found.filter(|(id, _)| then.is_none_or(|(then, _)| then == *id));
        let Some((id, record)) = found else {
            // One of many may have been deleted meanwhile: it is not in the cut.
            if cut.len() == 1 {
                return Err(RepoError::NameUnknown(name.clone()));
            }
            continue;
        };
        let rev = then.map_or(Rev(record.head), |(_, rev)| rev);
        readable(tx, id, &record, rev)?;
        of.push((name, id, rev));
    }
    let title = title(tx, new, &of, at_ms)?;
    let now = tx.running_ms();
    let mut made = Vec::with_capacity(of.len());
    for (name, id, rev) in of {
        let record = SnapshotRecord {
            rev: rev.0,
            at_ms,
            who: new.who.clone(),
            ends: new.expires_ms.map(|after| now.saturating_add(after)),
            held: new.held,
            root: None,
        };
        tx.put(
            Table::Snapshots,
            &keys::snapshot(id, &title),
            &record.to_bytes()?,
        )?;
        tx.put(Table::Pins, &keys::pin(id, rev, &title), &[])?;
        let by = (new.who.as_str(), "snapshot.create", at_ms);
        super::tell(tx, id, (name.as_str(), &title, rev), by)?;
        if let Some(end) = record.ends {
            let what = keys::due_snapshot(id, &title);
            tx.put(Table::Due, &keys::due(end, DueKind::Snapshot, &what), &[])?;
        }
        made.push(SnapshotView::of(name.as_str(), &title, &record, now));
    }
    Ok(made)
}

/// The title that is wanted, if it is free in all of them; else the day, with the first number that is.
fn title(
    tx: &Txn<'_>,
    new: &NewSnapshot,
    of: &[(&RepoName, RepoId, Rev)],
    at_ms: u64,
) -> Result<String, RepoError> {
    if let Some(title) = &new.title {
        return match taken(tx, of, title.as_str())? {
            None => Ok(title.to_string()),
            Some(name) => Err(RepoError::Exists(format!(
                "{name} has a snapshot {title} already, and a snapshot never changes; nothing was made, choose another title"
            ))),
        };
    }
    let day = day(at_ms);
    for n in 1..=A_DAY {
        let title = if n == 1 {
            day.clone()
        } else {
            format!("{day}-{n}")
        };
        if taken(tx, of, &title)?.is_none() {
            return Ok(title);
        }
    }
    Err(RepoError::Refused(format!(
        "there are {A_DAY} snapshots of {day} without a title of their own; nothing was made, give this one a title"
    )))
}

/// The first repository that has a snapshot of this title.
fn taken<'a>(
    tx: &Txn<'_>,
    of: &[(&'a RepoName, RepoId, Rev)],
    title: &str,
) -> Result<Option<&'a RepoName>, StoreError> {
    for (name, id, _) in of {
        let key = keys::snapshot(*id, title);
        if tx.get(Table::Snapshots, &key)?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The day in UTC, as `2026-11-29`.
fn day(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date().to_string()
}
