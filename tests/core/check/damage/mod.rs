//! `dryport check`: seeded damage of every kind gets its exact report and its exact repair.
//!
//! Rows are damaged through the crate's own store, for nothing else can; what is checked is the binary. Here stands how one
//! damage is tried, and that what is whole is left as it is; the files beside this one have the damages, by what they are of.

mod collector;
mod contents;
mod history;
mod references;
mod repositories;
mod unfinished;

use std::fs;

use dryport::repo::rows::keys::{self, Name};
use dryport::repo::rows::record::ItemRecord;
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::{Digest, RepoId, Rev};

use crate::harness::damage::{Copy, Rows, World, kinds, world};

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

fn app(rows: &Rows) -> RepoId {
    rows.repo("team/app")
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
