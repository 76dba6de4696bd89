//! Where a registry may lead `dryport mirror`: never to this machine's own services, unless the operator named them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, put_manifest, sha256,
};
use crate::harness::upstream::Upstream;
use crate::harness::{Server, dryport, run, run_ok, text_of};

/// A small service: answers everything, and remembers the first line of each request.
pub struct Service {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0_u8]);
                while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                let reply = answer(&line);
                seen.lock().unwrap().push(line);
                let _ = stream.write_all(reply.as_bytes());
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// The arguments of a run into `copy`.
fn mirror_args<'a>(dir: &'a str, source: &'a str) -> [&'a str; 7] {
    [
        "mirror",
        "--plain-http",
        "--data",
        dir,
        source,
        "--to",
        "copy",
    ]
}

#[tokio::test]
async fn a_redirect_to_this_machine_is_not_followed() {
    let (registry, target) = (Server::start().await, Server::start().await);
    for (tag, seed) in [("v1", 1), ("v2", 2)] {
        push_image(&registry.admin(), "team/app", tag, seed).await;
    }
    let upstream = Upstream::before(registry.http);
    let inner = Service::start(|_| answer("200 OK", "", "not yours"));
    let dir = target.dir();
    let mirror = |tag: &str, more: &[&str]| {
        let source = format!("docker://127.0.0.1:{}/team/app:{tag}", upstream.port);
        run(&[&mirror_args(&dir, &source)[..], more].concat())
    };
    // An address in several spellings, and names that lead to it.
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "x.localhost",
    ] {
        let place = format!("http://{host}:{}", inner.port);
        upstream.manners.lock().unwrap().blobs_at = Some(place.clone());
        let output = mirror("v1", &[]);
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{place}: {text}");
        assert!(
            text.contains("this machine") && text.contains("--allow-host"),
            "{place}: {text}"
        );
    }
    assert_eq!(inner.asked(), [""; 0]);

    // The very host that was named works, by redirect too; and so does one that is named besides.
    let own = format!("http://127.0.0.1:{}/v2/team/app/blobs", upstream.port);
    for (tag, place, more) in [
        ("v1", own, vec![]),
        (
            "v2",
            format!("http://127.0.0.1:{}/v2/team/app/blobs", registry.http),
            vec![
                "--allow-host".to_owned(),
                format!("127.0.0.1:{}", registry.http),
            ],
        ),
    ] {
        upstream.manners.lock().unwrap().blobs_at = Some(place.clone());
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let output = mirror(tag, &more);
        assert!(output.status.success(), "{place}: {}", text_of(&output));
    }
}

#[tokio::test]
async fn what_is_damaged_is_fetched_again_from_where_the_operator_allows() {
    let (registry, target) = (Server::start().await, Server::start().await);
    let client = registry.admin();
    let layer = noise(7, 100_000);
    for bytes in [&layer[..], b"{}"] {
        push_blob(&client, "team/app", bytes).await;
    }
    let manifest = bytes_of(&image(b"{}", &[&layer]));
    put_manifest(&client, "team/app", "v1", OCI_MANIFEST, &manifest).await;
    let upstream = Upstream::before(registry.http);
    let (dir, source) = (
        target.dir(),
        format!("docker://127.0.0.1:{}/team/app:v1", upstream.port),
    );
    run_ok(&["mirror", "--data", &dir, &source, "--to", "copy"]);
    let digest = sha256(&layer);
    let folder = target.data().join("blobs/sha256").join(&digest[7..9]);
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(file.path()).unwrap();

    let elsewhere = format!("127.0.0.1:{}", registry.http);
    let place = format!("http://{elsewhere}/v2/team/app/blobs");
    upstream.manners.lock().unwrap().blobs_at = Some(place);
    let repair = ["check", "--data", &dir, "--repair"];
    let output = run(&repair);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let asks = format!("--allow-host {elsewhere}");
    assert!(text.contains(&asks), "{text}");
    let allow = ["--allow-host", &elsewhere];
    // Without a repair there is nothing to allow.
    let output = run(&[&repair[..3], &allow].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    let output = run(&[&repair[..], &allow].concat());
    let text = text_of(&output);
    assert!(
        output.status.success() && text.contains("fetched again"),
        "{text}"
    );
    let blob = format!("/v2/copy/blobs/{digest}");
    let got = target.anonymous().get(&blob).await.expect(200);
    assert_eq!(got.body, layer);
}

#[tokio::test]
async fn a_token_service_is_not_looked_for_on_this_machine() {
    let target = Server::start().await;
    let inner = Service::start(|_| answer("200 OK", "", "{\"token\":\"x\"}"));
    let realm = format!("http://localhost:{}/token", inner.port);
    let registry = Service::start(move |_| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n");
        answer("401 Unauthorized", &challenge, "")
    });
    let source = format!("docker://127.0.0.1:{}/team/app:v1", registry.port);
    let dir = target.dir();
    let args = mirror_args(&dir, &source);
    let output = run(&args);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let asks = format!("--allow-host localhost:{}", inner.port);
    assert!(text.contains(&asks), "{text}");
    assert_eq!(inner.asked(), [""; 0]);
    // Named, it is asked.
    let named = format!("localhost:{}", inner.port);
    let output = run(&[&args[..], &["--allow-host", &named]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert!(
        inner.asked()[0].starts_with("GET /token?"),
        "{:?}",
        inner.asked()
    );
}

/// A proxy looks names up by itself; addresses that stand in a URL are judged all the same.
#[tokio::test]
async fn behind_a_proxy_addresses_are_judged_and_names_are_the_proxys() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    crate::harness::init(&data, &[]);
    let inner = Service::start(|_| answer("200 OK", "", "not yours"));
    let metadata = format!("Location: http://127.0.0.1:{}/x\r\n", inner.port);
    let proxy = Service::start(move |line| {
        if line.contains("http://up.test/") {
            answer("302 Found", "Location: http://cdn.test/x\r\n", "")
        } else {
            answer("302 Found", &metadata, "")
        }
    });
    let (dir, source) = (data.to_str().unwrap(), "docker://up.test/team/app:v1");
    let mut command = dryport(&mirror_args(dir, source));
    let output = command
        .env("http_proxy", format!("http://localhost:{}", proxy.port))
        .output()
        .unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("127.0.0.1 is this machine"), "{text}");
    let asked = proxy.asked();
    assert!(asked[0].contains("http://up.test/v2/"), "{asked:?}");
    assert!(asked[1].contains("http://cdn.test/x"), "{asked:?}");
    assert_eq!(inner.asked(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_mirrored_into_the_past() {
    let (registry, target) = (Server::start().await, Server::start().await);
    push_image(&registry.admin(), "team/app", "v1", 1).await;
    let dir = target.dir();
    let source = format!("docker://{}/team/app:v1", registry.host());
    let past = [
        "at/20261101/team/app",
        "at/20261101t120000z/team/app",
        "at/20991231/at/20261101/x",
    ];
    for name in past {
        let output = run(&["mirror", "--data", &dir, &source, "--to", name]);
        assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
        assert!(
            text_of(&output).contains("the past"),
            "{}",
            text_of(&output)
        );
    }
    // A host called AT, whose images would have such names by default.
    let output = run(&["mirror", "--data", &dir, "docker://AT/20261101/app:v1"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    // No push makes one, either: sessions, whole blobs, mounts and manifests.
    let admin = target.admin();
    for name in past {
        for (method, path) in [
            ("POST", format!("/v2/{name}/blobs/uploads/")),
            ("PUT", format!("/v2/{name}/manifests/v1")),
            ("DELETE", format!("/v2/{name}/manifests/v1")),
        ] {
            let reply = admin.send(method, &path, &[], b"{}").await;
            reply.refused(403, "DENIED");
        }
    }
    let repos = crate::harness::run_ok(&["repo", "list", "--data", &dir, "--json"]);
    assert!(!repos.contains("at/"), "{repos}");
    // What is no time is a name as any other.
    let output = run(&["mirror", "--data", &dir, &source, "--to", "at/20261301/app"]);
    assert!(output.status.success(), "{}", text_of(&output));
}
