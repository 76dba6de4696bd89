//! Clients that mean harm, or are broken: what they may have is bounded, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::content::{OCI_MANIFEST, push_image, sha256};
use crate::harness::{ADMIN, Client, SOON, Server, basic, until};

/// Short clocks, so that what must end ends within a test.
const CLOCKS: [(&str, &str); 2] = [
    ("DRYPORT_SERVE__IDLE", "2s"),
    ("DRYPORT_SERVE__PROGRESS", "2s"),
];
const TRUST: (&str, &str) = ("DRYPORT_TRUSTED_PROXIES", "127.0.0.1");

async fn start(env: &[(&str, &str)]) -> Server {
    start_under(&[], env).await
}

async fn start_under(under: &[&str], env: &[(&str, &str)]) -> Server {
    let server = start_empty(under, env).await;
    push_image(&server.admin(), "a", "v1", 1).await;
    server
}

async fn start_empty(under: &[&str], env: &[(&str, &str)]) -> Server {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    Server::serve_under(under, home, &[], env).await
}

/// Another client is served, on a connection of its own.
async fn served(server: &Server) {
    let reply = server.anonymous().get("/v2/a/manifests/v1").await;
    reply.expect(200);
}

/// Resident memory at most so far, in MiB.
pub fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

pub async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.anonymous().get("/metrics").await.text();
    let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn crowd(port: u16, number: usize, greeting: &[u8]) -> Vec<TcpStream> {
    (0..number)
        .map(|_| {
            let mut stream = connect(port);
            stream.write_all(greeting).unwrap();
            stream
        })
        .collect()
}

/// Whether the server has closed the connection, or does so while this waits.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The head of a push in one request that announces so many bytes.
fn push_head(len: u64) -> Vec<u8> {
    let (path, auth) = (
        format!("/v2/slow/blobs/uploads/?digest={}", sha256(b"x")),
        basic(ADMIN.0, ADMIN.1),
    );
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth}\r\nContent-Length: {len}\r\n\r\n"
    )
    .into_bytes()
}

/// As somebody behind a trusted proxy.
async fn get_from(client: &Client, path: &str, address: &str) -> u16 {
    let headers = [("x-forwarded-for", address)];
    client.send("GET", path, &headers, b"").await.status
}

#[tokio::test]
async fn idle_connections_are_cheap_and_end() {
    let server = start(&CLOCKS).await;
    let before = peak(&server);
    let mut silent = crowd(server.http, 700, b"");
    let mut asked = crowd(server.http, 700, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut half = crowd(server.https, 600, b"\x16\x03\x01\x02\x00\x01");
    served(&server).await;
    assert!(
        peak(&server) < before + 150,
        "{before} -> {} MiB",
        peak(&server)
    );
    for stream in silent.iter_mut().chain(&mut asked).chain(&mut half) {
        assert!(is_closed(stream));
    }
    served(&server).await;
}

#[tokio::test]
async fn slow_heads_and_bodies_end() {
    let server = start(&CLOCKS).await;
    let mut heads = crowd(server.http, 20, b"GET /v2/ HTTP/1.1\r\nX-Slow: ");
    let mut bodies = crowd(server.http, 20, &push_head(1000));
    // A byte now and then is no progress.
    until("slow clients are cut off", SOON, async || {
        let mut feeding = false;
        for stream in heads.iter_mut().chain(&mut bodies) {
            feeding |= stream.write_all(b"a").is_ok();
        }
        served(&server).await;
        tokio::time::sleep(Duration::from_millis(180)).await;
        !feeding
    })
    .await;
    for stream in heads.iter_mut().chain(&mut bodies) {
        assert!(is_closed(stream));
    }
}

#[tokio::test]
async fn answers_that_nobody_takes_hold_little() {
    let server = start(&CLOCKS).await;
    let (data, admin) = (vec![7; 32 << 20], server.admin());
    let digest = sha256(&data);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    admin.send("POST", &path, &[], &data).await.expect(201);
    let before = peak(&server);
    let ask = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    let streams = crowd(server.http, 100, ask.as_bytes());
    served(&server).await;
    let taken = admin
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .expect(200);
    assert_eq!(taken.body.len(), data.len());
    assert!(
        peak(&server) < before + 100,
        "{before} -> {} MiB",
        peak(&server)
    );
    // One asks.
    until("they are not connected any more", SOON, async || {
        metric(&server, "dryport_http_connections").await <= 10
    })
    .await;
    drop(streams);
}

#[tokio::test]
async fn uploads_share_one_budget() {
    let env = [("DRYPORT_LIMITS__UPLOAD_MEMORY", "4MiB")];
    let server = start(&env).await;
    let before = peak(&server);
    // More stop half way than the budget has room for: they hold nothing of it for long.
    let mut stopped = push_head(10 << 20);
    stopped.resize(stopped.len() + (2 << 20), 0);
    let stopped = crowd(server.http, 24, &stopped);
    let pushes = (0..24_u8).map(|n| {
        let admin = server.admin();
        tokio::spawn(async move {
            let data = vec![n; 6 << 20];
            let path = format!("/v2/b/blobs/uploads/?digest={}", sha256(&data));
            admin.send("POST", &path, &[], &data).await.status
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        assert_eq!(push.await.unwrap(), 201);
    }
    served(&server).await;
    assert!(
        peak(&server) < before + 120,
        "{before} -> {} MiB",
        peak(&server)
    );
    assert!(metric(&server, "dryport_upload_memory_bytes").await <= 4 << 20);
    drop(stopped);
}

#[tokio::test]
async fn a_length_alone_takes_nothing() {
    let server = start(&[]).await;
    let before = peak(&server);
    let streams = crowd(server.http, 50, &push_head(100_000_000_000));
    served(&server).await;
    let uploads = std::fs::read_dir(server.data().join("uploads")).unwrap();
    assert_eq!(uploads.count(), 0);
    assert!(peak(&server) < before + 100);
    drop(streams);
    let full = start_empty(&[], &[("DRYPORT_BLOBS__RESERVE", "1000TiB")]).await;
    let answer = full.raw(&push_head(100_000_000_000));
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
}

#[tokio::test]
async fn hostile_manifests_are_refused_one_by_one() {
    let server = start(&[]).await;
    let before = peak(&server);
    let kind = "application/vnd.example.unknown+json";
    let zeros = format!(r#"{{"x":[{}0]}}"#, "0,".repeat(1_500_000));
    let bodies = ["[".repeat(100_000), r#"{"a":"#.repeat(100_000), zeros];
    let mut puts = Vec::new();
    for n in 0..24 {
        let (admin, body) = (server.admin(), bodies[n % 3].clone());
        puts.push(tokio::spawn(async move {
            let header = [("content-type", kind)];
            let path = "/v2/a/manifests/deep";
            admin
                .send("PUT", path, &header, body.as_bytes())
                .await
                .status
        }));
    }
    for (n, put) in puts.into_iter().enumerate() {
        assert_eq!(put.await.unwrap(), [400, 400, 201][n % 3]);
    }
    served(&server).await;
    assert!(
        peak(&server) < before + 300,
        "{before} -> {} MiB",
        peak(&server)
    );
}

#[tokio::test]
async fn manifests_of_full_length_come_one_after_the_other() {
    let server = start(&[("DRYPORT_CACHE__MEMORY", "8MiB")]).await;
    let before = peak(&server);
    let puts = (0..32).map(|n| {
        let (admin, filler) = (server.admin(), "x".repeat((4 << 20) - 4096));
        tokio::spawn(async move {
            let body = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "n": n, "x": filler,
                "config": { "mediaType": "a/b", "digest": sha256(b"{}"), "size": 2 }, "layers": [] });
            let (header, path) = ([("content-type", OCI_MANIFEST)], format!("/v2/m/manifests/v{n}"));
            let body = body.to_string();
            admin.send("PUT", &path, &header, body.as_bytes()).await.status
        })
    });
    for put in puts.collect::<Vec<_>>() {
        assert_eq!(put.await.unwrap(), 201);
    }
    served(&server).await;
    assert!(
        peak(&server) < before + 150,
        "{before} -> {} MiB",
        peak(&server)
    );
}

#[tokio::test]
async fn long_heads_are_refused() {
    let server = start(&[]).await;
    let many = "X-H: 1\r\n".repeat(5000);
    let long = format!("X-Long: {}\r\n", "a".repeat(60_000));
    // Two of them are less than the first connections may hold, and more than a head may have.
    let (two, twenty) = (long.repeat(2), long.repeat(20));
    for (headers, status) in [(many, "431"), (two, "431"), (twenty, "431"), (long, "401")] {
        let answer =
            server.raw(format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
        // The rest of a head that is not read any more may reset the connection before the answer is.
        assert!(
            answer.is_empty() && status == "431"
                || answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    served(&server).await;
}

#[tokio::test]
async fn unfinished_uploads_of_one_owner_are_limited() {
    let server = start(&[("DRYPORT_LIMITS__UPLOADS", "3")]).await;
    server.add_user("bob", "bobs-password", &["--role", "writer", "--on", ""]);
    let admin = server.admin();
    let mut open = Vec::new();
    for _ in 0..3 {
        let reply = admin.post("/v2/a/blobs/uploads/").await.expect(202);
        open.push(reply.location());
    }
    let reply = admin.post("/v2/a/blobs/uploads/").await;
    let reply = reply.refused(429, "TOOMANYREQUESTS");
    assert_eq!(reply.header("retry-after"), "60");
    assert!(reply.text().contains("limits.uploads"), "{}", reply.text());
    assert!(!reply.header("x-request-id").is_empty());
    // Others have their own, and one that ends makes room.
    let bob = server.client(Some(("bob", "bobs-password")));
    bob.post("/v2/a/blobs/uploads/").await.expect(202);
    admin.delete(&open[0]).await.expect(204);
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    let close = crate::harness::with_query(&at, &format!("digest={}", sha256(b"x")));
    admin.send("PUT", &close, &[], b"x").await.expect(201);
    admin.post("/v2/a/blobs/uploads/").await.expect(202);
}

#[tokio::test]
async fn requests_of_one_client_are_limited() {
    let server = start(&[TRUST, ("DRYPORT_LIMITS__REQUESTS", "2")]).await;
    let data = vec![7; 32 << 20];
    let digest = sha256(&data);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    server
        .admin()
        .send("POST", &path, &[], &data)
        .await
        .expect(201);
    let ask =
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n");
    // Two answers that are never taken.
    let mut held = crowd(server.http, 2, format!("{ask}\r\n").as_bytes());
    for stream in &mut held {
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    let anonymous = server.anonymous();
    let manifest = "/v2/a/manifests/v1";
    let (third, other) = tokio::join!(
        anonymous.send("GET", manifest, &[("x-forwarded-for", "192.0.2.1")], b""),
        get_from(&anonymous, manifest, "192.0.2.2")
    );
    let third = third.refused(429, "TOOMANYREQUESTS");
    assert!(third.text().contains("192.0.2.1") && third.text().contains("limits.requests"));
    assert!(!third.header("retry-after").is_empty() && !third.header("x-request-id").is_empty());
    assert_eq!(other, 200);
    // An account counts for itself, and a proxy's own requests for nobody.
    let admin = server.admin();
    assert_eq!(get_from(&admin, manifest, "192.0.2.1").await, 200);
    served(&server).await;
    drop(held);
    until("the client may ask again", SOON, async || {
        get_from(&anonymous, manifest, "192.0.2.1").await == 200
    })
    .await;
}

#[tokio::test]
async fn connections_of_one_address_leave_room_for_others() {
    // 60 connections in all, 45 of them for loopback.
    let server = start_under(&["prlimit", "--nofile=182"], &[]).await;
    let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..5 {
        let mut streams = crowd(server.http, 40, ask);
        // Idle ones go for new ones.
        served(&server).await;
        streams.extend(crowd(server.http, 40, ask));
        served(&server).await;
    }
    // Those at work stay; the new one is closed.
    let mut busy = Vec::new();
    until("somebody is refused", SOON, async || {
        let mut stream = connect(server.http);
        let _ = stream.write_all(&push_head(1000));
        busy.push(stream);
        server.log().contains("limits.connections")
    })
    .await;
    drop(busy);
    let again = server.anonymous();
    until("others are let in again", SOON, async || {
        again.maybe("GET", "/readyz", &[], b"").await.is_some()
    })
    .await;
}

/// As [`connect`], from another address of this machine.
async fn connect_from(address: [u8; 4], port: u16) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn who_asks_often_keeps_a_connection_while_strangers_crowd_in() {
    // 60 connections in all.
    let server = start_under(&["prlimit", "--nofile=182"], &[]).await;
    let crowding = tokio::spawn({
        let port = server.http;
        async move {
            let mut held = Vec::new();
            for n in 0..180 {
                let mut stream = connect_from([127, 0, 2, 1 + n % 9], port).await;
                let half = tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\n");
                half.await.unwrap();
                held.push(stream);
            }
            // Whoever comes after all of them is let in.
            let mut last = connect_from([127, 0, 3, 1], port).await;
            let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut last, ask)
                .await
                .unwrap();
            let mut answer = [0; 12];
            tokio::io::AsyncReadExt::read_exact(&mut last, &mut answer)
                .await
                .unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    });
    let mut client = connect(server.http);
    while !crowding.is_finished() {
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = [0; 4096];
        let len = client.read(&mut answer).unwrap();
        assert!(answer[..len].starts_with(b"HTTP/1.1 200"), "it is closed");
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    crowding.await.unwrap();
}

#[tokio::test]
async fn one_address_cannot_have_every_connection() {
    // The machine's own address is no loopback.
    let Some(own) = own_address() else {
        eprintln!("this machine has no address but loopback: nothing to test with");
        return;
    };
    let env = [("DRYPORT_LIMITS__CONNECTIONS", "10"), CLOCKS[0]];
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let port = crate::harness::free_port();
    let listen = SocketAddr::new(own, port).to_string();
    let server = Server::serve(home, &["--http", &listen], &env).await;
    push_image(&server.admin(), "a", "v1", 1).await;
    let mut streams: Vec<_> = (0..40)
        .filter_map(|_| TcpStream::connect((own, port)).ok())
        .collect();
    served(&server).await;
    assert!(metric(&server, "dryport_http_connections").await < 20);
    for stream in &mut streams {
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert!(is_closed(stream));
    }
}

fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet is sent: the kernel only chooses the address that it would come from.
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[tokio::test]
async fn a_flood_of_logins_is_bounded() {
    let server = start(&[TRUST]).await;
    let before = peak(&server);
    let token = server
        .admin()
        .get("/v2/auth?service=x&scope=repository:a:pull")
        .await;
    token.expect(200);
    let floods = (0..40).map(|n| {
        let wrong = server.client(Some(("ci", &format!("wrong-{n}"))));
        tokio::spawn(async move { get_from(&wrong, "/v2/", &format!("198.51.100.{n}")).await })
    });
    let floods: Vec<_> = floods.collect();
    served(&server).await;
    server.admin().get("/v2/a/manifests/v1").await.expect(200);
    for flood in floods {
        assert!(matches!(flood.await.unwrap(), 401 | 429));
    }
    assert!(
        peak(&server) < before + 150,
        "{before} -> {} MiB",
        peak(&server)
    );
}
