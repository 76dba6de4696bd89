//! What is attached to a manifest at its registry: the referrers API, the tag that stands in for it (distribution-spec,
//! "Listing Referrers") and cosign's tags. Finds it; whether it may be taken is for `plan`.

use super::budget::Budget;
use crate::fetch::SmallAnswer;
use crate::fetch::header::HeaderValue;
use crate::mirror::MirrorError;
use crate::mirror::document::Referrers;
use crate::mirror::evidence::{Notes, reason};
use crate::mirror::link;
use crate::mirror::oci::{Fetched, MANIFEST_MAX, Registry, fallback_tag};
use crate::types::{Digest, MediaType, Reference, Tag};
use serde::de::IgnoredAny;
use std::sync::atomic::Ordering;

/// The endings of the tags under which cosign keeps signatures, attestations and SBOMs.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

/// Pages of referrers beyond the first of each list, of a whole run: more are a defect of the other side.
const PAGES_MAX: usize = 1000;

/// What the referrers API says.
enum Listing {
    /// The list, as far as it could be read, and why no further.
    Found {
        referrers: Vec<(Digest, u64)>,
        /// Entries that name nothing.
        nameless: u64,
        broken: Option<String>,
    },
    /// There is no such API.
    NoApi,
    /// It may be there and cannot be used: why.
    Unusable(String),
}

/// What was read of a list so far, and how many of its entries name nothing.
type Read = (Vec<(Digest, u64)>, u64);

impl Listing {
    fn broken((referrers, nameless): Read, why: &str) -> Self {
        Self::Found {
            referrers,
            nameless,
            broken: Some(why.to_owned()),
        }
    }
}

/// One page of that list, and where the next one is.
enum Page {
    Listed(Read, Result<Option<String>, link::Unreadable>),
    NoApi,
    Unusable(String),
}

/// What a registry has for one manifest.
#[derive(Default)]
pub(in crate::mirror) struct Attached {
    /// What is listed as referring to it, with the sizes that the list gives.
    pub listed: Vec<(Digest, u64)>,
    /// A referrer that came already: it lay under the tag of the list itself.
    pub direct: Option<Fetched>,
    /// What cosign keeps under tags.
    pub tagged: Vec<(Tag, Fetched)>,
    pub notes: Notes,
}

impl Attached {
    /// Notes entries of the list of what refers to `subject` that name nothing.
    fn lacks(&mut self, subject: &Digest, nameless: u64) {
        if nameless > 0 {
            let what = format!("{nameless} entries of the list of its referrers");
            let why = "they have no digest, so that nobody can tell what they name";
            self.notes.missing(subject, &what, why);
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.direct.is_none() && self.tagged.is_empty()
    }
}

/// Asks for all that is attached to `subject`. What cannot be had is noted and no error, if it is the registry's doing.
pub(in crate::mirror) async fn find(
    registry: &Registry,
    subject: &Digest,
    most: usize,
    budget: &Budget,
) -> Result<Attached, MirrorError> {
    let mut found = Attached::default();
    match registry.referrers(subject, most, budget).await? {
        Listing::Found {
            referrers,
            nameless,
            broken,
        } => {
            found.listed = referrers;
            found.lacks(subject, nameless);
            if let Some(why) = broken {
                found
                    .notes
                    .missing(subject, "the rest of its referrers", &why);
            }
        }
        Listing::NoApi => fallback(registry, subject, most, None, &mut found).await?,
        Listing::Unusable(why) => {
            fallback(registry, subject, most, Some(&why), &mut found).await?;
        }
    }
    for ending in COSIGN {
        let tag = fallback_tag(subject, ending)?;
        match registry.attached(&Reference::Tag(tag.clone())).await {
            // Some registries answer any such tag with the manifest that it is made of.
            Ok(Some(manifest)) if manifest.digest != *subject => {
                found.tagged.push((tag, manifest));
            }
            Ok(_) => {}
            Err(error) => found
                .notes
                .missing(subject, &format!("the tag {tag}"), &reason(error)?),
        }
    }
    Ok(found)
}

/// Reads the tag that stands in for the referrers API. `api` is why that could not be used, if it may be there.
async fn fallback(
    registry: &Registry,
    subject: &Digest,
    most: usize,
    api: Option<&str>,
    found: &mut Attached,
) -> Result<(), MirrorError> {
    let tag = fallback_tag(subject, "")?;
    let lacks = |found: &mut Attached, why: &str| {
        found
            .notes
            .missing(subject, "the list of its referrers", why);
    };
    let read = match registry.attached_list(&Reference::Tag(tag.clone())).await {
        Ok(read) => read,
        Err(error) => {
            let why = format!("the tag {tag}: {}", reason(error)?);
            let why = api.map_or_else(|| why.clone(), |api| format!("{api}; {why}"));
            lacks(found, &why);
            return Ok(());
        }
    };
    if let Some(manifest) = read.filter(|manifest| manifest.digest != *subject) {
        if manifest.subject() == Some(*subject) {
            let digest = manifest.digest;
            found.notes.warn(&format!(
                "the tag {tag} should list what refers to {subject}; it is {digest}, which refers to it, and the others are not known there"
            ));
            found.direct = Some(manifest);
            return Ok(());
        }
        match Referrers::parse(subject, &manifest.bytes, most) {
            Ok(list) if list.is_list => {
                registry.keeps_tags.store(true, Ordering::Relaxed);
                found.listed = list.listed;
                found.lacks(subject, list.nameless);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => {
                lacks(found, &format!("the tag {tag}: {}", reason(error)?));
                return Ok(());
            }
        }
        found.notes.warn(&format!(
            "the tag {tag} should list what refers to {subject}; it is {}, which has nothing to do with it",
            manifest.digest
        ));
    }
    if let Some(why) = api {
        found.notes.unlisted(subject, why);
    }
    Ok(())
}

impl Registry {
    /// The manifests that name `digest` as their subject, with the sizes that the list gives, from the referrers API
    /// (distribution-spec, "Listing Referrers"). At most `most`.
    async fn referrers(
        &self,
        digest: &Digest,
        most: usize,
        budget: &Budget,
    ) -> Result<Listing, MirrorError> {
        if self.no_referrers.load(Ordering::Relaxed) {
            return Ok(Listing::NoApi);
        }
        let mut target = self.path(&format!("referrers/{digest}"));
        let mut found = Read::default();
        let mut first = true;
        loop {
            let most = most.saturating_sub(found.0.len());
            let page = self.page(digest, &target, most, budget).await?;
            let (listed, next) = match page {
                Page::Listed(listed, next) => (listed, next),
                Page::NoApi if first => {
                    self.no_referrers.store(true, Ordering::Relaxed);
                    return Ok(Listing::NoApi);
                }
                Page::Unusable(why) if first => return Ok(Listing::Unusable(why)),
                Page::NoApi => {
                    return Ok(Listing::broken(found, "a page of the list is not there"));
                }
                Page::Unusable(why) => return Ok(Listing::broken(found, &why)),
            };
            first = false;
            found.0.extend(listed.0);
            found.1 += listed.1;
            let Ok(next) = next else {
                return Ok(Listing::broken(
                    found,
                    "its Link header, which leads to the rest, cannot be read",
                ));
            };
            match next {
                Some(_) if self.pages.fetch_add(1, Ordering::Relaxed) >= PAGES_MAX => {
                    return Ok(Listing::broken(found, "the list does not end"));
                }
                Some(next) => target = next,
                None => {
                    return Ok(Listing::Found {
                        referrers: found.0,
                        nameless: found.1,
                        broken: None,
                    });
                }
            }
        }
    }

    async fn page(
        &self,
        digest: &Digest,
        target: &str,
        most: usize,
        budget: &Budget,
    ) -> Result<Page, MirrorError> {
        let client = self.attached_client();
        let limit = 2 * MANIFEST_MAX;
        let reply = client.get(target, MediaType::OCI_INDEX, &self.scope, limit);
        let reply = match reply.await {
            Ok(reply) => reply,
            Err(error) => {
                let error = error.into();
                self.tire(&error);
                return Ok(Page::Unusable(reason(error)?));
            }
        };
        // What registries without the API answer, or what stands in front of them. Who refuses (401, 403) may have a list.
        if matches!(reply.status, 400 | 404 | 405 | 406 | 410 | 415 | 422 | 501) {
            return Ok(Page::NoApi);
        }
        let reply = match reply.check() {
            Ok(reply) => reply,
            Err(error) => return Ok(Page::Unusable(error.reason())),
        };
        budget.page(reply.body.len() as u64)?;
        if let Some(coding) = reply.coding()
            && !is_json(&reply.body)
        {
            let why = format!("it answers coded as {coding}, which was not asked for");
            return Ok(Page::Unusable(why));
        }
        let is_index = is_index(reply.header("content-type"));
        let body = &reply.body;
        // Of another form: who sends it may well have a list.
        let other = Other::of(body);
        match Referrers::parse(digest, body, most) {
            Ok(_) if !other.errors.is_empty() => {
                Ok(Page::Unusable("it answers with errors".into()))
            }
            // Any object can be read as a list of none.
            Ok(list) if is_index || list.is_list => {
                let read = (list.listed, list.nameless);
                Ok(Page::Listed(read, next_page(&reply)))
            }
            Ok(_) if other.referrers.is_some() => Ok(Page::Unusable(
                "its list has the form of before the specification".into(),
            )),
            Err(error) if is_index || body.is_empty() || is_json(body) => {
                Ok(Page::Unusable(reason(error)?))
            }
            _ => Ok(Page::NoApi),
        }
    }
}

fn is_index(content_type: Option<&str>) -> bool {
    let essence = content_type.unwrap_or_default().split(';').next();
    essence.is_some_and(|t| t.trim().eq_ignore_ascii_case(MediaType::OCI_INDEX))
}

/// Fields of answers that are no list.
#[derive(Default, serde::Deserialize)]
struct Other {
    #[serde(default)]
    errors: Vec<IgnoredAny>,
    referrers: Option<IgnoredAny>,
}

impl Other {
    fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// Whether it looks like JSON, and not like a page for people.
fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The URL of the list's next page: the path and query of its `Link`, at where the answer came from. A list goes on where it
/// began, so no other registry, and no address of this machine, is asked for it.
fn next_page(reply: &SmallAnswer) -> Result<Option<String>, link::Unreadable> {
    let lines = reply.headers.get_all("link").into_iter();
    let Some(target) = link::next(lines.map(HeaderValue::as_bytes))? else {
        return Ok(None);
    };
    let next = reply.url.join(&target).map_err(|_| link::Unreadable)?;
    let mut url = reply.url.clone();
    url.set_path(next.path());
    url.set_query(next.query());
    Ok(Some(url.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn pages() {
        let mut reply = SmallAnswer {
            status: 200,
            headers: crate::fetch::header::HeaderMap::new(),
            body: Bytes::new(),
            coded: None,
            url: "https://r.example/v2/a/referrers/x".parse().expect("url"),
        };
        assert_eq!(next_page(&reply), Ok(None));
        reply.headers.insert(
            "link",
            "</v2/a/referrers/x?last=1>; rel=\"next\""
                .parse()
                .expect("value"),
        );
        assert_eq!(
            next_page(&reply),
            Ok(Some("https://r.example/v2/a/referrers/x?last=1".into()))
        );
        for elsewhere in [
            "<http://127.0.0.1/v2/a/referrers/x?last=1>; rel=\"next\"",
            "<//other.example/v2/a/referrers/x?last=1>; rel=next",
        ] {
            let value = elsewhere.parse().expect("value");
            reply.headers.insert("link", value);
            assert_eq!(
                next_page(&reply),
                Ok(Some("https://r.example/v2/a/referrers/x?last=1".into()))
            );
        }
    }
}
