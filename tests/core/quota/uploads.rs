//! Unfinished uploads count for their quotas: together with what is shown they stay within it, however many come at once.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use futures_util::future::join_all;

use crate::core::quota::exact::{figure, files, on_disk, server, set, try_blob, until};
use crate::harness::content::{noise, push_blob, sha256};
use crate::harness::{ADMIN, Client, Server, basic, with_query};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const MIB: u64 = 1 << 20;

async fn begin(client: &Client, repo: &str) -> String {
    let start = client.post(&format!("/v2/{repo}/blobs/uploads/")).await;
    start.expect(202).location()
}

fn uploads(server: &Server) -> u64 {
    on_disk(server, &["uploads"]).1
}

#[tokio::test]
async fn pieces_of_many_uploads_at_once_stay_within_it() {
    let mut server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MiB");
    push_blob(&admin, "team/shown", &noise(1, 248_576)).await;
    let piece = noise(2, 100_000);
    // Sixty at once, of which eight fit.
    let one = |n: usize| {
        let (admin, piece) = (&admin, &piece);
        async move {
            let at = begin(admin, &format!("team/{}", n % 7)).await;
            let reply = admin.send("PATCH", &at, &[OCTETS], piece).await;
            (reply.status, at)
        }
    };
    let done = join_all((0..60).map(one)).await;
    let taken: Vec<_> = done.iter().filter(|(status, _)| *status == 202).collect();
    assert_eq!(taken.len(), 8);
    assert!(done.iter().all(|(status, _)| [202, 403].contains(status)));
    assert_eq!(figure(&server, "team", "uploads"), 800_000);
    assert_eq!(figure(&server, "team", "used"), 248_576);
    assert!(uploads(&server) <= 800_000);
    let refused = try_blob(&admin, "team/b", b"one byte more").await;
    let text = refused.refused(403, "DENIED").text();
    assert!(
        text.contains("800000 bytes of unfinished uploads"),
        "{text}"
    );
    // Not below the prefix.
    push_blob(&admin, "teammate", &piece).await;

    // As much after a kill, before any of them is taken up, and after one is.
    server.kill();
    server.restart().await;
    let admin = server.admin();
    assert_eq!(figure(&server, "team", "uploads"), 800_000);
    try_blob(&admin, "team/b", &piece)
        .await
        .refused(403, "DENIED");
    let path = |at: &str| at[at.find("/v2/").unwrap()..].to_owned();
    let at = admin.get(&path(&taken[0].1)).await.expect(204).location();
    let reply = admin.send("PATCH", &at, &[OCTETS], &piece).await;
    reply.refused(403, "DENIED");
    // What ends makes room, by a digest or by nothing.
    let put = with_query(&at, &format!("digest={}", sha256(&piece)));
    admin.send("PUT", &put, &[OCTETS], b"").await.expect(201);
    let cancelled = admin.delete(&path(&taken[1].1)).await;
    cancelled.expect(204);
    assert_eq!(figure(&server, "team", "uploads"), 600_000);
    assert_eq!(figure(&server, "team", "used"), 348_576);
    push_blob(&admin, "team/b", &noise(3, 100_000)).await;
    let last = try_blob(&admin, "team/b", b"!").await;
    last.refused(403, "DENIED");
}

#[tokio::test]
async fn pushes_that_fit_together_exactly_are_never_refused() {
    let server = server().await;
    let admin = server.admin();
    let each = 100_000;
    for round in 0..3_u64 {
        let repo = format!("team{round}");
        set(&server, &repo, &(8 * each).to_string());
        let push = |n: u64| {
            let (admin, repo) = (&admin, format!("{repo}/{}", n % 3));
            async move { try_blob(admin, &repo, &noise(100 * round + n, each)).await }
        };
        for reply in join_all((0..8).map(push)).await {
            reply.expect(201);
        }
        assert_eq!(figure(&server, &repo, "used"), 8 * each as u64);
        assert_eq!(figure(&server, &repo, "uploads"), 0);
        try_blob(&admin, &repo, b"x").await.refused(403, "DENIED");
        // Those that the quota shows cost nothing, also at once.
        for reply in join_all((0..8).map(push)).await {
            reply.expect(201);
        }
        assert_eq!(figure(&server, &repo, "uploads"), 0);
    }
}

/// A connection on which the head of a request and some of its body were sent.
fn begun(server: &Server, method: &str, path: &str, framing: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {}\r\n{framing}\r\n\r\n",
        server.host(),
        basic(ADMIN.0, ADMIN.1),
        OCTETS.1
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may have said no and closed by then.
    let _ = stream.write_all(body);
    stream
}

#[tokio::test]
async fn a_body_of_unknown_length_is_stopped_at_the_quota() {
    let server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MiB");
    let mut body = Vec::new();
    for seed in 0..48 {
        body.extend_from_slice(b"10000\r\n");
        body.extend_from_slice(&noise(seed, 65_536));
        body.extend_from_slice(b"\r\n");
    }
    let mut at = Vec::new();
    for _ in 0..3 {
        at.push(begin(&admin, "team/app").await);
    }
    std::thread::scope(|scope| {
        for at in &at {
            scope.spawn(|| {
                let mut stream = begun(&server, "PATCH", at, "transfer-encoding: chunked", &body);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let bytes = uploads(&server);
    assert!(bytes <= MIB, "{bytes} bytes of uploads are on the disk");
    let counted = figure(&server, "team", "uploads");
    assert!(counted <= MIB && counted >= bytes, "{counted} of {bytes}");
}

#[tokio::test]
async fn what_was_announced_and_does_not_come_is_given_back() {
    let server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MiB");
    let at = begin(&admin, "team/app").await;
    let length = "content-length: 1000000";
    let stream = begun(&server, "PATCH", &at, length, &noise(1, 1000));
    until(&server, "team", "uploads", 1_000_000).await;
    let other = try_blob(&admin, "team/other", &noise(2, 100_000)).await;
    other.refused(403, "DENIED");
    drop(stream);
    until(&server, "team", "uploads", 1000).await;
    try_blob(&admin, "team/other", &noise(2, 100_000))
        .await
        .expect(201);

    // Of a blob that a full quota shows already nothing stays when its upload breaks off.
    let shown = noise(3, 900_000);
    admin.delete(&at).await.expect(204);
    push_blob(&admin, "team/app", &shown).await;
    let at = begin(&admin, "team/app").await;
    let put = with_query(&at, &format!("digest={}", sha256(&shown)));
    let length = "content-length: 900000";
    let stream = begun(&server, "PUT", &put, length, &shown[..700_000]);
    until(&server, "team", "uploads", 900_000).await;
    drop(stream);
    until(&server, "team", "uploads", 0).await;
    assert_eq!(files(&server), 2);
}
