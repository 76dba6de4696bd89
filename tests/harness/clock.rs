//! The running time of a data directory, put forward by hand: what it counts (leases, what is due) ends without a wait,
//! and nothing of it ends before, however slow the machine is.

use std::time::Duration;

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::core::past::closed_store;
use crate::harness::Server;

/// A row of the store's own (see `store/rows/table.rs`), which no transaction of the store may write.
const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");
const RUNNING: &[u8] = b"store.running_ms";

/// Kills the server, lets its time run on, and starts it again.
pub async fn pass(server: &mut Server, time: Duration) {
    // What the log has goes into the database.
    closed_store(server).close();
    let database = Database::open(server.data().join("meta.redb")).unwrap();
    let read = database.begin_read().unwrap();
    let before = read.open_table(META).unwrap().get(RUNNING).unwrap();
    let before = u64::from_be_bytes(before.unwrap().value().try_into().unwrap());
    drop(read);
    let now = before + time.as_millis() as u64;
    let write = database.begin_write().unwrap();
    {
        let mut meta = write.open_table(META).unwrap();
        meta.insert(RUNNING, now.to_be_bytes().as_slice()).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    server.restart().await;
}
