//! What was not ended: uploads of clients, and a mirror's half-fetched blobs.

use std::fs;

use dryport::repo::rows::keys;
use dryport::repo::rows::record::{FillRecord, UploadRecord};
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::{Algorithm, Digest, Hasher, RepoId, UploadId};

use super::{all, app, case};
use crate::harness::damage::{Copy, World, kinds, world};

fn upload(w: &World) -> Vec<u8> {
    keys::upload(w.upload.parse::<UploadId>().unwrap())
}

#[tokio::test]
async fn uploads() {
    fn file(w: &World, c: &Copy) -> std::path::PathBuf {
        let all = fs::read_dir(c.dir().join("uploads")).unwrap();
        all.map(|e| e.unwrap().path())
            .find(|p| p.to_str().unwrap().contains(&w.upload))
            .expect("its file")
    }
    all(vec![
        case("upload-unreadable", "a row", |w, c| {
            c.rows().put(Table::Uploads, &upload(w), b"\x01x");
        }),
        case("upload-without-file", "a file that is gone", |w, c| {
            fs::remove_file(file(w, c)).unwrap();
        }),
        case("upload-torn", "a short file", |w, c| {
            let file = fs::OpenOptions::new().write(true).open(file(w, c));
            file.unwrap().set_len(1000).unwrap();
        }),
        case("upload-state-unreadable", "a hash state", |w, c| {
            c.rows()
                .edit(Table::Uploads, &upload(w), |row: &mut UploadRecord| {
                    row.hash_state = vec![1, 2, 3];
                });
        }),
        case(
            "upload-without-repo",
            "a repository that is gone",
            |w, c| {
                c.rows()
                    .edit(Table::Uploads, &upload(w), |row: &mut UploadRecord| {
                        row.repo = 777;
                    });
            },
        ),
    ])
    .await;
}

/// A mirror's half-fetched blob of this repository: its row, and the name of its file.
fn half_fetched(c: &Copy, repo: Option<RepoId>) -> (FillRecord, Vec<u8>, std::path::PathBuf) {
    let id = [0xcd; 16];
    let repo = repo.unwrap_or_else(|| app(&c.rows()));
    let digest = Digest::of(Algorithm::Sha256, b"never here");
    let row = FillRecord {
        id,
        offset: 0,
        hash_state: Hasher::new(Algorithm::Sha256).save(),
        boot_id: "b".into(),
        saved_ms: 0,
    };
    let name = format!("uploads/{}.{}.sha256.fill", UploadId(id), repo.0);
    (row, keys::fill(repo, &digest), c.dir().join(name))
}

#[tokio::test]
async fn half_fetched_blobs() {
    fn put(c: &Copy, repo: Option<RepoId>, change: fn(&mut FillRecord)) -> std::path::PathBuf {
        let (mut row, key, file) = half_fetched(c, repo);
        change(&mut row);
        c.rows().put(Table::Fills, &key, &row.to_bytes().unwrap());
        file
    }
    /// A thousand bytes, as a row says.
    fn thousand(row: &mut FillRecord) {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&[7; 1000]);
        (row.offset, row.hash_state) = (1000, hasher.save());
    }
    all(vec![
        case("fill-unreadable", "a row", |_, c| {
            let (_, key, _) = half_fetched(c, None);
            c.rows().put(Table::Fills, &key, b"\x01x");
        }),
        case("fill-without-file", "a file that is gone", |_, c| {
            put(c, None, thousand);
        }),
        case("fill-torn", "a short file", |_, c| {
            fs::write(put(c, None, thousand), [7; 999]).unwrap();
        }),
        case("fill-state-unreadable", "a hash state", |_, c| {
            put(c, None, |row| row.hash_state = vec![1, 2, 3]);
        }),
        case("fill-without-repo", "a repository that is gone", |_, c| {
            put(c, Some(RepoId(777)), |_| {});
        }),
        case("fill-file-left", "a file without a row", |_, c| {
            let (_, _, file) = half_fetched(c, None);
            fs::write(file, [7; 1000]).unwrap();
        }),
    ])
    .await;
    // As a kill leaves them: one without a byte, and one of which all is there.
    let copy = Copy::of(world().await);
    put(&copy, None, |_| {});
    let (code, report) = copy.check(&["--deep", "--fast"]);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    fs::write(put(&copy, None, thousand), [7; 1000]).unwrap();
    let (code, report) = copy.check(&["--deep", "--fast"]);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
}
