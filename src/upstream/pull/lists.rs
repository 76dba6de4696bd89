//! Lists of an upstream: the tags of a repository, and what refers to a manifest.
//!
//! Answered from what is known, and refreshed beside; the upstream is waited for only where nothing is known. What is here
//! stands in every list, whatever the upstream says.

use super::{PullError, PullThrough, Stale};
use crate::cache::Cache;
use crate::fetch::header::HeaderValue;
use crate::fetch::peer::PeerStanding;
use crate::mirror::link;
use crate::repo::{At, Origin, ReferrerQuery, RepoError};
use crate::types::{AttachedTag, Digest, PageRequest, Reference, RepoName, Tag};
use crate::upstream::Upstream;
use crate::upstream::remote::Remote;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// The longest page of a list that is taken, in bytes.
const PAGE_MAX: u64 = 4 << 20;
/// Most pages of one list, and most bytes of all of them.
const PAGES: usize = 200;
const LIST_MAX: usize = 16 << 20;
/// Most bytes of all lists in memory.
const BYTES: u64 = 32 << 20;

/// The tags of a repository of an upstream, in byte order.
#[derive(Clone)]
pub(super) struct Tags {
    all: Arc<Vec<Tag>>,
    at: Instant,
}

/// What refers to a manifest, as descriptors.
#[derive(Clone)]
pub(super) struct Referrers {
    all: Arc<Vec<Box<RawValue>>>,
    at: Instant,
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
struct IndexBody {
    manifests: Option<Vec<Box<RawValue>>>,
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
        let known = self.0.lists.tags.get(name);
        let age = known.as_ref().map(|known| known.at.elapsed());
        let is_fresh = age.is_some_and(|age| age <= upstream.settings.freshness);
        let mut failed = None;
        let mut list = known.clone();
        if !is_fresh {
            let asked = self.ask_again(upstream, "the list of tags");
            let asked = asked.map(|()| self.ask_tags(upstream, name));
            // The work goes on by itself.
            match asked {
                Ok(asked) if known.is_none() => match asked.await {
                    Ok(tags) => list = Some(tags),
                    Err(why) => failed = Some(why),
                },
                Ok(_) => {}
                Err(why) => failed = Some(why),
            }
        }
        let limit = page.limit();
        let here = match self.0.repos.tags(name, &At::Head, page).await {
            Ok(here) => here.tags,
            Err(RepoError::NameUnknown(_)) if list.is_some() => Vec::new(),
            Err(error @ RepoError::NameUnknown(_)) => {
                return Err(failed.unwrap_or_else(|| error.into()));
            }
            Err(error) => return Err(error.into()),
        };
        let stale = failed.map(|why| self.stale(age, why.to_string()));
        let after = page.last.as_deref().unwrap_or_default();
        let there = list.as_ref().map_or(&[][..], |list| &list.all[..]);
        let from = there.partition_point(|tag| tag.as_str() <= after);
        let mut tags = here;
        tags.extend(there[from..].iter().take(limit + 1).cloned());
        tags.sort();
        tags.dedup();
        let more = tags.len() > limit;
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
        let age = known.as_ref().map(|known| known.at.elapsed());
        let is_fresh = age.is_some_and(|age| age <= upstream.settings.freshness);
        let mut failed = None;
        let mut list = known.clone();
        if !is_fresh {
            let asked = self.ask_again(upstream, "the list of referrers");
            let asked = asked.map(|()| self.ask_referrers(upstream, &key));
            match asked {
                Ok(asked) if known.is_none() => match asked.await {
                    Ok(referrers) => list = Some(referrers),
                    Err(why) => failed = Some(why),
                },
                Ok(_) => {}
                Err(why) => failed = Some(why),
            }
        }
        let stale = failed.map(|why| self.stale(age, why.to_string()));
        let there = list.map(|list| list.all).unwrap_or_default();
        let descriptors = self.merged(name, digest, &there, artifact_type).await?;
        Ok(Some(PulledReferrers { descriptors, stale }))
    }

    /// Those of the upstream, and those here that it does not list.
    async fn merged(
        &self,
        name: &RepoName,
        digest: &Digest,
        there: &[Box<RawValue>],
        artifact_type: Option<&str>,
    ) -> Result<Vec<Box<RawValue>>, PullError> {
        let query = ReferrerQuery {
            artifact_type: artifact_type.map(str::to_owned),
            after: None,
            at: At::Head,
        };
        let here = match self.0.repos.referrers(name, digest, &query).await {
            Ok(page) => page.descriptors,
            Err(RepoError::NameUnknown(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
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

    /// Refuses where the upstream is not asked now.
    fn ask_again(&self, upstream: &Upstream, what: &str) -> Result<(), PullError> {
        let name = upstream.settings.name.clone();
        if self.is_offline(upstream) {
            return Err(PullError::Offline {
                upstream: name,
                what: what.to_owned(),
            });
        }
        match upstream.standing() {
            PeerStanding::Away { until } => Err(PullError::Away {
                upstream: name,
                why: "it failed too often lately".to_owned(),
                again: until.saturating_duration_since(Instant::now()),
            }),
            _ => Ok(()),
        }
    }

    fn stale(&self, age: Option<std::time::Duration>, why: String) -> Stale {
        let age = age.unwrap_or_else(|| self.0.known.since());
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
            this.pages(&upstream, &there, "tags/list?n=1000".to_owned(), |body| {
                let page: TagsBody = serde_json::from_slice(body)?;
                // What is no tag here is none to our clients either.
                all.extend(
                    page.tags
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|t| t.parse().ok()),
                );
                Ok(())
            })
            .await?;
            all.sort();
            all.dedup();
            let tags = Tags {
                all: Arc::new(all),
                at: Instant::now(),
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
                let page: IndexBody = serde_json::from_slice(body)?;
                all.extend(page.manifests.unwrap_or_default());
                Ok(())
            });
            match asked.await {
                Err(PullError::NotThere { .. }) => {
                    all = this.listed_by_tag(&upstream, &of.0, &of.1).await?;
                }
                asked => asked?,
            }
            let referrers = Referrers {
                all: Arc::new(all),
                at: Instant::now(),
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
        let crate::repo::BlobBody::Inline(bytes) = &pulled.manifest.blob.body else {
            return Ok(Vec::new());
        };
        let index = serde_json::from_slice::<IndexBody>(bytes).ok();
        Ok(index.and_then(|index| index.manifests).unwrap_or_default())
    }

    /// Reads all pages of a list, which `take` gets one after the other.
    async fn pages(
        &self,
        upstream: &Arc<Upstream>,
        there: &RepoName,
        first: String,
        mut take: impl FnMut(&[u8]) -> Result<(), serde_json::Error>,
    ) -> Result<(), PullError> {
        let remote = upstream.remote().await?;
        let (mut ask, mut bytes) = (Remote::list(there, &first), 0);
        for _ in 0..PAGES {
            let page = remote.page(&ask, PAGE_MAX).await?;
            take(&page.body).map_err(|e| remote.wrong(format!("its list does not read: {e}")))?;
            bytes += page.body.len();
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
