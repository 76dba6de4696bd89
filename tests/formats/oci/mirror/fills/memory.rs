//! The memory of a run has a bound.

use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, image, push_blob, put_manifest, sha256,
};
use crate::harness::{Server, run, text_of};

#[tokio::test]
async fn an_image_that_needs_more_memory_than_a_run_may_use_is_refused_with_its_size() {
    let upstream = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let target = Server::serve(home, &[], &[("DRYPORT_MIRROR__MEMORY", "1MiB")]).await;
    let admin = upstream.admin();
    push_blob(&admin, "team/app", b"{}").await;
    let mut children = Vec::new();
    for n in 0..5 {
        let mut manifest = image(b"{}", &[]);
        manifest["annotations"] = serde_json::json!({"filler": "x".repeat(400_000)});
        manifest["annotations"]["n"] = serde_json::json!(format!("{n}"));
        let manifest = bytes_of(&manifest);
        put_manifest(
            &admin,
            "team/app",
            &sha256(&manifest),
            OCI_MANIFEST,
            &manifest,
        )
        .await;
        let mut child = descriptor(OCI_MANIFEST, &manifest);
        child["platform"] = serde_json::json!({"os": "linux", "architecture": format!("a{n}")});
        children.push(child);
    }
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
    put_manifest(&admin, "team/app", "v1", OCI_INDEX, &bytes_of(&index)).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let args = ["mirror", "--data", &target.dir(), &source, "--to", "copy"];
    let output = run(&args);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("at least 2 MiB") && text.contains("may use 1 MiB"),
        "{text}"
    );
    // As it says, fewer platforms need less.
    let output = run(&[&args[..], &["--platform", "linux/a1"]].concat());
    assert!(output.status.success(), "{}", text_of(&output));
}
