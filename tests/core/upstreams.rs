//! Upstreams: their settings by command, by REST and by configuration, what is never shown of them, and trying one out.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::content::push_image;
use crate::harness::fake::{Answer, Fake};
use crate::harness::{SOON, Server, basic, dryport, free_port, run, run_ok, text_of, until};

const JSON: (&str, &str) = ("content-type", "application/json");
const SECRET: &str = "s3cret-of-the-upstream";

/// `dryport upstream ARGS` on the server's directory.
fn upstream(server: &Server, args: &[&str]) -> String {
    let dir = server.dir();
    let all = [&["upstream"][..], args, &["--data", &dir]].concat();
    run_ok(&all)
}

fn json_of(server: &Server, args: &[&str]) -> Value {
    let text = upstream(server, &[args, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// Exit code and both streams of one that is refused.
fn refused(server: &Server, args: &[&str]) -> (Option<i32>, String) {
    let dir = server.dir();
    let output = run(&[&["upstream"][..], args, &["--data", &dir]].concat());
    assert!(!output.status.success(), "{args:?}: {}", text_of(&output));
    (output.status.code(), text_of(&output))
}

#[tokio::test]
async fn upstreams_are_added_listed_changed_and_removed() {
    let mut server = Server::start().await;
    assert!(upstream(&server, &["list"]).contains("No upstreams"));
    let hub = [
        "add",
        "hub",
        "--url",
        "registry-1.docker.io",
        "--prefix",
        "docker.io",
    ];
    let made = json_of(
        &server,
        &[&hub[..], &["--default", "--freshness", "1m"]].concat(),
    );
    assert_eq!(made["urls"], json!(["https://registry-1.docker.io"]));
    assert_eq!(
        (&made["origin"], &made["freshness_ms"]),
        (&json!("added"), &json!(60_000))
    );
    assert_eq!(refused(&server, &hub).0, Some(3));
    let (code, text) = refused(
        &server,
        &["add", "two", "--url", "a", "--prefix", "docker.io"],
    );
    assert!(
        code == Some(3) && text.contains("belongs to upstream hub"),
        "{text}"
    );
    let (code, text) = refused(&server, &["add", "two", "--url", "a", "--prefix", "snap/x"]);
    assert!(code == Some(2) && text.contains("in the past"), "{text}");

    let text = upstream(
        &server,
        &["set", "hub", "--offline", "true", "--bandwidth", "50MiB"],
    );
    assert!(text.contains("50.00 MiB"), "{text}");
    let shown = json_of(&server, &["show", "hub"]);
    assert_eq!(
        (&shown["offline"], &shown["default"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(shown["freshness_ms"], 60_000, "what is left out stays");
    assert_eq!(shown["counters"]["requests"], 0);
    upstream(&server, &["set", "hub", "--offline", "false"]);

    server.kill();
    // Without a server the command does it by itself; the server knows it then.
    upstream(
        &server,
        &[
            "add",
            "quay",
            "--url",
            "https://quay.io",
            "--prefix",
            "quay.io",
        ],
    );
    server.restart().await;
    let listed = json_of(&server, &["list"]);
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["hub", "quay"]);

    push_image(&server.admin(), "docker.io/team/app", "1", 1).await;
    push_image(&server.admin(), "docker.io-x/app", "1", 2).await;
    let removed = json_of(&server, &["remove", "hub"]);
    assert_eq!(removed, json!({"prefix": "docker.io", "repositories": 1}));
    assert_eq!(
        server
            .admin()
            .get("/v2/docker.io/team/app/manifests/1")
            .await
            .status,
        200
    );
    assert_eq!(refused(&server, &["show", "hub"]).0, Some(1));

    let dir = server.dir();
    let trail = run_ok(&["audit", "list", "--data", &dir, "--json"]);
    for action in ["upstream-add", "upstream-set", "upstream-remove"] {
        assert!(trail.contains(action), "{action}: {trail}");
    }
    assert!(trail.contains("\"upstream:hub\""), "{trail}");
    // No check has anything to say of their rows.
    run_ok(&["check", "--data", &dir]);
}

#[tokio::test]
async fn those_of_the_configuration_are_read_only() {
    let server = Server::start().await;
    let file = server.data().join("dryport.toml");
    let own = std::fs::read_to_string(&file).unwrap();
    let table =
        "\n[[upstream]]\nname = \"site\"\nurl = [\"https://registry.site\"]\nprefix = \"site\"\n";
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    upstream(
        &server,
        &[
            "add",
            "site",
            "--url",
            "https://old.site",
            "--prefix",
            "old",
        ],
    );
    write(&format!("{own}{table}"));
    let mut server = server;
    server.signal("HUP");
    until("the configuration's upstream", SOON, async || {
        let listed = json_of(&server, &["list"]);
        listed[0]["origin"] == "configuration"
    })
    .await;
    let listed = json_of(&server, &["list"]);
    assert_eq!(listed[1]["hidden"], true, "{listed}");
    assert!(
        listed[1]["note"]
            .as_str()
            .unwrap()
            .contains("configuration")
    );
    let (code, text) = refused(&server, &["set", "site", "--offline", "true"]);
    assert!(code == Some(3) && text.contains("read-only"), "{text}");
    // The row that it hides can go; then nothing is left to remove.
    upstream(&server, &["remove", "site"]);
    let (code, text) = refused(&server, &["remove", "site"]);
    assert!(code == Some(3) && text.contains("configuration"), "{text}");

    // All at once offline, and a file that cannot be leaves everything as it was.
    write(&format!("{own}upstreams.offline = true\n{table}"));
    server.signal("HUP");
    until("the switch", SOON, async || {
        upstream(&server, &["list"]).contains("No upstream is asked")
    })
    .await;
    let dir = server.dir();
    let printed = run_ok(&["config", "print", "--data", &dir]);
    assert!(
        printed.contains("[[upstream]]\nname = \"site\""),
        "{printed}"
    );
    write(&format!("{own}{}", table.replace("https://", "")));
    let output = run(&["config", "validate", "--data", &dir]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("no address of a registry"),
        "{}",
        text_of(&output)
    );
    server.signal("HUP");
    until("the refusal", SOON, async || {
        server.log().contains("reload failed")
    })
    .await;
    assert!(upstream(&server, &["list"]).contains("No upstream is asked"));
}

/// A registry that wants `ann` and the secret.
fn guarded() -> Fake {
    let fake = Fake::start();
    let wanted = basic("ann", SECRET);
    fake.bend(move |ask, answer| {
        if ask.header("authorization") == wanted {
            return answer.with("ratelimit-remaining", "76;w=21600");
        }
        let text = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
        Answer::new(401, "application/json", text).with("WWW-Authenticate", "Basic realm=\"x\"")
    });
    fake
}

#[tokio::test]
async fn a_secret_is_used_and_never_shown() {
    let fake = guarded();
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [("UP_USER", "ann"), ("UP_PASSWORD", SECRET)];
    let server = Server::serve(home, &[], &env).await;
    let file = server.home().join("login");
    std::fs::write(&file, format!("ann:{SECRET}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let docker = server.home().join("config.json");
    let host = format!("127.0.0.1:{}", fake.port);
    let auth = basic("ann", SECRET);
    let auth = auth.strip_prefix("Basic ").unwrap();
    std::fs::write(
        &docker,
        json!({"auths": {&host: {"auth": auth}}}).to_string(),
    )
    .unwrap();
    let script = server.home().join("helper");
    let answer = json!({"Username": "ann", "Secret": SECRET});
    std::fs::write(&script, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (file, docker, script) = (
        file.display().to_string(),
        docker.display().to_string(),
        script.display().to_string(),
    );
    let url = format!("http://{host}");
    upstream(
        &server,
        &[
            "add",
            "site",
            "--url",
            &url,
            "--prefix",
            "site",
            "--plain-http",
        ],
    );
    let (code, text) = refused(&server, &["test", "site"]);
    assert!(
        code == Some(1) && text.contains("wants a user and password"),
        "{text}"
    );
    let mut all = String::new();
    for (source, word) in [
        (
            &["--user-env", "UP_USER", "--password-env", "UP_PASSWORD"][..],
            "the environment",
        ),
        (&["--creds-from", &file], "chmod 600"),
        (&["--docker-config", &docker], "docker's file"),
        (
            &["--creds-command", &format!("{script} get")],
            "their command",
        ),
    ] {
        all += &upstream(&server, &[&["set", "site"][..], source].concat());
        fake.asked();
        let text = upstream(&server, &["test", "site"]);
        assert!(text.contains("answered 200, logged in"), "{text}");
        assert!(
            text.contains(word) && text.contains("ratelimit-remaining: 76"),
            "{text}"
        );
        assert!(!fake.asked().is_empty());
        all += &text;
        all += &json_of(&server, &["show", "site"]).to_string();
    }
    let dir = server.dir();
    all += &run_ok(&["audit", "list", "--data", &dir, "--json"]);
    all += &server.log();
    assert!(!all.contains(SECRET) && !all.contains(auth), "{all}");
}

#[tokio::test]
async fn what_runs_a_program_is_the_operators_to_name() {
    let server = Server::start().await;
    let admin = server.admin();
    let add = async |name: &str, credentials: Value| {
        let body = json!({"name": name, "urls": [format!("https://{name}.example")], "prefix": name,
            "settings": {"credentials": credentials}});
        admin
            .send(
                "POST",
                "/api/v1/upstreams",
                &[JSON],
                body.to_string().as_bytes(),
            )
            .await
    };
    for (name, credentials) in [
        ("a", json!({"command": ["id"]})),
        ("b", json!({"docker_config": "/root/.docker/config.json"})),
    ] {
        let reply = add(name, credentials).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(
            reply.text().contains("machine of the server"),
            "{}",
            reply.text()
        );
    }
    for (name, credentials) in [
        ("c", json!("anonymous")),
        ("d", json!({"file": "/run/login"})),
        ("e", json!({"environment": {"user": "A", "password": "B"}})),
    ] {
        add(name, credentials).await.expect(200);
    }
    let set = async |body: Value| {
        let body = body.to_string();
        admin
            .send("PUT", "/api/v1/upstream", &[JSON], body.as_bytes())
            .await
    };
    let named = set(json!({"name": "c", "settings": {"credentials": {"command": ["id"]}}})).await;
    assert_eq!(named.status, 403, "{}", named.text());
    // Nor may the secret that a program gives be sent elsewhere.
    upstream(&server, &["set", "c", "--creds-command", "/bin/echo a:b"]);
    for elsewhere in [
        json!({"name": "c", "urls": ["https://evil.example"]}),
        json!({"name": "c", "settings": {"proxy": "http://evil.example:1"}}),
    ] {
        let reply = set(elsewhere).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
    }
    set(json!({"name": "c", "settings": {"offline": true}}))
        .await
        .expect(200);
    let shown = admin
        .get("/api/v1/upstream?name=c")
        .await
        .expect(200)
        .json();
    assert_eq!(shown["urls"], json!(["https://c.example"]));
}

#[tokio::test]
async fn trying_an_upstream_out_says_what_it_found() {
    let server = Server::start().await;
    // The server itself, over TLS with its own CA.
    let url = format!("https://127.0.0.1:{}", server.https);
    let ca = server.data().join("tls/ca.pem");
    let add = ["add", "own", "--url", &url, "--prefix", "own", "--offline"];
    upstream(&server, &add);
    let (code, text) = refused(&server, &["test", "own"]);
    assert!(
        code == Some(1) && text.contains("TLS handshake failed"),
        "{text}"
    );
    upstream(&server, &["set", "own", "--ca", ca.to_str().unwrap()]);
    let tried = json_of(&server, &["test", "own"]);
    assert_eq!(
        (&tried["ok"], &tried["offline"]),
        (&json!(true), &json!(true)),
        "{tried}"
    );
    let steps = tried["addresses"][0]["steps"].as_array().unwrap();
    let names: Vec<_> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["name", "connect", "tls", "ask", "again", "limits"]);
    assert!(
        steps[2]["text"].as_str().unwrap().contains("TLS 1.3"),
        "{tried}"
    );

    let nobody = format!("http://127.0.0.1:{}", free_port());
    upstream(
        &server,
        &[
            "set",
            "own",
            "--url",
            &nobody,
            "--url",
            &nobody.replace("127.0.0.1", "localhost"),
            "--plain-http",
        ],
    );
    let dir = server.dir();
    let begun = std::time::Instant::now();
    let output = dryport(&["upstream", "test", "own", "--json", "--data", &dir])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert!(begun.elapsed() < Duration::from_mins(1));
    let tried: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tried["addresses"][1]["ok"], false);
    assert!(
        text_of(&output).contains("no connection to port"),
        "{}",
        text_of(&output)
    );
}
