//! What a mirror takes from its own site: signatures and other documents that are attached to what it has, and nothing that
//! could stand for an image. Its later runs leave them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::core::quota::exact as quota;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, SCHEMA2, artifact, bytes_of, descriptor, image, noise, push_blob,
    put_manifest, sha256,
};
use crate::harness::damage;
use crate::harness::fake::{Fake, Image, tag_of};
use crate::harness::{Client, Reply, Server, init, run, run_ok, text_of, with_query};

pub const NAME: &str = "copy/app";

/// A server that sweeps when it is told to, and a registry that it mirrors from.
pub struct Site {
    pub fake: Fake,
    pub server: Server,
    pub image: Image,
}

impl Site {
    /// Leases of a second.
    pub async fn start(keep: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        init(&home.path().join("data"), &[]);
        let env = [
            ("DRYPORT_GC__INTERVAL", "0s"),
            ("DRYPORT_BLOBS__LEASE", "1s"),
            ("DRYPORT_HISTORY__KEEP", keep),
        ];
        let fake = Fake::start();
        let site = Self {
            image: fake.image("v1", "amd64", 1, 3000),
            server: Server::serve(home, &[], &env).await,
            fake,
        };
        site.mirror();
        site
    }

    /// A run of the image; its report.
    pub fn mirror(&self) -> Value {
        self.mirror_from(":v1")
    }

    pub fn mirror_from(&self, reference: &str) -> Value {
        let (dir, source) = (self.server.dir(), self.fake.source(reference));
        let args = ["mirror", "--data", &dir, &source, "--to", NAME, "--json"];
        serde_json::from_str(&run_ok(&args)).unwrap()
    }

    pub fn gc(&self, more: &[&str]) {
        let dir = self.server.dir();
        run_ok(&[&["gc", "--data", dir.as_str()], more].concat());
    }

    pub fn set(&self, attachments: &str) {
        let dir = self.server.dir();
        let args = [
            "repo",
            "set",
            NAME,
            "--attachments",
            attachments,
            "--data",
            &dir,
        ];
        run_ok(&args);
    }

    /// The JSON of `repo show`.
    pub fn shown(&self) -> Value {
        let dir = self.server.dir();
        let shown = run_ok(&["repo", "show", NAME, "--json", "--data", &dir]);
        serde_json::from_str(&shown).unwrap()
    }

    /// Sweeps until the answer to this path has the status.
    pub async fn sweep_until(&self, path: &str, status: u16) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            self.gc(&[]);
            let now = self.server.admin().get(path).await.status;
            if now == status {
                return;
            }
            assert!(Instant::now() < end, "{path} answers {now}, not {status}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn assert_sound(&self) {
        let (code, report) = damage::check(&self.server.data(), &["--deep"]);
        assert_eq!((code, &report["problems"]), (0, &json!([])), "{report:#}");
    }
}

/// The path of a manifest.
pub fn at(reference: &str) -> String {
    format!("/v2/{NAME}/manifests/{reference}")
}

pub async fn put(client: &Client, reference: &str, media_type: &str, bytes: &[u8]) -> Reply {
    let headers = [("content-type", media_type)];
    client.send("PUT", &at(reference), &headers, bytes).await
}

/// A document that refers to a manifest, with its blob; its bytes.
pub async fn note(client: &Client, subject: &[u8], text: &str) -> Vec<u8> {
    push_blob(client, NAME, b"{}").await;
    let kind = "application/vnd.example.signature";
    bytes_of(&artifact(&descriptor(OCI_MANIFEST, subject), kind, text))
}

/// An index of these manifests.
pub fn list(of: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<Value> = of.iter().map(|m| descriptor(OCI_MANIFEST, m)).collect();
    bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
}

fn assert_refused(reply: Reply, why: &str) {
    let text = reply.refused(403, "DENIED").text();
    assert!(
        text.contains("is a mirror") && text.contains(why),
        "{why}: {text}"
    );
}

#[tokio::test]
async fn a_mirror_takes_what_is_attached_to_its_images() {
    let site = Site::start("30d").await;
    let (writer, image) = (site.server.admin(), &site.image);
    // Blobs, by every way there is.
    let octets = ("content-type", "application/octet-stream");
    let bytes = noise(20, 200_000);
    let begun = writer.post(&format!("/v2/{NAME}/blobs/uploads/")).await;
    let session = begun.expect(202).location();
    let part = writer
        .send("PATCH", &session, &[octets], &bytes[..100_000])
        .await;
    assert_eq!(part.expect(202).header("range"), "0-99999");
    assert_eq!(
        writer.get(&session).await.expect(204).header("range"),
        "0-99999"
    );
    let end = with_query(&session, &format!("digest={}", sha256(&bytes)));
    writer
        .send("PUT", &end, &[octets], &bytes[100_000..])
        .await
        .expect(201);
    let blob = format!("/v2/{NAME}/blobs/{}", sha256(&bytes));
    assert_eq!(writer.get(&blob).await.expect(200).body, bytes);
    let begun = writer.post(&format!("/v2/{NAME}/blobs/uploads/")).await;
    writer
        .delete(&begun.expect(202).location())
        .await
        .expect(204);
    push_blob(&writer, "team/other", b"to be mounted").await;
    let mount = format!(
        "/v2/{NAME}/blobs/uploads/?mount={}&from=team/other",
        sha256(b"to be mounted")
    );
    writer.post(&mount).await.expect(201);
    // A document by digest, and one that refers to that.
    let first = note(&writer, &image.bytes, "one").await;
    let reply = put(&writer, &sha256(&first), OCI_MANIFEST, &first)
        .await
        .expect(201);
    assert_eq!(reply.header("oci-subject"), image.digest);
    let second = note(&writer, &first, "of one").await;
    put(&writer, &sha256(&second), OCI_MANIFEST, &second)
        .await
        .expect(201);
    // cosign's tags, and the list of referrers.
    for ending in [".sig", ".att", ".sbom"] {
        let signature = bytes_of(&crate::harness::content::image(b"{}", &[ending.as_bytes()]));
        push_blob(&writer, NAME, ending.as_bytes()).await;
        let tag = tag_of(&image.digest, ending);
        put(&writer, &tag, OCI_MANIFEST, &signature)
            .await
            .expect(201);
        assert_eq!(writer.get(&at(&tag)).await.expect(200).body, signature);
    }
    let tag = tag_of(&image.digest, "");
    for entries in [&[][..], &[&first], &[]] {
        let index = list(&entries.iter().map(|e| e.as_slice()).collect::<Vec<_>>());
        put(&writer, &tag, OCI_INDEX, &index).await.expect(201);
        assert_eq!(writer.get(&at(&tag)).await.expect(200).body, index);
    }
    // What refers to the image may lie there itself, and tags may come beside a digest.
    let direct = note(&writer, &image.bytes, "direct").await;
    put(&writer, &tag, OCI_MANIFEST, &direct).await.expect(201);
    let both = format!("{}?tag={tag}&tag={tag}.sig", sha256(&direct));
    put(&writer, &both, OCI_MANIFEST, &direct).await.expect(201);
    // Everybody sees it, and the image is as it was.
    let anyone = site.server.anonymous();
    let path = format!("/v2/{NAME}/referrers/{}", image.digest);
    let listed = anyone.get(&path).await.expect(200).json();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(anyone.get(&at("v1")).await.expect(200).body, image.bytes);
    let refused = put(&anyone, &sha256(&first), OCI_MANIFEST, &first).await;
    assert_eq!(refused.status, 401);
    site.assert_sound();
}

#[tokio::test]
async fn a_mirror_takes_nothing_else() {
    let site = Site::start("30d").await;
    let (writer, image) = (site.server.admin(), &site.image);
    let attached = note(&writer, &image.bytes, "attached").await;
    put(&writer, &sha256(&attached), OCI_MANIFEST, &attached)
        .await
        .expect(201);
    let absent = note(&writer, b"not here", "of nothing").await;
    let other = bytes_of(&crate::harness::content::image(b"{}", &[]));
    let tag = tag_of(&image.digest, "");
    let of_nothing = tag_of(&sha256(b"not here"), "");
    let nested = list(&[&attached, &other]);
    let wanted = list(&[b"never pushed"]);
    for (reference, kind, bytes, why) in [
        (sha256(&other), OCI_MANIFEST, &other, "has no subject"),
        (sha256(&absent), OCI_MANIFEST, &absent, "is not here"),
        ("v1".into(), OCI_MANIFEST, &other, "v1 is no such tag"),
        ("v1".into(), OCI_MANIFEST, &attached, "v1 is no such tag"),
        (
            "mine".into(),
            OCI_MANIFEST,
            &attached,
            "mine is no such tag",
        ),
        (of_nothing.clone(), OCI_INDEX, &list(&[]), "is not here"),
        (
            format!("{of_nothing}.sig"),
            OCI_MANIFEST,
            &other,
            "is not here",
        ),
        (format!("{tag}.other"), OCI_MANIFEST, &other, "no such tag"),
        (tag.to_uppercase(), OCI_MANIFEST, &other, "no such tag"),
        (tag.clone(), OCI_MANIFEST, &other, "must be an index"),
        (tag.clone(), OCI_MANIFEST, &image.bytes, "must be an index"),
        (tag.clone(), OCI_INDEX, &nested, "does not refer"),
        (tag.clone(), OCI_INDEX, &wanted, "does not refer"),
        (
            tag.clone(),
            OCI_INDEX,
            &list(&[&image.bytes]),
            "does not refer",
        ),
        (
            format!("{}?tag=v1", sha256(&attached)),
            OCI_MANIFEST,
            &attached,
            "v1",
        ),
        (format!("{tag}.sig?tag=v2"), OCI_MANIFEST, &attached, "v2"),
        (
            format!("{tag}?tag={tag}.sig"),
            OCI_MANIFEST,
            &other,
            "must be an index",
        ),
    ] {
        assert_refused(put(&writer, &reference, kind, bytes).await, why);
    }
    // Nor can it make another manifest of the same bytes, by another type.
    let mut bare = image.value.clone();
    bare.as_object_mut().unwrap().remove("mediaType");
    let bare = bytes_of(&bare);
    site.fake.manifest("bare", OCI_MANIFEST, &bare);
    site.mirror_from(":bare");
    let reply = put(&writer, &format!("{tag}.sig"), SCHEMA2, &bare).await;
    assert_refused(reply, "is here as");
    let kept = writer.get(&at(&sha256(&bare))).await.expect(200);
    assert_eq!(kept.header("content-type"), OCI_MANIFEST);
    // What the path says is enough: the body is not waited for.
    let begun = Instant::now();
    let auth = crate::harness::basic(crate::harness::ADMIN.0, crate::harness::ADMIN.1);
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth}\r\nContent-Length: 100000\r\nContent-Type: {OCI_MANIFEST}\r\n\r\n",
        at("v1")
    );
    let answer = site.server.raw(head.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 403"),
        "{answer} {:?}",
        begun.elapsed()
    );
    let tags = writer
        .get(&format!("/v2/{NAME}/tags/list"))
        .await
        .expect(200)
        .json();
    assert_eq!(tags["tags"], json!(["bare", "v1"]));
    assert_eq!(writer.get(&at("v1")).await.expect(200).body, image.bytes);
    site.assert_sound();
}

#[tokio::test]
async fn later_runs_leave_what_was_attached_here() {
    let site = Site::start("30d").await;
    let (writer, image) = (site.server.admin(), &site.image);
    let (sig_tag, list_tag) = (tag_of(&image.digest, ".sig"), tag_of(&image.digest, ""));
    let document = note(&writer, &image.bytes, "ours").await;
    put(&writer, &sha256(&document), OCI_MANIFEST, &document)
        .await
        .expect(201);
    let index = list(&[&document]);
    put(&writer, &list_tag, OCI_INDEX, &index).await.expect(201);
    let ours = bytes_of(&crate::harness::content::image(b"{}", &[]));
    put(&writer, &sig_tag, OCI_MANIFEST, &ours)
        .await
        .expect(201);
    // The other registry has as much by now, and keeps its list under the tag.
    let theirs = site.fake.image(&sig_tag, "amd64", 2, 300);
    let attestation = site
        .fake
        .image(&tag_of(&image.digest, ".att"), "amd64", 3, 300);
    let their_note = site.fake.referrer(&image.bytes, "theirs");
    site.fake
        .index(&list_tag, &[descriptor(OCI_MANIFEST, &their_note)]);
    for run in 0..2 {
        let report = site.mirror();
        let kept = json!([{"tag": sig_tag, "here": sha256(&ours), "upstream": theirs.digest}]);
        assert_eq!(report["kept_tags"], kept, "{run}: {report}");
        assert_eq!(report["kept_tags_count"], 1, "{report}");
        let tags = report["tags"].as_array().unwrap();
        assert!(
            !tags.contains(&json!(sig_tag)) && tags.contains(&json!("v1")),
            "{report}"
        );
        assert_eq!(writer.get(&at(&sig_tag)).await.expect(200).body, ours);
        assert_eq!(writer.get(&at(&list_tag)).await.expect(200).body, index);
        assert_eq!(
            writer.get(&at(&theirs.digest)).await.expect(200).body,
            theirs.bytes
        );
        let att = writer
            .get(&at(&tag_of(&image.digest, ".att")))
            .await
            .expect(200);
        assert_eq!(att.body, attestation.bytes);
        let path = format!("/v2/{NAME}/referrers/{}", image.digest);
        let listed = writer.get(&path).await.expect(200).json();
        assert_eq!(listed["manifests"].as_array().unwrap().len(), 2, "{listed}");
    }
    let (dir, source) = (site.server.dir(), site.fake.source(":v1"));
    let output = run(&["mirror", "--data", &dir, &source, "--to", NAME]);
    let text = text_of(&output);
    for part in [&sig_tag, &sha256(&ours), &theirs.digest, "was moved here"] {
        assert!(
            output.status.success() && text.contains(part),
            "{part}: {text}"
        );
    }
    // Also where the list itself is asked for, and where the image has moved on.
    let report = site.mirror_from(&format!(":{list_tag}"));
    assert_eq!(report["kept_tags"][0]["tag"], json!(list_tag), "{report}");
    assert_eq!(report["tags"], json!([]), "{report}");
    let moved = site.fake.image("v1", "amd64", 9, 3000);
    site.mirror();
    assert_eq!(writer.get(&at("v1")).await.expect(200).body, moved.bytes);
    assert_eq!(writer.get(&at(&sig_tag)).await.expect(200).body, ours);
    // What was taken away here comes from there.
    writer.delete(&at(&sig_tag)).await.expect(202);
    let report = site.mirror_from(&format!("@{}", image.digest));
    assert_eq!(report["kept_tags_count"], 0, "{report}");
    assert_eq!(
        writer.get(&at(&sig_tag)).await.expect(200).body,
        theirs.bytes
    );
    site.assert_sound();
}

#[tokio::test]
async fn an_upload_into_a_mirror_goes_on_after_a_kill() {
    let mut site = Site::start("30d").await;
    let writer = site.server.admin();
    let bytes = noise(5, 300_000);
    let begun = writer.post(&format!("/v2/{NAME}/blobs/uploads/")).await;
    let session = begun.expect(202).location();
    writer
        .send("PATCH", &session, &[], &bytes[..200_000])
        .await
        .expect(202);
    site.server.kill();
    site.server.restart().await;
    assert_eq!(
        writer.get(&session).await.expect(204).header("range"),
        "0-199999"
    );
    site.mirror();
    let end = with_query(&session, &format!("digest={}", sha256(&bytes)));
    writer
        .send("PUT", &end, &[], &bytes[200_000..])
        .await
        .expect(201);
    site.assert_sound();
}

#[tokio::test]
async fn what_was_attached_here_is_kept_counted_restored_and_removed_as_the_rest() {
    let site = Site::start("30d").await;
    let (writer, image) = (site.server.admin(), &site.image);
    let tag = tag_of(&image.digest, ".sig");
    quota::set(&site.server, "copy", "1MiB");
    let before = quota::figure(&site.server, "copy", "used");
    let document = note(&writer, &image.bytes, "one").await;
    put(&writer, &sha256(&document), OCI_MANIFEST, &document)
        .await
        .expect(201);
    let signature = bytes_of(&crate::harness::content::image(b"{}", &[]));
    put(&writer, &tag, OCI_MANIFEST, &signature)
        .await
        .expect(201);
    let added = (b"{}".len() + document.len() + signature.len()) as u64;
    assert_eq!(quota::figure(&site.server, "copy", "used"), before + added);
    let large = quota::try_blob(&writer, NAME, &noise(8, 2 << 20)).await;
    let text = large.refused(403, "DENIED").text();
    assert!(text.contains("quota"), "{text}");
    // Leases end; the image holds what refers to it, and that its blobs.
    push_blob(&writer, NAME, b"of nothing").await;
    let loose = format!("/v2/{NAME}/blobs/{}", sha256(b"of nothing"));
    site.sweep_until(&loose, 404).await;
    writer.get(&at(&sha256(&document))).await.expect(200);
    writer
        .get(&format!("/v2/{NAME}/blobs/{}", sha256(b"{}")))
        .await
        .expect(200);
    writer.get(&at(&tag)).await.expect(200);
    // Deleted here, it is the past's, and comes back.
    let dir = site.server.dir();
    let full = format!("{NAME}:{tag}");
    writer.delete(&at(&tag)).await.expect(202);
    writer.get(&at(&tag)).await.expect(404);
    let history: Value = serde_json::from_str(&run_ok(&[
        "tag", "history", &full, "--json", "--data", &dir,
    ]))
    .unwrap();
    let rev = history[1]["rev"].as_u64().unwrap().to_string();
    run_ok(&["tag", "restore", &full, "--rev", &rev, "--data", &dir]);
    assert_eq!(writer.get(&at(&tag)).await.expect(200).body, signature);
    // It was pushed here before it was restored: the other registry's does not take its place.
    site.fake.image(&tag, "amd64", 4, 300);
    assert_eq!(site.mirror()["kept_tags_count"], 1);
    site.assert_sound();
    // Without its subject it goes.
    writer.delete(&at(&image.digest)).await.expect(202);
    site.sweep_until(&at(&sha256(&document)), 404).await;
    site.assert_sound();
}

#[tokio::test]
async fn what_was_mirrored_into_a_local_name_leaves_its_signatures() {
    let site = Site::start("30d").await;
    let (writer, dir) = (site.server.admin(), site.server.dir());
    let source = site.fake.source(":v1");
    let own = bytes_of(&image(b"{}", &[]));
    push_blob(&writer, "team/app", b"{}").await;
    put_manifest(&writer, "team/app", "v1", OCI_MANIFEST, &own).await;
    let tag = tag_of(&site.image.digest, ".sig");
    put_manifest(&writer, "team/app", &tag, OCI_MANIFEST, &own).await;
    site.fake.image(&tag, "amd64", 4, 300);
    let report = run_ok(&[
        "mirror", "--data", &dir, &source, "--to", "team/app", "--json",
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    // What was asked for moves as ever.
    assert_eq!(report["tags"], json!(["v1"]), "{report}");
    assert_eq!(
        report["kept_tags"][0]["here"],
        json!(sha256(&own)),
        "{report}"
    );
    let v1 = writer.get("/v2/team/app/manifests/v1").await.expect(200);
    assert_eq!(v1.body, site.image.bytes);
    let kept = writer
        .get(&format!("/v2/team/app/manifests/{tag}"))
        .await
        .expect(200);
    assert_eq!(kept.body, own);
}
