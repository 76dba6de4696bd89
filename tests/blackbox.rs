//! Black-box tests: the real binary, its real ports, its real data directory; no function of the crate is called,
//! but by `damage`, which breaks rows that nothing else can break.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)] // a test fails by panicking
#![allow(missing_docs)]
// The rule keeps content files inside `blobs`; here a test writes its own configuration and certificates.
#![allow(clippy::disallowed_methods)]

mod core;
mod formats;
mod harness;
mod http;
mod laws;
