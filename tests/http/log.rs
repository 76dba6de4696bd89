//! The log: what strangers may write into it, and what stays in it whatever they do.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::Value;

use crate::harness::content::push_image;
use crate::harness::{ADMIN, SOON, Server, found};
use crate::http::abuse::connect;

/// The lines that say this of a field, so far.
fn lines(server: &Server, field: &str, value: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|l| serde_json::from_str(l).ok());
    lines.filter(|l: &Value| l[field] == value).collect()
}

/// Waits until the log says it.
async fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    found(what, SOON, async || look()).await
}

/// Sends so many requests on one connection, and reads the status of each answer.
fn ask_often(server: &Server, request: &str, number: usize, status: &str) {
    let mut stream = connect(server.http);
    let mut reader = stream.try_clone().unwrap();
    let request = request.repeat(50);
    let (mut seen, mut buffer) = (Vec::<u8>::new(), vec![0; 65536]);
    for batch in 1..=number / 50 {
        stream.write_all(request.as_bytes()).unwrap();
        let answered = |seen: &[u8]| String::from_utf8_lossy(seen).matches(status).count();
        while answered(&seen) < batch * 50 {
            let n = reader.read(&mut buffer).unwrap();
            assert!(n > 0, "the server closed the connection");
            seen.extend_from_slice(&buffer[..n]);
        }
    }
}

#[tokio::test]
async fn what_a_stranger_sends_is_cut_in_the_log() {
    let server = Server::start().await;
    let name = "a".repeat(30_000);
    let paths = [
        format!("/v2/{name}/manifests/v1"),
        format!("/{name}"),
        format!("/v2/a/manifests/{name}"),
        format!("/v2/a/blobs/uploads/{name}"),
    ];
    let anyone = server.anonymous();
    for path in &paths {
        let reply = anyone.get(path).await;
        assert!((400..500).contains(&reply.status), "{}", reply.status);
        assert!(reply.body.len() < 4000, "{} bytes", reply.body.len());
        let id = reply.header("x-request-id").to_owned();
        let line = wait_for("the request", || lines(&server, "request", &id).pop()).await;
        let shown = line["path"].as_str().unwrap();
        let mark = format!("... [{} bytes]", path.len());
        assert_eq!(shown.strip_suffix(&mark), path.get(..600), "{shown}");
    }
    // A method is a client's choice, too.
    let method = "M".repeat(20_000);
    server
        .raw(format!("{method} /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let account = "n".repeat(20_000);
    server
        .client(Some((&account, "x")))
        .get("/v2/")
        .await
        .expect(401);
    wait_for("the login", || {
        lines(&server, "message", "failed login").pop()
    })
    .await;
    let longest = server.log().lines().map(str::len).max().unwrap();
    assert!(longest < 2000, "a line of {longest} bytes");
}

#[tokio::test]
async fn refusals_of_one_address_are_counted_and_not_all_written() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [("DRYPORT_TRUSTED_PROXIES", "127.0.0.1")];
    let server = Server::serve(home, &[], &env).await;
    let admin = server.admin();
    push_image(&admin, "a", "v1", 1).await;
    let (begin, number) = (Instant::now(), 1500);
    for (n, path) in ["/v2/none/manifests/v1", "/v2/NAME/manifests/v1", "/v2/"]
        .iter()
        .enumerate()
    {
        // One network of IPv6 addresses is one.
        let from = format!("2001:db8::{n}");
        let status = ["HTTP/1.1 404", "HTTP/1.1 400", "HTTP/1.1 401"][n];
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {from}\r\n\r\n");
        ask_often(&server, &ask, number / 3, status);
    }
    let at_most = 220 + 20 * begin.elapsed().as_secs() as usize;
    // What stays: others, whatever has an account, what is answered, and that a login failed.
    let from = |address| [("x-forwarded-for", address)];
    let (anyone, here) = (server.anonymous(), from("2001:db8::7"));
    anyone
        .send("GET", "/v2/", &from("2001:db8:0:1::1"), b"")
        .await
        .expect(401);
    anyone
        .send("GET", "/v2/a/manifests/v1", &here, b"")
        .await
        .expect(200);
    admin
        .send("GET", "/v2/a/manifests/none", &here, b"")
        .await
        .expect(404);
    let wrong = server.client(Some((ADMIN.0, "a-wrong-password")));
    wrong.send("GET", "/v2/", &here, b"").await.expect(401);
    wait_for("a login that failed", || {
        lines(&server, "message", "failed login").pop()
    })
    .await;
    for (field, value) in [
        ("from", "2001:db8:0:1::1"),
        ("path", "/v2/a/manifests/none"),
    ] {
        wait_for(value, || lines(&server, field, value).pop()).await;
    }
    wait_for("what was answered", || {
        let lines = lines(&server, "from", "2001:db8::7");
        lines.into_iter().find(|l| l["status"] == 200)
    })
    .await;
    let count = |line: &Value| line["left_out"].as_u64().unwrap_or(0);
    // The address may write again after a moment, and its line says how many it could not.
    let (written, told) = wait_for("all that were left out", || {
        let _ = server.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::\r\nConnection: close\r\n\r\n");
        let log = server.log();
        let lines = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let ours = |l: &Value| l["from"].as_str().is_some_and(|f| f.starts_with("2001:db8::"));
        let ours: Vec<Value> = lines.filter(|l| l["target"] == "access" && ours(l)).collect();
        let told: u64 = ours.iter().map(count).sum();
        (ours.len() as u64 + told >= number as u64).then_some((ours.len(), told))
    })
    .await;
    assert!(written < at_most + 20, "{written} lines, at most {at_most}");
    assert!(told > 0);
    let metrics = admin.get("/metrics").await.expect(200).text();
    let left_out = metrics
        .lines()
        .find(|l| l.starts_with("dryport_log_lines_left_out_total "));
    assert!(left_out.is_some_and(|l| !l.ends_with(" 0")), "{left_out:?}");
}
