//! `dryport push -r`: all files below a folder, those alone that are not there yet.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::formats::file::reading::{create, server};
use crate::harness::content::{noise, sha256};
use crate::harness::{ADMIN, Server, run, run_ok, text_of};

/// What a file below the folder has, by its path.
fn bytes_of(path: &str) -> Vec<u8> {
    match path {
        "none" => Vec::new(),
        "x/large" => noise(1, 3_000_000),
        path => path.as_bytes().to_vec(),
    }
}

/// Every file below the folder, in the order in which they are pushed.
const FILES: [&str; 6] = [
    ".hidden",
    "a b%20",
    "none",
    "x/a/deep/one",
    "x/large",
    "x\u{e4}",
];

/// A folder beside the data directory, with links and a pipe in it.
fn folder(server: &Server) -> PathBuf {
    let folder = server.home().join("mine");
    for path in FILES {
        write(&folder, path, &bytes_of(path));
    }
    std::fs::create_dir_all(folder.join("x/empty")).unwrap();
    let link = std::os::unix::fs::symlink::<&str, PathBuf>;
    link("none", folder.join("link")).unwrap();
    link("/etc", folder.join("x/a/to-a-folder")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(folder.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    folder
}

fn write(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn push(server: &Server, folder: &Path, to: &str, more: &[&str]) -> Output {
    let (dir, folder) = (server.dir(), folder.to_str().unwrap());
    let args = [&["push", "-r", folder, to, "--data", &dir], more].concat();
    run(&args)
}

/// Names of what is there, and whether it was sent now.
fn done(output: &Output) -> Vec<(String, bool)> {
    assert!(output.status.success(), "{}", text_of(output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let each = value.as_array().unwrap().iter();
    each.map(|one| {
        let name = one["name"].as_str().unwrap().to_owned();
        (name, one["sent"].as_bool().unwrap())
    })
    .collect()
}

fn all(to: &str, sent: impl Fn(&str) -> bool) -> Vec<(String, bool)> {
    let each = FILES.iter();
    each.map(|path| (format!("{to}{path}"), sent(path)))
        .collect()
}

async fn all_there(server: &Server, folder: &str) {
    let client = server.anonymous();
    for path in FILES {
        let url = path.replace('%', "%25").replace(' ', "%20");
        let got = client.get(&format!("/r/{folder}{url}")).await.expect(200);
        assert!(got.body == bytes_of(path), "{path}");
    }
}

#[tokio::test]
async fn a_folder_is_pushed_once() {
    let mut server = server().await;
    let mine = folder(&server);
    let first = push(&server, &mine, "files/in/", &[]);
    let text = text_of(&first);
    assert!(first.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("Pushed ")).collect();
    for (line, path) in lines.iter().zip(FILES) {
        assert!(
            line.starts_with(&format!("Pushed files/in/{path} (")),
            "{line}"
        );
        assert!(line.ends_with(&sha256(&bytes_of(path))), "{line}");
    }
    assert_eq!(lines.len(), FILES.len());
    for odd in [
        "mine/link was passed over: it is a symbolic link",
        "x/a/to-a-folder was passed over: it is a symbolic link",
        "mine/pipe was passed over: it is neither",
    ] {
        assert!(text.contains(odd), "{text}");
    }
    assert!(
        text.contains("6 files pushed (2.86 MiB), 0 were there already"),
        "{text}"
    );
    all_there(&server, "files/in/").await;
    server.anonymous().get("/r/files/in/link").await.expect(404);
    // Once more: nothing is sent, and no revision is made.
    let rev = |server: &Server| {
        let shown = run_ok(&["repo", "show", "files", "--json", "--data", &server.dir()]);
        serde_json::from_str::<Value>(&shown).unwrap()["rev"].clone()
    };
    let before = rev(&server);
    let again = push(&server, &mine, "files/in/", &["--json"]);
    assert_eq!(done(&again), all("files/in/", |_| false));
    assert_eq!(rev(&server), before);
    // What is another file now is sent, also one of the same length.
    write(&mine, "a b%20", b"A B%20");
    let some = push(&server, &mine, "files/in/", &["--json"]);
    assert_eq!(done(&some), all("files/in/", |path| path == "a b%20"));
    // Without a server, too.
    write(&mine, "a b%20", b"a b%20");
    server.kill();
    let some = push(&server, &mine, "files/in/", &["--json"]);
    assert_eq!(done(&some), all("files/in/", |path| path == "a b%20"));
    server.restart().await;
    all_there(&server, "files/in/").await;
    run_ok(&["check", "--deep", "--data", &server.dir()]);
}

#[tokio::test]
async fn what_was_stopped_goes_on() {
    let server = server().await;
    let mine = folder(&server);
    // A name in another form than is kept here, between the others.
    let odd = mine.join("o\u{308}");
    std::fs::write(&odd, b"odd").unwrap();
    let stopped = push(&server, &mine, "files/in/", &[]);
    let text = text_of(&stopped);
    assert_eq!(stopped.status.code(), Some(2), "{text}");
    for part in [
        "normalization form C",
        "the same command goes on from there",
    ] {
        assert!(text.contains(part), "{text}");
    }
    server.anonymous().get("/r/files/in/none").await.expect(200);
    std::fs::rename(&odd, mine.join("zz")).unwrap();
    let rest = done(&push(&server, &mine, "files/in/", &["--json"]));
    let was_there = |name: &str| rest.contains(&(format!("files/in/{name}"), false));
    assert!(
        was_there(".hidden") && was_there("none") && !was_there("zz"),
        "{rest:?}"
    );
    assert_eq!(rest.len(), FILES.len() + 1);
    all_there(&server, "files/in/").await;
    for (files, to, more, why) in [
        (&mine, "files/in", &["-r"][..], "end files/in with a slash"),
        (&mine, "files/in/", &[], "is no file; with -r"),
        (&mine.join("nothing"), "files/in/", &["-r"], "No such file"),
    ] {
        let dir = server.dir();
        let args = ["push", files.to_str().unwrap(), to, "--data", &dir];
        let refused = run(&[&args, more].concat());
        let text = text_of(&refused);
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_folder_goes_to_another_server() {
    let (server, other) = (server().await, Server::start().await);
    create(&other, "team/files");
    let mine = folder(&server);
    let login = server.home().join("login.json");
    let auth = crate::harness::basic(ADMIN.0, ADMIN.1).replace("Basic ", "");
    let host = other.host();
    let logins = json!({"auths": {&host: {"auth": auth}}});
    std::fs::write(&login, logins.to_string()).unwrap();
    let creds = ["--creds-file", login.to_str().unwrap(), "--json"];
    let to = format!("http://{host}/r/team/files/in/");
    let first = push(&server, &mine, &to, &creds);
    assert_eq!(done(&first), all("team/files/in/", |_| true));
    all_there(&other, "team/files/in/").await;
    other
        .admin()
        .delete("/r/team/files/in/x/large")
        .await
        .expect(204);
    let again = push(&server, &mine, &to, &creds);
    let large = |path: &str| path == "x/large";
    assert_eq!(done(&again), all("team/files/in/", large));
    all_there(&other, "team/files/in/").await;
}
