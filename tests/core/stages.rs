//! Big changes are seen whole or not at all: restores of many files and tags in several repositories, large mirror runs, and
//! kills in the middle of both.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::core::snapshots::images::{clean, server, snapshot, told};
use crate::harness::content::{OCI_MANIFEST, descriptor, noise, push_image};
use crate::harness::fake::Fake;
use crate::harness::{Client, Server, dryport, run, run_ok, text_of, until};

const SOON: Duration = Duration::from_mins(1);

/// What is in two repositories that change together.
trait Pair {
    /// The two.
    const OF: [&'static str; 2];
    /// Names in each: so many that one transaction does not take them.
    const NAMES: u64;

    fn make(&self, server: &Server);

    /// Makes a name mean a number.
    async fn put(&self, client: &Client, repo: &str, name: u64, number: u64);

    /// What every name means.
    async fn state(&self, client: &Client, repo: &str) -> BTreeMap<String, String>;
}

struct Files;

impl Pair for Files {
    const OF: [&'static str; 2] = ["stage/files/a", "stage/files/b"];
    const NAMES: u64 = 320;

    fn make(&self, server: &Server) {
        for repo in Self::OF {
            let dir = server.dir();
            run_ok(&["repo", "create", repo, "--kind", "file", "--data", &dir]);
        }
    }

    async fn put(&self, client: &Client, repo: &str, name: u64, number: u64) {
        let path = format!("/r/{repo}/f{name:04}");
        let bytes = noise(1000 * number + name % 90, 64);
        let put = client.send("PUT", &path, &[], &bytes).await;
        assert!(matches!(put.status, 200 | 201), "{}", put.text());
    }

    async fn state(&self, client: &Client, repo: &str) -> BTreeMap<String, String> {
        let json = [("accept", "application/json")];
        let path = format!("/r/{repo}/?n=1000");
        let list: Value = client
            .send("GET", &path, &json, &[])
            .await
            .expect(200)
            .json();
        assert!(list["next"].is_null(), "all of them in one page");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = list["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| (text(&entry["name"]), text(&entry["digest"])))
            .collect()
    }
}

struct Images;

impl Pair for Images {
    const OF: [&'static str; 2] = ["stage/images/a", "stage/images/b"];
    const NAMES: u64 = 25;

    fn make(&self, _: &Server) {}

    async fn put(&self, client: &Client, repo: &str, name: u64, number: u64) {
        push_image(client, repo, &format!("v{name}"), 1000 * number + name).await;
    }

    async fn state(&self, client: &Client, repo: &str) -> BTreeMap<String, String> {
        let tags: Value = client
            .get(&format!("/v2/{repo}/tags/list"))
            .await
            .expect(200)
            .json();
        let mut state = BTreeMap::new();
        for tag in tags["tags"].as_array().unwrap() {
            let tag = tag.as_str().unwrap();
            let got = client
                .get(&format!("/v2/{repo}/manifests/{tag}"))
                .await
                .expect(200);
            let digest = got.header("docker-content-digest").to_owned();
            state.insert(tag.to_owned(), digest);
        }
        state
    }
}

async fn fill<P: Pair>(pair: &P, client: &Client, number: u64, names: std::ops::Range<u64>) {
    for repo in P::OF {
        let names: Vec<u64> = names.clone().collect();
        for some in names.chunks(8) {
            let puts = some
                .iter()
                .map(|name| pair.put(client, repo, *name, number));
            join_all(puts).await;
        }
    }
}

fn restore(dir: &str, of: &str) -> Child {
    let mut command = dryport(&["snapshot", "restore", of, "--data", dir]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A restore of two repositories at once: never one without the other, never half of one, whenever the server is killed.
async fn all_or_nothing<P: Pair>(pair: P, title: &str) {
    let mut server = server("1h", "1h").await;
    pair.make(&server);
    let (dir, admin) = (server.dir(), server.admin());
    let all = format!("{}@{title}", P::OF[0].replace("/a", "/*"));
    fill(&pair, &admin, 1, 0..P::NAMES).await;
    snapshot(
        &server,
        &["create", all.split('@').next().unwrap(), "--as", title],
    );
    let mut old = Vec::new();
    for repo in P::OF {
        old.push(pair.state(&admin, repo).await);
    }
    // Some change, some come, and some go by the restore.
    fill(&pair, &admin, 2, 0..P::NAMES / 2).await;
    fill(&pair, &admin, 3, P::NAMES..P::NAMES + 9).await;
    let mut new = Vec::new();
    for repo in P::OF {
        new.push(pair.state(&admin, repo).await);
    }
    assert_ne!(old, new);
    for delay in [0, 15, 30, 60, 100, 160, 250] {
        let mut child = restore(&dir, &all);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        child.wait().unwrap();
        server.restart().await;
        let client = server.admin();
        let mut is = Vec::new();
        for repo in P::OF {
            is.push(pair.state(&client, repo).await);
        }
        let is_restored = is == old;
        assert!(is_restored || is == new, "half of it is seen");
        // What was cut off is taken back in the background, and then the repositories take changes.
        let number = if is_restored { 1 } else { 2 };
        pair.put(&client, P::OF[1], 0, number).await;
        clean(&server);
        if is_restored {
            break;
        }
    }
    snapshot(&server, &["restore", &all]);
    run_ok(&["gc", "--purge-history", "--data", &dir]);
    for (repo, old) in P::OF.iter().zip(&old) {
        assert_eq!(pair.state(&server.admin(), repo).await, *old);
    }
    clean(&server);
}

#[tokio::test]
async fn a_restore_of_many_files_is_all_or_nothing() {
    all_or_nothing(Files, "june").await;
}

#[tokio::test]
async fn a_restore_of_many_images_is_all_or_nothing() {
    all_or_nothing(Images, "june").await;
}

#[tokio::test]
async fn readers_see_the_old_or_the_new_and_writers_wait() {
    const REPO: &str = Files::OF[0];
    let server = server("1h", "1h").await;
    Files.make(&server);
    let (dir, admin) = (server.dir(), server.admin());
    fill(&Files, &admin, 1, 0..800).await;
    snapshot(&server, &["create", REPO, "--as", "june"]);
    let before = Files.state(&admin, REPO).await;
    for name in 0..800 {
        let path = format!("/r/{REPO}/f{name:04}");
        admin.delete(&path).await.expect(204);
    }
    let rev = told(&server, &["show", &format!("{REPO}@june")])["rev"].clone();
    let head = rev.as_u64().unwrap() + 800;
    let mut child = restore(&dir, &format!("{REPO}@june"));
    let (mut wrote, mut seen) = (0, [0, 0]);
    while child.try_wait().unwrap().is_none() {
        let now = Files.state(&admin, REPO).await;
        let others = now.keys().filter(|name| name.starts_with('f')).count();
        assert!(matches!(others, 0 | 800), "{others} of 800 are seen");
        seen[usize::from(others > 0)] += 1;
        // A change of the repository comes before or after it, and is there to stay; elsewhere nobody waits.
        let path = format!("/r/{REPO}/new{wrote}");
        admin.send("PUT", &path, &[], b"new").await.expect(201);
        wrote += 1;
    }
    assert!(child.wait().unwrap().success());
    let after = Files.state(&admin, REPO).await;
    assert!(
        before
            .iter()
            .all(|(name, digest)| after.get(name) == Some(digest))
    );
    // One revision, beside those of the changes that came meanwhile.
    let made: Value = told(&server, &["create", REPO, "--as", "now"]);
    assert_eq!(made["rev"].as_u64().unwrap(), head + wrote + 1);
    assert!(seen[0] > 0, "nobody looked before its end: {seen:?}");
    clean(&server);
    let outcome = run(&["snapshot", "restore", "nowhere/*@june", "--data", &dir]);
    assert_eq!(outcome.status.code(), Some(1), "{}", text_of(&outcome));
}

/// An index of many images with many layers: more than one transaction takes.
fn large(fake: &Fake) -> (String, u64) {
    const IMAGES: u64 = 120;
    let images = (0..IMAGES).map(|n| fake.image("", "amd64", n, 60));
    let children: Vec<Value> = images
        .map(|image| {
            let mut child = descriptor(OCI_MANIFEST, &image.bytes);
            child["annotations"] = json!({ "n": image.digest });
            child
        })
        .collect();
    let index = fake.index("v1", &children);
    (crate::harness::content::sha256(&index), IMAGES)
}

#[tokio::test]
async fn a_large_image_comes_in_one_revision() {
    let server = server("1h", "1h").await;
    // Each quota above the name costs rows: with many of them this closure is too large for one transaction.
    let name = crate::core::quota::nested::name(60);
    crate::core::quota::nested::set_all(&server, 60);
    let fake = Fake::start();
    let (digest, images) = large(&fake);
    let dir = server.dir();
    let done = run_ok(&[
        "mirror",
        "--data",
        &dir,
        &fake.source(":v1"),
        "--to",
        &name,
        "--json",
    ]);
    assert!(done.contains(&digest), "{done}");
    let made: Value = told(&server, &["create", &name, "--as", "now"]);
    assert_eq!(made["rev"], 1, "all {images} images in one revision");
    clean(&server);
    // The same again changes nothing.
    run_ok(&["mirror", "--data", &dir, &fake.source(":v1"), "--to", &name]);
    let made: Value = told(&server, &["create", &name, "--as", "again"]);
    assert_eq!(made["rev"], 1);
}

#[tokio::test]
async fn a_large_copy_that_is_killed_goes_on_by_itself() {
    let mut server = server("1h", "1h").await;
    let name = crate::core::quota::nested::name(60);
    crate::core::quota::nested::set_all(&server, 60);
    let fake = Fake::start();
    let (digest, _) = large(&fake);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let path = format!("/v2/{name}/manifests/v1");
    let args = ["mirror", "--data", &dir, &source, "--to", &name, "--detach"];
    let id = run_ok(&args).trim().to_owned();
    // The commit comes behind some hundred requests: sooner or later a kill hits it.
    for delay in [250, 400, 550, 700, 850] {
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        server.restart().await;
        let got = server.admin().get(&path).await;
        assert!(matches!(got.status, 200 | 404), "{}", got.text());
        assert!(got.status == 404 || got.header("docker-content-digest") == digest);
    }
    let is_done = async || {
        let job = run_ok(&["job", "show", &id, "--json", "--data", &dir]);
        serde_json::from_str::<Value>(&job).unwrap()["state"] == "done"
    };
    until("the job is done", SOON, is_done).await;
    server.admin().get(&path).await.expect(200);
    let made: Value = told(&server, &["create", &name, "--as", "now"]);
    assert_eq!(made["rev"], 1);
    clean(&server);
}
