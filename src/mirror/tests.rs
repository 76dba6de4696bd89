//! Plans against a small registry on loopback.

use super::closure::Plan;
use super::*;
use crate::fetch::tests::{options, reply, serve};
use crate::types::{Algorithm, Digest, MediaType, Remedy};
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

/// The same, attached to a manifest.
fn referring(subject: &Digest, image: &Value) -> Value {
    let mut image = image.clone();
    image["subject"] =
        json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject.to_string(), "size": 1});
    image
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
    let attached = referring(&amd, &image("attached"));
    let attached = put(&mut site, None, MediaType::OCI_MANIFEST, &attached);
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
    plan_within(site, source, platforms, 1 << 20).await
}

async fn plan_within(
    site: Site,
    source: &str,
    platforms: &[&str],
    memory: u64,
) -> Result<Plan, MirrorError> {
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
    let source: SourceImage = format!("docker://{host}/{source}").parse()?;
    let registry = oci::Registry::new(FetchClient::new(&host, options())?, source);
    let choice = platform::Choice::parse(&platforms, false)?;
    plan::make(&registry, &choice, memory).await
}

fn position(plan: &Plan, digest: &Digest) -> Option<usize> {
    plan.manifests
        .iter()
        .position(|m| m.fetched.digest == *digest)
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
    assert_eq!(missing.remedy(), Some(Remedy::ChoosePlatforms), "{missing}");
}

/// An image of one blob whose manifest is at least so long.
fn long(name: &str, len: usize) -> Value {
    let mut image = image(name);
    image["annotations"] = json!({"filler": "x".repeat(len)});
    image
}

/// What was known to be needed, in bytes, of a plan that was refused for it.
fn needed(plan: Result<Plan, MirrorError>, memory: u64) -> u64 {
    match plan.map(|plan| plan.manifests.len()) {
        Err(MirrorError::Memory { needed, limit }) => {
            assert_eq!(limit, memory);
            needed
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn manifests_beyond_the_memory_are_refused_with_their_size_before_they_come() {
    let mut site = Site::new();
    let mut children = Vec::new();
    for n in 0..8 {
        let body = long(&n.to_string(), 300_000);
        let digest = put(&mut site, None, MediaType::OCI_MANIFEST, &body);
        children.push(json!({"digest": digest.to_string(), "size": size(&site, &digest)}));
        // Were it asked for, the answer would be another error.
        site.remove(&format!("/v2/a/b/manifests/{digest}"));
    }
    let index = json!({"schemaVersion": 2, "manifests": children});
    put(&mut site, Some("latest"), MediaType::OCI_INDEX, &index);
    let refused = plan_within(site, "a/b", &[], 1 << 20).await;
    let error = refused.as_ref().map(|_| ()).expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("at least 3 MiB") && text.contains("use 1 MiB"),
        "{text}"
    );
    assert_eq!(error.remedy(), Some(Remedy::RaiseMirrorMemory), "{text}");
    assert!(needed(refused, 1 << 20) > 2_400_000);
}

#[tokio::test]
async fn what_says_nothing_of_its_size_is_counted_as_it_comes() {
    let mut site = Site::new();
    let root = put(
        &mut site,
        Some("latest"),
        MediaType::OCI_MANIFEST,
        &image("root"),
    );
    let mut listed = Vec::new();
    for n in 0..8 {
        let digest = put(
            &mut site,
            None,
            MediaType::OCI_MANIFEST,
            &referring(&root, &long(&n.to_string(), 300_000)),
        );
        listed.push(json!({"digest": digest.to_string(), "size": 1}));
    }
    let list = json!({"schemaVersion": 2, "manifests": listed});
    let tag = format!("sha256-{}", root.hex());
    put(&mut site, Some(&tag), MediaType::OCI_INDEX, &list);
    let plan = plan_within(site.clone(), "a/b", &[], 4 << 20).await;
    assert_eq!(plan.expect("enough").manifests.len(), 9);
    let plan = plan_within(site, "a/b", &[], 1 << 20).await;
    assert!((1 << 20..2 << 20).contains(&needed(plan, 1 << 20)));
}

#[tokio::test]
async fn what_lies_under_tags_is_counted_too() {
    let mut site = Site::new();
    let root = put(
        &mut site,
        Some("latest"),
        MediaType::OCI_MANIFEST,
        &image("root"),
    );
    for ending in [".sig", ".att", ".sbom"] {
        let tag = format!("sha256-{}{ending}", root.hex());
        let body = long(ending, 400_000);
        put(&mut site, Some(&tag), MediaType::OCI_MANIFEST, &body);
    }
    let plan = plan_within(site.clone(), "a/b", &[], 4 << 20).await;
    assert_eq!(plan.expect("enough").manifests.len(), 4);
    let plan = plan_within(site, "a/b", &[], 1 << 20).await;
    assert!(needed(plan, 1 << 20) > 1 << 20);
}

#[tokio::test]
async fn digests_are_counted_too() {
    let mut site = Site::new();
    let layers = |from: usize| -> Vec<Value> {
        let layer = |n: usize| {
            let digest = Digest::of(Algorithm::Sha256, &n.to_be_bytes()).to_string();
            json!({"digest": digest, "size": 1})
        };
        (from..from + 3000).map(layer).collect()
    };
    let mut children = Vec::new();
    for n in 0..3 {
        let config = image("config")["config"].clone();
        let body = json!({"schemaVersion": 2, "config": config, "layers": layers(n * 3000)});
        let digest = put(&mut site, None, MediaType::OCI_MANIFEST, &body);
        children.push(json!({"digest": digest.to_string(), "size": size(&site, &digest)}));
    }
    let index = json!({"schemaVersion": 2, "manifests": children});
    put(&mut site, Some("latest"), MediaType::OCI_INDEX, &index);
    let (memory, enough) = (2 << 20, 8 << 20);
    assert!(needed(plan_within(site.clone(), "a/b", &[], memory).await, memory) > memory);
    let plan = plan_within(site, "a/b", &[], enough).await.expect("enough");
    assert_eq!(plan.blobs.len(), 9001);
}

/// A plan of an image whose referrers come in pages without end, each with so many bytes of text, and how many pages were
/// asked for.
async fn endless(filler: usize, memory: u64) -> (Result<Plan, MirrorError>, usize) {
    let mut site = Site::new();
    put(
        &mut site,
        Some("latest"),
        MediaType::OCI_MANIFEST,
        &image("root"),
    );
    let page = json!({"schemaVersion": 2, "manifests": [], "x": "x".repeat(filler)}).to_string();
    let (host, seen) = serve(move |n, head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let index = MediaType::OCI_INDEX;
        if path.contains("/referrers/") {
            let next = format!(
                "content-type: {index}\r\nlink: </v2/a/b/referrers/x?n={n}>; rel=\"next\"\r\n"
            );
            return reply("200 OK", &next, &page);
        }
        let found = site.get(path);
        found.map_or_else(
            || reply("404 Not Found", "", ""),
            |(media_type, body)| reply("200 OK", &format!("content-type: {media_type}\r\n"), body),
        )
    })
    .await;
    let source: SourceImage = format!("docker://{host}/a/b").parse().expect("source");
    let client = FetchClient::new(&host, options()).expect("client");
    let registry = oci::Registry::new(client, source);
    let plan = plan::make(&registry, &platform::Choice::default(), memory).await;
    let seen = seen.lock().expect("lock");
    let pages = seen
        .iter()
        .filter(|head| head.contains("/referrers/"))
        .count();
    (plan, pages)
}

#[tokio::test]
async fn pages_of_referrers_end_for_a_run() {
    let (plan, pages) = endless(10, 64 << 20).await;
    let missing = plan.expect("the image").notes.missing;
    assert!(missing[0].why.contains("does not end"), "{missing:?}");
    assert!((1000..1002).contains(&pages), "{pages}");
    let (plan, pages) = endless(300_000, 1 << 20).await;
    let error = plan.map(|plan| plan.root).expect_err("refused");
    assert_eq!(error.kind(), MirrorErrorKind::Memory, "{error}");
    assert_eq!(pages, 4);
}

/// The server runs a mirror as a task of its own.
#[test]
fn a_run_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Repos, MirrorRequest) -> T) {}
    is_send(|repos: Repos, request| async move {
        run(&repos, request, |_| {}, CancellationToken::new()).await
    });
}
