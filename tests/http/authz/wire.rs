//! One HTTP/1.1 connection from a chosen loopback address, and answers made comparable.
//!
//! The address matters because failed logins are slowed by address, and the matrix makes hundreds of them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use crate::harness::Reply;

/// A request without its credentials.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, media_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.with("content-type", media_type)
    }
}

/// A client that speaks from one address.
pub struct Wire {
    port: u16,
    from: Ipv4Addr,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Wire {
    pub fn new(port: u16, from: Ipv4Addr) -> Self {
        Self {
            port,
            from,
            open: None,
        }
    }

    /// The connection, opened again where the server closed it.
    async fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        let usable = match &mut self.open {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((self.from, 0).into()).unwrap();
            let stream = socket
                .connect((Ipv4Addr::LOCALHOST, self.port).into())
                .await
                .unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            self.open = Some(sender);
        }
        self.open.as_mut().unwrap()
    }

    pub async fn send(&mut self, ask: &Ask, auth: Option<&str>) -> Reply {
        let mut request = http::Request::builder()
            .method(ask.method)
            .uri(&ask.path)
            .header("host", format!("127.0.0.1:{}", self.port));
        if let Some(auth) = auth {
            request = request.header("authorization", auth);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if matches!(ask.method, "POST" | "PUT" | "PATCH") {
            request = request.header("content-length", ask.body.len());
        }
        let body = Full::new(Bytes::from(ask.body.clone()));
        let request = request.body(body).unwrap();
        let answer = self.sender().await.send_request(request).await;
        let answer = answer.unwrap_or_else(|e| panic!("{} {}: {e}", ask.method, ask.path));
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_vec(),
        }
    }
}

/// Everything that a client can see of an answer but the date and the request id, as text.
pub fn seen(reply: &Reply) -> String {
    let mut lines: Vec<String> = reply
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id"))
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    let head = lines.join("\n");
    let id = reply.header("x-request-id");
    let body = reply.text().replace(id, "REQUEST-ID");
    format!("{}\n{head}\n\n{body}", reply.status)
}

/// The same with the names that were asked for, and every long hexadecimal run, replaced: what is left must not
/// depend on what exists.
pub fn shape(reply: &Reply, names: &[&str]) -> String {
    let mut text = seen(reply);
    for name in names {
        text = text.replace(name, "NAME");
    }
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() || ('a'..='f').contains(&c) {
            run.push(c);
            continue;
        }
        if run.len() >= 16 {
            let _ = write!(out, "<{} hex>", run.len());
        } else {
            out.push_str(&run);
        }
        run.clear();
        out.push(c);
    }
    out
}
