//! Text of other registries on the terminal: control characters, C1, bidi overrides are spelled out, in text and in JSON.

use serde_json::{Value, json};

use crate::formats::oci::mirror::outbound::{Service, answer};
use crate::harness::content::OCI_INDEX;
use crate::harness::{Server, dryport, run_with_input, text_of};

/// What a terminal would obey, and a line that pretends to be one of ours.
const FOREIGN: &str =
    "linux\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{7f}\r\u{202e}xunil\nerror: pay\u{2028}";

fn acts(c: char) -> bool {
    (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c)
}

/// A registry with an image for this platform, that refuses everything else in these words.
fn registry() -> Service {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "a".repeat(64)),
        "size": 10,
        "platform": {"os": FOREIGN, "architecture": "amd64"},
        "annotations": {"org.opencontainers.image.title": FOREIGN},
    }]});
    let errors = json!({"errors": [{"code": "DENIED", "message": FOREIGN}]});
    let (index, errors) = (index.to_string(), errors.to_string());
    Service::start(move |line| {
        if line.contains("/manifests/v1 ") {
            answer("200 OK", &format!("Content-Type: {OCI_INDEX}\r\n"), &index)
        } else {
            answer(
                "403 Forbidden",
                "Content-Type: application/json\r\n",
                &errors,
            )
        }
    })
}

#[tokio::test]
async fn foreign_text_does_nothing_to_a_terminal() {
    let target = Server::start().await;
    let registry = registry();
    let dir = target.dir();
    let mirror = |tag: &str, json: bool| {
        let source = format!("docker://127.0.0.1:{}/team/app:{tag}", registry.port);
        let mut command = dryport(&["mirror", "--plain-http", "--data", &dir, &source]);
        command.args(["--platform", "linux/arm64", "--to", "copy"]);
        if json {
            command.arg("--json");
        }
        let output = run_with_input(command, "");
        assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = mirror("v1", false);
    assert!(!text.chars().any(acts), "{text:?}");
    for seen in ["\\u{1b}[2J", "\\u{9b}31m", "\\u{7f}", "\\r", "\\u{202e}"] {
        assert!(text.contains(seen), "{seen}: {text}");
    }
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("error:")).collect();
    assert_eq!(lines.len(), 1, "{text}");

    // JSON has the same value, and its text does nothing either.
    let text = mirror("v1", true);
    assert!(!text.chars().any(acts), "{text:?}");
    let value: Value = serde_json::from_str(&text).unwrap();
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains(FOREIGN), "{message:?}");

    // A refusal in the registry's words.
    for json in [false, true] {
        let text = mirror("v2", json);
        assert!(
            text.contains("xunil") && !text.chars().any(acts),
            "{text:?}"
        );
    }
    // Nor do arguments, in which a script may have put what it found somewhere.
    let output = run_with_input(dryport(&[&format!("no-{FOREIGN}")]), "");
    assert!(!text_of(&output).chars().any(acts), "{}", text_of(&output));
}

#[tokio::test]
async fn a_log_is_as_harmless() {
    let server = Server::start().await;
    let path = "/v2/team/app/manifests/v1?x=\u{9b}31m\u{202e}\u{7f}";
    let agent = "a\u{202e}\u{9b}b\tc";
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
    );
    server.raw(request.as_bytes());
    // The operator's own words reach it, too.
    let name = format!("DRYPORT_{FOREIGN}");
    let name = name.replace(['\n', '\r'], "");
    let server = Server::serve(server.into_home(), &[], &[(&name, "x")]).await;
    let log = server.log();
    assert!(log.contains("ready") && !log.chars().any(acts), "{log:?}");
}
