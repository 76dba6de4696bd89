//! A registry with bad manners: hands requests on to a real server, and cuts, refuses or holds back a blob when told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What to do with requests whose path ends in a digest.
#[derive(Default)]
pub struct Manners {
    /// This blob breaks off after so many bytes of its first answer and is refused (403) from then on.
    pub cut: Option<(String, usize)>,
    /// All blobs are elsewhere: `http://HOST/PATH`, to which the digest is added. A request that was led here gets the blob.
    pub blobs_at: Option<String>,
    /// This blob stops after so many bytes of an answer, head and all, as long as this is set.
    pub hold: Option<(String, usize)>,
    /// How often a manifest was asked for.
    pub manifests: usize,
    /// The `Range` headers of the requests for blobs, as `DIGEST RANGE`; an empty range where there was none.
    pub asked: Vec<String>,
}

/// The stand-in for an upstream on a port of its own; it ends with the test's process.
pub struct Upstream {
    pub port: u16,
    pub manners: Arc<Mutex<Manners>>,
}

impl Upstream {
    /// In front of the server on this port.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let manners: Arc<Mutex<Manners>> = Arc::default();
        let shared = Arc::clone(&manners);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manners = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is what these tests are about.
                    let _ = pass_on(stream, server, &manners);
                });
            }
        });
        Self { port, manners }
    }
}

/// One request on a connection: its head with `Connection: close`, then the answer as it comes.
fn pass_on(mut client: TcpStream, server: u16, manners: &Mutex<Manners>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0_u8];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        // What begins a TLS handshake: a plain server closes, and the client need not wait for an answer that never comes.
        if head.is_empty() && byte == [0x16] {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut limit, mut blob) = (usize::MAX, String::new());
    if path.contains("/manifests/") {
        manners.lock().unwrap().manifests += 1;
    }
    if let Some((_, digest)) = path.split_once("/blobs/") {
        let range = head.lines().find_map(|l| {
            let (name, value) = l.split_once(':')?;
            name.eq_ignore_ascii_case("range")
                .then(|| value.trim().to_owned())
        });
        let mut manners = manners.lock().unwrap();
        if let Some(place) = &manners.blobs_at
            && !path.ends_with("?led")
        {
            let answer = format!(
                "HTTP/1.1 307 Elsewhere\r\nLocation: {place}/{digest}?led\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return client.write_all(answer.as_bytes());
        }
        digest.clone_into(&mut blob);
        let seen = format!("{digest} ");
        let again = manners.asked.iter().any(|a| a.starts_with(&seen));
        manners.asked.push(seen + &range.unwrap_or_default());
        if let Some((bad, bytes)) = &manners.cut
            && bad == digest
        {
            if again {
                return client.write_all(
                    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
            limit = *bytes;
        }
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    upstream.write_all(format!("{line}\r\nConnection: close\r\n{rest}").as_bytes())?;
    let (mut passed, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let n = upstream.read(&mut buffer)?;
        if n == 0 || passed >= limit {
            return client.shutdown(Shutdown::Both);
        }
        // The tests' own ends come long before this one.
        for _ in 0..60_000 {
            let hold = manners.lock().unwrap().hold.clone();
            if hold.is_none_or(|(held, bytes)| held != blob || passed < bytes) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        client.write_all(&buffer[..n])?;
        passed += n;
    }
}
