//! `dryport check`: what it finds and repairs.

pub mod accounts;
pub mod damage;
pub mod deep;
pub mod hostile;
pub mod live;
