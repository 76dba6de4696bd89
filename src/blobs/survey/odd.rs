//! What lies below DIR/blobs and DIR/uploads and is not ours: its name in letters that any terminal shows, and back.

use crate::datadir;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::FileType;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Something that Dryport did not make, or that is no file although it is named like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Below the data directory; see [`shown`].
    pub file: String,
    /// `a folder`, for example; empty for a plain file.
    pub is: &'static str,
}

impl Foreign {
    /// Something in a folder below DIR.
    pub(in crate::blobs) fn new(folder: &str, name: &OsStr, is: FileType) -> Self {
        Self {
            file: format!("{folder}/{}", shown(name)),
            is: what(is),
        }
    }
}

/// What a thing that is no plain file is.
fn what(is: FileType) -> &'static str {
    if is.is_file() { "" } else { datadir::what(is) }
}

/// A name in printable ASCII: every other byte is `\xNN`, a backslash is `\\`.
pub(in crate::blobs) fn shown(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.as_bytes() {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// The name that [`shown`] shows so; `None` if it shows none so.
pub(in crate::blobs) fn real(text: &str) -> Option<OsString> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (second, after) = rest.split_first()?;
        rest = after;
        if *second == b'\\' {
            bytes.push(b'\\');
            continue;
        }
        let (hex, after) = rest.split_at_checked(2)?;
        rest = after;
        bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
    }
    let name = OsString::from_vec(bytes);
    (shown(&name) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_names_are_plain() {
        for (name, text) in [
            (&b"a b.txt"[..], "a b.txt"),
            (b"\x1b[2J\\", "\\x1b[2J\\\\"),
            (b"\xff\n", "\\xff\\x0a"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(name)), text);
        }
        for none in ["\\", "\\x", "\\x1", "\\x61", "\\xFF", "\u{e9}", "\\x+f"] {
            assert_eq!(real(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn names_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let name = OsString::from_vec(bytes);
            let text = shown(&name);
            prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert_eq!(real(&text), Some(name));
        }
    }
}
