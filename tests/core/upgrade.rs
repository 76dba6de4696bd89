//! Data directories of older schemas: each opens, upgrades and answers as the program that made it did.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::content::sha256;
use crate::harness::damage::{check, kinds};
use crate::harness::{Client, Server, dryport, run_ok};

const PASSWORD: &str = "correct-horse-battery";

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/directory")
}

/// The directory of schema 3, as its program left it, and what that answered.
fn schema_3() -> (TempDir, Value) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let unpacked = Command::new("tar")
        .args(["--no-same-owner", "-xzf"])
        .arg(golden().join("schema-3.tar.gz"))
        .arg("-C")
        .arg(&data)
        .status();
    assert!(unpacked.unwrap().success());
    let want = std::fs::read(golden().join("schema-3.json")).unwrap();
    (home, serde_json::from_slice(&want).unwrap())
}

fn hex_of(hex: &Value) -> String {
    format!("sha256:{}", hex.as_str().unwrap())
}

/// Every answer is as it was.
async fn assert_same(client: &Client, want: &Value) {
    for (path, answer) in want["manifests"].as_object().unwrap() {
        let got = client.get(path).await;
        assert_eq!(got.status, answer[0], "{path}: {}", got.text());
        assert_eq!(got.header("content-type"), answer[1], "{path}");
        assert_eq!(sha256(&got.body), hex_of(&answer[2]), "{path}");
    }
    for (path, answer) in want["blobs"].as_object().unwrap() {
        let got = client.get(path).await;
        assert_eq!(got.status, answer[0], "{path}: {}", got.text());
        assert_eq!(sha256(&got.body), hex_of(&answer[1]), "{path}");
    }
    for (path, answer) in want["lists"].as_object().unwrap() {
        let got = client.get(path).await;
        assert_eq!(
            (got.status, got.text()),
            (200, answer[1].as_str().unwrap().to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_directory_of_schema_3_answers_as_before() {
    let (home, want) = schema_3();
    let mut server = Server::serve(home, &[], &[]).await;
    assert!(
        server.log().contains("meta.redb.schema-3.bak"),
        "{}",
        server.log()
    );
    let admin = server.client(Some(("ci", PASSWORD)));
    assert_same(&admin, &want).await;
    let dir = server.dir();
    let history = run_ok(&["tag", "history", "team/app:v1", "--json", "--data", &dir]);
    assert_eq!(
        serde_json::from_str::<Value>(&history).unwrap(),
        want["history"]
    );
    let status: Value =
        serde_json::from_str(&run_ok(&["db", "status", "--json", "--data", &dir])).unwrap();
    assert_eq!(status["copies"][0]["schema"], 3, "{status:#}");
    let ann = server.client(Some(("ann", PASSWORD)));
    ann.get("/v2/team/app/tags/list").await.expect(200);

    // The upload goes on where it was.
    let upload = &want["upload"];
    let at = format!(
        "/v2/team/app/blobs/uploads/{}",
        upload["id"].as_str().unwrap()
    );
    let reply = admin.get(&at).await.expect(204);
    assert_eq!(reply.header("range"), "0-49999");
    let bytes: Vec<u8> = (0..80_000_u32)
        .map(|i| ((i * 31 + 7) % 251) as u8)
        .collect();
    let digest = upload["digest"].as_str().unwrap();
    let octets = [("content-type", "application/octet-stream")];
    let put = crate::harness::with_query(&at, &format!("digest={digest}"));
    admin
        .send("PUT", &put, &octets, &bytes[50_000..])
        .await
        .expect(201);

    // What was damaged still is, and nothing else.
    let (code, report) = check(&server.data(), &["--deep"]);
    let found = Value::from(kinds(&report));
    assert_eq!((code, &found), (4, &want["problems"]), "{report:#}");
    server.kill();
    server.restart().await;
    admin
        .get(&format!("/v2/team/app/blobs/{digest}"))
        .await
        .expect(200);
}

#[tokio::test]
async fn an_upgrade_that_is_killed_begins_again() {
    let (home, want) = schema_3();
    // Certificates and keys, so that the kills meet the upgrade and not the making of these.
    let (warm, _) = schema_3();
    let mut server = Server::serve(warm, &[], &[]).await;
    server.kill();
    for made in ["tls", "keys"] {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(server.data().join(made))
            .arg(home.path().join("data"))
            .status();
        assert!(copied.unwrap().success());
    }
    let data = home.path().join("data");
    for delay in [2, 5, 8, 12, 20, 35, 60] {
        let args = [
            "serve",
            "--data",
            data.to_str().unwrap(),
            "--https",
            "127.0.0.1:0",
        ];
        let mut child = dryport(&args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Server::serve(home, &[], &[]).await;
    let admin = server.client(Some(("ci", PASSWORD)));
    assert_same(&admin, &want).await;
    let (code, report) = check(&server.data(), &[]);
    assert_eq!(code, 0, "{report:#}");
}
