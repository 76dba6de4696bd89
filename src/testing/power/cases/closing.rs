//! The end of an upload, cut off: whatever a client was told to count on is there, or the blob is.

use super::super::Service;
use super::super::disk::{Disk, Fault};
use super::super::kinds::file::{new_file, path, range};
use super::super::scenario::{body, repo};
use super::super::state::{Op, State};
use crate::repo::{At, PartDone, PartRange, RepoError, Tree};
use crate::types::{Algorithm, Digest, Kind, UploadId};
use bytes::Bytes;

const BOOT: &str = "one boot";
const FIRST: usize = 30_000;

/// What a program does wrong with an upload that a kill cuts off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Wrong {
    Nothing,
    /// What it said that it has was in its memory alone.
    AnswersFromMemory,
    /// It removes what was not ended.
    Forgets,
    /// It has other bytes than those that came.
    KeepsOthers,
}

impl Wrong {
    /// What the program leaves in place of `state`.
    fn leaves(self, mut state: State) -> State {
        let mut files = Vec::new();
        state.walk(|path, ino, is_dir| {
            if !is_dir && path.starts_with("data/uploads/") {
                files.push((path.to_owned(), ino));
            }
        });
        for (path, ino) in files {
            let op = match self {
                Self::Nothing => continue,
                Self::AnswersFromMemory => Op::SetLen { ino, len: 0 },
                Self::Forgets => {
                    let (dir, name) = state.split(path.as_ref()).expect("a name in a folder");
                    Op::Remove { dir, name }
                }
                Self::KeepsOthers => {
                    let (at, bytes) = (FIRST / 2, vec![0; 100]);
                    Op::Write { ino, at, bytes }
                }
            };
            state.apply(&op);
        }
        state
    }
}

fn bytes() -> Bytes {
    (0..50_000_u32).map(|n| (n % 251) as u8).collect()
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, &bytes())
}

fn on(state: &State) -> Disk {
    Disk::start(state.clone(), BOOT.into(), Fault::None)
}

async fn finish(service: &Service, id: UploadId, from: usize) -> Result<(), RepoError> {
    let rest = body(&bytes().slice(from..));
    let repos = &service.repos;
    repos
        .finish_upload(&repo("team/a"), id, None, None, rest, &digest())
        .await
}

/// An upload of which [`FIRST`] bytes were acknowledged, and the disk on which the process was killed before the step of
/// this number of its end; `None` if the end has fewer steps.
async fn cut_off(base: &State, step: usize) -> Option<(UploadId, State)> {
    let disk = on(base);
    let service = Service::open(&disk).expect("opens");
    let (repos, name) = (&service.repos, repo("team/a"));
    let begun = repos.begin_upload(&name, Algorithm::Sha256, "ann").await;
    let id = begun.expect("begins");
    let first = body(&bytes().slice(..FIRST));
    let sent = repos.append(&name, id, None, None, first).await;
    assert_eq!(sent.expect("taken"), FIRST as u64);
    let before = disk.steps() + step;
    disk.kill_at(before);
    // It may be acknowledged although what follows the commit is cut off.
    let _ = finish(&service, id, FIRST).await;
    let whole = disk.steps() < before;
    disk.kill();
    service.abandon();
    (!whole).then(|| (id, disk.history().1))
}

/// Two clients ask at once, as one whose first question was not answered in time does; then the upload is finished.
async fn goes_on(disk: &Disk, id: UploadId) -> Result<(), String> {
    let service = Service::open(disk).expect("opens");
    let (repos, name) = (&service.repos, repo("team/a"));
    let (one, other) = tokio::join!(
        repos.upload_offset(&name, id),
        repos.upload_offset(&name, id)
    );
    let result = match (one, other) {
        (Ok(one), Ok(other)) if one == other && one >= FIRST as u64 => {
            finish(&service, id, one as usize)
                .await
                .map_err(|e| format!("it stands at {one} and cannot be finished: {e}"))
        }
        (Err(RepoError::UploadUnknown), Err(RepoError::UploadUnknown)) => Ok(()),
        answers => Err(format!("{answers:?}")),
    };
    let there = repos.has_blob(&name, &digest()).await;
    service.close().await;
    result?;
    match there {
        Ok(true) => Ok(()),
        other => Err(format!("neither upload nor blob: {other:?}")),
    }
}

/// Every step of the end, and of the taking up after it; how many were tried, and what was lost.
pub(in super::super) async fn cut_everywhere(base: &State, wrong: Wrong) -> (usize, Vec<String>) {
    let (mut tried, mut lost) = (0, Vec::new());
    for step in 0.. {
        let Some((id, left)) = cut_off(base, step).await else {
            return (tried, lost);
        };
        let left = wrong.leaves(left);
        for again in 0.. {
            let disk = on(&left);
            let service = Service::open(&disk).expect("opens");
            let before = disk.steps() + again;
            disk.kill_at(before);
            let _ = service.repos.upload_offset(&repo("team/a"), id).await;
            let whole = disk.steps() < before;
            let disk = disk.kill();
            service.abandon();
            tried += 1;
            if let Err(what) = goes_on(&disk, id).await {
                lost.push(format!("cut {step}, then {again}: {what}"));
            }
            if whole {
                break;
            }
        }
    }
    (tried, lost)
}

async fn part(service: &Service, range: PartRange, bytes: &Bytes) -> Result<PartDone, RepoError> {
    let (name, new) = (repo("files"), new_file(&path("a")));
    let repos = &service.repos;
    let put = repos.put_file_part(&name, new, range, None, body(bytes));
    Box::pin(put).await
}

/// A file of which [`FIRST`] bytes were acknowledged, and the disk on which the process was killed before the step of this
/// number of its last part; `None` if that has fewer steps.
async fn last_part_cut_off(base: &State, step: usize) -> Option<State> {
    let disk = on(base);
    let service = Service::open(&disk).expect("opens");
    let name = repo("files");
    let made = service.repos.create(&name, Kind::File, "ann").await;
    made.expect("made");
    let (first, total) = (FIRST as u64, bytes().len() as u64);
    let sent = part(&service, range(0, first, total), &bytes().slice(..FIRST)).await;
    assert_eq!(sent.expect("taken"), PartDone::Arrived(first));
    let before = disk.steps() + step;
    disk.kill_at(before);
    let _ = part(
        &service,
        range(first, total, total),
        &bytes().slice(FIRST..),
    )
    .await;
    let whole = disk.steps() < before;
    disk.kill();
    service.abandon();
    (!whole).then(|| disk.history().1)
}

/// A client asks how much has come and sends the rest; where all had come, the question makes the file.
async fn parts_go_on(disk: &Disk) -> Result<PartDone, String> {
    let service = Service::open(disk).expect("opens");
    let total = bytes().len() as u64;
    let said = |e: RepoError| e.to_string();
    let tree = Tree {
        name: repo("files"),
        at: At::Head,
        path: "a".into(),
        is_bare: false,
    };
    let is_there = service.repos.file(&tree).await.is_ok();
    let asked = part(&service, range(total, total, total), &Bytes::new()).await;
    let asked = asked.map_err(said)?;
    match asked {
        PartDone::Filed(_) => {}
        PartDone::Arrived(0) if is_there => {}
        PartDone::Arrived(at) if (FIRST as u64..total).contains(&at) => {
            let rest = bytes().slice(at as usize..);
            part(&service, range(at, total, total), &rest)
                .await
                .map_err(said)?;
        }
        PartDone::Arrived(at) => return Err(format!("it stands at {at}")),
    }
    let file = service.repos.file(&tree).await.map_err(said)?;
    service.close().await;
    if file.blob.digest == digest() {
        Ok(asked)
    } else {
        Err(format!("it is {}", file.blob.digest))
    }
}

/// Every step of the last part; how many were tried, and of how many the question alone made the file.
pub(in super::super) async fn cut_last_parts(base: &State) -> (usize, usize) {
    let (mut tried, mut by_question) = (0, 0);
    while let Some(left) = last_part_cut_off(base, tried).await {
        let done = parts_go_on(&on(&left)).await;
        let done = done.unwrap_or_else(|what| panic!("cut {tried}: {what}"));
        by_question += usize::from(matches!(done, PartDone::Filed(_)));
        tried += 1;
    }
    (tried, by_question)
}
