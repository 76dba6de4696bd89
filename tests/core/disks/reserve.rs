//! A writer that goes on after the first refusal, with ever smaller changes, until nothing is taken; then the disk is freed by
//! the documented steps: by a running server, without one, and by one that starts on a disk without a byte.

use std::os::unix::fs::MetadataExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::core::disks::full::Volume;
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, put_manifest, sha256,
};
use crate::harness::{
    ADMIN, Client, Reply, SOON, Server, dryport, run_ok, run_with_input, text_of, until,
};

/// What was deleted goes with the next sweep, which only a command begins; content leaves nothing free.
const ENV: [(&str, &str); 4] = [
    ("DRYPORT_BLOBS__RESERVE", "0"),
    ("DRYPORT_BLOBS__LEASE", "1s"),
    ("DRYPORT_GC__INTERVAL", "0s"),
    ("DRYPORT_HISTORY__KEEP", "1h"),
];
/// The least that `DIR/reserve` must keep for those who remove.
const RESERVE: u64 = 16 << 20;

/// Bytes that the reserve file really has on disk.
fn reserve_of(server: &Server) -> u64 {
    std::fs::metadata(server.data().join("reserve")).map_or(0, |m| m.blocks() * 512)
}

fn run_gc(dir: &str, more: &[&str]) -> Output {
    let mut args = vec!["gc", "--data", dir, "--purge-history"];
    args.extend(more);
    dryport(&args).envs(ENV).output().unwrap()
}

fn collect(dir: &str, more: &[&str]) {
    let output = run_gc(dir, more);
    assert!(output.status.success(), "gc {more:?}: {}", text_of(&output));
}

/// A writer who takes what can be taken. Each change is one that was never made before.
struct Writer {
    client: Client,
    /// Blobs that its manifests name.
    config: Vec<u8>,
    layer: Vec<u8>,
    count: u64,
    /// What was acknowledged: manifests of `full`.
    manifests: Vec<String>,
    /// Blobs of `full`.
    blobs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Blob(usize),
    Manifest(usize),
    Tag,
    Mount,
    Piece(usize),
}

impl Writer {
    async fn new(client: Client) -> Self {
        let (config, layer) = (noise(1, 300), noise(2, 3000));
        for bytes in [&config, &layer] {
            push_blob(&client, "full", bytes).await;
        }
        let manifest = bytes_of(&image(&config, &[&layer]));
        put_manifest(&client, "full", "first", OCI_MANIFEST, &manifest).await;
        Self {
            client,
            config,
            layer,
            count: 0,
            manifests: Vec::new(),
            blobs: Vec::new(),
        }
    }

    /// Whether the change was taken; if not, the disk was full and the answer says so.
    async fn make(&mut self, change: Change) -> bool {
        self.count += 1;
        let n = self.count;
        let octets = [("content-type", "application/octet-stream")];
        let empty = [("content-length", "0")];
        let reply = match change {
            Change::Blob(len) => {
                let bytes = noise(1_000_000 + n, len);
                let digest = sha256(&bytes);
                let path = format!("/v2/full/blobs/uploads/?digest={digest}");
                let reply = self.client.send("POST", &path, &octets, &bytes).await;
                if reply.status == 201 {
                    self.blobs.push(digest);
                }
                reply
            }
            Change::Manifest(len) => {
                let mut manifest = image(&self.config, &[&self.layer]);
                manifest["annotations"] = json!({"n": n.to_string(), "filler": "x".repeat(len)});
                let bytes = bytes_of(&manifest);
                let digest = sha256(&bytes);
                let path = format!("/v2/full/manifests/{digest}");
                let content_type = [("content-type", OCI_MANIFEST)];
                let reply = self.client.send("PUT", &path, &content_type, &bytes).await;
                if reply.status == 201 {
                    self.manifests.push(digest);
                }
                reply
            }
            Change::Tag => {
                let manifest = bytes_of(&image(&self.config, &[&self.layer]));
                let path = format!("/v2/full/manifests/t{n}");
                let content_type = [("content-type", OCI_MANIFEST)];
                self.client
                    .send("PUT", &path, &content_type, &manifest)
                    .await
            }
            Change::Mount => {
                let digest = sha256(&self.layer);
                let path = format!("/v2/m{n}/blobs/uploads/?mount={digest}&from=full");
                self.client.send("POST", &path, &empty, b"").await
            }
            Change::Piece(len) => {
                let path = format!("/v2/p{n}/blobs/uploads/");
                let begun = self.client.send("POST", &path, &empty, b"").await;
                if begun.status == 202 {
                    let bytes = noise(n, len);
                    self.client
                        .send("PATCH", &begun.location(), &octets, &bytes)
                        .await
                } else {
                    begun
                }
            }
        };
        taken(change, &reply)
    }

    /// Goes on with all changes until none is taken any more.
    async fn fill_up(&mut self) {
        let end = Instant::now() + Duration::from_mins(2);
        for _ in 0..120 {
            self.make(Change::Manifest(40_000)).await;
        }
        let changes = [
            Change::Blob(4_000_000),
            Change::Blob(300_000),
            Change::Manifest(40_000),
            Change::Manifest(8_000),
            Change::Manifest(1_000),
            Change::Manifest(1),
            Change::Tag,
            Change::Mount,
            Change::Blob(60_000),
            Change::Blob(2_000),
            Change::Piece(20_000),
            Change::Blob(8),
            Change::Piece(1),
        ];
        loop {
            let mut any = false;
            for change in changes {
                while self.make(change).await {
                    any = true;
                    assert!(Instant::now() < end, "{change:?} is taken without an end");
                }
            }
            if !any {
                return;
            }
        }
    }
}

fn taken(change: Change, reply: &Reply) -> bool {
    if matches!(reply.status, 201 | 202) {
        return true;
    }
    let text = reply.text();
    assert_eq!(reply.status, 507, "{change:?}: {text}");
    assert_eq!(reply.code(), "DENIED", "{text}");
    for word in ["full", "free", "pull", "delete"] {
        assert!(text.contains(word), "{change:?}: {word} is not in {text}");
    }
    false
}

/// A full registry: `keep` is to stay.
async fn filled(volume: &Volume) -> (Server, Writer) {
    let server = Server::serve(volume.home(), &[], &ENV).await;
    let admin = server.admin();
    push_image(&admin, "keep", "latest", 7).await;
    let mut writer = Writer::new(server.admin()).await;
    writer.fill_up().await;
    let taken = (writer.manifests.len(), writer.blobs.len());
    assert!(taken.0 >= 120 && taken.1 > 3, "{taken:?}");
    let reserve = reserve_of(&server);
    let free = volume.free();
    assert!(
        reserve >= RESERVE || reserve == 0 && free >= RESERVE,
        "a push was given the reserve: {reserve}, {free} are free"
    );
    pulls_go_on(&server).await;
    (server, writer)
}

async fn pulls_go_on(server: &Server) {
    let admin = server.admin();
    let manifest = admin.get("/v2/keep/manifests/latest").await.expect(200);
    for layer in manifest.json()["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let path = format!("/v2/keep/blobs/{digest}");
        admin.head(&path).await.expect(200);
        assert_eq!(sha256(&admin.get(&path).await.expect(200).body), digest);
    }
}

/// Each delete works the first time it is asked for.
async fn delete_all(server: &Server, writer: &mut Writer) {
    let admin = server.admin();
    let mut paths = Vec::new();
    for digest in writer.manifests.drain(..) {
        paths.push(format!("/v2/full/manifests/{digest}"));
    }
    for digest in writer.blobs.drain(..) {
        paths.push(format!("/v2/full/blobs/{digest}"));
    }
    let tags = admin.get("/v2/full/tags/list?n=1000").await.expect(200);
    for tag in tags.json()["tags"].as_array().unwrap() {
        paths.push(format!("/v2/full/manifests/{}", tag.as_str().unwrap()));
    }
    for path in paths {
        let reply = admin.delete(&path).await;
        assert_eq!(reply.status, 202, "DELETE {path}: {}", reply.text());
    }
}

/// Pushes are taken again, and all is sound.
async fn goes_on(server: &Server) {
    let admin = server.admin();
    until("pushes work again", SOON, async || {
        let bytes = noise(5_000_000, 1_000_000);
        let path = format!("/v2/new/blobs/uploads/?digest={}", sha256(&bytes));
        let octets = [("content-type", "application/octet-stream")];
        let reply = admin.send("POST", &path, &octets, &bytes).await;
        assert!(matches!(reply.status, 201 | 507), "{}", reply.text());
        reply.status == 201
    })
    .await;
    push_image(&admin, "new", "latest", 99).await;
    assert!(
        reserve_of(server) >= RESERVE || server.log().contains("no reserve can be set aside"),
        "the reserve is not held again"
    );
    pulls_go_on(server).await;
    let check = dryport(&["check", "--deep", "--fast", "--data", &server.dir()])
        .envs(ENV)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", text_of(&check));
}

async fn stop(server: &mut Server) {
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
}

async fn freed_by_a_running_server(kind: &str) {
    // The least that an XFS may have.
    let mib = if kind == "xfs" { 300 } else { 112 };
    let Some(volume) = Volume::mount(kind, mib) else {
        return;
    };
    let (server, mut writer) = filled(&volume).await;
    // Whatever others put on that disk. Where a file cannot keep room, only what is left free is there to delete with.
    if reserve_of(&server) > 0 {
        volume.fill();
    }
    assert!(!writer.make(Change::Manifest(1)).await);
    delete_all(&server, &mut writer).await;
    pulls_go_on(&server).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    collect(&server.dir(), &[]);
    volume.empty();
    goes_on(&server).await;
}

#[tokio::test]
async fn a_running_server_frees_a_full_tmpfs() {
    freed_by_a_running_server("tmpfs").await;
}

#[tokio::test]
async fn a_running_server_frees_a_full_ext4() {
    freed_by_a_running_server("ext4").await;
}

#[tokio::test]
async fn a_running_server_frees_a_full_ext4_that_cannot_reserve() {
    freed_by_a_running_server("ext4 without extents").await;
}

#[tokio::test]
async fn a_running_server_frees_a_full_xfs() {
    freed_by_a_running_server("xfs").await;
}

#[tokio::test]
async fn a_full_disk_is_freed_without_a_server() {
    let Some(volume) = Volume::mount("tmpfs", 112) else {
        return;
    };
    let (mut server, _) = filled(&volume).await;
    volume.fill();
    stop(&mut server).await;
    volume.fill();
    assert_eq!(volume.free(), 0);
    let dir = server.dir();
    // What the operator does works, too.
    let passwd = [
        "user",
        "passwd",
        ADMIN.0,
        "--password-stdin",
        "--data",
        &dir,
    ];
    let output = run_with_input(dryport(&passwd), &format!("{}\n", ADMIN.1));
    assert!(output.status.success(), "{}", text_of(&output));
    run_ok(&["repo", "delete", "full", "--data", &dir]);
    std::thread::sleep(Duration::from_millis(1100));
    collect(&dir, &[]);
    volume.fill();
    let before = server.data().join("meta.redb").metadata().unwrap().len();
    collect(&dir, &["--compact"]);
    let after = server.data().join("meta.redb").metadata().unwrap().len();
    assert!(after < before, "{before} -> {after}");
    volume.empty();
    server.restart().await;
    goes_on(&server).await;
}

#[tokio::test]
async fn a_server_that_starts_on_a_full_disk_frees_it() {
    let Some(volume) = Volume::mount("ext4", 112) else {
        return;
    };
    let (mut server, mut writer) = filled(&volume).await;
    // Its certificate must be made anew, too.
    std::fs::remove_file(server.data().join("tls/leaf.pem")).unwrap();
    server.kill();
    volume.fill();
    assert_eq!(volume.free(), 0);
    server.restart().await;
    volume.fill();
    assert_eq!(volume.free(), 0);
    assert!(!writer.make(Change::Tag).await);
    pulls_go_on(&server).await;
    delete_all(&server, &mut writer).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    collect(&server.dir(), &[]);
    server.kill();
    volume.fill();
    server.restart().await;
    pulls_go_on(&server).await;
    volume.empty();
    goes_on(&server).await;
}
