//! Copies a plan: the blobs, four at once, then one commit.

mod transfer;

use super::closure::{Plan, Planned, PlannedBlob};
use super::evidence::reason;
use super::oci::{self, Registry};
use super::{MirrorError, MirrorProgress, MirrorReport};
use crate::blobs::Buffer;
use crate::fetch::FetchError;
use crate::formats::oci::body::Descriptor;
use crate::repo::{
    FetchedFor, Fill, PutManifest, RepoError, RepoErrorKind, Repos, Source as Provenance,
};
use crate::types::{Digest, JobId, Reference, RepoName, Tag};
use bytes::{Buf as _, Bytes};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use transfer::{Came, write};

/// Blobs under way at once.
const AT_ONCE: usize = 4;
/// Bytes gathered before each write: few hops to the blocking threads.
const PIECE: usize = 1024 * 1024;
/// How often a long run renews the leases of what it has.
const RENEW_EVERY: Duration = Duration::from_mins(10);
/// How often blobs that went meanwhile are fetched again.
const TRIES: usize = 3;
/// How the history names a mirror run.
const WHO: &str = "dryport mirror";

struct Copy<'a> {
    repos: &'a Repos,
    registry: &'a Registry,
    target: &'a RepoName,
    progress: &'a (dyn Fn(MirrorProgress) + Send + Sync),
    /// Ends the siblings too when one blob fails.
    stop: CancellationToken,
    /// Bytes of blobs that came and are kept.
    kept: AtomicU64,
}

enum Outcome {
    Copied { fetched: u64 },
    Skipped,
}

/// Copies the blobs of `plan` that are not here, then commits it whole.
pub(super) async fn run(
    repos: &Repos,
    registry: &Registry,
    (target, job): (&RepoName, Option<JobId>),
    mut plan: Plan,
    progress: &(dyn Fn(MirrorProgress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<MirrorReport, MirrorError> {
    // Fetched blobs belong to a repository; nobody sees a new one before the commit.
    let home = repos.ensure_mirror(target).await?;
    let copy = Copy {
        repos,
        registry,
        target,
        progress,
        stop: cancel.child_token(),
        kept: AtomicU64::new(0),
    };
    let mut report = MirrorReport {
        name: target.to_string(),
        tags: Vec::new(),
        digest: plan.root.to_string(),
        manifests: 0,
        blobs: 0,
        blobs_skipped: 0,
        bytes: 0,
        bytes_skipped: 0,
        missing_evidence: Vec::new(),
        missing_evidence_count: 0,
        warnings: Vec::new(),
        kept_tags: Vec::new(),
        kept_tags_count: 0,
    };
    let mut lacking = HashMap::new();
    let copied = copy.all(&plan.blobs, &mut report, &mut lacking).await;
    copied.map_err(|error| copy.begun(error))?;
    if cancel.is_cancelled() {
        return Err(MirrorError::Cancelled);
    }
    plan.leave_out(&mut lacking)?;
    let notes = std::mem::take(&mut plan.notes);
    report.manifests = plan.manifests.len() as u64;
    report.missing_evidence = notes.missing;
    report.missing_evidence_count = notes.missing_count;
    report.warnings = notes.warnings;
    let mut tags: Vec<Tag> = plan.tags.iter().map(|(tag, _)| tag.clone()).collect();
    let fetched = FetchedFor {
        home,
        job,
        who: WHO,
        only: None,
    };
    let done = repos
        .commit_closure(target, puts(registry, plan), fetched)
        .await?;
    for kept in done.into_iter().flat_map(|put| put.kept) {
        tags.retain(|tag| *tag != kept.tag);
        report.keeps(&kept);
    }
    report.tags = tags.iter().map(Tag::to_string).collect();
    progress(MirrorProgress::Committed {
        manifests: report.manifests,
        tags: report.tags.clone(),
    });
    Ok(report)
}

fn puts(registry: &Registry, plan: Plan) -> Vec<PutManifest> {
    let source = registry.source();
    let mut tags: HashMap<Digest, Vec<Tag>> = HashMap::new();
    for (tag, digest) in plan.tags {
        tags.entry(digest).or_default().push(tag);
    }
    let put = |Planned { fetched, .. }: Planned| PutManifest {
        reference: Reference::Digest(fetched.digest),
        tags: tags.remove(&fetched.digest).unwrap_or_default(),
        source: Provenance::Registry {
            registry: source.registry().to_owned(),
            name: source.name().to_string(),
            digest: fetched.digest,
        },
        media_type: Some(fetched.media_type),
        bytes: fetched.bytes,
    };
    plan.manifests.into_iter().map(put).collect()
}

impl Copy<'_> {
    /// All blobs, and that all of them are still here at the end: only a lease keeps those that came first, and a run
    /// may take longer than that.
    async fn all(
        &self,
        blobs: &[PlannedBlob],
        report: &mut MirrorReport,
        lacking: &mut HashMap<Digest, String>,
    ) -> Result<(), MirrorError> {
        {
            let fetch = self.blobs(blobs, report, lacking);
            tokio::pin!(fetch);
            loop {
                tokio::select! {
                    done = &mut fetch => break done?,
                    () = tokio::time::sleep(RENEW_EVERY) => drop(self.gone(blobs).await?),
                }
            }
        }
        for _ in 0..TRIES {
            let mut gone = self.gone(blobs).await?;
            gone.retain(|blob| !lacking.contains_key(&blob.digest));
            if gone.is_empty() {
                return Ok(());
            }
            self.blobs(&gone, report, lacking).await?;
        }
        Err(MirrorError::Collected)
    }

    /// Those that must be here and are not. The leases of the others are renewed by asking.
    async fn gone(&self, blobs: &[PlannedBlob]) -> Result<Vec<PlannedBlob>, MirrorError> {
        let mut gone = Vec::new();
        for blob in blobs.iter().filter(|blob| !blob.optional) {
            if !self.repos.has_blob(self.target, &blob.digest).await? {
                gone.push(blob.clone());
            }
        }
        Ok(gone)
    }

    /// All blobs, or the first error, after every other transfer has been put aside in good order.
    async fn blobs(
        &self,
        blobs: &[PlannedBlob],
        report: &mut MirrorReport,
        lacking: &mut HashMap<Digest, String>,
    ) -> Result<(), MirrorError> {
        let mut left = blobs.iter();
        let mut running = FuturesUnordered::new();
        let mut first: Option<MirrorError> = None;
        loop {
            while running.len() < AT_ONCE
                && let Some(blob) = left.next()
            {
                running.push(async move { (blob, self.blob(blob).await) });
            }
            let Some((blob, result)) = running.next().await else {
                break;
            };
            // What only something attached names may be lacking.
            let result = match result {
                Err(error) if blob.attached => match reason(error) {
                    Ok(why) => {
                        lacking.insert(blob.digest, why);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                result => result,
            };
            match result {
                Ok((_, Outcome::Copied { fetched })) => {
                    report.blobs += 1;
                    report.bytes += fetched;
                }
                Ok((size, Outcome::Skipped)) => {
                    report.blobs_skipped += 1;
                    report.bytes_skipped += size;
                }
                Err(error) => {
                    self.stop.cancel();
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// The error that ends the run, with what came before it.
    fn begun(&self, error: MirrorError) -> MirrorError {
        match self.kept.load(Ordering::Relaxed) {
            0 => error,
            _ if matches!(error, MirrorError::Cancelled) => error,
            bytes => MirrorError::Begun {
                error: Box::new(error),
                bytes,
            },
        }
    }

    async fn blob(&self, blob: &PlannedBlob) -> Result<(u64, Outcome), MirrorError> {
        if self.stop.is_cancelled() {
            return Err(MirrorError::Cancelled);
        }
        if self.repos.has_blob(self.target, &blob.digest).await? {
            return Ok((blob.size, self.skipped(blob)));
        }
        if let Some(bytes) = &blob.data {
            return self.keep(blob, bytes).await;
        }
        let fetched = match self.measured(blob).await {
            Ok(blob) => self.fetch(&blob).await,
            Err(error) => Err(error),
        };
        match fetched {
            // Who gives it away says so in many ways; who does not is not held to it.
            Err(MirrorError::NotFound(_) | MirrorError::Fetch(FetchError::Status { .. }))
                if blob.optional =>
            {
                Ok((blob.size, self.skipped(blob)))
            }
            fetched => fetched,
        }
    }

    /// The blob with its length, which the registry is asked for if no descriptor says it.
    async fn measured<'b>(
        &self,
        blob: &'b PlannedBlob,
    ) -> Result<Cow<'b, PlannedBlob>, MirrorError> {
        if !Descriptor::is_open(blob.size, &blob.digest) {
            return Ok(Cow::Borrowed(blob));
        }
        let size = self.registry.blob_size(&blob.digest).await?;
        let mut blob = blob.clone();
        blob.size = size.ok_or_else(|| self.lacks(&blob))?;
        Ok(Cow::Owned(blob))
    }

    /// Keeps a blob whose content came with its manifest.
    async fn keep(&self, blob: &PlannedBlob, bytes: &Bytes) -> Result<(u64, Outcome), MirrorError> {
        // What an earlier run left of it may be wrong; then it is dropped, and the next has nothing to go on from.
        for _ in 0..TRIES {
            let Some(fill) = self.begin(blob).await? else {
                return Ok((blob.size, self.skipped(blob)));
            };
            let from = fill.offset().min(bytes.len() as u64);
            let mut rest = bytes.slice(from as usize..);
            let mut piece = Buffer::with_capacity(PIECE);
            let mut fill = fill;
            while rest.has_remaining() {
                rest.advance(piece.fill(&rest));
                let (back, wrote) = write(fill, piece).await?;
                wrote?;
                (fill, piece) = (back, Buffer::with_capacity(PIECE));
            }
            match self.repos.finish_fill(self.target, fill).await {
                Err(error) if error.kind() == RepoErrorKind::Digest => {}
                sealed => {
                    sealed?;
                    self.grown(blob, blob.size);
                    return Ok((blob.size, Outcome::Copied { fetched: 0 }));
                }
            }
        }
        self.fetch(blob).await
    }

    async fn fetch(&self, blob: &PlannedBlob) -> Result<(u64, Outcome), MirrorError> {
        // Whether what comes as one plain answer was wrong before.
        let mut seen = false;
        let mut attempt = 0;
        loop {
            let Some(fill) = self.begin(blob).await? else {
                return Ok((blob.size, self.skipped(blob)));
            };
            let came = self.fill(blob, fill, attempt).await?;
            attempt += 1;
            let (got, how) = match came {
                Came::Whole(fetched) => return Ok((blob.size, Outcome::Copied { fetched })),
                Came::Wrong { got, how } => (got, how),
                Came::Changed => continue,
            };
            let mut wrong = self.registry.wrong("blob", blob.digest, got);
            wrong.note = oci::note(how.coding.as_deref());
            if attempt == TRIES || (seen && !how.made) {
                return Err(MirrorError::Wrong(wrong));
            }
            seen |= !how.made;
            self.registry.client.again(&wrong.to_string()).await;
        }
    }

    fn skipped(&self, blob: &PlannedBlob) -> Outcome {
        (self.progress)(MirrorProgress::Skipped {
            digest: blob.digest.to_string(),
            size: blob.size,
        });
        Outcome::Skipped
    }

    fn grown(&self, blob: &PlannedBlob, done: u64) {
        (self.progress)(MirrorProgress::Blob {
            digest: blob.digest.to_string(),
            size: blob.size,
            done,
        });
    }

    /// The fill to write to. While another run fills the same blob this one waits; `None` if that one finished it.
    async fn begin(&self, blob: &PlannedBlob) -> Result<Option<Fill>, MirrorError> {
        loop {
            match self.repos.fill(self.target, &blob.digest).await {
                Ok(fill) => return Ok(Some(fill)),
                Err(RepoError::UploadBusy) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(MirrorError::Cancelled),
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
            if self.repos.has_blob(self.target, &blob.digest).await? {
                return Ok(None);
            }
        }
    }

    fn lacks(&self, blob: &PlannedBlob) -> MirrorError {
        MirrorError::NotFound(format!(
            "{} does not have blob {}, which belongs to this image",
            self.registry.source().registry(),
            blob.digest
        ))
    }
}
