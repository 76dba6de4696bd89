//! Snapshots: one never changes, whatever is pushed, deleted and collected after it, and what only it kept goes with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clock::pass;
use crate::harness::content::{bytes_of, push_image, sha256};
use crate::harness::{Server, init, run, run_ok, text_of};

/// A little more than a lease, and a history, of an hour.
const HOUR: Duration = Duration::from_secs(3_601);

/// A server that sweeps only when asked.
pub async fn server(lease: &str, keep: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_BLOBS__LEASE", lease),
        ("DRYPORT_HISTORY__KEEP", keep),
    ];
    Server::serve(home, &[], &env).await
}

/// Arguments of `dryport snapshot` with this server's data directory.
fn args<'a>(dir: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["snapshot"];
    all.extend(args);
    all.extend(["--data", dir]);
    all
}

/// What `dryport snapshot` prints.
pub fn snapshot(server: &Server, words: &[&str]) -> String {
    run_ok(&args(&server.dir(), words))
}

/// The same as JSON.
pub fn told(server: &Server, words: &[&str]) -> Value {
    let mut all = words.to_vec();
    all.push("--json");
    serde_json::from_str(&snapshot(server, &all)).unwrap()
}

/// The exit code and what is said.
fn refused(server: &Server, words: &[&str]) -> (i32, String) {
    let output = run(&args(&server.dir(), words));
    (output.status.code().unwrap(), text_of(&output))
}

/// The root digest of what a reference means.
pub fn root(server: &Server, of: &str) -> String {
    let shown = told(server, &["show", of]);
    shown["root"].as_str().expect("a root digest").to_owned()
}

pub fn gc(server: &Server, more: &[&str]) -> Value {
    let dir = server.dir();
    let mut args = vec!["gc", "--data", &dir, "--json"];
    args.extend(more);
    serde_json::from_str(&run_ok(&args)).unwrap()
}

pub fn clean(server: &Server) {
    run_ok(&["check", "--data", &server.dir(), "--deep"]);
}

#[tokio::test]
async fn one_is_made_listed_shown_held_and_deleted() {
    let server = server("1h", "1h").await;
    let admin = server.admin();
    push_image(&admin, "team/app", "v1", 1).await;
    let day = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let day = day.date().to_string();
    let first = told(&server, &["create", "team/app"]);
    assert_eq!(first["title"], *day);
    assert_eq!(
        (&first["name"], &first["held"]),
        (&json!("team/app"), &json!(false))
    );
    let second = told(&server, &["create", "team/app"]);
    assert_eq!(second["title"], format!("{day}-2"));
    let june = told(&server, &["create", "team/app", "--as", "june", "--hold"]);
    assert_eq!(june["rev"], first["rev"]);
    let listed = told(&server, &["list", "team/app"]);
    let titles: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["title"])
        .collect();
    assert_eq!(titles, [&first["title"], &second["title"], &json!("june")]);
    assert_eq!(told(&server, &["list"]), listed);
    // The same content, the same root; that of a revision, too.
    let whole = root(&server, "team/app@june");
    assert!(whole.starts_with("sha256:"), "{whole}");
    assert_eq!(root(&server, &format!("team/app@{day}")), whole);
    assert_eq!(root(&server, &format!("team/app@g{}", first["rev"])), whole);

    let (code, text) = refused(&server, &["create", "team/app", "--as", "june"]);
    assert!(code == 3 && text.contains("june already"), "{code} {text}");
    for title in ["g7", "20261129", "June", "a/b"] {
        let (code, text) = refused(&server, &["create", "team/app", "--as", title]);
        assert_eq!(code, 2, "{title}: {text}");
    }
    let (code, text) = refused(&server, &["create", "nobody/has"]);
    assert!(
        code == 1 && text.contains("does not exist"),
        "{code} {text}"
    );
    let (code, text) = refused(&server, &["show", "team/app@july"]);
    assert!(
        code == 1 && text.contains("no snapshot july"),
        "{code} {text}"
    );
    let (code, text) = refused(&server, &["delete", "team/app@june"]);
    assert!(code == 3 && text.contains("held"), "{code} {text}");
    // A repository goes with its snapshots only if that is said, and with a held one never.
    let dir = server.dir();
    let delete = |more: &[&str]| {
        let mut args = vec!["repo", "delete", "--data", &dir, "team/app"];
        args.extend(more);
        let output = run(&args);
        (output.status.code().unwrap(), text_of(&output))
    };
    for more in [&[][..], &["--with-snapshots"]] {
        let (code, text) = delete(more);
        assert!(code == 3 && text.contains("june"), "{code} {text}");
    }
    snapshot(&server, &["release", "team/app@june"]);
    let (code, text) = delete(&[]);
    assert!(code == 3 && text.contains(&day), "{code} {text}");
    snapshot(&server, &["delete", "team/app@june"]);
    let (code, _) = refused(&server, &["delete", "team/app@june"]);
    assert_eq!(code, 1);
    clean(&server);
    assert_eq!(delete(&["--with-snapshots"]).0, 0);
    assert_eq!(told(&server, &["list"]), json!([]));
    gc(&server, &["--purge-history"]);
    clean(&server);
}

#[tokio::test]
async fn it_keeps_what_it_shows_until_it_is_deleted() {
    let mut server = server("1h", "1h").await;
    let admin = server.admin();
    let v1 = push_image(&admin, "a", "v1", 1).await;
    let loose = push_image(&admin, "a", "loose", 2).await;
    admin.delete("/v2/a/manifests/loose").await.expect(202);
    told(&server, &["create", "a", "--as", "kept"]);
    let whole = root(&server, "a@kept");
    // The tag means another image, then nothing; the first image is removed by hand, the second by the collector.
    push_image(&admin, "a", "v1", 3).await;
    admin.delete("/v2/a/manifests/v1").await.expect(202);
    let path = format!("/v2/a/manifests/{}", sha256(&v1));
    admin.delete(&path).await.expect(202);
    let mut freed = 0;
    for _ in 0..3 {
        pass(&mut server, HOUR).await;
        let report = gc(&server, &["--purge-history"]);
        freed += report["freed_blobs"].as_u64().unwrap();
        assert_eq!(root(&server, "a@kept"), whole);
        clean(&server);
    }
    assert_eq!(freed, 3, "the image that came after it");
    // Nothing but the snapshot has any of it, and a revision beside it is gone.
    let again = told(&server, &["create", "a", "--at", "kept", "--as", "again"]);
    assert_eq!(root(&server, "a@again"), whole);
    let next = again["rev"].as_u64().unwrap() + 1;
    let (code, text) = refused(&server, &["show", &format!("a@g{next}")]);
    assert!(code == 3 && text.contains("is gone"), "{code} {text}");
    // It comes back whole.
    let done = told(&server, &["restore", "a@kept"]);
    assert_eq!(
        (&done["restored"], &done["removed"]),
        (&json!(1), &json!(0))
    );
    let admin = server.admin();
    for bytes in [&v1, &loose] {
        let path = format!("/v2/a/manifests/{}", sha256(bytes));
        let reply = admin.get(&path).await.expect(200);
        assert_eq!(&reply.body, bytes);
        for blob in reply.json()["layers"].as_array().unwrap() {
            let digest = blob["digest"].as_str().unwrap();
            let path = format!("/v2/a/blobs/{digest}");
            let blob = admin.get(&path).await.expect(200);
            assert_eq!(sha256(&blob.body), digest);
        }
    }
    let diff = told(&server, &["diff", "a@kept", "a"]);
    assert_eq!(diff, json!({"added": [], "removed": [], "changed": []}));
    clean(&server);
    // And goes when nothing keeps it any more.
    admin.delete("/v2/a/manifests/v1").await.expect(202);
    snapshot(&server, &["delete", "a@kept"]);
    snapshot(&server, &["delete", "a@again"]);
    let mut freed = 0;
    for _ in 0..4 {
        pass(&mut server, HOUR).await;
        freed += gc(&server, &["--purge-history"])["freed_blobs"]
            .as_u64()
            .unwrap();
    }
    assert_eq!(freed, 6, "two manifests, two configurations, two layers");
    clean(&server);
}

#[tokio::test]
async fn a_cut_of_many_and_what_changed_since() {
    let server = server("1h", "1h").await;
    let admin = server.admin();
    let repos = ["mirror.example/a", "mirror.example/b/c", "other"];
    for (seed, repo) in repos.iter().enumerate() {
        push_image(&admin, repo, "v1", seed as u64).await;
    }
    let made = told(&server, &["create", "mirror.example/**", "--as", "cut"]);
    let names: Vec<_> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, [repos[0], repos[1]]);
    // Not half of a cut: one of them has the title.
    told(&server, &["create", repos[0], "--as", "one"]);
    let (code, _) = refused(&server, &["create", "mirror.example/**", "--as", "one"]);
    assert_eq!(code, 3);
    assert_eq!(
        told(&server, &["list", repos[1]]).as_array().unwrap().len(),
        1
    );
    let (code, text) = refused(&server, &["create", "nothing/**"]);
    assert!(
        code == 1 && text.contains("no repository matches"),
        "{text}"
    );

    push_image(&admin, repos[0], "v2", 7).await;
    let moved = push_image(&admin, repos[0], "v1", 8).await;
    push_image(&admin, repos[0], "gone", 9).await;
    admin
        .delete(&format!("/v2/{}/manifests/gone", repos[0]))
        .await
        .expect(202);
    told(&server, &["create", repos[0], "--as", "after"]);
    let from = format!("{}@cut", repos[0]);
    let to = format!("{}@after", repos[0]);
    let diff = told(&server, &["diff", &from, &to]);
    let names = |list: &str| -> Vec<String> {
        let list = diff[list].as_array().unwrap().iter();
        list.map(|item| item["name"].as_str().unwrap().to_owned())
            .filter(|name| !name.starts_with("sha256:"))
            .collect()
    };
    assert_eq!(names("added"), ["v2"]);
    assert_eq!(names("changed"), ["v1"]);
    assert!(names("removed").is_empty());
    assert_eq!(diff["changed"][0]["bytes"], moved.len());
    // The image whose tag is gone has no name but its digest.
    assert_eq!(diff["added"].as_array().unwrap().len(), 2, "{diff}");
    let back = told(&server, &["diff", &to, &from]);
    assert_eq!(back["removed"].as_array().unwrap().len(), 2, "{back}");
    let text = snapshot(&server, &["diff", &from, &to, "--markdown"]);
    assert!(
        text.contains("## 1 changed") && text.contains("| v2 | "),
        "{text}"
    );
    let (code, _) = refused(&server, &["diff", &from, "other@cut"]);
    assert_eq!(code, 2);
    clean(&server);
}

#[tokio::test]
async fn two_servers_with_the_same_content_agree_on_its_root() {
    let (one, other) = (server("1h", "1h").await, server("1h", "0s").await);
    let admin = one.admin();
    for (tag, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        push_image(&admin, "x", tag, seed).await;
    }
    let admin = other.admin();
    for (tag, seed) in [("c", 3), ("a", 9), ("a", 1), ("b", 2)] {
        push_image(&admin, "y/z", tag, seed).await;
    }
    // What was there for a while leaves no trace.
    let extra = bytes_of(&crate::harness::content::image(
        b"{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":9}",
        &[&crate::harness::content::noise(9, 2000)],
    ));
    let path = format!("/v2/y/z/manifests/{}", sha256(&extra));
    admin.delete(&path).await.expect(202);
    told(&one, &["create", "x", "--as", "s"]);
    told(&other, &["create", "y/z", "--as", "t"]);
    assert_eq!(root(&one, "x@s"), root(&other, "y/z@t"));
    push_image(&admin, "y/z", "d", 4).await;
    told(&other, &["create", "y/z", "--as", "u"]);
    assert_ne!(root(&one, "x@s"), root(&other, "y/z@u"));
}

#[tokio::test]
async fn its_time_ends_unless_it_is_held_and_a_kill_ends_nothing() {
    let mut server = server("1h", "1h").await;
    push_image(&server.admin(), "a", "v1", 1).await;
    told(
        &server,
        &["create", "a", "--as", "short", "--expires", "1h"],
    );
    told(
        &server,
        &["create", "a", "--as", "held", "--expires", "1h", "--hold"],
    );
    told(&server, &["create", "a", "--as", "stays"]);
    server.kill();
    // Without a server the command looks for itself.
    let ends = told(&server, &["list"]);
    assert!(
        ends[0]["ends_in_ms"].as_u64().unwrap() <= 3_600_000,
        "{ends}"
    );
    server.restart().await;
    gc(&server, &[]);
    assert_eq!(told(&server, &["list"]).as_array().unwrap().len(), 3);
    pass(&mut server, HOUR).await;
    gc(&server, &[]);
    let left = |server: &Server| -> Vec<String> {
        let list = told(server, &["list"]);
        let list = list.as_array().unwrap().iter();
        list.map(|s| s["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(left(&server), ["held", "stays"]);
    snapshot(&server, &["release", "a@held"]);
    gc(&server, &[]);
    assert_eq!(left(&server), ["stays"]);
    clean(&server);
}
