//! Tags, names and views: lists cost the page that is asked for, whatever lies around it.

use crate::repo::bounded::{LOOKS, Next, Pages};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::history::tags_at::TagsAt;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::{ChangeRecord, ItemRecord, RepoRecord};
use crate::repo::shown::{At, shown};
use crate::repo::{Inner, NamePage, Repos, TagChange, TagPage};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Need, Read, Table};
use crate::types::{Kind, PageRequest, RepoId, RepoName, Rev, Tag};
use std::collections::HashSet;

/// The most changes of one tag that a history shows.
const HISTORY_MAX: usize = 1000;

impl Repos {
    /// One page of the repository's tags, as of then. It may be short, or empty, and not the last.
    pub async fn tags(
        &self,
        name: &RepoName,
        at: &At,
        page: &PageRequest,
    ) -> Result<TagPage, RepoError> {
        if *at == At::Head
            && let Some(found) = self.live_tags(name, page).await?
        {
            return Ok(found);
        }
        let (name, at, limit) = (name.clone(), at.clone(), page.limit());
        let last = page.last.clone().filter(|l| !l.contains('\0'));
        let begun = TagsAt::begin(limit, last);
        let step = move |_: &Inner, r: &Read<'_>, tags: &mut TagsAt| {
            let shown = shown(r, &name, Kind::Oci, &at)?;
            tags.go_on(r, &shown)
        };
        self.long_read(|inner| &inner.past, None, begun, step).await
    }

    /// The same of the head, unless somebody is at work on the next revision.
    async fn live_tags(
        &self,
        name: &RepoName,
        page: &PageRequest,
    ) -> Result<Option<TagPage>, RepoError> {
        let (name, page) = (name.clone(), page.clone());
        self.hop(move |_, r| {
            let shown = shown(r, &name, Kind::Oci, &At::Head)?;
            if !shown.is_live {
                return Ok(None);
            }
            let id = shown.id;
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
            let tags: Vec<Tag> = tags
                .filter_map(|(key, _)| keys::text_of_item(key)?.0.parse().ok())
                .collect();
            let next = tags.last().filter(|_| more).map(ToString::to_string);
            Ok(Some(TagPage { tags, next }))
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
        let spans = self.hop(move |_, r| {
            let (id, record) = crate::repo::visible(r, name.as_str(), Kind::Oci)?
                .ok_or(RepoError::NameUnknown(name.clone()))?;
            let mut spans = Vec::new();
            for past in [false, true] {
                let (from, to) = keys::item_rows(id, &Name::tag(tag.as_str()), past).range();
                for (key, value) in r.scan(Table::Items, &from, &to, HISTORY_MAX)? {
                    let Some((_, added)) = keys::text_of_item(&key) else {
                        continue;
                    };
                    // What a stage adds and closes is still to come.
                    if added.0 <= record.head {
                        let mut item = ItemRecord::from_bytes(&value)?;
                        if item.removed > record.head {
                            item.removed = Rev::NEVER.0;
                        }
                        spans.push((added, item));
                    }
                }
            }
            if spans.is_empty() {
                return Err(RepoError::ManifestUnknown(tag.to_string()));
            }
            spans.sort_by_key(|(added, _)| std::cmp::Reverse(*added));
            Ok((id, spans))
        });
        let (id, spans) = spans.await?;
        let starts: HashSet<u64> = spans.iter().map(|(added, _)| added.0).collect();
        let mut changes = Vec::new();
        for (added, item) in spans {
            if item.removed != Rev::NEVER.0 && !starts.contains(&item.removed) {
                changes.push((Rev(item.removed), None));
            }
            changes.push((added, item.digest()));
        }
        let mut history = Vec::with_capacity(changes.len());
        for part in changes.chunks(LOOKS / 2) {
            let part = part.to_vec();
            let part = self.hop(move |_, r| {
                let part = part
                    .iter()
                    .map(|(rev, digest)| change(r, id, *rev, *digest));
                part.collect::<Result<Vec<_>, _>>()
            });
            history.extend(part.await?);
        }
        Ok(history)
    }

    /// Removes a tag; the manifest stays.
    pub async fn delete_tag(&self, name: &RepoName, tag: &Tag, who: &str) -> Result<(), RepoError> {
        let context = self.context(who, "tag.delete");
        let (wanted, tag) = (name.clone(), tag.clone());
        let change = self.unless_staged(Need::Removes, "tag.delete", move |tx| {
            let (id, record) = crate::repo::images::manifest::writable(tx, &wanted)?;
            let mut change = Edit::open(tx, id, record, &context)?;
            if !change.delete_tag(tag.as_str())? {
                return Err(RepoError::ManifestUnknown(tag.to_string()));
            }
            change.finish()?;
            Ok(())
        });
        change.await
    }

    /// Repository names, of one kind or of all, after `last`, in order, at most `limit`; the caller filters by what may be seen. There may be
    /// fewer, or none, and more to come.
    pub async fn names(
        &self,
        kind: Option<Kind>,
        last: Option<&str>,
        limit: usize,
    ) -> Result<NamePage, RepoError> {
        let last = last.filter(|l| !l.contains('\0')).map(str::to_owned);
        self.hop(move |_, r| {
            let from = last
                .as_ref()
                .map_or_else(Vec::new, |l| [l.as_bytes(), &[1]].concat());
            let mut rows = Pages::new(Table::Names, (from, vec![0xff]));
            let mut page = NamePage::default();
            loop {
                let found = match rows.next(r, 1)? {
                    Next::Rows(found) => found,
                    // So many of them are hidden.
                    Next::Spent => return Ok(page),
                    Next::End => break,
                };
                for (key, id) in &found {
                    if page.names.len() == limit {
                        return Ok(page);
                    }
                    let name = Parts(key).text();
                    page.next = name.map(str::to_owned);
                    let seen = r.get(Table::Repos, &keys::repo(RepoId(rows::number(id))))?;
                    let seen = seen.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
                    if seen.is_some_and(|record| {
                        let wanted = kind.is_none_or(|kind| kind.code() == record.kind);
                        wanted && !crate::repo::is_unborn(&record)
                    }) {
                        page.names.extend(name.and_then(|n| n.parse().ok()));
                    }
                }
            }
            page.next = None;
            Ok(page)
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
