//! Every route of the registry protocol that reads one repository, as requests to make, with the answer of each where
//! the law lets it through. Who asks is not known here; what changes a repository stands in `changes`.

use crate::harness::content::sha256;
use crate::http::authz::law::{Right, Spot, Who, may};
use crate::http::authz::wire::Ask;
use crate::http::authz::world::{Item, World};

/// The answer of a route that was let through, by what the repository holds.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Known manifests have this status.
    Manifest(u16),
    /// Known blobs have this status.
    Blob(u16),
    /// 200, also where nothing is.
    Referrers,
    /// 200 if the repository exists.
    Tags,
    /// Whatever the repository holds.
    Always(u16, &'static str),
    /// 201 if the user behind may read, of the repositories that hold the blob, this one or (`None`) any; else 202.
    Mount(Option<Spot>),
}

/// What has to be put right after a change that was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    Nothing,
    /// Push everything again.
    Fill,
    /// Delete this blob, unless the repository holds it anyway.
    Unlink(String),
    /// Delete this manifest.
    Remove(String),
    /// The session was used up or moved: each such request gets a fresh one.
    Session(Option<String>),
}

/// One request on one repository.
pub struct Cell {
    pub label: String,
    pub ask: Ask,
    pub right: Right,
    pub answer: Answer,
    /// Whether the repository holds what the request names, if it exists.
    pub holds: bool,
    pub undo: Undo,
}

/// What a bare path of tags/list and manifests by tag does, whatever digest is looked at.
fn by_name(world: &World, spot: Spot) -> Vec<Cell> {
    let strange = &world.goods(Item::InB).tag;
    let cell = |method, rest: &str, answer, holds| Cell {
        label: format!("{method} {rest}"),
        ask: Ask::new(method, rest),
        right: Right::Pull,
        answer,
        holds,
        undo: Undo::Nothing,
    };
    vec![
        cell("GET", "manifests/v1", Answer::Manifest(200), true),
        cell("HEAD", "manifests/v1", Answer::Manifest(200), true),
        cell("GET", "manifests/absent", Answer::Manifest(200), false),
        cell(
            "GET",
            &format!("manifests/{strange}"),
            Answer::Manifest(200),
            spot == Spot::B,
        ),
        cell(
            "HEAD",
            &format!("manifests/{strange}"),
            Answer::Manifest(200),
            spot == Spot::B,
        ),
        cell("GET", "tags/list", Answer::Tags, true),
        cell("HEAD", "tags/list", Answer::Tags, true),
        cell("GET", "tags/list?n=1", Answer::Tags, true),
        cell("GET", "tags/list?n=0", Answer::Tags, true),
        cell("GET", "tags/list?n=1&last=a", Answer::Tags, true),
        cell(
            "GET",
            "tags/list?n=x",
            Answer::Always(400, "UNSUPPORTED"),
            true,
        ),
    ]
}

/// Reading by digest.
fn by_digest(world: &World, spot: Spot, item: Item) -> Vec<Cell> {
    let goods = world.goods(item);
    let (manifest, layer) = (sha256(&goods.manifest), sha256(&goods.layer));
    let (loose, signature) = (sha256(&goods.loose), sha256(&goods.signature));
    let cell = |label: &str, ask: Ask, answer| Cell {
        label: format!("{} {label}", ask.method),
        ask,
        right: Right::Pull,
        answer,
        holds: item.is_in(spot),
        undo: Undo::Nothing,
    };
    let on_manifest = |method| Ask::new(method, format!("manifests/{manifest}"));
    let on_layer = |method| Ask::new(method, format!("blobs/{layer}"));
    let on_loose = |method| Ask::new(method, format!("blobs/{loose}"));
    let referrers = format!("referrers/{manifest}");
    let tag_of = |digest: &str| format!("\"{digest}\"");
    vec![
        cell("manifest", on_manifest("GET"), Answer::Manifest(200)),
        cell("manifest", on_manifest("HEAD"), Answer::Manifest(200)),
        cell(
            "manifest if changed",
            on_manifest("GET").with("if-none-match", tag_of(&manifest)),
            Answer::Manifest(304),
        ),
        cell(
            "manifest range",
            on_manifest("GET").with("range", "bytes=0-9"),
            Answer::Manifest(206),
        ),
        cell(
            "signature",
            Ask::new("GET", format!("manifests/{signature}")),
            Answer::Manifest(200),
        ),
        cell(
            "layer as manifest",
            Ask::new("GET", format!("manifests/{layer}")),
            Answer::Manifest(404),
        ),
        cell("layer", on_layer("GET"), Answer::Blob(200)),
        cell("layer", on_layer("HEAD"), Answer::Blob(200)),
        cell(
            "layer range",
            on_layer("GET").with("range", "bytes=0-9"),
            Answer::Blob(206),
        ),
        cell(
            "layer ranges",
            on_layer("GET").with("range", "bytes=0-1,5-6"),
            Answer::Blob(206),
        ),
        cell(
            "layer beyond its end",
            on_layer("GET").with("range", "bytes=99999-"),
            Answer::Blob(416),
        ),
        cell(
            "layer if changed",
            on_layer("GET").with("if-none-match", tag_of(&layer)),
            Answer::Blob(304),
        ),
        cell(
            "layer if anything",
            on_layer("HEAD").with("if-none-match", "*"),
            Answer::Blob(200),
        ),
        cell(
            "layer if anything",
            on_layer("GET").with("if-none-match", "*"),
            Answer::Blob(304),
        ),
        cell("loose blob", on_loose("GET"), Answer::Blob(200)),
        cell("loose blob", on_loose("HEAD"), Answer::Blob(200)),
        cell("referrers", Ask::new("GET", &referrers), Answer::Referrers),
        cell("referrers", Ask::new("HEAD", &referrers), Answer::Referrers),
        cell(
            "referrers by type",
            Ask::new(
                "GET",
                format!("{referrers}?artifactType=application/x.none"),
            ),
            Answer::Referrers,
        ),
        cell(
            "referrers after",
            Ask::new("GET", format!("{referrers}?after={layer},1,")),
            Answer::Referrers,
        ),
        cell(
            "referrers of a blob",
            Ask::new("GET", format!("referrers/{layer}")),
            Answer::Referrers,
        ),
    ]
}

/// Every reading request; the paths begin after `/v2/NAME/`.
pub fn reading(world: &World, spot: Spot, item: Item) -> Vec<Cell> {
    let mut cells = by_digest(world, spot, item);
    if item == Item::Nowhere {
        cells.extend(by_name(world, spot));
    }
    cells
}

impl Cell {
    /// Status and code of the spec (none: anything) of a request that was let through.
    pub fn let_through(
        &self,
        world: &World,
        who: &Who,
        item: Item,
        exists: bool,
        past: bool,
    ) -> (u16, &'static str) {
        let reads = |spot: Spot| may(world.mode, who.user, Right::Pull, spot.name());
        let known = exists && self.holds;
        match self.answer {
            Answer::Always(status, code) => (status, code),
            Answer::Referrers if exists || !past => (200, ""),
            Answer::Tags if exists => (200, ""),
            Answer::Manifest(status) if known => (status, ""),
            // The past shows what a manifest of then needs.
            Answer::Blob(_) if known && past && self.label.contains("loose") => {
                (404, "BLOB_UNKNOWN")
            }
            Answer::Blob(status) if known => (status, ""),
            Answer::Manifest(_) if exists => (404, "MANIFEST_UNKNOWN"),
            Answer::Blob(_) if exists => (404, "BLOB_UNKNOWN"),
            Answer::Manifest(_) | Answer::Blob(_) | Answer::Tags | Answer::Referrers => {
                (404, "NAME_UNKNOWN")
            }
            Answer::Mount(from) => match item.home() {
                Some(home) if from.is_none_or(|f| f == home) && reads(home) => (201, ""),
                _ => (202, ""),
            },
        }
    }
}
