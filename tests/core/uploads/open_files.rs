//! Uploads that wait for their next request: however many there are, they keep few files open, and each goes on.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::content::{noise, sha256};
use crate::harness::{ADMIN, Client, SOON, Server, basic, init, until, with_query};
use crate::http::abuse::connect;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const MANY: usize = 400;
/// Files of uploads that may be open (see `repo/sessions`), and some of requests that are just ending.
const FEW: usize = 64 + 16;
const PIECE: usize = 70_000;

async fn server() -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    Server::serve(home, &[], &[("DRYPORT_LIMITS__UPLOADS", "3000")]).await
}

/// Files of uploads that the server has open.
fn open(server: &Server) -> usize {
    let uploads = server.data().join("uploads");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    // One may be closed by now.
    fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter(|to| to.starts_with(&uploads))
        .count()
}

async fn begin(client: &Client) -> String {
    let start = client.post("/v2/a/blobs/uploads/").await;
    start.expect(202).location()
}

fn path(at: &str) -> &str {
    &at[at.find("/v2/").unwrap()..]
}

async fn first_half(client: &Client, n: usize) -> String {
    let at = begin(client).await;
    let bytes = noise(n as u64, PIECE);
    let sent = client
        .send("PATCH", &at, &[OCTETS], &bytes[..PIECE / 2])
        .await;
    sent.expect(202).location()
}

/// Sends the rest, of some with another request in between.
async fn second_half(client: &Client, at: &str, n: usize) {
    let bytes = noise(n as u64, PIECE);
    let (at, mut from) = (path(at), PIECE / 2);
    if n.is_multiple_of(2) {
        let sent = client
            .send("PATCH", at, &[OCTETS], &bytes[from..from + 1000])
            .await;
        sent.expect(202);
        from += 1000;
    }
    let put = with_query(at, &format!("digest={}", sha256(&bytes)));
    let put = client.send("PUT", &put, &[OCTETS], &bytes[from..]).await;
    put.expect(201);
    let blob = client.get(&format!("/v2/a/blobs/{}", sha256(&bytes))).await;
    assert!(blob.expect(200).body == bytes);
}

async fn wait_for_few(server: &Server) {
    until("few files are open", SOON, async || open(server) <= FEW).await;
}

#[tokio::test]
async fn many_uploads_keep_few_files_open_and_each_goes_on() {
    let mut server = server().await;
    let admin = server.admin();
    let mut all = Vec::new();
    for from in (0..MANY).step_by(20) {
        let some = (from..from + 20).map(|n| first_half(&admin, n));
        all.extend(join_all(some).await);
        assert!(
            open(&server) <= FEW + 20,
            "{} files are open",
            open(&server)
        );
    }
    eprintln!("{} files of {MANY} uploads are open", open(&server));
    assert!(open(&server) <= FEW, "{} files are open", open(&server));
    for (n, at) in all.iter().enumerate().take(60) {
        second_half(&admin, at, n).await;
    }

    // As many that broke off in the middle of a request.
    for from in (0..MANY).step_by(50) {
        let mut connections = Vec::new();
        for n in from..from + 50 {
            let at = begin(&admin).await;
            let mut stream = connect(server.http);
            let request = format!(
                "PATCH {} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: {}\r\nContent-Length: {PIECE}\r\n\r\n",
                path(&at),
                server.host(),
                basic(ADMIN.0, ADMIN.1),
                OCTETS.1
            );
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            let bytes = noise((MANY + n) as u64, PIECE / 2);
            std::io::Write::write_all(&mut stream, &bytes).unwrap();
            connections.push(stream);
        }
        // Their pieces are written when they have waited long enough.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(connections);
    }
    wait_for_few(&server).await;

    // Those of before a restart are asked for, and go on.
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    server.restart().await;
    let admin = server.admin();
    for at in &all[60..] {
        admin.get(path(at)).await.expect(204);
    }
    assert!(open(&server) <= FEW, "{} files are open", open(&server));
    for n in (60..MANY).step_by(17) {
        second_half(&admin, &all[n], n).await;
    }
    assert!(open(&server) <= FEW, "{} files are open", open(&server));
}
