#!/usr/bin/env bash
# A redb database that is opened, read and closed, with no write transaction: what becomes of its file.
#
# Guess:  who only reads leaves the bytes as they were, so a program may open a database of a newer version, look at the
#         version that it states, refuse it, and have changed nothing.
# Seen:   Database::open writes: while it is open the file says that it is in use, and after it was closed in order its bytes
#         are others than before, and so after each further opening. ReadOnlyDatabase::open leaves every byte, and reads the
#         same. Who wants to look first has to look through that.
# With:   redb 4.5.0 from crates.io, built here with cargo; Linux.
# Output: while open: 1 bytes differ; opened and closed: 114 bytes differ; opened read-only: 0 bytes differ.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"
[dependencies]
redb = "=4.5.0"
TOML
cat >src/main.rs <<'RUST'
use redb::{Database, ReadOnlyDatabase, ReadableDatabase, TableDefinition};

const ROWS: TableDefinition<&str, u64> = TableDefinition::new("rows");

fn row(db: &impl ReadableDatabase) -> u64 {
    let read = db.begin_read().unwrap();
    let table = read.open_table(ROWS).unwrap();
    let found = table.get("version").unwrap().unwrap().value();
    found
}

fn differing(a: &[u8], b: &[u8]) -> usize {
    a.len().abs_diff(b.len()) + a.iter().zip(b).filter(|(a, b)| a != b).count()
}

fn main() {
    let file = "rows.redb";
    let db = Database::create(file).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(ROWS).unwrap().insert("version", 7).unwrap();
    write.commit().unwrap();
    drop(db);
    // The first reopening may tidy up after the making; what is looked at is one of a file that was opened before.
    drop(Database::open(file).unwrap());

    let before = std::fs::read(file).unwrap();
    let db = Database::open(file).unwrap();
    assert_eq!(row(&db), 7);
    println!("while open: {} bytes differ", differing(&before, &std::fs::read(file).unwrap()));
    drop(db);
    let written = differing(&before, &std::fs::read(file).unwrap());
    println!("opened and closed: {written} bytes differ");

    let before = std::fs::read(file).unwrap();
    let db = ReadOnlyDatabase::open(file).unwrap();
    assert_eq!(row(&db), 7);
    drop(db);
    let read = differing(&before, &std::fs::read(file).unwrap());
    println!("opened read-only: {read} bytes differ");
    assert!(written > 0 && read == 0, "not as found");
    println!("as found");
}
RUST
cargo run --quiet
