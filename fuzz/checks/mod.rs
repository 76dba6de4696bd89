//! What must hold for every input of every parser that reads foreign bytes: one function a target, each panics where
//! the parser breaks its promise.
//!
//! Used twice: by the fuzz targets (`fuzz/fuzz_targets`, nightly, new inputs) and by `tests/corpus.rs` (every
//! `cargo test`, the inputs of `fuzz/corpus`). Reaches the parsers through the public paths of the crate alone.

mod answers;
mod config;
mod content;
mod control;
mod files;
mod login;
mod names;
mod past;
mod ranges;
mod rows;
mod wire;

/// The function of a target.
pub type Check = fn(&[u8]);

/// Every target: its name, which is also its folder in `fuzz/corpus`, and its function.
pub const ALL: &[(&str, Check)] = &[
    ("answers", answers::answers),
    ("challenge", wire::challenge),
    ("client", wire::client),
    ("config", config::config),
    ("content_range", ranges::content_range),
    ("control", control::control),
    ("credentials", login::credentials),
    ("digest", names::digest),
    ("file_headers", files::file_headers),
    ("forwarded", wire::forwarded),
    ("jwt", login::jwt),
    ("key", rows::key),
    ("link", wire::link),
    ("manifest", content::manifest),
    ("part", files::part),
    ("path", files::path),
    ("pattern", past::pattern),
    ("query", wire::query),
    ("range", ranges::range),
    ("record", rows::record),
    ("reference", names::reference),
    ("route", wire::route),
    ("schedule", past::schedule),
    ("scope", login::scope),
    ("source", names::source),
    ("title", past::title),
    ("tree", files::tree),
    ("upload", content::upload),
];

/// Runs one target on one input.
///
/// # Panics
/// Where the parser breaks its promise, and for a name that is no target's.
pub fn run(target: &str, data: &[u8]) {
    let found = ALL.iter().find(|(name, _)| *name == target);
    let (_, check) = found.unwrap_or_else(|| panic!("{target} is no target"));
    check(data);
}

/// The input as text; what is not UTF-8 never reaches a parser of texts.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
