//! `[access]`: what people without an account may do.

use crate::config::key::switch;
use crate::config::section::section;

section! {
    /// What people without an account may do.
    pub struct AccessSettings checked by both {
        /// Read.
        pub anonymous_pull: bool = switch("access.anonymous_pull", true)
            .doc("May people without an account pull?")
            .standalone("false"),
        /// Write; never without `anonymous_pull`.
        pub anonymous_push: bool = switch("access.anonymous_push", false)
            .doc("May people without an account push?"),
    }
}

fn both(access: &AccessSettings) -> Result<(), String> {
    if access.anonymous_push && !access.anonymous_pull {
        return Err("`access.anonymous_push` is on and `access.anonymous_pull` is off: who may push must be able to read; turn pull on or push off".to_owned());
    }
    Ok(())
}
