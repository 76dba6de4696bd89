//! What clients send beside what they mean to: many scopes in one token request, plain HTTP to the port of HTTPS, no
//! `Host` or two, chunks that end before they begin.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use crate::harness::content::push_image;
use crate::harness::{ADMIN, Client, Reply, SOON, Server, basic};
use crate::http::authz::tokens::claims;

/// `repository:NAME:pull` of so many names.
fn scopes(count: usize, name: &str) -> Vec<String> {
    (0..count)
        .map(|n| format!("repository:{name}{n}:pull"))
        .collect()
}

/// The ways in which one token request names scopes.
async fn tokens(client: &Client, scopes: &[String]) -> [Reply; 3] {
    let fields: Vec<String> = scopes.iter().map(|s| format!("scope={s}")).collect();
    let (each, all) = (fields.join("&"), scopes.join("+"));
    let (user, password) = ADMIN;
    let form = format!("grant_type=password&username={user}&password={password}&scope={all}");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    [
        client.get(&format!("/v2/auth?service=s&{each}")).await,
        client.get(&format!("/v2/auth?service=s&scope={all}")).await,
        client
            .send("POST", "/v2/auth", &kind, form.as_bytes())
            .await,
    ]
}

#[tokio::test]
async fn a_token_holds_all_scopes_that_were_asked_for_or_the_limit_is_said() {
    let server = Server::start().await;
    let client = server.admin();
    let service = server.service().await;
    for count in [1, 64, 65, 100, 200, 256] {
        let mut asked = scopes(count, "team/app");
        // Twice is once.
        asked.push(asked[0].clone());
        let asked = if count < 200 {
            &asked[..]
        } else {
            &asked[..count]
        };
        for reply in tokens(&client, asked).await {
            let token = reply.expect(200).json()["token"]
                .as_str()
                .unwrap()
                .to_owned();
            let held = claims(&token)["access"].as_array().unwrap().len();
            assert_eq!(held, count);
        }
        // Such a token is of use: its last scope counts.
        let name = format!("team/app{}", count - 1);
        push_image(&client, &name, "v1", 1).await;
        let all = asked.join("+");
        let ask = format!("/v2/auth?service={service}&scope={all}");
        let token = client.get(&ask).await.expect(200).json()["token"].clone();
        let bearer = server.bearer(token.as_str().unwrap());
        bearer
            .get(&format!("/v2/{name}/manifests/v1"))
            .await
            .expect(200);
    }
    for count in [257, 1000] {
        for reply in tokens(&client, &scopes(count, "team/app")).await {
            let text = reply.refused(400, "UNSUPPORTED").text();
            // One parameter each, or all in one.
            let is_said = text.contains("256") || text.contains("300 parameters");
            assert!(is_said, "{text}");
        }
    }
    // Long names: what the token would be too long for.
    let name = format!("{}/x", "long".repeat(50));
    for count in [90, 200] {
        for reply in tokens(&client, &scopes(count, &name)).await {
            if count == 90 {
                reply.expect(200);
            } else {
                let text = reply.refused(400, "UNSUPPORTED").text();
                assert!(text.contains("40960 bytes"), "{text}");
            }
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// What comes until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_https_port_is_told_the_address() {
    let server = Server::start().await;
    let (port, login) = (server.https, basic(ADMIN.0, ADMIN.1));
    for (head, body) in [
        ("GET /v2/ HTTP/1.1\r\nHost: registry.test:8443\r\n", ""),
        ("GET /healthz HTTP/1.1\r\nHost: registry.test:8443\r\n", ""),
        ("HEAD /v2/ HTTP/1.1\r\nHost: registry.test:8443\r\n", ""),
        (
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: registry.test:8443\r\nContent-Length: 4\r\n",
            "data",
        ),
        (
            "GET http://registry.test:8443/v2/ HTTP/1.1\r\nHost: else.test\r\n",
            "",
        ),
        ("get /v2/ HTTP/1.0\r\nHost: registry.test:8443\r\n", ""),
    ] {
        let mut stream = connect(port);
        // In two pieces: the first byte alone decides.
        let text = format!("{head}Authorization: {login}\r\n\r\n{body}");
        stream.write_all(&text.as_bytes()[..1]).unwrap();
        stream.write_all(&text.as_bytes()[1..]).unwrap();
        let answer = rest(&mut stream);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
            "{head}: {answer}"
        );
        let lower = answer.to_ascii_lowercase();
        assert!(
            lower.contains("connection: close") || head.contains("HTTP/1.0"),
            "{answer}"
        );
        assert!(
            lower.contains("x-content-type-options: nosniff"),
            "{answer}"
        );
        if !head.starts_with("HEAD") {
            assert!(answer.contains("https://registry.test:8443/"), "{answer}");
        }
        // No password is looked at where others can read it.
        assert!(!lower.contains("www-authenticate"), "{answer}");
    }
    // What is no request at all, and HTTP/2 without TLS.
    for text in [
        "hello\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{1}\u{2}",
    ] {
        let mut stream = connect(port);
        stream.write_all(text.as_bytes()).unwrap();
        let begun = Instant::now();
        let answer = rest(&mut stream);
        assert!(begun.elapsed() < SOON, "{text:?}");
        assert!(!answer.contains(" 200 "), "{text:?}: {answer}");
    }
    server.over_tls(true).get("/v2/").await.expect(200);
    server.over_tls(false).get("/v2/").await.expect(200);
    let line = server
        .log()
        .lines()
        .any(|l| l.contains("\"status\":400") && l.contains("\"path\":\"/v2/\""));
    assert!(line, "the access log tells of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_ones_on_the_https_port_end() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let clocks = [
        ("DRYPORT_SERVE__IDLE", "2s"),
        ("DRYPORT_SERVE__PROGRESS", "2s"),
    ];
    let server = Server::serve(home, &[], &clocks).await;
    for begin in ["", "G", "GET /v2/ HTTP/1.1\r\nX-Slow: "] {
        let mut stream = connect(server.https);
        stream.write_all(begin.as_bytes()).unwrap();
        let begun = Instant::now();
        rest(&mut stream);
        assert!(begun.elapsed() < SOON, "{begin:?} stays");
    }
    let mut stream = connect(server.https);
    let head = format!(
        "GET /v2/ HTTP/1.1\r\nX-Long: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let _ = stream.write_all(head.as_bytes());
    assert!(!rest(&mut stream).contains(" 200 "));
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start().await;
    let close = "Connection: close\r\n\r\n";
    for (head, status) in [
        ("GET /v2/ HTTP/1.1\r\nHost: a.test\r\n", 401),
        ("GET /v2/ HTTP/1.1\r\nHost:\r\n", 401),
        ("GET /v2/ HTTP/1.1\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n", 400),
        ("GET http://a.test/v2/ HTTP/1.1\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: a.test\r\nhost: a.test\r\n", 400),
        ("GET /v2/ HTTP/1.0\r\nHost: a.test\r\nHost: b.test\r\n", 400),
        ("GET /v2/ HTTP/1.0\r\n", 401),
        ("GET http://a.test/v2/ HTTP/1.0\r\n", 401),
    ] {
        let answer = server.raw(format!("{head}{close}").as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.contains(&format!(" {status} ")), "{head}: {answer}");
        if status == 400 {
            assert!(answer.contains("Host"), "{answer}");
        }
    }
    // RFC 9112 section 3.2: what is no host is refused, and no realm names another.
    for host in [
        "a b",
        "a/b",
        "http://a",
        "u@a",
        "a:b",
        "a:1:2",
        ":80",
        "[::1",
        "[x]",
        "a%4",
        "\"a\"",
        "b\u{fc}cher",
    ] {
        for (target, version) in [
            ("/v2/", "1.1"),
            ("/healthz", "1.1"),
            ("/v2/", "1.0"),
            ("http://a.test/v2/", "1.1"),
        ] {
            let head = format!("GET {target} HTTP/{version}\r\nHost: {host}\r\n{close}");
            let answer = server.raw(head.as_bytes());
            let line = answer.lines().next().unwrap_or_default();
            assert!(line.contains(" 400 "), "{head}: {answer}");
            assert!(answer.contains("Host header"), "{answer}");
            assert!(
                !answer.to_ascii_lowercase().contains("www-authenticate"),
                "{answer}"
            );
        }
    }
    for target in ["http://a:b/v2/", "http://[x]/v2/", "http://u@/v2/"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{close}");
        let answer = server.raw(head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
    for http2 in [false, true] {
        let client = server.over_tls(http2);
        for (host, status) in [("a b", 400), ("a:b", 400), ("u@a", 400), ("a.test:1", 200)] {
            client
                .send("GET", "/v2/", &[("host", host)], b"")
                .await
                .expect(status);
        }
    }
    for (target, host, want) in [
        ("/v2/", "a.test:5000", "http://a.test:5000/v2/auth"),
        (
            "http://b.test:81/v2/",
            "a.test:5000",
            "http://b.test:81/v2/auth",
        ),
        ("http://B.test/v2/", "a.test:5000", "http://B.test/v2/auth"),
        ("http://b.test/v2/", "b.test", "http://b.test/v2/auth"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{close}");
        let answer = server.raw(head.as_bytes());
        assert!(
            answer.contains(&format!("realm=\"{want}\"")),
            "{target}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_chunk_out_of_place_is_told_where_its_upload_stands() {
    let server = Server::start().await;
    let client = server.admin();
    let begun = client.post("/v2/a/blobs/uploads/").await.expect(202);
    let at = begun.location();
    let octets = ("content-type", "application/octet-stream");
    let chunk = [octets, ("content-range", "0-4")];
    let at = client
        .send("PATCH", &at, &chunk, b"01234")
        .await
        .expect(202)
        .location();
    let close = format!(
        "{at}?digest={}",
        crate::harness::content::sha256(b"0123456789")
    );
    for (range, status) in [
        ("9-5", 416),
        ("bytes 9-5/20", 416),
        ("7-11", 416),
        ("0-4", 416),
        ("five", 400),
    ] {
        for (method, path) in [("PATCH", &at), ("PUT", &close)] {
            let headers = [octets, ("content-range", range)];
            let reply = client
                .send(method, path, &headers, b"56789")
                .await
                .expect(status);
            if status == 416 {
                assert_eq!(reply.location(), at, "{range}");
                assert_eq!(reply.header("range"), "0-4", "{method} {range}");
                assert_eq!(
                    reply.header("docker-upload-uuid"),
                    begun.header("docker-upload-uuid")
                );
            }
        }
    }
    let chunk = [octets, ("content-range", "5-9")];
    client
        .send("PUT", &close, &chunk, b"56789")
        .await
        .expect(201);
    // Of a session that is not there, there is nothing to say.
    let headers = [octets, ("content-range", "9-5")];
    client.send("PATCH", &at, &headers, b"x").await.expect(404);
}
