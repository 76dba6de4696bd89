//! A disk that takes its time: what waits for it is paid for from the budget of uploads.

use super::super::Service;
use super::super::disk::{Disk, Fault};
use super::super::scenario::repo;
use super::super::state::State;
use crate::types::Algorithm;
use bytes::Bytes;
use futures_util::stream;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What is written in one go.
const PIECE: usize = 512 << 10;

pub(in super::super) fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !done() {
        assert!(Instant::now() < end, "in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_piece_is_paid_for_until_the_disk_has_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let disk = Disk::start(State::new(), "one boot".into(), Fault::None);
    let service = Service::open(&disk).expect("opens");
    let (repos, name) = (service.repos.clone(), repo("team/a"));
    let begun = runtime.block_on(repos.begin_upload(&name, Algorithm::Sha256, "ann"));
    let id = begun.expect("begins");
    let (send, receive) = mpsc::unbounded_channel::<Bytes>();
    let body = stream::unfold(receive, |mut receive| async {
        let bytes = receive.recv().await?;
        Some((Ok::<_, String>(bytes), receive))
    });
    let task = {
        let (repos, name) = (repos.clone(), name.clone());
        runtime.spawn(async move { repos.append(&name, id, None, None, Box::pin(body)).await })
    };
    let held = || repos.counters().upload_memory;
    let (piece, steps) = (Bytes::from(vec![7; PIECE]), disk.steps());
    send.send(piece.clone()).expect("received");
    until(|| disk.steps() > steps && held() == 0);

    let stalled = disk.stall();
    send.send(piece).expect("received");
    until(|| held() >= PIECE as u64);
    // Long enough for the writing to begin, which it cannot end.
    std::thread::sleep(Duration::from_millis(200));
    assert!(held() >= PIECE as u64, "{} of {PIECE} bytes", held());
    drop(stalled);
    until(|| held() == 0);
    drop(send);
    let taken = runtime.block_on(task).expect("no panic");
    assert_eq!(taken.expect("taken"), 2 * PIECE as u64);
    runtime.block_on(service.close());
}
