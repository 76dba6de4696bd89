//! What belongs to an image: its closure over indexes, referrers and cosign's tags, with the blobs they name.

use super::attached::Attached;
use super::budget::{self, Budget};
use super::platform::{Choice, Met};
use super::visit::{Visit, Visited, Want, WantedAs, fetch, kept, visited};
use crate::mirror::MirrorError;
use crate::mirror::closure::{Plan, Planned, PlannedBlobs};
use crate::mirror::evidence::{Notes, reason};
use crate::mirror::oci::{Fetched, MANIFEST_MAX, Registry};
use crate::types::{Digest, Tag};
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use std::collections::{HashMap, HashSet};

/// Indexes in indexes, and referrers of referrers, are followed this deep.
const DEPTH_MAX: usize = 16;
/// An image with more manifests than this is not one.
const MANIFESTS_MAX: usize = 20_000;
/// Manifests asked for at once.
const AT_ONCE: usize = 4;

/// Resolves the source and walks its closure, level by level. What it keeps on the way is at most `memory` bytes.
pub(in crate::mirror) async fn make(
    registry: &Registry,
    choice: &Choice,
    memory: u64,
) -> Result<Plan, MirrorError> {
    let (source, budget) = (registry.source(), Budget::new(memory));
    let reference = source.reference()?;
    let root = fetch(registry, &reference, WantedAs::Asked, &budget)
        .await?
        .ok_or_else(|| {
            MirrorError::NotFound(format!(
                "{} has no {reference} in {}",
                source.registry(),
                source.name()
            ))
        })?;
    let digest = root.digest;
    let mut walk = Walk::new(source.tag().map(|tag| (tag.clone(), digest)));
    walk.wants(vec![Want::new(digest, 0, WantedAs::Asked)]);
    walk.known.insert(digest, root);
    loop {
        while !walk.level.is_empty() {
            visit_level(registry, choice, &mut walk, &budget).await?;
        }
        // What is part of the image may have been met as something attached first, and not been had.
        walk.level = walk.unmet(digest);
        if walk.level.is_empty() {
            if let Some(text) = choice.judge(&walk.met)? {
                walk.notes.warn(&text);
            }
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
    choice: &Choice,
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
            running.push_back(visited(registry, choice, known, want, budget));
        }
        match running.next().await {
            Some(visited) => walk.take(visited?, budget)?,
            None => return Ok(()),
        }
    }
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
    /// What stands among manifests, or is said to be one, and is a blob.
    blobs: HashSet<Digest>,
    /// Parts of the image that were not asked for.
    unwanted: HashSet<Digest>,
    met: Met,
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

    /// Takes in what became of one that was wanted.
    fn take(&mut self, visited: Visited, budget: &Budget) -> Result<(), MirrorError> {
        match visited {
            Visited::Whole(visit) => return self.take_whole(*visit, budget),
            Visited::NotWanted(digest, met) => {
                self.met.join(met);
                self.unwanted.insert(digest);
            }
            Visited::Blob(digest, odd) => {
                if let Some(text) = odd {
                    self.notes.warn(&text);
                }
                self.blobs.insert(digest);
            }
            Visited::Lacking(want, why) => self.lacks(&want, &why),
            Visited::NoReferrer(digest, of) => {
                self.notes.warn(&format!(
                    "{digest} is listed as referring to {of} and does not; it is left out"
                ));
                // Something else may want it for what it is.
                self.seen.remove(&digest);
            }
        }
        Ok(())
    }

    /// Takes in a manifest, with what it leads to.
    fn take_whole(&mut self, visit: Visit, budget: &Budget) -> Result<(), MirrorError> {
        let Visit {
            want,
            fetched,
            blobs,
            data,
            children,
            met,
            mut attached,
        } = visit;
        self.met.join(met);
        let too_deep = want.depth >= DEPTH_MAX;
        if (too_deep && !children.is_empty()) || self.seen.len() > MANIFESTS_MAX {
            let text = format!(
                "what belongs to {} does not end (more than {DEPTH_MAX} levels, or {MANIFESTS_MAX} manifests)",
                fetched.digest
            );
            if want.role == WantedAs::Asked || !too_deep {
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
        let inline = children.iter().filter_map(|child| child.inline.as_ref());
        budget.keep(data + inline.map(|bytes| bytes.len() as u64).sum::<u64>())?;
        let mut entries = (edges.len() + blobs) as u64;
        entries += self.wants(children);
        entries += self.wants_attached(&want, fetched.digest, attached, budget)?;
        budget.keep(entries * budget::ENTRY)?;
        self.order.push(fetched.digest);
        let of = want.role.subject();
        self.found
            .insert(fetched.digest, Found { fetched, edges, of });
        Ok(())
    }

    /// Notes what is attached to a manifest; answers how much of it is new.
    fn wants_attached(
        &mut self,
        want: &Want,
        subject: Digest,
        attached: Attached,
        budget: &Budget,
    ) -> Result<u64, MirrorError> {
        let depth = want.depth + 1;
        self.notes.join(attached.notes);
        let mut entries = 0;
        for (tag, fetched) in attached.tagged {
            let digest = fetched.digest;
            self.tags.push((tag, digest));
            let tagged = WantedAs::Tagged(subject);
            entries += self.has(Want::new(digest, depth, tagged), fetched, budget)?;
        }
        let refers = WantedAs::Refers(subject);
        if let Some(fetched) = attached.direct {
            let want = Want::new(fetched.digest, depth, refers);
            entries += self.has(want, fetched, budget)?;
        }
        // What a list says of sizes is not held against it: some give none.
        let listed = attached.listed.into_iter().map(|(digest, claim)| Want {
            claim,
            ..Want::new(digest, depth, refers)
        });
        Ok(entries + self.wants(listed))
    }

    /// Notes one that came already.
    fn has(&mut self, want: Want, fetched: Fetched, budget: &Budget) -> Result<u64, MirrorError> {
        let digest = want.digest;
        let new = self.wants([want]);
        if new > 0 {
            self.known.insert(digest, kept(fetched, budget)?);
        }
        Ok(new)
    }

    fn lacks(&mut self, want: &Want, why: &str) {
        let subject = match want.role {
            WantedAs::Refers(subject) | WantedAs::Tagged(subject) => subject,
            // What it is part of is left out with it, and named then.
            WantedAs::Asked | WantedAs::Part(_) => {
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
        let unmet: Vec<Digest> = asked
            .filter(|d| {
                let is_met = self.found.contains_key(d) || self.blobs.contains(d);
                !is_met && !self.unwanted.contains(d)
            })
            .collect();
        for digest in &unmet {
            self.lacking.remove(digest);
        }
        // Deep enough not to be taken for the root, whose platforms are chosen.
        let want = |digest| Want::new(digest, 1, WantedAs::Asked);
        unmet.into_iter().map(want).collect()
    }

    fn finish(mut self, root: Digest) -> Result<Plan, MirrorError> {
        let asked = self.asked(root);
        let (tags, notes) = (
            std::mem::take(&mut self.tags),
            std::mem::take(&mut self.notes),
        );
        let mut lacking = std::mem::take(&mut self.lacking);
        let blobs = std::mem::take(&mut self.blobs);
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
        let mut content = PlannedBlobs::default();
        let of = |attached| {
            plan.manifests
                .iter()
                .filter(move |m| m.of.is_some() == attached)
        };
        // What was asked for says which sizes are right.
        for planned in of(false).chain(of(true)) {
            for descriptor in planned.fetched.document()?.blobs(|d| blobs.contains(d)) {
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
