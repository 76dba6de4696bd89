//! `dryport check`: accounts, and rows of tables that only another version writes.

use std::fs;

use dryport::store::Table;

use crate::core::check::damage::{all, case};
use crate::harness::damage::{Copy, Rows, world};
use crate::harness::run_ok;

/// The administrator's row: name and record.
fn admin_row(rows: &Rows) -> (Vec<u8>, Vec<u8>) {
    rows.all(Table::Principals).remove(0)
}

/// The administrator's row with these grants (role, prefix of one letter) in place of the one on everything.
fn with_grants(rows: &Rows, grants: &[(u8, u8)]) {
    let (key, mut row) = admin_row(rows);
    assert_eq!(row.split_off(row.len() - 3), [1, 2, 0], "one grant");
    row.push(u8::try_from(grants.len()).unwrap());
    for (role, letter) in grants {
        row.extend([*role, 1, *letter]);
    }
    rows.put(Table::Principals, &key, &row);
}

#[tokio::test]
async fn accounts() {
    all(vec![
        case("account-unreadable", "its record", |_, c| {
            let rows = c.rows();
            let (key, _) = admin_row(&rows);
            rows.put(Table::Principals, &key, b"\x01junk");
        }),
        case("account-unreadable", "its name", |_, c| {
            let rows = c.rows();
            let (_, row) = admin_row(&rows);
            rows.put(Table::Principals, b"No Name\0", &row);
        }),
        case("account-unreadable", "of a newer version", |_, c| {
            let rows = c.rows();
            let (key, mut row) = admin_row(&rows);
            row[0] = 99;
            rows.put(Table::Principals, &key, &row);
        })
        .still("account-unreadable"),
        case("account-password-unreadable", "its hash", |_, c| {
            let rows = c.rows();
            let (key, mut row) = admin_row(&rows);
            let at = row.windows(6).position(|w| w == b"$argon").unwrap();
            row[at] = b'?';
            rows.put(Table::Principals, &key, &row);
        })
        .still("account-password-unreadable"),
        case("account-grants-wrong", "out of order", |_, c| {
            with_grants(&c.rows(), &[(0, b'b'), (1, b'a')]);
        }),
        case("account-grants-wrong", "twice on one prefix", |_, c| {
            with_grants(&c.rows(), &[(0, b'a'), (1, b'a')]);
        })
        .still("account-grants-wrong"),
        case("account-grants-wrong", "on what is no prefix", |_, c| {
            with_grants(&c.rows(), &[(0, b'A')]);
        })
        .still("account-grants-wrong"),
    ])
    .await;
}

/// A version that may open the same database may write them: they mean nothing here, and they are not ours to remove.
#[tokio::test]
async fn rows_of_tables_that_this_version_does_not_write_stay() {
    let copy = Copy::of(world().await);
    let tables = [
        Table::Jobs,
        Table::Views,
        Table::Tiers,
        Table::Tokens,
        Table::Audit,
    ];
    // A deletion left a job.
    let before = {
        let rows = copy.rows();
        tables.map(|table| {
            rows.put(table, b"t1", b"whatever");
            rows.all(table)
        })
    };
    let (code, report) = copy.check(&["--repair"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
    let rows = copy.rows();
    for (table, before) in tables.into_iter().zip(before) {
        let strange = (b"t1".to_vec(), b"whatever".to_vec());
        assert!(before.contains(&strange));
        // The audit trail tells of the repair.
        let after = rows.all(table);
        assert!(table == Table::Audit || after == before);
        assert!(after.contains(&strange));
    }
}

#[tokio::test]
async fn an_account_that_cannot_be_read_is_kept_and_can_be_made_again() {
    let world = world().await;
    let copy = Copy::of(world);
    let (name, row) = {
        let rows = copy.rows();
        let (key, mut row) = admin_row(&rows);
        row.truncate(20);
        rows.put(Table::Principals, &key, &row);
        (
            String::from_utf8(key[..key.len() - 1].to_vec()).unwrap(),
            row,
        )
    };
    let (code, report) = copy.check(&["--repair"]);
    assert_eq!((code, &report["repaired"]), (0, &1.into()), "{report:#}");
    let kept = fs::read_dir(copy.dir().join("quarantine")).unwrap().next();
    assert_eq!(fs::read(kept.unwrap().unwrap().path()).unwrap(), row);
    let dir = copy.dir();
    let dir = dir.to_str().unwrap();
    let add = ["user", "add", "--data", dir, &name, "--password-stdin"];
    let output = crate::harness::run_with_input(crate::harness::dryport(&add), "new-password\n");
    assert!(
        output.status.success(),
        "{}",
        crate::harness::text_of(&output)
    );
    let users = run_ok(&["user", "list", "--data", dir]);
    assert!(users.contains(&name), "{users}");
}
