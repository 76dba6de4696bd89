//! What belongs to an image: its closure over indexes, referrers and cosign's tags, with the blobs they name.

use super::MirrorError;
use super::attached::{self, Attached};
use super::budget::{self, Budget};
use super::closure::{Content, Plan, Planned};
use super::document::{Descriptor, Document};
use super::evidence::{Notes, reason};
use super::oci::{Fetched, MANIFEST_MAX, Registry};
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
/// Why a manifest is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It was asked for, or is part of what was: it must be had.
    Asked,
    /// It is part of what is attached to this manifest.
    Part(Digest),
    /// It is said to refer to this manifest.
    Refers(Digest),
    /// It lies under a tag that cosign makes of this manifest's digest.
    Tagged(Digest),
}

impl Role {
    /// What it is attached to, directly or as a part.
    fn subject(self) -> Option<Digest> {
        match self {
            Self::Asked => None,
            Self::Part(subject) | Self::Refers(subject) | Self::Tagged(subject) => Some(subject),
        }
    }

    /// Of what a manifest in this role has as its parts.
    fn of_parts(self) -> Self {
        self.subject().map_or(Self::Asked, Self::Part)
    }
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
    role: Role,
    /// It is the image of one of several platforms.
    of_platform: bool,
}

impl Want {
    /// One of which nothing is said about its size.
    fn new(digest: Digest, depth: usize, role: Role) -> Self {
        Self {
            digest,
            size: None,
            claim: 0,
            depth,
            role,
            of_platform: false,
        }
    }
}

/// What one manifest leads to.
struct Visit {
    want: Want,
    fetched: Fetched,
    /// How many blobs it names.
    blobs: usize,
    children: Vec<Want>,
    attached: Attached,
}

/// What became of one that was wanted.
enum Visited {
    Whole(Box<Visit>),
    /// It is attached, and cannot be had.
    Lacking(Want, String),
    /// It was listed as a referrer of a manifest, and is none.
    NoReferrer(Digest, Digest),
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
    walk.wants(vec![Want::new(digest, 0, Role::Asked)]);
    walk.known.insert(digest, root);
    loop {
        while !walk.level.is_empty() {
            visit_level(registry, wanted, &mut walk, &budget).await?;
        }
        // What is part of the image may have been met as something attached first, and not been had.
        walk.level = walk.unmet(digest);
        if walk.level.is_empty() {
            walk.notes.settle(
                registry
                    .keeps_tags
                    .load(std::sync::atomic::Ordering::Relaxed),
            );
            return walk.finish(digest);
        }
    }
}

/// Visits what is wanted, a few at once; what that leads to is the next level.
async fn visit_level(
    registry: &Registry,
    wanted: &[Wanted],
    walk: &mut Walk,
    budget: &Budget,
) -> Result<(), MirrorError> {
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
            running.push_back(visited(registry, wanted, known, want, budget));
        }
        match running.next().await {
            Some(visited) => walk.take(visited?, budget)?,
            None => return Ok(()),
        }
    }
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

/// A manifest that was had.
struct Found {
    fetched: Fetched,
    /// Its parts.
    edges: Vec<Digest>,
    /// What it was attached to where it was met first.
    of: Option<Digest>,
}

/// All that has been met.
#[derive(Default)]
struct Walk {
    seen: HashSet<Digest>,
    order: Vec<Digest>,
    found: HashMap<Digest, Found>,
    /// The next level, and what of it came already.
    level: Vec<Want>,
    known: HashMap<Digest, Fetched>,
    tags: Vec<(Tag, Digest)>,
    /// What is attached and could not be had, and why.
    lacking: HashMap<Digest, String>,
    notes: Notes,
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

    fn take(&mut self, visited: Visited, budget: &Budget) -> Result<(), MirrorError> {
        let visit = match visited {
            Visited::Whole(visit) => *visit,
            Visited::Lacking(want, why) => {
                self.lacks(&want, &why);
                return Ok(());
            }
            Visited::NoReferrer(digest, of) => {
                self.notes.warn(&format!(
                    "{digest} is listed as referring to {of} and does not; it is left out"
                ));
                // Something else may want it for what it is.
                self.seen.remove(&digest);
                return Ok(());
            }
        };
        let Visit {
            want,
            fetched,
            blobs,
            children,
            mut attached,
        } = visit;
        let too_deep = want.depth >= DEPTH_MAX;
        if (too_deep && !children.is_empty()) || self.seen.len() > MANIFESTS_MAX {
            let text = format!(
                "what belongs to {} does not end (more than {DEPTH_MAX} levels, or {MANIFESTS_MAX} manifests)",
                fetched.digest
            );
            if want.role == Role::Asked || !too_deep {
                return Err(MirrorError::Verify(text));
            }
            self.lacks(&want, &text);
            return Ok(());
        }
        if too_deep && !attached.is_empty() {
            let why = format!("no more than {DEPTH_MAX} levels are followed");
            attached = Attached::default();
            self.notes
                .missing(&fetched.digest, "what refers to it", &why);
        }
        let edges: Vec<Digest> = children.iter().map(|w| w.digest).collect();
        let mut entries = (edges.len() + blobs) as u64;
        entries += self.wants(children) + self.wants_attached(&want, fetched.digest, attached);
        budget.keep(entries * budget::ENTRY)?;
        self.order.push(fetched.digest);
        let of = want.role.subject();
        self.found
            .insert(fetched.digest, Found { fetched, edges, of });
        Ok(())
    }

    /// Notes what is attached to a manifest; answers how much of it is new.
    fn wants_attached(&mut self, want: &Want, subject: Digest, attached: Attached) -> u64 {
        let depth = want.depth + 1;
        self.notes.join(attached.notes);
        let mut entries = 0;
        for (tag, fetched) in attached.tagged {
            let digest = fetched.digest;
            self.tags.push((tag, digest));
            entries += self.has(Want::new(digest, depth, Role::Tagged(subject)), fetched);
        }
        let refers = Role::Refers(subject);
        if let Some(fetched) = attached.direct {
            entries += self.has(Want::new(fetched.digest, depth, refers), fetched);
        }
        // What a list says of sizes is not held against it: some give none.
        let listed = attached.listed.into_iter().map(|(digest, claim)| Want {
            claim,
            ..Want::new(digest, depth, refers)
        });
        entries + self.wants(listed)
    }

    /// Notes one that came already.
    fn has(&mut self, want: Want, fetched: Fetched) -> u64 {
        let digest = want.digest;
        let new = self.wants([want]);
        if new > 0 {
            self.known.insert(digest, fetched);
        }
        new
    }

    fn lacks(&mut self, want: &Want, why: &str) {
        let subject = match want.role {
            Role::Refers(subject) | Role::Tagged(subject) => subject,
            // What it is part of is left out with it, and named then.
            Role::Asked | Role::Part(_) => {
                self.lacking.insert(want.digest, why.to_owned());
                return;
            }
        };
        self.notes.missing(&subject, &want.digest.to_string(), why);
        self.lacking.insert(want.digest, why.to_owned());
    }

    /// The manifests of the image itself: what the root leads to as its parts.
    fn asked(&self, root: Digest) -> HashSet<Digest> {
        let (mut asked, mut next) = (HashSet::new(), vec![root]);
        while let Some(digest) = next.pop() {
            if asked.insert(digest)
                && let Some(found) = self.found.get(&digest)
            {
                next.extend(&found.edges);
            }
        }
        asked
    }

    /// Those of them that are not here.
    fn unmet(&mut self, root: Digest) -> Vec<Want> {
        let asked = self.asked(root).into_iter();
        let unmet: Vec<Digest> = asked.filter(|d| !self.found.contains_key(d)).collect();
        for digest in &unmet {
            self.lacking.remove(digest);
        }
        // Deep enough not to be taken for the root, whose platforms are chosen.
        let want = |digest| Want::new(digest, 1, Role::Asked);
        unmet.into_iter().map(want).collect()
    }

    fn finish(mut self, root: Digest) -> Result<Plan, MirrorError> {
        let asked = self.asked(root);
        let (tags, notes) = (
            std::mem::take(&mut self.tags),
            std::mem::take(&mut self.notes),
        );
        let mut lacking = std::mem::take(&mut self.lacking);
        let planned = |found: Found| Planned {
            of: found.of.filter(|_| !asked.contains(&found.fetched.digest)),
            fetched: found.fetched,
        };
        let mut plan = Plan {
            root,
            manifests: self.children_first().into_iter().map(planned).collect(),
            blobs: Vec::new(),
            tags,
            notes,
        };
        plan.leave_out(&mut lacking)?;
        let mut content = Content::default();
        let of = |attached| {
            plan.manifests
                .iter()
                .filter(move |m| m.of.is_some() == attached)
        };
        // What was asked for says which sizes are right.
        for planned in of(false).chain(of(true)) {
            for descriptor in planned.fetched.document()?.content() {
                if let Err(error) = content.add(descriptor, planned.of.is_some()) {
                    if planned.of.is_none() {
                        return Err(error);
                    }
                    let digest = descriptor.digest()?;
                    lacking.insert(
                        planned.fetched.digest,
                        format!("{digest}: {}", reason(error)?),
                    );
                }
            }
        }
        plan.blobs = content.found;
        plan.drop_those(&lacking);
        plan.leave_out(&mut lacking)?;
        Ok(plan)
    }

    /// Each manifest after those that it names. A cycle, which only a forged digest could make, ends where it closes.
    fn children_first(mut self) -> Vec<Found> {
        let mut sorted = Vec::with_capacity(self.order.len());
        let mut entered = HashSet::new();
        let mut stack: Vec<(Digest, bool)> = self.order.iter().rev().map(|d| (*d, false)).collect();
        while let Some((digest, done)) = stack.pop() {
            if done {
                sorted.extend(self.found.remove(&digest));
            } else if entered.insert(digest) {
                stack.push((digest, true));
                let edges = self
                    .found
                    .get(&digest)
                    .map(|found| found.edges.as_slice())
                    .unwrap_or_default();
                stack.extend(edges.iter().rev().map(|d| (*d, false)));
            }
        }
        sorted
    }
}

/// Visits a manifest; one that is only attached may be lacking.
async fn visited(
    registry: &Registry,
    wanted: &[Wanted],
    known: Option<Fetched>,
    want: Want,
    budget: &Budget,
) -> Result<Visited, MirrorError> {
    let visit = visit(registry, wanted, known, &want, budget).await;
    match visit {
        Ok(visited) => Ok(visited),
        Err(error) if want.role == Role::Asked => Err(error),
        Err(error) => Ok(Visited::Lacking(want, reason(error)?)),
    }
}

async fn visit(
    registry: &Registry,
    wanted: &[Wanted],
    known: Option<Fetched>,
    want: &Want,
    budget: &Budget,
) -> Result<Visited, MirrorError> {
    let fetched = match known {
        Some(fetched) => fetched,
        None => fetch(registry, &Reference::Digest(want.digest), budget)
            .await?
            .ok_or_else(|| missing(registry, want))?,
    };
    if let Some(size) = want.size.filter(|size| *size != fetched.bytes.len() as u64) {
        let text = format!(
            "manifest {} has {} bytes, its index says {size}",
            want.digest,
            fetched.bytes.len()
        );
        return Err(MirrorError::Verify(text));
    }
    let inspected = fetched.inspect()?;
    if let Role::Refers(subject) = want.role
        && inspected.subject != Some(subject)
    {
        return Ok(Visited::NoReferrer(want.digest, subject));
    }
    let document = fetched.document()?;
    let children = children(&document, wanted, want)?;
    let blobs = document.content().map(Descriptor::digest);
    let blobs = blobs.collect::<Result<Vec<_>, _>>()?.len();
    drop(document);
    let attached = attached::find(registry, &fetched.digest, MANIFESTS_MAX, budget).await?;
    Ok(Visited::Whole(Box::new(Visit {
        want: want.clone(),
        fetched,
        blobs,
        children,
        attached,
    })))
}

fn missing(registry: &Registry, want: &Want) -> MirrorError {
    let host = registry.source().registry();
    let what = match want.role {
        Role::Asked => "which belongs to this image",
        Role::Part(_) | Role::Refers(_) | Role::Tagged(_) => "which is attached to this image",
    };
    // Only that of one platform can be done without.
    let advice = if want.of_platform {
        "; choose the platforms that it has with --platform"
    } else {
        ""
    };
    MirrorError::NotFound(format!(
        "{host} does not have manifest {}, {what}{advice}",
        want.digest
    ))
}

fn children(
    document: &Document,
    wanted: &[Wanted],
    parent: &Want,
) -> Result<Vec<Want>, MirrorError> {
    let depth = parent.depth + 1;
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
            size: Some(d.size),
            claim: d.size,
            of_platform: wanted.is_empty() && list.len() > 1 && d.platform.is_some(),
            ..Want::new(d.digest()?, depth, parent.role.of_parts())
        })
    };
    chosen.into_iter().map(want).collect()
}
