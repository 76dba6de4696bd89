//! What the matrix cannot show in one moment: rights that end while they are in use, headers that are no credentials,
//! sessions that outlive the process, and a repository's policy that must not be an oracle.

use std::net::Ipv4Addr;

use crate::harness::content::sha256;
use crate::harness::{ADMIN, SOON, Server, dryport, run_ok, run_with_input, text_of, until};
use crate::http::authz::law::{Mode, Spot, everything};
use crate::http::authz::wire::{Ask, Wire, shape};
use crate::http::authz::world::{Item, World};

const WILL: &str = "password-of-will";

async fn token_of(server: &Server, user: Option<(&str, &str)>) -> String {
    let path = format!("/v2/auth?scope={}", everything().replace(' ', "%20"));
    let answer = server.client(user).get(&path).await.expect(200).json();
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_gives_no_more_than_its_user_has_now() {
    let world = World::build(Mode::Standalone).await;
    let (server, dir) = (&world.server, world.server.dir());
    let repo = Spot::A.name();
    let token = token_of(server, Some(("will", WILL))).await;
    let bearer = server.bearer(&token);
    let basic = server.client(Some(("will", WILL)));
    let read = format!("/v2/{repo}/manifests/v1");
    let start = format!("/v2/{repo}/blobs/uploads/");
    let session = bearer.post(&start).await.expect(202).location();

    // Writer to reader: pushing ends at once, also an upload that was begun; reading stays.
    run_ok(&[
        "user", "grant", "--data", &dir, "will", "--role", "reader", "--on", "team",
    ]);
    for will in [&bearer, &basic] {
        will.get(&read).await.expect(200);
        will.post(&start).await.refused(403, "DENIED");
        will.send("PATCH", &session, &[], b"late")
            .await
            .refused(403, "DENIED");
        will.delete(&session).await.refused(403, "DENIED");
        will.delete(&read).await.refused(403, "DENIED");
    }
    // A token is never widened by a later grant on what it was not issued for.
    run_ok(&[
        "user", "grant", "--data", &dir, "will", "--role", "writer", "--on", "teammate",
    ]);
    let other = format!("/v2/{}/manifests/v1", Spot::B.name());
    bearer.get(&other).await.refused(401, "UNAUTHORIZED");
    basic.get(&other).await.expect(200);
    run_ok(&["user", "revoke", "--data", &dir, "will", "--on", "teammate"]);
    basic.get(&other).await.refused(404, "NAME_UNKNOWN");

    run_ok(&["user", "revoke", "--data", &dir, "will", "--on", "team"]);
    for will in [&bearer, &basic] {
        will.get(&read).await.refused(404, "NAME_UNKNOWN");
        will.get(&session).await.refused(404, "NAME_UNKNOWN");
        assert_eq!(
            will.get("/v2/_catalog").await.expect(200).json()["repositories"],
            serde_json::json!([])
        );
    }
    run_ok(&[
        "user", "grant", "--data", &dir, "will", "--role", "writer", "--on", "team",
    ]);
    bearer.get(&read).await.expect(200);

    let change = dryport(&["user", "passwd", "--data", &dir, "will", "--password-stdin"]);
    let output = run_with_input(change, "another\n");
    assert!(output.status.success(), "{}", text_of(&output));
    bearer.get(&read).await.refused(401, "UNAUTHORIZED");
    basic.get(&read).await.refused(401, "UNAUTHORIZED");
    let token = token_of(server, Some(("will", "another"))).await;
    let bearer = server.bearer(&token);
    bearer.get(&read).await.expect(200);

    // Another account of the same name has none of the first one's tokens.
    run_ok(&["user", "remove", "--data", &dir, "will"]);
    bearer.get(&read).await.refused(401, "UNAUTHORIZED");
    server.add_user("will", "another", &["--role", "admin", "--on", ""]);
    bearer.get(&read).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn closing_the_box_ends_anonymous_tokens() {
    let world = World::build(Mode::Mirror).await;
    let mut server = world.server;
    let read = format!("/v2/{}/manifests/v1", Spot::A.name());
    let token = token_of(&server, None).await;
    let bearer = server.bearer(&token);
    let reply = bearer.get(&read).await.expect(200);
    assert!(!reply.header("etag").is_empty());
    let file = server.data().join("dryport.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[access]\nanonymous_pull = false\n")).unwrap();
    server.signal("HUP");
    until("the box is closed", SOON, async || {
        server.anonymous().get(&read).await.status == 401
    })
    .await;
    bearer.get(&read).await.refused(401, "UNAUTHORIZED");
    bearer
        .get("/v2/_catalog")
        .await
        .refused(401, "UNAUTHORIZED");
    let digest = sha256(&world.admin.get(&read).await.expect(200).body);
    let by_digest = format!("/v2/{}/manifests/{digest}", Spot::A.name());
    let reply = world.admin.get(&by_digest).await.expect(200);
    assert!(
        reply.header("cache-control").starts_with("private"),
        "{:?}",
        reply.headers
    );
}

#[tokio::test]
async fn a_session_stays_with_its_repository_over_a_restart() {
    let world = World::build(Mode::Standalone).await;
    let (id, bytes) = (&world.sessions[&Spot::B], b"bytes".as_slice());
    let mut server = world.server;
    server.signal("TERM");
    assert!(server.exit_code(SOON).await.is_some());
    server.restart().await;
    let digest = sha256(bytes);
    for (user, password) in [("rita", "password-of-rita"), ("will", WILL), ADMIN] {
        let client = server.client(Some((user, password)));
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            for spot in [Spot::A, Spot::NotA, Spot::NotB] {
                let path = format!("/v2/{}/blobs/uploads/{id}?digest={digest}", spot.name());
                let reply = client.send(method, &path, &[], b"").await;
                let want: &[u16] = if user == "rita" { &[403, 404] } else { &[404] };
                assert!(
                    want.contains(&reply.status),
                    "{user} {method} {path}: {}",
                    reply.text()
                );
            }
        }
        if user != ADMIN.0 {
            let own = format!("/v2/{}/blobs/uploads/{id}", Spot::B.name());
            client.get(&own).await.refused(404, "NAME_UNKNOWN");
        }
    }
    let own = format!("/v2/{}/blobs/uploads/{id}", Spot::B.name());
    let reply = server.admin().get(&own).await.expect(204);
    assert_eq!(reply.header("range"), "0-4");
}

#[tokio::test]
async fn headers_that_are_no_credentials_are_not_anonymous() {
    let server = Server::start().await;
    crate::harness::content::push_image(&server.admin(), "a", "v1", 1).await;
    let token = format!("Bearer {}", token_of(&server, Some(ADMIN)).await);
    let good = "Basic Y2k6czNjcmV0LW9mLWNp";
    let mut wire = Wire::new(server.http, Ipv4Addr::new(127, 200, 0, 1));
    let paths = [
        "/v2/a/manifests/v1",
        "/v2/a/tags/list",
        "/v2/",
        "/v2/_catalog",
        "/v2/auth",
        "/metrics",
    ];
    for path in paths {
        for values in [
            &[""][..],
            &[" "],
            &["Basic"],
            &["Basic "],
            // "ci" without a colon.
            &["Basic Y2k="],
            &["Bearer"],
            &["Bearer ."],
            &["Negotiate abc"],
            &["ci:s3cret-of-ci"],
            // Which of two counts, client and server must not guess.
            &[good, "Basic d3Jvbmc6d3Jvbmc="],
            &["Basic d3Jvbmc6d3Jvbmc=", good],
            &[good, good],
            &[&token, good],
        ] {
            let mut ask = Ask::new("GET", path);
            for value in values {
                ask = ask.with("authorization", *value);
            }
            let reply = wire.send(&ask, None).await;
            assert_eq!(reply.status, 401, "{path} {values:?}: {}", reply.text());
            assert!(
                !reply.header("www-authenticate").is_empty(),
                "{path} {values:?}"
            );
        }
    }
    let raw = "GET /v2/a/tags/list HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \u{e4}\r\nConnection: close\r\n\r\n";
    let answer = server.raw(raw.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_refused_login_tells_nothing_about_the_account() {
    let world = World::build(Mode::Standalone).await;
    let mut last = 0;
    for path in [
        "/v2/",
        "/v2/auth?scope=repository:team/qkept:pull",
        "/v2/team/qkept/manifests/v1",
        "/metrics",
    ] {
        let mut shapes = Vec::new();
        for who in world.whos.iter().filter(|who| who.auth.len() > 1) {
            for auth in &who.auth {
                last += 1;
                let mut wire = Wire::new(world.server.http, Ipv4Addr::new(127, 201, 0, last));
                let reply = wire.send(&Ask::new("GET", path), Some(auth)).await;
                shapes.push(shape(&reply, &[]));
            }
        }
        assert!(
            shapes.len() > 5 && shapes[0].starts_with("401"),
            "{shapes:?}"
        );
        assert!(
            shapes.iter().all(|s| *s == shapes[0]),
            "{path}: {shapes:#?}"
        );
    }
}

/// Where manifests must be whole, a push asks what the repository holds, never what the server holds.
#[tokio::test]
async fn the_check_for_whole_manifests_is_no_oracle() {
    let mut world = World::build(Mode::Standalone).await;
    let file = world.server.data().join("dryport.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[policy]\nstrict = true\n")).unwrap();
    world.server.kill();
    world.server.restart().await;
    let will = world.server.client(Some(("will", WILL)));
    let repo = Spot::A.name();
    let mut shapes = Vec::new();
    for item in [Item::InB, Item::Nowhere] {
        for (kind, bytes) in world.naming(item) {
            let headers = [("content-type", kind)];
            let path = format!("/v2/{repo}/manifests/sparse");
            let reply = will.send("PUT", &path, &headers, &bytes).await;
            assert_eq!(reply.code(), "MANIFEST_BLOB_UNKNOWN", "{}", reply.text());
            shapes.push(shape(&reply, &[repo]));
        }
    }
    assert_eq!(shapes[..2], shapes[2..]);
}

/// A mount asks what the user behind the token may read now, not what the token was issued for.
#[tokio::test]
async fn a_mount_looks_for_its_source_as_the_user() {
    let world = World::build(Mode::Standalone).await;
    let (server, dir) = (&world.server, world.server.dir());
    let scope = format!("repository:{}:pull,push", Spot::A.name());
    let will = server.client(Some(("will", WILL)));
    let answer = will
        .get(&format!("/v2/auth?scope={scope}"))
        .await
        .expect(200)
        .json();
    let bearer = server.bearer(answer["token"].as_str().unwrap());
    let layer = sha256(&world.goods(Item::InB).layer);
    let own = format!("/v2/{}/blobs/{layer}", Spot::A.name());
    let target = format!("/v2/{}/blobs/uploads/?mount={layer}", Spot::A.name());
    let from = format!("{target}&from={}", Spot::B.name());
    for path in [&target, &from] {
        bearer.post(path).await.expect(202);
        bearer.get(&own).await.refused(404, "BLOB_UNKNOWN");
    }
    run_ok(&[
        "user", "grant", "--data", &dir, "will", "--role", "reader", "--on", "teammate",
    ]);
    for path in [&from, &target] {
        bearer.post(path).await.expect(201);
        bearer.get(&own).await.expect(200);
        bearer.delete(&own).await.refused(401, "UNAUTHORIZED");
        world.admin.delete(&own).await.expect(202);
    }
    run_ok(&["user", "revoke", "--data", &dir, "will", "--on", "teammate"]);
    for path in [&target, &from] {
        bearer.post(path).await.expect(202);
        bearer.get(&own).await.refused(404, "BLOB_UNKNOWN");
    }
    // The bytes themselves are the one other way in, whatever the server has.
    let bytes = &world.goods(Item::InB).layer;
    crate::harness::content::push_blob(&will, Spot::A.name(), bytes).await;
    bearer.get(&own).await.expect(200);
}
