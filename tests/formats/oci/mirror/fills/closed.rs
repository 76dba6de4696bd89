//! No way of uploading leads to a mirror's blob, whatever its client knows of it.

use sha2::{Digest as _, Sha256};

use super::{LAYER, World, begin, half_way, success, until_half_here, uploads};
use crate::harness::content::{noise, sha256};
use crate::harness::{Client, SOON, Server, run, run_ok, text_of, until, with_query};

/// Every id that a client could think of: what older versions computed from names, what file names say, and a guess.
fn ids(target: &Server, repo: &str, digest: &str) -> Vec<String> {
    let computed = Sha256::digest(format!("mirror {repo} {digest}").as_bytes());
    let half = u128::from_be_bytes(computed[..16].try_into().unwrap());
    let mut ids = vec![format!("{half:032x}")];
    for (name, _) in uploads(target) {
        let id = name.split('.').next().unwrap().to_owned();
        ids.push(id);
    }
    let place = std::fs::read_dir(target.data().join("blobs/sha256").join(&digest[7..9]));
    for entry in place.into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        ids.extend(name.split('.').nth(1).map(str::to_owned));
    }
    ids.push("0123456789abcdef0123456789abcdef".to_owned());
    ids
}

/// Tries every method of an upload with an id; gives the answers.
async fn try_all(
    client: &Client,
    repo: &str,
    id: &str,
    digest: &str,
) -> Vec<(String, u16, String)> {
    let at = format!("/v2/{repo}/blobs/uploads/{id}");
    let other = noise(99, 300_000);
    let mut answers = Vec::new();
    let octets = ("content-type", "application/octet-stream");
    let status = client.get(&at).await;
    let from = status
        .header("range")
        .strip_prefix("0-")
        .map_or(0, |n| n.parse::<usize>().unwrap() + 1);
    answers.push(("GET".to_owned(), status.status, status.code()));
    let range = format!("{from}-{}", from + other.len() - 1);
    let ours = format!("digest={}", sha256(&other));
    let theirs = format!("digest={digest}");
    for (what, method, path, headers, body) in [
        ("HEAD", "HEAD", at.clone(), vec![], &[][..]),
        ("PATCH", "PATCH", at.clone(), vec![octets], &other[..]),
        (
            "PATCH of a range",
            "PATCH",
            at.clone(),
            vec![octets, ("content-range", range.as_str())],
            &other[..],
        ),
        (
            "PUT of their digest",
            "PUT",
            with_query(&at, &theirs),
            vec![octets],
            &other[..],
        ),
        (
            "PUT of our digest",
            "PUT",
            with_query(&at, &ours),
            vec![octets],
            &other[..],
        ),
        ("DELETE", "DELETE", at.clone(), vec![], &[][..]),
    ] {
        let reply = client.send(method, &path, &headers, body).await;
        answers.push((what.to_owned(), reply.status, reply.code()));
    }
    answers
}

/// Tries everything with every id: none leads anywhere. Where `is_there` (the mirror has an image), it takes what is attached to
/// that: uploads of a client's own are open then, also of the very digest, and are not the mirror's.
async fn assert_closed(target: &Server, repo: &str, digest: &str, is_there: bool) {
    let admin = target.admin();
    assert_unknown(target, repo, digest, 404, "BLOB_UPLOAD_UNKNOWN").await;
    if !is_there {
        return;
    }
    let begin = format!("/v2/{repo}/blobs/uploads/");
    let octets = [("content-type", "application/octet-stream")];
    let wrong = noise(97, 300_000);
    let blob = format!("/v2/{repo}/blobs/{digest}");
    let before = admin.head(&blob).await.status;
    for query in [String::new(), format!("?mount={}", sha256(&wrong))] {
        let own = admin.post(&format!("{begin}{query}")).await;
        let own = own.expect(202).location();
        let patch = admin.send("PATCH", &own, &octets, &wrong).await;
        patch.expect(202);
        let end = with_query(&own, &format!("digest={digest}"));
        let put = admin.send("PUT", &end, &octets, b"").await;
        put.refused(400, "DIGEST_INVALID");
    }
    let whole = format!("{begin}?digest={digest}");
    let post = admin.send("POST", &whole, &octets, &wrong).await;
    post.refused(400, "DIGEST_INVALID");
    assert_eq!(admin.head(&blob).await.status, before);
    // Where the site wants none of it, everything is refused.
    let set = |to: &str| {
        let dir = target.dir();
        run_ok(&["repo", "set", repo, "--attachments", to, "--data", &dir]);
    };
    set("off");
    assert_unknown(target, repo, digest, 403, "DENIED").await;
    for query in [
        "",
        &format!("?mount={digest}"),
        &format!("?digest={digest}"),
    ] {
        let post = admin.post(&format!("{begin}{query}")).await;
        post.refused(403, "DENIED");
    }
    set("on");
}

async fn assert_unknown(target: &Server, repo: &str, digest: &str, status: u16, code: &str) {
    let admin = target.admin();
    for id in ids(target, repo, digest) {
        for (what, got, said) in try_all(&admin, repo, &id, digest).await {
            assert_eq!(got, status, "{what} of {id}: {said}");
            assert!(said == code || what == "HEAD", "{what} of {id}: {said}");
        }
    }
}

#[tokio::test]
async fn a_client_that_opened_a_fill_cannot_write_to_its_blob() {
    let (world, target, run) = half_way().await;
    // What answers now is kept and written to when the blob is committed.
    let admin = target.admin();
    let mut open = Vec::new();
    for id in ids(&target, "copy", &world.digest()) {
        let at = format!("/v2/copy/blobs/uploads/{id}");
        if admin.get(&at).await.status == 204 {
            open.push(at);
        }
    }
    world.hold(false);
    success(run).await;
    let octets = [("content-type", "application/octet-stream")];
    for at in open {
        admin.send("PATCH", &at, &octets, &noise(98, 500_000)).await;
    }
    world.assert_law(&target, "copy").await;
}

#[tokio::test]
async fn whatever_a_client_tries_the_bytes_hash_to_their_digest() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let digest = world.digest();
    // A first run, whose repository nobody sees, and one into a mirror.
    for (repo, is_there) in [("copy", false), ("born", true)] {
        if is_there {
            let small = world.source("small");
            let output = run(&["mirror", "--data", &target.dir(), &small, "--to", repo]);
            assert!(output.status.success(), "{}", text_of(&output));
        }
        world.hold(true);
        let run = begin(&target, &world.source("v1"), repo);
        let before = world.asked();
        until("the layer is asked for", SOON, async || {
            world.asked() > before
        })
        .await;
        until_half_here(&target).await;
        assert_closed(&target, repo, &digest, is_there).await;
        world.hold(false);
        success(run).await;
        assert_closed(&target, repo, &digest, true).await;
        world.assert_law(&target, repo).await;
        target.kill();
        target.restart().await;
        assert_closed(&target, repo, &digest, true).await;
        world.assert_law(&target, repo).await;
        // Else the second run has nothing to fetch.
        if !is_there {
            run_ok(&["repo", "delete", repo, "--data", &target.dir()]);
        }
    }
}

#[tokio::test]
async fn a_paused_run_is_closed_to_others_and_goes_on() {
    let (world, mut target) = (World::new().await, Server::start().await);
    let digest = world.digest();
    let small = world.source("small");
    let output = run(&["mirror", "--data", &target.dir(), &small, "--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    world.upstream.manners.lock().unwrap().cut = Some((digest.clone(), LAYER / 2));
    let output = run(&[
        "mirror",
        "--data",
        &target.dir(),
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert_eq!(uploads(&target).len(), 1);
    assert_closed(&target, "copy", &digest, true).await;
    target.kill();
    target.restart().await;
    assert_closed(&target, "copy", &digest, true).await;
    // Nor does a name of its own lead anybody there.
    assert_closed(&target, "other", &digest, false).await;
    let held = uploads(&target);
    assert_eq!(held.len(), 1);
    {
        let mut manners = world.upstream.manners.lock().unwrap();
        (manners.cut, manners.asked) = (None, Vec::new());
    }
    let output = run(&[
        "mirror",
        "--data",
        &target.dir(),
        &world.source("v1"),
        "--to",
        "copy",
    ]);
    assert!(output.status.success(), "{}", text_of(&output));
    let asked = world.upstream.manners.lock().unwrap().asked.clone();
    let range = format!("{digest} bytes={}-", held[0].1);
    assert!(asked.contains(&range), "{range}: {asked:?}");
    assert!(uploads(&target).is_empty());
    world.assert_law(&target, "copy").await;
}
