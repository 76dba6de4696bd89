//! What a repository of one kind has is not seen through the protocol of another.

use super::kinds::{Files, Images, Kind};
use crate::harness::Server;
use crate::harness::content::{OCI_MANIFEST, bytes_of, image, push_blob, put_manifest, sha256};

#[tokio::test]
async fn what_one_kind_has_is_not_seen_through_the_other() {
    let server = Server::start().await;
    Files.make(&server);
    let admin = server.admin();
    assert!(Files.put(&admin, "a", 1).await);
    let bytes = Files.bytes(1);
    let blob = format!("/v2/{}/blobs/{}", Files::REPO, sha256(&bytes));
    admin.get(&blob).await.expect(404);
    admin
        .get(&format!("/v2/{}/tags/list", Files::REPO))
        .await
        .expect(404);
    push_blob(&admin, Images::REPO, b"{}").await;
    let manifest = bytes_of(&image(b"{}", &[]));
    put_manifest(&admin, Images::REPO, "v1", OCI_MANIFEST, &manifest).await;
    admin
        .get(&format!("/r/{}/v1", Images::REPO))
        .await
        .expect(404);
}
