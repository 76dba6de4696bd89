//! A disk that takes no writes or answers them with errors: reading goes on, and so does writing once it is mended.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::content::{OCI_MANIFEST, noise, push_blob, push_image, sha256, sha512};
use crate::harness::{Client, Reply, SOON, Server, init, skip, text_of, until, with_query};

pub fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    home
}

/// POST and PUT of one blob, each refusal with its answer.
async fn try_push(client: &Client, repo: &str, bytes: &[u8]) -> Result<String, Option<Reply>> {
    let octets = [("content-type", "application/octet-stream")];
    let start = client
        .maybe(
            "POST",
            &format!("/v2/{repo}/blobs/uploads/"),
            &[("content-length", "0")],
            b"",
        )
        .await;
    let start = start.filter(|r| r.status == 202).ok_or(None)?;
    let digest = sha256(bytes);
    let put = with_query(&start.location(), &format!("digest={digest}"));
    match client.maybe("PUT", &put, &octets, bytes).await {
        Some(reply) if reply.status == 201 => Ok(digest),
        other => Err(other),
    }
}

/// A library before the C library: below `FAULT_DIR` every change, or every sync, fails as the file named `FAULT` says,
/// and nobody can read the file `FAULT_READ`.
const FAULTY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static int under(const char *path) {
  const char *dir = getenv("FAULT_DIR");
  return dir && path && strncmp(path, dir, strlen(dir)) == 0;
}
static int mode(int sync) {
  const char *base = getenv("FAULT");
  char name[4096];
  if (!base) return 0;
  snprintf(name, sizeof name, "%s.ro", base);
  if (access(name, F_OK) == 0) return EROFS;
  snprintf(name, sizeof name, "%s.eio", base);
  if (access(name, F_OK) == 0) return EIO;
  snprintf(name, sizeof name, "%s.sync", base);
  if (sync && access(name, F_OK) == 0) return EIO;
  return 0;
}
static int bad_file(int fd, int sync) {
  char link[64], path[4096];
  int keep = errno, why;
  ssize_t n;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, sizeof path - 1);
  if (n < 0) { errno = keep; return 0; }
  path[n] = 0;
  why = under(path) ? mode(sync) : 0;
  errno = why ? why : keep;
  return why;
}
static int bad_fd(int fd) { return bad_file(fd, 0); }
static int bad_path(const char *path) {
  int keep = errno, why = under(path) ? mode(0) : 0;
  errno = why ? why : keep;
  return why;
}
#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return bad_fd(fd) ? -1 : NEXT(pwrite)(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { return bad_fd(fd) ? -1 : NEXT(pwrite64)(fd, b, n, o); }
ssize_t read(int fd, void *b, size_t n) {
  const char *bad = getenv("FAULT_READ");
  char link[64], path[4096];
  ssize_t len;
  if (bad) {
    int keep = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof path - 1);
    errno = keep;
    if (len >= 0) {
      path[len] = 0;
      if (strcmp(path, bad) == 0) { errno = EIO; return -1; }
    }
  }
  return NEXT(read)(fd, b, n);
}
int fsync(int fd) { return bad_file(fd, 1) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return bad_file(fd, 1) ? -1 : NEXT(fdatasync)(fd); }
int ftruncate(int fd, off_t n) { return bad_fd(fd) ? -1 : NEXT(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { return bad_fd(fd) ? -1 : NEXT(ftruncate64)(fd, n); }
int unlink(const char *p) { return bad_path(p) ? -1 : NEXT(unlink)(p); }
int rename(const char *a, const char *b) { return bad_path(b) ? -1 : NEXT(rename)(a, b); }
int open64(const char *p, int flags, ...) {
  va_list all;
  va_start(all, flags);
  int m = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(all, int) : 0;
  va_end(all);
  if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && bad_path(p)) return -1;
  return NEXT(open64)(p, flags, m);
}
"#;

pub struct Faulty {
    pub library: PathBuf,
    base: PathBuf,
    _dir: tempfile::TempDir,
}

impl Faulty {
    pub fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("faulty.c"), dir.path().join("faulty.so"));
        std::fs::write(&source, FAULTY).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl");
        match cc.output() {
            Ok(output) if output.status.success() => Some(Self {
                library,
                base: dir.path().join("fault"),
                _dir: dir,
            }),
            Ok(output) => panic!("{}", text_of(&output)),
            Err(error) => {
                skip(&format!(
                    "no C compiler to make a failing disk with: {error}"
                ));
                None
            }
        }
    }

    fn set(&self, kind: &str) {
        std::fs::write(self.base.with_extension(kind), "").unwrap();
    }

    fn heal(&self, kind: &str) {
        std::fs::remove_file(self.base.with_extension(kind)).unwrap();
    }
}

/// Pulls manifests and blobs all the time; counts the good and notes the rest.
async fn reader(
    client: Client,
    tags: u64,
    blobs: Vec<String>,
    stop: Arc<AtomicBool>,
) -> (u64, Vec<String>) {
    let (mut good, mut bad) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let mut paths: Vec<String> = (0..tags).map(|n| format!("/v2/a/manifests/t{n}")).collect();
        paths.extend(blobs.iter().map(|digest| format!("/v2/a/blobs/{digest}")));
        paths.push("/v2/a/tags/list".to_owned());
        for path in paths {
            match client.maybe("GET", &path, &[], b"").await {
                Some(reply) if reply.status == 200 => good += 1,
                Some(reply) => bad.push(format!("{path}: {} {}", reply.status, reply.text())),
                None => bad.push(format!("{path}: no answer")),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (good, bad)
}

/// A server whose disk does as `faulty` is told.
async fn serve_on(faulty: &Faulty) -> Server {
    let home = home();
    let data = home.path().join("data");
    let env = [
        ("LD_PRELOAD", faulty.library.to_str().unwrap()),
        ("FAULT", faulty.base.to_str().unwrap()),
        ("FAULT_DIR", data.to_str().unwrap()),
    ];
    Server::serve(home, &[], &env).await
}

async fn a_disk_that_fails(kind: &str) {
    let Some(faulty) = Faulty::build() else {
        return;
    };
    let mut server = serve_on(&faulty).await;
    let admin = server.admin();
    let mut blobs = Vec::new();
    for n in 0..5 {
        push_image(&admin, "a", &format!("t{n}"), n).await;
        blobs.push(push_blob(&admin, "a", &noise(100 + n, 200_000)).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(reader(admin.clone(), 5, blobs.clone(), Arc::clone(&stop)));
    faulty.set(kind);
    let mut refusals = Vec::new();
    for n in 0..12 {
        // Few bytes go into the database, many into a file.
        let bytes = noise(200 + n, if n % 2 == 0 { 1000 } else { 300_000 });
        match try_push(&admin, "a", &bytes).await {
            Ok(digest) => panic!("{digest} was acknowledged on a disk that takes nothing"),
            Err(refused) => refusals.extend(refused),
        }
        let config = format!("/v2/a/manifests/new{n}");
        let manifest = admin.get("/v2/a/manifests/t0").await.expect(200).body;
        let put = admin
            .maybe("PUT", &config, &[("content-type", OCI_MANIFEST)], &manifest)
            .await
            .expect("an answer");
        refusals.push(put);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for refusal in &refusals {
        assert_eq!(refusal.status, 503, "{}", refusal.text());
        assert!(!refusal.header("retry-after").is_empty());
        assert!(refusal.text().contains("try again"), "{}", refusal.text());
        assert!(!refusal.text().contains("os error"), "{}", refusal.text());
    }
    let word = if kind == "ro" {
        "Read-only"
    } else {
        "Input/output"
    };
    assert!(server.log().contains(word), "the log does not say why");
    faulty.heal(kind);
    let mut n = 1000;
    until("pushes work again", SOON, async || {
        n += 1;
        let pushed = try_push(&admin, "a", &noise(n, 300_000)).await;
        pushed.map(|digest| blobs.push(digest)).is_ok()
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (good, bad) = reading.await.unwrap();
    assert!(
        bad.is_empty(),
        "{} of {good}: {:#?}",
        bad.len(),
        &bad[..bad.len().min(8)]
    );
    assert!(good > 20, "{good} pulls");
    eprintln!(
        "{kind}: {} refused, {good} pulls beside them",
        refusals.len()
    );
    push_image(&admin, "a", "after", 77).await;
    server.kill();
    server.restart().await;
    let admin = server.admin();
    for digest in &blobs {
        let reply = admin
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200);
        assert_eq!(sha256(&reply.body), *digest);
    }
    for tag in ["t0", "t4", "after"] {
        admin
            .get(&format!("/v2/a/manifests/{tag}"))
            .await
            .expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_read_only_serves_and_comes_back() {
    a_disk_that_fails("ro").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_with_input_output_errors_serves_and_comes_back() {
    a_disk_that_fails("eio").await;
}

#[tokio::test]
async fn a_push_that_cannot_be_synced_leaves_nothing() {
    let Some(faulty) = Faulty::build() else {
        return;
    };
    let server = serve_on(&faulty).await;
    let admin = server.admin();
    push_blob(&admin, "a", &noise(1, 70_000)).await;
    let uploads = || server.data().join("uploads").read_dir().unwrap().count();
    faulty.set("sync");
    for (n, len) in [70_000, 300_000, 2 << 20].into_iter().enumerate() {
        let bytes = noise(n as u64 + 2, len);
        // Of another algorithm than the upload was begun with, too.
        for digest in [sha256(&bytes), sha512(&bytes)] {
            let begun = admin.post("/v2/a/blobs/uploads/").await.expect(202);
            let put = with_query(&begun.location(), &format!("digest={digest}"));
            let reply = admin.send("PUT", &put, &[], &bytes).await;
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert_eq!(uploads(), 0, "{len} bytes, {digest}");
        }
    }
    faulty.heal("sync");
    // The store may have met it, too, with a commit of its own.
    until("pushes work again", SOON, async || {
        try_push(&admin, "a", &noise(2, 70_000)).await.is_ok()
    })
    .await;
}
