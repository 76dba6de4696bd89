//! Behind a proxy: whom the server takes a request to come from, and whom it does not.
//!
//! The tests are a trusted proxy themselves: they send what one would, with what its client forged before.

use std::io::{Read, Write};

use serde_json::Value;

use crate::harness::content::{push_image, sha256};
use crate::harness::{ADMIN, Client, Reply, SOON, Server, found};
use crate::http::abuse::connect;

type Env<'a> = &'a [(&'static str, &'static str)];

const TRUST: (&str, &str) = ("DRYPORT_TRUSTED_PROXIES", "127.0.0.1");
const FORWARDED: (&str, &str) = ("DRYPORT_PROXY_HEADER", "forwarded");

async fn start(env: &[(&str, &str)]) -> Server {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    Server::serve(home, &[], env).await
}

/// The address in the access line of an answer.
async fn logged(server: &Server, reply: &Reply) -> String {
    let id = reply.header("x-request-id").to_owned();
    let line = found("the access line", SOON, async || {
        let lines = server.log();
        let lines = lines.lines().filter(|l| l.contains(&id));
        let mut lines = lines.filter_map(|l| serde_json::from_str::<Value>(l).ok());
        lines.find(|l| l["target"] == "access")
    });
    line.await["from"].as_str().unwrap().to_owned()
}

/// Header lines of a proxy behind those that its client forged.
struct Way {
    env: &'static [(&'static str, &'static str)],
    lines: &'static [(&'static str, &'static str)],
}

const WAYS: [Way; 3] = [
    Way {
        env: &[TRUST],
        lines: &[
            ("forwarded", "for=6.6.6.6;proto=http;host=evil.example"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "127.0.0.1, 192.0.2.77"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example, hub.example:8443"),
        ],
    },
    Way {
        env: &[TRUST],
        lines: &[
            ("forwarded", "for=127.0.0.1;host=evil.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.77"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "hub.example:8443"),
        ],
    },
    Way {
        env: &[TRUST, FORWARDED],
        lines: &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=\"6.6.6.6;host=evil.example"),
            (
                "forwarded",
                "for=127.0.0.1, for=\"192.0.2.77:4711\";proto=https;host=\"hub.example:8443\"",
            ),
        ],
    },
];

#[tokio::test]
async fn a_client_chooses_neither_address_nor_realm() {
    for way in WAYS {
        let server = start(way.env).await;
        let anyone = server.anonymous();
        let reply = anyone.send("GET", "/v2/", way.lines, b"").await;
        let reply = reply.refused(401, "UNAUTHORIZED");
        assert_eq!(
            reply.header("www-authenticate"),
            "Bearer realm=\"https://hub.example:8443/v2/auth\",service=\"hub.example\"",
            "{:?}",
            way.lines
        );
        assert_eq!(logged(&server, &reply).await, "192.0.2.77");
        // Wrong passwords are counted where they come from, and what is forged changes nothing.
        let wrong = server.client(Some((ADMIN.0, "a-wrong-password")));
        for _ in 0..5 {
            let reply = wrong.send("GET", "/v2/", way.lines, b"").await;
            reply.refused(401, "UNAUTHORIZED");
        }
        let right = server.admin().send("GET", "/v2/", way.lines, b"").await;
        right.refused(429, "TOOMANYREQUESTS");
        server.admin().get("/v2/").await.expect(200);
    }
}

#[tokio::test]
async fn without_trust_or_with_none_the_peer_is_the_client() {
    let lines = [
        ("x-forwarded-for", "192.0.2.77"),
        ("forwarded", "for=192.0.2.77;host=evil.example"),
        ("x-forwarded-host", "evil.example"),
    ];
    for env in [
        &[] as &[(&str, &str)],
        &[TRUST, ("DRYPORT_PROXY_HEADER", "none")],
    ] {
        let server = start(env).await;
        let reply = server.anonymous().send("GET", "/v2/", &lines, b"").await;
        let reply = reply.refused(401, "UNAUTHORIZED");
        assert!(!reply.header("www-authenticate").contains("evil"));
        assert_eq!(logged(&server, &reply).await, "127.0.0.1");
    }
}

/// As a proxy that tells of this address.
async fn get_from(client: &Client, path: &str, address: &str) -> Reply {
    let headers = [("x-forwarded-for", address)];
    client.send("GET", path, &headers, b"").await
}

#[tokio::test]
async fn an_ipv6_network_of_64_bits_is_one_client() {
    let server = start(&[TRUST, ("DRYPORT_LIMITS__REQUESTS", "2")]).await;
    let admin = server.admin();
    push_image(&admin, "a", "v1", 1).await;
    let data = vec![7; 32 << 20];
    let digest = sha256(&data);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    admin.send("POST", &path, &[], &data).await.expect(201);
    // Two answers that are never taken, from two addresses of one network.
    let mut held = Vec::new();
    for n in 1..=2 {
        let mut stream = connect(server.http);
        let ask = format!(
            "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::{n}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        held.push(stream);
    }
    let (anyone, manifest) = (server.anonymous(), "/v2/a/manifests/v1");
    let third = get_from(&anyone, manifest, "2001:db8::ffff:3").await;
    third.refused(429, "TOOMANYREQUESTS");
    get_from(&anyone, manifest, "2001:db8:0:1::1")
        .await
        .expect(200);
    drop(held);
    let wrong = server.client(Some((ADMIN.0, "a-wrong-password")));
    for n in 0..5 {
        let reply = get_from(&wrong, "/v2/", &format!("2001:db8:7:7:{n}::1")).await;
        reply.refused(401, "UNAUTHORIZED");
    }
    get_from(&admin, "/v2/", "2001:db8:7:7:9::9")
        .await
        .expect(429);
    get_from(&admin, "/v2/", "2001:db8:7:8::9")
        .await
        .expect(200);
}

#[tokio::test]
async fn metrics_are_for_this_machine_only_where_no_proxy_is_in_between() {
    let local = |word| ("DRYPORT_METRICS__LOCAL", word);
    let forms: [(Env<'_>, u16, u16); 6] = [
        (&[], 200, 401),
        (&[local("off")], 401, 401),
        (&[TRUST], 401, 401),
        (&[TRUST, local("on")], 200, 401),
        (&[TRUST, ("DRYPORT_METRICS__OPEN", "true")], 200, 200),
        (&[("DRYPORT_TRUSTED_PROXIES", "192.0.2.0/24")], 401, 401),
    ];
    for (env, plain, forwarded) in forms {
        let server = start(env).await;
        let anyone = server.anonymous();
        anyone.get("/metrics").await.expect(plain);
        for line in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=127.0.0.1"),
            ("forwarded", "nonsense"),
            ("via", "1.1 proxy"),
            ("x-real-ip", "127.0.0.1"),
        ] {
            let reply = anyone.send("GET", "/metrics", &[line], b"").await;
            assert_eq!(reply.status, forwarded, "{env:?} {line:?}");
        }
        server.admin().get("/metrics").await.expect(200);
    }
}
