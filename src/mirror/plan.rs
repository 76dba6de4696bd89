//! What belongs to an image: its closure over indexes, referrers and cosign's tags, with the blobs they name.

use super::MirrorError;
use super::document::{Descriptor, Document};
use super::oci::{Fetched, Registry, fallback_tag};
use super::platform::{self, Wanted};
use crate::types::{Digest, Reference, Tag};
use futures_util::stream::{self, StreamExt as _};
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
    size: Option<u64>,
    depth: usize,
}

/// What one manifest leads to.
struct Visit {
    fetched: Fetched,
    /// Of what it leads to.
    depth: usize,
    children: Vec<Want>,
    referrers: Vec<Want>,
    cosign: Vec<(Tag, Fetched)>,
}

/// Resolves the source and walks its closure, level by level.
pub(super) async fn make(registry: &Registry, wanted: &[Wanted]) -> Result<Plan, MirrorError> {
    let source = registry.source();
    let reference = source.reference()?;
    let root = registry.manifest(&reference).await?.ok_or_else(|| {
        MirrorError::NotFound(format!(
            "{} has no {reference} in {}",
            source.registry(),
            source.name()
        ))
    })?;
    let mut plan = Plan {
        root: root.digest,
        manifests: Vec::new(),
        blobs: Vec::new(),
        tags: Vec::new(),
    };
    plan.tags
        .extend(source.tag().map(|tag| (tag.clone(), root.digest)));
    let mut walk = Walk::default();
    let mut level = vec![Want {
        digest: root.digest,
        size: None,
        depth: 0,
    }];
    walk.seen.insert(root.digest);
    let mut known: HashMap<Digest, Fetched> = HashMap::from([(root.digest, root)]);
    while !level.is_empty() {
        let visits = level
            .drain(..)
            .map(|want| visit(registry, wanted, known.remove(&want.digest), want));
        let visits: Vec<_> = stream::iter(visits.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .collect()
            .await;
        for found in visits {
            walk.take(found?, &mut level, &mut known, &mut plan.tags)?;
        }
    }
    plan.blobs = blobs(
        walk.order
            .iter()
            .filter_map(|d| walk.found.get(d))
            .map(|(f, _)| f),
    )?;
    plan.manifests = walk.children_first();
    Ok(plan)
}

/// All that has been met.
#[derive(Default)]
struct Walk {
    seen: HashSet<Digest>,
    order: Vec<Digest>,
    found: HashMap<Digest, (Fetched, Vec<Digest>)>,
}

impl Walk {
    fn take(
        &mut self,
        visit: Visit,
        level: &mut Vec<Want>,
        known: &mut HashMap<Digest, Fetched>,
        tags: &mut Vec<(Tag, Digest)>,
    ) -> Result<(), MirrorError> {
        let depth = visit.depth;
        let leads_on =
            !(visit.children.is_empty() && visit.referrers.is_empty() && visit.cosign.is_empty());
        if (leads_on && depth > DEPTH_MAX) || self.seen.len() > MANIFESTS_MAX {
            let text = format!(
                "what belongs to {} does not end (more than {DEPTH_MAX} levels)",
                visit.fetched.digest
            );
            return Err(MirrorError::Verify(text));
        }
        let edges = visit.children.iter().map(|w| w.digest).collect();
        for (tag, fetched) in visit.cosign {
            tags.push((tag, fetched.digest));
            if self.seen.insert(fetched.digest) {
                level.push(Want {
                    digest: fetched.digest,
                    size: None,
                    depth,
                });
                known.insert(fetched.digest, fetched);
            }
        }
        for want in visit.children.into_iter().chain(visit.referrers) {
            if self.seen.insert(want.digest) {
                level.push(want);
            }
        }
        self.order.push(visit.fetched.digest);
        self.found
            .insert(visit.fetched.digest, (visit.fetched, edges));
        Ok(())
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
) -> Result<Visit, MirrorError> {
    let fetched = match known {
        Some(fetched) => fetched,
        None => registry
            .manifest(&Reference::Digest(want.digest))
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
    let children = children(&fetched.document, wanted, depth)?;
    let mut referrers = Vec::new();
    for descriptor in registry.referrers(&fetched.digest).await? {
        referrers.push(Want {
            digest: descriptor.digest()?,
            size: None,
            depth,
        });
    }
    let mut cosign = Vec::new();
    for ending in COSIGN {
        let tag = fallback_tag(&fetched.digest, ending)?;
        let reference = Reference::Tag(tag.clone());
        if registry.has_manifest(&reference).await?
            && let Some(found) = registry.manifest(&reference).await?
        {
            cosign.push((tag, found));
        }
    }
    Ok(Visit {
        fetched,
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
            depth,
        })
    };
    chosen.into_iter().map(want).collect()
}

fn blobs<'a>(
    manifests: impl Iterator<Item = &'a Fetched>,
) -> Result<Vec<PlannedBlob>, MirrorError> {
    let mut found: Vec<PlannedBlob> = Vec::new();
    let mut bytes: u64 = 0;
    let mut at: HashMap<Digest, usize> = HashMap::new();
    for descriptor in manifests.flat_map(|fetched| fetched.document.content()) {
        let (digest, size) = (descriptor.digest()?, descriptor.size);
        let optional = descriptor.is_nondistributable();
        if let Some(blob) = at.get(&digest).and_then(|at| found.get_mut(*at)) {
            if blob.size != size {
                return Err(MirrorError::Verify(format!(
                    "the source gives blob {digest} two sizes"
                )));
            }
            blob.optional &= optional;
            continue;
        }
        // Sizes are claims until the bytes have come; what follows adds them up.
        bytes = bytes
            .checked_add(size)
            .filter(|bytes| *bytes <= BYTES_MAX)
            .ok_or_else(|| {
                MirrorError::Verify(format!(
                    "the source claims {size} bytes for blob {digest}, which makes more in all than any disk holds"
                ))
            })?;
        at.insert(digest, found.len());
        found.push(PlannedBlob {
            digest,
            size,
            optional,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Algorithm, MediaType};

    fn claiming(sizes: &[u64]) -> Result<Vec<PlannedBlob>, MirrorError> {
        let layer = |(n, size): (usize, &u64)| {
            let digest = Digest::of(Algorithm::Sha256, &[n as u8]);
            format!(r#"{{"digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<String> = sizes.iter().enumerate().map(layer).collect();
        let body = format!(r#"{{"layers":[{}]}}"#, layers.join(","));
        let digest = Digest::of(Algorithm::Sha256, body.as_bytes());
        let fetched = Fetched {
            digest,
            media_type: MediaType::OCI_MANIFEST.parse().expect("type"),
            document: Document::parse(&digest, body.as_bytes()).expect("manifest"),
            bytes: body.into(),
        };
        blobs([&fetched].into_iter())
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
