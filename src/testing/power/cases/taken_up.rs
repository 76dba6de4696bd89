//! An upload that is taken up from its file, which takes as long as the disk and the file's length want: who gives up uploads
//! waits for none of that, and it ends when its repository is deleted.

use super::super::Service;
use super::super::disk::{Disk, Fault};
use super::super::scenario::{body, repo};
use super::super::state::State;
use super::budget::until;
use crate::repo::RepoError;
use crate::types::Algorithm;
use bytes::Bytes;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Much longer than what waits for nothing takes.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn nobody_waits_for_an_upload_that_is_taken_up_and_it_ends_with_its_repository() {
    Runtime::new().expect("a runtime").block_on(async {
        let name = repo("team/a");
        let disk = Disk::start(State::new(), "one boot".into(), Fault::None);
        let service = Service::open(&disk).expect("opens");
        let begun = service.repos.begin_upload(&name, Algorithm::Sha256, "ann");
        let id = begun.await.expect("begins");
        let first = body(&Bytes::from(vec![7; 30_000]));
        let sent = service.repos.append(&name, id, None, None, first).await;
        sent.expect("taken");
        let disk = disk.kill();
        service.abandon();

        let service = Service::open(&disk).expect("opens");
        let (repos, before) = (service.repos.clone(), disk.marks.came());
        let slow = disk.marks.shut();
        let asked = name.clone();
        let client = tokio::spawn(async move { repos.upload_offset(&asked, id).await });
        until(|| disk.marks.came() > before);
        let repos = &service.repos;
        let deleted = timeout(SOON, repos.delete(&name, "ann", false)).await;
        deleted.expect("waits for no upload").expect("deleted");
        let reaped = timeout(SOON, repos.reap_uploads()).await;
        let reaped = reaped.expect("waits for no upload").expect("looked at");
        assert_eq!(reaped, 0, "it may be taken up");
        drop(slow);
        let answer = client.await.expect("no panic");
        assert!(
            matches!(answer, Err(RepoError::UploadUnknown)),
            "{answer:?}"
        );
        let left = service.blobs.uploads.sessions().expect("listed");
        assert!(left.is_empty(), "it went with its repository");
        service.close().await;
    });
}
