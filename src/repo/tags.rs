//! Tags, names and views: lists cost the page that is asked for, whatever lies around it.

use super::change::Change;
use super::error::RepoError;
use super::keys::{self, Class, Name};
use super::record::{ChangeRecord, ItemRecord, RepoRecord};
use super::rows;
use super::{Origin, RepoView, Repos, TagChange, TagPage};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Need, Table};
use crate::types::{Page, RepoId, RepoName, Rev, Tag};

/// The most changes of one tag that a history shows.
const HISTORY_MAX: usize = 1000;

impl Repos {
    /// One page of the repository's tags.
    pub async fn tags(&self, name: &RepoName, page: &Page) -> Result<TagPage, RepoError> {
        let (name, page) = (name.clone(), page.clone());
        self.hop(move |_, r| {
            let (id, _) =
                super::visible(r, name.as_str())?.ok_or(RepoError::NameUnknown(name.clone()))?;
            let (mut from, to) = keys::items(id, Class::Tag, false).range();
            if let Some(last) = page.last.as_deref().filter(|l| !l.contains('\0')) {
                // Behind every row of `last` itself, before every longer tag: no tag has a byte this small.
                from = keys::items(id, Class::Tag, false)
                    .raw(last.as_bytes())
                    .u8(1)
                    .done();
            }
            let limit = page.limit();
            let rows = if limit == 0 || from > to {
                Vec::new()
            } else {
                r.scan(Table::Items, &from, &to, limit + 1)?
            };
            let more = rows.len() > limit;
            let tags = rows.iter().take(limit);
            let tags = tags
                .filter_map(|(key, _)| keys::tag_of_item(key)?.0.parse().ok())
                .collect();
            Ok(TagPage { tags, more })
        })
        .await
    }

    /// What a tag has meant, newest first, at most 1,000 changes.
    pub async fn tag_history(
        &self,
        name: &RepoName,
        tag: &Tag,
    ) -> Result<Vec<TagChange>, RepoError> {
        let (name, tag) = (name.clone(), tag.clone());
        self.hop(move |_, r| {
            let (id, _) =
                super::visible(r, name.as_str())?.ok_or(RepoError::NameUnknown(name.clone()))?;
            let mut spans = Vec::new();
            for past in [false, true] {
                let (from, to) = keys::item_rows(id, &Name::Tag(tag.as_str()), past).range();
                for (key, value) in r.scan(Table::Items, &from, &to, HISTORY_MAX)? {
                    if let Some((_, added)) = keys::tag_of_item(&key) {
                        spans.push((added, ItemRecord::from_bytes(&value)?));
                    }
                }
            }
            if spans.is_empty() {
                return Err(RepoError::ManifestUnknown(tag.to_string()));
            }
            spans.sort_by_key(|(added, _)| std::cmp::Reverse(*added));
            let starts: Vec<u64> = spans.iter().map(|(added, _)| added.0).collect();
            let mut history = Vec::new();
            for (added, item) in spans {
                if item.removed != Rev::NEVER.0 && !starts.contains(&item.removed) {
                    history.push(change(r, id, Rev(item.removed), None)?);
                }
                history.push(change(r, id, added, item.digest())?);
            }
            Ok(history)
        })
        .await
    }

    /// Removes a tag; the manifest stays.
    pub async fn delete_tag(&self, name: &RepoName, tag: &Tag, who: &str) -> Result<(), RepoError> {
        let context = self.context(who, "tag.delete");
        let (wanted, tag) = (name.clone(), tag.clone());
        let change = self.change(name, Need::Removes, "tag.delete", move |tx| {
            let (id, record) = super::manifest::writable(tx, &wanted)?;
            let mut change = Change::open(tx, id, record, &context);
            if !change.delete_tag(tag.as_str())? {
                return Err(RepoError::ManifestUnknown(tag.to_string()));
            }
            change.finish()?;
            Ok(())
        });
        change.await
    }

    /// Repository names after `last`, in order, at most `limit`; the caller filters by what may be seen.
    pub async fn names(
        &self,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepoName>, RepoError> {
        let last = last.filter(|l| !l.contains('\0')).map(str::to_owned);
        self.hop(move |_, r| {
            let mut from = last
                .as_ref()
                .map_or_else(Vec::new, |l| [l.as_bytes(), &[1]].concat());
            let mut names = Vec::new();
            while names.len() < limit {
                let wanted = limit - names.len();
                let rows = r.scan(Table::Names, &from, &[0xff], wanted)?;
                for (key, id) in &rows {
                    let seen = r.get(Table::Repos, &keys::repo(RepoId(rows::number(id))))?;
                    let seen = seen.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
                    if seen.is_some_and(|record| !super::is_unborn(&record)) {
                        names.extend(Parts(key).text().and_then(|n| n.parse().ok()));
                    }
                }
                // A short page ends the list; a full one with hidden names in it goes on behind its last.
                match rows.last() {
                    Some((last, _)) if rows.len() == wanted => {
                        from = [last.as_slice(), &[0]].concat();
                    }
                    _ => break,
                }
            }
            Ok(names)
        })
        .await
    }

    /// A repository in figures.
    pub async fn view(&self, name: &RepoName) -> Result<RepoView, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let (id, record) =
                super::visible(r, name.as_str())?.ok_or(RepoError::NameUnknown(name.clone()))?;
            let usage = rows::usage(r, id)?;
            Ok(RepoView {
                name: record.name,
                origin: Origin::of(record.origin),
                rev: Rev(record.head),
                tags: usage.tags,
                manifests: usage.manifests,
                bytes: usage.bytes,
                horizon: Rev(record.horizon),
                keep_ms: record.keep_ms,
            })
        })
        .await
    }
}

fn change(
    get: &impl Get,
    id: crate::types::RepoId,
    rev: Rev,
    digest: Option<crate::types::Digest>,
) -> Result<TagChange, RepoError> {
    let row = get.get(Table::Changes, &keys::change_head(id, rev))?;
    let row = row.map(|row| ChangeRecord::from_bytes(&row)).transpose()?;
    let (at_ms, who) = row.map_or((0, String::new()), |r| (r.at_ms, r.who));
    Ok(TagChange {
        rev,
        at_ms,
        who,
        digest,
    })
}
