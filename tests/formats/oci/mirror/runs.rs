//! `dryport mirror`, from a second Dryport as the upstream.

use std::time::Duration;

use serde_json::json;

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::{Client, Server, dryport, run, text_of};

/// An index of two platforms with a referrer on each level and a cosign tag; gives its bytes and all manifests.
async fn push_family(client: &Client, repo: &str, layer_bytes: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    push_blob(client, repo, b"{}").await;
    let (mut children, mut all) = (Vec::new(), Vec::new());
    for (n, arch) in ["amd64", "arm64"].iter().enumerate() {
        let config = format!("{{\"architecture\":\"{arch}\",\"os\":\"linux\"}}").into_bytes();
        let layers = [noise(50, 5000), noise(51 + n as u64, layer_bytes)];
        for bytes in layers.iter().chain([&config]) {
            push_blob(client, repo, bytes).await;
        }
        let manifest = bytes_of(&image(&config, &[&layers[0], &layers[1]]));
        put_manifest(client, repo, &sha256(&manifest), OCI_MANIFEST, &manifest).await;
        let mut child = descriptor(OCI_MANIFEST, &manifest);
        child["platform"] = json!({"os": "linux", "architecture": arch});
        children.push(child);
        all.push(manifest);
    }
    let index =
        bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}));
    put_manifest(client, repo, "v1", OCI_INDEX, &index).await;
    for (subject, kind) in [(&index, OCI_INDEX), (&all[0].clone(), OCI_MANIFEST)] {
        let bytes = bytes_of(&artifact(
            &descriptor(kind, subject),
            "application/vnd.example.sbom",
            "of it",
        ));
        put_manifest(client, repo, &sha256(&bytes), OCI_MANIFEST, &bytes).await;
        all.push(bytes);
    }
    let tag = format!("{}.sig", sha256(&index).replace(':', "-"));
    let signature = bytes_of(&image(b"{}", &[]));
    put_manifest(client, repo, &tag, OCI_MANIFEST, &signature).await;
    all.push(signature);
    all.push(index.clone());
    (index, all)
}

fn mirror(target: &Server, source: &str, more: &[&str]) -> std::process::Output {
    let dir = target.dir();
    let mut args = vec!["mirror", "--data", &dir, source];
    args.extend_from_slice(more);
    run(&args)
}

#[tokio::test]
async fn an_image_comes_with_its_whole_closure() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    let (index, all) = push_family(&upstream.admin(), "team/app", 200_000).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let output = mirror(&target, &source, &["--to", "copies/app"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let anyone = target.anonymous();
    assert_eq!(
        anyone
            .get("/v2/copies/app/manifests/v1")
            .await
            .expect(200)
            .body,
        index
    );
    for manifest in &all {
        let path = format!("/v2/copies/app/manifests/{}", sha256(manifest));
        assert_eq!(anyone.get(&path).await.expect(200).body, *manifest);
        let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        for layer in manifest["layers"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(manifest.get("config"))
        {
            let digest = layer["digest"].as_str().unwrap();
            let got = anyone
                .get(&format!("/v2/copies/app/blobs/{digest}"))
                .await
                .expect(200);
            assert_eq!(sha256(&got.body), digest);
        }
    }
    let referrers = anyone
        .get(&format!("/v2/copies/app/referrers/{}", sha256(&index)))
        .await
        .expect(200)
        .json();
    assert_eq!(referrers["manifests"].as_array().unwrap().len(), 1);
    let tag = format!("{}.sig", sha256(&index).replace(':', "-"));
    anyone
        .get(&format!("/v2/copies/app/manifests/{tag}"))
        .await
        .expect(200);

    // Again: all is there, nothing is fetched twice.
    let before = fetched(&upstream);
    let output = mirror(&target, &source, &["--to", "copies/app"]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(
        fetched(&upstream),
        before,
        "blobs were fetched again:\n{}",
        text_of(&output)
    );

    // The images of a mirror come from its upstream alone.
    let path = "/v2/copies/app/manifests/v1";
    let kind = [("content-type", OCI_MANIFEST)];
    let reply = target.admin().send("PUT", path, &kind, &all[0]).await;
    let text = reply.refused(403, "DENIED").text();
    assert!(text.contains("mirror"), "{text}");
}

fn set_attachments(server: &Server, name: &str, to: &str) {
    let dir = server.dir();
    crate::harness::run_ok(&["repo", "set", name, "--attachments", to, "--data", &dir]);
}

/// How many blobs the server has handed out, by its access lines.
fn fetched(server: &Server) -> usize {
    server
        .log()
        .lines()
        .filter(|l| l.contains("/blobs/sha256") && l.contains("GET"))
        .count()
}

#[tokio::test]
async fn the_default_name_says_where_it_is_from() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    let bytes = push_image(&upstream.admin(), "team/app", "v1", 1).await;
    let source = format!("docker://{}/team/app@{}", upstream.host(), sha256(&bytes));
    let output = mirror(&target, &source, &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    let name = format!("127.0.0.1-{}/team/app", upstream.http);
    let path = format!("/v2/{name}/manifests/{}", sha256(&bytes));
    assert_eq!(target.anonymous().get(&path).await.expect(200).body, bytes);
}

#[tokio::test]
async fn one_platform_leaves_the_index_as_it_is() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    let (index, all) = push_family(&upstream.admin(), "team/app", 50_000).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let output = mirror(
        &target,
        &source,
        &["--to", "one", "--platform", "linux/arm64"],
    );
    assert!(output.status.success(), "{}", text_of(&output));
    let anyone = target.anonymous();
    assert_eq!(
        anyone.get("/v2/one/manifests/v1").await.expect(200).body,
        index
    );
    anyone
        .get(&format!("/v2/one/manifests/{}", sha256(&all[0])))
        .await
        .expect(404);
    anyone
        .get(&format!("/v2/one/manifests/{}", sha256(&all[1])))
        .await
        .expect(200);
}

#[tokio::test]
async fn into_a_local_repository_it_is_an_ordinary_commit() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    let bytes = push_image(&upstream.admin(), "team/app", "v2", 1).await;
    push_image(&target.admin(), "mine", "v1", 2).await;
    let source = format!("docker://{}/team/app:v2", upstream.host());
    let output = mirror(&target, &source, &["--to", "mine"]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(
        target
            .anonymous()
            .get("/v2/mine/manifests/v2")
            .await
            .expect(200)
            .body,
        bytes
    );
    push_image(&target.admin(), "mine", "v3", 3).await;
}

#[tokio::test]
async fn credentials_come_from_the_callers_docker_configuration() {
    let upstream = Server::start_with(&["--mode", "standalone"], &[]).await;
    let target = Server::start().await;
    push_image(&upstream.admin(), "team/app", "v1", 1).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    target
        .anonymous()
        .get("/v2/copy/manifests/v1")
        .await
        .expect(404);
    let config = target.home().join("docker");
    std::fs::create_dir(&config).unwrap();
    let auth = "Y2k6czNjcmV0LW9mLWNp"; // the admin's name and password
    let text = json!({"auths": {upstream.host(): {"auth": auth}}}).to_string();
    std::fs::write(config.join("config.json"), text).unwrap();
    let mut command = dryport(&["mirror", "--data", &target.dir(), &source, "--to", "copy"]);
    let output = command.env("DOCKER_CONFIG", &config).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    target
        .anonymous()
        .get("/v2/copy/manifests/v1")
        .await
        .expect(200);
    assert!(
        !target.log().contains(auth) && !target.log().contains("s3cret"),
        "the log holds credentials"
    );
}

#[tokio::test]
async fn over_tls_with_the_upstreams_ca() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    push_image(&upstream.admin(), "team/app", "v1", 1).await;
    let ca = target.home().join("upstream.pem");
    std::fs::write(
        &ca,
        crate::harness::run_ok(&["trust", "--data", &upstream.dir(), "--pem"]),
    )
    .unwrap();
    let source = format!("docker://localhost:{}/team/app:v1", upstream.https);
    let refused = mirror(&target, &source, &["--to", "copy"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text_of(&refused));
    let output = mirror(
        &target,
        &source,
        &["--to", "copy", "--ca", ca.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", text_of(&output));
    let output = mirror(&target, &source, &["--to", "other", "--insecure"]);
    assert!(output.status.success(), "{}", text_of(&output));
}

#[tokio::test]
async fn what_cannot_be_had_leaves_nothing() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    push_image(&upstream.admin(), "team/app", "v1", 1).await;
    for source in [
        format!("docker://{}/team/app:none", upstream.host()),
        format!("docker://{}/none/none:v1", upstream.host()),
        format!("docker://127.0.0.1:{}/a:b", crate::harness::free_port()),
    ] {
        let output = mirror(&target, &source, &["--to", "copy"]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{source}: {}",
            text_of(&output)
        );
    }
    for source in [
        "team/app",
        "docker://",
        "docker://host/UPPER:v1",
        "http://host/a",
    ] {
        let output = mirror(&target, source, &["--to", "copy"]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{source}: {}",
            text_of(&output)
        );
    }
    assert_eq!(
        target.admin().get("/v2/_catalog").await.expect(200).json()["repositories"],
        json!([])
    );
}

/// What a stranger, an admin and an operator see of a repository whose first mirror run did not end: nothing.
async fn assert_unseen(target: &Server, repo: &str, blob: &str, manifest: &str) {
    let admin = target.admin();
    let catalog = admin.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(catalog["repositories"], json!([]), "{catalog}");
    let dir = target.dir();
    let list = crate::harness::run_ok(&["repo", "list", "--json", "--data", &dir]);
    assert!(!list.contains(repo), "{list}");
    for command in [["repo", "show"], ["repo", "delete"], ["tag", "list"]] {
        let output = run(&[command[0], command[1], repo, "--data", &dir]);
        let text = text_of(&output);
        assert!(
            output.status.code() == Some(1) && text.contains("does not exist"),
            "{text}"
        );
    }
    for client in [admin, target.anonymous()] {
        let list = client.get(&format!("/v2/{repo}/tags/list")).await;
        list.refused(404, "NAME_UNKNOWN");
        for path in ["manifests/v1".to_owned(), format!("manifests/{manifest}")] {
            let reply = client.get(&format!("/v2/{repo}/{path}")).await.expect(404);
            assert_eq!(reply.code(), "NAME_UNKNOWN", "{path}");
        }
        let path = format!("/v2/{repo}/blobs/{blob}");
        client.get(&path).await.refused(404, "NAME_UNKNOWN");
        client.head(&path).await.expect(404);
        let path = format!("/v2/{repo}/referrers/{manifest}");
        let referrers = client.get(&path).await.expect(200).json();
        assert_eq!(referrers["manifests"], json!([]));
    }
    let admin = target.admin();
    let path = format!("/v2/{repo}/blobs/{blob}");
    admin.delete(&path).await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_first_run_that_fails_leaves_nothing_to_see_and_goes_on_when_run_again() {
    let (server, target) = (Server::start().await, Server::start().await);
    let (index, _) = push_family(&server.admin(), "team/app", 12 * 1024 * 1024).await;
    let upstream = crate::harness::upstream::Upstream::before(server.http);
    // The layer of the second platform breaks off; those of the first and the shared one come.
    let (whole, bad) = (noise(50, 5000), sha256(&noise(52, 12 * 1024 * 1024)));
    upstream.manners.lock().unwrap().cut = Some((bad.clone(), 5 * 1024 * 1024));
    let source = format!("docker://127.0.0.1:{}/team/app:v1", upstream.port);
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert_unseen(&target, "copy", &sha256(&whole), &sha256(&index)).await;
    // A mount cannot fetch from it, either, named or not.
    let admin = target.admin();
    for from in ["&from=copy", ""] {
        let path = format!("/v2/other/blobs/uploads/?mount={}{from}", sha256(&whole));
        admin.post(&path).await.expect(202);
    }
    assert_eq!(
        upstream
            .manners
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|a| a.starts_with(&sha256(&whole)))
            .count(),
        1
    );

    {
        let mut manners = upstream.manners.lock().unwrap();
        (manners.cut, manners.asked) = (None, Vec::new());
    }
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let anyone = target.anonymous();
    let got = anyone.get("/v2/copy/manifests/v1").await.expect(200);
    assert_eq!(got.body, index);
    let asked = upstream.manners.lock().unwrap().asked.clone();
    let again = |digest: &str| {
        let range = asked.iter().filter_map(|a| a.strip_prefix(digest));
        range.map(|r| r.trim().to_owned()).collect::<Vec<_>>()
    };
    let ranges = again(&bad);
    assert!(
        ranges.len() == 1 && ranges[0].starts_with("bytes="),
        "{asked:?}"
    );
    assert!(!ranges[0].starts_with("bytes=0-"), "{asked:?}");
    assert!(again(&sha256(&whole)).is_empty(), "{asked:?}");
    // Now it is a mirror.
    let dir = target.dir();
    let show = crate::harness::run_ok(&["repo", "show", "copy", "--json", "--data", &dir]);
    assert!(show.contains("\"mirror\""), "{show}");
    let kind = [("content-type", OCI_MANIFEST)];
    let admin = target.admin();
    let put = admin.send("PUT", "/v2/copy/manifests/own", &kind, &index);
    put.await.refused(403, "DENIED");
}

#[tokio::test]
async fn a_push_may_take_the_name_of_a_mirror_that_never_came() {
    let (server, target) = (Server::start().await, Server::start().await);
    push_family(&server.admin(), "team/app", 2 * 1024 * 1024).await;
    let upstream = crate::harness::upstream::Upstream::before(server.http);
    let bad = sha256(&noise(52, 2 * 1024 * 1024));
    upstream.manners.lock().unwrap().cut = Some((bad, 1024 * 1024));
    let source = format!("docker://127.0.0.1:{}/team/app:v1", upstream.port);
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    let pushed = push_image(&target.admin(), "copy", "mine", 7).await;
    let path = "/v2/copy/manifests/mine";
    assert_eq!(target.anonymous().get(path).await.expect(200).body, pushed);
    let dir = target.dir();
    let show = crate::harness::run_ok(&["repo", "show", "copy", "--json", "--data", &dir]);
    assert!(show.contains("\"local\""), "{show}");
    upstream.manners.lock().unwrap().cut = None;
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    for tag in ["mine", "v1"] {
        let path = format!("/v2/copy/manifests/{tag}");
        target.anonymous().get(&path).await.expect(200);
    }
}

#[tokio::test]
async fn a_push_that_was_begun_before_a_mirror_took_the_name_is_one_into_the_mirror() {
    let (upstream, target) = (Server::start().await, Server::start().await);
    push_family(&upstream.admin(), "team/app", 1000).await;
    let (admin, source) = (
        target.admin(),
        format!("docker://{}/team/app:v1", upstream.host()),
    );
    let dir = target.dir();
    push_image(&admin, "was/local", "v1", 3).await;
    // Few bytes, and many, of which some are there already; by names of nothing and of what is deleted then.
    let mut begun = Vec::new();
    for name in ["copy", "was/local"] {
        for len in [500, 300_000] {
            let bytes = noise(60, len);
            let post = admin.post(&format!("/v2/{name}/blobs/uploads/")).await;
            let mut at = post.expect(202).location();
            if name == "was/local" {
                let range = [("content-range", "0-99")];
                let patch = admin.send("PATCH", &at, &range, &bytes[..100]).await;
                at = patch.expect(202).location();
            }
            begun.push((name, at, bytes));
        }
    }
    crate::harness::run_ok(&["repo", "delete", "was/local", "--data", &dir]);
    for name in ["copy", "was/local"] {
        let output = mirror(&target, &source, &["--to", name]);
        assert!(output.status.success(), "{}", text_of(&output));
        set_attachments(&target, name, "off");
    }
    for (name, at, bytes) in &begun {
        let digest = sha256(bytes);
        let from = if *name == "copy" { 0 } else { 100 };
        let put = crate::harness::with_query(at, &format!("digest={digest}"));
        let octets = [("content-type", "application/octet-stream")];
        let reply = admin.send("PUT", &put, &octets, &bytes[from..]).await;
        assert_eq!(reply.status, 403, "{name}: {}", reply.text());
        // Where it takes what is attached: one that was begun for the deleted repository is over.
        let status = if *name == "copy" { 201 } else { 404 };
        set_attachments(&target, name, "on");
        let reply = admin.send("PUT", &put, &octets, &bytes[from..]).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        set_attachments(&target, name, "off");
        let blob = format!("/v2/{name}/blobs/{digest}");
        let status = if status == 201 { 200 } else { 404 };
        admin.get(&blob).await.expect(status);
    }
    // What took pushes before its deletion takes none that begin now.
    let post = admin.post("/v2/was/local/blobs/uploads/").await;
    assert_eq!(post.status, 403, "{}", post.text());
    let (code, report) = crate::harness::damage::check(&target.data(), &[]);
    assert_eq!(code, 0, "{report:#}");
}

#[tokio::test]
async fn kill_9_during_a_mirror_then_again() {
    let (upstream, mut target) = (Server::start().await, Server::start().await);
    let (index, all) = push_family(&upstream.admin(), "team/app", 40 * 1024 * 1024).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let dir = target.dir();
    for delay in [150, 400] {
        let mut command = dryport(&["mirror", "--data", &dir, &source, "--to", "copy"]);
        let mut child = command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        target.kill();
        let _ = child.wait().unwrap();
        target.restart().await;
        // All or nothing: the tag is there only with all that it names. The job goes on meanwhile.
        let anyone = target.anonymous();
        for _ in 0..20 {
            if anyone.get("/v2/copy/manifests/v1").await.status == 200 {
                for manifest in &all {
                    anyone
                        .get(&format!("/v2/copy/manifests/{}", sha256(manifest)))
                        .await
                        .expect(200);
                }
            }
        }
    }
    let output = mirror(&target, &source, &["--to", "copy"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let anyone = target.anonymous();
    assert_eq!(
        anyone.get("/v2/copy/manifests/v1").await.expect(200).body,
        index
    );
    let layer = noise(52, 40 * 1024 * 1024);
    let got = anyone
        .get(&format!("/v2/copy/blobs/{}", sha256(&layer)))
        .await
        .expect(200);
    assert_eq!(got.body, layer);
}
