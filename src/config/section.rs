//! What a section is ([`Section`]) and how one is declared (`section!`). Knows no section itself.
//!
//! `section!` makes a struct and, from the same lines, all that the layers, the generated file, `config print` and a reload
//! need to know:
//!
//! ```ignore
//! section! {
//!     /// `[gc]`: when what nothing needs any more goes.
//!     pub struct GcSettings {
//!         /// Time between two looks, in ms; 0 is never.
//!         pub interval_ms: u64 = millis("gc.interval", "1m")
//!             .doc("How often what nothing needs any more is looked for.")
//!             .restart(),
//!     }
//! }
//! ```
//!
//! * A field's type follows from what declares it (`key.rs`: `switch`, `size`, `millis`, ...). Its default has the form of the
//!   environment.
//! * `pub struct TlsSettings checked by pair { ... }` names a function `fn(&TlsSettings) -> Result<(), String>` of the same file for what single
//!   values cannot show.
//! * `sections { pub gc: GcSettings, ... }` after the struct makes further fields, each a section that has the field's name in the file.
//! * `lists { pub upstream: Upstream, ... }` makes fields that are lists (`Vec<Upstream>`): `[[upstream]]` in the file, one table
//!   for each. `Upstream` is a section as any other, and its keys are named `upstream.url` and so on. Its first key tells one
//!   table from the other: each table sets it, no two alike. Only the file sets them: the environment and flags have no name for
//!   one table of many. A list counts as changed as a whole, and needs a restart if one of its keys does.

use super::ConfigError;
use super::entries::Entries;
use super::key::{KeySpec, Schema};

/// A struct whose fields are settings.
pub(super) trait Section: Sized {
    /// Its own keys, in the order of its fields.
    const OWN: &'static [KeySpec];
    /// All that a file may hold of which this is the top level.
    const SCHEMA: Schema;

    /// The section, from the entries that are in force. Values that do not go together are refused.
    fn read(entries: &Entries) -> Result<Self, ConfigError>;

    /// Adds the keys that differ in `new` and that only a restart applies.
    fn add_restart_needed(&self, new: &Self, keys: &mut Vec<&'static str>);
}

/// Declares a section; the module's head says how.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident $(checked by $check:ident)? {
            $(
                $(#[$doc:meta])*
                pub $field:ident: $Type:ty = $key:expr,
            )*
        }
        $(sections {
            $(
                $(#[$inner_doc:meta])*
                pub $inner:ident: $Inner:ty,
            )*
        })?
        $(lists {
            $(
                $(#[$list_doc:meta])*
                pub $list:ident: $Item:ty,
            )*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name {
            $($(#[$doc])* pub $field: $Type,)*
            $($($(#[$inner_doc])* pub $inner: $Inner,)*)?
            $($($(#[$list_doc])* pub $list: Vec<$Item>,)*)?
        }

        impl $crate::config::section::Section for $Name {
            const OWN: &'static [$crate::config::key::KeySpec] = &[$({
                const KEY: $crate::config::key::Key<$Type> = $key;
                KEY.spec
            }),*];
            const SCHEMA: $crate::config::key::Schema = $crate::config::key::Schema(&[
                $crate::config::key::Block {
                    name: "",
                    keys: <Self as $crate::config::section::Section>::OWN,
                    is_list: false,
                },
                $($($crate::config::key::Block {
                    name: stringify!($inner),
                    keys: <$Inner as $crate::config::section::Section>::OWN,
                    is_list: false,
                },)*)?
                $($($crate::config::key::Block {
                    name: stringify!($list),
                    keys: <$Item as $crate::config::section::Section>::OWN,
                    is_list: true,
                },)*)?
            ]);

            fn read(
                entries: &$crate::config::entries::Entries,
            ) -> Result<Self, $crate::config::ConfigError> {
                let section = Self {
                    $($field: {
                        const KEY: $crate::config::key::Key<$Type> = $key;
                        KEY.read(entries)?
                    },)*
                    $($($inner: <$Inner as $crate::config::section::Section>::read(entries)?,)*)?
                    $($($list: entries.tables(
                        stringify!($list),
                        <$Item as $crate::config::section::Section>::read,
                    )?,)*)?
                };
                $($check(&section).map_err($crate::config::ConfigError::Together)?;)?
                Ok(section)
            }

            fn add_restart_needed(&self, new: &Self, keys: &mut Vec<&'static str>) {
                $({
                    const KEY: $crate::config::key::Key<$Type> = $key;
                    if KEY.spec.restart && self.$field != new.$field {
                        keys.push(KEY.spec.name);
                    }
                })*
                $($(
                    $crate::config::section::Section::add_restart_needed(
                        &self.$inner,
                        &new.$inner,
                        keys,
                    );
                )*)?
                $($({
                    let own = <$Item as $crate::config::section::Section>::OWN;
                    if own.iter().any(|key| key.restart) && self.$list != new.$list {
                        keys.push(stringify!($list));
                    }
                })*)?
            }
        }
    };
}
pub(super) use section;

#[cfg(test)]
#[path = "tests/lists.rs"]
mod tests;
