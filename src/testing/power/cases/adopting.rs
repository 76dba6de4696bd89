//! A check that finds the only bytes of a blob in a file which is about to be removed: a row never names a file that goes.

use super::super::disk::{Disk, Fault};
use super::super::ledger::Ledger;
use super::super::scenario::{Client, content, repo};
use super::super::state::State;
use super::super::{Rng, Service};
use super::budget::until;
use crate::blobs::Place;
use crate::repo::RepoError;
use crate::repo::rows::record::CondemnedRecord;
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Table};
use crate::types::{Algorithm, Digest};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Long enough for what nothing holds off.
const MOMENT: Duration = Duration::from_millis(200);

/// A service with one pushed blob that has a content file.
struct World {
    disk: Disk,
    service: Service,
    digest: Digest,
    place: Place,
    size: u64,
}

impl World {
    async fn new() -> Self {
        let disk = Disk::start(State::new(), "one boot".into(), Fault::None);
        let service = Service::open(&disk).expect("opens");
        let ledger = Ledger::new(disk.clone());
        let bytes = content(&mut Rng::new(5), 30_000);
        let client = Client::new(&service, &ledger);
        let name = repo("team/a");
        let pushed = client.push(&name, &bytes, Algorithm::Sha256);
        let digest = pushed.await.expect("pushed");
        let size = bytes.len() as u64;
        let found = service.repos.content(&digest).await.expect("read");
        let place = found.and_then(|found| found.place).expect("a file");
        Self {
            disk,
            service,
            digest,
            place,
            size,
        }
    }

    /// Condemns the file; the blob's row goes, or stays.
    async fn condemn(&self, row_goes: bool) {
        let (digest, place) = (self.digest, self.place.clone());
        let row = CondemnedRecord {
            digest: digest.as_key().to_vec(),
            at_ms: 0,
        };
        let row = row.to_bytes().expect("a row");
        let write = move |tx: &mut crate::store::Txn<'_>| {
            if row_goes {
                tx.delete(Table::Blobs, digest.as_key())?;
            }
            tx.put(Table::Condemned, place.0.as_bytes(), &row)?;
            Ok::<_, RepoError>(())
        };
        let store = &self.service.store;
        let written = store.write(Lane::Request, Need::Keeps, "test", write);
        written.await.expect("written");
    }

    /// Whether the blob has a row, and whether its file is there.
    async fn state(&self) -> (bool, bool) {
        let row = self.service.repos.content(&self.digest).await;
        let len = self
            .service
            .blobs
            .content
            .len_of(&self.place)
            .expect("looked at");
        (row.expect("read").is_some(), len == Some(self.size))
    }

    fn is_condemned(&self) -> bool {
        let key = self.place.0.as_bytes();
        let row = self.service.store.read(|r| r.get(Table::Condemned, key));
        row.expect("read").is_some()
    }
}

#[test]
fn no_row_comes_for_a_file_that_is_being_removed() {
    Runtime::new().expect("a runtime").block_on(async {
        let w = World::new().await;
        w.condemn(true).await;
        let (before, repos) = (w.disk.removals.came(), w.service.repos.clone());
        let stalled = w.disk.removals.shut();
        let collector = tokio::spawn(async move { repos.unlink_condemned().some(100).await });
        until(|| w.disk.removals.came() > before);
        let (repos, digest, size) = (w.service.repos.clone(), w.digest, w.size);
        let place = Some(w.place.clone());
        let check = tokio::spawn(async move { repos.adopt(&digest, size, place).await });
        tokio::time::sleep(MOMENT).await;
        drop(stalled);
        let removed = collector.await.expect("no panic").expect("removed");
        let adopted = check.await.expect("no panic").expect("looked at");
        assert_eq!((removed, adopted), (1, false));
        assert_eq!(w.state().await, (false, false));
        w.service.close().await;
    });
}

#[test]
fn a_file_that_was_given_its_row_again_stays() {
    Runtime::new().expect("a runtime").block_on(async {
        let w = World::new().await;
        w.condemn(true).await;
        let repos = &w.service.repos;
        let adopted = repos.adopt(&w.digest, w.size, Some(w.place.clone()));
        assert!(adopted.await.expect("looked at"));
        let removed = repos.unlink_condemned().some(100).await;
        assert_eq!(removed.expect("no failure"), 0);
        assert_eq!((w.state().await, w.is_condemned()), ((true, true), false));
        w.service.close().await;
    });
}

#[test]
fn a_condemned_file_that_a_row_names_is_not_removed() {
    Runtime::new().expect("a runtime").block_on(async {
        let w = World::new().await;
        w.condemn(false).await;
        let mut pass = w.service.repos.unlink_condemned();
        assert_eq!(pass.some(100).await.expect("the others go"), 0);
        let told = pass.end().expect_err("it is told of");
        assert!(told.to_string().contains("its blob needs it"), "{told}");
        assert_eq!((w.state().await, w.is_condemned()), ((true, true), true));
        w.service.close().await;
    });
}

#[test]
fn a_push_does_not_remove_the_file_that_a_check_found_before_its_commit() {
    Runtime::new().expect("a runtime").block_on(async {
        let w = World::new().await;
        let (name, mut rng) = (repo("team/a"), Rng::new(6));
        let bytes = content(&mut rng, 40_000);
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let repos = w.service.repos.clone();
        let begun = repos.begin_upload(&name, Algorithm::Sha256, "ann").await;
        let id = begun.expect("begun");
        // The file comes to its place, and goes no further.
        let stalled = w.disk.folder_syncs.shut();
        let push = tokio::spawn(async move {
            let len = Some(bytes.len() as u64);
            let body = super::super::scenario::body(&bytes);
            let finish = repos.finish_upload(&name, id, None, len, body, &digest);
            finish.await
        });
        let blobs = &w.service.blobs;
        let mut place = None;
        until(|| {
            place = blobs.content.places_of(&digest).expect("listed").pop();
            place.is_some()
        });
        let adopted = w.service.repos.adopt(&digest, 40_000, place.clone());
        assert!(adopted.await.expect("looked at"));
        drop(stalled);
        push.await.expect("no panic").expect("pushed");
        let row = w.service.repos.content(&digest).await.expect("read");
        assert_eq!(row.and_then(|row| row.place), place);
        let len = place.map(|place| blobs.content.len_of(&place).expect("looked at"));
        assert_eq!(len, Some(Some(40_000)));
        w.service.close().await;
    });
}
