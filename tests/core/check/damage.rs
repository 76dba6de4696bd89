//! `dryport check`: seeded damage of every kind gets its exact report and its exact repair.
//!
//! Rows are damaged through the crate's own store, for nothing else can; what is checked is the binary.

use std::fs;
use std::os::unix::fs::FileExt as _;

use dryport::repo::rows::keys::{self, Class, DueKind, Name};
use dryport::repo::rows::record::{
    BlobRecord, CondemnedRecord, FillRecord, ItemRecord, QuotaRecord, ReferrerRecord, RepoRecord,
    SnapshotRecord, UploadRecord, UsageRecord,
};
use dryport::store::Table;
use dryport::store::record::Record;
use dryport::types::{Algorithm, Digest, Hasher, RepoId, Rev, UploadId};

use crate::harness::damage::{Copy, Rows, World, kinds, world};
use crate::harness::run_ok;

/// What a second check finds after the repair.
pub enum After {
    Nothing,
    /// This, for only a push or a backup can help.
    Still(&'static str),
}

pub struct Case {
    /// What is to be reported, alone.
    kind: &'static str,
    what: &'static str,
    deep: bool,
    damage: fn(&World, &Copy),
    after: After,
    /// Tags that the report names.
    tags: &'static [&'static str],
}

const V1: &[&str] = &["other:v1", "team/app:long", "team/app:v1"];

pub fn case(kind: &'static str, what: &'static str, damage: fn(&World, &Copy)) -> Case {
    Case {
        kind,
        what,
        deep: false,
        damage,
        after: After::Nothing,
        tags: &[],
    }
}

impl Case {
    pub fn deep(mut self) -> Self {
        self.deep = true;
        self
    }

    pub fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    pub fn still(mut self, kind: &'static str) -> Self {
        self.after = After::Still(kind);
        self
    }

    /// Damages a copy; one report, one repair, one more report.
    fn run(&self, world: &World) {
        let copy = Copy::of(world);
        (self.damage)(world, &copy);
        let name = format!("{} ({})", self.kind, self.what);
        let deep: &[&str] = if self.deep {
            &["--deep", "--fast"]
        } else {
            &[]
        };
        let (code, report) = copy.check(deep);
        assert_eq!(kinds(&report), [self.kind], "{name}: {report:#}");
        let leftover = report["problems"][0]["level"] == "leftover";
        assert_eq!(code, if leftover { 0 } else { 4 }, "{name}: {report:#}");
        if !self.tags.is_empty() {
            assert_eq!(
                report["problems"][0]["tags"],
                serde_json::json!(self.tags),
                "{name}"
            );
        }
        let (code, report) = copy.check(&[deep, &["--repair"]].concat());
        assert_eq!(kinds(&report), [self.kind], "{name}: {report:#}");
        match self.after {
            After::Nothing => {
                assert_eq!(code, 0, "{name}: {report:#}");
                assert_eq!(report["repaired"], 1, "{name}: {report:#}");
                let (code, report) = copy.check(&["--deep", "--fast"]);
                assert_eq!(kinds(&report), [""; 0], "{name}, repaired: {report:#}");
                assert_eq!(code, 0, "{name}");
            }
            After::Still(kind) => {
                assert_eq!(code, 4, "{name}: {report:#}");
                let (code, report) = copy.check(&["--deep", "--fast"]);
                assert_eq!(kinds(&report), [kind], "{name}, repaired: {report:#}");
                assert_eq!(code, 4, "{name}");
            }
        }
    }
}

pub async fn all(cases: Vec<Case>) {
    let world = world().await;
    tokio::task::spawn_blocking(move || cases.iter().for_each(|case| case.run(world)))
        .await
        .unwrap();
}

/// The key of the second row of a blob's bytes.
fn second(digest: &Digest) -> Vec<u8> {
    [digest.as_key(), &[0]].concat()
}

fn app(rows: &Rows) -> RepoId {
    rows.repo("team/app")
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

fn live(rows: &Rows, tag: &str) -> (Vec<u8>, ItemRecord) {
    let id = app(rows);
    let name = Name::tag(tag);
    let key = keys::item(id, &name, false, rows.added(id, &name));
    let row = ItemRecord::from_bytes(&rows.get(Table::Items, &key).unwrap()).unwrap();
    (key, row)
}

fn live_manifest(rows: &Rows, digest: &Digest) -> (Vec<u8>, Rev) {
    let id = app(rows);
    let name = Name::manifest(digest);
    let added = rows.added(id, &name);
    (keys::item(id, &name, false, added), added)
}

/// The `due` row of a kind about something.
fn drop_due(rows: &Rows, kind: DueKind, what: &[u8]) {
    let all = rows.all(Table::Due);
    let found: Vec<_> = all
        .iter()
        .filter(|(key, _)| keys::due_parts(key).is_some_and(|(_, k, w)| k == kind && w == what))
        .collect();
    assert!(!found.is_empty(), "no due row {kind:?}");
    for (key, _) in found {
        rows.drop_row(Table::Due, key);
    }
}

#[tokio::test]
async fn nothing_is_wrong_and_nothing_is_written() {
    let world = world().await;
    let copy = Copy::of(world);
    let before = dump(&copy);
    let look = |more: &[&str]| {
        let (code, report) = copy.check(more);
        assert_eq!(kinds(&report), [""; 0], "{report:#}");
        assert_eq!(code, 0);
        assert!(report["rows"].as_u64().unwrap() > 100, "{report:#}");
    };
    look(&[]);
    look(&["--deep", "--fast"]);
    assert_eq!(before, dump(&copy));
    look(&["--repair"]);
    look(&["--deep", "--fast", "--repair"]);
    assert!(!copy.dir().join("quarantine").exists());
    // Somebody wanted a repair: the audit trail tells of that, and nothing else is written.
    let others = |rows: Vec<String>| -> Vec<String> {
        let others = rows.into_iter().filter(|row| !row.starts_with("audit "));
        others.collect()
    };
    assert_eq!(others(before), others(dump(&copy)));
}

/// Every row but the store's clock and its count of batches, and every content file with its time and bytes.
fn dump(copy: &Copy) -> Vec<String> {
    let mut lines = Vec::new();
    let rows = copy.rows();
    for table in Table::ALL {
        for (key, value) in rows.all(table) {
            if key != b"store.running_ms" && key != b"store.batch" {
                lines.push(format!("{} {key:x?} {value:x?}", table.name()));
            }
        }
    }
    for folder in ["blobs", "uploads"] {
        let mut open = vec![copy.dir().join(folder)];
        while let Some(at) = open.pop() {
            if at.is_dir() {
                open.extend(fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()));
            } else {
                let time = at.metadata().unwrap().modified().unwrap();
                let bytes = crate::harness::content::sha256(&fs::read(&at).unwrap());
                lines.push(format!("{} {time:?} {bytes}", at.display()));
            }
        }
    }
    lines.sort();
    lines
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

#[tokio::test]
async fn repositories() {
    fn edit(c: &Copy, change: fn(&mut RepoRecord)) {
        let rows = c.rows();
        rows.edit(Table::Repos, &keys::repo(app(&rows)), change);
    }
    all(vec![
        case("name-missing", "a name is gone", |_, c| {
            c.rows().drop_row(Table::Names, &keys::name("team/app"));
        }),
        case(
            "name-missing",
            "a name leads to another repository",
            |_, c| {
                let rows = c.rows();
                let other = rows.repo("other").0.to_be_bytes();
                rows.put(Table::Names, &keys::name("team/app"), &other);
            },
        ),
        case("name-extra", "a name leads nowhere", |_, c| {
            c.rows()
                .put(Table::Names, &keys::name("ghost"), &999_u64.to_be_bytes());
        }),
        case("repo-missing", "a repository's row is gone", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            rows.drop_row(Table::Repos, &keys::repo(id));
        })
        .still("repo-missing"),
        case("repo-unreadable", "a repository's row", |_, c| {
            let rows = c.rows();
            rows.put(Table::Repos, &keys::repo(app(&rows)), b"\x02x");
        })
        .still("repo-unreadable"),
        case("head-behind", "revisions after the newest", |_, c| {
            edit(c, |row| row.head -= 2);
        }),
        case("horizon-ahead", "nothing can be read", |_, c| {
            edit(c, |row| row.horizon = row.head + 1);
        }),
        case("stage-missing", "held for nothing", |_, c| {
            edit(c, |row| row.stage = Some(7));
        }),
        case("repo-number-behind", "a number twice", |_, c| {
            c.rows()
                .put(Table::Meta, b"next_repo", &1_u64.to_be_bytes());
        }),
        case("usage-wrong", "figures", |_, c| {
            let rows = c.rows();
            rows.edit(
                Table::Usage,
                &keys::repo(app(&rows)),
                |row: &mut UsageRecord| row.bytes += 5,
            );
        }),
        case("usage-wrong", "no figures", |_, c| {
            let rows = c.rows();
            rows.drop_row(Table::Usage, &keys::repo(app(&rows)));
        }),
        case("usage-extra", "of nobody", |_, c| {
            let row = UsageRecord::default().to_bytes().unwrap();
            c.rows().put(Table::Usage, &keys::repo(RepoId(999)), &row);
        }),
        case("feed-unreadable", "a row", |_, c| c.rows().append(b"junk")),
        case("feed-missing", "the newest revision", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let row = rows.get(Table::Repos, &keys::repo(id)).unwrap();
            let head = RepoRecord::from_bytes(&row).unwrap().head;
            let told = rows.all(Table::Feed).into_iter().rev().find(|(_, row)| {
                let row = dryport::store::feed::FeedRecord::from_bytes(row).unwrap();
                row.is_revision_of(id.0) && row.rev == head
            });
            rows.drop_row(Table::Feed, &told.unwrap().0);
        }),
    ])
    .await;
}

#[tokio::test]
async fn items() {
    all(vec![
        case("item-unreadable", "a tag", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.put(Table::Items, &key, b"\x01x");
        })
        .tags(&["team/app:v2"])
        .still("item-unreadable"),
        case("item-inconsistent", "live and removed at once", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.edit(Table::Items, &key, |row: &mut ItemRecord| row.removed = 9);
        })
        .tags(&["team/app:v2"])
        .still("item-inconsistent"),
        case("item-missing", "a tag's row", |_, c| {
            let rows = c.rows();
            let (key, _) = live(&rows, "v2");
            rows.drop_row(Table::Items, &key);
        })
        .tags(&["team/app:v2"])
        .still("item-missing"),
        case("item-missing", "a manifest's row", |w, c| {
            let rows = c.rows();
            let (key, _) = live_manifest(&rows, &w.index);
            rows.drop_row(Table::Items, &key);
        })
        .tags(&["team/app:multi"])
        .still("item-missing"),
    ])
    .await;
}

#[tokio::test]
async fn a_dangling_tag_is_told_of_and_left() {
    let world = world().await;
    let copy = Copy::of(world);
    {
        // Tag v2 is made to mean what `old` meant, which was deleted.
        let rows = copy.rows();
        let id = app(&rows);
        let (key, row) = live(&rows, "v2");
        let (_, added) = keys::text_of_item(&key).unwrap();
        let target = row.digest().unwrap();
        rows.edit(Table::Items, &key, |row: &mut ItemRecord| {
            row.target = world.old.as_key().to_vec();
        });
        rows.drop_row(
            Table::Refs,
            &keys::item_ref(&target, id, &Name::tag("v2"), added),
        );
        let to = keys::item_ref(&world.old, id, &Name::tag("v2"), added);
        rows.put(Table::Refs, &to, b"");
        let what = keys::due_in(id, &target);
        rows.put(Table::Due, &keys::due(1, DueKind::Untagged, &what), b"");
    }
    for more in [&[][..], &["--repair"], &[]] {
        let (code, report) = copy.check(more);
        assert_eq!(
            (code, kinds(&report)),
            (4, vec!["tag-dangling".to_owned()]),
            "{report:#}"
        );
        assert_eq!(report["problems"][0]["tags"][0], "team/app:v2");
    }
}

#[tokio::test]
async fn references() {
    all(vec![
        case("ref-missing", "of a tag", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let added = rows.added(id, &Name::tag("v1"));
            rows.drop_row(
                Table::Refs,
                &keys::item_ref(&w.image, id, &Name::tag("v1"), added),
            );
        }),
        case("ref-missing", "of a manifest to itself", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.image, id, Class::Manifest, &w.image, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of a manifest to a layer", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.long);
            let key = keys::manifest_ref(&w.layer, id, Class::Manifest, &w.long, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of an index to a manifest", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.index);
            let key = keys::manifest_ref(&w.child, id, Class::Manifest, &w.index, added);
            rows.drop_row(Table::Refs, &key);
        }),
        case("ref-missing", "of what is wanted", |w, c| {
            let rows = c.rows();
            let (_, added) = live_manifest(&rows, &w.index);
            let key = rows.key_with(
                Table::Mentions,
                &[
                    &[Class::Wanted as u8],
                    w.index.as_key(),
                    &added.0.to_be_bytes(),
                ],
            );
            rows.drop_row(Table::Mentions, &key);
        }),
        case("ref-extra", "of a tag that never was", |w, c| {
            let rows = c.rows();
            let key = keys::item_ref(&w.image, app(&rows), &Name::tag("ghost"), Rev(1));
            rows.put(Table::Refs, &key, b"");
        }),
        case(
            "ref-extra",
            "of a manifest that does not name it",
            |w, c| {
                let rows = c.rows();
                let id = app(&rows);
                let (_, added) = live_manifest(&rows, &w.image);
                let key = keys::manifest_ref(&w.child, id, Class::Manifest, &w.image, added);
                rows.put(Table::Refs, &key, b"");
            },
        ),
        case("ref-extra", "wanted and held at once", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.layer, id, Class::Wanted, &w.image, added);
            rows.put(Table::Mentions, &key, b"");
        }),
        case("ref-extra", "wanted, where it would keep it", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.orphan, id, Class::Wanted, &w.image, added);
            rows.put(Table::Refs, &key, b"");
        }),
        case("ref-extra", "held, where it only names it", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.image);
            let key = keys::manifest_ref(&w.layer, id, Class::Manifest, &w.image, added);
            rows.put(Table::Mentions, &key, b"");
        }),
        case("ref-extra", "that nobody can read", |w, c| {
            let key = [w.image.as_key(), &[1, 2, 3]].concat();
            c.rows().put(Table::Refs, &key, b"");
        }),
        case("ref-extra", "a mention that nobody can read", |w, c| {
            let key = [w.image.as_key(), &[1, 2, 3]].concat();
            c.rows().put(Table::Mentions, &key, b"");
        }),
        case("ref-wrong-class", "here, but only wanted", |w, c| {
            let rows = c.rows();
            let id = app(&rows);
            let (_, added) = live_manifest(&rows, &w.index);
            let of = |class| keys::manifest_ref(&w.child, id, class, &w.index, added);
            rows.drop_row(Table::Refs, &of(Class::Manifest));
            rows.put(Table::Mentions, &of(Class::Wanted), b"");
        }),
        case("link-missing", "of a layer", |w, c| {
            let rows = c.rows();
            let key = keys::link(&w.layer, app(&rows));
            rows.drop_row(Table::Refs, &key);
        })
        .tags(&["team/app:long", "team/app:v1"]),
        case("lease-unreadable", "of a layer", |w, c| {
            let rows = c.rows();
            rows.put(Table::Refs, &keys::link(&w.layer, app(&rows)), b"soon");
        }),
        case("held-extra", "of a manifest that is not there", |w, c| {
            let rows = c.rows();
            let key = keys::held(&w.layer, app(&rows));
            rows.put(Table::Mentions, &key, &5_u64.to_be_bytes());
        }),
    ])
    .await;
}

#[tokio::test]
async fn quotas() {
    fn holders(w: &World) -> Vec<u8> {
        [b"team\0", w.layer.as_key()].concat()
    }
    all(vec![
        case("quota-wrong", "its sum", |_, c| {
            c.rows()
                .edit(Table::Quotas, b"team\0", |row: &mut QuotaRecord| {
                    row.used += 7;
                });
        }),
        case("quota-wrong", "the sum of its history", |_, c| {
            c.rows()
                .edit(Table::Quotas, b"team\0", |row: &mut QuotaRecord| {
                    row.history += 7;
                });
        }),
        case("quota-holders-wrong", "one that keeps too many", |w, c| {
            let rows = c.rows();
            let mut row = rows.get(Table::QuotaHolders, &holders(w)).unwrap();
            row[15] += 1;
            rows.put(Table::QuotaHolders, &holders(w), &row);
        }),
        case("quota-unreadable", "its row", |_, c| {
            c.rows().put(Table::Quotas, b"team\0", b"\x01");
        })
        .still("quota-unreadable"),
        case("quota-holders-wrong", "a digest not counted", |w, c| {
            c.rows().drop_row(Table::QuotaHolders, &holders(w));
        }),
        case("quota-holders-wrong", "a digest counted twice", |w, c| {
            let rows = c.rows();
            rows.put(Table::QuotaHolders, &holders(w), &9_u64.to_be_bytes());
        }),
        case("quota-holders-wrong", "of no quota", |w, c| {
            let key = [b"ghost\0", w.layer.as_key()].concat();
            c.rows()
                .put(Table::QuotaHolders, &key, &1_u64.to_be_bytes());
        }),
    ])
    .await;
}

fn referrer_key(w: &World, rows: &Rows) -> Vec<u8> {
    let (_, added) = live_manifest(rows, &w.referrer);
    keys::referrer(
        app(rows),
        false,
        &w.image,
        "application/x.sbom",
        &w.referrer,
        added,
    )
}

#[tokio::test]
async fn history() {
    all(vec![
        case("referrer-missing", "of an image", |w, c| {
            let rows = c.rows();
            rows.drop_row(Table::Referrers, &referrer_key(w, &rows));
        }),
        case("referrer-extra", "that is no item", |w, c| {
            let rows = c.rows();
            let row = rows.get(Table::Referrers, &referrer_key(w, &rows)).unwrap();
            let key = keys::referrer(app(&rows), false, &w.image, "x", &w.layer, Rev(1));
            rows.put(Table::Referrers, &key, &row);
        }),
        case("referrer-wrong", "its annotations", |w, c| {
            let rows = c.rows();
            let key = referrer_key(w, &rows);
            rows.edit(Table::Referrers, &key, |row: &mut ReferrerRecord| {
                row.annotations.clear();
            });
        }),
        case("change-missing", "of a live tag", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let name = Name::tag("v1");
            let key = keys::change(id, rows.added(id, &name), &name);
            rows.drop_row(Table::Changes, &key);
        }),
        case("change-head-missing", "of a revision", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let key = keys::change_head(id, rows.added(id, &Name::tag("v1")));
            rows.drop_row(Table::Changes, &key);
        }),
        case("change-head-missing", "one that cannot be read", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let key = keys::change_head(id, rows.added(id, &Name::tag("v1")));
            rows.put(Table::Changes, &key, b"\x01");
        }),
        case("change-extra", "of a tag that never was", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            let key = keys::change(id, rev, &Name::tag("ghost"));
            rows.put(Table::Changes, &key, b"");
        }),
    ])
    .await;
}

#[tokio::test]
async fn snapshots_and_pins() {
    all(vec![
        case("pin-extra", "of a snapshot that there is not", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            rows.put(Table::Pins, &keys::pin(id, rev, "ghost"), b"");
        }),
        case("pin-extra", "of another revision than it has", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            let rev = rows.added(id, &Name::tag("v1"));
            put_snapshot(&rows, id, rev);
            rows.put(Table::Pins, &keys::pin(id, rev, "june"), b"");
            rows.put(Table::Pins, &keys::pin(id, Rev(rev.0 - 1), "june"), b"");
        }),
        case("pin-missing", "of a snapshot", |_, c| {
            let rows = c.rows();
            let id = app(&rows);
            put_snapshot(&rows, id, rows.added(id, &Name::tag("v1")));
        }),
    ])
    .await;
}

fn put_snapshot(rows: &Rows, id: RepoId, rev: Rev) {
    let row = SnapshotRecord {
        rev: rev.0,
        at_ms: 1,
        who: "a test".into(),
        ends: None,
        held: false,
        root: None,
    };
    let row = row.to_bytes().unwrap();
    rows.put(Table::Snapshots, &keys::snapshot(id, "june"), &row);
}

#[tokio::test]
async fn the_collectors_list() {
    all(vec![
        case("lease-due-missing", "of a blob not used yet", |w, c| {
            let rows = c.rows();
            let id = rows.repo("other");
            drop_due(&rows, DueKind::Lease, &keys::due_link(&w.loose, id));
        }),
        case(
            "orphan-due-missing",
            "of a blob that nothing needs",
            |w, c| {
                drop_due(&c.rows(), DueKind::Orphan, w.orphan.as_key());
            },
        ),
        case(
            "untagged-due-missing",
            "of a manifest without a tag",
            |w, c| {
                let rows = c.rows();
                let what = keys::due_in(app(&rows), &w.untagged);
                drop_due(&rows, DueKind::Untagged, &what);
            },
        ),
        case(
            "history-due-missing",
            "of a revision that closed a tag",
            |_, c| {
                let rows = c.rows();
                let id = app(&rows);
                // The second push of v2 closed the first one.
                let rev = rows.added(id, &Name::tag("v2"));
                drop_due(&rows, DueKind::History, &keys::due_rev(id, rev));
            },
        ),
        case("repo-due-missing", "of a deleted repository", |_, c| {
            let rows = c.rows();
            let all = rows.all(Table::Due);
            let found = all.iter().find(|(key, _)| {
                keys::due_parts(key).is_some_and(|(_, kind, _)| kind == DueKind::Repo)
            });
            rows.drop_row(Table::Due, &found.expect("a due row").0);
        }),
        case("due-unreadable", "of a kind that is none", |_, c| {
            let key = [&7_u64.to_be_bytes()[..], &[99]].concat();
            c.rows().put(Table::Due, &key, b"");
        }),
        case("due-extra", "of a repository that never was", |w, c| {
            let what = keys::due_link(&w.loose, RepoId(4000));
            extra_due(c, 7, DueKind::Lease, &what);
        }),
        case("due-extra", "of a revision that never was", |_, c| {
            let id = app(&c.rows());
            extra_due(c, 7, DueKind::History, &keys::due_rev(id, Rev(5000)));
        }),
        case("due-extra", "that never comes", |w, c| {
            extra_due(c, u64::MAX, DueKind::Orphan, w.layer.as_key());
        }),
        case(
            "due-extra",
            "of a repository that is not deleted",
            |_, c| {
                let id = app(&c.rows());
                extra_due(c, 7, DueKind::Repo, &keys::repo(id));
            },
        ),
    ])
    .await;
}

fn extra_due(copy: &Copy, at: u64, kind: DueKind, what: &[u8]) {
    copy.rows().put(Table::Due, &keys::due(at, kind, what), b"");
}

#[tokio::test]
async fn the_collector_removes_no_repository_that_is_not_deleted() {
    let world = world().await;
    let copy = Copy::of(world);
    let id = app(&copy.rows());
    extra_due(&copy, 7, DueKind::Repo, &keys::repo(id));
    let dir = copy.dir();
    let dir = dir.to_str().unwrap();
    run_ok(&["gc", "--data", dir]);
    let tags = run_ok(&["tag", "list", "--data", dir, "team/app", "--json"]);
    assert!(tags.contains("v1") && tags.contains("multi"), "{tags}");
    let (code, report) = copy.check(&[]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
}
