//! Requests that the client breaks off in their middle: an upload goes on from where it stands, whatever was on its way,
//! and a change that came about is seen although nobody heard of it.

use crate::harness::broken::{begun, break_off};
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{ADMIN, Client, SOON, Server, basic, found, init, until};
use std::time::Duration;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const ROUNDS: usize = 40;

/// As [`break_off`], by a reset of one stream of an HTTP/2 connection that stays.
async fn reset(http: &reqwest::Client, server: &Server, method: &str, path: &str, body: &[u8]) {
    let url = format!("https://127.0.0.1:{}{path}", server.https);
    let request = http
        .request(method.parse().unwrap(), url)
        .header("authorization", basic(ADMIN.0, ADMIN.1))
        .header(OCTETS.0, OCTETS.1)
        .body(body.to_vec());
    let wait = Duration::from_micros(500 + 250 * (body.len() as u64 % 31));
    let _ = tokio::time::timeout(wait, request.send()).await;
}

fn http2() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .http2_prior_knowledge()
        .build()
        .unwrap()
}

async fn begin(client: &Client) -> String {
    client
        .send("POST", "/v2/a/blobs/uploads/", &[], &[])
        .await
        .expect(202)
        .location()
}

fn with_digest(at: &str, digest: &str) -> String {
    let and = if at.contains('?') { '&' } else { '?' };
    format!("{at}{and}digest={digest}")
}

/// Finishes an upload as a client does that comes back: asks where it stands and sends the rest. A blob that is there
/// although nobody heard of it is as good.
async fn come_back(client: &Client, at: &str, bytes: &[u8], acknowledged: usize) {
    let digest = sha256(bytes);
    let blob = format!("/v2/a/blobs/{digest}");
    until("the upload is finished", SOON, async || {
        let status = client.get(at).await;
        if status.status == 404 {
            return true;
        }
        let status = status.expect(204);
        let from = match status.header("range").split_once('-') {
            // What an upload without a byte answers, too.
            Some((_, "0")) | None => 0,
            Some((_, last)) => last.parse::<usize>().unwrap() + 1,
        };
        assert!(
            from >= acknowledged,
            "{from} of {acknowledged} that were acknowledged"
        );
        let put = with_digest(&status.location(), &digest);
        let range = format!("{from}-{}", bytes.len().max(1) - 1);
        let range = [OCTETS, ("content-range", range.as_str())];
        let headers = if from < bytes.len() {
            &range[..]
        } else {
            &[OCTETS]
        };
        let reply = client.send("PUT", &put, headers, &bytes[from..]).await;
        match reply.status {
            // Still at what was broken off, or further than it was a moment ago.
            404 | 409 | 416 => false,
            _ => reply.expect(201).status == 201,
        }
    })
    .await;
    assert_eq!(client.get(&blob).await.expect(200).body, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_broken_off() {
    let server = Server::start().await;
    let client = server.admin();
    for round in 0..ROUNDS {
        let bytes = noise(round as u64, 3_000_000 + round * 7919);
        let at = begin(&client).await;
        let sent = bytes.len() * (round % 8) / 8;
        break_off(&server, "PATCH", &at, &bytes, sent);
        come_back(&client, &at, &bytes, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset() {
    let server = Server::start().await;
    let client = server.admin();
    let http = http2();
    for round in 0..ROUNDS {
        let bytes = noise(round as u64, 4_000_000 + round * 7919);
        let at = begin(&client).await;
        reset(&http, &server, "PATCH", &at, &bytes).await;
        come_back(&client, &at, &bytes, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_put_that_is_broken_off() {
    let server = Server::start().await;
    let client = server.admin();
    for round in 0..ROUNDS {
        let bytes = noise(1000 + round as u64, 600_000 + round * 7919);
        let at = begin(&client).await;
        let first = bytes.len() / 2;
        let range = format!("0-{}", first - 1);
        let range = [OCTETS, ("content-range", range.as_str())];
        let at = client.send("PATCH", &at, &range, &bytes[..first]).await;
        let at = at.expect(202).location();
        let put = with_digest(&at, &sha256(&bytes));
        // All of it arrives, only the answer is not waited for.
        break_off(&server, "PUT", &put, &bytes[first..], bytes.len() - first);
        tokio::time::sleep(Duration::from_micros(200 * (round as u64 % 9))).await;
        come_back(&client, &at, &bytes, first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_in_one_post_that_are_broken_off_do_not_count_as_uploads() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let server = Server::serve(home, &[], &[("DRYPORT_LIMITS__UPLOADS", "20")]).await;
    let (client, http) = (server.admin(), http2());
    for round in 0..30 {
        let bytes = noise(2000 + round, 2_000_000 + round as usize * 7919);
        let post = format!("/v2/a/blobs/uploads/?digest={}", sha256(&bytes));
        break_off(&server, "POST", &post, &bytes, 150_000);
        reset(&http, &server, "POST", &post, &bytes).await;
    }
    // What is broken off is given up a moment later, and its file goes before its place among the uploads.
    let uploads = server.data().join("uploads");
    let left = || std::fs::read_dir(&uploads).unwrap().count();
    for _ in 0..20 {
        found("an upload may begin", SOON, async || {
            let reply = client.send("POST", "/v2/a/blobs/uploads/", &[], &[]).await;
            (reply.status != 429).then(|| reply.expect(202))
        })
        .await;
    }
    assert_eq!(left(), 0);
    client
        .send("POST", "/v2/a/blobs/uploads/", &[], &[])
        .await
        .expect(429);
}

/// A manifest of its own, whose config must be there.
fn manifest(round: usize) -> Vec<u8> {
    let mut manifest = image(b"{}", &[]);
    manifest["annotations"] = serde_json::json!({"round": round.to_string()});
    bytes_of(&manifest)
}

/// Sends a request and goes away after a time that differs from round to round: before the server has read it, or with
/// the change under way.
async fn go_away(server: &Server, method: &str, path: &str, body: &[u8], round: usize) {
    let stream = begun(server, method, path, OCI_MANIFEST, body, body.len());
    tokio::time::sleep(Duration::from_micros(100 * (round % 16) as u64)).await;
    drop(stream);
    // What comes about does so within this time on most machines; what comes later is looked at in the end.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// What the tag means to who asks for it, from memory; empty if it is not there.
async fn meant(client: &Client, repo: &str) -> String {
    let reply = client.get(&format!("/v2/{repo}/manifests/t")).await;
    reply.header("docker-content-digest").to_owned()
}

/// What it means in the database, where the manifest `second` may have come about: a manifest is there with its tag, and
/// lists of tags are not kept in memory.
async fn stored(client: &Client, repo: &str, first: &str, second: &str) -> String {
    let tags = client.get(&format!("/v2/{repo}/tags/list?n=10")).await;
    if tags.status != 200 || !tags.text().contains("\"t\"") {
        return String::new();
    }
    let path = format!("/v2/{repo}/manifests/{second}");
    let came = client.head(&path).await.status == 200;
    (if came { second } else { first }).to_owned()
}

/// Nobody knows when a change comes about whose client went away, or whether; so each has a repository of its own, and
/// what memory answers must come to be what is stored, whenever that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_client_went_away_is_seen() {
    let server = Server::start().await;
    let client = server.admin();
    let (mut pushed, mut removed) = (0, 0);
    let mut rounds = Vec::new();
    for round in 0..2 * ROUNDS {
        let (repo, [first, second]) = (
            format!("r{round}"),
            [2 * round, 2 * round + 1].map(manifest),
        );
        push_blob(&client, &repo, b"{}").await;
        let first = put_manifest(&client, &repo, "t", OCI_MANIFEST, &first).await;
        assert_eq!(meant(&client, &repo).await, first, "now it is known");
        let path = format!("/v2/{repo}/manifests/t");
        go_away(&server, "PUT", &path, &second, round).await;
        let second = sha256(&second);
        seen(&client, &repo, &first, &second).await;
        pushed += usize::from(stored(&client, &repo, &first, &second).await == second);
        go_away(&server, "DELETE", &path, &[], round).await;
        seen(&client, &repo, &first, &second).await;
        removed += usize::from(stored(&client, &repo, &first, &second).await.is_empty());
        rounds.push((repo, first, second));
    }
    // And the last of them by now.
    for (repo, first, second) in &rounds {
        seen(&client, repo, first, second).await;
    }
    assert!(
        pushed > 0 && removed > 0,
        "{pushed} and {removed} came about"
    );
}

/// Waits until memory answers what is stored.
async fn seen(client: &Client, repo: &str, first: &str, second: &str) {
    let what = format!("{repo}: what was changed is seen");
    until(&what, SOON, async || {
        meant(client, repo).await == stored(client, repo, first, second).await
    })
    .await;
}
