//! Plans against a small registry on loopback.

use super::plan::Plan;
use super::*;
use crate::fetch::tests::{options, reply, serve};
use crate::types::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Path to content type and body.
type Site = HashMap<String, (String, String)>;

fn put(site: &mut Site, name: Option<&str>, media_type: &str, body: &Value) -> Digest {
    let body = body.to_string();
    let digest = Digest::of(Algorithm::Sha256, body.as_bytes());
    for reference in name
        .map(str::to_owned)
        .into_iter()
        .chain([digest.to_string()])
    {
        site.insert(
            format!("/v2/a/b/manifests/{reference}"),
            (media_type.to_owned(), body.clone()),
        );
    }
    digest
}

fn size(site: &Site, digest: &Digest) -> usize {
    site[&format!("/v2/a/b/manifests/{digest}")].1.len()
}

fn image(layer: &str) -> Value {
    let blob = |text: &str, kind: &str| {
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes()).to_string();
        json!({"mediaType": kind, "digest": digest, "size": text.len()})
    };
    let layers = [
        blob("shared", "application/vnd.oci.image.layer.v1.tar"),
        blob(layer, "x/y"),
    ];
    json!({"schemaVersion": 2, "config": blob("config", "application/vnd.oci.image.config.v1+json"), "layers": layers})
}

struct Made {
    site: Site,
    index: Digest,
    amd: Digest,
    arm: Digest,
    signature: Digest,
    attached: Digest,
}

fn made() -> Made {
    let mut site = Site::new();
    let amd = put(&mut site, None, MediaType::OCI_MANIFEST, &image("amd"));
    let arm = put(&mut site, None, MediaType::OCI_MANIFEST, &image("arm"));
    let child = |site: &Site, digest: &Digest, arch: &str| {
        json!({"mediaType": MediaType::OCI_MANIFEST, "digest": digest.to_string(), "size": size(site, digest),
            "platform": {"os": "linux", "architecture": arch}})
    };
    let children = [child(&site, &amd, "amd64"), child(&site, &arm, "arm64")];
    let index =
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children});
    let index = put(&mut site, Some("latest"), MediaType::OCI_INDEX, &index);
    let tag = format!("sha256-{}.sig", index.hex());
    let signature = put(
        &mut site,
        Some(&tag),
        MediaType::OCI_MANIFEST,
        &image("signature"),
    );
    let attached = put(&mut site, None, MediaType::OCI_MANIFEST, &image("attached"));
    // This registry has no referrers API, only the tag that stood in for it.
    let list =
        json!({"schemaVersion": 2, "manifests": [{"digest": attached.to_string(), "size": 1}]});
    put(
        &mut site,
        Some(&format!("sha256-{}", amd.hex())),
        MediaType::OCI_INDEX,
        &list,
    );
    Made {
        site,
        index,
        amd,
        arm,
        signature,
        attached,
    }
}

async fn plan(site: Site, source: &str, platforms: &[&str]) -> Result<Plan, MirrorError> {
    let (host, _) = serve(move |_, head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let found = site.get(path);
        found.map_or_else(
            || reply("404 Not Found", "", ""),
            |(media_type, body)| reply("200 OK", &format!("content-type: {media_type}\r\n"), body),
        )
    })
    .await;
    let platforms: Vec<String> = platforms.iter().map(|p| (*p).to_owned()).collect();
    let source: Source = format!("docker://{host}/{source}").parse()?;
    let registry = oci::Registry::new(Client::new(&host, options())?, source);
    plan::make(&registry, &platform::parse_all(&platforms)?).await
}

fn position(plan: &Plan, digest: &Digest) -> Option<usize> {
    plan.manifests.iter().position(|m| m.digest == *digest)
}

#[tokio::test]
async fn the_whole_closure_children_first() {
    let made = made();
    let plan = plan(made.site.clone(), "a/b", &[]).await.expect("plan");
    assert_eq!(plan.root, made.index);
    assert_eq!(plan.manifests.len(), 5);
    assert!(position(&plan, &made.amd) < position(&plan, &made.index));
    assert!(position(&plan, &made.arm) < position(&plan, &made.index));
    assert!(
        position(&plan, &made.signature).is_some() && position(&plan, &made.attached).is_some()
    );
    let tags: Vec<String> = plan.tags.iter().map(|(tag, _)| tag.to_string()).collect();
    assert_eq!(
        tags,
        [
            "latest".to_owned(),
            format!("sha256-{}.sig", made.index.hex())
        ]
    );
    // config, shared, amd, arm, signature, attached: each once.
    assert_eq!(plan.blobs.len(), 6);
}

#[tokio::test]
async fn some_platforms_only() {
    let made = made();
    let plan_of =
        |platforms: &'static [&'static str]| plan(made.site.clone(), "a/b:latest", platforms);
    let arm = plan_of(&["linux/arm64"]).await.expect("plan");
    assert!(position(&arm, &made.amd).is_none() && position(&arm, &made.arm).is_some());
    let none = plan_of(&["linux/s390x"])
        .await
        .expect_err("no such platform");
    assert!(
        none.to_string().contains("linux/amd64, linux/arm64"),
        "{none}"
    );
}

#[tokio::test]
async fn wrong_or_absent_manifests_are_refused() {
    let mut made = made();
    let absent = plan(made.site.clone(), "a/b:v9", &[])
        .await
        .expect_err("absent");
    assert_eq!(absent.kind(), MirrorErrorKind::NotFound);
    let path = format!("/v2/a/b/manifests/{}", made.amd);
    made.site.insert(
        path.clone(),
        (MediaType::OCI_MANIFEST.to_owned(), "{}".to_owned()),
    );
    let forged = plan(made.site.clone(), "a/b", &[])
        .await
        .expect_err("forged");
    assert_eq!(forged.kind(), MirrorErrorKind::Verify);
    made.site.remove(&path);
    let missing = plan(made.site, "a/b", &[])
        .await
        .expect_err("missing child");
    assert!(missing.to_string().contains("--platform"), "{missing}");
}

/// The server runs a mirror as a task of its own.
#[test]
fn a_run_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Repos, MirrorRequest) -> T) {}
    is_send(|repos: Repos, request| async move {
        run(&repos, request, |_| {}, CancellationToken::new()).await
    });
}
