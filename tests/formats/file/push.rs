//! `dryport push`: files into a repository, through the running server, without one, and to another server.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::formats::file::reading::{create, server};
use crate::harness::content::{noise, sha256};
use crate::harness::{ADMIN, Server, dryport, run, run_ok, run_with_input, text_of};

/// A few files beside the data directory.
fn files(server: &Server) -> Vec<PathBuf> {
    let folder = server.home().join("mine");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    let of = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    vec![
        of("a b%20.txt", b"a"),
        of("none", b""),
        of("large", &noise(1, 3_000_000)),
    ]
}

fn push(server: &Server, files: &[PathBuf], to: &str, more: &[&str]) -> Output {
    let dir = server.dir();
    let mut args = vec!["push"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    args.extend([to, "--data", &dir]);
    args.extend(more);
    run(&args)
}

fn pushed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text_of(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn all_there(server: &Server, folder: &str) {
    let client = server.anonymous();
    for (name, bytes) in [
        ("a%20b%2520.txt", b"a".to_vec()),
        ("none", Vec::new()),
        ("large", noise(1, 3_000_000)),
    ] {
        let got = client.get(&format!("/r/{folder}{name}")).await.expect(200);
        assert!(got.body == bytes, "{name}");
    }
}

#[tokio::test]
async fn files_go_through_the_running_server_or_without_one() {
    let mut server = server().await;
    let mine = files(&server);
    let report = pushed(&push(&server, &mine, "files/x/", &["--json"]));
    assert_eq!(report[0]["name"], "files/x/a b%20.txt");
    assert_eq!(report[0]["is_new"], true);
    assert_eq!(report[2]["digest"], sha256(&noise(1, 3_000_000)));
    assert_eq!(report[2]["size"], 3_000_000);
    all_there(&server, "files/x/").await;
    let again = pushed(&push(&server, &mine[..1], "files/x/", &["--json"]));
    assert_eq!(again[0]["is_new"], false);
    let text = push(&server, &mine[2..], "files/as/named", &[]);
    assert!(
        text_of(&text).contains("Pushed files/as/named (2.86 MiB) sha256:"),
        "{}",
        text_of(&text)
    );
    server
        .anonymous()
        .get("/r/files/as/named")
        .await
        .expect(200);
    server.kill();
    pushed(&push(&server, &mine, "files/y/", &["--json"]));
    server.restart().await;
    all_there(&server, "files/y/").await;
}

#[tokio::test]
async fn what_cannot_be_pushed_is_said_with_its_exit_code() {
    let mut server = server().await;
    let mine = files(&server);
    crate::core::quota::exact::set(&server, "files", "1MB");
    let folder = [server.home().join("mine/folder")];
    let none = [server.home().join("mine/not-there")];
    for round in 0..2 {
        for (files, to, code, why) in [
            (&mine[..], "files/x", 2, "end files/x with a slash"),
            (&mine[..1], "files", 2, "a file needs a name"),
            (&mine[..1], "files/a/../b", 2, "no empty, . or .. component"),
            (&mine[..1], "nowhere/x", 1, "no repository of files"),
            (&mine[..1], "files@g1/x", 3, "means the past"),
            (&mine[2..], "files/x/", 3, "the quota on files is used up"),
            (&folder[..], "files/", 2, "is no file"),
            (&none[..], "files/", 2, "No such file"),
        ] {
            let output = push(&server, files, to, &[]);
            assert_eq!(
                output.status.code(),
                Some(code),
                "{to}: {}",
                text_of(&output)
            );
            assert!(text_of(&output).contains(why), "{to}: {}", text_of(&output));
        }
        if round == 0 {
            server.kill();
        }
    }
    run_ok(&["check", "--deep", "--data", &server.dir()]);
}

#[tokio::test]
async fn files_go_to_another_server_with_a_login() {
    let (server, other) = (server().await, Server::start().await);
    create(&other, "team/files");
    let mine = files(&server);
    let login = server.home().join("login.json");
    let auth = crate::harness::basic(ADMIN.0, ADMIN.1).replace("Basic ", "");
    let host = other.host();
    std::fs::write(
        &login,
        json!({"auths": {&host: {"auth": auth}}}).to_string(),
    )
    .unwrap();
    let creds = ["--creds-file", login.to_str().unwrap(), "--json"];
    let to = format!("http://{host}/r/team/files/in%20here/");
    let report = pushed(&push(&server, &mine, &to, &creds));
    assert_eq!(report[0]["name"], "team/files/in here/a b%20.txt");
    assert_eq!(report[2]["digest"], sha256(&noise(1, 3_000_000)));
    all_there(&other, "team/files/in%20here/").await;
    // With TLS, by the CA of that server.
    let trust = run_ok(&["trust", "--pem", "--data", &other.dir()]);
    let ca = server.home().join("ca.pem");
    std::fs::write(&ca, trust).unwrap();
    let secure = format!("127.0.0.1:{}", other.https);
    std::fs::write(
        &login,
        json!({"auths": {&secure: {"auth": auth}}}).to_string(),
    )
    .unwrap();
    let to = format!("https://{secure}/r/team/files/tls/");
    let with_ca = [&creds[..], &["--ca", ca.to_str().unwrap()]].concat();
    pushed(&push(&server, &mine, &to, &with_ca));
    all_there(&other, "team/files/tls/").await;
    // Without the login, and where it has no right.
    let strange = format!("http://{host}/r/team/files/");
    let empty = server.home().join("empty.json");
    std::fs::write(&empty, "{}").unwrap();
    let nobody = ["--creds-file", empty.to_str().unwrap()];
    let output = push(&server, &mine[..1], &strange, &nobody);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("401 authentication is required"),
        "{}",
        text_of(&output)
    );
    let wrong = push(&server, &mine[..1], "https://host/team/files/", &[]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text_of(&wrong));
    let help = run_with_input(dryport(&["push", "--help"]), "");
    assert!(
        text_of(&help).contains("docker login"),
        "{}",
        text_of(&help)
    );
}
