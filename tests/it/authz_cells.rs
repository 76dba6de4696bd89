//! Every route of the registry protocol that is about one repository, as requests to make, with the answer of each
//! where the law lets it through. Who asks is not known here.

use crate::authz_law::{Right, Spot, Who, may};
use crate::authz_wire::Ask;
use crate::authz_world::{Item, World};
use crate::content::{OCI_MANIFEST, artifact, bytes_of, descriptor, sha256};

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
            Ask::new("GET", format!("{referrers}?after={layer}")),
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

/// Uploads: starting one, mounting, and what may be done with a session of another user.
fn uploads(world: &World, spot: Spot, item: Item) -> Vec<Cell> {
    let goods = world.goods(item);
    let layer = sha256(&goods.layer);
    let cell = |label: &str, ask: Ask, answer, undo| Cell {
        label: format!("{} {label}", ask.method),
        ask,
        right: Right::Push,
        answer,
        holds: item.is_in(spot),
        undo,
    };
    let post = |query: &str| Ask::new("POST", format!("blobs/uploads/{query}"));
    let unlink = || Undo::Unlink(layer.clone());
    let mut cells = Vec::new();
    for from in Spot::ALL {
        let query = format!("?mount={layer}&from={}", from.name());
        cells.push(cell(
            &format!("mount from {from:?}"),
            post(&query),
            Answer::Mount(Some(from)),
            unlink(),
        ));
    }
    let anywhere = post(&format!("?mount={layer}"));
    let nowhere = post(&format!("?mount={layer}&from=NO%20NAME"));
    let wrong = post(&format!("?digest={layer}")).body("application/octet-stream", b"other bytes");
    let unwilling = Answer::Always(400, "DIGEST_INVALID");
    cells.extend([
        cell(
            "mount from anywhere",
            anywhere,
            Answer::Mount(None),
            unlink(),
        ),
        cell(
            "mount from no name",
            nowhere,
            Answer::Always(202, ""),
            Undo::Nothing,
        ),
        cell("upload of other bytes", wrong, unwilling, Undo::Nothing),
    ]);
    if item == Item::Nowhere {
        cells.push(cell(
            "upload",
            post(""),
            Answer::Always(202, ""),
            Undo::Nothing,
        ));
        cells.extend(sessions(world, spot));
    }
    cells
}

/// `{own}` stands for a session of the repository.
fn sessions(world: &World, spot: Spot) -> Vec<Cell> {
    let unknown = "00000000000000000000000000000000".to_owned();
    let strange = world.sessions[&spot.other()].clone();
    let bytes = b"bytes of a session".as_slice();
    let digest = sha256(bytes);
    let mut cells = Vec::new();
    for (whose, id) in [
        ("its", "{own}".to_owned()),
        ("another's", strange),
        ("no", unknown),
    ] {
        for (method, ok) in [
            ("GET", 204),
            ("HEAD", 204),
            ("PATCH", 202),
            ("PUT", 201),
            ("DELETE", 204),
        ] {
            let path = format!("blobs/uploads/{id}");
            let octets = "application/octet-stream";
            let ask = match method {
                "PATCH" => Ask::new(method, path).body(octets, bytes),
                "PUT" => Ask::new(method, format!("{path}?digest={digest}")).body(octets, bytes),
                _ => Ask::new(method, path),
            };
            let own = whose == "its";
            cells.push(Cell {
                label: format!("{method} {whose} session"),
                ask,
                right: Right::Push,
                answer: if own {
                    Answer::Always(ok, "")
                } else {
                    Answer::Always(404, "BLOB_UPLOAD_UNKNOWN")
                },
                holds: own,
                undo: Undo::Session((method == "PUT").then(|| digest.clone())),
            });
        }
    }
    cells
}

/// Pushing and deleting by digest and by tag.
fn changes(world: &World, spot: Spot, item: Item) -> Vec<Cell> {
    let goods = world.goods(item);
    let holds = item.is_in(spot);
    let cell = |label: &str, ask: Ask, right, answer, undo| Cell {
        label: format!("{} {label}", ask.method),
        ask,
        right,
        answer,
        holds,
        undo,
    };
    let put = |reference: &str, kind: &str, bytes: &[u8]| {
        Ask::new("PUT", format!("manifests/{reference}")).body(kind, bytes)
    };
    let manifest = sha256(&goods.manifest);
    let mut cells = Vec::new();
    for (kind, bytes) in world.naming(item) {
        let what = if kind == OCI_MANIFEST {
            "image"
        } else {
            "index"
        };
        let digest = sha256(&bytes);
        let undo = || Undo::Remove(digest.clone());
        let made = Answer::Always(201, "");
        cells.push(cell(
            &format!("{what} that names it, by tag"),
            put("sparse", kind, &bytes),
            Right::Push,
            made,
            undo(),
        ));
        let many = format!("{digest}?tag=one&tag=two&tag={}", goods.tag);
        // The tag of its own has to mean its own manifest again afterwards.
        let undo = if holds { Undo::Fill } else { undo() };
        cells.push(cell(
            &format!("{what} that names it, by digest with tags"),
            put(&many, kind, &bytes),
            Right::Push,
            made,
            undo,
        ));
    }
    let note = bytes_of(&artifact(
        &descriptor(OCI_MANIFEST, &goods.manifest),
        "application/vnd.authz.late",
        "late",
    ));
    let undo = Undo::Remove(sha256(&note));
    let unwilling = Answer::Always(400, "DIGEST_INVALID");
    let delete = |what: &str| Ask::new("DELETE", what.to_owned());
    let refused = if holds {
        Answer::Always(405, "DENIED")
    } else {
        Answer::Blob(0)
    };
    cells.extend([
        cell(
            "artifact on it",
            put("late", OCI_MANIFEST, &note),
            Right::Push,
            Answer::Always(201, ""),
            undo,
        ),
        cell(
            "other manifest under its digest",
            put(&manifest, OCI_MANIFEST, &note),
            Right::Push,
            unwilling,
            Undo::Nothing,
        ),
        cell(
            "manifest",
            delete(&format!("manifests/{manifest}")),
            Right::Delete,
            Answer::Manifest(202),
            Undo::Fill,
        ),
        cell(
            "its tag",
            delete(&format!("manifests/{}", goods.tag)),
            Right::Delete,
            Answer::Manifest(202),
            Undo::Fill,
        ),
        cell(
            "loose blob",
            delete(&format!("blobs/{}", sha256(&goods.loose))),
            Right::Delete,
            Answer::Blob(202),
            Undo::Fill,
        ),
        cell(
            "layer",
            delete(&format!("blobs/{}", sha256(&goods.layer))),
            Right::Delete,
            refused,
            Undo::Nothing,
        ),
    ]);
    cells
}

/// Every changing request.
pub fn changing(world: &World, spot: Spot, item: Item) -> Vec<Cell> {
    let mut cells = uploads(world, spot, item);
    cells.extend(changes(world, spot, item));
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
    ) -> (u16, &'static str) {
        let reads = |spot: Spot| may(world.mode, who.user, Right::Pull, spot.name());
        let known = exists && self.holds;
        match self.answer {
            Answer::Always(status, code) => (status, code),
            Answer::Referrers => (200, ""),
            Answer::Tags if exists => (200, ""),
            Answer::Manifest(status) if known => (status, ""),
            Answer::Blob(status) if known => (status, ""),
            Answer::Manifest(_) if exists => (404, "MANIFEST_UNKNOWN"),
            Answer::Blob(_) if exists => (404, "BLOB_UNKNOWN"),
            Answer::Manifest(_) | Answer::Blob(_) | Answer::Tags => (404, "NAME_UNKNOWN"),
            Answer::Mount(from) => match item.home() {
                Some(home) if from.is_none_or(|f| f == home) && reads(home) => (201, ""),
                _ => (202, ""),
            },
        }
    }
}
