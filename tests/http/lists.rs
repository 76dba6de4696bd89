//! Long answers: whole for who takes them, bounded in memory for who does not.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::{Client, Reply, SOON, Server, until};
use crate::http::abuse::connect;

/// A server that counts clients by `X-Forwarded-For`, and cuts nobody off while a test runs.
async fn start() -> Server {
    start_with(&[]).await
}

async fn start_with(more: &[(&str, &str)]) -> Server {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_TRUSTED_PROXIES", "127.0.0.1"),
        ("DRYPORT_SERVE__PROGRESS", "5m"),
    ];
    Server::serve(home, &[], &[&env, more].concat()).await
}

/// Annotations of two referrers whose list is about as long as one may be: the kernel's own buffers do not hold it.
const LONG: [usize; 2] = [23 << 17, 31 << 17];

async fn get_from(client: &Client, path: &str, address: &str) -> Reply {
    let headers = [("x-forwarded-for", address)];
    client.send("GET", path, &headers, b"").await
}

/// An image, and an artifact that refers to it for each of so many bytes of annotations. Gives the path of the list.
async fn with_referrers(admin: &Client, repo: &str, lengths: &[usize]) -> (String, Vec<String>) {
    push_blob(admin, repo, b"{}").await;
    let image = push_image(admin, repo, "v1", 3).await;
    let subject = descriptor(OCI_MANIFEST, &image);
    let mut digests = Vec::new();
    for (n, len) in lengths.iter().enumerate() {
        let kind = format!("application/vnd.example.{}", n % 2);
        let mut manifest = artifact(&subject, &kind, &format!("n{n}"));
        manifest["annotations"]["fill"] = json!("x".repeat(*len));
        let bytes = bytes_of(&manifest);
        let path = format!("/v2/{repo}/manifests/{}", sha256(&bytes));
        let kind = [("content-type", OCI_MANIFEST)];
        admin.send("PUT", &path, &kind, &bytes).await.expect(201);
        digests.push(sha256(&bytes));
    }
    (format!("/v2/{repo}/referrers/{}", sha256(&image)), digests)
}

/// Asks and reads the begin of the answer only.
fn hold(server: &Server, path: &str, address: &str) -> TcpStream {
    let mut stream = connect(server.http);
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn lists_that_nobody_takes_are_bounded() {
    let server = start().await;
    let (admin, anyone) = (server.admin(), server.anonymous());
    let (long, _) = with_referrers(&admin, "long", &LONG).await;
    let (short, _) = with_referrers(&admin, "short", &[100, 100]).await;
    // Two of them are as much as one client may have on its way, beside what a third might take.
    let held = [(); 2].map(|()| hold(&server, &long, "192.0.2.1"));
    let (third, other) = tokio::join!(
        get_from(&anyone, &long, "192.0.2.1"),
        get_from(&anyone, &long, "192.0.2.2")
    );
    let third = third.refused(429, "TOOMANYREQUESTS");
    assert!(third.text().contains("192.0.2.1"), "{}", third.text());
    assert!(!third.header("retry-after").is_empty());
    let list = other.expect(200).json();
    let shown = list["manifests"].as_array().unwrap();
    let fill = |m: &Value| m["annotations"]["fill"].as_str().unwrap().len();
    assert_eq!(
        shown.iter().map(fill).sum::<usize>(),
        LONG.iter().sum::<usize>()
    );
    // What is not long needs no leave.
    let list = get_from(&anyone, &short, "192.0.2.1").await.expect(200);
    assert_eq!(list.json()["manifests"].as_array().unwrap().len(), 2);
    for path in ["/v2/long/tags/list", "/v2/long/manifests/v1"] {
        get_from(&anyone, path, "192.0.2.1").await.expect(200);
    }
    drop(held);
    get_from(&anyone, &long, "192.0.2.1").await.expect(200);
}

#[tokio::test]
async fn lists_of_all_clients_together_are_bounded() {
    let server = start().await;
    let (admin, anyone) = (server.admin(), server.anonymous());
    let (long, _) = with_referrers(&admin, "long", &LONG).await;
    // 48 MiB are for all.
    let address = |n: usize| format!("192.0.2.{}", n / 2);
    let held = (0..7).map(|n| hold(&server, &long, &address(n)));
    let held: Vec<_> = held.collect();
    let refused = get_from(&anyone, &long, "198.51.100.1").await;
    let refused = refused.refused(429, "TOOMANYREQUESTS");
    assert!(
        refused.text().contains("many clients"),
        "{}",
        refused.text()
    );
    get_from(&anyone, "/v2/long/manifests/v1", "198.51.100.1")
        .await
        .expect(200);
    drop(held);
    get_from(&anyone, &long, "198.51.100.1").await.expect(200);
}

async fn all_referrers(client: &Client, path: &str) -> (BTreeSet<String>, usize) {
    let (mut seen, mut pages, mut path) = (BTreeSet::new(), 0, Some(path.to_owned()));
    while let Some(at) = path {
        let reply = client.get(&at).await.expect(200);
        for manifest in reply.json()["manifests"].as_array().unwrap() {
            let digest = manifest["digest"].as_str().unwrap().to_owned();
            assert!(seen.insert(digest), "twice");
        }
        (path, pages) = (reply.next(), pages + 1);
    }
    (seen, pages)
}

#[tokio::test]
async fn referrers_of_the_past_come_in_pages() {
    let server = start().await;
    let admin = server.admin();
    let (path, digests) = with_referrers(&admin, "a", &[24_000; 200]).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let then = jiff::Timestamp::now()
        .strftime("%Y%m%dt%H%M%Sz")
        .to_string();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for digest in &digests[..150] {
        let path = format!("/v2/a/manifests/{digest}");
        admin.delete(&path).await.expect(202);
    }
    let wanted = |some: &[String]| some.iter().cloned().collect::<BTreeSet<_>>();
    let (now, pages) = all_referrers(&admin, &path).await;
    assert_eq!((now, pages), (wanted(&digests[150..]), 1));
    let past = path.replace("/v2/", &format!("/v2/at/{then}/"));
    let (there, pages) = all_referrers(&admin, &past).await;
    assert!(
        there == wanted(&digests) && pages == 2,
        "{} in {pages} pages",
        there.len()
    );
    let filtered = format!("{past}?artifactType=application/vnd.example.1");
    let (odd, _) = all_referrers(&admin, &filtered).await;
    assert_eq!(odd.len(), 100);
    // What comes back is shown once.
    for digest in &digests[..2] {
        let path = format!("/v2/a/manifests/{digest}");
        let manifest = admin
            .get(&path.replace("/v2/", &format!("/v2/at/{then}/")))
            .await;
        let kind = [("content-type", OCI_MANIFEST)];
        admin
            .send("PUT", &path, &kind, &manifest.body)
            .await
            .expect(201);
    }
    assert!(all_referrers(&admin, &past).await.0 == wanted(&digests));
    let none = format!("{past}?artifactType=application/vnd.example.1%00");
    assert!(all_referrers(&admin, &none).await.0.is_empty());
}

#[tokio::test]
async fn long_pages_of_names_are_whole() {
    let server = start().await;
    let admin = server.admin();
    let empty = bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
    let tags: Vec<_> = (0..300).map(|n| format!("{n:0>128}")).collect();
    for tags in tags.chunks(60) {
        let path = format!("a?tag={}", tags.join("&tag="));
        put_manifest(&admin, "many", &path, OCI_INDEX, &empty).await;
    }
    let list = |reply: &Reply, field: &str| -> Vec<Value> {
        reply.json()[field].as_array().unwrap().clone()
    };
    let all = admin.get("/v2/many/tags/list").await.expect(200);
    assert_eq!(list(&all, "tags")[..300], tags);
    assert_eq!((list(&all, "tags").len(), all.next()), (301, None));
    let some = admin.get("/v2/many/tags/list?n=299").await.expect(200);
    assert_eq!(list(&some, "tags"), tags[..299]);
    let rest = admin.get(&some.next().unwrap()).await.expect(200);
    assert_eq!((list(&rest, "tags").len(), rest.next()), (2, None));
    let names: Vec<_> = (0..160).map(|n| format!("{n:0>255}")).collect();
    for name in &names {
        put_manifest(&admin, name, "v1", OCI_INDEX, &empty).await;
    }
    let all = admin.get("/v2/_catalog").await.expect(200);
    assert_eq!(list(&all, "repositories")[..160], names);
    let some = admin.get("/v2/_catalog?n=150").await.expect(200);
    assert_eq!(list(&some, "repositories"), names[..150]);
    let rest = admin.get(&some.next().unwrap()).await.expect(200);
    assert_eq!(list(&rest, "repositories").len(), 11);
}

/// Also one that is a single piece, and that the connection has taken from the handler.
#[tokio::test]
async fn an_answer_counts_until_it_is_taken() {
    let server = start_with(&[("DRYPORT_LIMITS__REQUESTS", "1")]).await;
    let (admin, anyone) = (server.admin(), server.anonymous());
    let body = bytes_of(
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
        "x": "x".repeat(60_000)}),
    );
    put_manifest(&admin, "a", "v1", OCI_INDEX, &body).await;
    // One after the other, until neither the kernel nor the connection takes more.
    let path = "/v2/a/manifests/v1";
    let mut stream = connect(server.http);
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    stream.write_all(head.repeat(200).as_bytes()).unwrap();
    // A client is refused when none of its requests has ended for ten seconds: then one stays.
    until("one answer stays", SOON, async || {
        get_from(&anyone, path, "192.0.2.1").await.status == 429
    })
    .await;
    let (same, other) = tokio::join!(
        get_from(&anyone, path, "192.0.2.1"),
        get_from(&anyone, path, "192.0.2.2")
    );
    assert!(
        same.refused(429, "TOOMANYREQUESTS")
            .text()
            .contains("limits.requests")
    );
    assert_eq!(other.status, 200);
    drop(stream);
    until("the client may ask again", SOON, async || {
        get_from(&anyone, path, "192.0.2.1").await.status == 200
    })
    .await;
}

/// A manifest that is too long to be kept in memory is served like every other.
#[tokio::test]
async fn large_manifests_are_served_whole() {
    let server = start().await;
    let (admin, anyone) = (server.admin(), server.anonymous());
    let body = bytes_of(
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
        "x": "x".repeat(3 << 20)}),
    );
    put_manifest(&admin, "a", "v1", OCI_INDEX, &body).await;
    let digest = sha256(&body);
    for reference in ["v1", &digest] {
        let path = format!("/v2/a/manifests/{reference}");
        for _ in 0..2 {
            let got = anyone.get(&path).await.expect(200);
            assert!(got.body == body);
            assert_eq!(got.header("content-type"), OCI_INDEX);
            assert_eq!(got.header("docker-content-digest"), digest);
        }
        let head = anyone.head(&path).await.expect(200);
        assert_eq!(head.header("content-length"), body.len().to_string());
        let etag = format!("\"{digest}\"");
        let known = [("if-none-match", etag.as_str())];
        anyone.send("GET", &path, &known, b"").await.expect(304);
        let range = [("range", "bytes=5-9")];
        let part = anyone.send("GET", &path, &range, b"").await.expect(206);
        assert_eq!(part.body, body[5..10]);
    }
    // Held, taken away, and held no longer.
    let held = hold(&server, &format!("/v2/a/manifests/{digest}"), "192.0.2.1");
    admin
        .delete(&format!("/v2/a/manifests/{digest}"))
        .await
        .expect(202);
    anyone.get("/v2/a/manifests/v1").await.expect(404);
    drop(held);
}

#[tokio::test]
async fn a_refusal_names_some_of_what_is_missing() {
    let server = start_with(&[("DRYPORT_POLICY__STRICT", "true")]).await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    for (count, named) in [(3, 3), (300, 256)] {
        let layers: Vec<_> = (0..count).map(|n: u32| n.to_be_bytes()).collect();
        let layers: Vec<&[u8]> = layers.iter().map(|l| &l[..]).collect();
        let body = bytes_of(&image(b"{}", &layers));
        let (path, kind) = ("/v2/a/manifests/v1", [("content-type", OCI_MANIFEST)]);
        let reply = admin.send("PUT", path, &kind, &body).await;
        let reply = reply.refused(400, "MANIFEST_BLOB_UNKNOWN");
        let detail = &reply.json()["errors"][0]["detail"];
        assert_eq!(detail["count"], count);
        let missing = names(&detail["missing"]);
        let all: BTreeSet<_> = layers.iter().map(|l| sha256(l)).collect();
        assert!(
            missing.len() == named && missing.is_subset(&all),
            "{missing:?}"
        );
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|n| n.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn hostile_questions_get_short_answers() {
    let server = start().await;
    let (admin, anyone) = (server.admin(), server.anonymous());
    let many = format!("/v2/a/tags/list?{}", "=&".repeat(400));
    anyone.get(&many).await.refused(414, "UNSUPPORTED");
    for after in ["x", &sha256(b"x"), &format!("past,{},1,", sha256(b"x"))] {
        let path = format!("/v2/a/referrers/{}?after={after}", sha256(b"x"));
        anyone.get(&path).await.refused(400, "UNSUPPORTED");
    }
    let service = format!("/v2/auth?service={}", "s".repeat(301));
    anyone.get(&service).await.refused(400, "UNSUPPORTED");
    let scopes: Vec<_> = (0..200)
        .map(|n| format!("scope=repository:a{n}:pull"))
        .collect();
    let token = admin
        .get(&format!("/v2/auth?{}", scopes.join("&")))
        .await
        .expect(200);
    let scope = token.json()["scope"].as_str().unwrap().to_owned();
    assert_eq!(scope.split(' ').count(), 200);
    let quoted = format!(
        r#"{{"schemaVersion":"{}","manifests":[]}}"#,
        "\x7f".repeat(60_000)
    );
    let kind = [("content-type", OCI_INDEX)];
    let reply = admin
        .send("PUT", "/v2/a/manifests/v1", &kind, quoted.as_bytes())
        .await;
    let reply = reply.refused(400, "MANIFEST_INVALID");
    assert!(reply.body.len() < 4000, "{} bytes", reply.body.len());
}
