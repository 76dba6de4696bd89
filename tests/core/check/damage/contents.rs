//! Bytes: files and rows of blobs, and files that nobody needs.

use std::fs;
use std::os::unix::fs::FileExt as _;

use dryport::repo::rows::record::{BlobRecord, CondemnedRecord};
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::Digest;

use super::{all, case};
use crate::harness::damage::{Copy, Rows, kinds, world};

const V1: &[&str] = &["other:v1", "team/app:long", "team/app:v1"];

/// The key of the second row of a blob's bytes.
fn second(digest: &Digest) -> Vec<u8> {
    [digest.as_key(), &[0]].concat()
}

fn blob_row(rows: &Rows, digest: &Digest, change: impl FnOnce(&mut BlobRecord)) {
    rows.edit(Table::Blobs, digest.as_key(), change);
}

fn flip(path: &std::path::Path) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 1000).unwrap();
    file.write_at(&[byte[0] ^ 1], 1000).unwrap();
}

#[tokio::test]
async fn contents() {
    all(vec![
        case("blob-missing", "a layer's file", |w, c| {
            fs::remove_file(c.file(&w.layer)).unwrap();
        })
        .tags(V1)
        .still("blob-awaits-push"),
        case("blob-truncated", "a layer", |w, c| {
            let file = fs::OpenOptions::new().write(true).open(c.file(&w.layer));
            file.unwrap().set_len(77).unwrap();
        })
        .tags(V1)
        .still("blob-awaits-push"),
        case("blob-truncated", "a layer that grew", |w, c| {
            let file = fs::OpenOptions::new().write(true).open(c.file(&w.layer));
            file.unwrap().set_len(1 << 20).unwrap();
        })
        .still("blob-awaits-push"),
        case("blob-corrupt", "a bit of a layer", |w, c| {
            flip(&c.file(&w.layer));
        })
        .deep()
        .tags(V1)
        .still("blob-awaits-push"),
        case(
            "blob-corrupt",
            "a bit of a manifest, without --deep",
            |w, c| {
                flip(&c.file(&w.long));
            },
        )
        .tags(&["team/app:long"])
        .still("blob-awaits-push"),
        case("blob-awaits-push", "marked and gone", |w, c| {
            blob_row(&c.rows(), &w.layer, |row| row.damaged = true);
            fs::remove_file(c.file(&w.layer)).unwrap();
        })
        .tags(V1)
        .still("blob-awaits-push"),
        case("blob-whole-again", "marked by mistake", |w, c| {
            blob_row(&c.rows(), &w.layer, |row| row.damaged = true);
        }),
        case("blob-whole-again", "a small one", |w, c| {
            blob_row(&c.rows(), &w.config, |row| row.damaged = true);
        }),
        case("blob-size-wrong", "a row's length", |w, c| {
            blob_row(&c.rows(), &w.layer, |row| row.size += 1);
        }),
        case("blob-size-wrong", "of a small blob", |w, c| {
            blob_row(&c.rows(), &w.config, |row| row.size += 1);
        }),
        case("blob-row-missing", "of a layer", |w, c| {
            c.rows().drop_row(Table::Blobs, w.layer.as_key());
        })
        .tags(V1),
        case("blob-row-missing", "of a small blob", |w, c| {
            c.rows().drop_row(Table::Blobs, w.config.as_key());
        }),
        case("blob-row-missing", "with its bytes", |w, c| {
            c.rows().drop_row(Table::Blobs, w.image.as_key());
            c.rows().drop_row(Table::Bytes, w.image.as_key());
        })
        .tags(&["other:v1", "team/app:v1"])
        .still("blob-row-missing"),
        case("blob-row-unreadable", "of a layer", |w, c| {
            c.rows().put(Table::Blobs, w.layer.as_key(), b"\x01junk");
        })
        .tags(V1),
        case("blob-place-wrong", "a row leads to another blob", |w, c| {
            let rows = c.rows();
            let row = rows.get(Table::Blobs, w.long.as_key()).unwrap();
            let other = BlobRecord::from_bytes(&row).unwrap().place;
            blob_row(&rows, &w.layer, |row| row.place = other);
        }),
        case("inline-missing", "a configuration", |w, c| {
            c.rows().drop_row(Table::Bytes, w.config.as_key());
        })
        .still("blob-awaits-push"),
        case("inline-corrupt", "a manifest", |w, c| {
            c.rows().put(Table::Bytes, w.image.as_key(), b"{}");
        })
        .tags(&["other:v1", "team/app:v1"])
        .still("blob-awaits-push"),
        case("inline-corrupt", "without its second row", |w, c| {
            c.rows().drop_row(Table::Bytes, &second(&w.loose));
        })
        .still("blob-awaits-push"),
        case("inline-missing", "but for its second row", |w, c| {
            c.rows().drop_row(Table::Pages, w.loose.as_key());
        })
        .still("blob-awaits-push"),
        case("inline-extra", "a second row of nobody", |_, c| {
            let digest = Digest::of(dryport::types::Algorithm::Sha512, b"extra");
            c.rows().put(Table::Bytes, &second(&digest), b"extra");
        }),
        case("inline-extra", "both rows of nobody", |_, c| {
            let digest = Digest::of(dryport::types::Algorithm::Sha256, b"extra");
            c.rows().put(Table::Pages, digest.as_key(), &[b'x'; 3968]);
            c.rows().put(Table::Bytes, &second(&digest), b"extra");
        }),
        case("inline-extra", "bytes of nobody", |_, c| {
            let digest = Digest::of(dryport::types::Algorithm::Sha256, b"extra");
            c.rows().put(Table::Bytes, digest.as_key(), b"extra");
        }),
    ])
    .await;
}

#[tokio::test]
async fn two_swapped_files_are_two_problems() {
    let world = world().await;
    let copy = Copy::of(world);
    let (a, b) = (copy.file(&world.layer), copy.file(&world.long));
    let (a_bytes, b_bytes) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, b_bytes).unwrap();
    fs::write(&b, a_bytes).unwrap();
    let (code, report) = copy.check(&["--deep"]);
    assert_eq!(
        (code, kinds(&report)),
        (4, vec!["blob-truncated".to_owned(); 2])
    );
}

#[tokio::test]
async fn files() {
    all(vec![
        case("stray-file", "a content file without a row", |w, c| {
            let file = c.file(&w.layer);
            let name = file.file_name().unwrap().to_str().unwrap();
            let twin = format!("{}.{}", w.layer.hex(), "0".repeat(32));
            assert_ne!(name, twin);
            fs::copy(&file, file.with_file_name(twin)).unwrap();
        }),
        case("foreign-file", "somebody's notes", |w, c| {
            fs::write(c.file(&w.layer).with_file_name("notes.txt"), "x").unwrap();
        }),
        case("foreign-file", "beside the folders", |_, c| {
            fs::write(c.dir().join("blobs/sha256/README"), "x").unwrap();
        }),
        case("foreign-upload", "in uploads", |_, c| {
            fs::write(c.dir().join("uploads/tmp1"), "x").unwrap();
        }),
        case(
            "upload-file-without-repo",
            "a number never given",
            |_, c| {
                let name = format!("{}.999.sha256", "ab".repeat(16));
                fs::write(c.dir().join("uploads").join(name), "x").unwrap();
            },
        ),
        case("condemned-left", "with its file", |w, c| {
            let file = c.file(&w.orphan);
            let place = file.strip_prefix(c.dir().join("blobs")).unwrap();
            let rows = c.rows();
            rows.drop_row(Table::Blobs, w.orphan.as_key());
            let row = CondemnedRecord {
                digest: w.orphan.as_key().to_vec(),
                at_ms: 0,
            };
            let place = place.to_str().unwrap().as_bytes();
            rows.put(Table::Condemned, place, &row.to_bytes().unwrap());
        }),
        case("condemned-in-use", "a layer", |w, c| {
            let file = c.file(&w.layer);
            let place = file.strip_prefix(c.dir().join("blobs")).unwrap();
            let row = CondemnedRecord {
                digest: w.layer.as_key().to_vec(),
                at_ms: 0,
            };
            let place = place.to_str().unwrap().as_bytes();
            c.rows()
                .put(Table::Condemned, place, &row.to_bytes().unwrap());
        }),
        case("condemned-unreadable", "no place", |_, c| {
            c.rows().put(Table::Condemned, b"../../etc/passwd", b"\x01");
        }),
    ])
    .await;
}
