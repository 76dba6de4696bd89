//! How content leaves: cut into pieces, with framing between ranges, or by the kernel alone.

mod chunk;
pub mod parts;
pub mod pieces;
pub mod sendfile;
