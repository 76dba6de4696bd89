//! What goes back: bodies of content, and refusals.

pub mod body;
pub mod coming;
mod fail;
pub mod hints;

pub use fail::Fail;
