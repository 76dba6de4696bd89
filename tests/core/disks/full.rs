//! A data directory on a file system that is filled to its last byte under load, and freed again.
//!
//! The file systems are mounted for the test; a machine that forbids it makes the test say SKIP.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::core::quota::exact as quota;
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, put_manifest, sha256,
};
use crate::harness::{
    Client, Reply, SOON, Server, dryport, init, run_ok, skip, text_of, until, with_query,
};

/// A small file system of the test's own.
pub struct Volume {
    at: PathBuf,
    _dir: TempDir,
}

impl Volume {
    /// Mounts it: a tmpfs, or a file with an ext4, an ext4 without extents (which knows no `fallocate`) or an XFS. Says why
    /// where that is not allowed.
    pub fn mount(kind: &str, mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("volume");
        std::fs::create_dir(&at).unwrap();
        let done = if kind == "tmpfs" {
            ran(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
                .arg(&at))
        } else {
            let image = dir.path().join("image");
            let file = std::fs::File::create(&image).unwrap();
            file.set_len(mib << 20).unwrap();
            let (program, options): (_, &[&str]) = match kind {
                "xfs" => ("mkfs.xfs", &["-q"]),
                "ext4 without extents" => ("mkfs.ext4", &["-q", "-m", "0", "-O", "^extent,^64bit"]),
                _ => ("mkfs.ext4", &["-q", "-m", "0"]),
            };
            ran(Command::new(program).args(options).arg(&image)).and_then(|()| {
                ran(Command::new("mount")
                    .args(["-o", "loop"])
                    .arg(&image)
                    .arg(&at))
            })
        };
        match done {
            Ok(()) => Some(Self { at, _dir: dir }),
            Err(why) => {
                skip(&format!("a {kind} cannot be mounted here: {why}"));
                None
            }
        }
    }

    /// A home for a server whose data directory lies on this file system.
    pub fn home(&self) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(self.at.join("data"), home.path().join("data")).unwrap();
        std::fs::create_dir(self.at.join("data")).unwrap();
        init(&home.path().join("data"), &[]);
        home
    }

    /// Bytes that anybody may still write.
    pub fn free(&self) -> u64 {
        let answer = Command::new("df")
            .args(["-B1", "--output=avail"])
            .arg(&self.at)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        text.lines().last().unwrap().trim().parse().unwrap()
    }

    fn foreign(&self) -> PathBuf {
        self.at.join("foreign")
    }

    /// Gives back what [`Volume::fill`] took.
    pub fn empty(&self) {
        let removed = std::fs::remove_file(self.foreign());
        assert!(removed.is_ok() || !self.foreign().exists());
    }

    /// Takes every byte that is left.
    pub fn fill(&self) {
        let mut options = std::fs::File::options();
        // Without room for a name nobody else gets anything.
        let Ok(mut file) = options.create(true).append(true).open(self.foreign()) else {
            return;
        };
        for piece in [1 << 20, 64 << 10, 4096, 512, 1] {
            let bytes = vec![0x55_u8; piece];
            while file.write_all(&bytes).is_ok() && file.sync_data().is_ok() {}
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn ran(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text_of(&output).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What was seen while the disk filled up.
#[derive(Default)]
struct Seen {
    /// Acknowledged content: digest of a blob of repository `fill`.
    blobs: Mutex<Vec<String>>,
    refused: AtomicU64,
    unavailable: AtomicU64,
    pulled: AtomicU64,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Seen {
    fn note(&self, what: impl Into<String>) {
        self.wrong.lock().unwrap().push(what.into());
    }

    /// Whether this answer to a change was a good one; counts a refusal, notes a bad one.
    fn judge(&self, what: &str, reply: Option<&Reply>, good: &[u16]) -> bool {
        let Some(reply) = reply else {
            self.note(format!("{what}: no answer"));
            return false;
        };
        if good.contains(&reply.status) {
            return true;
        }
        let text = reply.text();
        let clear = match reply.status {
            507 => reply.code() == "DENIED" && text.contains("free"),
            503 => !reply.header("retry-after").is_empty() && text.contains("try again"),
            _ => false,
        };
        if !clear {
            self.note(format!("{what}: {} {text}", reply.status));
        }
        let counter = if reply.status == 507 {
            &self.refused
        } else {
            &self.unavailable
        };
        counter.fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// One push of a blob, by PUT in one piece or by PATCH and PUT.
async fn push(client: &Client, seen: &Seen, number: u64) -> bool {
    let bytes = noise(number, 300_000 + (number as usize % 7) * 150_000);
    let digest = sha256(&bytes);
    let path = "/v2/fill/blobs/uploads/";
    let start = client
        .maybe("POST", path, &[("content-length", "0")], b"")
        .await;
    if !seen.judge("POST", start.as_ref(), &[202]) {
        return false;
    }
    let location = start.unwrap().location();
    let octets = [("content-type", "application/octet-stream")];
    let (at, rest): (String, &[u8]) = if number.is_multiple_of(2) {
        let patched = client.maybe("PATCH", &location, &octets, &bytes).await;
        if !seen.judge("PATCH", patched.as_ref(), &[202]) {
            return false;
        }
        (patched.unwrap().location(), b"")
    } else {
        (location, &bytes)
    };
    let put = with_query(&at, &format!("digest={digest}"));
    let done = client.maybe("PUT", &put, &octets, rest).await;
    if !seen.judge("PUT", done.as_ref(), &[201]) {
        return false;
    }
    seen.blobs.lock().unwrap().push(digest);
    true
}

/// Pulls what was acknowledged, over and over; nothing but 200 is right.
async fn pull(client: Client, seen: Arc<Seen>, mut at: usize) {
    while !seen.stop.load(Ordering::Relaxed) {
        let digest = {
            let blobs = seen.blobs.lock().unwrap();
            at = (at * 31 + 7) % blobs.len();
            blobs[at].clone()
        };
        let path = format!("/v2/fill/blobs/{digest}");
        match client.maybe("GET", &path, &[], b"").await {
            Some(reply) if reply.status == 200 && sha256(&reply.body) == digest => {
                seen.pulled.fetch_add(1, Ordering::Relaxed);
            }
            Some(reply) => seen.note(format!("GET {digest}: {} {}", reply.status, reply.text())),
            None => seen.note(format!("GET {digest}: no answer")),
        }
        let manifest = client
            .maybe("GET", "/v2/keep/manifests/latest", &[], b"")
            .await;
        if manifest.as_ref().is_none_or(|r| r.status != 200) {
            let what = manifest.map_or_else(String::new, |r| format!("{} {}", r.status, r.text()));
            seen.note(format!("GET manifest: {what}"));
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

async fn everything_reads_back(server: &Server, seen: &Seen) {
    let admin = server.admin();
    let blobs = seen.blobs.lock().unwrap().clone();
    for digest in blobs {
        let reply = admin
            .get(&format!("/v2/fill/blobs/{digest}"))
            .await
            .expect(200);
        assert_eq!(sha256(&reply.body), digest);
    }
    admin.get("/v2/keep/manifests/latest").await.expect(200);
}

/// A change that a full disk may refuse a few times, as long as it says so, but not for ever.
async fn in_the_end(seen: &Seen, what: &str, mut change: impl AsyncFnMut() -> Option<Reply>) {
    until(what, SOON, async || {
        let reply = change().await;
        seen.judge(what, reply.as_ref(), &[201, 202, 404])
    })
    .await;
}

struct Large {
    manifest: String,
    layer: String,
}

async fn push_large_image(admin: &Client, repo: &str, number: u64) -> Large {
    let (config, layer) = (noise(number, 9_000), noise(number + 1, 4_000_000));
    push_blob(admin, repo, &config).await;
    let layer_digest = push_blob(admin, repo, &layer).await;
    let manifest = bytes_of(&image(&config, &[&layer]));
    Large {
        manifest: put_manifest(admin, repo, "latest", OCI_MANIFEST, &manifest).await,
        layer: layer_digest,
    }
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// An upload whose first chunk was acknowledged.
struct Begun(String);

const OCTETS: [(&str, &str); 1] = [("content-type", "application/octet-stream")];

impl Begun {
    async fn new(admin: &Client, first: &[u8]) -> Self {
        let start = admin.post("/v2/fill/blobs/uploads/").await.expect(202);
        let patched = admin.send("PATCH", &start.location(), &OCTETS, first).await;
        Self(patched.expect(202).location())
    }

    async fn more(&self, admin: &Client, bytes: &[u8]) -> Reply {
        admin.send("PATCH", &self.0, &OCTETS, bytes).await
    }

    /// Asks where it stands, and goes on from there.
    async fn finish(&self, admin: &Client, whole: &[u8]) {
        let status = admin.get(&self.0).await.expect(204);
        let end = status
            .header("range")
            .strip_prefix("0-")
            .unwrap()
            .to_owned();
        let have = end.parse::<usize>().unwrap() + 1;
        assert!(have >= 500_000, "an acknowledged chunk is gone: {have}");
        self.more(admin, &whole[have..]).await.expect(202);
        let put = with_query(&self.0, &format!("digest={}", sha256(whole)));
        admin.send("PUT", &put, &OCTETS, b"").await.expect(201);
    }
}

/// Bytes that the reserve file really has on disk.
fn reserve_of(server: &Server) -> u64 {
    std::fs::metadata(server.data().join("reserve")).map_or(0, |m| m.blocks() * 512)
}

async fn filled_and_freed(kind: &str, reserve: &str) {
    let Some(volume) = Volume::mount(kind, 96) else {
        return;
    };
    let env = [
        ("DRYPORT_BLOBS__RESERVE", reserve),
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
        ("DRYPORT_BLOBS__LEASE", "10m"),
    ];
    let mut server = Server::serve(volume.home(), &[], &env).await;
    let admin = server.admin();
    let seen = Arc::new(Seen::default());
    push_large_image(&admin, "keep", 1).await;
    let gone = push_large_image(&admin, "gone", 11).await;
    while seen.blobs.lock().unwrap().len() < 4 {
        let number = 1000 + seen.blobs.lock().unwrap().len() as u64;
        assert!(push(&admin, &seen, number).await);
    }

    // Its second chunk will find no room; the first was acknowledged.
    let long = noise(77, 3_000_000);
    let begun = Begun::new(&admin, &long[..500_000]).await;

    let pullers: Vec<_> = (1..4)
        .map(|n| tokio::spawn(pull(admin.clone(), Arc::clone(&seen), n)))
        .collect();
    let pushers: Vec<_> = (0..6_u64)
        .map(|n| {
            let (admin, seen) = (admin.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let (mut refused, mut number) = (0, 10_000 * (n + 1));
                while refused < 5 {
                    number += 1;
                    refused += i32::from(!push(&admin, &seen, number).await);
                }
            })
        })
        .collect();
    for pusher in pushers {
        pusher.await.unwrap();
    }
    assert!(
        seen.refused.load(Ordering::Relaxed) > 0,
        "no push was refused"
    );
    // What was refused keeps nothing of the disk.
    let left = files_in(&server.data().join("uploads"));
    assert_eq!(left, 1, "files of refused uploads stay");
    // The last bytes, to which the reserve of `blobs` would not let a push come; and again under pushes.
    volume.fill();
    for number in 90_000..90_010 {
        push(&admin, &seen, number).await;
        volume.fill();
    }
    assert_eq!(volume.free(), 0);
    let refused = begun.more(&admin, &long[500_000..]).await;
    refused.refused(507, "DENIED");

    // On the full disk: remove, collect, and there is room.
    let paths = [
        format!("/v2/gone/manifests/{}", gone.manifest),
        format!("/v2/gone/blobs/{}", gone.layer),
    ];
    for path in &paths {
        in_the_end(&seen, "DELETE", async || {
            admin.maybe("DELETE", path, &[], b"").await
        })
        .await;
    }
    // What comes free is the reserve's first, as far as it was lent.
    let (whole, dir) = (reserve_of(&server), server.dir());
    until("gc frees what was removed", SOON, async || {
        let output = dryport(&["gc", "--data", &dir, "--purge-history"])
            .output()
            .unwrap();
        let freed = volume.free() + reserve_of(&server).saturating_sub(whole);
        output.status.success() && freed >= 3_900_000
    })
    .await;
    std::fs::remove_file(volume.foreign()).unwrap();
    let mut number = 500_000;
    until("pushes work again", SOON, async || {
        number += 1;
        push(&admin, &seen, number).await
    })
    .await;
    seen.stop.store(true, Ordering::Relaxed);
    for puller in pullers {
        puller.await.unwrap();
    }
    let wrong = seen.wrong.lock().unwrap().clone();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(12)]
    );
    eprintln!(
        "{kind}, reserve {reserve}: {} refused (507), {} unavailable (503), {} pulls",
        seen.refused.load(Ordering::Relaxed),
        seen.unavailable.load(Ordering::Relaxed),
        seen.pulled.load(Ordering::Relaxed)
    );
    begun.finish(&admin, &long).await;
    seen.blobs.lock().unwrap().push(sha256(&long));
    everything_reads_back(&server, &seen).await;
    server.kill();
    server.restart().await;
    everything_reads_back(&server, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tmpfs_refuses_pushes_and_nothing_else() {
    filled_and_freed("tmpfs", "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tmpfs_with_a_reserve() {
    filled_and_freed("tmpfs", "8MiB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ext4_where_a_late_sync_finds_no_room() {
    filled_and_freed("ext4", "0").await;
}

#[tokio::test]
async fn the_reserve_comes_back_by_itself() {
    let Some(volume) = Volume::mount("tmpfs", 64) else {
        return;
    };
    let env = [("DRYPORT_BLOBS__RESERVE", "0")];
    let server = Server::serve(volume.home(), &[], &env).await;
    let (admin, seen) = (server.admin(), Seen::default());
    let whole = reserve_of(&server);
    assert!(whole >= 16 << 20);
    let manifest = push_image(&admin, "keep", "latest", 5).await;
    let content_type = [("content-type", OCI_MANIFEST)];
    let tag = |n| format!("/v2/keep/manifests/t{n}");
    for n in 0..40 {
        let reply = admin.send("PUT", &tag(n), &content_type, &manifest).await;
        reply.expect(201);
    }
    volume.fill();
    for n in 0..40 {
        admin.delete(&tag(n)).await.expect(202);
    }
    let lent = whole - reserve_of(&server);
    assert!(lent > 0 && lent <= whole / 2, "{lent} of {whole}");
    let metrics = admin.get("/metrics").await.expect(200).text();
    let owed = "dryport_store_reserve_owed_bytes ";
    let owed = metrics.lines().find_map(|line| line.strip_prefix(owed));
    assert_eq!(owed, Some(lent.to_string().as_str()));
    let ready = admin.get("/readyz").await.expect(200).text();
    assert!(ready.contains("the disk is full"), "{ready}");
    assert!(server.log().contains("the reserve was given up"));
    let refused = admin.send("PUT", &tag(99), &content_type, &manifest).await;
    assert!(!seen.judge("PUT", Some(&refused), &[201]));
    assert!(seen.wrong.lock().unwrap().is_empty(), "{:#?}", seen.wrong);
    // A quota stands all the same; what is there is counted once there is room.
    quota::set(&server, "keep", "1GiB");
    assert_eq!(quota::figure(&server, "keep", "used"), 0);
    volume.empty();
    let what = "the reserve is set aside again";
    until(what, SOON, async || reserve_of(&server) >= whole).await;
    let reply = admin.send("PUT", &tag(99), &content_type, &manifest).await;
    reply.expect(201);
    assert!(server.log().contains("the reserve is set aside again"));
    run_ok(&["gc", "--data", &server.dir()]);
    assert!(quota::figure(&server, "keep", "used") > 0);
}
