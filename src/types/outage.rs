//! How the storage below everything fails, as far as whoever asked can do something about it.

/// Why what is stored cannot be read or changed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Too much waits: it works again in a moment.
    Busy,
    /// It opens, closes, or belongs to another process: it may work again in some seconds.
    Recovering,
    /// The disk takes no changes, or fails.
    DiskDown,
    /// There is no room; the error's own text says what for.
    NoSpace,
    /// The data or this program is defective: a person must look.
    Defect,
}
