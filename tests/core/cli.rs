//! The command line: fixed forms, exit codes, configuration, trust.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::content::push_image;
use crate::harness::{
    ADMIN, SOON, Server, dryport, free_port, init, run, run_ok, run_with_input, text_of, until,
};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn version_says_what_a_machine_wants() {
    let version: Value = serde_json::from_str(&run_ok(&["version", "--json"])).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let git = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let head = git.ok().filter(|done| done.status.success());
    let head = head.map(|done| String::from_utf8(done.stdout).unwrap());
    let head = head.as_deref().map_or("unknown", str::trim);
    assert_eq!(version["commit"], head);
    assert!(version["schema"].is_number(), "{version}");
}

#[test]
fn help_and_usage() {
    assert!(run_ok(&["--help"]).contains("mirror"));
    for command in [
        "serve", "init", "user", "trust", "mirror", "repo", "tag", "config",
    ] {
        assert!(run_ok(&[command, "--help"]).contains("Usage"), "{command}");
    }
    for wrong in [
        &["no-such-command"][..],
        &["serve", "--no-such-flag"],
        &["serve", "--https", "not-an-address"],
    ] {
        let output = run(wrong);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            text_of(&output)
        );
    }
    assert!(run_ok(&["completions", "bash"]).contains("dryport"));
}

#[test]
fn init_makes_a_closed_directory() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    init(&data, &["--mode", "standalone"]);
    assert_eq!(mode(&data), 0o700);
    assert!(
        std::fs::read_to_string(data.join("dryport.toml"))
            .unwrap()
            .contains("standalone")
    );
    let mut keys = 0;
    let mut folders = vec![data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "key") {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                keys += 1;
            }
        }
    }
    assert!(keys > 0 || !data.join("tls").exists());
    // A second init changes nothing and says so.
    let args = [
        "init",
        "--data",
        data.to_str().unwrap(),
        "--admin",
        ADMIN.0,
        "--password-stdin",
    ];
    let output = run_with_input(dryport(&args), "other\n");
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
}

#[tokio::test]
async fn serve_initialises_an_empty_directory_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    let server = Server::serve(home, &[], &[]).await;
    let file = server.data().join("initial-password");
    assert_eq!(mode(&file), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let password = text.split_whitespace().last().unwrap().to_string();
    assert!(
        !server.log().contains(&password),
        "the log holds the password"
    );
    // The line comes after the server is ready.
    let what = "the log names the file";
    until(what, SOON, async || {
        server.log().contains("initial-password")
    })
    .await;
    server
        .client(Some(("admin", &password)))
        .get("/v2/")
        .await
        .expect(200);
    let what = "the first login removes the file";
    until(what, SOON, async || !file.exists()).await;
}

/// The names of commands that a help text lists.
fn commands_in(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let rows = list.lines().take_while(|line| line.starts_with("  "));
    let name = |row: &str| row.split_whitespace().next().unwrap().to_owned();
    rows.filter(|row| !row.starts_with("   "))
        .map(name)
        .collect()
}

#[test]
fn help_fills_each_line_of_prose() {
    let (mut left, mut seen) = (vec![Vec::<String>::new()], 0);
    while let Some(command) = left.pop() {
        let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
        args.push("--help");
        for width in [60, 80, 100] {
            let mut help = dryport(&args);
            let help = help.env("COLUMNS", width.to_string()).output().unwrap();
            let help = String::from_utf8(help.stdout).unwrap();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
                if !prose(pair[0]) || !prose(pair[1]) {
                    continue;
                }
                let word = pair[1].split(' ').next().unwrap();
                let room = pair[0].chars().count() + 1 + word.chars().count() > width;
                assert!(
                    room,
                    "{command:?} at {width}: {word:?} fits into {:?}",
                    pair[0]
                );
            }
            if width == 100 {
                seen += 1;
                for name in commands_in(&help).into_iter().filter(|n| n != "help") {
                    left.push([&command[..], &[name]].concat());
                }
            }
        }
    }
    assert!(seen > 20, "{seen} commands");
}

#[test]
fn a_port_that_is_taken_is_found_before_a_directory_is_made_ready() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = format!("127.0.0.1:{}", free_port());
    for flags in [
        ["--https", &address, "--http", &free],
        ["--https", &free, "--http", &address],
    ] {
        for exists in [false, true] {
            if exists {
                std::fs::create_dir(&data).unwrap();
            }
            let args = [&["serve", "--data", data.to_str().unwrap()][..], &flags].concat();
            let output = run(&args);
            assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
            assert!(text_of(&output).contains(&address), "{}", text_of(&output));
            let made = data.read_dir().map_or(0, Iterator::count);
            assert_eq!(made, 0, "something was made in {}", data.display());
            if exists {
                std::fs::remove_dir(&data).unwrap();
            } else {
                assert!(!data.exists());
            }
        }
    }
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_holds_the_directory() {
    let server = Server::start().await;
    let address = format!("127.0.0.1:{}", free_port());
    let output = run(&["serve", "--data", &server.dir(), "--https", &address]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains(&server.pid().to_string()),
        "{}",
        text_of(&output)
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("dryport.toml");
    std::fs::write(&file, "modde = \"mirror\"\n").unwrap();
    let output = run(&["config", "validate", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    let text = text_of(&output).replace("modde", "");
    assert!(text.contains("mode"), "{text}");
    std::fs::write(&file, "mode = \"mirror\"\n[tls]\nnmes = [\"a\"]\n").unwrap();
    let output = run(&["config", "validate", "--config", file.to_str().unwrap()]);
    assert!(
        !output.status.success() && text_of(&output).contains("tls.names"),
        "{}",
        text_of(&output)
    );
    std::fs::write(
        &file,
        "mode = \"standalone\"\n[tls]\nnames = [\"registry.test\"]\n",
    )
    .unwrap();
    run_ok(&["config", "validate", "--config", file.to_str().unwrap()]);
    for wrong in [
        "mode = 7\n",
        "mode = \"both\"\n",
        "not toml",
        "url = \"ftp://x\"\n",
    ] {
        std::fs::write(&file, wrong).unwrap();
        let output = run(&["config", "validate", "--config", file.to_str().unwrap()]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong}: {}",
            text_of(&output)
        );
    }
}

#[test]
fn config_print_names_the_origin_of_each_value() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("dryport.toml");
    std::fs::write(&file, "url = \"https://registry.test\"\n").unwrap();
    let mut command = dryport(&["config", "print", "--config", file.to_str().unwrap()]);
    command.env("DRYPORT_MODE", "standalone");
    let output = run_with_input(command, "");
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let line = |key: &str| {
        text.lines()
            .find(|l| l.trim_start().starts_with(key))
            .unwrap_or_default()
            .to_string()
    };
    assert!(line("url").contains("dryport.toml"), "{text}");
    assert!(line("mode").contains("DRYPORT_MODE"), "{text}");
    assert!(text.contains("default"), "{text}");
    // What `generate` writes can be read again.
    std::fs::write(&file, run_ok(&["config", "generate"])).unwrap();
    run_ok(&["config", "validate", "--config", file.to_str().unwrap()]);
}

#[test]
fn config_print_as_json_has_value_and_origin_of_each_key() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("dryport.toml");
    std::fs::write(&file, "[tls]\nnames = [\"a.test\"]\n").unwrap();
    let file = file.to_str().unwrap();
    let mut command = dryport(&["config", "print", "--json", "--config", file]);
    command.env("DRYPORT_BLOBS__LEASE", "2h");
    let output = run_with_input(command, "");
    assert!(output.status.success(), "{}", text_of(&output));
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = |key: &str| {
        let mut all = settings.as_array().unwrap().iter();
        all.find(|s| s["key"] == key).unwrap().clone()
    };
    assert_eq!(setting("tls.names")["value"], json!(["a.test"]));
    assert_eq!(setting("tls.names")["origin"], format!("file {file}"));
    let lease = setting("blobs.lease");
    assert_eq!(lease["value"], "2h");
    assert_eq!(lease["origin"], "environment DRYPORT_BLOBS__LEASE");
    let pull = setting("access.anonymous_pull");
    assert_eq!(
        (&pull["value"], &pull["origin"]),
        (&json!(true), &json!("default"))
    );
    assert_eq!(setting("upstream")["value"], json!([]));
    // As many as in the text, where a list without tables has no line.
    let text = run_ok(&["config", "print", "--config", file]);
    assert_eq!(text.lines().count() + 1, settings.as_array().unwrap().len());
}

#[test]
fn config_validate_as_json() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("dryport.toml");
    std::fs::write(&path, "mode = \"mirror\"\n").unwrap();
    let file = path.to_str().unwrap();
    let mut command = dryport(&["config", "validate", "--json", "--config", file]);
    command.env("DRYPORT_PORT", "tcp://10.0.0.1:8443");
    let output = run_with_input(command, "");
    assert!(output.status.success(), "{}", text_of(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["ok"], &answer["file"]),
        (&json!(true), &json!(file))
    );
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.contains("DRYPORT_PORT"), "{warning}");
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["warning"], warning);
    std::fs::write(&path, "modde = \"mirror\"\n").unwrap();
    let output = run(&["config", "validate", "--json", "--config", file]);
    let error = error_of(&output, 2);
    assert_eq!(error["kind"], "usage");
    assert!(
        error["message"].as_str().unwrap().contains("modde"),
        "{error}"
    );
}

/// The error object of a command that was called with `--json` and failed: the last line of stderr; nothing on stdout.
fn error_of(output: &std::process::Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", text_of(output));
    assert!(output.stdout.is_empty(), "{}", text_of(output));
    let lines = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    lines.last().unwrap()["error"].clone()
}

#[tokio::test]
async fn errors_are_json_where_json_was_asked_for() {
    let server = Server::start().await;
    let dir = server.dir();
    let dir = dir.as_str();
    let none = error_of(
        &run(&["repo", "show", "no/such", "--data", dir, "--json"]),
        1,
    );
    assert_eq!(none["kind"], "not-found");
    assert!(
        none["message"].as_str().unwrap().contains("no/such"),
        "{none}"
    );
    let wrong = error_of(&run(&["tag", "list", "UPPER", "--json", "--data", dir]), 2);
    assert_eq!(wrong["kind"], "usage");
    // Also where the arguments are not understood.
    let wrong = error_of(&run(&["repo", "list", "--json", "--dta", dir]), 2);
    assert_eq!(wrong["kind"], "usage");
    let message = wrong["message"].as_str().unwrap();
    assert!(
        message.contains("--dta") && !message.contains('\u{1b}'),
        "{message}"
    );
    let source = format!("docker://127.0.0.1:{}/a:b", free_port());
    let output = run(&["mirror", &source, "--to", "x", "--data", dir, "--json"]);
    assert_eq!(error_of(&output, 1)["kind"], "failed");
    let empty = tempfile::tempdir().unwrap();
    let output = run(&[
        "repo",
        "list",
        "--json",
        "--data",
        empty.path().to_str().unwrap(),
    ]);
    assert_eq!(error_of(&output, 3)["kind"], "state");
    // Without --json it is text.
    let output = run(&["repo", "show", "no/such", "--data", dir]);
    assert!(
        output.stderr.starts_with(b"error: "),
        "{}",
        text_of(&output)
    );
}

#[tokio::test]
async fn an_unknown_variable_only_warns() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let server = Server::serve(home, &[], &[("DRYPORT_PORT", "tcp://10.0.0.1:8443")]).await;
    assert!(server.log().contains("DRYPORT_PORT"), "{}", server.log());
    // Nor does mode full start: it says what it will need.
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let output = run(&["serve", "--data", data.to_str().unwrap(), "--mode", "full"]);
    assert!(!output.status.success());
    assert!(
        text_of(&output).contains("PostgreSQL"),
        "{}",
        text_of(&output)
    );
}

#[tokio::test]
async fn trust_gives_the_certificate_that_verifies_the_server() {
    let server = Server::start().await;
    let pem = run_ok(&["trust", "--data", &server.dir(), "--pem"]);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    assert_eq!(pem.matches("BEGIN").count(), 1);
    let file = server.home().join("ca.pem");
    std::fs::write(&file, &pem).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/healthz", server.https);
        let output = curl(&["--cacert", file.to_str().unwrap(), &url]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "200",
            "{host}: {}",
            text_of(&output)
        );
    }
    let output = curl(&[&format!("https://localhost:{}/healthz", server.https)]);
    assert!(
        !output.status.success(),
        "a stranger trusts the server: {}",
        text_of(&output)
    );
    let text = run_ok(&["trust", "--data", &server.dir()]);
    for word in ["docker", "podman", "containerd", "apt", "dnf", "SHA-256"] {
        assert!(
            text.to_lowercase().contains(&word.to_lowercase()),
            "{word} is not in: {text}"
        );
    }
    // Without the server, the command reads the directory itself.
    let mut server = server;
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    assert_eq!(run_ok(&["trust", "--data", &server.dir(), "--pem"]), pem);
}

fn curl(args: &[&str]) -> std::process::Output {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"] {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

#[tokio::test]
async fn repositories_and_tags_with_and_without_a_server() {
    let mut server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "v1", 1).await;
    push_image(&admin, "team/app", "v1", 2).await;
    push_image(&admin, "team/other", "v1", 3).await;
    let dir = server.dir();
    let ask = |args: &[&str]| -> Value {
        let mut all = args.to_vec();
        all.extend_from_slice(&["--data", &dir, "--json"]);
        serde_json::from_str(&run_ok(&all)).unwrap()
    };
    let text = ask(&["repo", "list"]).to_string();
    assert!(
        text.contains("team/app") && text.contains("team/other"),
        "{text}"
    );
    assert_eq!(ask(&["repo", "show", "team/app"])["name"], "team/app");
    assert!(ask(&["tag", "list", "team/app"]).to_string().contains("v1"));
    let history = ask(&["tag", "history", "team/app:v1"]).to_string();
    assert_eq!(history.matches("sha256:").count(), 2, "{history}");
    run_ok(&["tag", "delete", "--data", &dir, "team/app:v1"]);
    admin.get("/v2/team/app/manifests/v1").await.expect(404);
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    run_ok(&["repo", "delete", "--data", &dir, "team/other"]);
    let text = ask(&["repo", "list"]).to_string();
    assert!(
        text.contains("team/app") && !text.contains("team/other"),
        "{text}"
    );
    let output = run(&["repo", "show", "--data", &dir, "no/such"]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    server.restart().await;
    server
        .admin()
        .get("/v2/team/other/manifests/v1")
        .await
        .expect(404);
}

#[tokio::test]
async fn users_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    init(&data, &[]);
    let dir = data.to_str().unwrap();
    let add = [
        "user",
        "add",
        "--data",
        dir,
        "will",
        "--password-stdin",
        "--role",
        "writer",
        "--on",
        "team",
    ];
    let output = run_with_input(dryport(&add), "pw-of-will-1\n");
    assert!(output.status.success(), "{}", text_of(&output));
    let again = run_with_input(dryport(&add), "pw-of-will-1\n");
    assert!(!again.status.success(), "{}", text_of(&again));
    let server = Server::serve(home, &[], &[]).await;
    server
        .client(Some(("will", "pw-of-will-1")))
        .post("/v2/team/x/blobs/uploads/")
        .await
        .expect(202);
    assert_eq!(mode(&server.data().join("run/control.sock")), 0o600);
}

#[tokio::test]
async fn hangup_reloads_and_the_server_stays() {
    let mut server = Server::start().await;
    push_image(&server.admin(), "a", "v1", 1).await;
    server.signal("HUP");
    assert_eq!(
        server.exit_code(Duration::from_millis(800)).await,
        None,
        "{}",
        server.log()
    );
    server
        .anonymous()
        .get("/v2/a/manifests/v1")
        .await
        .expect(200);
}
