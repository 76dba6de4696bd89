//! One step of the walk over an image: gets a manifest, looks whether it may be taken, and finds what it leads to.

use super::attached::{self, Attached};
use super::budget::{self, Budget};
use super::platform::{Choice, Met};
use crate::mirror::MirrorError;
use crate::mirror::document::{self, Document, Platform, SourceDescriptor};
use crate::mirror::evidence::reason;
use crate::mirror::oci::{Fetched, Registry};
use crate::repo::format::Said;
use crate::types::{Digest, Reference, Remedy};
use bytes::Bytes;

/// Of one manifest, more referrers than this are not read.
const REFERRERS_MAX: usize = 20_000;

/// Why a manifest is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mirror) enum WantedAs {
    /// It was asked for, or is part of what was: it must be had.
    Asked,
    /// It is part of what is attached to this manifest.
    Part(Digest),
    /// It is said to refer to this manifest.
    Refers(Digest),
    /// It lies under a tag that cosign makes of this manifest's digest.
    Tagged(Digest),
}

impl WantedAs {
    /// What it is attached to, directly or as a part.
    pub fn subject(self) -> Option<Digest> {
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
pub(in crate::mirror) struct Want {
    pub digest: Digest,
    /// What it must have.
    pub size: Option<u64>,
    /// What it is said to have.
    pub claim: u64,
    pub depth: usize,
    pub role: WantedAs,
    /// It is the image of one of several platforms.
    pub of_platform: bool,
    /// The index that names it does not say what it runs on.
    pub is_open: bool,
    /// Its bytes, if they stood in the index.
    pub inline: Option<Bytes>,
    /// What its descriptor says that it is; what it is decides.
    pub said: Said,
}

impl Want {
    /// One of which nothing is said about its size.
    pub fn new(digest: Digest, depth: usize, role: WantedAs) -> Self {
        Self {
            digest,
            size: None,
            claim: 0,
            depth,
            role,
            of_platform: false,
            is_open: true,
            inline: None,
            said: Said::Manifest,
        }
    }
}

/// What one manifest leads to.
pub(in crate::mirror) struct Visit {
    pub want: Want,
    pub fetched: Fetched,
    /// How many blobs it names.
    pub blobs: usize,
    /// Bytes of those that stand in it.
    pub data: u64,
    pub children: Vec<Want>,
    /// Of the platforms that were asked for.
    pub met: Met,
    pub attached: Attached,
}

/// What became of one that was wanted.
pub(in crate::mirror) enum Visited {
    Whole(Box<Visit>),
    /// It is attached, and cannot be had.
    Lacking(Want, String),
    /// It was listed as a referrer of a manifest, and is none.
    NoReferrer(Digest, Digest),
    /// It is a blob, though it stands among manifests or is said to be one; the text tells of the latter.
    Blob(Digest, Option<String>),
    /// Its platform was not asked for.
    NotWanted(Digest, Met),
}

/// A manifest, counted.
pub(in crate::mirror) async fn fetch(
    registry: &Registry,
    reference: &Reference,
    role: WantedAs,
    budget: &Budget,
) -> Result<Option<Fetched>, MirrorError> {
    let fetched = if role == WantedAs::Asked {
        registry.manifest(reference).await?
    } else {
        registry.attached_list(reference).await?
    };
    fetched.map(|fetched| kept(fetched, budget)).transpose()
}

/// A manifest that came, counted.
pub(in crate::mirror) fn kept(
    mut fetched: Fetched,
    budget: &Budget,
) -> Result<Fetched, MirrorError> {
    budget.keep(fetched.bytes.len() as u64 + budget::MANIFEST)?;
    // What was read may have room for twice as much.
    fetched.bytes = Bytes::copy_from_slice(&fetched.bytes);
    Ok(fetched)
}

/// Visits a manifest; one that is only attached may be lacking.
pub(in crate::mirror) async fn visited(
    registry: &Registry,
    choice: &Choice,
    known: Option<Fetched>,
    want: Want,
    budget: &Budget,
) -> Result<Visited, MirrorError> {
    let visit = visit(registry, choice, known, &want, budget).await;
    match visit {
        Ok(visited) => Ok(visited),
        Err(error) if want.role == WantedAs::Asked => Err(error),
        Err(error) => Ok(Visited::Lacking(want, reason(error)?)),
    }
}

async fn visit(
    registry: &Registry,
    choice: &Choice,
    known: Option<Fetched>,
    want: &Want,
    budget: &Budget,
) -> Result<Visited, MirrorError> {
    let fetched = match known {
        Some(fetched) => fetched,
        None => match get(registry, want, budget).await? {
            Some(fetched) => fetched,
            None => return Ok(as_blob(registry, want)),
        },
    };
    // No manifest is of no bytes: 0 is how some say nothing.
    let said = want.size.filter(|size| *size > 0);
    if let Some(size) = said.filter(|size| *size != fetched.bytes.len() as u64) {
        let text = format!(
            "manifest {} has {} bytes, its index says {size}",
            want.digest,
            fetched.bytes.len()
        );
        return Err(MirrorError::Verify(text));
    }
    let inspected = fetched.inspect()?;
    if let WantedAs::Refers(subject) = want.role
        && inspected.subject != Some(subject)
    {
        return Ok(Visited::NoReferrer(want.digest, subject));
    }
    let document = fetched.document()?;
    let (warning, met) = match platform(registry, choice, &document, want).await? {
        Platformed::Wanted(warning, met) => (warning, met),
        Platformed::NotWanted(met) => return Ok(Visited::NotWanted(want.digest, met)),
    };
    let children = children(&document, choice, want)?;
    let (mut blobs, mut data) = (0, 0);
    for descriptor in document.content() {
        descriptor.digest()?;
        blobs += 1;
        data += descriptor.data.as_ref().map_or(0, |data| data.len() as u64);
    }
    drop(document);
    let mut attached = attached::find(registry, &fetched.digest, REFERRERS_MAX, budget).await?;
    if let Some(text) = warning {
        attached.notes.warn(&text);
    }
    Ok(Visited::Whole(Box::new(Visit {
        want: want.clone(),
        fetched,
        blobs,
        data,
        children,
        met,
        attached,
    })))
}

/// That what is wanted is a blob.
fn as_blob(registry: &Registry, want: &Want) -> Visited {
    let (digest, host) = (want.digest, registry.source().registry());
    let odd = (want.said == Said::Manifest).then(|| {
        format!(
            "{digest} is said to be a manifest, and {host} has it as a blob only: it is kept as a blob, and who asks for it as a manifest gets 404, as there"
        )
    });
    Visited::Blob(digest, odd)
}

/// A manifest from the registry or, where that does not have it, from the index that names it; `None` if the digest is that
/// of a blob. What the descriptor says is asked for first.
async fn get(
    registry: &Registry,
    want: &Want,
    budget: &Budget,
) -> Result<Option<Fetched>, MirrorError> {
    if want.said == Said::Blob
        && (want.inline.is_some() || registry.finds_blob(&want.digest).await? != Some(false))
    {
        return Ok(None);
    }
    let reference = Reference::Digest(want.digest);
    if let Some(fetched) = fetch(registry, &reference, want.role, budget).await? {
        return Ok(Some(fetched));
    }
    if let Some(bytes) = want.inline.clone() {
        return Ok(Some(Fetched {
            digest: want.digest,
            media_type: document::media_type(&want.digest, &bytes, None)?,
            bytes,
        }));
    }
    // A part of an index or manifest comes with its size; what refers to something is a manifest. Where nobody says whether
    // there is such a blob, its download shows it.
    if want.size.is_some() && registry.finds_blob(&want.digest).await? != Some(false) {
        return Ok(None);
    }
    Err(missing(registry, want))
}

/// What the platforms that were asked for say about a manifest.
enum Platformed {
    /// It is to be had; with a warning, and with what of the platforms it is.
    Wanted(Option<String>, Met),
    NotWanted(Met),
}

/// Whether the platforms that were asked for let a manifest in, as far as its index has not said that already.
async fn platform(
    registry: &Registry,
    choice: &Choice,
    document: &Document,
    want: &Want,
) -> Result<Platformed, MirrorError> {
    let is_root = want.depth == 0;
    if choice.is_all() || want.role != WantedAs::Asked {
        return Ok(Platformed::Wanted(None, Met::default()));
    }
    if let Some(list) = &document.manifests {
        let met = choice.met(list.iter().filter_map(|child| child.platform.as_ref()));
        // What says nothing may be what is missing, which shows when it comes.
        let is_told = list.iter().all(|child| child.platform.is_some());
        if is_root && is_told {
            choice.judge(&met)?;
        }
        return Ok(Platformed::Wanted(None, met));
    }
    let config = document.config.as_ref().filter(|config| config.is_config);
    let Some(config) = config.filter(|_| want.is_open) else {
        return Ok(Platformed::Wanted(None, Met::default()));
    };
    let digest = config.digest()?;
    let bytes = match config.data.clone() {
        Some(bytes) => bytes,
        None => registry.small_blob(&digest).await?.ok_or_else(|| {
            MirrorError::NotFound(format!(
                "{} does not have blob {digest}, which belongs to this image",
                registry.source().registry()
            ))
        })?,
    };
    let platform = std::str::from_utf8(&bytes).ok().and_then(Platform::read);
    let Some(platform) = platform.filter(|p| !p.os.is_empty() && !p.architecture.is_empty()) else {
        return Ok(Platformed::Wanted(None, Met::default()));
    };
    if is_root {
        let warning = choice.judge_one(&platform)?;
        return Ok(Platformed::Wanted(warning, Met::default()));
    }
    let met = choice.met([&platform].into_iter());
    if choice.wants(&platform) {
        Ok(Platformed::Wanted(None, met))
    } else {
        Ok(Platformed::NotWanted(met))
    }
}

fn missing(registry: &Registry, want: &Want) -> MirrorError {
    let host = registry.source().registry();
    let what = match want.role {
        WantedAs::Asked => "which belongs to this image",
        WantedAs::Part(_) | WantedAs::Refers(_) | WantedAs::Tagged(_) => {
            "which is attached to this image"
        }
    };
    let text = format!("{host} does not have manifest {}, {what}", want.digest);
    // Only that of one platform can be done without.
    if want.of_platform {
        MirrorError::Lacking(text, Remedy::ChoosePlatforms)
    } else {
        MirrorError::NotFound(text)
    }
}

fn children(document: &Document, choice: &Choice, parent: &Want) -> Result<Vec<Want>, MirrorError> {
    let depth = parent.depth + 1;
    let list = document.manifests.as_deref().unwrap_or_default();
    let want = |d: &SourceDescriptor| {
        Ok(Want {
            size: Some(d.size),
            claim: d.size,
            of_platform: choice.is_all() && list.len() > 1 && d.platform.is_some(),
            is_open: d.platform.is_none(),
            inline: d.data.clone(),
            said: d.said,
            ..Want::new(d.digest()?, depth, parent.role.of_parts())
        })
    };
    let chosen = choice.choose(list).into_iter();
    chosen.chain(document.misplaced()).map(want).collect()
}
