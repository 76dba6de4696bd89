//! Black-box tests: the real binary, its real ports, its real data directory; no function of the crate is called,
//! but by `damage`, which breaks rows that nothing else can break.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)] // a test fails by panicking
#![allow(missing_docs)]
// The rule keeps content files inside `blobs`; here a test writes its own configuration and certificates.
#![allow(clippy::disallowed_methods)]

mod abuse;
mod access;
mod attach;
mod attach_lists;
mod authz;
mod authz_cells;
mod authz_changes;
mod authz_law;
mod authz_people;
mod authz_server;
mod authz_timeline;
mod authz_token_service;
mod authz_tokens;
mod authz_wire;
mod authz_world;
mod bad_input;
mod broken_off;
mod check;
mod check_accounts;
mod check_deep;
mod check_live;
mod cli;
mod clock;
mod compact;
mod content;
mod damage;
mod db;
mod disks;
mod disks_clock;
mod disks_faulty;
mod disks_files;
mod disks_reserve;
mod ends;
mod fake;
mod fills;
mod foreign_text;
mod gc;
mod gc_bounds;
mod harness;
mod hostile;
mod lists;
mod log;
mod mirror;
mod named;
mod open_files;
mod outbound;
mod owner;
mod owner_files;
mod owner_settings;
mod parts;
mod past;
mod pieces;
mod protocol;
mod protocol_lists;
mod protocol_manifests;
mod proxy;
mod quirks;
mod quirks_attached;
mod quirks_documents;
mod quirks_lists;
mod quirks_named;
mod quirks_nothing;
mod quirks_wrong;
mod quota;
mod quota_full;
mod quota_history;
mod quota_nested;
mod quota_uploads;
mod ranges;
mod restart;
mod searches;
mod sent_files;
mod stop;
mod streams;
mod trust;
mod uploads_end;
mod uploads_kept;
mod upstream;
mod wanted;
mod wire;
