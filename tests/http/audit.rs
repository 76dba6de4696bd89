//! The audit trail: each change leaves its row, refusals are gathered, pulls are counted, and what was tampered with is found.

use std::collections::BTreeSet;
use std::path::Path;

use dryport::app::ops::{self, Verb};
use dryport::store::{Get as _, Lane, Need, Store, StoreOptions, Table, Txn};
use serde_json::{Value, json};

use super::api::{control, input, rest_with};
use crate::harness::content::{push_image, sha256};
use crate::harness::{ADMIN, Server, run, run_ok, text_of, until};

/// Rows of the trail, the oldest first.
fn rows(server: &Server, filters: &[&str]) -> Vec<Value> {
    let data = server.data();
    let mut args = vec!["audit", "list", "--json", "--limit", "1000", "--data"];
    args.push(data.to_str().unwrap());
    args.extend(filters);
    let rows: Value = serde_json::from_str(&run_ok(&args)).unwrap();
    rows.as_array().unwrap().clone()
}

fn count(rows: &[Value]) -> u64 {
    rows.iter().map(|row| row["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn every_operation_that_changes_leaves_its_row() {
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
    let mut changing = BTreeSet::new();
    for spec in ops::ALL.iter().map(ops::Declared::spec) {
        rest_with(&admin, &spec, &input(spec.name)).await;
        rest_with(&rita, &spec, &input(spec.name)).await;
        if spec.verb != Verb::Read {
            control(
                &server,
                &json!({"do": spec.name, "input": input(spec.name)}),
            );
            changing.insert(spec.name);
        }
    }
    let of = |rows: &[Value]| -> BTreeSet<String> {
        rows.iter()
            .map(|row| row["action"].as_str().unwrap().to_owned())
            .collect()
    };
    let by_rita = of(&rows(
        &server,
        &["--account", "rita", "--outcome", "denied"],
    ));
    let all = of(&rows(&server, &[]));
    for spec in ops::ALL.iter().map(ops::Declared::spec) {
        let lists = matches!(spec.name, "repo-list" | "snapshot-list");
        if !spec.action.name().starts_with("repo.") && !lists {
            // What only the operator may do is refused before it is known which operation it is.
            let known = by_rita.contains(spec.name) || by_rita.contains(spec.action.name());
            assert!(known, "{} {by_rita:?}", spec.name);
        }
    }
    for name in &changing {
        // These need a descriptor, or what is not made here: their inputs are refused before they begin.
        if !matches!(*name, "file-push" | "check-run" | "check-refetch") {
            assert!(all.contains(*name), "{name} {all:?}");
        }
    }
    let text = serde_json::to_string(&rows(&server, &[])).unwrap();
    assert!(!text.contains("a long enough secret"), "{text}");
}

/// Changes that succeed, one of each operation, in an order in which they can.
fn changes(job: &Value) -> Vec<(&'static str, Value)> {
    let app = |more: &Value| -> Value {
        let mut all = json!({"repo": "team/app"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let ann = json!({"role": "reader", "prefix": "team"});
    vec![
        ("repo-create", json!({"name": "files/x", "kind": "file"})),
        (
            "repo-set",
            json!({"name": "team/app", "change": {"keep": {"ms": 3_600_000}, "attachments": null}}),
        ),
        (
            "snapshot-create",
            json!({"of": "team/app", "title": "june"}),
        ),
        (
            "snapshot-hold",
            app(&json!({"title": "june", "held": true})),
        ),
        (
            "snapshot-hold",
            app(&json!({"title": "june", "held": false})),
        ),
        ("tag-delete", app(&json!({"tag": "1"}))),
        ("tag-restore", app(&json!({"tag": "1", "rev": 1}))),
        (
            "snapshot-restore",
            json!({"of": "team/app", "reference": "june"}),
        ),
        ("snapshot-delete", app(&json!({"title": "june"}))),
        (
            "quota-set",
            json!({"prefix": "team", "limit": 1_000_000_000}),
        ),
        ("quota-remove", json!({"prefix": "team"})),
        (
            "user-add",
            json!({"name": "ann", "password": "a long enough secret", "grants": [ann]}),
        ),
        (
            "user-grant",
            json!({"name": "ann", "grant": {"role": "writer", "prefix": "team"}}),
        ),
        ("user-revoke", json!({"name": "ann", "prefix": "team"})),
        (
            "user-passwd",
            json!({"name": "ann", "password": "another long secret"}),
        ),
        ("user-remove", json!({"name": "ann"})),
        (
            "schedule-mirror",
            json!({"job": job, "schedule": {"every_ms": 3_600_000_000_u64, "jitter_ms": 0}}),
        ),
        ("schedule-remove", json!({"id": 1})),
        ("gc-sweep", json!({})),
        (
            "upstream-add",
            json!({"name": "far", "urls": ["https://far.example"], "prefix": "far.example"}),
        ),
        (
            "upstream-set",
            json!({"name": "far", "settings": {"offline": true}}),
        ),
        ("upstream-remove", json!({"name": "far"})),
        ("repo-delete", json!({"name": "files/x"})),
    ]
}

#[tokio::test]
async fn a_change_is_told_of_with_who_asked_from_where() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1", 1).await;
    let mut job = input("mirror-run");
    job["detach"] = true.into();
    let mut done = BTreeSet::new();
    for (name, input) in changes(&job) {
        let spec = ops::named(name).unwrap().spec();
        let reply = rest_with(&admin, &spec, &input).await;
        assert!(reply.status < 300, "{name}: {}", reply.text());
        let request = reply.header("x-request-id").to_owned();
        let found = rows(&server, &["--request", &request]);
        assert!(!found.is_empty(), "{name}");
        for row in &found {
            let is = |field: &str, value: &str| assert_eq!(row[field], value, "{name}: {row}");
            is("action", name);
            is("account", ADMIN.0);
            is("outcome", "success");
            is("address", "127.0.0.1");
            assert_eq!(row["account_id"].as_str().unwrap().len(), 16);
            assert_eq!(row["roles"], json!(["admin"]));
        }
        done.insert(name);
    }
    // A job that fails, is cancelled and tried again.
    let spec = ops::named("mirror-run").unwrap().spec();
    let begun = rest_with(&admin, &spec, &job).await.expect(202).json();
    let id = &begun["job"]["id"];
    for name in ["job-cancel", "job-retry"] {
        let spec = ops::named(name).unwrap().spec();
        until("the job can be told", crate::harness::SOON, async || {
            rest_with(&admin, &spec, &json!({"id": id})).await.status < 300
        })
        .await;
        assert!(
            !rows(&server, &["--action", name, "--outcome", "success"]).is_empty(),
            "{name}"
        );
        done.insert(name);
    }
    let resource = format!("job:{id}");
    assert!(
        !rows(
            &server,
            &["--action", "mirror-run", "--resource", &resource]
        )
        .is_empty()
    );
    done.insert("mirror-run");
    let file = server.data().join("../told.txt");
    std::fs::write(&file, "x").unwrap();
    let data = server.data();
    let of = ["--data", data.to_str().unwrap()];
    run_ok(&[&["repo", "create", "files/y", "--kind", "file"], &of[..]].concat());
    run_ok(
        &[
            &["push", file.to_str().unwrap(), "files/y/told.txt"],
            &of[..],
        ]
        .concat(),
    );
    run_ok(&[&["check", "--repair"], &of[..]].concat());
    for (name, account) in [("file-push", "operator"), ("check-run", "operator")] {
        let found = rows(&server, &["--action", name, "--outcome", "success"]);
        assert_eq!(found[0]["account"], account, "{found:?}");
        done.insert(name);
    }
    let all = ops::ALL.iter().map(ops::Declared::spec);
    let missing: Vec<_> = all
        .filter(|spec| spec.verb != Verb::Read && !done.contains(spec.name))
        .map(|spec| spec.name)
        .collect();
    // The first mends damage only, and has a row by the walk of the table; the second asks, and changes nothing.
    assert_eq!(missing, ["check-refetch", "upstream-test"]);
}

#[tokio::test]
async fn what_was_acknowledged_has_its_row_after_a_kill() {
    let mut server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1", 1).await;
    push_image(&admin, "team/app", "2", 2).await;
    let deleted = admin.delete("/v2/team/app/manifests/2").await.expect(202);
    let request = deleted.header("x-request-id").to_owned();
    let loose = crate::harness::content::push_blob(&admin, "team/app", b"a loose blob").await;
    let gone = admin
        .delete(&format!("/v2/team/app/blobs/{loose}"))
        .await
        .expect(202);
    let gone = gone.header("x-request-id").to_owned();
    server.kill();
    server.restart().await;
    let found = rows(&server, &["--request", &gone]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["resource"], format!("team/app@{loose}"));
    let mut pushed = rows(
        &server,
        &["--action", "repo.push", "--resource", "team/app"],
    );
    // The first upload made the repository.
    assert!(
        pushed.remove(0)["input"]
            .as_str()
            .unwrap()
            .contains("/blobs/uploads/")
    );
    assert_eq!(pushed.len(), 2, "{pushed:?}");
    for (row, tag) in pushed.iter().zip(["1", "2"]) {
        assert_eq!(row["input"], format!("PUT /v2/team/app/manifests/{tag}"));
        assert_eq!(row["account"], ADMIN.0);
    }
    let found = rows(&server, &["--request", &request]);
    assert_eq!(
        (found.len(), &found[0]["action"]),
        (1, &json!("repo.delete"))
    );
    assert_eq!(found[0]["outcome"], "success");
}

#[tokio::test]
async fn refusals_are_gathered_and_an_asked_password_is_none() {
    let server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1", 1).await;
    server.add_user("rita", "rita-secret-1", &["--role", "reader"]);
    let (rita, nobody) = (
        server.client(Some(("rita", "rita-secret-1"))),
        server.anonymous(),
    );
    for _ in 0..50 {
        rita.delete("/v2/team/app/manifests/1").await.expect(403);
        nobody.delete("/v2/team/app/manifests/1").await.expect(401);
    }
    server
        .client(Some(("ann", "no such password")))
        .get("/v2/")
        .await
        .expect(401);
    admin
        .send("PUT", "/v2/team/app/manifests/1", &[], b"no manifest")
        .await;
    let denied = rows(&server, &["--account", "rita"]);
    assert_eq!(count(&denied), 50, "{denied:?}");
    assert!(denied.len() <= 5, "{denied:?}");
    assert_eq!(
        (&denied[0]["status"], &denied[0]["outcome"]),
        (&json!(403), &json!("denied"))
    );
    assert_eq!(denied[0]["resource"], "team/app");
    let strangers = rows(&server, &["--action", "repo.delete", "--account", ""]);
    assert!(strangers.is_empty(), "{strangers:?}");
    let logins = rows(&server, &["--action", "login"]);
    assert_eq!(
        (logins.len(), &logins[0]["resource"]),
        (1, &json!("user:ann"))
    );
    let form = b"grant_type=password&service=x&username=bob&password=no+such+thing";
    let sent = [("content-type", "application/x-www-form-urlencoded")];
    nobody
        .send("POST", "/v2/auth", &sent, form)
        .await
        .expect(401);
    let logins = rows(&server, &["--action", "login", "--resource", "user:bob"]);
    assert_eq!((logins.len(), &logins[0]["status"]), (1, &json!(401)));
    let data = server.data();
    let data = data.to_str().unwrap();
    run_ok(&[
        "repo",
        "create",
        "team/files",
        "--kind",
        "file",
        "--data",
        data,
    ]);
    rita.send("PUT", "/r/team/files/a", &[], b"x")
        .await
        .expect(403);
    let denied = rows(&server, &["--account", "rita", "--resource", "team/files"]);
    assert_eq!((denied.len(), &denied[0]["outcome"]), (1, &json!("denied")));
    let failed = rows(&server, &["--outcome", "error"]);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (&failed[0]["status"], &failed[0]["account"]),
        (&json!(400), &json!(ADMIN.0))
    );
}

#[tokio::test]
async fn pulls_are_counted_by_account_address_and_content() {
    let server = Server::start().await;
    let admin = server.admin();
    let digest = sha256(&push_image(&admin, "team/app", "1", 1).await);
    server.add_user("rita", "rita-secret-1", &["--role", "reader"]);
    let (rita, nobody) = (
        server.client(Some(("rita", "rita-secret-1"))),
        server.anonymous(),
    );
    for _ in 0..7 {
        rita.get("/v2/team/app/manifests/1").await.expect(200);
        nobody.get("/v2/team/app/manifests/1").await.expect(200);
        nobody.get("/v2/team/app/manifests/1").await.expect(200);
        rita.send("HEAD", "/v2/team/app/manifests/1", &[], b"")
            .await
            .expect(200);
        let tag = format!("\"{digest}\"");
        rita.send(
            "GET",
            "/v2/team/app/manifests/1",
            &[("if-none-match", &tag)],
            b"",
        )
        .await
        .expect(304);
    }
    let resource = format!("team/app@{digest}");
    let of = |account: &str| {
        rows(
            &server,
            &[
                "--action",
                "pull",
                "--account",
                account,
                "--resource",
                &resource,
            ],
        )
    };
    // A minute may have ended meanwhile.
    assert_eq!((count(&of("rita")), count(&of(""))), (7, 14));
    let brought = rows(&server, &["--action", "blob.push", "--account", ADMIN.0]);
    // The first made the repository, and stands for that.
    assert_eq!(count(&brought), 1, "{brought:?}");
    assert!(of("rita").len() <= 2);
    assert_eq!(of("rita")[0]["roles"], json!(["reader"]));
    assert_eq!(of("rita")[0]["account_id"].as_str().unwrap().len(), 16);
}

/// Opens the metadata of a server that is stopped, and changes it.
fn tampered(
    data: &Path,
    change: impl FnMut(&mut Txn<'_>) -> Result<(), dryport::store::StoreError> + Send + 'static,
) {
    let store = Store::open(StoreOptions {
        dir: data.to_owned(),
        cache_bytes: 8 << 20,
        slow: std::time::Duration::from_secs(10),
        holder: "a test".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    })
    .unwrap();
    store
        .write_blocking(Lane::Request, Need::Keeps, "test", change)
        .unwrap();
    store.close();
}

#[tokio::test]
async fn a_row_that_is_taken_away_is_found() {
    let mut server = Server::start().await;
    let admin = server.admin();
    push_image(&admin, "team/app", "1", 1).await;
    assert!(!rows(&server, &[]).is_empty());
    server.kill();
    let data = server.data();
    let verify = ["audit", "verify", "--data", data.to_str().unwrap()];
    assert!(run_ok(&verify).contains("Nothing is wrong"));
    tampered(&data, |tx| {
        let rows = tx.scan(Table::Audit, &[0], &[1], 1)?;
        tx.delete(Table::Audit, &rows[0].0)
    });
    let found = run(&verify);
    assert_eq!(found.status.code(), Some(4), "{}", text_of(&found));
    assert!(
        text_of(&found).contains("the head of the trail counts"),
        "{}",
        text_of(&found)
    );
    let found = run(&[&verify[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(report["damage"].as_array().unwrap().len(), 1, "{report:#}");
}

#[tokio::test]
async fn an_export_is_whole_and_no_cell_is_a_formula() {
    let server = Server::start().await;
    let admin = server.admin();
    for n in 0..12 {
        let repo = format!("team/app{n}");
        push_image(&admin, &repo, "1", n).await;
    }
    let sent = [("user-agent", "=cmd()")];
    admin
        .send("DELETE", "/v2/team/app1/manifests/1", &sent, b"")
        .await
        .expect(202);
    let data = server.data();
    let export = |more: &[&str]| {
        run_ok(&[&["audit", "export", "--data", data.to_str().unwrap()], more].concat())
    };
    let lines: Vec<Value> = export(&[])
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines, rows(&server, &[]));
    let csv = export(&["--format", "csv"]);
    let head = "id,time,account_id,account,roles,action,resource,outcome,address,user_agent,request_id,input,status,error,duration_ms,count";
    assert_eq!(csv.lines().next(), Some(head));
    assert_eq!(csv.lines().count(), lines.len() + 1);
    assert!(csv.contains(",'=cmd(),"), "{csv}");
    let wrong = run(&["audit", "list", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text_of(&wrong));
}
