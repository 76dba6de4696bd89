//! Every table of the store on one page, with the shape of its keys.
//!
//! Notation: integers are big-endian (`u64` unless said otherwise), `!n` is the complement (later sorts first),
//! texts end with 0x00, digests are the algorithm byte and the raw hash. Values are records (`record.rs`) unless
//! said otherwise. What a row means belongs to the module that writes it.

/// Every table. Keys and values are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// name -> raw bytes; names that begin with `store.` are the store's own, `tree ` and a name is a repository that is no
    /// registry, `stage ` and a number is a big change under way.
    Meta,
    /// repo id -> kind, origin, policy, head, horizon, stage. An id is never used twice.
    Repos,
    /// name -> repo id.
    Names,
    /// repo id, class, past, name or digest, !added rev -> removed rev, target, size, media type, the format's record.
    Items,
    /// repo id, rev, class, name -> nothing; the first row of a rev has the time, who and why.
    Changes,
    /// digest, repo id, class, name, added rev -> nothing; of class link: the lease's end.
    Refs,
    /// The same key, of what names a digest and keeps nothing of it -> nothing; of class held: the lease's end; of class path,
    /// without a name: how many live files have the digest.
    Mentions,
    /// repo id, past, subject, artifact type, digest, !added rev -> removed rev, descriptor without long annotations.
    Referrers,
    /// repo id, rev, owner (1 and a snapshot's title) -> nothing.
    Pins,
    /// digest -> size, first seen, place, damaged.
    Blobs,
    /// digest, and digest and 0 for the rest of them -> the bytes themselves, if few: less than a page of the file.
    Bytes,
    /// The same, for more: each value has pages of its own, and no small one is carried along when it changes.
    Pages,
    /// running time, kind, what -> nothing: a hint; the truth is checked again.
    Due,
    /// place of a content file -> the digest and when it was condemned.
    Condemned,
    /// upload id -> the upload.
    Uploads,
    /// repo id, digest -> a mirror's half-fetched blob.
    Fills,
    /// sequence -> what became visible; written by `Txn::append` alone, order is commit order.
    Feed,
    /// consumer name -> key of the last row of the feed it is done with.
    Cursors,
    /// repo or principal -> what it holds.
    Usage,
    /// prefix -> bytes allowed, shown and kept by the history.
    Quotas,
    /// prefix, digest -> how often repositories below the prefix show it, and how many of them keep it.
    QuotaHolders,
    /// job id, 0 -> the job; job id, 1, line -> a line of its log.
    Jobs,
    /// repo id, title -> the snapshot.
    Snapshots,
    /// view name -> the view.
    Views,
    /// tier name -> the tier.
    Tiers,
    /// principal name -> the principal.
    Principals,
    /// token id -> the token.
    Tokens,
    /// time, sequence -> what was done by whom.
    Audit,
    /// name -> an upstream that was added: another registry that is fetched from on demand.
    Upstreams,
}

impl Table {
    /// Every table, in declaration order.
    pub const ALL: [Self; 29] = [
        Self::Meta,
        Self::Repos,
        Self::Names,
        Self::Items,
        Self::Changes,
        Self::Refs,
        Self::Mentions,
        Self::Referrers,
        Self::Pins,
        Self::Blobs,
        Self::Bytes,
        Self::Pages,
        Self::Due,
        Self::Condemned,
        Self::Uploads,
        Self::Fills,
        Self::Feed,
        Self::Cursors,
        Self::Usage,
        Self::Quotas,
        Self::QuotaHolders,
        Self::Jobs,
        Self::Snapshots,
        Self::Views,
        Self::Tiers,
        Self::Principals,
        Self::Tokens,
        Self::Audit,
        Self::Upstreams,
    ];

    /// The name in the file; never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Repos => "repos",
            Self::Names => "names",
            Self::Items => "items",
            Self::Changes => "changes",
            Self::Refs => "refs",
            Self::Mentions => "mentions",
            Self::Referrers => "referrers",
            Self::Pins => "pins",
            Self::Blobs => "blobs",
            Self::Bytes => "bytes",
            Self::Pages => "pages",
            Self::Due => "due",
            Self::Condemned => "condemned",
            Self::Uploads => "uploads",
            Self::Fills => "fills",
            Self::Feed => "feed",
            Self::Cursors => "cursors",
            Self::Usage => "usage",
            Self::Quotas => "quotas",
            Self::QuotaHolders => "quota_holders",
            Self::Jobs => "jobs",
            Self::Snapshots => "snapshots",
            Self::Views => "views",
            Self::Tiers => "tiers",
            Self::Principals => "principals",
            Self::Tokens => "tokens",
            Self::Audit => "audit",
            Self::Upstreams => "upstreams",
        }
    }

    /// The longest value in bytes: 64 KiB, in `Bytes` and `Pages` 256 KiB.
    pub const fn value_limit(self) -> usize {
        match self {
            Self::Bytes | Self::Pages => 256 << 10,
            _ => 64 << 10,
        }
    }
}

/// The longest key in bytes: what every engine takes (an index of `PostgreSQL` ends at about 2,600).
pub const KEY_LIMIT: usize = 2_000;

/// The store's own rows in `Meta`.
pub(in crate::store) mod meta {
    /// Names that begin so belong to the store.
    pub const PREFIX: &[u8] = b"store.";
    /// Schema version: 4 bytes, big-endian.
    pub const SCHEMA: &[u8] = b"store.schema";
    /// The oldest schema whose programs may read the file: 4 bytes, big-endian. See `versions.rs`.
    pub const OLDEST_READER: &[u8] = b"store.oldest_reader";
    /// The oldest schema whose programs may change the file: 4 bytes, big-endian.
    pub const OLDEST_WRITER: &[u8] = b"store.oldest_writer";
    /// Running time in ms: 8 bytes, big-endian. This row, the next and the last are written with durable commits alone.
    pub const RUNNING: &[u8] = b"store.running_ms";
    /// The number of the last batch that is in the file: 8 bytes, big-endian. See `log.rs`.
    pub const BATCH: &[u8] = b"store.batch";
    /// The key of the log: 32 random bytes. See `log.rs`.
    pub const LOG_KEY: &[u8] = b"store.log_key";
    /// Next sequence of the feed as of the last durable commit: 8 bytes, big-endian. It counts where the feed has no row, and
    /// for programs that read no other.
    pub const FEED_NEXT: &[u8] = b"store.feed_next";
    /// Key of the last row of the feed that was trimmed, at most 16 bytes; empty before the first. Files of before it have none.
    pub const FEED_TRIMMED: &[u8] = b"store.feed_trimmed";
}

/// A stored 8-byte integer; `None` if it has another length.
pub(in crate::store) fn as_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
