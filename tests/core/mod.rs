//! The registry of any kind: its data directory, history, collector, jobs and commands.

pub mod check;
pub mod cli;
pub mod compact;
pub mod db;
pub mod disks;
pub mod gc;
pub mod jobs;
pub mod lost_files;
pub mod owner;
pub mod past;
pub mod quota;
pub mod restart;
pub mod snapshots;
pub mod stages;
pub mod stop;
pub mod upgrade;
pub mod uploads;
pub mod upstreams;
pub mod wall_clock;
