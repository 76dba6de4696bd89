//! What belongs to an image: its closure over indexes, referrers and cosign's tags, with the blobs they name.

use super::MirrorError;
use super::budget::{self, Budget};
use super::document::{Descriptor, Document};
use super::oci::{Fetched, MANIFEST_MAX, Registry, fallback_tag};
use super::platform::{self, Wanted};
use crate::types::{Digest, Reference, Tag};
use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use std::collections::{HashMap, HashSet};

/// Indexes in indexes, and referrers of referrers, are followed this deep.
const DEPTH_MAX: usize = 16;
/// An image with more manifests than this is not one.
const MANIFESTS_MAX: usize = 20_000;
/// Manifests asked for at once.
const AT_ONCE: usize = 4;
/// The blobs of an image cannot be more bytes than this, the most that a size may be (image-spec: a signed 64-bit number).
const BYTES_MAX: u64 = i64::MAX as u64;
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

/// A blob to copy.
#[derive(Debug, Clone)]
pub(super) struct PlannedBlob {
    pub digest: Digest,
    pub size: u64,
    /// The source may not give it away; then it is left out.
    pub optional: bool,
}

/// The closure, ready to be copied.
#[derive(Debug)]
pub(super) struct Plan {
    pub root: Digest,
    /// Children before what names them.
    pub manifests: Vec<Fetched>,
    pub blobs: Vec<PlannedBlob>,
    pub tags: Vec<(Tag, Digest)>,
}

/// One manifest to get, and why.
#[derive(Debug, Clone)]
struct Want {
    digest: Digest,
    /// What it must have.
    size: Option<u64>,
    /// What it is said to have.
    claim: u64,
    depth: usize,
}

/// What one manifest leads to.
struct Visit {
    fetched: Fetched,
    document: Document,
    /// Of what it leads to.
    depth: usize,
    children: Vec<Want>,
    referrers: Vec<Want>,
    cosign: Vec<(Tag, Fetched)>,
}

/// Resolves the source and walks its closure, level by level. What it keeps on the way is at most `memory` bytes.
pub(super) async fn make(
    registry: &Registry,
    wanted: &[Wanted],
    memory: u64,
) -> Result<Plan, MirrorError> {
    let (source, budget) = (registry.source(), Budget::new(memory));
    let reference = source.reference()?;
    let root = fetch(registry, &reference, &budget).await?.ok_or_else(|| {
        MirrorError::NotFound(format!(
            "{} has no {reference} in {}",
            source.registry(),
            source.name()
        ))
    })?;
    let digest = root.digest;
    let mut walk = Walk::new(source.tag().map(|tag| (tag.clone(), digest)));
    walk.wants(vec![Want {
        digest,
        size: None,
        claim: 0,
        depth: 0,
    }]);
    walk.known.insert(digest, root);
    while !walk.level.is_empty() {
        let level = std::mem::take(&mut walk.level);
        // Those that are known were counted when they came.
        let more = level
            .iter()
            .filter(|want| !walk.known.contains_key(&want.digest));
        budget.coming(
            more.map(|want| want.claim.min(MANIFEST_MAX) + budget::MANIFEST)
                .sum(),
        )?;
        let mut left = level.into_iter();
        let mut running = FuturesOrdered::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(want) = left.next()
            {
                let known = walk.known.remove(&want.digest);
                running.push_back(visit(registry, wanted, known, want, &budget));
            }
            match running.next().await {
                Some(visit) => walk.take(visit?, &budget)?,
                None => break,
            }
        }
    }
    Ok(walk.finish(digest))
}

/// A manifest, counted.
async fn fetch(
    registry: &Registry,
    reference: &Reference,
    budget: &Budget,
) -> Result<Option<Fetched>, MirrorError> {
    let mut fetched = registry.manifest(reference).await?;
    if let Some(fetched) = &mut fetched {
        budget.keep(fetched.bytes.len() as u64 + budget::MANIFEST)?;
        // What was read may have room for twice as much.
        fetched.bytes = Bytes::copy_from_slice(&fetched.bytes);
    }
    Ok(fetched)
}

/// All that has been met.
#[derive(Default)]
struct Walk {
    seen: HashSet<Digest>,
    order: Vec<Digest>,
    found: HashMap<Digest, (Fetched, Vec<Digest>)>,
    /// The next level, and what of it came already.
    level: Vec<Want>,
    known: HashMap<Digest, Fetched>,
    tags: Vec<(Tag, Digest)>,
    blobs: Content,
}

impl Walk {
    fn new(tag: Option<(Tag, Digest)>) -> Self {
        Self {
            tags: tag.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Notes those that were not met before for the next level; answers how many.
    fn wants(&mut self, wants: impl IntoIterator<Item = Want>) -> u64 {
        let before = self.level.len();
        for want in wants {
            if self.seen.insert(want.digest) {
                self.level.push(want);
            }
        }
        (self.level.len() - before) as u64
    }

    fn take(&mut self, visit: Visit, budget: &Budget) -> Result<(), MirrorError> {
        let Visit {
            fetched,
            document,
            depth,
            children,
            referrers,
            cosign,
        } = visit;
        let leads_on = !(children.is_empty() && referrers.is_empty() && cosign.is_empty());
        if (leads_on && depth > DEPTH_MAX) || self.seen.len() > MANIFESTS_MAX {
            let text = format!(
                "what belongs to {} does not end (more than {DEPTH_MAX} levels, or {MANIFESTS_MAX} manifests)",
                fetched.digest
            );
            return Err(MirrorError::Verify(text));
        }
        let edges: Vec<Digest> = children.iter().map(|w| w.digest).collect();
        for (tag, fetched) in cosign {
            let digest = fetched.digest;
            self.tags.push((tag, digest));
            let want = Want {
                digest,
                size: None,
                claim: 0,
                depth,
            };
            if self.wants([want]) > 0 {
                self.known.insert(digest, fetched);
            }
        }
        let mut entries = edges.len() as u64;
        entries += self.wants(children.into_iter().chain(referrers));
        for descriptor in document.content() {
            entries += u64::from(self.blobs.add(descriptor)?);
        }
        budget.keep(entries * budget::ENTRY)?;
        self.order.push(fetched.digest);
        self.found.insert(fetched.digest, (fetched, edges));
        Ok(())
    }

    fn finish(mut self, root: Digest) -> Plan {
        Plan {
            root,
            blobs: std::mem::take(&mut self.blobs.found),
            tags: std::mem::take(&mut self.tags),
            manifests: self.children_first(),
        }
    }

    /// Each manifest after those that it names. A cycle, which only a forged digest could make, ends where it closes.
    fn children_first(mut self) -> Vec<Fetched> {
        let mut sorted = Vec::with_capacity(self.order.len());
        let mut entered = HashSet::new();
        let mut stack: Vec<(Digest, bool)> = self.order.iter().rev().map(|d| (*d, false)).collect();
        while let Some((digest, done)) = stack.pop() {
            if done {
                sorted.extend(self.found.remove(&digest).map(|(fetched, _)| fetched));
            } else if entered.insert(digest) {
                stack.push((digest, true));
                let edges = self
                    .found
                    .get(&digest)
                    .map(|(_, edges)| edges.as_slice())
                    .unwrap_or_default();
                stack.extend(edges.iter().rev().map(|d| (*d, false)));
            }
        }
        sorted
    }
}

async fn visit(
    registry: &Registry,
    wanted: &[Wanted],
    known: Option<Fetched>,
    want: Want,
    budget: &Budget,
) -> Result<Visit, MirrorError> {
    let fetched = match known {
        Some(fetched) => fetched,
        None => fetch(registry, &Reference::Digest(want.digest), budget)
            .await?
            .ok_or_else(|| missing(registry, &want))?,
    };
    if let Some(size) = want.size.filter(|size| *size != fetched.bytes.len() as u64) {
        let text = format!(
            "manifest {} has {} bytes, its index says {size}",
            want.digest,
            fetched.bytes.len()
        );
        return Err(MirrorError::Verify(text));
    }
    let depth = want.depth + 1;
    let document = fetched.document()?;
    let children = children(&document, wanted, depth)?;
    // What a list says of sizes is not held against it: some give none.
    let listed = registry.referrers(&fetched.digest, MANIFESTS_MAX, budget);
    let referrer = |(digest, claim)| Want {
        digest,
        size: None,
        claim,
        depth,
    };
    let referrers = listed.await?.into_iter().map(referrer).collect();
    let mut cosign = Vec::new();
    for ending in COSIGN {
        let tag = fallback_tag(&fetched.digest, ending)?;
        let reference = Reference::Tag(tag.clone());
        if registry.has_manifest(&reference).await?
            && let Some(found) = fetch(registry, &reference, budget).await?
        {
            cosign.push((tag, found));
        }
    }
    Ok(Visit {
        fetched,
        document,
        depth,
        children,
        referrers,
        cosign,
    })
}

fn missing(registry: &Registry, want: &Want) -> MirrorError {
    let host = registry.source().registry();
    MirrorError::NotFound(format!(
        "{host} does not have manifest {}, which belongs to this image; choose the platforms that it has with --platform",
        want.digest
    ))
}

fn children(
    document: &Document,
    wanted: &[Wanted],
    depth: usize,
) -> Result<Vec<Want>, MirrorError> {
    let Some(list) = &document.manifests else {
        return Ok(Vec::new());
    };
    let chosen = platform::choose(list, wanted);
    if chosen.is_empty() && !list.is_empty() && depth == 1 {
        let text = format!(
            "this image has none of the platforms asked for; it has {}",
            platform::offered(list)
        );
        return Err(MirrorError::NotFound(text));
    }
    let want = |d: &Descriptor| {
        Ok(Want {
            digest: d.digest()?,
            size: Some(d.size),
            claim: d.size,
            depth,
        })
    };
    chosen.into_iter().map(want).collect()
}

/// The blobs of all manifests, each once.
#[derive(Default)]
struct Content {
    found: Vec<PlannedBlob>,
    at: HashMap<Digest, usize>,
    bytes: u64,
}

impl Content {
    /// Notes a blob; whether it is the first time.
    fn add(&mut self, descriptor: &Descriptor) -> Result<bool, MirrorError> {
        let (digest, size) = (descriptor.digest()?, descriptor.size);
        let optional = descriptor.is_nondistributable();
        if let Some(blob) = self.at.get(&digest).and_then(|at| self.found.get_mut(*at)) {
            if blob.size != size {
                return Err(MirrorError::Verify(format!(
                    "the source gives blob {digest} two sizes"
                )));
            }
            blob.optional &= optional;
            return Ok(false);
        }
        // Sizes are claims until the bytes have come; what follows adds them up.
        let bytes = self.bytes.checked_add(size);
        self.bytes = bytes.filter(|bytes| *bytes <= BYTES_MAX).ok_or_else(|| {
            MirrorError::Verify(format!(
                "the source claims {size} bytes for blob {digest}, which makes more in all than any disk holds"
            ))
        })?;
        self.at.insert(digest, self.found.len());
        self.found.push(PlannedBlob {
            digest,
            size,
            optional,
        });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    fn claiming(sizes: &[u64]) -> Result<Vec<PlannedBlob>, MirrorError> {
        let layer = |(n, size): (usize, &u64)| {
            let digest = Digest::of(Algorithm::Sha256, &[n as u8]);
            format!(r#"{{"digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<String> = sizes.iter().enumerate().map(layer).collect();
        let body = format!(r#"{{"layers":[{}]}}"#, layers.join(","));
        let digest = Digest::of(Algorithm::Sha256, body.as_bytes());
        let document = Document::parse(&digest, body.as_bytes()).expect("manifest");
        let mut content = Content::default();
        for descriptor in document.content() {
            content.add(descriptor)?;
        }
        Ok(content.found)
    }

    #[test]
    fn claimed_sizes_never_overflow_their_sum() {
        assert_eq!(claiming(&[1, 2]).expect("blobs").len(), 2);
        for sizes in [&[u64::MAX][..], &[BYTES_MAX, 1], &[u64::MAX, u64::MAX]] {
            let error = claiming(sizes).expect_err("refused").to_string();
            assert!(error.contains("more in all"), "{error}");
        }
    }
}
