//! A registry made of what a test puts into it, whose every answer a test may bend.

#![allow(dead_code, reason = "each suite bends what it needs")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::content::{
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, bytes_of, descriptor, noise, sha256,
};

/// One request, without its body.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Ask {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Whether it is for a manifest under this tag or digest.
    pub fn manifest(&self, reference: &str) -> bool {
        self.path.ends_with(&format!("/manifests/{reference}"))
    }

    /// Whether it is for this blob.
    pub fn blob(&self, digest: &str) -> bool {
        self.path.ends_with(&format!("/blobs/{digest}"))
    }
}

/// One answer. Its length is that of its body, unless a header says another.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let answer = Self {
            status,
            body: body.into(),
            ..Self::default()
        };
        if content_type.is_empty() {
            return answer;
        }
        answer.with("Content-Type", content_type)
    }

    pub fn empty(status: u16) -> Self {
        Self::new(status, "", "")
    }

    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }
}

/// What becomes of an ordinary answer.
pub type Bend = Arc<dyn Fn(&Ask, Answer) -> Answer + Send + Sync>;

#[derive(Default)]
struct Site {
    /// By tag and by digest: type and bytes.
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    blobs: BTreeMap<String, Vec<u8>>,
    bend: Option<Bend>,
    asked: Vec<Ask>,
}

/// The registry, on a port of its own; it ends with the test's process. It has one repository, under any name.
pub struct Fake {
    pub port: u16,
    site: Arc<Mutex<Site>>,
}

impl Fake {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let site: Arc<Mutex<Site>> = Arc::default();
        let shared = Arc::clone(&site);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = serve(stream, &site);
                });
            }
        });
        Self { port, site }
    }

    /// `docker://` and this reference (`:TAG` or `@DIGEST`).
    pub fn source(&self, reference: &str) -> String {
        format!("docker://127.0.0.1:{}/team/app{reference}", self.port)
    }

    /// Nothing is there, and no answer is bent.
    pub fn clear(&self) {
        *self.site.lock().unwrap() = Site::default();
    }

    /// Every answer from now on passes through this.
    pub fn bend(&self, bend: impl Fn(&Ask, Answer) -> Answer + Send + Sync + 'static) {
        self.site.lock().unwrap().bend = Some(Arc::new(bend));
    }

    pub fn straighten(&self) {
        self.site.lock().unwrap().bend = None;
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Ask> {
        std::mem::take(&mut self.site.lock().unwrap().asked)
    }

    pub fn blob(&self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let mut site = self.site.lock().unwrap();
        site.blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    pub fn forget(&self, reference: &str) {
        let mut site = self.site.lock().unwrap();
        site.blobs.remove(reference);
        site.manifests.remove(reference);
    }

    /// A manifest by its digest and, if it is not empty, under a tag; gives the digest.
    pub fn manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let mut site = self.site.lock().unwrap();
        for name in [tag, &digest].into_iter().filter(|name| !name.is_empty()) {
            let value = (media_type.to_owned(), bytes.to_vec());
            site.manifests.insert(name.to_owned(), value);
        }
        digest
    }

    /// An image of one layer of `len` bytes, with its blobs.
    pub fn image(&self, tag: &str, arch: &str, seed: u64, len: usize) -> Image {
        let config = format!("{{\"architecture\":\"{arch}\",\"os\":\"linux\",\"seed\":{seed}}}")
            .into_bytes();
        let layer = noise(seed, len);
        self.blob(&config);
        self.blob(&layer);
        let value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config), "layers": [descriptor(OCI_LAYER, &layer)]});
        let bytes = bytes_of(&value);
        let digest = self.manifest(tag, OCI_MANIFEST, &bytes);
        Image {
            value,
            bytes,
            digest,
            config,
            layer,
        }
    }

    /// An index of these children; each needs a digest and a size.
    pub fn index(&self, tag: &str, children: &[Value]) -> Vec<u8> {
        let value = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        let bytes = bytes_of(&value);
        self.manifest(tag, OCI_INDEX, &bytes);
        bytes
    }

    /// A document that names `subject` and has one blob of its own.
    pub fn referrer(&self, subject: &[u8], note: &str) -> Vec<u8> {
        let blob = note.as_bytes();
        self.blob(b"{}");
        self.blob(blob);
        let value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.note",
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor("application/vnd.example.note", blob)],
            "subject": descriptor(OCI_MANIFEST, subject)});
        let bytes = bytes_of(&value);
        self.manifest("", OCI_MANIFEST, &bytes);
        bytes
    }
}

pub struct Image {
    pub value: Value,
    pub bytes: Vec<u8>,
    pub digest: String,
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

/// `sha256-HEX` and an ending: the tag of what belongs to a manifest.
pub fn tag_of(digest: &str, ending: &str) -> String {
    format!("{}{ending}", digest.replace(':', "-"))
}

fn serve(mut stream: TcpStream, site: &Mutex<Site>) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0_u8]);
    while !head.ends_with(b"\r\n\r\n") {
        // The first byte of a TLS greeting is no letter.
        if stream.read(&mut byte)? == 0 || (head.is_empty() && !byte[0].is_ascii_alphabetic()) {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut first = head.lines().next().unwrap_or_default().split(' ');
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let ask = Ask {
        method: first.next().unwrap_or_default().to_owned(),
        path: first.next().unwrap_or_default().to_owned(),
        headers: head.lines().skip(1).filter_map(header).collect(),
    };
    let (ordinary, bend) = {
        let mut site = site.lock().unwrap();
        site.asked.push(ask.clone());
        (ordinary(&site, &ask), site.bend.clone())
    };
    let answer = match bend {
        Some(bend) => bend(&ask, ordinary),
        None => ordinary,
    };
    send(stream, &ask, &answer)
}

fn ordinary(site: &Site, ask: &Ask) -> Answer {
    let path = ask.path.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    if ask.path.contains("/manifests/") {
        let found = site.manifests.get(last);
        return found.map_or_else(absent, |(media_type, bytes)| {
            Answer::new(200, media_type, bytes.as_slice())
                .with("Docker-Content-Digest", sha256(bytes))
        });
    }
    if ask.path.contains("/blobs/") {
        let Some(bytes) = site.blobs.get(last) else {
            return absent();
        };
        let from = ask.header("range").strip_prefix("bytes=");
        let from = from.and_then(|r| r.strip_suffix('-')?.parse::<usize>().ok());
        let octets = "application/octet-stream";
        return match from {
            Some(from) if from < bytes.len() => {
                let of = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206, octets, &bytes[from..]).with("Content-Range", of)
            }
            Some(_) => Answer::empty(416),
            None => Answer::new(200, octets, bytes.as_slice()),
        };
    }
    if ask.path == "/v2/" {
        return Answer::new(200, "application/json", "{}");
    }
    absent()
}

fn absent() -> Answer {
    let body = r#"{"errors":[{"code":"NOT_FOUND","message":"not here"}]}"#;
    Answer::new(404, "application/json", body)
}

fn send(mut stream: TcpStream, ask: &Ask, answer: &Answer) -> std::io::Result<()> {
    let mut out =
        format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    let said = ["content-length", "transfer-encoding"];
    let is_said =
        |(name, _): &(String, Vec<u8>)| said.contains(&name.to_ascii_lowercase().as_str());
    if !answer.headers.iter().any(is_said) {
        out.extend_from_slice(format!("Content-Length: {}\r\n", answer.body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if ask.method != "HEAD" {
        let end = answer
            .cut
            .unwrap_or(answer.body.len())
            .min(answer.body.len());
        out.extend_from_slice(&answer.body[..end]);
    }
    stream.write_all(&out)?;
    stream.shutdown(std::net::Shutdown::Write)
}
