//! The metadata store: redb, and only here. STUB: signatures fixed, bodies to come.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Every table. Keys and values are bytes; key shapes are DESIGN.md section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Meta,
    Repos,
    Names,
    Items,
    Changes,
    Refs,
    Referrers,
    Pins,
    Blobs,
    Bytes,
    Due,
    Condemned,
    Uploads,
    Feed,
    Cursors,
    Usage,
    Jobs,
    Snapshots,
    Views,
    Tiers,
    Principals,
    Tokens,
    Audit,
}

/// Store failures.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// placeholder: helper refines. Needs at least: Busy (lane full, 503), Locked{holder}, TooNew{found,known}, NoSpace, Io, Record, TooLarge, Closed, Unknown (commit outcome unknown)
    #[error("busy")]
    Busy,
}
/// Kind of failure, for mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    Busy,
    Locked,
    TooNew,
    NoSpace,
    Damaged,
    Unavailable,
    Refused,
}
impl StoreError {
    /// kind
    pub fn kind(&self) -> StoreErrorKind {
        StoreErrorKind::Busy
    }
}

/// Options (filled by `app`).
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// data directory (DIR/meta.redb, DIR/lock, DIR/reserve live in it)
    pub dir: PathBuf,
    /// redb cache
    pub cache_bytes: u64,
    /// commits slower than this are logged
    pub slow: Duration,
    /// how the lock names its holder, e.g. "dryport serve"
    pub holder: String,
    /// bytes of the preallocated reserve file
    pub reserve_bytes: u64,
}

/// Which lane a write waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// a client waits
    Request,
    /// background work, at most one a batch
    Background,
}

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Reading verbs, of a read hop and of a transaction alike.
pub trait Get {
    /// value at key
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// rows with from <= key < to, ascending, at most limit
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;
    /// rows with from <= key < to, descending, at most limit
    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;
    /// running time in ms (monotonic, saved with commits; never goes back, no clock jump moves it)
    fn running_ms(&self) -> u64;
}

/// A read hop.
pub struct Read<'a> {
    _x: std::marker::PhantomData<&'a ()>,
}
/// A write transaction's overlay.
pub struct Txn<'a> {
    _x: std::marker::PhantomData<&'a ()>,
}

impl Get for Read<'_> {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        todo!()
    }
    fn scan(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    fn scan_back(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    fn running_ms(&self) -> u64 {
        todo!()
    }
}
impl Get for Txn<'_> {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        todo!()
    }
    fn scan(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    fn scan_back(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    fn running_ms(&self) -> u64 {
        todo!()
    }
}
impl Txn<'_> {
    /// sets a row; refuses values over 64 KiB (256 KiB in Bytes) and more than 5000 row changes
    pub fn put(&mut self, _table: Table, _key: &[u8], _value: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    /// removes a row (absent is fine)
    pub fn delete(&mut self, _table: Table, _key: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    /// appends to the feed; order is commit order
    pub fn append(&mut self, _value: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    _inner: Arc<()>,
}

impl Store {
    /// Opens or creates; takes the exclusive lock.
    pub fn open(_options: StoreOptions) -> Result<Self, StoreError> {
        todo!()
    }
    /// One read hop (blocking; never across an await).
    pub fn read<T, E: From<StoreError>>(
        &self,
        _f: impl FnOnce(&Read<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        todo!()
    }
    /// One re-runnable closure, group committed, durable when this returns Ok. `name` labels the slow log.
    pub async fn write<T, E, F>(&self, _lane: Lane, _name: &'static str, _f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        todo!()
    }
    /// The same for callers outside the async runtime.
    pub fn write_blocking<T, E, F>(&self, _lane: Lane, _name: &'static str, _f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        todo!()
    }
    /// Running time now.
    pub fn running_ms(&self) -> u64 {
        todo!()
    }
    /// Stops the writer after what is queued and closes the file; later calls answer Closed. Idempotent.
    pub fn close(&self) {
        todo!()
    }
    /// Plain counters for metrics.
    pub fn counters(&self) -> Counters {
        todo!()
    }
}
/// Plain counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub commits: u64,
    pub closures: u64,
    pub failed_commits: u64,
    pub queued: u64,
    pub largest_batch: u64,
    pub commit_micros: u64,
    pub file_bytes: u64,
}
/// Schema version this binary writes.
pub const SCHEMA: u32 = 1;

/// Order-preserving keys.
pub mod key {
    /// Builds a key.
    #[derive(Debug, Clone, Default)]
    pub struct Key(Vec<u8>);
    impl Key {
        /// empty
        pub fn new() -> Self {
            Self::default()
        }
        /// big-endian integer
        pub fn u64(self, _n: u64) -> Self {
            todo!()
        }
        /// complement, so that later sorts first
        pub fn not_u64(self, _n: u64) -> Self {
            todo!()
        }
        /// one byte
        pub fn u8(self, _n: u8) -> Self {
            todo!()
        }
        /// raw bytes of self-delimiting length (a digest's key form, an id)
        pub fn raw(self, _b: &[u8]) -> Self {
            todo!()
        }
        /// text without 0x00, ended by 0x00
        pub fn text(self, _t: &str) -> Self {
            todo!()
        }
        /// done
        pub fn done(self) -> Vec<u8> {
            self.0
        }
        /// (from, to) of all keys that start with this one
        pub fn range(self) -> (Vec<u8>, Vec<u8>) {
            todo!()
        }
    }
    /// Reads a key piece by piece; None when it is not of that shape.
    pub struct Parts<'a>(pub &'a [u8]);
    impl<'a> Parts<'a> {
        pub fn u64(&mut self) -> Option<u64> {
            todo!()
        }
        pub fn not_u64(&mut self) -> Option<u64> {
            todo!()
        }
        pub fn u8(&mut self) -> Option<u8> {
            todo!()
        }
        pub fn text(&mut self) -> Option<&'a str> {
            todo!()
        }
        pub fn raw(&mut self, _n: usize) -> Option<&'a [u8]> {
            todo!()
        }
        pub fn digest(&mut self) -> Option<crate::types::Digest> {
            todo!()
        }
        pub fn rest(&self) -> &'a [u8] {
            self.0
        }
    }
}

/// Versioned records; bincode lives here and only here.
pub mod record {
    use super::StoreError;
    pub use bincode::{Decode, Encode};
    /// A record: version byte, then bincode (standard configuration), at most 64 KiB.
    pub trait Record: Encode + Decode<()> + Sized {
        /// Golden file name: tests/golden/record/NAME.vVERSION.bin
        const NAME: &'static str;
        /// Current version.
        const VERSION: u8;
        /// Decodes the body of an older version; default: none exists.
        fn upgrade(_version: u8, _body: &[u8]) -> Option<Result<Self, StoreError>> {
            None
        }
        /// Bytes to store.
        fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
            todo!()
        }
        /// Reads any known version; newer is an error.
        fn from_bytes(_bytes: &[u8]) -> Result<Self, StoreError> {
            todo!()
        }
    }
}
