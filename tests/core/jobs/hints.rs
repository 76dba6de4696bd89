//! What can be done about a copy that failed: the command says it in its switches, and so do `job show`, `job log` and the REST
//! API hours later, which have it from the job's row.

use serde_json::{Value, json};

use crate::harness::content::OCI_MANIFEST;
use crate::harness::fake::{Answer, Fake};
use crate::harness::{Server, run, run_ok, text_of};

/// A way in which a copy fails.
struct Case {
    /// What is copied, and how.
    args: Vec<String>,
    code: i32,
    /// What the command line advises.
    advice: String,
    /// What the row keeps.
    remedy: Value,
}

impl Case {
    fn new(args: &[&str], code: i32, advice: impl Into<String>, remedy: Value) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let advice = advice.into();
        Self {
            args,
            code,
            advice,
            remedy,
        }
    }
}

/// The fake's address.
fn host(fake: &Fake) -> String {
    let source = fake.source("");
    let rest = source.strip_prefix("docker://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// A registry whose blobs are at another server of this machine.
fn leading() -> Fake {
    let fake = Fake::start();
    fake.image("v1", "amd64", 7, 1000);
    fake.bend(|ask, answer| {
        if ask.path.contains("/blobs/") {
            Answer::empty(307).with("Location", "http://127.0.0.1:9/blob")
        } else {
            answer
        }
    });
    fake
}

/// A registry whose token service is of another domain.
fn asking_for_a_token() -> Fake {
    let fake = Fake::start();
    fake.bend(|_, _| {
        let realm = "Bearer realm=\"https://auth.example/token\",service=\"s\"";
        Answer::empty(401).with("WWW-Authenticate", realm)
    });
    fake
}

/// A registry whose image of two platforms lacks one.
fn lacking() -> Fake {
    let fake = Fake::start();
    let images = ["amd64", "arm64"].map(|arch| (arch, fake.image(arch, arch, 3, 1000)));
    let children = images.each_ref().map(|(arch, image)| {
        json!({"mediaType": OCI_MANIFEST, "digest": image.digest, "size": image.bytes.len(),
            "platform": {"os": "linux", "architecture": arch}})
    });
    fake.index("v1", &children);
    fake.forget(&images[1].1.digest);
    fake
}

fn one(dir: &str, id: &str) -> String {
    run_ok(&["job", "show", id, "--data", dir])
}

async fn advises(server: &Server, case: &Case) {
    let dir = server.dir();
    let mut args = vec!["mirror", "--data", &dir];
    args.extend(case.args.iter().map(String::as_str));
    let output = run(&args);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(case.code), "{told}");
    assert!(told.contains(&case.advice), "{}: {told}", case.advice);

    let jobs = server.admin().get("/api/v1/jobs").await.expect(200).json();
    let job = &jobs["jobs"][0];
    let (id, advice) = (job["id"].to_string(), &case.advice);
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_eq!(job["remedy"], case.remedy, "{job:#}");
    // The text itself is for everybody.
    let error = job["error"].as_str().unwrap();
    assert!(!error.contains(" --") && told.contains(error), "{error}");

    let text = one(&dir, &id);
    assert!(text.contains(advice), "{advice}: {text}");
    let log = run_ok(&["job", "log", &id, "--data", &dir]);
    assert!(log.contains(advice), "{advice}: {log}");
    let line = format!("/api/v1/job/log?id={id}");
    let lines = server.admin().get(&line).await.expect(200).json();
    let last = lines["lines"].as_array().unwrap().last().unwrap();
    assert_eq!(last["remedy"], case.remedy, "{lines:#}");
    let table = run_ok(&["job", "list", "--data", &dir]);
    assert!(table.contains(&format!("dryport job show {id}")), "{table}");
}

#[tokio::test]
async fn what_can_be_done_is_said_at_once_and_later() {
    let (mut server, upstream) = (Server::start().await, Server::start().await);
    let (leading, asking, lacking) = (leading(), asking_for_a_token(), lacking());
    let creds = server.home().join("creds.json");
    let login = json!({"auths": {host(&asking): {"auth": "dTpw"}}});
    std::fs::write(&creds, login.to_string()).unwrap();
    let creds = creds.to_str().unwrap();
    let https = format!("127.0.0.1:{}", upstream.https);
    let cases = [
        Case::new(
            &[&format!("docker://{https}/team/app:v1"), "--to", "a"],
            1,
            "with: --ca FILE",
            json!({"trust_certificate": https}),
        ),
        Case::new(
            &[&asking.source(":v1"), "--to", "b", "--creds-file", creds],
            1,
            "add: --realm auth.example",
            json!({"trust_realm": "auth.example"}),
        ),
        Case::new(
            &[&leading.source(":v1"), "--to", "c"],
            1,
            "add: --allow-host 127.0.0.1:9",
            json!({"allow_host": "127.0.0.1:9"}),
        ),
        Case::new(
            &[&lacking.source(":v1"), "--to", "d"],
            1,
            "each with: --platform OS/ARCH",
            json!("choose_platforms"),
        ),
        Case::new(
            &[
                &lacking.source(":amd64"),
                "--to",
                "e",
                "--platform",
                "linux/s390x",
            ],
            1,
            "with: --allow-missing-platform",
            json!("lack_platforms"),
        ),
        Case::new(
            &["docker://[::1]:5000/x:v1"],
            2,
            "with: --to NAME",
            json!("choose_target"),
        ),
    ];
    for case in &cases {
        advises(&server, case).await;
    }
    // It is in the rows: another process reads it there.
    server.restart().await;
    let dir = server.dir();
    for (case, id) in cases.iter().zip(1..) {
        let text = one(&dir, &id.to_string());
        assert!(text.contains(&case.advice), "{}: {text}", case.advice);
    }
}

/// A command is told of switches that it has.
#[tokio::test]
async fn a_command_to_another_server_is_told_of_its_own_switches() {
    let server = Server::start().await;
    let url = format!("https://127.0.0.1:{}", server.https);
    let told = text_of(&run(&["job", "list", "--server", &url]));
    assert!(told.contains("--server-ca FILE"), "{told}");
    assert!(!told.contains("--insecure"), "{told}");
    let file = server.home().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let told = text_of(&run(&["push", file, &format!("{url}/r/team/x/")]));
    assert!(
        told.contains("--ca FILE") && told.contains("--insecure"),
        "{told}"
    );
}
