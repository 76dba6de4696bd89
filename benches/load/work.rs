//! The workloads: what is asked, over how many connections, and what one sample of it is.

use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::client::{Answer, Connection, Endpoint};
use crate::cpu::Cpu;
use crate::target::{Rights, Target};

/// The repository that is filled and asked.
pub const REPO: &str = "bench/load";
/// The same of files.
pub const FILES: &str = "bench-files";
/// Tags that are there for the list, beside those that are pushed.
const TAGS: usize = 200;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;

/// What one operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET of a manifest by its tag.
    Manifest,
    /// GET of a blob of so many bytes.
    Blob(usize),
    /// POST and one PUT of a new blob of so many bytes.
    Push(usize),
    /// PUT of a manifest under a new tag.
    PutManifest,
    /// A page of 100 tags.
    Tags,
    /// GET of a file of so many bytes.
    File(usize),
    /// PUT of a new file of so many bytes.
    PutFile(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub kind: Kind,
    pub connections: usize,
    pub tls: bool,
}

const fn workload(name: &'static str, kind: Kind, connections: usize, tls: bool) -> Workload {
    Workload {
        name,
        kind,
        connections,
        tls,
    }
}

pub const WORKLOADS: [Workload; 17] = [
    workload("manifest-get-1", Kind::Manifest, 1, false),
    workload("manifest-get-16", Kind::Manifest, 16, false),
    workload("manifest-get-64", Kind::Manifest, 64, false),
    workload("manifest-get-16-tls", Kind::Manifest, 16, true),
    workload("blob-1KiB-16", Kind::Blob(KIB), 16, false),
    workload("blob-1MiB-16", Kind::Blob(MIB), 16, false),
    workload("blob-100MiB-2", Kind::Blob(100 * MIB), 2, false),
    workload("blob-1MiB-16-tls", Kind::Blob(MIB), 16, true),
    workload("blob-100MiB-2-tls", Kind::Blob(100 * MIB), 2, true),
    workload("push-64KiB-8", Kind::Push(64 * KIB), 8, false),
    workload("push-1MiB-16", Kind::Push(MIB), 16, false),
    workload("push-100MiB-1", Kind::Push(100 * MIB), 1, false),
    workload("manifest-put-8", Kind::PutManifest, 8, false),
    workload("tags-page-8", Kind::Tags, 8, false),
    workload("tags-page-8-tls", Kind::Tags, 8, true),
    workload("files-get-1MiB-16", Kind::File(MIB), 16, false),
    workload("files-put-64KiB-8", Kind::PutFile(64 * KIB), 8, false),
];

/// One run of a workload.
#[derive(Debug, Default)]
pub struct Sample {
    pub operations: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// Microseconds of each operation, sorted.
    pub micros: Vec<u64>,
    /// CPU seconds of the server process.
    pub cpu: Option<f64>,
    /// Share of the machine's CPU time that neither the server nor this client took.
    pub others: Option<f64>,
    /// Operations that failed, and why the first one did.
    pub errors: u64,
    pub why: Option<String>,
}

impl Sample {
    fn join(&mut self, other: Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.micros.extend(other.micros);
        self.errors += other.errors;
        self.why = self.why.take().or(other.why);
    }
}

/// Bytes of blobs: a body that is the same in all of them, whose hash is computed once, and a tail of their own.
pub struct Bytes {
    body: Vec<u8>,
    hash: Sha256,
    next: AtomicU64,
}

const TAIL: usize = 16;

fn now_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |t| t.as_nanos() as u64)
}

impl Bytes {
    pub fn new(size: usize) -> Self {
        let mut state = size as u64 | 1;
        let mut body = Vec::with_capacity(size + 8);
        while body.len() < size - TAIL {
            // xorshift: no compression helps.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.extend_from_slice(&state.to_le_bytes());
        }
        body.truncate(size - TAIL);
        let mut hash = Sha256::new();
        hash.update(&body);
        // A second run against the same registry must push new blobs.
        let next = AtomicU64::new(now_ns());
        Self { body, hash, next }
    }

    /// The tail and the digest of another blob.
    fn another(&self) -> ([u8; TAIL], String) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut tail = [0; TAIL];
        tail[..8].copy_from_slice(&n.to_le_bytes());
        let mut hash = self.hash.clone();
        hash.update(tail);
        (tail, hex(&hash.finalize()))
    }
}

fn hex(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold("sha256:".to_owned(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// What a target was filled with.
#[derive(Default, Clone)]
pub struct Content {
    manifest: Arc<Vec<u8>>,
    /// Size and digest of each blob.
    blobs: Vec<(usize, String)>,
    /// It takes files, and has those that are to be read.
    has_files: bool,
}

/// Pushes what the workloads read: blobs of the sizes asked for, a manifest, tags.
pub async fn fill(target: &mut Target, kinds: &[Kind]) -> Result<()> {
    let at = target.any()?.clone();
    let rights = target.rights(&at).await?;
    let mut connection = Connection::open(&at).await?;
    let mut content = Content::default();
    let sizes = kinds.iter().filter_map(|kind| match kind {
        Kind::Blob(size) => Some(*size),
        _ => None,
    });
    let mut sizes: Vec<usize> = sizes.chain([KIB]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let digest = push(&mut connection, &at, &rights.write, &Bytes::new(size)).await?;
        content.blobs.push((size, digest));
    }
    let (size, digest) = content.blobs[0].clone();
    let layers: Vec<_> = content.blobs.iter().map(|(size, digest)| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
    }).collect();
    let config = serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size});
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    content.manifest = Arc::new(serde_json::to_vec(&manifest)?);
    for n in 0..TAGS {
        let head = put_head(
            &at,
            &rights.write,
            &format!("t{n:05}"),
            content.manifest.len(),
        );
        let answer = connection
            .ask(head.as_bytes(), &[&content.manifest], false)
            .await?;
        expect(&answer, 201)?;
    }
    content.has_files = true;
    for size in kinds.iter().filter_map(|kind| match kind {
        Kind::File(size) => Some(*size),
        _ => None,
    }) {
        let (name, bytes) = (size.to_string(), Bytes::new(size));
        let put = put_file(&mut connection, &at, &rights.write, (&name, &bytes)).await;
        if put.is_err() {
            // Another registry, or an older build: its rows stay empty.
            content.has_files = false;
            connection = Connection::open(&at).await?;
        }
    }
    target.content = content;
    Ok(())
}

/// Puts another file.
async fn put_file(
    connection: &mut Connection,
    at: &Endpoint,
    write: &str,
    (name, bytes): (&str, &Bytes),
) -> Result<()> {
    let ((tail, _), host) = (bytes.another(), &at.host);
    let length = bytes.body.len() + TAIL;
    let put = format!(
        "PUT /r/{FILES}/{name} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{write}\r\n"
    );
    let answer = connection
        .ask(put.as_bytes(), &[&bytes.body, &tail], false)
        .await?;
    expect(&answer, 201)
}

fn expect(answer: &Answer, status: u16) -> Result<()> {
    if answer.status == status {
        return Ok(());
    }
    let first = answer.head.lines().next().unwrap_or_default();
    Err(Error::other(format!("{first} instead of {status}")))
}

fn get_head(at: &Endpoint, rights: &Rights, path: &str) -> String {
    let (host, read) = (&at.host, &rights.read);
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {MANIFEST}, */*\r\n{read}\r\n")
}

fn put_head(at: &Endpoint, write: &str, tag: &str, length: usize) -> String {
    let host = &at.host;
    format!(
        "PUT /v2/{REPO}/manifests/{tag} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {MANIFEST}\r\ncontent-length: {length}\r\n{write}\r\n"
    )
}

/// Pushes another blob; answers its digest.
async fn push(
    connection: &mut Connection,
    at: &Endpoint,
    write: &str,
    bytes: &Bytes,
) -> Result<String> {
    let (tail, digest) = bytes.another();
    let host = &at.host;
    let post = format!(
        "POST /v2/{REPO}/blobs/uploads/ HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n{write}\r\n"
    );
    let answer = connection.ask(post.as_bytes(), &[], false).await?;
    expect(&answer, 202)?;
    let location = answer.header("location");
    let path = location.split_once("://").map_or(location, |(_, rest)| {
        rest.find('/').map_or("/", |at| &rest[at..])
    });
    let mark = if path.contains('?') { '&' } else { '?' };
    let length = bytes.body.len() + TAIL;
    let put = format!(
        "PUT {path}{mark}digest={digest} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n{write}\r\n"
    );
    let answer = connection
        .ask(put.as_bytes(), &[&bytes.body, &tail], false)
        .await?;
    expect(&answer, 201)?;
    Ok(digest)
}

/// One connection's part of a workload.
struct Worker {
    at: Endpoint,
    rights: Rights,
    kind: Kind,
    content: Content,
    bytes: Option<Arc<Bytes>>,
    number: usize,
    /// Of this sample alone: what is put has a name that was never there.
    mark: u64,
    end: Instant,
}

impl Worker {
    async fn run(self, mut connection: Connection) -> Sample {
        let mut sample = Sample::default();
        let path = match self.kind {
            Kind::Manifest => format!("/v2/{REPO}/manifests/t00000"),
            Kind::Tags => format!("/v2/{REPO}/tags/list?n=100"),
            Kind::Blob(size) => {
                let blob = self.content.blobs.iter().find(|(s, _)| *s == size);
                format!("/v2/{REPO}/blobs/{}", blob.map_or("", |(_, digest)| digest))
            }
            Kind::File(size) => format!("/r/{FILES}/{size}"),
            Kind::Push(_) | Kind::PutManifest | Kind::PutFile(_) => String::new(),
        };
        let get = get_head(&self.at, &self.rights, &path);
        let mut n = 0_u64;
        while Instant::now() < self.end {
            let begun = Instant::now();
            n += 1;
            match self.one(&mut connection, get.as_bytes(), n).await {
                Ok(bytes) => {
                    sample.operations += 1;
                    sample.bytes += bytes;
                    sample.micros.push(begun.elapsed().as_micros() as u64);
                }
                Err(error) => {
                    sample.errors += 1;
                    sample.why.get_or_insert_with(|| error.to_string());
                    // What is left of the answer would be taken for the next one.
                    match Connection::open(&self.at).await {
                        Ok(new) => connection = new,
                        Err(_) => return sample,
                    }
                }
            }
        }
        sample
    }

    async fn one(&self, connection: &mut Connection, get: &[u8], n: u64) -> Result<u64> {
        match self.kind {
            Kind::Manifest | Kind::Blob(_) | Kind::Tags | Kind::File(_) => {
                let answer = connection.ask(get, &[], false).await?;
                expect(&answer, 200)?;
                Ok(answer.length)
            }
            Kind::Push(size) => {
                let bytes = self
                    .bytes
                    .as_ref()
                    .ok_or_else(|| Error::other("no bytes"))?;
                push(connection, &self.at, &self.rights.write, bytes).await?;
                Ok(size as u64)
            }
            Kind::PutFile(size) => {
                let bytes = self
                    .bytes
                    .as_ref()
                    .ok_or_else(|| Error::other("no bytes"))?;
                let name = format!("p/{:x}-{}-{n}", self.mark, self.number);
                put_file(connection, &self.at, &self.rights.write, (&name, bytes)).await?;
                Ok(size as u64)
            }
            Kind::PutManifest => {
                // A manifest of its own, as a push brings one.
                let tag = format!("p{:x}-{}-{n}", self.mark, self.number);
                let start = self.content.manifest.strip_suffix(b"}").unwrap_or_default();
                let end = format!(r#","annotations":{{"bench":"{tag}"}}}}"#);
                let length = start.len() + end.len();
                let head = put_head(&self.at, &self.rights.write, &tag, length);
                let body = [start, end.as_bytes()];
                let answer = connection.ask(head.as_bytes(), &body, false).await?;
                expect(&answer, 201)?;
                Ok(length as u64)
            }
        }
    }
}

/// Runs a workload for so long against a target; `None` where it does not listen so.
pub async fn run(
    target: &Target,
    work: &Workload,
    bytes: Option<Arc<Bytes>>,
    time: Duration,
) -> Result<Option<Sample>> {
    let Some(at) = target.endpoint(work.tls) else {
        return Ok(None);
    };
    if matches!(work.kind, Kind::File(_) | Kind::PutFile(_)) && !target.content.has_files {
        return Ok(None);
    }
    let rights = target.rights(at).await?;
    let mut connections = Vec::new();
    for _ in 0..work.connections {
        connections.push(Connection::open(at).await?);
    }
    let (before, mark) = (Cpu::now(target), now_ns());
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let worker = Worker {
            at: at.clone(),
            rights: rights.clone(),
            kind: work.kind,
            content: target.content.clone(),
            bytes: bytes.clone(),
            number,
            mark,
            end: begun + time,
        };
        tasks.push(tokio::spawn(worker.run(connection)));
    }
    let mut sample = Sample::default();
    for task in tasks {
        sample.join(task.await.map_err(Error::other)?);
    }
    sample.seconds = begun.elapsed().as_secs_f64();
    let after = Cpu::now(target);
    sample.cpu = after.server.zip(before.server).map(|(a, b)| a - b);
    sample.others = after.others_since(&before);
    sample.micros.sort_unstable();
    Ok(Some(sample))
}
