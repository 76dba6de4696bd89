//! Operations over REST and over the control socket: both are made from one table, and so are these tests.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use dryport::app::ops::{self, Reach, Verb};
use serde_json::{Value, json};

use crate::harness::content::push_image;
use crate::harness::{ADMIN, Client, Reply, Server, basic, dryport, run_ok, text_of};

const JSON: (&str, &str) = ("content-type", "application/json");

/// An operation by REST without any input.
async fn rest(client: &Client, spec: &ops::Spec) -> Reply {
    let path = format!("/api/v1{}", spec.path);
    match spec.verb {
        Verb::Read => client.get(&path).await,
        Verb::Remove => client.delete(&path).await,
        Verb::Make => client.send("POST", &path, &[JSON], b"{}").await,
        Verb::Set => client.send("PUT", &path, &[JSON], b"{}").await,
    }
}

pub fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Read => "GET",
        Verb::Make => "POST",
        Verb::Set => "PUT",
        Verb::Remove => "DELETE",
    }
}

/// One request on the control socket; the last line of the answer.
pub fn control(server: &Server, body: &Value) -> Value {
    let mut stream = UnixStream::connect(server.data().join("run/control.sock")).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /control HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().rfind(|line| line.starts_with('{')).unwrap();
    serde_json::from_str(line).unwrap()
}

/// What an input must have, by its schema: enough of it to be read.
pub fn input(name: &str) -> Value {
    let mut all = json!({
        "name": "none/here", "repo": "none/here", "tag": "none", "title": "none", "of": "none/here",
        "reference": "none", "from": "none", "kind": "oci", "prefix": "none", "limit": 5, "id": 77, "held": true,
        "change": {"keep": null, "attachments": null}, "source": "docker://127.0.0.1:1/none:1",
    });
    if name.starts_with("user-") {
        all["name"] = "nobody".into();
    }
    if name.starts_with("upstream-") {
        all["name"] = "nowhere".into();
    }
    all["urls"] = json!(["https://127.0.0.1:1"]);
    all["grant"] = json!({"role": "reader", "prefix": "team"});
    all["password"] = "a long enough secret".into();
    all["rev"] = 1.into();
    all["job"] = json!({"source": all["source"]});
    all["schedule"] = json!({"every_ms": 3_600_000, "jitter_ms": 0});
    let row = ops::named(name).unwrap();
    let text = serde_json::to_value(row.input().own).unwrap();
    let fields = text["properties"].as_object().cloned().unwrap_or_default();
    let all = all.as_object().unwrap().clone();
    Value::Object(
        all.into_iter()
            .filter(|(key, _)| fields.contains_key(key))
            .collect(),
    )
}

/// An input as a query.
pub fn query(input: &Value) -> String {
    let fields = input.as_object().unwrap().iter();
    let pairs = fields.map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The same, sent with what it must have.
pub async fn rest_with(client: &Client, spec: &ops::Spec, input: &Value) -> Reply {
    let mut path = format!("/api/v1{}", spec.path);
    if matches!(spec.verb, Verb::Read | Verb::Remove) {
        path = format!("{path}?{}", query(input));
        return client.send(method(spec.verb), &path, &[], b"").await;
    }
    let body = input.to_string();
    client
        .send(method(spec.verb), &path, &[JSON], body.as_bytes())
        .await
}

#[tokio::test]
async fn every_operation_is_reached_by_socket_and_rest_and_refused_without_its_right() {
    let server = Server::start().await;
    server.add_user(
        "rita",
        "rita-secret-1",
        &["--role", "reader", "--on", "elsewhere"],
    );
    let (admin, rita) = (
        server.admin(),
        server.client(Some(("rita", "rita-secret-1"))),
    );
    let document = server
        .anonymous()
        .get("/api/v1/openapi.json")
        .await
        .expect(200)
        .json();
    let mut listed = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        listed.extend(
            item.as_object()
                .unwrap()
                .keys()
                .map(|m| format!("{} {path}", m.to_uppercase())),
        );
    }
    let mut seen = BTreeSet::new();
    for row in ops::ALL {
        let spec = row.spec();
        assert!(
            seen.insert(spec.name),
            "{} stands twice in the table",
            spec.name
        );
        let place = format!("{} /api/v1{}", method(spec.verb), spec.path);
        assert_eq!(listed.remove(&place), spec.reach == Reach::All, "{place}");
        // What is asked for is wrong, and it is the operation that says so.
        let answer = control(
            &server,
            &json!({"do": spec.name, "input": {"no such field": 1}}),
        );
        assert_eq!(answer["error"]["kind"], "usage", "{}: {answer}", spec.name);
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains("no such field"), "{}: {text}", spec.name);
        if spec.reach == Reach::Control {
            assert_eq!(rest(&admin, &spec).await.status, 403, "{}", spec.name);
            continue;
        }
        let asked = rest_with(&admin, &spec, &input(spec.name)).await;
        let fits = [200, 202, 400, 404, 409, 503].contains(&asked.status);
        assert!(fits, "{}: {} {}", spec.name, asked.status, asked.text());
        let lists = matches!(spec.name, "repo-list" | "snapshot-list");
        let refused = rest_with(&rita, &spec, &input(spec.name)).await.status;
        let none = rest_with(&server.anonymous(), &spec, &input(spec.name)).await;
        if spec.name == "snapshot-list" {
            // About one repository it is no list of all.
            assert_eq!(rita.get("/api/v1/snapshots").await.status, 200);
        }
        let by_anybody = spec.action.name() == "repo.pull" || spec.action.name() == "repo.list";
        if !lists && !by_anybody {
            assert_eq!(refused, 403, "{}", spec.name);
        }
        assert_eq!(none.status, 401, "{}: {}", spec.name, none.text());
        assert!(
            none.header("www-authenticate").starts_with("Basic "),
            "{}",
            spec.name
        );
    }
    assert!(
        listed.is_empty(),
        "described and not in the table: {listed:?}"
    );
    let strange = control(&server, &json!({"do": "no-such-thing", "input": {}}));
    assert_eq!(strange["error"]["kind"], "usage");
}

#[tokio::test]
async fn rest_makes_lists_and_removes() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1.0", 1).await;
    let repos = admin.get("/api/v1/repos").await.expect(200).json();
    assert_eq!(repos["repos"][0]["name"], "team/app");
    let made = admin
        .send(
            "POST",
            "/api/v1/snapshots",
            &[JSON],
            br#"{"of":"team/**","title":"june"}"#,
        )
        .await
        .expect(200)
        .json();
    assert_eq!(made["snapshots"][0]["title"], "june");
    assert_eq!(made["snapshots"][0]["created_by"], ADMIN.0);
    let listed = admin
        .get("/api/v1/snapshots?repo=team/app")
        .await
        .expect(200)
        .json();
    assert_eq!(listed["snapshots"][0]["title"], "june");
    let job = admin
        .send("POST", "/api/v1/gc", &[JSON], b"{}")
        .await
        .expect(202)
        .json();
    let jobs = admin.get("/api/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["jobs"][0]["id"], job["job"]["id"]);
    assert_eq!(jobs["jobs"][0]["who"], ADMIN.0);
    let history = admin
        .get("/api/v1/tag/history?repo=team/app&tag=1.0")
        .await
        .expect(200)
        .json();
    assert_eq!(history["changes"][0]["who"], ADMIN.0);
    admin
        .delete("/api/v1/snapshot?repo=team/app&title=june")
        .await
        .expect(200);
    let gone = admin
        .delete("/api/v1/snapshot?repo=team/app&title=june")
        .await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.header("content-type"), "application/problem+json");
    let problem = gone.json();
    assert_eq!(
        (&problem["status"], &problem["kind"]),
        (&json!(404), &json!("not-found"))
    );
    assert_eq!(problem["request"], gone.header("x-request-id"));
}

#[tokio::test]
async fn rest_takes_json_and_passwords_alone() {
    let server = Server::start().await;
    let admin = server.admin();
    // What a form of another site could send with a person's password.
    let form = admin
        .send(
            "POST",
            "/api/v1/gc",
            &[("content-type", "text/plain")],
            b"{}",
        )
        .await;
    assert_eq!(form.status, 415);
    let broken = admin
        .send("POST", "/api/v1/users", &[JSON], b"{\"name\":\"x\",")
        .await;
    assert_eq!(broken.status, 400, "{}", broken.text());
    assert_eq!(admin.get("/api/v1/nothing").await.status, 404);
    let other = admin.send("PATCH", "/api/v1/repos", &[JSON], b"{}").await;
    assert_eq!((other.status, other.header("allow")), (405, "POST, GET"));
    let query = format!(
        "service={}&scope=registry:catalog:*",
        server.service().await
    );
    let token = admin
        .get(&format!("/v2/auth?{query}"))
        .await
        .expect(200)
        .json();
    let bearer = server.bearer(token["token"].as_str().unwrap());
    assert_eq!(bearer.get("/v2/_catalog").await.status, 200);
    let refused = bearer.get("/api/v1/repos").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").starts_with("Basic "));
}

#[tokio::test]
async fn a_list_shows_what_the_caller_may_see() {
    let server = Server::start_with(&[], &["--mode", "standalone"]).await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1", 1).await;
    push_image(&admin, "secret/app", "1", 2).await;
    for of in ["team/app", "secret/app"] {
        let body = json!({"of": of, "title": "june"}).to_string();
        admin
            .send("POST", "/api/v1/snapshots", &[JSON], body.as_bytes())
            .await
            .expect(200);
    }
    server.add_user(
        "rita",
        "rita-secret-1",
        &["--role", "reader", "--on", "team"],
    );
    let rita = server.client(Some(("rita", "rita-secret-1")));
    let names = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let repos = rita.get("/api/v1/repos").await.expect(200).json();
    assert_eq!(names(&repos["repos"]), ["team/app"]);
    let snapshots = rita.get("/api/v1/snapshots").await.expect(200).json();
    assert_eq!(names(&snapshots["snapshots"]), ["team/app"]);
    assert_eq!(rita.get("/api/v1/repo?name=secret/app").await.status, 403);
    // A role on a prefix holds for patterns below it, and for no other.
    server.add_user(
        "adam",
        "adam-secret-1",
        &["--role", "admin", "--on", "team"],
    );
    let adam = server.client(Some(("adam", "adam-secret-1")));
    for (of, status) in [
        ("team/**", 200),
        ("team/app", 200),
        ("**", 403),
        ("te*/app", 403),
    ] {
        let body = json!({"of": of}).to_string();
        let made = adam
            .send("POST", "/api/v1/snapshots", &[JSON], body.as_bytes())
            .await;
        assert_eq!(made.status, status, "{of}: {}", made.text());
    }
}

/// A folder with docker's own file of logins.
fn logins(home: &Path, host: &str) -> String {
    let auth = basic(ADMIN.0, ADMIN.1);
    let auth = auth.strip_prefix("Basic ").unwrap();
    let text = json!({"auths": {host: {"auth": auth}}}).to_string();
    std::fs::write(home.join("config.json"), text).unwrap();
    home.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_command_asks_another_server_with_a_login() {
    let server = Server::start().await;
    push_image(&server.admin(), "team/app", "1.0", 1).await;
    let url = format!("http://{}", server.host());
    let docker = tempfile::tempdir().unwrap();
    let docker = (logins(docker.path(), &server.host()), docker);
    let ask = |args: &[&str]| {
        let args: Vec<_> = args.iter().copied().chain(["--server", &url]).collect();
        dryport(&args)
            .env("DOCKER_CONFIG", &docker.0)
            .output()
            .unwrap()
    };
    let list = ask(&["repo", "list", "--json"]);
    assert!(list.status.success(), "{}", text_of(&list));
    let here = run_ok(&["repo", "list", "--json", "--data", &server.dir()]);
    assert_eq!(String::from_utf8(list.stdout).unwrap(), here);
    for args in [
        &["snapshot", "create", "team/app", "--as", "june"][..],
        &["snapshot", "show", "team/app@june"],
        &["snapshot", "diff", "team/app@june", "team/app"],
        &["tag", "history", "team/app:1.0"],
        &["tag", "list", "team/app"],
        &["quota", "set", "team", "1GiB"],
        &["quota", "list"],
        &["user", "grant", "ci", "--role", "admin"],
        &["user", "list"],
        &["gc"],
        &["job", "list"],
        &["snapshot", "delete", "team/app@june"],
    ] {
        let output = ask(args);
        assert!(output.status.success(), "{args:?}: {}", text_of(&output));
    }
    let gone = ask(&["snapshot", "delete", "team/app@june"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text_of(&gone).contains(&server.host()),
        "{}",
        text_of(&gone)
    );
    let stranger = dryport(&["job", "list", "--server", &url]);
    let refused = { stranger }
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text_of(&refused));
}
