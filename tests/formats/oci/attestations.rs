//! Attestations as buildkit pushes them: a child of the index and, by its subject, a referrer of the image. Each build brings
//! one more; what no index lists any more ends, and what was pushed for its own sake stays.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clock::pass;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, put_manifest,
    sha256,
};
use crate::harness::damage;
use crate::harness::{Client, Server, init, run_ok};

/// A server that sweeps when asked, with a lease of this length and no history.
pub async fn server(lease: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_BLOBS__LEASE", lease),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    Server::serve(home, &[], &env).await
}

/// Sweeps as often as leases of an hour can lead from one to the next, each after the end of the one before.
async fn sweeps(server: &mut Server) {
    for _ in 0..4 {
        pass(server, Duration::from_secs(3_601)).await;
        run_ok(&["gc", "--data", &server.dir()]);
    }
}

/// The image that every build comes to.
async fn push_image(client: &Client, repo: &str) -> Vec<u8> {
    let (config, layer) = (b"{\"os\":\"linux\"}".to_vec(), noise(7, 4000));
    for bytes in [config.as_slice(), &layer, b"{}"] {
        push_blob(client, repo, bytes).await;
    }
    let manifest = bytes_of(&image(&config, &[&layer]));
    put_manifest(client, repo, &sha256(&manifest), OCI_MANIFEST, &manifest).await;
    manifest
}

fn attestation(subject: &[u8], build: &str) -> Vec<u8> {
    let subject = descriptor(OCI_MANIFEST, subject);
    bytes_of(&artifact(
        &subject,
        "application/vnd.docker.attestation.manifest.v1+json",
        build,
    ))
}

fn index(children: &[&[u8]]) -> Vec<u8> {
    let children: Vec<Value> = children
        .iter()
        .map(|c| descriptor(OCI_MANIFEST, c))
        .collect();
    bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}))
}

/// One build, under the tag `latest`; its attestation and its index.
async fn build(client: &Client, repo: &str, n: u32, index_first: bool) -> (Vec<u8>, Vec<u8>) {
    let image = push_image(client, repo).await;
    let attestation = attestation(&image, &n.to_string());
    let index = index(&[&image, &attestation]);
    let digest = sha256(&attestation);
    if index_first {
        put_manifest(client, repo, "latest", OCI_INDEX, &index).await;
    }
    put_manifest(client, repo, &digest, OCI_MANIFEST, &attestation).await;
    if !index_first {
        put_manifest(client, repo, "latest", OCI_INDEX, &index).await;
    }
    (attestation, index)
}

async fn referrers(client: &Client, repo: &str, subject: &[u8]) -> Vec<String> {
    let path = format!("/v2/{repo}/referrers/{}", sha256(subject));
    let list = client.get(&path).await.expect(200).json();
    let list = list["manifests"].as_array().unwrap();
    let mut found: Vec<_> = list
        .iter()
        .map(|d| d["digest"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

async fn status(client: &Client, repo: &str, manifest: &[u8]) -> u16 {
    let path = format!("/v2/{repo}/manifests/{}", sha256(manifest));
    client.get(&path).await.status
}

#[tokio::test]
async fn what_no_index_lists_any_more_ends_and_what_came_by_itself_stays() {
    let mut server = server("1h").await;
    let admin = server.admin();
    for (repo, index_first) in [("after", false), ("before", true)] {
        let mut built = Vec::new();
        for n in 0..4 {
            built.push(build(&admin, repo, n, index_first).await);
        }
        let image = push_image(&admin, repo).await;
        // A signature, and one that had been a part and is then pushed for its own sake.
        let signature = attestation(&image, "a signature");
        put_manifest(&admin, repo, &sha256(&signature), OCI_MANIFEST, &signature).await;
        put_manifest(
            &admin,
            repo,
            &sha256(&built[1].0),
            OCI_MANIFEST,
            &built[1].0,
        )
        .await;
        sweeps(&mut server).await;
        let mut want = [&signature, &built[1].0, &built[3].0]
            .map(|m| sha256(m))
            .to_vec();
        want.sort();
        assert_eq!(referrers(&admin, repo, &image).await, want, "{repo}");
        for (n, (attestation, index)) in built.iter().enumerate() {
            let want = [404, 404, 404, 200][n];
            assert_eq!(status(&admin, repo, index).await, want, "{repo} index {n}");
            let want = [404, 200, 404, 200][n];
            assert_eq!(
                status(&admin, repo, attestation).await,
                want,
                "{repo} attestation {n}"
            );
        }
        // With the last index the last part goes, and with the image what was pushed for its sake.
        let path = format!("/v2/{repo}/manifests/latest");
        admin.delete(&path).await.expect(202);
        put_manifest(&admin, repo, "image", OCI_MANIFEST, &image).await;
        sweeps(&mut server).await;
        want.retain(|digest| *digest != sha256(&built[3].0));
        assert_eq!(referrers(&admin, repo, &image).await, want, "{repo}");
        let path = format!("/v2/{repo}/manifests/image");
        admin.delete(&path).await.expect(202);
        sweeps(&mut server).await;
        for manifest in [&image, &signature, &built[1].0, &built[3].0] {
            assert_eq!(status(&admin, repo, manifest).await, 404, "{repo}");
        }
        let show = run_ok(&["repo", "show", "--data", &server.dir(), repo, "--json"]);
        let show: Value = serde_json::from_str(&show).unwrap();
        assert_eq!(
            (&show["manifests"], &show["bytes"]),
            (&json!(0), &json!(0)),
            "{show}"
        );
    }
    let (code, report) = damage::check(&server.data(), &["--deep"]);
    assert_eq!((code, &report["problems"]), (0, &json!([])), "{report:#}");
}

/// A referrer that an index lists long after it came was not pushed for the index.
#[tokio::test]
async fn what_an_index_lists_later_is_no_part_of_it() {
    let mut server = server("1h").await;
    let admin = server.admin();
    let image = push_image(&admin, "a").await;
    put_manifest(&admin, "a", "image", OCI_MANIFEST, &image).await;
    let signature = attestation(&image, "a signature");
    put_manifest(&admin, "a", &sha256(&signature), OCI_MANIFEST, &signature).await;
    sweeps(&mut server).await;
    // To look at it is no push.
    let path = format!("/v2/a/manifests/{}", sha256(&signature));
    admin.head(&path).await.expect(200);
    let index = index(&[&image, &signature]);
    put_manifest(&admin, "a", "index", OCI_INDEX, &index).await;
    admin.delete("/v2/a/manifests/index").await.expect(202);
    sweeps(&mut server).await;
    assert_eq!(status(&admin, "a", &index).await, 404);
    assert_eq!(status(&admin, "a", &signature).await, 200);
}

/// An index that is closed by then takes nothing with it that comes later, though its history names that.
#[tokio::test]
async fn what_a_closed_index_named_is_no_part_of_it() {
    let mut server = server("1h").await;
    let admin = server.admin();
    let image = push_image(&admin, "a").await;
    put_manifest(&admin, "a", "image", OCI_MANIFEST, &image).await;
    let signature = attestation(&image, "a signature");
    let index = index(&[&image, &signature]);
    put_manifest(&admin, "a", "index", OCI_INDEX, &index).await;
    let path = format!("/v2/a/manifests/{}", sha256(&index));
    admin.delete(&path).await.expect(202);
    put_manifest(&admin, "a", &sha256(&signature), OCI_MANIFEST, &signature).await;
    sweeps(&mut server).await;
    assert_eq!(status(&admin, "a", &index).await, 404);
    assert_eq!(status(&admin, "a", &signature).await, 200);
    assert_eq!(referrers(&admin, "a", &image).await, [sha256(&signature)]);
}

#[tokio::test]
async fn a_dry_run_says_how_many_end_and_a_head_lends_them_a_lease() {
    let server = server("1h").await;
    let (admin, dir) = (server.admin(), server.dir());
    let unlisted = || {
        let report = run_ok(&["gc", "--data", &dir, "--dry-run", "--json"]);
        serde_json::from_str::<Value>(&report).unwrap()["unlisted"].clone()
    };
    let mut built = Vec::new();
    for n in 0..3 {
        built.push(build(&admin, "a", n, false).await);
    }
    assert_eq!(unlisted(), 0);
    for (_, index) in &built[..2] {
        let path = format!("/v2/a/manifests/{}", sha256(index));
        admin.delete(&path).await.expect(202);
    }
    run_ok(&["gc", "--data", &dir]);
    assert_eq!(unlisted(), 2);
    let text = run_ok(&["gc", "--data", &dir, "--dry-run"]);
    assert!(text.contains("2 attestations and other parts"), "{text}");
    let path = format!("/v2/a/manifests/{}", sha256(&built[0].0));
    admin.head(&path).await.expect(200);
    run_ok(&["gc", "--data", &dir]);
    assert_eq!(status(&admin, "a", &built[0].0).await, 200);
    assert_eq!(unlisted(), 2, "a HEAD is no push");
}

/// As many as a manifest may name, in one change: no build's index, so nothing is marked.
#[tokio::test]
async fn an_index_of_thousands_that_have_a_subject_is_taken() {
    let server = server("1h").await;
    let admin = server.admin();
    let image = push_image(&admin, "a").await;
    let mut all = Vec::new();
    for n in 0..2_600 {
        let one = attestation(&image, &n.to_string());
        put_manifest(&admin, "a", &sha256(&one), OCI_MANIFEST, &one).await;
        all.push(one);
    }
    let children: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    put_manifest(&admin, "a", "all", OCI_INDEX, &index(&children)).await;
    put_manifest(&admin, "a", "some", OCI_INDEX, &index(&children[..1_000])).await;
}
