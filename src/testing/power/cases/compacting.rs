//! A database that is made shorter, and the power that goes meanwhile.

use super::super::disk::{Disk, Fault};
use super::super::ledger::Ledger;
use super::super::scenario::{Client, Recording, content, repo};
use super::super::state::State;
use super::super::{Rng, Service, store_options};
use crate::store::compact_on;
use crate::types::Algorithm;
use std::path::Path;
use std::sync::Arc;

/// Blobs that go, in pages of their own each, and those that stay behind them.
const GO: usize = 120;
const STAY: usize = 12;

/// A run that ends with a compaction, and the number of its first step.
pub(in super::super) async fn record(base: &State) -> (Recording, usize) {
    let disk = Disk::start(base.clone(), "one boot".into(), Fault::None);
    let ledger = Ledger::new(disk.clone());
    let service = Service::open(&disk).expect("opens");
    Box::pin(fill_and_empty(&Client::new(&service, &ledger))).await;
    service.close().await;
    let (from, before) = (disk.steps(), length(&disk));
    compact_on(&store_options(&disk), &(Arc::new(disk.clone()) as _)).expect("compacts");
    let after = length(&disk);
    assert!(after < before / 2, "{before} -> {after} bytes");
    let run = Recording {
        base: base.clone(),
        ops: disk.history().0,
        ledger,
    };
    (run, from)
}

fn length(disk: &Disk) -> usize {
    let state = disk.history().1;
    let ino = state.find(Path::new("data/meta.redb")).expect("there");
    state.file(ino).data.len()
}

async fn fill_and_empty(client: &Client<'_>) {
    let (old, new) = (&repo("old/x"), &repo("new/y"));
    let mut rng = Rng::new(9);
    let mut going = Vec::new();
    for _ in 0..GO {
        let bytes = content(&mut rng, 12_000);
        let pushed = client.push(old, &bytes, Algorithm::Sha256).await;
        going.push(pushed.expect("pushed"));
    }
    for _ in 0..STAY {
        let bytes = content(&mut rng, 12_000);
        let pushed = client.push(new, &bytes, Algorithm::Sha256).await;
        let put = [pushed.expect("pushed")];
        let put = client.manifest(new, &put, &["latest"], None, 10).await;
        put.expect("put");
    }
    for digest in going {
        client.delete_blob(old, digest).await.expect("deleted");
    }
    client.service.sweep().await.expect("swept");
}
