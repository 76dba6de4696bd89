//! What Dryport's own CA may sign for, and what happens to names that lie outside.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{SOON, Server, dryport, init, run_ok, run_with_input, text_of, until};

const NEW_CA: &str = "move ca.pem and ca.key away";

/// Whether curl takes this server's certificate for `name`.
fn taken(ca: &Path, name: &str, port: u16) -> bool {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-o", "/dev/null", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .arg(format!("https://{name}:{port}/healthz"))
        .output()
        .unwrap();
    output.status.success()
}

fn names(home: &Path, list: &str) {
    let file = home.join("data/dryport.toml");
    std::fs::write(
        file,
        format!("mode = \"mirror\"\n[tls]\nnames = [{list}]\n"),
    )
    .unwrap();
}

#[tokio::test]
async fn a_ca_signs_for_the_names_that_it_was_made_with() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    // Until somebody is served or told whom to trust, there is no CA, and names may still be written down. Commands that
    // work without a server do not make one.
    let dir = home.path().join("data").to_str().unwrap().to_owned();
    run_ok(&["repo", "list", "--data", &dir]);
    assert!(!home.path().join("data/tls").exists());
    names(home.path(), "\"reg.site.test\", \"203.0.113.7\"");
    let mut server = Server::serve(home, &[], &[]).await;
    let ca = server.data().join("tls/ca.pem");
    assert!(taken(&ca, "reg.site.test", server.https));
    let view: Value = serde_json::from_str(&run_ok(&["trust", "--data", &dir, "--json"])).unwrap();
    let permits = view["ca_permits"].as_array().unwrap();
    for said in [
        "localhost",
        "reg.site.test",
        "203.0.113.7",
        "10.0.0.0/8",
        "fc00::/7",
    ] {
        assert!(permits.contains(&said.into()), "{permits:?}");
        assert!(run_ok(&["trust", "--data", &dir]).contains(said));
    }

    // Outside: a running server keeps what it has, and says why; a start is refused.
    names(
        server.home(),
        "\"reg.site.test\", \"203.0.113.7\", \"reg.other.test\"",
    );
    server.signal("HUP");
    let what = "the log says why";
    until(what, SOON, async || server.log().contains(NEW_CA)).await;
    assert!(taken(&ca, "reg.site.test", server.https));
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    for command in ["serve", "trust"] {
        let output = run_with_input(dryport(&[command, "--data", &dir]), "");
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(3), "{command}: {text}");
        assert!(
            text.contains("reg.other.test") && text.contains(NEW_CA),
            "{text}"
        );
    }

    // The way that the error names.
    let old = std::fs::read_to_string(&ca).unwrap();
    for name in ["ca.pem", "ca.key"] {
        std::fs::rename(ca.with_file_name(name), server.home().join(name)).unwrap();
    }
    server.restart().await;
    assert_ne!(std::fs::read_to_string(&ca).unwrap(), old);
    for name in ["reg.site.test", "reg.other.test"] {
        assert!(taken(&ca, name, server.https), "{name}");
    }
    assert!(!taken(
        &server.home().join("ca.pem"),
        "reg.site.test",
        server.https
    ));
}

#[tokio::test]
async fn a_ca_without_constraints_signs_for_any_name() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let none = [("DRYPORT_TLS__CA_CONSTRAINTS", "none")];
    let mut server = Server::serve(home, &[], &none).await;
    let ca = server.data().join("tls/ca.pem");
    let made = std::fs::read_to_string(&ca).unwrap();
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    // As every CA that an older Dryport made: it stays, whatever the setting says now, and takes every name.
    names(server.home(), "\"reg.other.test\"");
    let home = server.into_home();
    let server = Server::serve(home, &[], &[]).await;
    assert_eq!(std::fs::read_to_string(&ca).unwrap(), made);
    assert!(taken(&ca, "reg.other.test", server.https));
    assert!(!server.log().contains(NEW_CA), "{}", server.log());
    let text = run_ok(&["trust", "--data", &server.dir()]);
    assert!(text.contains("any name"), "{text}");
}
