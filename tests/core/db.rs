//! `dryport db status`: the same of a running server and of a closed directory, and nothing changes by asking.

use serde_json::{Value, json};

use crate::harness::{Server, init, run, run_ok};

fn status(dir: &str) -> Value {
    serde_json::from_str(&run_ok(&["db", "status", "--data", dir, "--json"])).unwrap()
}

#[tokio::test]
async fn it_tells_of_schema_versions_and_copies() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let (copy, torn) = ("meta.redb.schema-2.bak", "meta.redb.copy");
    std::fs::write(home.path().join("data").join(copy), b"a copy").unwrap();
    std::fs::write(home.path().join("data").join(torn), b"half a copy").unwrap();
    let dir = home.path().join("data").to_str().unwrap().to_owned();
    let before = std::fs::read(format!("{dir}/meta.redb")).unwrap();
    let closed = status(&dir);
    assert!(std::fs::read(format!("{dir}/meta.redb")).unwrap() == before);
    let version: Value = serde_json::from_str(&run_ok(&["version", "--json"])).unwrap();
    for key in ["schema", "oldest_reader", "oldest_writer", "known"] {
        assert_eq!(closed[key], version["schema"], "{key}");
    }
    assert_eq!(closed["writable"], true);
    assert_eq!(closed["bytes"], before.len());
    assert_eq!(closed["copies"].as_array().unwrap().len(), 1);
    let [kept] = [&closed["copies"][0]];
    assert_eq!((&kept["file"], &kept["schema"]), (&json!(copy), &json!(2)));
    assert_eq!(kept["bytes"], 6);
    let text = run_ok(&["db", "status", "--data", &dir]);
    for words in [
        "Oldest reader",
        "Oldest writer",
        copy,
        "this program may use it",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let server = Server::serve(home, &[], &[]).await;
    let open = status(&server.dir());
    for key in ["schema", "oldest_reader", "oldest_writer", "copies"] {
        assert_eq!(open[key], closed[key], "{key}");
    }
}

#[test]
fn a_directory_without_a_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["db", "status", "--data", dir.path().to_str().unwrap()]);
    assert!(!output.status.success());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
