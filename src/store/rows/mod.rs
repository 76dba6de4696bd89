//! Rows as the rooms above see them: tables, keys that sort as their parts do, records with versions, and reads.
//!
//! Owns the forms of rows and nothing of where they lie: no engine, no file, no transaction.

pub mod key;
pub mod read;
pub mod record;
pub mod table;
