//! Blobs that a mirror brings belong to nobody else: whatever a client does, the bytes behind a digest hash to it.

use std::process::{Child, Stdio};

use sha2::{Digest as _, Sha256};

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, SCHEMA2, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::damage;
use crate::harness::upstream::Upstream;
use crate::harness::{Client, SOON, Server, dryport, run, run_ok, text_of, until, with_query};

const LAYER: usize = 4 << 20;

/// An upstream with an image of one large layer, held back when it is asked for.
struct World {
    server: Server,
    upstream: Upstream,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let (config, layer) = (br#"{"os":"linux"}"#.to_vec(), noise(70, LAYER));
        for blob in [&config, &layer] {
            push_blob(&server.admin(), "team/app", blob).await;
        }
        let manifest = bytes_of(&image(&config, &[&layer]));
        put_manifest(&server.admin(), "team/app", "v1", OCI_MANIFEST, &manifest).await;
        push_image(&server.admin(), "team/app", "small", 4).await;
        let upstream = Upstream::before(server.http);
        Self {
            server,
            upstream,
            layer,
            manifest,
        }
    }

    fn source(&self, tag: &str) -> String {
        format!("docker://127.0.0.1:{}/team/app:{tag}", self.upstream.port)
    }

    fn digest(&self) -> String {
        sha256(&self.layer)
    }

    /// Half of the layer comes, and no more until this is called with `false`.
    fn hold(&self, held: bool) {
        let mut manners = self.upstream.manners.lock().unwrap();
        manners.hold = held.then(|| (self.digest(), LAYER / 2));
    }

    /// How often the layer was asked for.
    fn asked(&self) -> usize {
        let manners = self.upstream.manners.lock().unwrap();
        let digest = self.digest();
        manners
            .asked
            .iter()
            .filter(|a| a.starts_with(&digest))
            .count()
    }

    /// What readers get for the layer and the manifest hashes to its digest, and a deep check finds nothing.
    async fn assert_law(&self, target: &Server, repo: &str) {
        let anyone = target.anonymous();
        let manifest = anyone
            .get(&format!("/v2/{repo}/manifests/v1"))
            .await
            .expect(200);
        assert_eq!(manifest.body, self.manifest);
        let path = format!("/v2/{repo}/blobs/{}", self.digest());
        let got = anyone.get(&path).await.expect(200).body;
        assert_eq!(
            sha256(&got),
            self.digest(),
            "the bytes behind a digest are others"
        );
        let (code, report) = damage::check(&target.data(), &["--deep"]);
        assert_eq!(
            (code, &report["problems"]),
            (0, &serde_json::json!([])),
            "{report:#}"
        );
    }
}

fn begin(target: &Server, source: &str, to: &str) -> Child {
    dryport(&["mirror", "--data", &target.dir(), source, "--to", to])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn success(child: Child) {
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
}

/// Names and lengths of the files of uploads.
pub fn uploads(target: &Server) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(target.data().join("uploads")).unwrap();
    let file = |e: std::io::Result<std::fs::DirEntry>| {
        let e = e.unwrap();
        let len = e.metadata().map_or(0, |meta| meta.len());
        (e.file_name().into_string().unwrap(), len)
    };
    files.map(file).collect()
}

async fn until_half_here(target: &Server) {
    until_received(target, 1 << 20).await;
}

/// Waits until the file of an upload has so many bytes.
pub async fn until_received(server: &Server, bytes: u64) {
    let long = async || uploads(server).iter().any(|(_, len)| *len >= bytes);
    until("an upload's bytes are in its file", SOON, long).await;
}

/// Every id that a client could think of: what older versions computed from names, what file names say, and a guess.
fn ids(target: &Server, repo: &str, digest: &str) -> Vec<String> {
    let computed = Sha256::digest(format!("mirror {repo} {digest}").as_bytes());
    let half = u128::from_be_bytes(computed[..16].try_into().unwrap());
    let mut ids = vec![format!("{half:032x}")];
    for (name, _) in uploads(target) {
        let id = name.split('.').next().unwrap().to_owned();
        ids.push(id);
    }
    let place = std::fs::read_dir(target.data().join("blobs/sha256").join(&digest[7..9]));
    for entry in place.into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        ids.extend(name.split('.').nth(1).map(str::to_owned));
    }
    ids.push("0123456789abcdef0123456789abcdef".to_owned());
    ids
}

/// Tries every method of an upload with an id; gives the answers.
async fn try_all(
    client: &Client,
    repo: &str,
    id: &str,
    digest: &str,
) -> Vec<(String, u16, String)> {
    let at = format!("/v2/{repo}/blobs/uploads/{id}");
    let other = noise(99, 300_000);
    let mut answers = Vec::new();
    let octets = ("content-type", "application/octet-stream");
    let status = client.get(&at).await;
    let from = status
        .header("range")
        .strip_prefix("0-")
        .map_or(0, |n| n.parse::<usize>().unwrap() + 1);
    answers.push(("GET".to_owned(), status.status, status.code()));
    let range = format!("{from}-{}", from + other.len() - 1);
    let ours = format!("digest={}", sha256(&other));
    let theirs = format!("digest={digest}");
    for (what, method, path, headers, body) in [
        ("HEAD", "HEAD", at.clone(), vec![], &[][..]),
        ("PATCH", "PATCH", at.clone(), vec![octets], &other[..]),
        (
            "PATCH of a range",
            "PATCH",
            at.clone(),
            vec![octets, ("content-range", range.as_str())],
            &other[..],
        ),
        (
            "PUT of their digest",
            "PUT",
            with_query(&at, &theirs),
            vec![octets],
            &other[..],
        ),
        (
            "PUT of our digest",
            "PUT",
            with_query(&at, &ours),
            vec![octets],
            &other[..],
        ),
        ("DELETE", "DELETE", at.clone(), vec![], &[][..]),
    ] {
        let reply = client.send(method, &path, &headers, body).await;
        answers.push((what.to_owned(), reply.status, reply.code()));
    }
    answers
}

/// Tries everything with every id: none leads anywhere. Where `is_there` (the mirror has an image), it takes what is attached to
/// that: uploads of a client's own are open then, also of the very digest, and are not the mirror's.
async fn assert_closed(target: &Server, repo: &str, digest: &str, is_there: bool) {
    let admin = target.admin();
    assert_unknown(target, repo, digest, 404, "BLOB_UPLOAD_UNKNOWN").await;
    if !is_there {
        return;
    }
    let begin = format!("/v2/{repo}/blobs/uploads/");
    let octets = [("content-type", "application/octet-stream")];
    let wrong = noise(97, 300_000);
    let blob = format!("/v2/{repo}/blobs/{digest}");
    let before = admin.head(&blob).await.status;
    for query in [String::new(), format!("?mount={}", sha256(&wrong))] {
        let own = admin.post(&format!("{begin}{query}")).await;
        let own = own.expect(202).location();
        let patch = admin.send("PATCH", &own, &octets, &wrong).await;
        patch.expect(202);
        let end = with_query(&own, &format!("digest={digest}"));
        let put = admin.send("PUT", &end, &octets, b"").await;
        put.refused(400, "DIGEST_INVALID");
    }
    let whole = format!("{begin}?digest={digest}");
    let post = admin.send("POST", &whole, &octets, &wrong).await;
    post.refused(400, "DIGEST_INVALID");
    assert_eq!(admin.head(&blob).await.status, before);
    // Where the site wants none of it, everything is refused.
    let set = |to: &str| {
        let dir = target.dir();
        run_ok(&["repo", "set", repo, "--attachments", to, "--data", &dir]);
    };
    set("off");
    assert_unknown(target, repo, digest, 403, "DENIED").await;
    for query in [
        "",
        &format!("?mount={digest}"),
        &format!("?digest={digest}"),
    ] {
        let post = admin.post(&format!("{begin}{query}")).await;
        post.refused(403, "DENIED");
    }
    set("on");
}

async fn assert_unknown(target: &Server, repo: &str, digest: &str, status: u16, code: &str) {
    let admin = target.admin();
    for id in ids(target, repo, digest) {
        for (what, got, said) in try_all(&admin, repo, &id, digest).await {
            assert_eq!(got, status, "{what} of {id}: {said}");
            assert!(said == code || what == "HEAD", "{what} of {id}: {said}");
        }
    }
}

/// A run of `v1` into `copy` that has brought half of its blob, and gets no more until the world lets go.
async fn half_way() -> (World, Server, Child) {
    let (world, target) = (World::new().await, Server::start().await);
    world.hold(true);
    let run = begin(&target, &world.source("v1"), "copy");
    until_half_here(&target).await;
    (world, target, run)
}

#[tokio::test]
async fn a_client_that_opened_a_fill_cannot_write_to_its_blob() {
    let (world, target, run) = half_way().await;
    // What answers now is kept and written to when the blob is committed.
    let admin = target.admin();
    let mut open = Vec::new();
    for id in ids(&target, "copy", &world.digest()) {
        let at = format!("/v2/copy/blobs/uploads/{id}");
        if admin.get(&at).await.status == 204 {
            open.push(at);
        }
    }
    world.hold(false);
    success(run).await;
    let octets = [("content-type", "application/octet-stream")];
    for at in open {
        admin.send("PATCH", &at, &octets, &noise(98, 500_000)).await;
    }
    world.assert_law(&target, "copy").await;
}

#[tokio::test]
async fn whatever_a_client_tries_the_bytes_hash_to_their_digest() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let digest = world.digest();
    // A first run, whose repository nobody sees, and one into a mirror.
    for (repo, is_there) in [("copy", false), ("born", true)] {
        if is_there {
            let small = world.source("small");
            let output = run(&["mirror", "--data", &target.dir(), &small, "--to", repo]);
            assert!(output.status.success(), "{}", text_of(&output));
        }
        world.hold(true);
        let run = begin(&target, &world.source("v1"), repo);
        let before = world.asked();
        until("the layer is asked for", SOON, async || {
            world.asked() > before
        })
        .await;
        until_half_here(&target).await;
        assert_closed(&target, repo, &digest, is_there).await;
        world.hold(false);
        success(run).await;
        assert_closed(&target, repo, &digest, true).await;
        world.assert_law(&target, repo).await;
        target.kill();
        target.restart().await;
        assert_closed(&target, repo, &digest, true).await;
        world.assert_law(&target, repo).await;
        // Else the second run has nothing to fetch.
        if !is_there {
            run_ok(&["repo", "delete", repo, "--data", &target.dir()]);
        }
    }
}

#[tokio::test]
async fn a_paused_run_is_closed_to_others_and_goes_on() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let digest = world.digest();
    let small = world.source("small");
    let output = run(&["mirror", "--data", &target.dir(), &small, "--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    world.upstream.manners.lock().unwrap().cut = Some((digest.clone(), LAYER / 2));
    let output = run(&[
        "mirror",
        "--data",
        &target.dir(),
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert_eq!(uploads(&target).len(), 1);
    assert_closed(&target, "copy", &digest, true).await;
    target.kill();
    target.restart().await;
    assert_closed(&target, "copy", &digest, true).await;
    // Nor does a name of its own lead anybody there.
    assert_closed(&target, "other", &digest, false).await;
    let held = uploads(&target);
    assert_eq!(held.len(), 1);
    {
        let mut manners = world.upstream.manners.lock().unwrap();
        (manners.cut, manners.asked) = (None, Vec::new());
    }
    let output = run(&[
        "mirror",
        "--data",
        &target.dir(),
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert!(output.status.success(), "{}", text_of(&output));
    let asked = world.upstream.manners.lock().unwrap().asked.clone();
    let range = format!("{digest} bytes={}-", held[0].1);
    assert!(asked.contains(&range), "{range}: {asked:?}");
    assert!(uploads(&target).is_empty());
    world.assert_law(&target, "copy").await;
}

#[tokio::test]
async fn two_runs_of_one_image_fetch_it_once() {
    let (world, target, first) = half_way().await;
    // One that waits can be stopped; the first goes on.
    let mut second = join(&target, &world.source("v1"), "copy").await;
    run_kill(&second);
    until("the second run ends", SOON, async || {
        second.try_wait().unwrap().is_some()
    })
    .await;
    assert_ne!(second.wait().unwrap().code(), Some(0));
    let third = join(&target, &world.source("v1"), "copy").await;
    world.hold(false);
    success(first).await;
    success(third).await;
    assert_eq!(
        world.asked(),
        1,
        "{:?}",
        world.upstream.manners.lock().unwrap().asked
    );
    world.assert_law(&target, "copy").await;
    assert!(uploads(&target).is_empty());
}

/// The same command said again, once it listens to the run that goes on.
async fn join(target: &Server, source: &str, name: &str) -> Child {
    let dir = target.dir();
    let mut command = dryport(&["mirror", "--data", &dir, source, "--to", name]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        let mut lines = std::io::BufReader::new(stderr)
            .lines()
            .map_while(Result::ok);
        let found = lines.any(|line| line.contains("another command began this copy"));
        // The pipe must not close before the command ends.
        std::thread::spawn(move || lines.for_each(drop));
        found
    });
    assert!(heard.await.unwrap(), "it did not join the other run");
    child
}

fn run_kill(child: &Child) {
    let pid = child.id().to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status();
    assert!(status.unwrap().success());
}

/// The last word of the upstream comes after the name has become another's: what the run commits must not go there.
#[tokio::test]
async fn a_run_whose_name_was_made_anew_brings_nothing() {
    let (world, target) = (World::new().await, Server::start().await);
    let dir = target.dir();
    let of = |tag: &str| {
        ["mirror", "--data", &dir, &world.source(tag), "--to", "copy"].map(str::to_owned)
    };
    run_ok(&of("v1").each_ref().map(String::as_str));
    // Of its blobs all are here but one, which may be absent and so is only asked after.
    let config = br#"{"os":"linux"}"#.to_vec();
    let mut other = image(&config, &[&world.layer]);
    other["mediaType"] = SCHEMA2.into();
    let foreign = b"not given away";
    let mut layer = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        foreign,
    );
    layer["urls"] = serde_json::json!(["https://example.invalid/layer"]);
    other["layers"].as_array_mut().unwrap().push(layer);
    let (admin, other) = (world.server.admin(), bytes_of(&other));
    put_manifest(&admin, "team/app", "v2", SCHEMA2, &other).await;
    world.upstream.manners.lock().unwrap().hold = Some((sha256(foreign), 0));
    let run = begin(&target, &world.source("v2"), "copy");
    until(
        "the layer that may be absent is asked after",
        SOON,
        async || {
            let manners = world.upstream.manners.lock().unwrap();
            manners
                .asked
                .iter()
                .any(|a| a.starts_with(&sha256(foreign)))
        },
    )
    .await;
    run_ok(&["repo", "delete", "copy", "--data", &dir]);
    let (owner, small) = (target.admin(), image(&config, &[&world.layer]));
    for blob in [&config, &world.layer] {
        push_blob(&owner, "copy", blob).await;
    }
    put_manifest(&owner, "copy", "own", OCI_MANIFEST, &bytes_of(&small)).await;
    world.upstream.manners.lock().unwrap().hold = None;
    let ended = tokio::task::spawn_blocking(|| run.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert_ne!(output.status.code(), Some(0), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("was deleted"),
        "{}",
        text_of(&output)
    );
    owner.get("/v2/copy/manifests/v2").await.expect(404);
    let tags = owner.get("/v2/copy/tags/list").await.expect(200).json();
    assert_eq!(tags["tags"], serde_json::json!(["own"]));
    // A run that begins now is one into another's name: nothing forbids it, and it is whole.
    run_ok(&of("v2").each_ref().map(String::as_str));
    owner.get("/v2/copy/manifests/v2").await.expect(200);
}

#[tokio::test]
async fn an_upload_of_a_repository_that_was_made_anew_is_over() {
    let mut target = Server::start().await;
    let (admin, dir) = (target.admin(), target.dir());
    let bytes = noise(61, 300_000);
    let octets = ("content-type", "application/octet-stream");
    push_image(&admin, "team/app", "v1", 1).await;
    let mut begun = Vec::new();
    for len in [0, 100, 200_000] {
        let post = admin.post("/v2/team/app/blobs/uploads/").await;
        let at = post.expect(202).location();
        if len > 0 {
            let patch = admin.send("PATCH", &at, &[octets], &bytes[..len]).await;
            patch.expect(202);
        }
        begun.push((at, len));
    }
    run_ok(&["repo", "delete", "team/app", "--data", &dir]);
    for (again, restart) in [(false, false), (true, false), (true, true)] {
        if again {
            push_image(&admin, "team/app", "v2", 2).await;
        }
        if restart {
            target.kill();
            target.restart().await;
        }
        let admin = target.admin();
        for (at, len) in &begun {
            let put = with_query(at, &format!("digest={}", sha256(&bytes)));
            for (method, path) in [("GET", at), ("PATCH", at), ("PUT", &put), ("DELETE", at)] {
                let body = if method == "PATCH" || method == "PUT" {
                    &bytes[*len..]
                } else {
                    &[]
                };
                let reply = admin.send(method, path, &[octets], body).await;
                assert_eq!(
                    reply.status,
                    404,
                    "{method} after {len}, anew: {again}: {}",
                    reply.text()
                );
            }
        }
        let blob = format!("/v2/team/app/blobs/{}", sha256(&bytes));
        admin.get(&blob).await.expect(404);
    }
    let (code, report) = damage::check(&target.data(), &["--deep"]);
    assert_eq!(code, 0, "{report:#}");
}

#[tokio::test]
async fn an_image_that_needs_more_memory_than_a_run_may_use_is_refused_with_its_size() {
    let upstream = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let target = Server::serve(home, &[], &[("DRYPORT_MIRROR__MEMORY", "1MiB")]).await;
    let admin = upstream.admin();
    push_blob(&admin, "team/app", b"{}").await;
    let mut children = Vec::new();
    for n in 0..5 {
        let mut manifest = image(b"{}", &[]);
        manifest["annotations"] = serde_json::json!({"filler": "x".repeat(400_000)});
        manifest["annotations"]["n"] = serde_json::json!(format!("{n}"));
        let manifest = bytes_of(&manifest);
        put_manifest(
            &admin,
            "team/app",
            &sha256(&manifest),
            OCI_MANIFEST,
            &manifest,
        )
        .await;
        let mut child = descriptor(OCI_MANIFEST, &manifest);
        child["platform"] = serde_json::json!({"os": "linux", "architecture": format!("a{n}")});
        children.push(child);
    }
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
    put_manifest(&admin, "team/app", "v1", OCI_INDEX, &bytes_of(&index)).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let args = ["mirror", "--data", &target.dir(), &source, "--to", "copy"];
    let output = run(&args);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("at least 2 MiB") && text.contains("may use 1 MiB"),
        "{text}"
    );
    // As it says, fewer platforms need less.
    let output = run(&[&args[..], &["--platform", "linux/a1"]].concat());
    assert!(output.status.success(), "{}", text_of(&output));
}

/// What a mirror run of a build before fills had rows of their own left half done.
fn leave_as_of_old(dir: &std::path::Path, repo: &str, digest: &str) -> String {
    use dryport::repo::rows::record::UploadRecord;
    use dryport::store::Table;
    use dryport::store::record::Record as _;
    use dryport::types::{Algorithm, Hasher};
    let (bytes, mut hasher) = (noise(1, 100_000), Hasher::new(Algorithm::Sha256));
    hasher.update(&bytes);
    let computed = Sha256::digest(format!("mirror {repo} {digest}").as_bytes());
    let id: [u8; 16] = computed[..16].try_into().unwrap();
    let rows = damage::Rows::open(dir);
    if rows.get(Table::Meta, b"no_old_fills").is_some() {
        rows.drop_row(Table::Meta, b"no_old_fills");
    }
    let row = UploadRecord {
        repo: rows.repo(repo).0,
        algorithm: Algorithm::Sha256.code(),
        offset: bytes.len() as u64,
        hash_state: hasher.save(),
        boot_id: "another".into(),
        saved_ms: 0,
        owner: String::new(),
    };
    rows.put(Table::Uploads, &id, &row.to_bytes().unwrap());
    let id = dryport::types::UploadId(id).to_string();
    let name = format!("{id}.{}.sha256", row.repo);
    std::fs::write(dir.join("uploads").join(name), &bytes).unwrap();
    id
}

#[tokio::test]
async fn what_older_builds_left_in_a_mirror_is_removed() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let (dir, small) = (target.dir(), world.source("small"));
    let output = run(&["mirror", "--data", &dir, &small, "--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    push_image(&target.admin(), "local", "v1", 9).await;
    target.kill();
    let data = target.data();
    let (old, kept) = tokio::task::spawn_blocking(move || {
        let old = leave_as_of_old(&data, "copy", &"sha256:00".repeat(4));
        // In a repository that takes pushes it is an upload as any other, which nobody writes to but by its id.
        (old, leave_as_of_old(&data, "local", "x"))
    })
    .await
    .unwrap();
    target.restart().await;
    let names: Vec<String> = uploads(&target).into_iter().map(|(name, _)| name).collect();
    assert!(names.len() == 1 && names[0].starts_with(&kept), "{names:?}");
    let at = format!("/v2/copy/blobs/uploads/{old}");
    let reply = target.admin().get(&at).await;
    reply.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let at = format!("/v2/local/blobs/uploads/{kept}");
    target.admin().delete(&at).await.expect(204);
    let output = run(&[
        "mirror",
        "--data",
        &dir,
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(world.asked(), 1);
    world.assert_law(&target, "copy").await;
}

#[tokio::test]
async fn a_paused_run_that_nobody_goes_on_with_is_given_up() {
    let (world, mut target) = (World::new().await, Server::start().await);
    world.hold(true);
    let dir = target.dir();
    for (n, name) in ["copy", "gone"].into_iter().enumerate() {
        let output = run(&[
            "mirror",
            "--data",
            &dir,
            &world.source("small"),
            "--to",
            name,
        ]);
        assert!(output.status.success(), "{}", text_of(&output));
        let mut paused = begin(&target, &world.source("v1"), name);
        until("some of the layer is here", SOON, async || {
            let some = uploads(&target).into_iter().filter(|f| f.1 >= 1 << 20);
            some.count() > n
        })
        .await;
        run_kill(&paused);
        until("the run ends", SOON, async || {
            paused.try_wait().unwrap().is_some()
        })
        .await;
    }
    world.hold(false);
    assert_eq!(uploads(&target).len(), 2);
    run_ok(&["repo", "delete", "gone", "--data", &dir]);
    run_ok(&["gc", "--data", &dir]);
    target.kill();
    let data = target.data();
    let fills = tokio::task::spawn_blocking(move || {
        damage::Rows::open(&data)
            .all(dryport::store::Table::Fills)
            .len()
    });
    assert_eq!(
        fills.await.unwrap(),
        1,
        "the rows of a deleted repository go"
    );
    let mut server =
        Server::serve(target.into_home(), &[], &[("DRYPORT_UPLOADS__IDLE", "1s")]).await;
    until("the file that no row names goes", SOON, async || {
        uploads(&server).len() == 1
    })
    .await;
    server.kill();
    let (code, report) = damage::check(&server.data(), &["--deep"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
}
