//! Who may do what: anonymous pull, wrong passwords, private repositories, roles, removal.

use crate::harness::content::{push_blob, push_image, sha256};
use crate::harness::{ADMIN, Server, dryport, run_ok, run_with_input, text_of};

#[tokio::test]
async fn mirror_mode_lets_everybody_pull_and_nobody_push() {
    let server = Server::start().await;
    push_image(&server.admin(), "team/app", "v1", 1).await;
    let anyone = server.anonymous();
    anyone.get("/v2/team/app/manifests/v1").await.expect(200);
    anyone.get("/v2/team/app/tags/list").await.expect(200);
    for path in ["/v2/team/app/blobs/uploads/", "/v2/new/blobs/uploads/"] {
        let reply = anyone.post(path).await.refused(401, "UNAUTHORIZED");
        let challenge = reply.header("www-authenticate").to_string();
        assert!(
            challenge.contains(":pull,push\"") || challenge.contains(":push,pull\""),
            "{challenge}"
        );
    }
    anyone.delete("/v2/team/app/manifests/v1").await.expect(401);
    // Nobody is made anonymous for having no account.
    anyone.get("/v2/").await.expect(401);
}

#[tokio::test]
async fn wrong_credentials_are_refused_everywhere() {
    let server = Server::start().await;
    push_image(&server.admin(), "a", "v1", 1).await;
    let wrong = server.client(Some((ADMIN.0, "not-the-password")));
    let unknown = server.client(Some(("nobody", "not-the-password")));
    let mut texts = Vec::new();
    for client in [&wrong, &unknown] {
        let reply = client.get("/v2/a/manifests/v1").await;
        assert!(matches!(reply.status, 401 | 429), "{}", reply.status);
        texts.push(reply.json()["errors"][0]["message"].clone());
    }
    assert_eq!(texts[0], texts[1], "the answer tells which half was wrong");
    for path in ["/v2/", "/v2/auth", "/v2/a/tags/list", "/v2/_catalog"] {
        let reply = wrong.get(path).await;
        assert!(
            matches!(reply.status, 401 | 429),
            "{path}: {}",
            reply.status
        );
    }
    assert!(matches!(
        wrong.post("/v2/a/blobs/uploads/").await.status,
        401 | 429
    ));
}

#[tokio::test]
async fn standalone_refuses_anonymous() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    push_image(&server.admin(), "a", "v1", 1).await;
    let anyone = server.anonymous();
    for path in [
        "/v2/",
        "/v2/a/manifests/v1",
        "/v2/a/tags/list",
        "/v2/none/manifests/v1",
        "/v2/_catalog",
    ] {
        anyone.get(path).await.refused(401, "UNAUTHORIZED");
    }
    // The mode is written down by init: a later serve without flags does not open the box.
    let token = anyone
        .get("/v2/auth?service=dryport&scope=repository:a:pull")
        .await;
    if token.status == 200 {
        let token = token.json()["token"].as_str().unwrap().to_string();
        let reply = server.bearer(&token).get("/v2/a/manifests/v1").await;
        assert!(matches!(reply.status, 401 | 403 | 404), "{}", reply.status);
    }
    let config = std::fs::read_to_string(server.data().join("dryport.toml")).unwrap();
    assert!(config.contains("standalone"), "{config}");
}

#[tokio::test]
async fn a_private_repository_looks_like_one_that_is_not_there() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let admin = server.admin();
    push_image(&admin, "secret/app", "v1", 1).await;
    server.add_user(
        "rita",
        "pw-of-rita-1",
        &["--role", "reader", "--on", "team"],
    );
    let rita = server.client(Some(("rita", "pw-of-rita-1")));
    let digest = sha256(b"x");
    for rest in [
        "manifests/v1",
        "tags/list",
        &format!("blobs/{digest}"),
        &format!("referrers/{digest}"),
    ] {
        let (there, absent) = (
            rita.get(&format!("/v2/secret/app/{rest}")).await,
            rita.get(&format!("/v2/secret/none/{rest}")).await,
        );
        assert_eq!(there.status, absent.status, "{rest}");
        assert_eq!(there.code(), absent.code(), "{rest}");
        assert!(
            there.status >= 400 || rest.starts_with("referrers"),
            "{rest}: {}",
            there.status
        );
        let challenge = |r: &crate::harness::Reply| {
            r.header("www-authenticate")
                .replace("secret/none", "secret/app")
        };
        assert_eq!(challenge(&there), challenge(&absent));
    }
    let there = rita.post("/v2/secret/app/blobs/uploads/").await.status;
    assert_eq!(
        there,
        rita.post("/v2/secret/none/blobs/uploads/").await.status
    );
    assert!(there >= 400);
}

#[tokio::test]
async fn roles_end_at_the_boundary_of_their_prefix() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    let admin = server.admin();
    for name in ["team", "team/app", "teammate/app"] {
        push_image(&admin, name, "v1", 1).await;
    }
    server.add_user(
        "will",
        "pw-of-will-1",
        &["--role", "writer", "--on", "team"],
    );
    server.add_user(
        "rita",
        "pw-of-rita-1",
        &["--role", "reader", "--on", "team"],
    );
    let will = server.client(Some(("will", "pw-of-will-1")));
    let rita = server.client(Some(("rita", "pw-of-rita-1")));
    for client in [&will, &rita] {
        client.get("/v2/team/manifests/v1").await.expect(200);
        client.get("/v2/team/app/manifests/v1").await.expect(200);
        assert!(client.get("/v2/teammate/app/manifests/v1").await.status >= 400);
    }
    push_blob(&will, "team/new", b"mine").await;
    assert!(will.post("/v2/teammate/app/blobs/uploads/").await.status >= 400);
    assert!(rita.post("/v2/team/app/blobs/uploads/").await.status >= 400);
    assert!(rita.delete("/v2/team/app/manifests/v1").await.status >= 400);
    will.delete("/v2/team/app/manifests/v1").await.expect(202);
    // A writer who may read gets told that writing is denied, not that the repository is absent.
    rita.post("/v2/team/app/blobs/uploads/")
        .await
        .refused(403, "DENIED");
}

#[tokio::test]
async fn rights_end_at_once() {
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    push_image(&server.admin(), "team/app", "v1", 1).await;
    let dir = server.dir();
    server.add_user(
        "will",
        "pw-of-will-1",
        &["--role", "writer", "--on", "team"],
    );
    let will = server.client(Some(("will", "pw-of-will-1")));
    will.get("/v2/team/app/manifests/v1").await.expect(200);
    let token = will
        .get("/v2/auth?scope=repository:team/app:pull,push")
        .await
        .expect(200)
        .json();
    let bearer = server.bearer(token["token"].as_str().unwrap());
    bearer.get("/v2/team/app/manifests/v1").await.expect(200);

    run_ok(&[
        "user", "grant", "--data", &dir, "will", "--role", "reader", "--on", "team",
    ]);
    assert!(will.post("/v2/team/app/blobs/uploads/").await.status >= 400);
    run_ok(&["user", "revoke", "--data", &dir, "will", "--on", "team"]);
    assert!(will.get("/v2/team/app/manifests/v1").await.status >= 400);

    let change = dryport(&["user", "passwd", "--data", &dir, "will", "--password-stdin"]);
    let output = run_with_input(change, "another-password\n");
    assert!(output.status.success(), "{}", text_of(&output));
    will.get("/v2/").await.expect(401);
    server
        .client(Some(("will", "another-password")))
        .get("/v2/")
        .await
        .expect(200);

    run_ok(&["user", "remove", "--data", &dir, "will"]);
    let gone = server
        .client(Some(("will", "another-password")))
        .get("/v2/")
        .await;
    assert!(matches!(gone.status, 401 | 429), "{}", gone.status);
    bearer.get("/v2/team/app/manifests/v1").await.expect(401);
    let users = run_ok(&["user", "list", "--data", &dir, "--json"]);
    assert!(
        !users.contains("will") && users.contains(ADMIN.0),
        "{users}"
    );
}

#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    let server = Server::start().await;
    let token = server
        .admin()
        .get("/v2/auth?scope=repository:a:pull&account=ci")
        .await
        .expect(200)
        .json();
    server
        .bearer(token["token"].as_str().unwrap())
        .get("/v2/")
        .await
        .expect(200);
    server
        .client(Some(("ci", "a-wrong-password")))
        .get("/v2/")
        .await;
    server.anonymous().get("/v2/?token=very-secret-query").await;
    let log = server.log();
    for secret in [
        ADMIN.1,
        "a-wrong-password",
        "very-secret-query",
        token["token"].as_str().unwrap(),
    ] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
    assert!(log.contains("/v2/"), "no access lines: {log}");
}
