//! The setting by which a mirror takes nothing from its own site, or takes it again (`repo set --attachments`).

use serde_json::{Value, json};

use crate::formats::oci::attach::{NAME, Site, at, note, put};
use crate::harness::content::{OCI_MANIFEST, noise, push_blob, sha256};
use crate::harness::fake::tag_of;
use crate::harness::{run, run_ok, text_of, with_query};

#[tokio::test]
async fn the_setting_closes_a_mirror_and_opens_it_again() {
    let mut site = Site::start("30d").await;
    let writer = site.server.admin();
    let (tag, dir) = (tag_of(&site.image.digest, ".sig"), site.server.dir());
    let document = note(&writer, &site.image.bytes, "one").await;
    let begun = writer.post(&format!("/v2/{NAME}/blobs/uploads/")).await;
    let session = begun.expect(202).location();
    writer
        .send("PATCH", &session, &[], &noise(3, 5000))
        .await
        .expect(202);
    assert_eq!(site.shown()["attachments"], json!(true));
    site.set("off");
    for restart in [false, true] {
        if restart {
            site.server.kill();
            site.server.restart().await;
        }
        assert_eq!(site.shown()["attachments"], json!(false));
        let put_end = with_query(&session, &format!("digest={}", sha256(&noise(3, 5000))));
        for (method, path) in [
            ("POST", format!("/v2/{NAME}/blobs/uploads/")),
            (
                "POST",
                format!("/v2/{NAME}/blobs/uploads/?mount={}", site.image.digest),
            ),
            ("GET", session.clone()),
            ("PATCH", session.clone()),
            ("PUT", put_end.clone()),
            ("DELETE", session.clone()),
            ("PUT", at(&sha256(&document))),
            ("PUT", at(&tag)),
        ] {
            let body = if path == at(&sha256(&document)) {
                &document[..]
            } else {
                b"x"
            };
            let reply = writer
                .send(method, &path, &[("content-type", OCI_MANIFEST)], body)
                .await;
            let text = reply.refused(403, "DENIED").text();
            assert!(text.contains("--attachments on"), "{method} {path}: {text}");
        }
    }
    let show = run_ok(&["repo", "show", NAME, "--data", &dir]);
    assert!(show.contains("Attachments off"), "{show}");
    site.set("on");
    assert!(run_ok(&["repo", "show", NAME, "--data", &dir]).contains("Attachments on"));
    put(&writer, &sha256(&document), OCI_MANIFEST, &document)
        .await
        .expect(201);
    // The upload stands as it was.
    let end = with_query(&session, &format!("digest={}", sha256(&noise(3, 5000))));
    writer.send("PUT", &end, &[], b"").await.expect(201);
    let log = site.server.log();
    let line = log
        .lines()
        .filter(|l| l.contains("repo.set"))
        .collect::<Vec<_>>();
    assert!(line.len() == 2 && line[0].contains(NAME), "{line:?}");
    assert!(
        line[0].contains("\"attachments\":false") && line[1].contains("\"attachments\":true"),
        "{line:?}"
    );
    site.assert_sound();
}

#[tokio::test]
async fn the_setting_is_of_mirrors_alone_and_goes_with_the_other() {
    let site = Site::start("30d").await;
    let dir = site.server.dir();
    push_blob(&site.server.admin(), "team/app", b"{}").await;
    let set = |more: &[&str]| run(&[&["repo", "set", "--data", dir.as_str()], more].concat());
    // Nothing of a change that cannot be made whole is made.
    let output = set(&["team/app", "--attachments", "off", "--history-keep", "5d"]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("no mirror"),
        "{}",
        text_of(&output)
    );
    let shown: Value = serde_json::from_str(&run_ok(&[
        "repo", "show", "team/app", "--json", "--data", &dir,
    ]))
    .unwrap();
    assert_eq!(
        (&shown["attachments"], &shown["keep_ms"]),
        (&json!(null), &json!(null))
    );
    for (args, code) in [
        (&[NAME][..], 2),
        (&[NAME, "--attachments", "maybe"], 2),
        (&["none", "--attachments", "on"], 1),
    ] {
        let output = set(args);
        assert_eq!(output.status.code(), Some(code), "{}", text_of(&output));
    }
    let both = set(&[NAME, "--attachments", "off", "--history-keep", "5d"]);
    assert!(both.status.success(), "{}", text_of(&both));
    let shown = site.shown();
    assert_eq!(
        (&shown["attachments"], &shown["keep_ms"]),
        (&json!(false), &json!(432_000_000))
    );
    let default = set(&[NAME, "--history-keep", "default"]);
    assert!(default.status.success(), "{}", text_of(&default));
    let shown = site.shown();
    assert_eq!(
        (&shown["attachments"], &shown["keep_ms"]),
        (&json!(false), &json!(null))
    );
}
