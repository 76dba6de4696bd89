//! Requests that their client breaks off.

use super::{ADMIN, Server, basic};
use std::io::Write as _;
use std::net::TcpStream;

/// Sends the head of a request and `sent` of its `body`, then closes the connection without waiting for the answer.
pub fn break_off(server: &Server, method: &str, path: &str, body: &[u8], sent: usize) {
    drop(begun(
        server,
        method,
        path,
        "application/octet-stream",
        body,
        sent,
    ));
}

/// A connection on which the head of a request and `sent` of its `body` have been sent.
pub fn begun(
    server: &Server,
    method: &str,
    path: &str,
    media_type: &str,
    body: &[u8],
    sent: usize,
) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        server.host(),
        basic(ADMIN.0, ADMIN.1),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(&body[..sent]);
    stream
}
