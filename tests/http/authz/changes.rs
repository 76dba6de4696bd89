//! Every route of the registry protocol that changes one repository: uploads, mounts, pushes, deletions.

use crate::harness::content::{OCI_MANIFEST, artifact, bytes_of, descriptor, sha256};
use crate::http::authz::cells::{Answer, Cell, Undo};
use crate::http::authz::law::{Right, Spot};
use crate::http::authz::wire::Ask;
use crate::http::authz::world::{Item, World};

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
    let once = post(&format!(
        "?mount={layer}&from={}",
        item.home().unwrap_or(spot).past()
    ));
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
            "mount from the past",
            once,
            Answer::Always(202, ""),
            Undo::Nothing,
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
