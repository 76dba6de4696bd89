//! Lists of an upstream: the tags of a repository, and what refers to a manifest.
//!
//! Answered from what is known, and refreshed beside; the upstream is waited for only where nothing is known. What is here
//! stands in every list, whatever the upstream says.

use super::{LONGEST, PullError, PullThrough, Stale};
use crate::cache::Cache;
use crate::fetch::header::HeaderValue;
use crate::mirror::link;
use crate::repo::{At, Blob, BlobBody, Origin, ReferrerQuery, RepoError};
use crate::types::{AttachedTag, Digest, PageRequest, Reference, RepoName, Tag};
use crate::upstream::Upstream;
use crate::upstream::remote::Remote;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest page of a list that is taken, in bytes.
const PAGE_MAX: u64 = 4 << 20;
/// Most pages of one list, and most bytes of all of them.
const PAGES: usize = 200;
const LIST_MAX: usize = 16 << 20;
/// Most entries of one list.
const ENTRIES: usize = 100_000;
/// Pages of what is here that are put into one list of referrers.
const PAGES_HERE: usize = 10;
/// Most bytes of all lists in memory.
const BYTES: u64 = 32 << 20;

/// The tags of a repository of an upstream, in byte order.
#[derive(Clone)]
pub(super) struct Tags {
    all: Arc<Vec<Tag>>,
    at: Instant,
    upstream: u64,
}

/// What refers to a manifest, as descriptors.
#[derive(Clone)]
pub(super) struct Referrers {
    all: Arc<Vec<Box<RawValue>>>,
    at: Instant,
    upstream: u64,
}

/// The lists in memory.
pub(super) struct Lists {
    tags: Cache<RepoName, Tags>,
    referrers: Cache<(RepoName, Digest), Referrers>,
}

impl Default for Lists {
    fn default() -> Self {
        let tags = |name: &RepoName, tags: &Tags| {
            let bytes: usize = tags.all.iter().map(|tag| tag.as_str().len() + 24).sum();
            name.as_str().len() + bytes
        };
        let referrers = |key: &(RepoName, Digest), list: &Referrers| {
            let bytes: usize = list.all.iter().map(|one| one.get().len() + 16).sum();
            key.0.as_str().len() + 64 + bytes
        };
        Self {
            tags: Cache::new(BYTES, None, tags),
            referrers: Cache::new(BYTES, None, referrers),
        }
    }
}

/// A page of tags.
#[derive(Debug, Clone)]
pub struct PulledTags {
    /// The tags, in byte order.
    pub tags: Vec<Tag>,
    /// There are more after the last of them.
    pub more: bool,
    /// Why some may be missing.
    pub stale: Option<Stale>,
}

/// What refers to a manifest.
#[derive(Debug, Clone)]
pub struct PulledReferrers {
    /// Descriptors, as JSON objects.
    pub descriptors: Vec<Box<RawValue>>,
    /// Why some may be missing.
    pub stale: Option<Stale>,
}

#[derive(Deserialize)]
struct TagsBody {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct IndexBody<'a> {
    #[serde(borrow)]
    manifests: Option<Vec<&'a RawValue>>,
}

impl IndexBody<'_> {
    /// Its descriptors, as many as a list may have; what is none is left out.
    fn descriptors(body: &[u8]) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
        let index: IndexBody<'_> = serde_json::from_slice(body)?;
        let all = index.manifests.unwrap_or_default().into_iter();
        let is_one = |raw: &&RawValue| serde_json::from_str::<DescriptorBody>(raw.get()).is_ok();
        Ok(all
            .filter(is_one)
            .take(ENTRIES + 1)
            .map(ToOwned::to_owned)
            .collect())
    }
}

#[derive(Deserialize)]
struct DescriptorBody {
    digest: String,
    #[serde(rename = "artifactType", default)]
    artifact_type: String,
}

impl PullThrough {
    /// A page of the tags here and there; none where the name is no cache's, and so all of its tags are here.
    pub async fn tags(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        page: &PageRequest,
    ) -> Result<Option<PulledTags>, PullError> {
        if self.is_hosted(name).await? {
            return Ok(None);
        }
        let what = "the list of tags";
        let known = self.0.lists.tags.get(name);
        let known = known.filter(|known| known.upstream == upstream.id);
        let age = known.as_ref().map(|known| known.at.elapsed());
        let is_fresh = age.is_some_and(|age| age <= upstream.settings.freshness);
        let (mut list, mut failed) = (known, None);
        if !is_fresh {
            let asked = self.ask_again(upstream, name, what);
            let asked = asked.map(|wait| (wait, self.ask_tags(upstream, name)));
            match asked {
                // What is here does not wait for long; the work goes on by itself.
                Ok((wait, asked)) if list.is_none() => {
                    let wait = if self.is_cache(name).await? {
                        wait
                    } else {
                        LONGEST
                    };
                    match in_time(upstream, wait, asked).await {
                        Ok(tags) => list = Some(tags),
                        Err(why) => failed = Some(why),
                    }
                }
                Ok(_) => {}
                Err(why) => failed = Some(why),
            }
        }
        let limit = page.limit();
        let (here, more_here) = match self.0.repos.tags(name, &At::Head, page).await {
            Ok(here) => (here.tags, here.next.is_some()),
            Err(RepoError::NameUnknown(_)) if list.is_some() => (Vec::new(), false),
            Err(error @ RepoError::NameUnknown(_)) => {
                return Err(failed.unwrap_or_else(|| error.into()));
            }
            Err(error) => return Err(error.into()),
        };
        let stale = failed.map(|why| self.stale(age, &why));
        let after = page.last.as_deref().unwrap_or_default();
        let there = list.as_ref().map_or(&[][..], |list| &list.all[..]);
        let from = there.partition_point(|tag| tag.as_str() <= after);
        // Where what is here goes on, nothing after the last tag of its page is known yet.
        let last_here = here.last().cloned().filter(|_| more_here);
        let mut tags = here;
        tags.extend(there[from..].iter().take(limit + 1).cloned());
        tags.sort();
        tags.dedup();
        if let Some(last) = &last_here {
            tags.retain(|tag| tag <= last);
        }
        let more = tags.len() > limit || more_here;
        tags.truncate(limit);
        Ok(Some(PulledTags { tags, more, stale }))
    }

    /// What refers to a manifest here and there; none where the name is no cache's.
    pub async fn referrers(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<PulledReferrers>, PullError> {
        if self.is_hosted(name).await? {
            return Ok(None);
        }
        let key = (name.clone(), *digest);
        let known = self.0.lists.referrers.get(&key);
        let known = known.filter(|known| known.upstream == upstream.id);
        let age = known.as_ref().map(|known| known.at.elapsed());
        let is_fresh = age.is_some_and(|age| age <= upstream.settings.freshness);
        let (mut list, mut failed) = (known, None);
        if !is_fresh && self.is_subject(upstream, name, digest).await? {
            let what = format!("the list of referrers of {digest}");
            let asked = self.ask_again(upstream, name, &what);
            let asked = asked.map(|wait| (wait, self.ask_referrers(upstream, &key)));
            match asked {
                Ok((wait, asked)) if list.is_none() => match in_time(upstream, wait, asked).await {
                    Ok(referrers) => list = Some(referrers),
                    Err(why) => failed = Some(why),
                },
                Ok(_) => {}
                Err(why) => failed = Some(why),
            }
        }
        let stale = failed.map(|why| self.stale(age, &why));
        let there = list.map(|list| list.all).unwrap_or_default();
        let descriptors = self.merged(name, digest, &there, artifact_type).await?;
        Ok(Some(PulledReferrers { descriptors, stale }))
    }

    /// Whether the upstream is to be asked what refers to this: a manifest that is here, or that it has. Nobody has it look for
    /// what is nowhere.
    async fn is_subject(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<bool, PullError> {
        let reference = Reference::Digest(*digest);
        match self.manifest(upstream, name, &reference, false).await {
            Ok(_) => Ok(true),
            Err(PullError::NotThere { .. } | PullError::NotHere(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Those of the upstream, and those here that it does not list.
    async fn merged(
        &self,
        name: &RepoName,
        digest: &Digest,
        there: &[Box<RawValue>],
        artifact_type: Option<&str>,
    ) -> Result<Vec<Box<RawValue>>, PullError> {
        let mut query = ReferrerQuery {
            artifact_type: artifact_type.map(str::to_owned),
            after: None,
            at: At::Head,
        };
        let mut here = Vec::new();
        for _ in 0..PAGES_HERE {
            let page = match self.0.repos.referrers(name, digest, &query).await {
                Ok(page) => page,
                Err(RepoError::NameUnknown(_)) => break,
                Err(error) => return Err(error.into()),
            };
            here.extend(page.descriptors);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let read = |raw: &RawValue| serde_json::from_str::<DescriptorBody>(raw.get()).ok();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for raw in there {
            let Some(descriptor) = read(raw) else {
                continue;
            };
            let fits = artifact_type.is_none_or(|wanted| descriptor.artifact_type == wanted);
            if fits && seen.insert(descriptor.digest) {
                all.push(raw.clone());
            }
        }
        for raw in here {
            if read(&raw).is_some_and(|descriptor| seen.insert(descriptor.digest)) {
                all.push(raw);
            }
        }
        Ok(all)
    }

    /// How long the upstream may take where something is here; refuses where it is not asked now, or refused a moment ago.
    fn ask_again(
        &self,
        upstream: &Upstream,
        name: &RepoName,
        what: &str,
    ) -> Result<Duration, PullError> {
        let patience = self.patience(upstream, what)?;
        match self.0.known.refused(upstream.id, name, what) {
            Some(error) => Err(error),
            None => Ok(patience),
        }
    }

    fn stale(&self, age: Option<Duration>, why: &PullError) -> Stale {
        let age = age.unwrap_or_else(|| self.0.known.since());
        let why = why.why_stale();
        Stale { age, why }
    }

    async fn is_hosted(&self, name: &RepoName) -> Result<bool, PullError> {
        let origin = self.0.repos.origin(name).await?;
        Ok(matches!(origin, Some(Origin::Local | Origin::Mirror)))
    }

    fn ask_tags(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
    ) -> impl Future<Output = Result<Tags, PullError>> + use<> {
        let (this, upstream, of) = (self.clone(), Arc::clone(upstream), name.clone());
        self.0.tag_lists.join(name, move |ticket| async move {
            let _until_the_end = ticket;
            let there = super::name_there(&upstream, &of)?;
            let mut all: Vec<Tag> = Vec::new();
            let asked = this.pages(&upstream, &there, "tags/list?n=1000".to_owned(), |body| {
                let page: TagsBody = serde_json::from_slice(body)?;
                // What is no tag here is none to our clients either.
                all.extend(
                    page.tags
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|t| t.parse().ok()),
                );
                Ok(all.len())
            });
            let asked = super::in_turn(&upstream, asked).await;
            asked.inspect_err(|e| {
                let what = "the list of tags";
                this.0.known.note(upstream.id, &of, what, e);
            })?;
            all.sort();
            all.dedup();
            let tags = Tags {
                all: Arc::new(all),
                at: Instant::now(),
                upstream: upstream.id,
            };
            this.0.lists.tags.insert(of, tags.clone());
            Ok(tags)
        })
    }

    fn ask_referrers(
        &self,
        upstream: &Arc<Upstream>,
        key: &(RepoName, Digest),
    ) -> impl Future<Output = Result<Referrers, PullError>> + use<> {
        let (this, upstream, of) = (self.clone(), Arc::clone(upstream), key.clone());
        self.0.referrer_lists.join(key, move |ticket| async move {
            let _until_the_end = ticket;
            let there = super::name_there(&upstream, &of.0)?;
            let mut all = Vec::new();
            let rest = format!("referrers/{}", of.1);
            let asked = this.pages(&upstream, &there, rest, |body| {
                all.extend(IndexBody::descriptors(body)?);
                Ok(all.len())
            });
            match super::in_turn(&upstream, asked).await {
                Err(PullError::NotThere { .. }) => {
                    all = this.listed_by_tag(&upstream, &of.0, &of.1).await?;
                }
                asked => asked.inspect_err(|e| {
                    let what = format!("the list of referrers of {}", of.1);
                    this.0.known.note(upstream.id, &of.0, &what, e);
                })?,
            }
            let referrers = Referrers {
                all: Arc::new(all),
                at: Instant::now(),
                upstream: upstream.id,
            };
            this.0.lists.referrers.insert(of, referrers.clone());
            Ok(referrers)
        })
    }

    /// The list under a tag, of a registry that has no API for it (distribution-spec, "Referrers Tag Schema").
    async fn listed_by_tag(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<Vec<Box<RawValue>>, PullError> {
        let tag = AttachedTag::list_of(digest);
        let Ok(tag) = tag.parse::<Tag>() else {
            return Ok(Vec::new());
        };
        let reference = Reference::Tag(tag);
        let pulled = match self.manifest(upstream, name, &reference, false).await {
            Ok(pulled) => pulled,
            Err(PullError::NotThere { .. } | PullError::NotHere(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let bytes = bytes_of(&pulled.manifest.blob).await?;
        // What lies there by another name is no list.
        Ok(IndexBody::descriptors(&bytes).unwrap_or_default())
    }

    /// Reads all pages of a list, which `take` gets one after the other.
    async fn pages(
        &self,
        upstream: &Arc<Upstream>,
        there: &RepoName,
        first: String,
        mut take: impl FnMut(&[u8]) -> Result<usize, serde_json::Error>,
    ) -> Result<(), PullError> {
        let remote = upstream.remote().await?;
        let (mut ask, mut bytes) = (Remote::list(there, &first), 0);
        for _ in 0..PAGES {
            let page = remote.page(&ask, PAGE_MAX).await?;
            let entries = take(&page.body);
            let entries =
                entries.map_err(|e| remote.wrong(format!("its list does not read: {e}")))?;
            bytes += page.body.len();
            if entries > ENTRIES {
                return Err(remote.wrong(format!("its list has more than {ENTRIES} entries")));
            }
            let links = page.headers.get_all("link").iter();
            let next = link::next(links.map(HeaderValue::as_bytes));
            let next =
                next.map_err(|_| remote.wrong("its list has a Link that does not read".into()))?;
            let Some(next) = next else {
                return Ok(());
            };
            if bytes > LIST_MAX {
                return Err(remote.wrong("its list is too long".into()));
            }
            ask = remote.next_page(&ask, &page, &next)?;
        }
        Err(remote.wrong(format!("its list has more than {PAGES} pages")))
    }
}

/// Waits so long for work that goes on by itself.
async fn in_time<T>(
    upstream: &Upstream,
    wait: Duration,
    work: impl Future<Output = Result<T, PullError>>,
) -> Result<T, PullError> {
    let late = |_| Err(PullError::late(&upstream.settings.name));
    tokio::time::timeout(wait, work).await.unwrap_or_else(late)
}

/// All bytes of a manifest.
async fn bytes_of(blob: &Blob) -> Result<Bytes, PullError> {
    let file = match &blob.body {
        BlobBody::Inline(bytes) => return Ok(bytes.clone()),
        BlobBody::File(file) => Arc::clone(file),
    };
    let size = blob.size.min(PAGE_MAX);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        (&*file).take(size).read_to_end(&mut bytes).map(|_| bytes)
    });
    let internal = |e: &dyn std::fmt::Display| PullError::Internal(e.to_string());
    let read = read.await.map_err(|e| internal(&e))?;
    Ok(read.map_err(|e| internal(&e))?.into())
}
